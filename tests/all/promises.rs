//! The promises of the design, a test each; the crash matrix and the misfortunes go much further.

use std::time::Duration;

use firedrill::{
    engine::{self, Outside, Rollback, TakeOver},
    faults::FAULTS,
    journal::{Record, RevertOutcome, StopReason},
    sim::apiserver::mischief::{Action, Matcher, Rule, Turn},
    types::{Verdict, codes::guard},
};
use serde_json::{Value, json};

use crate::kit::{Stage, in_virtual_time, manifests, shop};

/// Drains a node of the shop for a minute; the hypothesis needs no metric.
const DRAIN: &str = "
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: drain, namespace: shop}
spec:
  hypothesis: The shop outlives a node.
  steadyState:
  - name: replicas
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: checkout}
    value: object.status.readyReplicas
    expect: object.status.readyReplicas == object.spec.replicas
    during: 'true'
    every: 1s
    for: 2s
  method:
  - name: drain
    target: {nodesRunning: deployment/checkout, count: 1}
    nodeDrain: {}
    duration: 1m
  limits: {pods: 100%, nodes: 50%}
";

fn nodes() -> Vec<Value> {
    manifests(include_str!("../../experiments/demo/nodes.yaml"))
}

async fn stage() -> Stage {
    let mut objects = shop();
    objects.extend(nodes());
    Stage::new(&objects, 3).await
}

#[test]
fn promise_1_nothing_is_left_behind_when_the_runner_dies() {
    in_virtual_time(async {
        let stage = stage().await;
        let before = stage.state();
        let request = stage.request(DRAIN, 3);
        // Dropped while the fault is in force: as good as SIGKILL.
        let died = tokio::time::timeout(Duration::from_secs(20), stage.run(request)).await;
        assert!(died.is_err(), "the run was to be cut off");
        assert_ne!(stage.state(), before, "the fault is in force");
        let run = stage.env.storage.list().expect("lists").pop().expect("a journal");
        let how = Rollback {
            by: firedrill::cluster::Identity { name: "sre".to_owned(), groups: Vec::new() },
            holder: "another terminal".to_owned(),
            why: "rollback",
            take_over: TakeOver::Now,
            revert_timeout: Duration::from_secs(60),
            observer: std::sync::Arc::new(|_| {}),
        };
        let outcome = engine::from_journal(&stage.env, &run, how).await.expect("rolls back");
        assert_eq!((outcome.verdict, outcome.residue.len()), (Verdict::Aborted, 0));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(stage.state(), before);
    });
}

#[test]
fn promise_2_an_abort_pre_empts_what_is_in_flight_and_is_not_overtaken_by_it() {
    in_virtual_time(async {
        let stage = stage().await;
        let before = stage.state();
        let slow = Matcher { verb: "patch".to_owned(), resource: "nodes".to_owned(), ..Matcher::default() };
        // The first patch is the dry run; the second, the cordon, takes 3 s on its way.
        let action = Action::Latency(Duration::from_secs(3));
        stage.cluster.sim().mischief().add(Rule { matcher: slow, turn: Turn::Nth(2), action });
        let ran = stage
            .run_with(stage.request(DRAIN, 3), |entry, outside_tx| {
                if matches!(entry.record, Record::InjectIntended { .. }) {
                    let _ = outside_tx.send(Outside::Stop(StopReason::UserAbort, "a person".to_owned()));
                }
            })
            .await
            .expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Aborted);
        assert!(ran.entries.iter().all(|entry| !matches!(entry.record, Record::EffectSeen { .. })));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(stage.state(), before, "the cordon came late and stayed");
    });
}

