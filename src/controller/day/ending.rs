//! What a game day came to as a whole.

use super::{End, Going, Venue};
use crate::{
    report::{Chapter, DayEntry, DayFacts},
    types::{ExitCode, Verdict, counted},
};

/// What came of a game day.
pub(crate) struct Held {
    pub day: DayFacts,
    pub chapters: Vec<Chapter>,
    pub code: ExitCode,
}

impl<V: Venue> Going<'_, V> {
    /// Everything is over: the worst of it is what it came to.
    pub(super) fn finish(self) -> Held {
        let planned = self.outing.planned;
        let (day, spec) = (planned.day, &planned.day.spec);
        let entries = spec.experiments.iter().zip(&self.chapters);
        let experiments: Vec<DayEntry> =
            entries.map(|(entry, chapter)| DayEntry::of(&entry.name, entry.experiment(), chapter)).collect();
        let ended = self.end.as_ref().map(|end| end.code);
        let code = ExitCode::worst(self.codes.iter().copied().chain(ended));
        let (reason, message) = words(&experiments, (self.end.as_ref(), self.not_run));
        let facts = DayFacts {
            game_day: day.metadata.name.clone(),
            namespace: day.metadata.namespace.clone().unwrap_or_default(),
            description: spec.description.clone(),
            file: planned.file.to_owned(),
            seed: self.outing.seed,
            place: self.venue.place(),
            by: self.venue.by(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            scheduled: self.outing.scheduled.clone(),
            started: self.started,
            ended: self.venue.now(),
            people: spec.people.clone(),
            verdict: verdict(code, &self.chapters),
            reason,
            message,
            exit_code: code as u8,
            experiments,
            asked: self.asked,
        };
        Held { day: facts, chapters: self.chapters, code }
    }
}

/// The verdict beside an exit code; with residue that of the worst of what ran.
fn verdict(code: ExitCode, chapters: &[Chapter]) -> Verdict {
    match code {
        ExitCode::Ok => Verdict::Passed,
        ExitCode::Failed => Verdict::Failed,
        ExitCode::Invalid | ExitCode::Refused => Verdict::Refused,
        ExitCode::Inconclusive => Verdict::Inconclusive,
        ExitCode::Aborted => Verdict::Aborted,
        ExitCode::NotSteady => Verdict::NotSteady,
        ExitCode::Residue => {
            let verdicts = chapters.iter().filter_map(|chapter| chapter.run()?.outcome.verdict);
            let worst = ExitCode::worst(verdicts.map(|verdict| ExitCode::of(verdict, false)));
            if worst == ExitCode::Residue { Verdict::Inconclusive } else { self::verdict(worst, &[]) }
        }
    }
}

/// Why it came to that; `not_run`: why an experiment was skipped where the day was not over for it.
fn words(experiments: &[DayEntry], (end, not_run): (Option<&End>, &str)) -> (String, String) {
    let all = experiments.len();
    let of = |word: &str| experiments.iter().filter(|entry| entry.verdict == word).count();
    let (passed, skipped) = (of("Passed"), of("Skipped"));
    if passed == all {
        let words = if all == 1 {
            "the experiment passed".to_owned()
        } else {
            format!("all {all} experiments passed")
        };
        return ("AllPassed".to_owned(), words);
    }
    let others = experiments.iter().filter(|entry| !["Passed", "Skipped"].contains(&entry.verdict.as_str()));
    let mut parts = vec![format!("{passed} of {} passed", counted(all, "experiment"))];
    parts.extend(others.clone().map(|entry| format!("{} {}", entry.name, entry.verdict)));
    if skipped > 0 {
        parts.push(format!("{skipped} skipped"));
    }
    let told = parts.join(", ");
    if let Some(end) = end.filter(|end| !end.reason.is_empty()) {
        return (end.reason.to_owned(), format!("{}; {told}", end.message));
    }
    // What was not run because somebody did not want it has no reason of its own.
    let reason = others.map(|entry| entry.reason.clone()).find(|reason| !reason.is_empty());
    (reason.unwrap_or_else(|| not_run.to_owned()), told)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{NO_GO, SKIPPED},
        *,
    };

    fn entry(name: &str, verdict: &str, reason: &str) -> DayEntry {
        let chapter = Chapter::Skipped { experiment: name.to_owned(), why: String::new() };
        let (verdict, reason) = (verdict.to_owned(), reason.to_owned());
        DayEntry { verdict, reason, ..DayEntry::of(name, name, &chapter) }
    }

    #[test]
    fn nothing_but_all_passed_is_told_as_passed() {
        let passed = entry("a", "Passed", "HypothesisHeld");
        let both = [passed.clone(), entry("b", "Passed", "HypothesisHeld")];
        assert_eq!(
            words(&both, (None, NO_GO)),
            ("AllPassed".to_owned(), "all 2 experiments passed".to_owned())
        );
        let failed = [passed.clone(), entry("b", "Failed", "Violated"), entry("c", "Skipped", "")];
        let (reason, message) = words(&failed, (None, NO_GO));
        assert_eq!(
            (reason.as_str(), message.as_str()),
            ("Violated", "1 of 3 experiments passed, b Failed, 1 skipped")
        );
        let end = End { code: ExitCode::Aborted, reason: "NoGo", message: "no go for b".to_owned() };
        let (reason, message) = words(&[passed.clone(), entry("b", "Skipped", "")], (Some(&end), NO_GO));
        assert_eq!(
            (reason.as_str(), message.as_str()),
            ("NoGo", "no go for b; 1 of 2 experiments passed, 1 skipped")
        );
        let (reason, message) = words(&[entry("b", "Skipped", ""), passed], (None, SKIPPED));
        assert_eq!(
            (reason.as_str(), message.as_str()),
            ("ExperimentSkipped", "1 of 2 experiments passed, 1 skipped")
        );
    }
}
