//! Journal into facts, facts into text, Markdown, JSON, JUnit's XML and a page.
//!
//! [`Facts::from_entries`] is pure and needs nothing but the journal: what is not in it is reported as
//! not measured, never guessed. The renderers are pure as well; everything that comes from outside
//! (names, messages, answers of servers) is made harmless where it is written, in `ink`, `markdown` and
//! `markup`.

mod agents;
mod chapter;
mod clocks;
pub mod day;
mod facts;
mod gather;
pub mod html;
mod ink;
#[cfg(test)]
pub(crate) mod journals;
pub mod json;
pub mod junit;
pub mod markdown;
mod markup;
mod narrate;
mod phrases;
mod probes;
mod rehearsed;
mod shift;
mod sparkline;
mod tally;
pub mod text;
mod words;

pub use crate::journal::Asked;
pub use chapter::{AFTER_ANOTHER, Chapter};
pub use clocks::{Milestone, Objective};
pub use day::{DayEntry, DayFacts};
pub use facts::{
    CheckFacts, DeployedFacts, Facts, FaultWindow, InForce, InjectionFacts, Lane, Note, Outcome, Owner,
    People, Place, PlanFacts, ReportError, Source, StepFacts, StepState, Stop, Told, Violation,
};
pub use ink::{NARROWEST, Style, Tone, clean, wrap};
pub use narrate::{Event, Narrator};
pub use probes::{ProbeFacts, SampleFact, Spread};
pub use rehearsed::without_a_cluster;
pub use shift::Shift;
pub use words::{length, moment, number};

#[cfg(test)]
mod tests;
