//! What is remarkable about samples, and about normal being lost and found.

use super::{Narrator, with};
use crate::{
    journal::{Entry, Record, SampleState},
    report::{ink::Tone, words},
};

impl Narrator {
    pub(super) fn of_probes(&mut self, entry: &Entry, told: &mut Vec<(Tone, String)>) {
        match &entry.record {
            Record::Sampled { probe, state, value, expect, note, alerting, .. } => {
                if self.alerts.contains(probe) != *alerting && *state != SampleState::Missing {
                    let (tone, what) =
                        if *alerting { (Tone::Warning, "fires") } else { (Tone::Good, "is quiet again") };
                    told.push((tone, format!("{probe} {what}")));
                    if *alerting {
                        self.alerts.insert(probe.clone())
                    } else {
                        self.alerts.remove(probe)
                    };
                }
                let last = self.states.insert(probe.clone(), *state);
                let was_bad = matches!(last, Some(SampleState::Outside | SampleState::Missing));
                match state {
                    _ if last == Some(*state) => {}
                    SampleState::Outside => {
                        // `expect` may hold where `during` does not: the guard is what was lost then.
                        let guards =
                            *expect != Some(false) || self.tallies.values().any(|tally| tally.total > 0);
                        let wants = self.wants(probe, guards);
                        // A kind that judges by itself says its number and why.
                        let (seen, why) = match wants.is_empty() {
                            true => (words::value(*value), note.as_str()),
                            false => (words::seen(*value, note), ""),
                        };
                        told.push((Tone::Warning, with(format!("{probe} is outside: {seen}{wants}"), why)));
                    }
                    SampleState::Missing => {
                        told.push((Tone::Warning, with(format!("{probe} has no data"), note)))
                    }
                    SampleState::Within if was_bad => {
                        told.push((Tone::Good, format!("{probe} is within again: {}", words::value(*value))));
                    }
                    SampleState::Within | SampleState::Recorded => {}
                }
            }
            Record::Violated { probe, since, missing } => {
                let spec = self.probe(probe);
                let patience = spec.map_or(String::new(), |spec| format!(" ({})", words::patience_of(spec)));
                let what = if *missing { "no data" } else { "normal lost" };
                told.push((Tone::Bad, format!("{what}: {probe} since {}{patience}", self.since(*since))));
            }
            Record::Recovered { since } => {
                told.push((Tone::Good, format!("steady again since {}", self.since(*since))));
            }
            Record::NotRecovered { probes } => {
                told.push((Tone::Bad, format!("not steady again in time: {}", probes.join(", "))));
            }
            _ => {}
        }
    }

    /// `, wants value >= 0.95`.
    fn wants(&self, probe: &str, guards: bool) -> String {
        let spec = self.probe(probe);
        let expression = spec.and_then(|spec| {
            if guards { spec.during.as_ref().or(spec.expect.as_ref()) } else { spec.expect.as_ref() }
        });
        expression.map_or(String::new(), |expression| format!(", wants {expression}"))
    }
}
