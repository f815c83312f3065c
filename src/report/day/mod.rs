//! A game day as a whole: what became of each experiment, and of what was asked between them.
//!
//! Experiments are told by their own journals, each in the chapter after this one; here is what binds them together.

mod html;
mod junit;
mod kept;
mod markdown;
mod text;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{Chapter, Tone, words};
use crate::{
    api::Person,
    journal::Asked,
    types::{ExitCode, RunId, Verdict},
};

pub(super) use html::{article, word_of};
pub(super) use junit::cases;
pub use kept::kept;
pub use markdown::render as markdown;
pub use text::render as text;

/// A game day. Field names are those of the JSON report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DayFacts {
    /// Its name.
    pub game_day: String,
    /// Its namespace.
    pub namespace: String,
    /// For people.
    pub description: String,
    /// Where it was read.
    pub file: String,
    /// Every choice follows from it.
    pub seed: u64,
    /// Where, in words.
    pub place: String,
    /// Who ran it; empty if nobody got to know.
    pub by: String,
    /// firedrill's version.
    pub version: String,
    /// The time of its schedule that it is for, in the zone's words; None: by hand.
    pub scheduled: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it was over.
    pub ended: Timestamp,
    /// Who takes part.
    pub people: Vec<Person>,
    /// The worst of its experiments, and of what was asked between them.
    pub verdict: Verdict,
    /// CamelCase and stable: AllPassed, PrerequisiteFailed, NoGo, ExperimentSkipped, DurationExceeded, or the reason of what was worst.
    pub reason: String,
    /// In words.
    pub message: String,
    /// What a process that ran it alone exits with.
    pub exit_code: u8,
    /// Each experiment, in order; the chapters after this one are theirs.
    pub experiments: Vec<DayEntry>,
    /// What was asked before and between them, in order.
    pub asked: Vec<Asked>,
}

/// What became of one experiment of a game day.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DayEntry {
    /// Its name in the game day.
    pub name: String,
    /// The Experiment.
    pub experiment: String,
    /// The verdict, or `Skipped`, or `Lost`.
    pub verdict: String,
    /// CamelCase and stable; empty for what was skipped.
    pub reason: String,
    /// In words.
    pub message: String,
    /// The run; None: there was none.
    pub run: Option<RunId>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Time to heal in milliseconds; None: not measured.
    pub rto_ms: Option<u64>,
    /// Time to recover in milliseconds; None: not measured.
    pub recovery_ms: Option<u64>,
}

impl DayEntry {
    /// From the chapter of an experiment.
    pub fn of(name: &str, experiment: &str, chapter: &Chapter) -> Self {
        let empty = Self {
            name: name.to_owned(),
            experiment: experiment.to_owned(),
            verdict: String::new(),
            reason: String::new(),
            message: String::new(),
            run: None,
            started: None,
            ended: None,
            rto_ms: None,
            recovery_ms: None,
        };
        match chapter {
            Chapter::Run(facts) => Self {
                verdict: facts.outcome.verdict.map_or("NoVerdict".to_owned(), |verdict| verdict.to_string()),
                reason: facts.outcome.reason.clone(),
                message: facts.outcome.message.clone(),
                run: Some(facts.run.clone()),
                started: Some(facts.started),
                ended: facts.ended,
                rto_ms: facts.clocks.rto_ms,
                recovery_ms: facts.clocks.recovery_ms,
                ..empty
            },
            Chapter::Lost { error, .. } => {
                Self { verdict: "Lost".to_owned(), message: error.clone(), ..empty }
            }
            Chapter::Skipped { why, .. } => {
                Self { verdict: "Skipped".to_owned(), message: why.clone(), ..empty }
            }
            Chapter::Day(_) => empty,
        }
    }

    fn tone(&self) -> Tone {
        match self.verdict.as_str() {
            "Passed" => Tone::Good,
            "Failed" | "Lost" => Tone::Bad,
            "Skipped" => Tone::Faint,
            _ => Tone::Warning,
        }
    }

    /// The reason where it says more than the verdict, and the words.
    fn meaning(&self) -> String {
        match (self.reason.as_str(), self.message.as_str()) {
            ("", message) => message.to_owned(),
            (reason, message) if reason == self.verdict => message.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }

    /// What was measured, in words.
    fn clocks(&self) -> String {
        let part = |name: &str, ms: Option<u64>| ms.map(|ms| format!("{name} {}", words::length(ms)));
        let parts = [part("rto", self.rto_ms), part("recovery", self.recovery_ms)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl DayFacts {
    fn tone(&self) -> Tone {
        match (self.verdict, self.exit_code) {
            (_, code) if code == ExitCode::Residue as u8 => Tone::Bad,
            (Verdict::Passed, _) => Tone::Good,
            (Verdict::Failed, _) => Tone::Bad,
            _ => Tone::Warning,
        }
    }

    fn took(&self) -> String {
        words::length(u64::try_from(words::millis(self.started, self.ended)).unwrap_or(0))
    }

    /// When it began, for which time, and how long it took.
    fn when(&self) -> String {
        let due = self.scheduled.as_ref().map_or_else(String::new, |due| format!(", for {due}"));
        format!("{}{due}, took {}", words::clock(self.started), self.took())
    }

    fn location(&self) -> String {
        match self.namespace.as_str() {
            "" => self.place.clone(),
            namespace => format!("{}, namespace {namespace}", self.place),
        }
    }

    fn who(&self) -> Vec<String> {
        let contact = |person: &Person| match person.contact.as_str() {
            "" => String::new(),
            contact => format!(" ({contact})"),
        };
        self.people
            .iter()
            .map(|person| format!("{} {}{}", person.role, person.name, contact(person)))
            .collect()
    }

    fn source(&self) -> String {
        format!("{}, seed {}, firedrill {}", self.file, self.seed, self.version)
    }

    fn meaning(&self) -> String {
        match self.reason.as_str() {
            "" => self.message.clone(),
            reason => format!("{reason}: {}", self.message),
        }
    }

    /// A moment since it began.
    fn moment(&self, at: Timestamp) -> String {
        words::moment(words::millis(self.started, at))
    }
}

/// One document of a game day and the chapters of its experiments, ending in a line break.
pub fn json(day: &DayFacts, chapters: &[Chapter]) -> String {
    let mut document = serde_json::to_value(day).unwrap_or_default();
    document["schemaVersion"] = super::json::SCHEMA_VERSION.into();
    for (at, chapter) in chapters.iter().enumerate() {
        if let Some(facts) = chapter.run() {
            document["experiments"][at]["report"] = serde_json::to_value(facts).unwrap_or(Value::Null);
        }
    }
    super::json::harmless(&document)
}
