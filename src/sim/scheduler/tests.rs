use super::*;
use crate::sim::controllers::views::View;
use crate::sim::store::{Kind, Object};
use serde_json::json;
use std::sync::Arc;

fn node(name: &str, zone: &str, spec: Value) -> Node {
    let value = json!({
        "metadata": {"name": name, "labels": {ZONE: zone, "kubernetes.io/hostname": name}}, "spec": spec,
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}},
    });
    View::new(Arc::new(Object::from_value(Kind::NODE, value).unwrap())).unwrap()
}

fn pod(name: &str, owner: &str, spec: Value) -> Pod {
    let mut value = json!({
        "metadata": {
            "name": name, "namespace": "n", "labels": {"app": owner},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}],
        },
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]},
    });
    json_patch::merge(&mut value["spec"], &spec);
    View::new(Arc::new(Object::from_value(Kind::POD, value).unwrap())).unwrap()
}

fn place(wanted: &Pod, nodes: &[Node], pods: &[Pod]) -> Result<String, String> {
    let on = |node: &Node| pods.iter().filter(|p| p.spec.node_name == node.name()).collect::<Vec<_>>();
    let candidates: Vec<Candidate<'_>> = nodes.iter().map(|n| Candidate::new(n, on(n).into_iter())).collect();
    choose(wanted, &candidates)
}

#[test]
fn quantities_are_read_as_kubernetes_writes_them() {
    for (text, thousandths) in [
        ("1", 1_000),
        ("100m", 100),
        ("0.5", 500),
        ("1.25", 1_250),
        ("2k", 2_000_000),
        ("1Ki", 1_024_000),
        ("8Gi", 8_589_934_592_000),
        ("1e3", 1_000_000),
        ("1.5Gi", 1_610_612_736_000),
        ("0", 0),
    ] {
        assert_eq!(quantity(text), Some(thousandths), "{text}");
    }
    for text in ["", "m", "1x", "1.2.3", "Gi", "1 Gi", "nan", "1.-5"] {
        assert_eq!(quantity(text), None, "{text}");
    }
}

#[test]
fn pods_of_one_owner_are_spread_over_zones_then_nodes_then_names() {
    let nodes = [node("a1", "a", json!({})), node("a2", "a", json!({})), node("b1", "b", json!({}))];
    let mut pods: Vec<Pod> = Vec::new();
    let mut order = Vec::new();
    for n in 0..4 {
        let new = pod(&format!("p{n}"), "web", json!({}));
        let chosen = place(&new, &nodes, &pods).unwrap();
        order.push(chosen.clone());
        pods.push(pod(&format!("p{n}"), "web", json!({"nodeName": chosen})));
    }
    assert_eq!(order, ["a1", "b1", "a2", "b1"]);
    let other = pod("q", "api", json!({}));
    assert_eq!(place(&other, &nodes, &pods).unwrap(), "a1", "least allocated, then by name");
}

#[test]
fn every_refusal_has_the_schedulers_own_words() {
    let taint = json!({"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]});
    let full = [
        pod("x", "x", json!({"nodeName": "d"})),
        pod("y", "x", json!({"nodeName": "d"})),
        pod("z", "x", json!({"nodeName": "d"})),
    ];
    let nodes = [
        node("a", "a", json!({"unschedulable": true})),
        node("b", "a", taint.clone()),
        node("c", "a", json!({})),
        node("d", "a", json!({})),
    ];
    let picky = pod("p", "web", json!({"nodeSelector": {"kubernetes.io/hostname": "d"}}));
    let message = place(&picky, &nodes, &full).unwrap_err();
    assert_eq!(
        message,
        "0/4 nodes are available: 1 Too many pods, 1 node(s) didn't match Pod's node affinity/selector, \
         1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. preemption: 0/4 nodes are available: \
         1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling."
    );
    let tolerant = pod(
        "p",
        "web",
        json!({"tolerations": [{"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}]}),
    );
    assert_eq!(place(&tolerant, &nodes[..2], &[]).unwrap(), "b");
    assert_eq!(place(&tolerant, &[], &[]).unwrap_err(), "no nodes available to schedule pods");
    let huge =
        pod("p", "web", json!({"containers": [{"resources": {"requests": {"cpu": "3", "memory": "2Gi"}}}]}));
    assert!(
        place(&huge, &nodes[2..3], &[]).unwrap_err().contains("1 Insufficient cpu, 1 Insufficient memory")
    );
}

#[test]
fn required_affinities_hold() {
    let nodes = [node("a", "a", json!({})), node("b", "b", json!({}))];
    let term = |operator: &str| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": ZONE, "operator": operator, "values": ["b"]}]}]}}}})
    };
    assert_eq!(place(&pod("p", "web", term("In")), &nodes, &[]).unwrap(), "b");
    assert_eq!(place(&pod("p", "web", term("NotIn")), &nodes, &[]).unwrap(), "a");
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]}}});
    let placed = [pod("x", "web", json!({"nodeName": "a"})), pod("y", "web", json!({"nodeName": "b"}))];
    assert_eq!(place(&pod("p", "web", apart.clone()), &nodes, &placed[..1]).unwrap(), "b");
    let message = place(&pod("p", "web", apart), &nodes, &placed).unwrap_err();
    assert!(message.contains("2 node(s) didn't match pod anti-affinity rules"), "{message}");
}

