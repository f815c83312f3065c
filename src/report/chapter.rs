//! What became of each experiment that a command was given.

use jiff::Timestamp;

use super::{DayFacts, Facts, PlanFacts, words};
use crate::{
    journal::{Clocks, Entry, Header, Record},
    types::{Epoch, Finding, Verdict},
};

/// What became of an experiment: reports that hold several have one of these for each.
#[derive(Clone, Debug, PartialEq)]
pub enum Chapter {
    /// It ran, or was refused.
    Run(Box<Facts>),
    /// It could not be begun, or nothing of it is on record: in words.
    Lost {
        /// Name of the experiment.
        experiment: String,
        /// Why.
        error: String,
    },
    /// It was not run.
    Skipped {
        /// Name of the experiment.
        experiment: String,
        /// Why.
        why: String,
    },
    /// A game day; the chapters of its experiments follow, one for each.
    Day(Box<DayFacts>),
}

impl Chapter {
    /// The run, if it came to one.
    pub fn run(&self) -> Option<&Facts> {
        match self {
            Self::Run(facts) => Some(facts),
            Self::Lost { .. } | Self::Skipped { .. } | Self::Day(_) => None,
        }
    }
}

/// Why an experiment is not run after another.
pub const AFTER_ANOTHER: &str = "an experiment before it did not pass";

impl Facts {
    /// An experiment that was refused at `at`, before there was a journal: nothing was changed.
    pub fn refused(header: Header, findings: Vec<Finding>, at: Timestamp) -> Self {
        let refusing = findings.iter().filter(|finding| finding.is_error()).count();
        let message = format!(
            "{}; nothing was changed",
            words::count(refusing, "finding")
                + match refusing {
                    1 => " refuses it",
                    _ => " refuse it",
                }
        );
        let verdict = Verdict::Refused;
        Self::declined(header, (verdict, verdict.to_string(), message), findings, at)
    }

    /// An experiment that ended so at `at`, before there was a journal: verdict, reason, words.
    pub fn declined(
        header: Header,
        (verdict, reason, message): (Verdict, String, String),
        findings: Vec<Finding>,
        at: Timestamp,
    ) -> Self {
        let records = [
            Record::RunStarted(Box::new(header)),
            Record::Decided { verdict, reason, message },
            Record::Finished { verdict, clocks: Clocks::default(), residue: Vec::new() },
        ];
        let entry = |(seq, record)| Entry { seq, at, epoch: Epoch(0), record };
        let entries: Vec<Entry> = (0..).zip(records).map(entry).collect();
        let facts = Self::from_entries(&entries).expect("it begins with RunStarted");
        // There is no more of a plan than what speaks against it.
        Self { plan: Some(PlanFacts { findings, earliest_abort_ms: 0, calls: 0 }), ..facts }
    }
}
