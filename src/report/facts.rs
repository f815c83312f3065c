//! Everything that a report says, as data.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{
    clocks::{Milestone, Objective},
    narrate::Event,
    probes::ProbeFacts,
};
use crate::{
    api::Signal,
    journal::{CheckOutcome, Clocks, Deployed, Header, Residue, Written},
    types::{Finding, InjectionId, ObjectRef, Phase, RunId, Verdict, load::LoadTally},
};

/// Why a journal cannot be reported on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// There is not one whole record.
    #[error("the journal is empty: the run died before it wrote its first record; it has changed nothing")]
    Empty,
    /// The first record does not say what was run.
    #[error(
        "the journal does not begin with RunStarted: it is not the journal of a run, or its beginning is lost"
    )]
    NoHeader,
}

/// A run, told from its journal. Field names are those of the JSON report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The run.
    pub run: RunId,
    /// Name of the experiment.
    pub experiment: String,
    /// What was to be shown.
    pub hypothesis: String,
    /// How it ended, or that it has not.
    pub outcome: Outcome,
    /// Time of the first record.
    pub started: Timestamp,
    /// Time of the last record of a run that has one, None for a run without an end.
    pub ended: Option<Timestamp>,
    /// Time of the last record there is.
    pub last_seen: Timestamp,
    /// Where.
    pub place: Place,
    /// Who.
    pub people: People,
    /// From what.
    pub source: Source,
    /// Limits that held, in words: `pods: 50%`.
    pub limits: BTreeMap<String, String>,
    /// What the plan said; None when the journal has no plan.
    pub plan: Option<PlanFacts>,
    /// When the system was disturbed; None when nothing was injected.
    pub fault_window: Option<FaultWindow>,
    /// What was measured, in milliseconds; absent is not measured.
    pub clocks: Clocks,
    /// What was promised against what was measured.
    pub objectives: Vec<Objective>,
    /// The way back to normal, counted from the first fault in force.
    pub breakdown: Vec<Milestone>,
    /// The steps of the method, in order, also those that were not reached.
    pub steps: Vec<StepFacts>,
    /// What was sent on purpose, in the order in which it began.
    pub loads: Vec<LoadFacts>,
    /// Every violation, the first one first.
    pub violations: Vec<Violation>,
    /// Probes that did not come back in time; empty when all did.
    pub not_recovered: Vec<String>,
    /// The four golden signals and what else was measured, by name of probe.
    pub lanes: Vec<Lane>,
    /// Each probe with its samples.
    pub probes: Vec<ProbeFacts>,
    /// What ran in the workloads concerned.
    pub deployed: Vec<DeployedFacts>,
    /// What is not back, with how to finish by hand.
    pub residue: Vec<Residue>,
    /// Lasting faults that no record says are gone, in a run without an end.
    pub in_force: Vec<InForce>,
    /// Worth knowing, in order.
    pub notes: Vec<Note>,
    /// What happened, in words, in order.
    pub timeline: Vec<Event>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Whether the journal has its last record.
    pub finished: bool,
    /// What it meant; None as long as nothing was decided.
    pub verdict: Option<Verdict>,
    /// CamelCase and stable: HypothesisHeld, Violated …; empty as long as nothing was decided.
    pub reason: String,
    /// In words.
    pub message: String,
    /// What the process said when it exited; None for a run without an end.
    pub exit_code: Option<u8>,
    /// Where it is, or was when its last record was written.
    pub phase: Phase,
    /// What ended the method early.
    pub stop: Option<Stop>,
}

/// What ended a method early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// When.
    pub at: Timestamp,
    /// In words.
    pub why: String,
    /// Who, or what.
    pub by: String,
}

/// Where a run happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The cluster's name.
    pub cluster: String,
    /// URL of the API server.
    pub server: String,
    /// Context of the kubeconfig.
    pub context: String,
    /// The server's version.
    pub version: String,
    /// Whether it was the embedded cluster: no real workload was touched.
    pub rehearsal: bool,
    /// The namespace that targets default to.
    pub namespace: String,
    /// All namespaces that the run held.
    pub namespaces: Vec<String>,
    /// Where PromQL was answered.
    pub metrics: String,
}