#[test]
fn a_preferred_node_wins_where_it_fits_and_is_no_must() {
    let nodes = [node("a1", "a", json!({})), node("b1", "b", json!({}))];
    let prefers = |value: &str| {
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100,
            "preference": {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [value]}]}}]}}})
    };
    let pick = |spec| place(&pod("p", "web", spec), &nodes, &[]);
    assert_eq!(pick(json!({})), Ok("a1".into()));
    assert_eq!(pick(prefers("b")), Ok("b1".into()));
    assert_eq!(pick(prefers("z")), Ok("a1".into()));
    let cordoned = [node("a1", "a", json!({})), node("b1", "b", json!({"unschedulable": true}))];
    assert_eq!(place(&pod("p", "web", prefers("b")), &cordoned, &[]), Ok("a1".into()));
}

/// A constraint over zones for `app: web`, with what is different about it.
fn over_zones(patch: Value) -> Value {
    let mut constraint = json!({"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}});
    json_patch::merge(&mut constraint, &patch);
    json!({"topologySpreadConstraints": [constraint]})
}

fn placed(nodes: &[&str]) -> Vec<Pod> {
    let pods = nodes.iter().enumerate();
    pods.map(|(n, node)| pod(&format!("p{n}"), "web", json!({"nodeName": node}))).collect()
}

#[test]
fn a_lost_zone_holds_a_hard_spread_of_the_others_down_unless_taints_count() {
    let nodes = [
        node("a1", "a", json!({"unschedulable": true})),
        node("b1", "b", json!({})),
        node("c1", "c", json!({})),
    ];
    let web = |patch| pod("new", "web", over_zones(patch));
    assert_eq!(place(&web(json!({})), &nodes, &placed(&["b1"])), Ok("c1".into()));
    let message = place(&web(json!({})), &nodes, &placed(&["b1", "c1"])).unwrap_err();
    assert!(
        message.contains(
            "1 node(s) were unschedulable, 2 node(s) didn't match pod topology spread constraints."
        ),
        "{message}"
    );
    assert!(message.contains("2 No preemption victims found"), "{message}");
    let honoring = web(json!({"nodeTaintsPolicy": "Honor"}));
    assert_eq!(place(&honoring, &nodes, &placed(&["b1", "c1"])), Ok("b1".into()));
    assert_eq!(place(&web(json!({"maxSkew": 2})), &nodes, &placed(&["b1", "c1"])), Ok("b1".into()));
    let softly = web(json!({"whenUnsatisfiable": "ScheduleAnyway"}));
    assert_eq!(place(&softly, &nodes, &placed(&["b1", "b1", "c1"])), Ok("c1".into()));
    // Two zones there are, three there have to be: then the least is nothing.
    let wide = web(json!({"minDomains": 3}));
    let refused = place(&wide, &nodes[1..], &placed(&["b1", "c1"])).unwrap_err();
    assert!(refused.contains("2 node(s) didn't match pod topology spread constraints"), "{refused}");
}

#[test]
fn a_node_without_the_label_takes_no_hard_spread_and_is_the_last_choice_of_a_soft_one() {
    let mut bare = node("a0", "a", json!({})).object.to_value();
    bare["metadata"]["labels"].as_object_mut().unwrap().remove(ZONE);
    let bare: Node = View::new(Arc::new(Object::from_value(Kind::NODE, bare).unwrap())).unwrap();
    let nodes = [bare, node("b1", "b", json!({}))];
    let message = place(&pod("p", "web", over_zones(json!({}))), &nodes[..1], &[]).unwrap_err();
    assert!(
        message.contains("1 node(s) didn't match pod topology spread constraints (missing required label)"),
        "{message}"
    );
    let soft = pod("p", "web", over_zones(json!({"whenUnsatisfiable": "ScheduleAnyway"})));
    assert_eq!(place(&soft, &nodes, &placed(&["b1"])), Ok("b1".into()));
    // The scheduler's own constraints ask for no label.
    assert_eq!(place(&pod("p", "web", json!({})), &nodes, &placed(&["b1"])), Ok("a0".into()));
}

#[test]
fn a_spread_counts_its_own_namespace_its_revision_and_what_is_not_on_its_way_out() {
    let nodes = [node("a1", "a", json!({})), node("b1", "b", json!({}))];
    let with = |patch: Value| {
        let mut value = pod("x", "web", json!({"nodeName": "a1"})).object.to_value();
        json_patch::merge(&mut value, &patch);
        let pod: Pod = View::new(Arc::new(Object::from_value(Kind::POD, value).unwrap())).unwrap();
        pod
    };
    let new = pod("new", "web", over_zones(json!({"matchLabelKeys": ["app"]})));
    assert_eq!(place(&new, &nodes, &[with(json!({}))]), Ok("b1".into()));
    for elsewhere in [
        json!({"metadata": {"namespace": "other"}}),
        json!({"metadata": {"labels": {"app": "api"}}}),
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}}),
    ] {
        let there = [with(elsewhere.clone()), pod("y", "web", json!({"nodeName": "b1"}))];
        assert_eq!(place(&new, &nodes, &there), Ok("a1".into()), "{elsewhere}");
    }
}
