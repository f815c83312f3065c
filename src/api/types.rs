//! What a file says, decoded: an Experiment with every default resolved by a function.
//!
//! Decoding happens after `check` has accepted the file, so errors here are those of a file that nobody
//! checked; they name the field and lose nothing else.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Limits, Objectives};
use crate::{
    load::LoadSpec,
    probes::Source,
    types::{Amount, Length},
};

/// `apiVersion` of every kind.
pub const API_VERSION: &str = "firedrill.dev/v1alpha1";

/// Name, namespace and labels of a file's object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// DNS label.
    pub name: String,
    /// None: `-n`, else the context's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Copied to every Run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A hypothesis, its steady state, what to break, and how far that may go.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Experiment {
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: ExperimentSpec,
}

/// `spec` of an Experiment.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentSpec {
    /// One sentence.
    pub hypothesis: String,
    /// What texts and expressions refer to, each with the value that was given.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Where PromQL is answered, for probes that name no source of their own.
    #[serde(default)]
    pub prometheus: Option<Source>,
    /// What is sent from before Baseline until recovery is judged.
    #[serde(default)]
    pub load: Vec<LoadSpec>,
    /// The probes.
    pub steady_state: Vec<ProbeSpec>,
    /// How Baseline goes.
    #[serde(default)]
    pub baseline: Baseline,
    /// The steps; none: the run only verifies the steady state.
    #[serde(default)]
    pub method: Vec<Step>,
    /// What is promised.
    #[serde(default)]
    pub objectives: Objectives,
    /// How far the damage may go.
    #[serde(default)]
    pub limits: Limits,
    /// What a survivor does when the runner is lost.
    #[serde(default)]
    pub on_runner_loss: OnRunnerLoss,
}

/// What a survivor does with a run whose runner is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum OnRunnerLoss {
    /// Puts everything back.
    #[default]
    Revert,
    /// Goes on with it, where what has happened is known.
    Resume,
}

/// A value that a Run or `--param` may set.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Parameter {
    /// camelCase.
    pub name: String,
    /// Its value, once what is given has been filled in; None: none was.
    #[serde(default)]
    pub default: Option<String>,
}

/// A probe of the steady state.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSpec {
    /// Unique.
    pub name: String,
    /// Its lane in the report.
    pub signal: Option<Signal>,
    /// For people.
    pub description: String,
    /// `prometheus`, `kubernetes`: a name in the registry of probes.
    pub kind: String,
    /// The fields of that kind.
    pub params: Value,
    /// CEL to a number; None: the kind's own.
    pub value: Option<String>,
    /// CEL to true or false; None for Informational probes, and for kinds that judge by themselves.
    pub expect: Option<String>,
    /// CEL; None: expect.
    pub during: Option<String>,
    /// How often.
    pub every: Duration,
    /// How long one measurement may take.
    pub timeout: Duration,
    /// When it is a violation.
    pub patience: Patience,
    /// The window of `window.mean` and its like.
    pub window: Option<Duration>,
    /// What it decides.
    pub role: Role,
    /// What no data means.
    pub on_missing: OnMissing,
    /// What a violation does.
    pub on_violation: OnViolation,
}

/// When being outside becomes a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Patience {
    /// Continuously outside this long; zero: the first sample.
    For(Duration),
    /// So many of the last so many samples.
    Samples {
        /// How many outside.
        outside: u32,
        /// Of how many.
        of: u32,
    },
}

/// The golden signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Signal {
    /// How long requests take.
    Latency,
    /// How much is asked.
    Traffic,
    /// How much of it fails.
    Errors,
    /// How full it is.
    Saturation,
}

/// What a probe decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Part of the hypothesis: a violation is a failure.
    #[default]
    Hypothesis,
    /// A violation aborts.
    StopCondition,
    /// Recorded, never judged.
    Informational,
}

/// What it means that a probe yields no data for as long as its patience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMissing {
    /// The run stops and proves nothing.
    #[default]
    Inconclusive,
    /// The same as being outside.
    Violation,
    /// Nothing.
    Ignore,
}

/// What a violation does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnViolation {
    /// Everything is reverted at once.
    #[default]
    Abort,
    /// The method goes on; the verdict is Failed all the same.
    Continue,
}

/// How Baseline goes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Baseline {
    /// How long everything has to be steady; None: see [`ExperimentSpec::baseline_duration`].
    pub duration: Option<Length>,
    /// How long it may take to become steady first.
    pub within: Length,
}

/// What the step of that index is called where the file gives it no name: `step-1` is the first.
pub fn step_name(index: usize) -> String {
    format!("step-{}", index + 1)
}

/// One step of the method.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Given, or `step-3` for the third.
    pub name: String,
    /// For people.
    pub description: String,
    /// For faults.
    pub target: Option<Target>,
    /// What to do.
    pub action: Action,
    /// How long, from "seen in force".
    pub duration: Option<Duration>,
    /// Whether the next step begins while this one is in force.
    pub background: bool,
    /// What a failed check does.
    pub on_failure: OnViolation,
    /// Again and again, for faults that are over at once.
    pub repeat: Option<Repeat>,
    /// Batch after batch.
    pub rolling: Option<Rolling>,
}

