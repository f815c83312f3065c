//! Other people at work on the same objects.

use std::time::Duration;

use firedrill::{
    cluster::{JsonPatch, RUN_LABEL, UNDO_PREFIX, Write},
    engine::{self, Rollback},
    journal::{InjectOutcome, Record, RevertOutcome},
    sim::{
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        store::Kind,
    },
    types::{ObjectRef, Verdict},
};
use serde_json::{Value, json};

use super::{Person, assert_sound, once, reverts};
use crate::{
    crash::{
        house::{deployment, experiment, house, method, object, settled, settled_with, settles},
        pods, rollback,
    },
    kit::{Stage, in_virtual_time},
};

const DRAIN_ALL_N1: &str = "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n1], count: all}, nodeDrain: {}, duration: 30s}";
const SCALE: &str = "{name: hit, target: {workload: deployment/web}, scale: {replicas: 1}, duration: 30s}";

fn seen(record: &Record) -> bool {
    matches!(record, Record::EffectSeen { .. })
}

fn scars_of(node: &Value) -> Vec<String> {
    let of = |field: &str| node["metadata"][field].as_object().cloned().unwrap_or_default();
    let keys = of("annotations").into_iter().chain(of("labels")).map(|(key, _)| key);
    keys.filter(|key| key.starts_with(UNDO_PREFIX) || key == RUN_LABEL).collect()
}

#[test]
fn a_node_cordoned_by_a_person_before_stays_cordoned() {
    in_virtual_time(async {
        let stage = settled(1).await;
        Person::of(&stage).cordon("n1").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = stage.state();
        let ran = stage.run(stage.request(&experiment(&[DRAIN_ALL_N1]), 1)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        assert_sound(&stage, &ran, "cordoned before");
        let node = object(&stage, &Kind::NODE, "", "n1");
        assert_eq!(node["spec"]["unschedulable"], true);
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn a_node_cordoned_anew_by_a_person_during_the_run_stays_cordoned() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let person = Person::of(&stage);
        let act = move || {
            let person = person.clone();
            tokio::spawn(async move {
                person.uncordon("n1").await;
                person.cordon("n1").await;
            });
        };
        let watch = once(seen, act);
        let request = stage.request(&experiment(&[DRAIN_ALL_N1]), 1);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(reverts(&ran.entries), [RevertOutcome::ChangedSince]);
        assert_sound(&stage, &ran, "cordoned since");
        let node = object(&stage, &Kind::NODE, "", "n1");
        assert_eq!(node["spec"]["unschedulable"], true, "the person's cordon stays");
        assert_eq!(scars_of(&node), Vec::<String>::new(), "our scar goes all the same");
    });
}

#[test]
fn a_node_uncordoned_by_a_person_during_the_run_stays_open() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let before = stage.state();
        let person = Person::of(&stage);
        let act = move || {
            let person = person.clone();
            tokio::spawn(async move { person.uncordon("n1").await });
        };
        let watch = once(seen, act);
        let request = stage.request(&experiment(&[DRAIN_ALL_N1]), 1);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(reverts(&ran.entries), [RevertOutcome::ChangedSince]);
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn a_deployment_scaled_by_someone_else_during_the_run_is_left_alone() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let person = Person::of(&stage);
        let act = move || {
            let person = person.clone();
            tokio::spawn(async move { person.scale("web", 7).await });
        };
        let watch = once(seen, act);
        let request = stage.request(&experiment(&[SCALE]), 1);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(reverts(&ran.entries), [RevertOutcome::ChangedSince]);
        assert_sound(&stage, &ran, "scaled since");
        let told = ran.entries.iter().any(|entry| {
            matches!(&entry.record, Record::Reverted { detail, .. } if detail.contains('7') && detail.contains("kubectl"))
        });
        assert!(told, "the report can say who and to what");
        assert_eq!(object(&stage, &Kind::DEPLOYMENT, "shop", "web")["spec"]["replicas"], 7);
    });
}

