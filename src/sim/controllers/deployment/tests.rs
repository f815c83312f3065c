use super::*;
use crate::sim::controllers::views::{IntOrPercent, View};
use crate::sim::store::{Kind, Object};
use std::sync::Arc;

fn amount(text: &str) -> IntOrPercent {
    text.parse().map_or_else(|_| IntOrPercent::Text(text.to_owned()), IntOrPercent::Int)
}

#[test]
fn fenceposts_round_surge_up_and_unavailable_down() {
    // (maxSurge, maxUnavailable, replicas) → pods, as `ResolveFenceposts` and its test have them.
    for (surge, unavailable, replicas, expected) in [
        ("25%", "25%", 10, (3, 2)),
        ("25%", "25%", 1, (1, 0)),
        ("25%", "25%", 3, (1, 0)),
        ("0%", "10%", 5, (0, 1)),
        ("0", "1%", 1, (0, 1)),
        ("1", "0%", 10, (1, 0)),
        ("1", "10%", 1, (1, 0)),
        ("39%", "39%", 10, (4, 3)),
        ("100%", "0", 4, (4, 0)),
        ("nonsense", "0", 4, (0, 1)),
    ] {
        assert_eq!(
            fenceposts(&amount(surge), &amount(unavailable), replicas),
            expected,
            "{surge} {unavailable}"
        );
    }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

fn deployment(spec: Value) -> Deployment {
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1},
        "spec": {
            "replicas": 10, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "v9"}]}},
        },
    });
    json_patch::merge(&mut value["spec"], &spec);
    View::new(Arc::new(Object::from_value(Kind::DEPLOYMENT, value).unwrap())).unwrap()
}

/// A ReplicaSet of image `v{n}`, created at `n` seconds, all of whose replicas are available.
fn set(n: i64, replicas: i64, (desired, max): (i64, i64)) -> ReplicaSet {
    let value = json!({
        "metadata": {
            "name": format!("web-{n}"), "namespace": "n", "uid": format!("s{n}"),
            "annotations": {REVISION: n.to_string(), DESIRED: desired.to_string(), MAX: max.to_string()},
        },
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"labels": {"app": "web", "pod-template-hash": n.to_string()}},
                "spec": {"containers": [{"image": format!("v{n}")}]},
            },
        },
        "status": {"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas},
    });
    let mut object = Object::from_value(Kind::REPLICA_SET, value).unwrap();
    object.meta.creation_timestamp = Some(time(n));
    View::new(Arc::new(object)).unwrap()
}

fn decided(deployment: &Deployment, sets: &[ReplicaSet]) -> Decision {
    let sets: Vec<&ReplicaSet> = sets.iter().collect();
    decide(&Inputs { deployment, sets: &sets, pods: &[], now: time(1000) })
}

/// New sizes by name; ReplicaSets that are created count as `new`.
fn sizes(decision: &Decision) -> BTreeMap<String, i64> {
    let mut sizes = BTreeMap::new();
    for action in &decision.actions {
        match action {
            Action::Merge(target, patch) if patch["spec"]["replicas"].is_i64() => {
                sizes.insert(target.key.name.clone(), patch["spec"]["replicas"].as_i64().unwrap());
            }
            Action::Create(object) => {
                let spec: Value = object.field("spec").unwrap();
                sizes.insert("new".into(), spec["replicas"].as_i64().unwrap());
            }
            _ => {}
        }
    }
    sizes
}

fn map(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
}

#[test]
fn the_first_set_of_a_deployment_has_its_labels_owner_and_hash() {
    let decision = decided(&deployment(json!({})), &[]);
    let Some(Action::Create(set)) = decision.actions.first() else { panic!("{decision:?}") };
    let hash = set.meta.labels.get("pod-template-hash").unwrap();
    assert_eq!(set.meta.name, format!("web-{hash}"));
    assert_eq!(set.controller().unwrap().uid, "d");
    let spec: Value = set.field("spec").unwrap();
    assert_eq!(
        (&spec["replicas"], &spec["selector"]["matchLabels"]["pod-template-hash"]),
        (&json!(10), &json!(hash))
    );
    assert_eq!(set.meta.annotations.get(MAX).map(String::as_str), Some("13"));
}

