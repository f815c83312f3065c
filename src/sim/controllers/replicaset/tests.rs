use super::*;
use std::sync::Arc;

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// A ready pod on node `a` since 100 s, changed by a merge patch.
fn pod(name: &str, patch: Value) -> Pod {
    let mut value = json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"},
                     "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "a"},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:40Z"}]},
    });
    json_patch::merge(&mut value, &patch);
    View::new(Arc::new(Object::from_value(Kind::POD, value).unwrap())).unwrap()
}

fn set(replicas: i64) -> ReplicaSet {
    let value = json!({
        "metadata": {"name": "web-1", "namespace": "n", "uid": "s"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                 "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}},
    });
    View::new(Arc::new(Object::from_value(Kind::REPLICA_SET, value).unwrap())).unwrap()
}

fn decided(set: &ReplicaSet, pods: &[&Pod], namespace_terminating: bool) -> Decision {
    let ordinal = 0;
    decide(&Inputs { set, pods, related: pods, namespace_terminating, seed: 1, ordinal, now: time(4196) })
}

fn deleted(decision: &Decision) -> Vec<String> {
    let name = |a: &Action| match a {
        Action::Delete(target, None) => Some(target.key.name.clone()),
        _ => None,
    };
    decision.actions.iter().filter_map(name).collect()
}

#[test]
fn of_two_pods_the_one_goes_first_that_kubernetes_would_take() {
    let ready_at = |t: &str| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": t}]}});
    let restarts = |n: i64| json!({"status": {"containerStatuses": [{"name": "c", "restartCount": n}]}});
    let cost =
        |n: &str| json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": n}}});
    let unready = json!({"status": {"conditions": []}});
    // What goes and what stays; each row is decided by one rule, and the names would say the opposite.
    let table = [
        (json!({"spec": {"nodeName": null}}), json!({})),
        (json!({"spec": {"nodeName": null}}), unready.clone()),
        (json!({"status": {"phase": "Pending"}}), unready.clone()),
        (unready.clone(), cost("-100")),
        (cost("-5"), cost("0")),
        (cost("0"), cost("5")),
        // Ready for 4,095 s against 1,000 s: another power of two; the younger goes.
        (ready_at("2026-01-01T00:53:16Z"), ready_at("2026-01-01T00:01:41Z")),
        (restarts(3), restarts(0)),
        (json!({"metadata": {"creationTimestamp": "2026-01-01T00:53:16Z"}}), json!({})),
    ];
    for (row, (goes, stays)) in table.into_iter().enumerate() {
        let (z, a) = (pod("z", goes), pod("a", stays));
        assert_eq!(deleted(&decided(&set(1), &[&a, &z], false)), ["z"], "row {row}");
    }
}

#[test]
fn any_number_of_pods_has_one_order() {
    // Ready since three moments within one power of two, and UIDs that do not go with the names.
    let pods: Vec<Pod> = (0..60)
        .map(|n| {
            let since = format!("2026-01-01T00:53:{}Z", 10 + n % 3);
            let conditions = json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
            let uid = format!("u{:02}", n * 37 % 60);
            pod(&format!("p{n:02}"), json!({"metadata": {"uid": uid}, "status": {"conditions": conditions}}))
        })
        .collect();
    let forwards: Vec<&Pod> = pods.iter().collect();
    let backwards: Vec<&Pod> = pods.iter().rev().collect();
    let gone = deleted(&decided(&set(20), &forwards, false));
    assert_eq!(gone.len(), 40);
    assert_eq!(deleted(&decided(&set(20), &backwards, false)), gone);
}

#[test]
fn a_neighbour_of_its_own_kind_goes_before_a_pod_that_is_alone() {
    let on = |node: &str| json!({"spec": {"nodeName": node}});
    let (alone, one, two) = (pod("a", on("x")), pod("b", on("y")), pod("c", on("y")));
    let gone = deleted(&decided(&set(2), &[&alone, &one, &two], false));
    assert_eq!(gone, ["b"]);
}

#[test]
fn a_terminating_pod_is_replaced_at_once_but_not_in_a_namespace_that_goes_away() {
    let leaving = pod("a", json!({"metadata": {"deletionTimestamp": "2026-01-01T01:00:00Z"}}));
    let decision = decided(&set(1), &[&leaving], false);
    let Some(Action::Create(new)) = decision.actions.first() else { panic!("{decision:?}") };
    assert!(new.meta.name.starts_with("web-1-") && new.meta.name.len() == 11, "{}", new.meta.name);
    assert_eq!(new.controller().map(|o| o.uid.as_str()), Some("s"));
    let status = decision.actions.iter().find_map(|a| match a {
        Action::Status(_, status) => Some(status.clone()),
        _ => None,
    });
    assert_eq!(status.unwrap(), json!({"replicas": 0, "terminatingReplicas": 1}));
    let decision = decided(&set(1), &[&leaving], true);
    assert!(!decision.actions.iter().any(|a| matches!(a, Action::Create(_))));
}
