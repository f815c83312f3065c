//! Replicas that die, hang, end, and come back.

use std::{sync::Arc, time::Duration};

use firedrill::{
    controller,
    env::MemoryStorage,
    journal::Record,
    sim::apiserver::User,
    types::{Epoch, ObjectRef, Verdict},
};
use serde_json::json;

use super::office::{Office, SCALE, assert_whole};
use crate::kit::in_virtual_time;

/// An office whose replica has a fault in force for a run.
async fn in_force() -> (Office, super::office::Replica, ObjectRef) {
    let office = Office::open(&[SCALE]).await;
    let replica = office.replica("a");
    let run = office.run("trial-1", json!({})).await;
    office.shrunk().await;
    (office, replica, run)
}

/// When the fault was in force and its replica dead, until everything was back.
async fn taken_over(office: &Office, dead: super::office::Replica) -> Duration {
    office.shrunk().await;
    dead.dies();
    let died = office.stage.env.clock.now();
    office.until("a survivor puts it back", async || office.replicas() == 4).await;
    Duration::try_from(office.stage.env.clock.now().duration_since(died)).expect("time goes on")
}

#[test]
fn a_survivor_reverts_within_the_lease_and_two_seconds() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let first = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.until("it is begun", async || !office.journals().await.is_empty()).await;
        let _second = office.replica("b");
        let took = taken_over(&office, first).await;
        assert!(took <= Duration::from_secs(17), "{took:?}");
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Aborted"), &json!("RunnerLost")),
            "{status}"
        );
        assert_eq!(status["runner"]["epoch"], 2);
        let entries = office.journal(&run).await;
        assert_whole(&entries);
        let taken = |record: &Record| matches!(record, Record::OwnerChanged { why, .. } if why == "takeover");
        assert_eq!(entries.iter().filter(|entry| taken(&entry.record)).count(), 1);
        office.assert_as_before().await;
        assert_eq!(office.held(), Vec::<String>::new());
    });
}

#[test]
fn one_that_comes_back_alone_finds_what_it_has_left() {
    in_virtual_time(async {
        let (office, first, run) = in_force().await;
        first.dies();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(office.replicas(), 1, "nobody is there");
        let _again = office.replica("a");
        let status = office.over(&run).await;
        assert_eq!(status["reason"], "RunnerLost");
        office.assert_as_before().await;
    });
}

#[test]
fn a_run_that_vanished_while_nobody_was_there_is_put_back() {
    in_virtual_time(async {
        let (office, first, run) = in_force().await;
        first.dies();
        // Somebody takes the finalizer away by force.
        let patch = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
        let api = office.access.api(&run);
        api.patch(&run.name, &kube::api::PatchParams::default(), &patch).await.expect("it is changed");
        office.delete(&run).await;
        assert!(office.get(&run).await.is_none());
        let _again = office.replica("a");
        office.until("it is back", async || office.replicas() == 4).await;
        office.until("nobody holds it", async || office.held().is_empty()).await;
        assert_whole(&office.journal(&run).await);
        office.assert_as_before().await;
    });
}

#[test]
fn one_that_is_told_to_end_puts_everything_back_first() {
    in_virtual_time(async {
        let (office, replica, run) = in_force().await;
        replica.ends().await;
        assert_eq!(office.replicas(), 4);
        let _next = office.replica("b");
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Aborted"), &json!("Signal")),
            "{status}"
        );
        office.assert_as_before().await;
    });
}

#[test]
fn one_that_was_held_for_dead_does_nothing_when_it_wakes_up() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        // A wire of its own, which hangs for a while.
        let user = User::new("hanging", &["system:masters"]);
        let mut env = office.stage.env.clone();
        env.kube = office.stage.cluster.sim().client_as(user);
        env.storage = Arc::new(MemoryStorage::default());
        let hanging = office.replica_over(env, "a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        let _second = office.replica("b");
        tokio::time::sleep(Duration::from_secs(5)).await;
        let name = office.status(&run).await["runner"]["identity"].as_str().expect("it has one").to_owned();
        // Others fence it off, as if it had stood still.
        let lease = ObjectRef::namespaced("coordination.k8s.io/v1", "Lease", "firedrill", &name);
        office.set(&lease, json!({"holderIdentity": ""})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], json!(Verdict::Aborted), "{status}");
        let entries = office.journal(&run).await;
        let state = assert_whole(&entries);
        assert_eq!(state.injections.len(), 1, "nothing was injected by either after the takeover");
        assert_eq!(entries.iter().map(|entry| entry.epoch).max(), Some(Epoch(2)));
        office.assert_as_before().await;
        assert!(!hanging.task.is_finished(), "it has joined again under another name");
    });
}

