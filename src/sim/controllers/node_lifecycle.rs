//! Nodes that are lost, cordoned or gone: conditions, taints, evictions.
//!
//! Source: `pkg/controller/nodelifecycle/node_lifecycle_controller.go`, `pkg/controller/tainteviction`,
//! `pkg/controller/podgc`, `pkg/kubelet/nodelease`, v1.36. Leases and heartbeats are computed when read, not renewed by
//! a timer: in virtual time a day of 500 nodes would be four million writes that say nothing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::action::{Action, Decision, Target, event, stamp, warning};
use super::names;
use super::views::{Node, Pod, Taint, condition};
use crate::sim::annotations;
use crate::sim::scheduler::UNSCHEDULABLE;
use crate::sim::store::{Kind, Object, OwnerReference};

/// How long a node may be silent (`--node-monitor-grace-period`, 50 s since v1.32).
pub const GRACE: Duration = Duration::from_secs(50);
/// How often a kubelet renews its Lease: a quarter of `nodeLeaseDurationSeconds` (40).
pub const RENEW: Duration = Duration::from_secs(10);
/// How long the pods of a node object that is gone are kept (`quarantineTime` in `pkg/controller/podgc`).
pub const ORPHANED: Duration = Duration::from_secs(40);
/// The namespace of the Leases of nodes.
pub const LEASES: &str = "kube-node-lease";
const LEASE_SECONDS: i64 = 40;
const SOURCE: &str = "node-controller";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Whether a node's kubelet runs: it does unless the annotation `sim.firedrill.dev/kubelet` says `stopped`.
#[must_use]
pub fn kubelet_runs(node: &Node) -> bool {
    node.meta().annotations.get(annotations::KUBELET).map(String::as_str) != Some("stopped")
}

/// When a kubelet last renewed its Lease: every ten seconds since `since`, at an offset of its own so that nodes do
/// not renew in step, and never after `stopped`.
#[must_use]
pub fn last_renewal(
    node: &str,
    (since, stopped): (Timestamp, Option<Timestamp>),
    now: Timestamp,
) -> Timestamp {
    let until = stopped.map_or(now, |s| s.min(now)).as_millisecond();
    let step = RENEW.as_millis() as i64;
    let first = since.as_millisecond() + (names::hash(&["lease", node]) % RENEW.as_millis() as u64) as i64;
    if until < first {
        return since;
    }
    Timestamp::from_millisecond(first + (until - first) / step * step).unwrap_or(since)
}

/// Since when a node's kubelet is silent, as the node itself says; `None` while it runs.
#[must_use]
pub fn silent_since(node: &Object) -> Option<Timestamp> {
    node.meta.annotations.get(annotations::SILENT_SINCE)?.parse().ok()
}

/// `spec` of a node's Lease as it stands at `now`. The stored Lease is written once, when the node registers; whoever
/// answers a read of a Lease in `kube-node-lease` puts this in its place.
#[must_use]
pub fn lease_spec_as_of(node: &Object, now: Timestamp) -> Value {
    let created = node.meta.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    let renewed = last_renewal(&node.meta.name, (created, silent_since(node)), now);
    json!({
        "holderIdentity": node.meta.name, "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
    })
}

/// The Lease that a kubelet creates for its node.
#[must_use]
pub fn new_lease(node: &Object, now: Timestamp) -> Object {
    let mut lease = Object::new(Kind::LEASE, LEASES, &node.meta.name);
    let owner =
        OwnerReference { controller: None, block_owner_deletion: None, ..node.controller_reference() };
    lease.meta.owner_references = vec![owner];
    lease.set_value("spec", &lease_spec_as_of(node, now));
    lease
}

/// One look at a node; `pods` are those bound to it.
#[must_use]
pub fn decide(node: &Node, pods: &[&Pod], now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    if node.terminating() {
        return decision;
    }
    decision.actions.extend(note_silence(node, now));
    let mut status = ready_status(node);
    if let Some(since) = silent_since(&node.object) {
        let last = last_renewal(node.name(), (node.created(), Some(since)), now);
        let left = last.as_millisecond() + GRACE.as_millis() as i64 - now.as_millisecond();
        if left > 0 {
            decision.again_in(Duration::from_millis(left as u64));
        } else if status != "Unknown" {
            decision.actions.push(lost(node, now));
            decision.actions.push(event(
                &node.object,
                SOURCE,
                "NodeNotReady",
                format!("Node {} status is now: NodeNotReady", node.name()),
            ));
            status = "Unknown";
        }
    }
    if status != "True" && !status.is_empty() {
        for pod in pods.iter().filter(|p| p.ready()) {
            decision.actions.push(pod_not_ready(pod, now));
            decision.actions.push(warning(&pod.object, SOURCE, "NodeNotReady", "Node is not ready".into()));
        }
    }
    decision.actions.extend(taints(node, status, now));
    decision
}

