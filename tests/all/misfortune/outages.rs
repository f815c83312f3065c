//! Places that go away: the API server, rights, the disk, the machine's clock; and one that is production.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use firedrill::{
    engine,
    faults::FAULTS,
    journal::{Record, StopReason},
    sim::apiserver::User,
    types::{Verdict, codes::guard},
};
use jiff::SignedDuration;
use serde_json::json;

use super::{Person, assert_sound, once};
use crate::{
    crash::{
        house::{experiment, method, settled, settled_for, settles},
        rollback,
    },
    kit::in_virtual_time,
};

#[test]
fn an_api_server_that_is_down_for_a_while_delays_and_leaves_nothing() {
    for fault in FAULTS {
        let fault = fault.info().name;
        for moment in ["intended", "injected", "reverting"] {
            let at = format!("{fault}: down when {moment}");
            in_virtual_time(async {
                let stage = settled_for(fault, 9).await;
                let before = stage.state();
                let mischief = stage.cluster.sim().mischief().clone();
                let act = move || {
                    let mischief = mischief.clone();
                    mischief.outage(true);
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(40)).await;
                        mischief.outage(false);
                    });
                };
                let when = move |record: &Record| match record {
                    Record::InjectIntended { .. } => moment == "intended",
                    Record::Injected { .. } => moment == "injected",
                    Record::RevertStarted { .. } | Record::StepEnded { .. } => moment == "reverting",
                    _ => false,
                };
                let watch = once(when, act);
                let request = stage.request(&experiment(&[method(fault)]), 9);
                let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
                assert_sound(&stage, &ran, &at);
                let outcome = ran.outcome.as_ref().expect("an ordinary end");
                assert_eq!(outcome.residue, Vec::new(), "{at}");
                assert_eq!(settles(&stage, &before).await, Vec::<String>::new(), "{at}");
            });
        }
    }
}

#[test]
fn rights_withdrawn_during_the_run_leave_a_named_residue_that_rollback_puts_back() {
    in_virtual_time(async {
        let mut stage = settled(9).await;
        stage
            .cluster
            .sim()
            .apply_manifests(&[json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "ada"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}],
            })])
            .expect("accepted");
        let before = stage.state();
        stage.env.kube = stage.cluster.sim().client_as(User::new("ada", &[]));
        let person = Person::of(&stage);
        let act = move || {
            let person = person.clone();
            tokio::spawn(async move {
                let binding = firedrill::types::ObjectRef {
                    api_version: "rbac.authorization.k8s.io/v1".to_owned(),
                    kind: "ClusterRoleBinding".to_owned(),
                    name: "ada".to_owned(),
                    ..firedrill::types::ObjectRef::node("")
                };
                person.delete(&binding).await;
            });
        };
        let watch = once(|record| matches!(record, Record::EffectSeen { .. }), act);
        let request = stage.request(&experiment(&[method("nodeDrain")]), 9);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_sound(&stage, &ran, "rights withdrawn");
        let run = match &ran.outcome {
            Ok(outcome) => {
                assert_ne!(outcome.verdict, Verdict::Passed);
                assert_eq!(outcome.residue.len(), 2, "{:?}", outcome.residue);
                let forbidden = outcome.residue.iter().all(|residue| residue.what.contains("not allowed"));
                assert!(forbidden, "{:?}", outcome.residue);
                outcome.run.clone()
            }
            Err(error) => panic!("{error}"),
        };
        // Somebody who may.
        stage.env.kube = stage.cluster.sim().client();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let outcome = engine::from_journal(&stage.env, &run, rollback(false)).await.expect("rolls back");
        assert_eq!(outcome.residue, Vec::new());
        let mut before = before;
        before.remove("ClusterRoleBinding /ada");
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn a_cluster_marked_production_is_refused_and_nothing_is_written() {
    in_virtual_time(async {
        let stage = settled(9).await;
        let person = Person::of(&stage);
        let mark = firedrill::cluster::JsonPatch::new()
            .add("/metadata/labels", json!({"firedrill.dev/environment": "production"}));
        let kube_system = firedrill::types::ObjectRef::namespaced("v1", "Namespace", "", "kube-system");
        person.patch(&kube_system, None, mark).await;
        stage.cluster.sim().mischief().reset_calls();
        let (before, version) = (stage.state(), stage.cluster.sim().mischief().calls());
        assert!(version.is_empty());
        for fault in FAULTS {
            let fault = fault.info().name;
            let findings = match stage.run(stage.request(&experiment(&[method(fault)]), 9)).await {
                Err(findings) => findings,
                Ok(_) => panic!("{fault} ran in production"),
            };
            assert!(findings.iter().any(|finding| finding.code == guard::PRODUCTION), "{findings:#?}");
        }
        // Reviews are questions in the shape of a write.
        let writes: Vec<_> = stage
            .cluster
            .sim()
            .mischief()
            .calls()
            .into_keys()
            .filter(|(verb, resource)| {
                !matches!(verb.as_str(), "get" | "list" | "watch") && !resource.starts_with("selfsubject")
            })
            .collect();
        assert_eq!(writes, Vec::new());
        assert_eq!(stage.state(), before);
    });
}

#[test]
fn a_laptop_that_slept_puts_everything_back() {
    in_virtual_time(async {
        let mut stage = settled(9).await;
        let before = stage.state();
        let ahead = Arc::new(AtomicI64::new(0));
        let (clock, seconds) = (stage.env.clock.clone(), ahead.clone());
        stage.env.clock = stage
            .env
            .clock
            .clone()
            .with_wall(move || clock.now() + SignedDuration::from_secs(seconds.load(Ordering::Relaxed)));
        let watch = once(
            |record| matches!(record, Record::EffectSeen { .. }),
            move || ahead.store(3600, Ordering::Relaxed),
        );
        let step = method("nodeDrain").replace("5s", "5m");
        let request = stage.request(&experiment(&[&step]), 9);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Aborted);
        assert_sound(&stage, &ran, "slept");
        let lost =
            |record: &Record| matches!(record, Record::StopRequested { reason: StopReason::RunnerLost, .. });
        assert!(ran.entries.iter().any(|entry| lost(&entry.record)));
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

/// The disk is full at any record: what was in force is taken back all the same, and what cannot be written
/// down is never begun.
#[test]
fn a_full_disk_takes_everything_back() {
    for fault in FAULTS {
        let fault = fault.info().name;
        for moment in ["stepStarted", "intended", "injected", "seen"] {
            let at = format!("{fault}: full when {moment}");
            in_virtual_time(async {
                let stage = settled_for(fault, 9).await;
                let before = stage.state();
                let storage = stage.storage.clone();
                let when = move |record: &Record| match record {
                    Record::StepStarted { .. } => moment == "stepStarted",
                    Record::InjectIntended { .. } => moment == "intended",
                    Record::Injected { .. } => moment == "injected",
                    Record::EffectSeen { .. } => moment == "seen",
                    _ => false,
                };
                let watch = once(when, move || storage.limit(0));
                let request = stage.request(&experiment(&[method(fault)]), 9);
                let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
                let outcome = ran.outcome.as_ref().unwrap_or_else(|error| panic!("{at}: {error}"));
                assert_eq!(outcome.residue, Vec::new(), "{at}");
                assert_eq!(outcome.verdict, Verdict::Inconclusive, "{at}");
                assert!(outcome.unwritten.is_some(), "{at}");
                assert_eq!(settles(&stage, &before).await, Vec::<String>::new(), "{at}");
            });
        }
    }
}
