//! The controller on the embedded cluster: the same engine, journals in the cluster, people and replicas beside it.

mod agents;
mod clocks;
mod days;
mod declined;
mod forbidden;
mod going_on;
mod guarded;
mod installed;
mod keeping;
mod logs;
mod measured;
mod notices;
mod occurrences;
mod office;
mod overtaken;
mod replicas;
mod rights;
mod roles;
mod said;
mod waiting;

use std::time::Duration;

use firedrill::{
    controller::run_id,
    journal::{Record, StopReason},
    types::{Epoch, ObjectRef, Verdict},
};
use office::{Office, SCALE, assert_whole};
use serde_json::{Value, json};

use crate::{crash::house::experiment_of, kit::in_virtual_time};

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let all = status["conditions"].as_array().expect("conditions");
    all.iter().find(|one| one["type"] == kind).unwrap_or_else(|| panic!("no {kind} in {status}"))
}

#[test]
fn a_run_passes_and_leaves_nothing_but_its_record() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        let run = office.run("trial-1", json!({"seed": 7})).await;
        office.shrunk().await;
        let status = office.says(&run, "phase", "Observing").await;
        assert_eq!(status["currentStep"], "trial/shrink");
        assert_eq!(status["targets"]["inForce"], 1);
        let held = office.get(&run).await.expect("it is there").metadata;
        assert_eq!(held.finalizers, Some(vec!["firedrill.dev/revert".to_owned()]));
        assert_eq!(held.labels.expect("it has one")["firedrill.dev/experiment"], "trial");
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Passed"), &json!("HypothesisHeld")),
            "{status}"
        );
        assert_eq!((&status["seed"], &status["subject"]), (&json!(7), &json!("Experiment/trial")));
        assert_eq!(condition(&status, "Succeeded")["status"], "True");
        assert_eq!(condition(&status, "Restored")["status"], "True");
        assert!(status["measured"]["rto"].is_string(), "{status}");
        office.assert_as_before().await;
        assert_eq!(office.held(), Vec::<String>::new());
        let entries = office.journal(&run).await;
        let state = assert_whole(&entries);
        assert_eq!(state.header.run, run_id(&run));
        assert_eq!(state.header.by, "system:serviceaccount:shop:firedrill");
        assert_eq!(office.events("Run"), ["Started", "BaselineHeld", "Injecting", "Finished"]);
        assert_eq!(office.events("Deployment"), ["Disturbed", "PutBack"]);
        assert_eq!(status["journal"]["records"], entries.len());
        assert_eq!(status["journal"]["segments"], office.journals().await[0].names.len());
        replica.ends().await;
    });
}

#[test]
fn losing_normal_fails_and_puts_everything_back() {
    in_virtual_time(async {
        let text = experiment_of("value >= 4.0", "value >= 3.0", &[SCALE]);
        let office = Office::with(&text).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Failed"), &json!("Violated")),
            "{status}"
        );
        assert!(status["violationTime"].is_string() && status["measured"]["abort"].is_string(), "{status}");
        assert_eq!(condition(&status, "Succeeded")["reason"], "Violated");
        office.assert_as_before().await;
        assert_whole(&office.journal(&run).await);
    });
}

/// What was to be tried was not: no pass.
#[test]
fn a_step_that_somebody_skips_does_not_begin() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE, "{name: look, wait: 10s}"]).await;
        let _replica = office.replica("a");
        let skip =
            json!([{"name": "trial/shrink", "action": "Skip", "by": "bob", "time": "2026-01-01T00:00:00Z"}]);
        let run = office.run("trial-1", json!({"steps": skip})).await;
        let status = office.over(&run).await;
        let (verdict, reason) = (&status["verdict"], &status["reason"]);
        assert_eq!((verdict, reason), (&json!("Inconclusive"), &json!("StepSkipped")), "{status}");
        assert_eq!((&status["targets"]["selected"], office.replicas()), (&json!(0), json!(4)));
        let skipped = office.journal(&run).await;
        let by = |entry: &firedrill::journal::Entry| matches!(&entry.record, Record::StepSkipped { by, .. } if by == "bob");
        assert_eq!(skipped.iter().filter(|entry| by(entry)).count(), 1);
    });
}

#[test]
fn spec_abort_puts_everything_back_at_once() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        office.set(&run, json!({"abort": true})).await;
        let asked = office.stage.env.clock.now();
        office.until("it is back", async || office.replicas() == 4).await;
        assert!(office.stage.env.clock.now().duration_since(asked).as_secs() <= 1);
        let status = office.over(&run).await;
        assert_eq!((&status["verdict"], &status["reason"]), (&json!("Aborted"), &json!("UserAbort")));
        office.assert_as_before().await;
    });
}

/// Its account may read no Guardrail: the controller looks.
#[test]
fn a_halt_ends_what_is_under_way_and_lets_nothing_begin() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        office.halt().await;
        let asked = office.stage.env.clock.now();
        office.until("it is back", async || office.replicas() == 4).await;
        assert!(office.stage.env.clock.now().duration_since(asked).as_secs() <= 2);
        let status = office.over(&run).await;
        assert_eq!((&status["verdict"], &status["reason"]), (&json!("Aborted"), &json!("Halted")));
        let next = office.run("trial-2", json!({})).await;
        let status = office.over(&next).await;
        assert_eq!(status["verdict"], "Refused");
        assert!(status["message"].as_str().is_some_and(|why| why.contains("an incident")), "{status}");
    });
}