#[test]
fn only_the_node_that_was_drained_is_uncordoned() {
    in_virtual_time(async {
        let stage = settled(1).await;
        // Cordoned by a person, same labels as the one that is drained.
        Person::of(&stage).cordon("n3").await;
        let before = stage.state();
        let step = "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n2], count: all}, nodeDrain: {}, duration: 5s}";
        let ran = stage.run(stage.request(&experiment(&[step]), 1)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        assert_eq!(object(&stage, &Kind::NODE, "", "n3")["spec"]["unschedulable"], true);
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

async fn revert_scars(stage: &Stage, how: &Rollback) -> usize {
    let person = Person::of(stage);
    let (found, unseen) = engine::from_scars(person.access(), &[String::new()]).await;
    assert_eq!(unseen, Vec::new());
    let count = found.len();
    engine::revert_found(&stage.env, found, how).await.expect("the API server answers");
    count
}

fn scar(before: Value, fault: &str) -> Value {
    json!({
        "run": "trial-abcde", "fault": fault, "epoch": 1, "by": "mallory", "at": "2026-01-01T00:00:00Z",
        "until": "2026-01-01T01:00:00Z", "undoWith": "firedrill rollback trial-abcde", "before": before,
    })
}

/// A scar is a claim by whoever may write that object: it reaches no other object and no foreign field.
#[test]
fn planted_scars_change_nothing_that_is_not_the_runs() {
    let named = json!({"unschedulable": false, "name": "n4", "target": {"kind": "Node", "name": "n4"}});
    let mut with_target = scar(json!({"unschedulable": false}), "nodeDrain");
    with_target["target"] = json!({"kind": "Node", "name": "n4"});
    let cases = [
        ("names another object in its before-image", scar(named, "nodeDrain").to_string()),
        ("names another object beside it", with_target.to_string()),
        ("of another fault", scar(json!({"replicas": 0}), "scale").to_string()),
        ("of a fault that does not exist", scar(json!({"unschedulable": false}), "rm").to_string()),
        (
            "with a field that is not the fault's",
            scar(json!({"unschedulable": false, "taints": []}), "nodeDrain").to_string(),
        ),
        ("not JSON", "{".to_owned()),
        ("empty", String::new()),
    ];
    in_virtual_time(async {
        let stage = settled(1).await;
        let person = Person::of(&stage);
        person.cordon("n4").await;
        person.cordon("n2").await;
        for (what, text) in cases {
            let plant = JsonPatch::new()
                .add("/metadata/labels/firedrill.dev~1run", "trial-abcde")
                .add("/metadata/annotations", json!({"undo.firedrill.dev/hit.0": text}));
            person.patch(&ObjectRef::node("n2"), None, plant).await;
            let before = stage.state();
            assert_eq!(revert_scars(&stage, &rollback(false)).await, 0, "{what}");
            assert_eq!(stage.state(), before, "{what}");
        }
    });
}

#[test]
fn a_wellformed_planted_scar_does_not_take_back_what_a_person_did() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let person = Person::of(&stage);
        person.cordon("n2").await;
        let text = scar(json!({"unschedulable": false}), "nodeDrain").to_string();
        let plant = JsonPatch::new()
            .add("/metadata/labels/firedrill.dev~1run", "trial-abcde")
            .add("/metadata/annotations", json!({"undo.firedrill.dev/hit.0": text}));
        person.patch(&ObjectRef::node("n2"), None, plant).await;
        assert_eq!(revert_scars(&stage, &rollback(false)).await, 1);
        let node = object(&stage, &Kind::NODE, "", "n2");
        assert_eq!(node["spec"]["unschedulable"], true, "it was never ours");
        assert_eq!(scars_of(&node), Vec::<String>::new());
    });
}

#[test]
fn forged_field_managers_are_validated_like_any_input() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let person = Person::of(&stage);
        let web = ObjectRef::namespaced("apps/v1", "Deployment", "shop", "web");
        for (replicas, forged) in [
            (5, "firedrill:trial-abcde:replicas=-1"),
            (6, "firedrill:trial-abcde:replicas=99999999"),
            (5, "firedrill:trial-abcde:replicas=many"),
            (6, "firedrill:../../x:replicas=0"),
            (5, "firedrill:trial-abcde:paused=1"),
            (6, "firedrill::replicas=0"),
        ] {
            let how = Write { manager: forged, dry_run: false };
            let patch = JsonPatch::new().add("/spec/replicas", replicas);
            person.access().patch(&web, Some("scale"), &patch, how).await.expect("accepted");
            let before = stage.state();
            assert_eq!(revert_scars(&stage, &rollback(false)).await, 0, "{forged}");
            assert_eq!(
                stage.state().get("Deployment shop/web").map(|d| d["spec"].clone()),
                before.get("Deployment shop/web").map(|d| d["spec"].clone()),
                "{forged}"
            );
        }
    });
}