/// Who ran it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct People {
    /// Who asked, where somebody else ran it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub asked_by: String,
    /// Who it was to the API server.
    pub by: String,
    /// The process that ran it first.
    pub holder: String,
    /// Who took it over since, in order.
    pub owners: Vec<Owner>,
}

impl People {
    pub(super) fn of(header: &Header, owners: Vec<Owner>) -> Self {
        let (asked_by, by) = (header.asked_by.clone(), header.by.clone());
        Self { asked_by, by, holder: header.holder.clone(), owners }
    }
}

/// Somebody who took a run over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// When.
    pub at: Timestamp,
    /// The process.
    pub holder: String,
    /// The person.
    pub by: String,
    /// `rollback`, `takeover`.
    pub why: String,
}

/// What was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The file.
    pub file: String,
    /// Every choice follows from it.
    pub seed: u64,
    /// firedrill's version.
    pub version: String,
}

/// What the plan said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanFacts {
    /// Hazards, or why it was refused.
    pub findings: Vec<Finding>,
    /// Earliest possible abort after a loss of normal, in milliseconds.
    pub earliest_abort_ms: u64,
    /// Calls that the method takes at the most.
    pub calls: u64,
}

/// When the system was disturbed.
///
/// From the first intent to the last of: a fault lifted, an effect seen, the end of the method or its stop. Instant
/// faults are over at once; what they do lasts longer, so the method's own waits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultWindow {
    /// First intent.
    pub begin: Timestamp,
    /// First effect seen: from here `rto` and detection count.
    pub in_force: Option<Timestamp>,
    /// None: no end is on record.
    pub end: Option<Timestamp>,
}

/// A load that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadFacts {
    /// Its name, or its step's.
    pub name: String,
    /// Whether it is a step's.
    pub of_step: bool,
    /// What was sent where and how often.
    pub what: String,
    /// When its first requests were sent.
    pub started: Timestamp,
    /// When its last one was; None: the record is missing, it ended with its runner.
    pub ended: Option<Timestamp>,
    /// What became of them.
    pub tally: Option<LoadTally>,
}

/// A step of the method.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepFacts {
    /// Its name.
    pub name: String,
    /// A fault's name, `wait`, `check`, `revert`; empty when the file does not tell.
    pub kind: String,
    /// What it does, in words: `podKill on 50% of deployment/checkout`.
    pub what: String,
    /// The file's own words.
    pub description: String,
    /// How far it came.
    pub state: StepState,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// What was done to whom.
    pub injections: Vec<InjectionFacts>,
    /// The answer of a check.
    pub check: Option<CheckFacts>,
    /// Why it could not be carried out.
    pub refusals: Vec<Finding>,
}

impl StepFacts {
    /// Whether it was in force until the method ended, and is back since.
    pub fn back_with_the_method(&self) -> bool {
        let back = self.injections.iter().all(|injection| injection.reverted.is_some());
        self.state == StepState::Begun && !self.injections.is_empty() && back
    }
}

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum StepState {
    /// It never began.
    NotReached,
    /// It began, and no record says that it is over.
    Begun,
    /// It could not be carried out, and changed nothing.
    Refused,
    /// Over.
    Ended,
}

/// The answer of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckFacts {
    /// When.
    pub at: Timestamp,
    /// Held, failed, or no data.
    pub outcome: CheckOutcome,
    /// In words.
    pub detail: String,
}

/// Something that is on record of an injection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told<T> {
    /// When.
    pub at: Timestamp,
    /// How it went.
    pub outcome: T,
    /// In words.
    pub detail: String,
}

/// One application of a fault to one target.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InjectionFacts {
    /// Its name within the run.
    pub id: InjectionId,
    /// The fault.
    pub fault: String,
    /// Whether it stays until it is reverted.
    pub lasting: bool,
    /// Whom it hit.
    pub target: ObjectRef,
    /// Pods that went with it.
    pub displaced: Vec<ObjectRef>,
    /// What was done, resolved.
    pub action: Value,
    /// What was there before.
    pub before: Value,
    /// When it was about to be applied.
    pub intended: Timestamp,
    /// How the application went; None: no record.
    pub injected: Option<Told<crate::journal::InjectOutcome>>,
    /// Whether the effect was seen, and in what; None: no record.
    pub effect: Option<Told<bool>>,
    /// When others had the former release back while this held another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brought_back: Option<Timestamp>,
    /// How the revert went, verified; None: no record.
    pub reverted: Option<Told<crate::journal::RevertOutcome>>,
    /// How many packets of others it had met by then; None where nobody counts, or nobody is left to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<u64>,
    /// How many tries to revert it failed.
    pub revert_failures: u32,
    /// Why the last of them did; empty if none did.
    pub revert_error: String,
}