#[test]
fn a_roll_surges_first_then_takes_what_availability_allows() {
    let deployment = deployment(json!({}));
    let first = decided(&deployment, &[set(1, 10, (10, 13))]);
    // Three new ones are asked for and not yet there: 13 - 8 - 3 may go, in the same sync.
    assert_eq!(sizes(&first), map(&[("new", 3), ("web-1", 8)]));
    let mut new = set(9, 3, (10, 13));
    new.status = Arc::new(ReplicaSetStatus { replicas: 3, ..ReplicaSetStatus::default() });
    assert_eq!(sizes(&decided(&deployment, &[set(1, 10, (10, 13)), new])), map(&[("web-1", 8)]));
    // All three are available: five may go.
    assert_eq!(
        sizes(&decided(&deployment, &[set(1, 10, (10, 13)), set(9, 3, (10, 13))])),
        map(&[("web-1", 5)])
    );
}

#[test]
fn unhealthy_old_pods_go_before_healthy_ones() {
    let mut sick = set(1, 4, (10, 13));
    sick.status =
        Arc::new(ReplicaSetStatus { replicas: 4, available_replicas: 1, ..ReplicaSetStatus::default() });
    let decision = decided(&deployment(json!({})), &[sick, set(2, 6, (10, 13)), set(9, 3, (10, 13))]);
    // 13 pods, 8 needed: three sick ones, and of the ten available two.
    assert_eq!(sizes(&decision), map(&[("web-1", 0), ("web-2", 5)]));
}

#[test]
fn scaling_in_the_middle_of_a_roll_is_in_proportion() {
    // 5 + 8 of a maximum of 13, scaled to 15 with a maximum of 18: five more, 2 and 3.
    let up = deployment(json!({"replicas": 15}));
    let decision = decided(&up, &[set(1, 8, (10, 13)), set(9, 5, (10, 13))]);
    assert_eq!(sizes(&decision), map(&[("web-1", 11), ("web-9", 7)]));
    let down = deployment(json!({"replicas": 5}));
    let decision = decided(&down, &[set(1, 8, (10, 13)), set(9, 5, (10, 13))]);
    assert_eq!(sizes(&decision).values().sum::<i64>(), 8, "5 and a surge of 3: {:?}", sizes(&decision));
    let zero = deployment(json!({"replicas": 0}));
    assert_eq!(
        sizes(&decided(&zero, &[set(1, 8, (10, 13)), set(9, 5, (10, 13))])),
        map(&[("web-1", 0), ("web-9", 0)])
    );
}

#[test]
fn a_paused_deployment_scales_and_does_not_roll() {
    let paused = deployment(json!({"paused": true, "replicas": 12}));
    let decision = decided(&paused, &[set(1, 10, (10, 13))]);
    assert_eq!(sizes(&decision), map(&[("web-1", 12)]));
    let status = decision.actions.iter().find_map(|a| match a {
        Action::Status(_, status) => Some(status.clone()),
        _ => None,
    });
    assert!(
        status.unwrap()["conditions"].as_array().unwrap().iter().any(|c| c["reason"] == "DeploymentPaused")
    );
}

#[test]
fn history_beyond_the_limit_goes_oldest_first() {
    let deployment = deployment(json!({"revisionHistoryLimit": 1}));
    let sets = [set(1, 0, (10, 13)), set(2, 0, (10, 13)), set(3, 0, (10, 13)), set(9, 10, (10, 13))];
    let decision = decided(&deployment, &sets);
    let gone: Vec<&str> = decision
        .actions
        .iter()
        .filter_map(|a| match a {
            Action::Delete(target, _) => Some(target.key.name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(gone, ["web-1", "web-2"]);
}

#[test]
fn going_back_to_an_old_template_gives_its_set_a_new_revision_and_remembers_the_old_one() {
    let mut back = deployment(json!({}));
    let mut spec = (*back.spec).clone();
    spec.template["spec"]["containers"][0]["image"] = json!("v1");
    back.spec = Arc::new(spec);
    let decision = decided(&back, &[set(1, 0, (10, 13)), set(2, 10, (10, 13))]);
    let patch = decision.actions.iter().find_map(|a| match a {
        Action::Merge(target, patch) if target.key.name == "web-1" => Some(patch.clone()),
        _ => None,
    });
    let patch = patch.unwrap();
    assert_eq!(patch["metadata"]["annotations"][REVISION], "3");
    assert_eq!(patch["metadata"]["annotations"][REVISION_HISTORY], "1");
    assert_eq!(patch["spec"]["replicas"], 3);
}