#[test]
fn a_node_of_the_same_name_with_a_new_uid_is_not_touched() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let person = Person::of(&stage);
        let node = house().into_iter().find(|object| object["metadata"]["name"] == "n1").expect("n1");
        let sim = stage.cluster.sim().clone();
        let act = move || {
            let (person, mut node, sim) = (person.clone(), node.clone(), sim.clone());
            tokio::spawn(async move {
                person.delete(&ObjectRef::node("n1")).await;
                // The new machine was cordoned by whoever set it up.
                node["spec"] = json!({"unschedulable": true});
                sim.apply_manifests(&[node]).expect("created");
            });
        };
        let watch = once(seen, act);
        let request = stage.request(&experiment(&[DRAIN_ALL_N1]), 1);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(reverts(&ran.entries), [RevertOutcome::TargetGone]);
        assert_eq!(object(&stage, &Kind::NODE, "", "n1")["spec"]["unschedulable"], true);
    });
}

#[test]
fn a_deployment_of_the_same_name_with_a_new_uid_is_not_touched() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let (person, sim) = (Person::of(&stage), stage.cluster.sim().clone());
        let act = move || {
            let (person, sim) = (person.clone(), sim.clone());
            tokio::spawn(async move {
                person.delete(&ObjectRef::namespaced("apps/v1", "Deployment", "shop", "web")).await;
                tokio::time::sleep(Duration::from_secs(2)).await;
                sim.apply_manifests(&[deployment("web", 2)]).expect("created");
            });
        };
        let watch = once(seen, act);
        let request = stage.request(&experiment(&[SCALE]), 1);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(reverts(&ran.entries), [RevertOutcome::TargetGone]);
        assert_eq!(object(&stage, &Kind::DEPLOYMENT, "shop", "web")["spec"]["replicas"], 2);
    });
}

/// A StatefulSet gives its next pod the same name: the one that was not chosen must live.
#[test]
fn a_pod_of_the_same_name_with_a_new_uid_is_not_killed() {
    in_virtual_time(async {
        let mut objects = house();
        let mut database = deployment("db", 1);
        database["kind"] = json!("StatefulSet");
        database["spec"]["serviceName"] = json!("db");
        objects.push(database);
        let stage = settled_with(&objects, 1).await;
        // The first delete of the run's is its dry run; the second hangs in the network for a while.
        let slow = Rule {
            matcher: Matcher { name: "db-0".to_owned(), ..Matcher::on("delete", "pods") },
            turn: Turn::Nth(2),
            action: Action::Latency(Duration::from_secs(6)),
        };
        stage.cluster.sim().mischief().add(slow);
        let store = stage.cluster.sim().store().clone();
        let act = move || {
            let store = store.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let old = store.get(&Kind::POD, "shop", "db-0").expect("there");
                store.delete(&Kind::POD, "shop", "db-0", &Default::default()).expect("deleted");
                tokio::time::sleep(Duration::from_secs(3)).await;
                let new = store.get(&Kind::POD, "shop", "db-0").expect("there again");
                assert_ne!(old.meta.uid, new.meta.uid);
            });
        };
        let watch = once(|record| matches!(record, Record::InjectIntended { .. }), act);
        let step = "{name: hit, target: {workload: statefulset/db}, podKill: {gracePeriod: 0s}}";
        let request = stage.request(&experiment(&[step]), 1);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        let gone = ran.entries.iter().any(|entry| {
            matches!(&entry.record, Record::Injected { outcome: InjectOutcome::TargetGone, .. })
        });
        assert!(gone, "it was gone when the call came through");
        let database: Vec<Value> = pods(&stage)
            .into_values()
            .filter(|pod| pod["metadata"]["name"] == "db-0" && pod["metadata"]["deletionTimestamp"].is_null())
            .collect();
        assert_eq!(database.len(), 1, "its successor lives");
        let killed_later = database[0]["metadata"]["creationTimestamp"].as_str().map(str::to_owned);
        let injected = ran.entries.iter().find(|entry| matches!(entry.record, Record::Injected { .. }));
        let injected = injected.expect("injected").at.to_string();
        assert!(killed_later.is_some_and(|born| born < injected), "and is the one that was there by then");
        assert_ne!(ran.verdict(), Verdict::Passed);
        assert_sound(&stage, &ran, "same name");
    });
}