impl InjectionFacts {
    /// Whether it was in force and met nobody's packets.
    pub fn met_nobody(&self) -> bool {
        self.met == Some(0) && self.effect.as_ref().is_some_and(|told| told.outcome)
    }

    /// Whether, as far as is known, it changed something that no record says is back.
    pub fn may_be_in_force(&self) -> bool {
        let never = self
            .injected
            .as_ref()
            .is_some_and(|told| told.outcome == crate::journal::InjectOutcome::TargetGone);
        self.lasting && self.reverted.is_none() && !never
    }
}

/// A loss of normal, or of data, for as long as the file allows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// The probe.
    pub probe: String,
    /// The first sample of it.
    pub since: Timestamp,
    /// The sample that made it a violation.
    pub at: Timestamp,
    /// What was measured at `at`; None: nothing.
    pub value: Option<f64>,
    /// What else that sample says: why there was nothing to judge, or the numbers of the part that did not hold.
    pub note: String,
    /// The expression that should have held; empty when the file does not tell.
    pub expression: String,
    /// How long it was allowed to be lost, in words.
    pub patience: String,
    /// Whether it was the lack of data.
    pub missing: bool,
}

/// A lane of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lane {
    /// The golden signal; None: other probes.
    pub signal: Option<Signal>,
    /// Its probes, by name; empty: this signal was not measured.
    pub probes: Vec<String>,
}

/// What ran in a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeployedFacts {
    /// Before the first fault; None: not seen.
    pub before: Option<Deployed>,
    /// After everything was back; None: not seen.
    pub after: Option<Deployed>,
    /// Whether images, revision or commit changed; None: not known.
    pub changed: Option<bool>,
}

impl DeployedFacts {
    /// Whether it was rolled out, and is what it was all the same: restarted, or released and brought back.
    pub fn rolled_out(&self) -> bool {
        let both = self.before.as_ref().zip(self.after.as_ref());
        self.changed == Some(true) && both.is_some_and(|(before, after)| same_build(before, after))
    }
}

/// Whether images and commit of two sightings are the same.
pub(super) fn same_build(before: &Deployed, after: &Deployed) -> bool {
    before.images == after.images && before.commit == after.commit
}

/// A lasting fault that no record says is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InForce {
    /// Which application.
    pub injection: InjectionId,
    /// On what.
    pub target: ObjectRef,
    /// In words.
    pub what: String,
    /// How to finish.
    pub remedy: String,
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// When; of what somebody has observed: when they say that they did.
    pub at: Timestamp,
    /// Who has observed it; None: nobody, the run itself has found it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// In words.
    pub text: String,
}

impl Note {
    /// From what is on record of it, and when that was written.
    pub(super) fn of(text: &str, written: Option<&Written>, at: Timestamp) -> Self {
        let (at, by) = written.map_or((at, None), |written| (written.time, Some(written.by.clone())));
        Self { at, by, text: text.to_owned() }
    }
}

impl Facts {
    /// Milliseconds from the first record to `at`; negative before it.
    pub fn since_start(&self, at: Timestamp) -> i64 {
        super::words::millis(self.started, at)
    }

    /// The probe called `name`.
    pub fn probe(&self, name: &str) -> Option<&ProbeFacts> {
        self.probes.iter().find(|probe| probe.name == name)
    }

    /// Every finding of the plan and of steps that were refused, each once, in order.
    pub fn findings(&self) -> Vec<&Finding> {
        let planned = self.plan.iter().flat_map(|plan| &plan.findings);
        let refused = self.steps.iter().flat_map(|step| &step.refusals);
        let mut all: Vec<&Finding> = Vec::new();
        for finding in planned.chain(refused) {
            if !all.contains(&finding) {
                all.push(finding);
            }
        }
        all
    }
}
