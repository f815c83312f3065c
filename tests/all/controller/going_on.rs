//! `onRunnerLoss: Resume`: a survivor goes on with what its replica has left, where that is no guess.

use firedrill::{
    engine,
    journal::{Entry, Record, RevertOutcome, StopReason},
    types::{Epoch, ObjectRef},
};
use serde_json::{Value, json};

use super::office::{Office, Replica, SCALE, assert_whole};
use crate::{crash::house::experiment_of, kit::in_virtual_time};

/// The house's experiment with `Resume`.
fn resumes(steps: &[&str]) -> String {
    resumes_during("\"true\"", steps)
}

fn resumes_during(during: &str, steps: &[&str]) -> String {
    experiment_of("value >= 4.0", during, steps).replace("  baseline:", "  onRunnerLoss: Resume\n  baseline:")
}

/// A replica dies with the fault of its run in force, and another is there.
async fn lost(text: &str) -> (Office, ObjectRef, [Replica; 2]) {
    let office = Office::with(text).await;
    let first = office.replica("a");
    let run = office.run("trial-1", json!({"seed": 7})).await;
    office.shrunk().await;
    // What is seen in force is written down a moment later.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let second = office.replica("b");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    first.dies();
    (office, run, [first, second])
}

fn owners(entries: &[Entry]) -> Vec<bool> {
    let owners = entries.iter().filter_map(|entry| match &entry.record {
        Record::OwnerChanged { goes_on, .. } => Some(*goes_on),
        _ => None,
    });
    owners.collect()
}

fn verdict(status: &Value) -> (&str, &str) {
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    (text("verdict"), text("reason"))
}

#[test]
fn a_survivor_goes_on_where_the_file_asks_for_it() {
    in_virtual_time(async {
        let again = "{name: again, target: {workload: deployment/web}, scale: {replicas: 2}, duration: 20s}";
        let (office, run, _replicas) = lost(&resumes(&[SCALE, again])).await;
        let status = office.over(&run).await;
        let entries = office.journal(&run).await;
        assert_eq!(verdict(&status), ("Passed", "HypothesisHeld"), "{status}");
        assert_eq!(status["runner"]["epoch"], 2);
        let state = assert_whole(&entries);
        assert_eq!(owners(&entries), [true]);
        assert_eq!(state.injections.len(), 2, "the second step was the survivor's");
        // It stayed in force for as long as the file says, with a runner or without.
        let shrunk = state.injections.values().find(|found| found.injection.id.step() == "shrink");
        let (back, outcome) = shrunk.and_then(|found| found.reverted).expect("it was taken back");
        assert_eq!(outcome, RevertOutcome::Restored);
        let held = back.duration_since(shrunk.and_then(|found| found.seen).expect("it was seen")).as_secs();
        assert!((119..=125).contains(&held), "{held} s");
        // Both have measured, and nobody between them.
        let sampled = |epoch| {
            entries.iter().any(|entry| entry.epoch == epoch && matches!(entry.record, Record::Sampled { .. }))
        };
        assert!(sampled(Epoch(1)) && sampled(Epoch(2)));
        office.assert_as_before().await;
        assert_eq!(office.held(), Vec::<String>::new());
    });
}

#[test]
fn what_is_lost_after_that_is_found_by_the_survivor() {
    in_virtual_time(async {
        let none = "{name: none, target: {workload: deployment/web}, scale: {replicas: 0}, duration: 1m}";
        let (office, run, _replicas) = lost(&resumes_during("value >= 1.0", &[SCALE, none])).await;
        let status = office.over(&run).await;
        assert_eq!(verdict(&status), ("Failed", "Violated"), "{status}");
        assert_eq!(owners(&office.journal(&run).await), [true]);
        assert_whole(&office.journal(&run).await);
        office.assert_as_before().await;
    });
}

#[test]
fn who_aborts_while_nobody_has_it_gets_it_put_back() {
    in_virtual_time(async {
        let (office, run, _replicas) = lost(&resumes(&[SCALE])).await;
        office.set(&run, json!({"abort": true})).await;
        let status = office.over(&run).await;
        assert_eq!(verdict(&status).0, "Aborted", "{status}");
        assert_eq!(owners(&office.journal(&run).await), [false]);
        office.assert_as_before().await;
    });
}

#[test]
fn a_guardrail_that_came_meanwhile_ends_it() {
    in_virtual_time(async {
        let (office, run, _replicas) = lost(&resumes(&[SCALE])).await;
        office.halt().await;
        let status = office.over(&run).await;
        assert_eq!(verdict(&status), ("Aborted", "Halted"), "{status}");
        let entries = office.journal(&run).await;
        assert_eq!(owners(&entries), [true]);
        let stopped =
            |record: &Record| matches!(record, Record::StopRequested { reason: StopReason::Halted, .. });
        assert!(entries.iter().any(|entry| entry.epoch == Epoch(2) && stopped(&entry.record)));
        assert_eq!(office.replicas(), 4);
    });
}

#[test]
fn an_account_that_is_gone_is_not_gone_on_with() {
    in_virtual_time(async {
        let (office, run, _replicas) = lost(&resumes(&[SCALE])).await;
        office.delete(&ObjectRef::namespaced("v1", "ServiceAccount", "shop", "firedrill")).await;
        let status = office.over(&run).await;
        assert_eq!(verdict(&status), ("Aborted", "RunnerLost"), "{status}");
        assert_eq!(owners(&office.journal(&run).await), [false]);
        assert_eq!(office.replicas(), 4);
    });
}

#[test]
fn a_game_day_goes_on_with_the_experiment_that_was_in_force() {
    in_virtual_time(async {
        let office = Office::with(&resumes(&[SCALE])).await;
        let first = office.replica("a");
        let day = json!({"apiVersion": firedrill::api::API_VERSION, "kind": "GameDay",
            "metadata": {"name": "weekly", "namespace": "shop"},
            "spec": {"experiments": [{"name": "one", "experimentRef": {"name": "trial"}}]}});
        let object = ObjectRef::namespaced(firedrill::api::API_VERSION, "GameDay", "shop", "weekly");
        office.access.create(&object, day, Default::default()).await.expect("it is created");
        let run = office.make("weekly-1", json!({"gameDayRef": {"name": "weekly"}, "seed": 7})).await;
        office.shrunk().await;
        let _second = office.replica("b");
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        first.dies();
        let status = office.over(&run).await;
        assert_eq!(verdict(&status), ("Passed", "AllPassed"), "{status}");
        office.assert_as_before().await;
    });
}

/// At every record: either it is known where the run was, or why that is not known enough.
#[test]
fn what_would_be_a_guess_is_put_back() {
    in_virtual_time(async {
        let office = Office::with(&resumes(&[SCALE])).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({"seed": 7})).await;
        office.over(&run).await;
        let entries = office.journal(&run).await;
        let mut guesses = 0;
        for length in 1..entries.len() {
            let (before, last) = (&entries[..length], &entries[length - 1].record);
            let why = engine::put_back_because(before);
            if matches!(last, Record::InjectIntended { .. }) {
                guesses += 1;
                assert_eq!(why.as_deref(), Some("whether shrink.0 has happened is not known"));
            }
            let under_way = before.iter().any(|entry| matches!(entry.record, Record::InjectIntended { .. }))
                && !before.iter().any(|entry| matches!(entry.record, Record::Injected { .. }));
            assert_eq!(why.is_some(), under_way, "after record {length}: {why:?}");
        }
        assert_eq!(guesses, 1);
        assert!(engine::put_back_because(&entries).is_some_and(|why| why.contains("already")));
    });
}