#[test]
fn all_targets_gone_between_plan_and_injection_is_inconclusive() {
    in_virtual_time(async {
        let stage = settled(1).await;
        for fault in ["scale", "podKill"] {
            stage.cluster.sim().apply_manifests(&[deployment("gone", 2)]).expect("applied");
            stage.cluster.settle(Duration::from_secs(60)).await.expect("ready");
            let person = Person::of(&stage);
            let act = move || {
                let person = person.clone();
                tokio::spawn(async move {
                    person.delete(&ObjectRef::namespaced("apps/v1", "Deployment", "shop", "gone")).await;
                });
            };
            let watch = once(|record| matches!(record, Record::BaselineStarted {}), act);
            let step = method(fault).replace("web", "gone");
            let request = stage.request(&experiment(&["wait: 10s", &step]), 1);
            let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Inconclusive, "{fault}");
            assert_sound(&stage, &ran, fault);
        }
    });
}

#[test]
fn a_namespace_deleted_during_the_run_ends_it() {
    in_virtual_time(async {
        let stage = settled(1).await;
        for name in ["n1", "n2", "n3", "n4"] {
            assert_eq!(object(&stage, &Kind::NODE, "", name)["spec"]["unschedulable"], Value::Null);
        }
        let person = Person::of(&stage);
        let act = move || {
            let person = person.clone();
            tokio::spawn(async move {
                person.delete(&ObjectRef::namespaced("v1", "Namespace", "", "shop")).await;
            });
        };
        let watch = once(seen, act);
        let step = "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n1, n2], count: all}, nodeDrain: {}, duration: 2m}";
        let request = stage.request(&experiment(&[step]), 1);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Aborted);
        assert_sound(&stage, &ran, "namespace deleted");
        for name in ["n1", "n2", "n3", "n4"] {
            let node = object(&stage, &Kind::NODE, "", name);
            assert_eq!(node["spec"]["unschedulable"], Value::Null, "{name}");
            assert_eq!(scars_of(&node), Vec::<String>::new(), "{name}");
        }
    });
}

/// What is healthy of the budget's pods, at every event of any pod, is never below what the budget wants.
#[test]
fn evictions_never_take_a_budget_below_what_it_wants() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let store = stage.cluster.sim().store().clone();
        let lowest = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(usize::MAX));
        let (seen_tx, lowest_tx) = (lowest.clone(), store.clone());
        let watcher = tokio::spawn(async move {
            let (pods, mut events) = lowest_tx.list_and_subscribe(&Kind::POD);
            let mut all: std::collections::BTreeMap<String, Value> =
                pods.iter().map(|pod| (pod.meta.uid.clone(), pod.to_value())).collect();
            loop {
                let healthy = all.values().filter(|pod| healthy(pod)).count();
                seen_tx.fetch_min(healthy, std::sync::atomic::Ordering::Relaxed);
                let Some(event) = events.next().await else { return };
                let uid = event.object.meta.uid.clone();
                if event.kind.as_str() == "DELETED" {
                    all.remove(&uid);
                } else {
                    all.insert(uid, event.object.to_value());
                }
            }
        });
        let step = "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n1, n2], count: all}, nodeDrain: {}, duration: 10s}";
        let ran = stage.run(stage.request(&experiment(&[step]), 1)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        watcher.abort();
        assert_eq!(lowest.load(std::sync::atomic::Ordering::Relaxed), 3, "4 wanted, maxUnavailable 1");
    });
}

pub fn healthy(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    pod["metadata"]["labels"]["app"] == "web"
        && pod["metadata"]["deletionTimestamp"].is_null()
        && conditions.is_some_and(|conditions| conditions.iter().any(ready))
}
