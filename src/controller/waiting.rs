//! What is told of Runs that are due and that no replica has taken up: `kubectl get runs` shows why. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{catalog::Deed, seen::RunSeen, status};
use crate::types::RunId;

/// Whoever has room takes one up within a second: what is free for longer waits.
const FREE_FOR: SignedDuration = SignedDuration::from_secs(3);
/// How long it is waited before what could not be told is tried again; a watch takes a moment to show it.
const TOLD_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// Since when Runs are free, and when that was told last.
#[derive(Default)]
pub(super) struct Waiting(BTreeMap<RunId, (Timestamp, Option<Timestamp>)>);

impl Waiting {
    /// What is to be told now; `free`: whether nobody has taken one up.
    pub(super) fn deeds(
        &mut self,
        runs: &BTreeMap<RunId, RunSeen>,
        free: impl Fn(&RunId) -> bool,
        now: Timestamp,
    ) -> Vec<Deed> {
        let waits = |run: &RunSeen| !run.over() && !run.deleted && !run.finalizer && free(&run.id);
        self.0.retain(|id, _| runs.get(id).is_some_and(waits));
        let mut deeds = Vec::new();
        for run in runs.values().filter(|run| waits(run)) {
            let (since, told) = self.0.entry(run.id.clone()).or_insert((now, None));
            let recently = told.is_some_and(|told| now.duration_since(told).abs() < TOLD_AGAIN);
            if now.duration_since(*since) < FREE_FOR || recently {
                continue;
            }
            let words = "every replica has as many runs at work as it may (--at-once)";
            let status = status::waits(run, words, now);
            if status != run.status {
                *told = Some(now);
                deeds.push(Deed::Waits(run.object.clone(), run.status.clone(), status));
            }
        }
        deeds
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: Value) -> BTreeMap<RunId, RunSeen> {
        let run = json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Run",
            "metadata": {"name": "trial-1", "namespace": "shop", "uid": "u", "generation": 2},
            "spec": {"experimentRef": {"name": "trial"}}, "status": status});
        let run = RunSeen::read(&serde_json::from_value(run).expect("an object")).expect("a Run");
        BTreeMap::from([(run.id.clone(), run)])
    }

    #[test]
    fn what_nobody_takes_up_is_told_once_and_loses_nothing_that_was_known() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).expect("a time");
        let mut waiting = Waiting::default();
        let runs = seen(json!({"seed": 7, "hash": "sha256:1", "phase": "AwaitingApproval", "conditions": [
            {"type": "Approved", "status": "True", "reason": "ByOthers", "message": "bob", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]}));
        assert_eq!(waiting.deeds(&runs, |_| true, at(0)), []);
        let deeds = waiting.deeds(&runs, |_| true, at(4));
        let [Deed::Waits(object, before, status)] = &deeds[..] else { panic!("{deeds:?}") };
        assert_eq!((object.name.as_str(), &before["phase"]), ("trial-1", &json!("AwaitingApproval")));
        assert_eq!(
            (&status["phase"], &status["subject"], &status["observedGeneration"], &status["reason"]),
            (&json!("Pending"), &json!("Experiment/trial"), &json!(2), &json!("Waiting"))
        );
        assert_eq!((&status["seed"], &status["hash"]), (&json!(7), &json!("sha256:1")));
        assert!(status["message"].as_str().is_some_and(|why| why.contains("--at-once")), "{status}");
        let conditions = status["conditions"].as_array().expect("conditions");
        let kinds: Vec<&Value> = conditions.iter().map(|one| &one["type"]).collect();
        assert_eq!(kinds, ["Approved", "Accepted", "Succeeded"]);
        // Until the watch shows it, and when it does.
        assert_eq!(waiting.deeds(&runs, |_| true, at(5)), []);
        let told = seen(status.clone());
        assert_eq!(waiting.deeds(&told, |_| true, at(60)), []);
        // Somebody has it, or it is over.
        assert_eq!(waiting.deeds(&runs, |_| false, at(90)), []);
        assert_eq!(waiting.deeds(&seen(json!({"phase": "Finished"})), |_| true, at(200)), []);
    }
}
