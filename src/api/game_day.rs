//! A GameDay decoded: experiments in order, and when they may run (format.md, section 7).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Blackout, Experiment, LocalRef, Metadata, Notification, Window, run::STARTING_DEADLINE};
use crate::types::Length;

/// How an answer names the gate of an experiment: `NAME/gate`.
pub const GATE: &str = "gate";
/// How an answer names a prerequisite: `prerequisites/NAME`.
pub const PREREQUISITES: &str = "prerequisites";

/// Experiments in order, with a schedule, windows, approvals and people.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct GameDay {
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: GameDaySpec,
}

/// `spec` of a GameDay.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GameDaySpec {
    /// For people.
    pub description: String,
    /// The controller acts as it; None: each experiment's own.
    pub service_account_name: Option<String>,
    /// What is run, in order.
    pub experiments: Vec<Entry>,
    /// What anything but Passed does, where the entry does not say.
    pub on_failure: OnFailure,
    /// Experiments whose probes are judged before each entry.
    pub steady_state_from: Vec<LocalRef>,
    /// What has to hold before anything begins.
    pub prerequisites: Vec<Prerequisite>,
    /// Five fields of cron; None: by hand.
    pub schedule: Option<String>,
    /// IANA zone of schedule, windows and blackouts.
    pub time_zone: Option<String>,
    /// How often it must have run.
    pub cadence: Option<Cadence>,
    /// Whether the schedule rests.
    pub suspend: bool,
    /// Later than this is missed; None: 30m.
    pub starting_deadline: Option<Length>,
    /// What happens when the last one still runs.
    pub concurrency_policy: ConcurrencyPolicy,
    /// When the whole of it has to fit in; empty: any time.
    pub windows: Vec<Window>,
    /// Whole days on which it may not run.
    pub blackouts: Vec<Blackout>,
    /// Who has to agree; None: nobody.
    pub approvals: Option<Consents>,
    /// Who takes part.
    pub people: Vec<Person>,
    /// Who is told of what.
    pub notifications: Vec<Notification>,
    /// How long it may take.
    pub limits: GameDayLimits,
    /// How many Runs are kept; None: 52.
    pub runs_history_limit: Option<u32>,
}

/// One experiment of a game day.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Unique in the game day.
    pub name: String,
    /// The Experiment; None: the one called like the entry.
    #[serde(default)]
    pub experiment_ref: Option<LocalRef>,
    /// Values of its parameters.
    #[serde(default)]
    pub parameters: Vec<ParameterValue>,
    /// How long to wait before it.
    #[serde(default)]
    pub pause_before: Length,
    /// Whether a person says go.
    #[serde(default)]
    pub gate: Gate,
    /// What anything but Passed does; None: as the game day has it.
    #[serde(default)]
    pub on_failure: Option<OnFailure>,
}

/// A parameter with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterValue {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Who says go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gate {
    /// Nobody has to.
    #[default]
    Automatic,
    /// A person.
    Manual,
}

/// What anything but Passed does to what comes after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// It is skipped.
    #[default]
    Stop,
    /// It runs all the same.
    Continue,
}

/// What happens when a game day comes due and the last one still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConcurrencyPolicy {
    /// The new one is skipped.
    #[default]
    Forbid,
    /// The old one is aborted, and everything put back, first.
    Replace,
}

/// Something that has to hold before anything begins: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prerequisite {
    /// Unique.
    pub name: String,
    /// The steady state of this Experiment holds.
    #[serde(default)]
    pub steady_state_from: Option<LocalRef>,
    /// A person confirms it.
    #[serde(default)]
    pub manual: Option<Confirmation>,
}

/// What a person confirms.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// What has to be so, Markdown.
    pub instructions: String,
    /// Where more is written.
    #[serde(default)]
    pub runbook: String,
}

/// Who has to agree, and until when that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Consents {
    /// How many.
    pub required: u32,
    /// How long ahead the Run is created and waits.
    pub request_before: Length,
    /// How long an approval holds.
    pub valid_for: Length,
}

impl Default for Consents {
    fn default() -> Self {
        let day = Length::from_secs(24 * 3600);
        Self { required: 1, request_before: day, valid_for: day }
    }
}

/// Somebody who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// `Owner`, `Coordinator`, `Reporter`, `Observer`, `OnCall` or `Contact`.
    pub role: String,
    /// Their name.
    pub name: String,
    /// How to reach them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub contact: String,
}

/// How long a game day may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GameDayLimits {
    /// The whole of it; None: 4h.
    pub duration: Option<Length>,
}

/// How often a game day must have run: `90d`, `36h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cadence(pub Duration);

impl TryFrom<String> for Cadence {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let hours = match (text.strip_suffix('d'), text.strip_suffix('h')) {
            (Some(days), _) => days.parse::<u64>().ok().map(|days| days * 24),
            (_, Some(hours)) => hours.parse::<u64>().ok(),
            _ => None,
        };
        let hours = hours.filter(|hours| (1..=9999 * 24).contains(hours));
        let hours = hours.ok_or_else(|| format!("`{text}` is not a number of days or hours such as 90d"))?;
        Ok(Self(Duration::from_secs(hours * 3600)))
    }
}

impl Entry {
    /// Name of its Experiment.
    pub fn experiment(&self) -> &str {
        self.experiment_ref.as_ref().map_or(&self.name, |reference| &reference.name)
    }
}

/// How long a game day may take when it does not say.
pub(super) const DURATION: Duration = Duration::from_secs(4 * 3600);

impl GameDaySpec {
    /// `limits.duration` or its default.
    pub fn duration(&self) -> Duration {
        self.limits.duration.map_or(DURATION, |length| length.0)
    }

    /// `startingDeadline` or its default.
    pub fn starting_deadline(&self) -> Duration {
        self.starting_deadline.map_or(STARTING_DEADLINE, |length| length.0)
    }

    /// `runsHistoryLimit` or its default.
    pub fn runs_history_limit(&self) -> usize {
        self.runs_history_limit.map_or(52, |limit| limit as usize)
    }

    /// What anything but Passed of that entry does.
    pub fn on_failure(&self, entry: &Entry) -> OnFailure {
        entry.on_failure.unwrap_or(self.on_failure)
    }
}

impl GameDay {
    /// From the JSON of a file's document, or of an object of the API server.
    ///
    /// # Errors
    /// The first thing that does not fit; `check` says all of them, with places.
    pub fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(value.clone())
    }
}

/// Everything that a game day runs, with parameters filled in and borrowed probes in their places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acts {
    /// The experiment of each entry, in order.
    pub experiments: Vec<Act>,
    /// What is judged before each of them: an experiment without a method.
    pub between: Option<Act>,
    /// The same for each prerequisite that names an Experiment, by name of the prerequisite.
    pub prerequisites: Vec<(String, Act)>,
}

/// An experiment as a game day runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// Decoded.
    pub experiment: Experiment,
    /// The same as JSON, for the journal.
    pub json: Value,
    /// The file that it is from.
    pub source: String,
}
