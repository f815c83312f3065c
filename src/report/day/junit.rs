//! A game day for a CI system: a suite of its own, for what belongs to no experiment.

use super::DayFacts;
use crate::report::junit::{Answer, Case};
use crate::types::Verdict;

/// That it came to its end.
const RAN: &str = "game day";

/// What was asked, and that all was run.
pub(in crate::report) fn cases(day: &DayFacts) -> Vec<Case> {
    let mut cases: Vec<Case> = day
        .asked
        .iter()
        .map(|asked| Case {
            name: asked.what.clone(),
            ms: i64::try_from(asked.took_ms).unwrap_or(i64::MAX),
            answer: match asked.holds {
                true => Answer::Held,
                false => Answer::error("NotHeld", asked.detail.clone()),
            },
            seen: if asked.holds { asked.detail.clone() } else { String::new() },
        })
        .collect();
    let kind = if day.reason.is_empty() { day.verdict.to_string() } else { day.reason.clone() };
    let answer = match day.verdict {
        _ if day.exit_code == 0 => Answer::Held,
        Verdict::Failed if day.exit_code == 1 => Answer::failure(&kind, day.message.clone()),
        _ => Answer::error(&kind, day.message.clone()),
    };
    cases.push(Case { name: RAN.to_owned(), ms: 0, answer, seen: day.message.clone() });
    cases
}
