//! What came of an object's Runs that are over. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{controller::seen::RunSeen, types::RunId};

/// Reasons why a Run did not begin that are somebody's wish: its schedule rests, or asks for it no more. They say
/// nothing of the game day.
const WITHDRAWN: [&str; 2] = ["Suspended", "NotScheduled"];

/// The last Run of an object that is over, and when it was as it should be last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LastRun {
    pub name: String,
    pub verdict: String,
    pub at: Timestamp,
    pub completed: String,
    /// When one passed last.
    pub passed: Option<Timestamp>,
    /// When one was over last that was carried out, whatever came of it: what a cadence counts. One that was refused,
    /// or ended before it began, is no occurrence.
    pub held: Option<Timestamp>,
}

/// By namespace and `KIND/NAME`.
///
/// Of an Experiment only those that were carried out: what never began says nothing of what it would have tried. Of a
/// GameDay those that were refused too: that a day was not held is news, and one that passed before hides it.
pub(super) fn last_runs(runs: &BTreeMap<RunId, RunSeen>) -> BTreeMap<(String, String), LastRun> {
    let mut last: BTreeMap<(String, String), LastRun> = BTreeMap::new();
    for run in runs.values().filter(|run| run.over()) {
        let (Ok(spec), Some(at)) = (&run.spec, run.completed()) else { continue };
        let text = |field: &str| run.status[field].as_str().unwrap_or_default().to_owned();
        let verdict = text("verdict");
        let withdrawn = verdict == "Refused" && WITHDRAWN.contains(&text("reason").as_str());
        if withdrawn || !run.is_day() && !run.began() {
            continue;
        }
        let key = (run.object.namespace.clone(), spec.subject());
        let before = last.get(&key);
        let passed = (verdict == "Passed").then_some(at).max(before.and_then(|before| before.passed));
        let held = run.began().then_some(at).max(before.and_then(|before| before.held));
        let newest = match before.filter(|before| before.at >= at) {
            Some(before) => LastRun { passed, held, ..before.clone() },
            None => {
                let (name, completed) = (run.object.name.clone(), text("completionTime"));
                LastRun { name, verdict, at, completed, passed, held }
            }
        };
        last.insert(key, newest);
    }
    last
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::API_VERSION;

    fn run((name, of): (&str, &Value), (verdict, reason, began, hour): (&str, &str, bool, u8)) -> RunSeen {
        let at = format!("2026-11-24T{hour:02}:00:00Z");
        let mut status =
            json!({"phase": "Finished", "verdict": verdict, "reason": reason, "completionTime": at});
        if began {
            status["startTime"] = json!(at);
        }
        let object = json!({"apiVersion": API_VERSION, "kind": "Run",
            "metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": of, "status": status});
        RunSeen::read(&serde_json::from_value(object).expect("an object")).expect("a Run")
    }

    fn last(of: &Value, ended: &[(&str, &str, bool, u8)]) -> Option<LastRun> {
        let names = ["a", "b", "c", "d"];
        let runs = names.iter().zip(ended).map(|(name, ended)| run((name, of), *ended));
        let all = runs.map(|run| (run.id.clone(), run)).collect();
        last_runs(&all).into_values().next()
    }

    fn at(hour: u8) -> Option<Timestamp> {
        format!("2026-11-24T{hour:02}:00:00Z").parse().ok()
    }

    const PASSED: (&str, &str, bool, u8) = ("Passed", "AllPassed", true, 10);

    #[test]
    fn a_day_that_was_refused_is_the_last_one_and_no_occurrence() {
        let day = json!({"gameDayRef": {"name": "weekly"}});
        // Some are refused when they have begun: a prerequisite does not hold.
        for refused in
            [("Refused", "DeadlineExceeded", false, 11), ("Refused", "PrerequisiteFailed", true, 11)]
        {
            let last = last(&day, &[PASSED, refused]).expect("there is one");
            assert_eq!((last.verdict.as_str(), Some(last.at)), ("Refused", at(11)));
            assert_eq!((last.passed, last.held), (at(10), at(10)));
        }
        let failed = ("Failed", "Violated", true, 12);
        let last = last(&day, &[PASSED, ("Refused", "Refused", false, 11), failed]).expect("there is one");
        assert_eq!((last.verdict.as_str(), last.passed, last.held), ("Failed", at(10), at(12)));
    }

    #[test]
    fn one_that_ended_before_it_began_is_no_occurrence() {
        let day = json!({"gameDayRef": {"name": "weekly"}});
        let last = last(&day, &[("Aborted", "UserAbort", false, 11)]).expect("there is one");
        assert_eq!((last.verdict.as_str(), last.held), ("Aborted", None));
    }

    #[test]
    fn what_somebody_has_withdrawn_says_nothing() {
        let day = json!({"gameDayRef": {"name": "weekly"}});
        for reason in WITHDRAWN {
            let last = last(&day, &[PASSED, ("Refused", reason, false, 11)]).expect("there is one");
            assert_eq!((last.verdict.as_str(), Some(last.at)), ("Passed", at(10)));
        }
        // Of an Experiment nothing that was refused does.
        let experiment = json!({"experimentRef": {"name": "trial"}});
        assert_eq!(last(&experiment, &[("Refused", "Refused", false, 11)]), None);
    }
}
