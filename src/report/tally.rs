//! How many targets of a step have answered, so that a step of a hundred is told in one sentence.

use jiff::Timestamp;

use super::{ink::Tone, narrate::with, words};

/// How far the injections of a step are.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) total: usize,
    pub(super) answered: usize,
    pub(super) done: usize,
    pub(super) seen: usize,
    pub(super) missed: usize,
    pub(super) intended: Option<Timestamp>,
    /// When, on what and in what an effect was seen last; taken once it was told.
    pub(super) last_seen: Option<(Timestamp, String, String)>,
}

impl Tally {
    /// That the effect was seen, once every target has been hit and looked at.
    pub(super) fn all_seen(&mut self, step: &str) -> Option<(Tone, String)> {
        if self.answered != self.total || self.seen + self.missed < self.done {
            return None;
        }
        let (at, target, evidence) = self.last_seen.take()?;
        let whom = if self.seen == 1 { target } else { words::count(self.seen, "target") };
        let took = self.intended.and_then(|from| u64::try_from(words::millis(from, at)).ok());
        let took = took.map_or(String::new(), |ms| format!(" after {}", words::length(ms)));
        Some((Tone::Good, with(format!("{step}: seen in force on {whom}{took}"), &evidence)))
    }
}