/// Keeps the annotation that says since when the kubelet is silent.
fn note_silence(node: &Node, now: Timestamp) -> Option<Action> {
    let value = match (kubelet_runs(node), silent_since(&node.object)) {
        (false, None) => json!(now.to_string()),
        (true, Some(_)) => Value::Null,
        _ => return None,
    };
    Some(Action::Merge(
        Target::of(&node.object),
        json!({"metadata": {"annotations": {annotations::SILENT_SINCE: value}}}),
    ))
}

fn ready_status(node: &Node) -> &'static str {
    match condition(&node.status.conditions, "Ready").map(|c| c.status.as_str()) {
        None => "",
        Some("True") => "True",
        Some("False") => "False",
        Some(_) => "Unknown",
    }
}

/// The taints that follow from conditions and cordon (`nodeConditionToTaintKeyStatusMap`, `doNoScheduleTaintingPass`).
fn taints(node: &Node, ready: &str, now: Timestamp) -> Option<Action> {
    let pressure = |kind: &str| condition(&node.status.conditions, kind).is_some_and(|c| c.status == "True");
    let rows = [
        (NOT_READY, "NoSchedule", ready == "False"),
        (UNREACHABLE, "NoSchedule", ready == "Unknown"),
        (NOT_READY, "NoExecute", ready == "False"),
        (UNREACHABLE, "NoExecute", ready == "Unknown"),
        (UNSCHEDULABLE, "NoSchedule", node.spec.unschedulable),
        ("node.kubernetes.io/memory-pressure", "NoSchedule", pressure("MemoryPressure")),
        ("node.kubernetes.io/disk-pressure", "NoSchedule", pressure("DiskPressure")),
        ("node.kubernetes.io/pid-pressure", "NoSchedule", pressure("PIDPressure")),
        ("node.kubernetes.io/network-unavailable", "NoSchedule", pressure("NetworkUnavailable")),
    ];
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for (key, effect, wanted) in rows {
        let there = node.spec.taints.iter().any(|t| t.key == key && t.effect == effect);
        let taint =
            Taint { key: key.into(), effect: effect.into(), value: String::new(), time_added: Some(now) };
        match (wanted, there) {
            (true, false) => add.push(taint),
            (false, true) => remove.push(taint),
            _ => {}
        }
    }
    let nothing = add.is_empty() && remove.is_empty();
    (!nothing).then(|| Action::Taints { node: node.name().to_owned(), add, remove })
}

/// All conditions become Unknown.
fn lost(node: &Node, now: Timestamp) -> Action {
    let mut status: Value = node.object.field("status").unwrap_or_default();
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        condition["status"] = json!("Unknown");
        condition["reason"] = json!("NodeStatusUnknown");
        condition["message"] = json!("Kubelet stopped posting node status.");
        condition["lastTransitionTime"] = stamp(now);
    }
    Action::Status(Target::of(&node.object), status)
}

/// A pod on a lost node is not ready, so that it leaves the endpoints (`MarkPodsNotReady`).
fn pod_not_ready(pod: &Pod, now: Timestamp) -> Action {
    let mut status: Value = pod.object.field("status").unwrap_or_default();
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if condition.get("type").and_then(Value::as_str) == Some("Ready") {
            condition["status"] = json!("False");
            condition["lastTransitionTime"] = stamp(now);
        }
    }
    Action::Status(Target::of(&pod.object), status)
}

/// What NoExecute taints do to a pod: nothing, deletion now, or another look when its toleration ends, counted from
/// when the controller first saw that they do not go together (`processPodOnNode`), `since`.
#[must_use]
pub fn decide_eviction(pod: &Pod, node: &Node, since: Timestamp, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    if pod.terminating() || pod.finished() {
        return decision;
    }
    let mut due: Option<Timestamp> = None;
    for taint in node.spec.taints.iter().filter(|t| t.effect == "NoExecute") {
        let tolerations: Vec<_> = pod.spec.tolerations.iter().filter(|t| t.tolerates(taint)).collect();
        let until = if tolerations.is_empty() {
            Some(now)
        } else {
            // The shortest of those that end counts (`getMinTolerationTime`).
            tolerations.iter().filter_map(|t| t.toleration_seconds).min().map(|seconds| {
                since.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX)
            })
        };
        due = match (due, until) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    let Some(due) = due else { return decision };
    let left = due.as_millisecond() - now.as_millisecond();
    if left > 0 {
        decision.again_in(Duration::from_millis(left as u64));
        return decision;
    }
    let mut status: Value = pod.object.field("status").unwrap_or_default();
    let disruption = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastProbeTime": null,
        "lastTransitionTime": stamp(now),
    });
    match status.get_mut("conditions").and_then(Value::as_array_mut) {
        Some(list) => list.push(disruption),
        None => status["conditions"] = json!([disruption]),
    }
    let message = format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name());
    decision.actions = vec![
        event(&pod.object, "taint-eviction-controller", "TaintManagerEviction", message),
        Action::Status(Target::of(&pod.object), status),
        Action::Delete(Target::of(&pod.object), None),
    ];
    decision
}