/// A fault again and again, each time on targets that are chosen anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Repeat {
    /// From the beginning of one round to that of the next.
    pub every: Length,
    /// How many rounds; None: as many as begin within `length`.
    pub times: Option<u32>,
    /// For how long rounds begin.
    #[serde(rename = "for")]
    pub length: Option<Length>,
    /// How much a round may begin later, by seed.
    #[serde(default)]
    pub jitter: Length,
}

/// A fault on one batch of its targets after the other, each lifted and healed before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rolling {
    /// How many at once.
    pub batch: Amount,
    /// From when everything holds again to the next batch.
    pub pause: Length,
}

impl Default for Rolling {
    fn default() -> Self {
        Self { batch: Amount::Count(1), pause: Length::default() }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A fault of the registry with its fields.
    Fault {
        /// Its name in the registry.
        kind: String,
        /// Its fields.
        params: Value,
    },
    /// Nothing for a while.
    Wait(Duration),
    /// A probe has to hold.
    Check(Check),
    /// A background step ends now.
    Revert(String),
    /// A person does something and says so.
    Manual(Manual),
    /// Requests are sent.
    Load(LoadSpec),
}

/// Something that a person does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manual {
    /// What to do, Markdown.
    pub instructions: String,
    /// Where more is written.
    #[serde(default)]
    pub runbook: Option<String>,
    /// How long it may take.
    #[serde(default = "one_hour")]
    pub timeout: Length,
    /// What it means that nobody has answered by then.
    #[serde(default)]
    pub on_timeout: OnTimeout,
    /// How long a rehearsal takes it to last.
    #[serde(default = "five_minutes")]
    pub assume: Length,
}

fn one_hour() -> Length {
    Length::from_secs(3600)
}

fn five_minutes() -> Length {
    Length::from_secs(300)
}

/// What it means that nobody has answered in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum OnTimeout {
    /// The step has failed.
    #[default]
    Fail,
    /// The run is aborted.
    Abort,
    /// The method goes on.
    Continue,
}

/// A probe that has to hold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// A probe declared above.
    pub probe: String,
    /// CEL; None: the probe's own.
    #[serde(default)]
    pub expect: Option<String>,
    /// How long it may take to hold.
    #[serde(default)]
    pub within: Length,
    /// How long it then has to hold; zero: one sample.
    #[serde(default, rename = "for")]
    pub hold: Length,
}

/// At what a fault aims.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    /// By label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<LabelSelector>,
    /// `deployment/checkout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// By label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<LabelSelector>,
    /// `deployment/checkout`: the nodes under its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes_running: Option<String>,
    /// Only what is in this zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// None: the file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only objects of these names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Not these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Exclude>,
    /// How many; None: 1, or all for a zone alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Amount>,
    /// Whether what is born later gets the fault too; None: as the fault has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
}

/// What a target leaves out, before counting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exclude {
    /// By label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// By name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Patience {
    /// How long it takes at the least from the first sample outside to the violation.
    pub fn least(&self, every: Duration) -> Duration {
        match self {
            Self::For(length) => *length,
            Self::Samples { outside, .. } => every * outside.saturating_sub(1),
        }
    }
}

impl ExperimentSpec {
    /// `baseline.duration`, or the longest patience of a judged probe, and two samples of each at least.
    pub fn baseline_duration(&self) -> Duration {
        if let Some(duration) = self.baseline.duration {
            return duration.0;
        }
        let judged = self.steady_state.iter().filter(|probe| probe.role != Role::Informational);
        judged.map(|probe| probe.patience.least(probe.every).max(probe.every * 2)).max().unwrap_or_default()
    }

    /// `objectives.stableFor`, or the longest patience of the hypothesis.
    pub fn stable_for(&self) -> Duration {
        if let Some(length) = self.objectives.stable_for {
            return length.0;
        }
        let judged = self.steady_state.iter().filter(|probe| probe.role == Role::Hypothesis);
        judged.map(|probe| probe.patience.least(probe.every)).max().unwrap_or_default()
    }

    /// The parameters' values.
    pub fn params(&self) -> BTreeMap<String, String> {
        let valued = self.parameters.iter().filter_map(|one| Some((one.name.clone(), one.default.clone()?)));
        valued.collect()
    }

    /// The step called `name`.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.method.iter().find(|step| step.name == name)
    }

    /// Every load, with its name and whether it is a step's.
    pub fn loads(&self) -> impl Iterator<Item = (&str, &LoadSpec, Option<&Step>)> {
        let whole = self.load.iter().map(|load| (load.name.as_str(), load, None));
        let steps = self.method.iter().filter_map(|step| match &step.action {
            Action::Load(load) => Some((step.name.as_str(), load, Some(step))),
            _ => None,
        });
        whole.chain(steps)
    }

    /// The probe called `name`.
    pub fn probe(&self, name: &str) -> Option<&ProbeSpec> {
        self.steady_state.iter().find(|probe| probe.name == name)
    }
}

impl Experiment {
    /// From the JSON of a file's document.
    ///
    /// # Errors
    /// The first thing that does not fit; `check` says all of them, with places.
    pub fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
        let mut experiment: Self = serde_json::from_value(value.clone())?;
        for (index, step) in experiment.spec.method.iter_mut().enumerate() {
            if step.name.is_empty() {
                step.name = step_name(index);
            }
        }
        Ok(experiment)
    }
}