#[test]
fn promise_3_no_pass_without_an_effect_that_was_seen() {
    in_virtual_time(async {
        let mut objects = shop();
        for object in &mut objects {
            if object["kind"] == "Deployment" {
                // A finalizer that nobody takes away: the pod is deleted and does not go.
                object["spec"]["template"]["metadata"]["finalizers"] = json!(["example.com/stay"]);
            }
        }
        let stage = Stage::new(&objects, 3).await;
        let text = DRAIN
            .replace("    target: {nodesRunning: deployment/checkout, count: 1}\n    nodeDrain: {}\n    duration: 1m\n",
                     "    target: {workload: deployment/checkout, count: 1}\n    podKill: {gracePeriod: 0s}\n");
        let ran = stage.run(stage.request(&text, 3)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
        assert!(ran.entries.iter().any(|entry| matches!(entry.record, Record::EffectMissed { .. })));
    });
}

#[test]
fn promise_3_a_delete_that_is_answered_409_is_not_believed_to_have_happened() {
    in_virtual_time(async {
        let stage = stage().await;
        let deletion =
            Matcher { verb: "delete".to_owned(), resource: "pods".to_owned(), ..Matcher::default() };
        let conflict = firedrill::sim::store::Status::failure(409, "Conflict", "bad luck");
        // The first is the dry run; of the two that are meant, one is refused.
        let rule = Rule { matcher: deletion, turn: Turn::Nth(2), action: Action::Answer(conflict) };
        stage.cluster.sim().mischief().add(rule);
        let text = DRAIN.replace(
            "    target: {nodesRunning: deployment/checkout, count: 1}\n    nodeDrain: {}\n    duration: 1m\n",
            "    target: {workload: deployment/checkout, count: 2}\n    podKill: {gracePeriod: 0s}\n",
        );
        let ran = stage.run(stage.request(&text, 3)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
    });
}

#[test]
fn promise_4_what_is_unsafe_is_refused_before_anything_is_written() {
    in_virtual_time(async {
        let mut objects = shop();
        objects.extend(nodes());
        for object in &mut objects {
            if object["kind"] == "PodDisruptionBudget" {
                object["spec"]["minAvailable"] = json!("100%");
            }
        }
        let stage = Stage::new(&objects, 3).await;
        let before = stage.cluster.sim().store().version();
        let findings = stage.run(stage.request(DRAIN, 3)).await.err().expect("refused");
        let deadlock =
            findings.iter().find(|finding| finding.code == guard::PDB_DEADLOCK).expect("names the budget");
        assert!(deadlock.message.contains("can never finish: PDB checkout allows 0"), "{}", deadlock.message);
        assert!(!deadlock.remedy.is_empty());
        assert_eq!(stage.cluster.sim().store().version(), before, "something was written");
    });
}

#[test]
fn promise_5_no_fault_needs_secrets_exec_or_wildcards() {
    for fault in FAULTS {
        for right in fault.info().rights {
            let name = fault.info().name;
            assert!(right.verb != "*" && right.resource != "*" && right.group != "*", "{name}");
            for forbidden in ["secrets", "pods/exec", "pods/attach", "pods/ephemeralcontainers"] {
                assert_ne!(right.resource, forbidden, "{name}");
            }
        }
    }
}

#[test]
fn only_our_own_change_is_reverted_and_only_while_it_is_still_ours() {
    in_virtual_time(async {
        let stage = stage().await;
        let client = stage.env.kube.clone();
        let ran = stage
            .run_with(stage.request(DRAIN, 3), move |entry, _| {
                if let Record::EffectSeen { injection, .. } = &entry.record {
                    assert_eq!(injection.0, "drain.0");
                    let client = client.clone();
                    // A person takes the cordon away during the fault.
                    tokio::spawn(async move {
                        let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client);
                        for node in nodes.list(&Default::default()).await.expect("lists") {
                            if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
                                nodes
                                    .uncordon(node.metadata.name.as_deref().expect("named"))
                                    .await
                                    .expect("uncordons");
                            }
                        }
                    });
                }
            })
            .await
            .expect("not refused");
        let reverted = ran.entries.iter().find_map(|entry| match &entry.record {
            Record::Reverted { outcome, .. } => Some(*outcome),
            _ => None,
        });
        assert_eq!(reverted, Some(RevertOutcome::ChangedSince));
    });
}