#[test]
fn a_run_deleted_in_force_reverts_first_and_goes_then() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        office.delete(&run).await;
        assert!(office.get(&run).await.is_some(), "it waits for what is to be put back");
        office.until("it is gone", async || office.get(&run).await.is_none()).await;
        office.until("nobody holds it", async || office.held().is_empty()).await;
        assert_eq!(office.replicas(), 4);
        let state = assert_whole(&office.journal(&run).await);
        assert_eq!(state.stop.map(|(reason, ..)| reason), Some(StopReason::Deleted));
        office.assert_as_before().await;
        assert_eq!(office.held(), Vec::<String>::new());
    });
}

#[test]
fn a_run_whose_target_is_gone_can_be_deleted() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        office.delete(&ObjectRef::namespaced("apps/v1", "Deployment", "shop", "web")).await;
        office.delete(&run).await;
        office.until("it is gone", async || office.get(&run).await.is_none()).await;
        assert_whole(&office.journal(&run).await);
    });
}

#[test]
fn a_namespace_deleted_in_force_takes_the_run_with_it_and_not_its_record() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        let shop = ObjectRef::namespaced("v1", "Namespace", "", "shop");
        let asked = office.stage.env.clock.now();
        office.delete(&shop).await;
        office.until("the namespace is gone", async || office.get(&shop).await.is_none()).await;
        let took = office.stage.env.clock.now().duration_since(asked);
        assert!(took.as_secs() <= 60, "nobody waits until it heals: {took}");
        office.until("nobody holds it", async || office.held().is_empty()).await;
        let state = assert_whole(&office.journal(&run).await);
        assert_eq!(state.decided.map(|(verdict, ..)| verdict), Some(Verdict::Aborted));
    });
}

#[test]
fn an_account_that_is_gone_stops_the_run_and_its_faults_go_back() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        for (api, kind) in [("v1", "ServiceAccount"), ("rbac.authorization.k8s.io/v1", "RoleBinding")] {
            office.delete(&ObjectRef::namespaced(api, kind, "shop", "firedrill")).await;
        }
        let status = office.over(&run).await;
        assert_eq!((&status["verdict"], &status["reason"]), (&json!("Aborted"), &json!("AccountGone")));
        assert_eq!(condition(&status, "Restored")["status"], "True");
        assert_eq!(office.replicas(), 4);
    });
}

#[test]
fn rights_withdrawn_in_force_do_not_leave_anything_behind() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        let binding =
            ObjectRef::namespaced("rbac.authorization.k8s.io/v1", "RoleBinding", "shop", "firedrill");
        office.delete(&binding).await;
        let status = office.over(&run).await;
        assert_eq!(condition(&status, "Restored")["status"], "True", "{status}");
        assert_eq!(office.replicas(), 4);
    });
}

#[test]
fn hold_starts_no_new_step_and_leaves_what_is_in_force_its_time() {
    in_virtual_time(async {
        let kill = "{name: kill, target: {workload: deployment/web, count: 1}, podKill: {gracePeriod: 0s}}";
        let office = Office::open(&[SCALE, kill]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        office.set(&run, json!({"hold": true})).await;
        office.until("the fault is over", async || office.replicas() == 4).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        let begun = |entries: &[firedrill::journal::Entry]| {
            entries
                .iter()
                .any(|entry| matches!(&entry.record, Record::StepStarted { step } if step == "kill"))
        };
        assert!(!begun(&office.journal(&run).await), "it is held");
        assert_eq!(office.status(&run).await["reason"], "Held");
        let note = json!({"by": "ada", "time": "2026-11-24T10:00:00Z", "text": "the queue is long"});
        office.set(&run, json!({"hold": false, "notes": [note]})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        let entries = office.journal(&run).await;
        assert!(begun(&entries));
        let noted = |record: &Record| matches!(record, Record::Noted { text, .. } if text == "ada: the queue is long");
        assert_eq!(entries.iter().filter(|entry| noted(&entry.record)).count(), 1);
        office.assert_as_before().await;
    });
}

#[test]
fn a_manual_step_is_answered_in_the_run_even_before_it_begins() {
    in_virtual_time(async {
        let manual = "{name: promote, manual: {instructions: Promote the other database., timeout: 10m}}";
        let office = Office::open(&[SCALE, manual]).await;
        let _replica = office.replica("a");
        let answer = json!({"name": "trial/promote", "action": "Confirm", "by": "bob", "time": "2026-11-24T10:00:00Z"});
        let run = office.run("trial-1", json!({"steps": [answer]})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        let answered = |record: &Record| matches!(record, Record::ManualAnswered { by, .. } if by == "bob");
        assert!(office.journal(&run).await.iter().any(|entry| answered(&entry.record)));
    });
}

#[test]
fn a_second_run_waits_until_the_namespace_is_free() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let first = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        let second = office.run("trial-2", json!({})).await;
        let status = office.says(&second, "reason", "Waiting").await;
        assert!(status["message"].as_str().is_some_and(|why| why.contains("is at work")), "{status}");
        assert_eq!(office.over(&first).await["verdict"], "Passed");
        assert_eq!(office.over(&second).await["verdict"], "Passed");
        office.assert_as_before().await;
    });
}

#[test]
fn what_has_expired_goes_with_its_journal() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({"ttlAfterFinished": "5m"})).await;
        office.over(&run).await;
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert!(office.get(&run).await.is_some());
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(office.get(&run).await.is_none());
        assert_eq!(office.journals().await, []);
    });
}

#[test]
fn only_one_epoch_writes_when_nobody_dies() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replicas = ["a", "b", "c"].map(|name| office.replica(name));
        let run = office.run("trial-1", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        let entries = office.journal(&run).await;
        assert!(entries.iter().all(|entry| entry.epoch == Epoch(1)));
        assert_whole(&entries);
        office.assert_as_before().await;
    });
}