/// Of a drain; the rest is as before.
async fn nothing_but_the_halt_is_left(office: &Office) {
    let name = controller::DRAIN_GUARDRAIL;
    let guardrail = ObjectRef::namespaced("firedrill.dev/v1alpha1", "Guardrail", "", name);
    assert_eq!(office.get(&guardrail).await.expect("it is there").data["spec"]["halt"], true);
    office.delete(&guardrail).await;
    office.assert_as_before().await;
}

/// Before the controller is taken away: its rights go with it. What is at work is halted, what waits is asked to end.
#[test]
fn a_drain_ends_every_run_and_waits_until_all_is_back() {
    in_virtual_time(async {
        let (office, _replica, run) = in_force().await;
        let later = office.run("trial-2", json!({"startTime": "2030-01-01T00:00:00Z"})).await;
        let mut asked = Vec::new();
        let tell = |run: &str| asked.push(run.to_owned());
        let left = controller::drain(&office.access, "firedrill", Duration::from_secs(120), tell).await;
        assert_eq!(left.expect("it answers"), Vec::<String>::new());
        // Nothing is left to wait for.
        assert_eq!(office.replicas(), 4);
        assert_eq!(office.held(), Vec::<String>::new());
        asked.sort();
        assert!(asked.contains(&"shop/trial-2".to_owned()), "{asked:?}");
        for (run, reason) in [(&run, "Halted"), (&later, "UserAbort")] {
            assert_eq!(office.status(run).await["reason"], reason);
        }
        nothing_but_the_halt_is_left(&office).await;
    });
}

#[test]
fn a_drain_with_nobody_at_work_says_what_is_left() {
    in_virtual_time(async {
        let (office, replica, _run) = in_force().await;
        replica.dies();
        let left = controller::drain(&office.access, "firedrill", Duration::from_secs(30), |_| {}).await;
        assert_eq!(left.expect("it answers"), ["shop/trial-1"]);
        let _next = office.replica("b");
        let left = controller::drain(&office.access, "firedrill", Duration::from_secs(120), |_| {}).await;
        assert_eq!(left.expect("it answers"), Vec::<String>::new());
        nothing_but_the_halt_is_left(&office).await;
    });
}

/// Roles go a moment after the drain: what began in between would stay in force, or keep its finalizer.
#[test]
fn nothing_begins_from_the_beginning_of_a_drain_on() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let drained = controller::drain(&office.access, "firedrill", Duration::from_secs(120), |_| {});
        let meanwhile = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            office.run("trial-1", json!({})).await
        };
        let (left, run) = tokio::join!(drained, meanwhile);
        assert_eq!(left.expect("it answers"), Vec::<String>::new());
        let over = office.status(&run).await;
        assert_eq!((&over["phase"], office.held()), (&json!("Finished"), vec![]), "{over}");
        let later = office.run("trial-2", json!({})).await;
        for run in [&run, &later] {
            let status = office.over(run).await;
            assert_eq!(status["verdict"], "Refused", "{status}");
            let said = status["message"].as_str().unwrap_or_default();
            assert!(said.contains("the controller is being taken away"), "{status}");
        }
        assert!(office.journals().await.is_empty());
        nothing_but_the_halt_is_left(&office).await;
    });
}

/// A drain that is repeated halts again, whoever has taken that back; the red button stays as somebody has pressed it.
#[test]
fn a_drain_halts_by_a_guardrail_of_its_own() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        office.halt().await;
        let guardrail = |name: &str| ObjectRef::namespaced("firedrill.dev/v1alpha1", "Guardrail", "", name);
        let spec =
            async |name: &str| office.get(&guardrail(name)).await.expect("it is there").data["spec"].clone();
        let pressed = spec("halt").await;
        for _ in 0..2 {
            let left = controller::drain(&office.access, "firedrill", Duration::from_secs(30), |_| {}).await;
            assert_eq!(left.expect("it answers"), Vec::<String>::new());
            assert_eq!(spec(controller::DRAIN_GUARDRAIL).await["halt"], true);
            office.set(&guardrail(controller::DRAIN_GUARDRAIL), json!({"halt": false})).await;
        }
        assert_eq!(spec("halt").await, pressed);
    });
}
