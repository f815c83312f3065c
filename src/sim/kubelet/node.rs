//! How a kubelet registers its node and says that it is ready.
//!
//! Source: `pkg/kubelet/kubelet_node_status.go` and `pkg/kubelet/nodestatus/setters.go`, v1.36.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::network;
use crate::sim::controllers::action::{Action, Target, event, stamp};
use crate::sim::controllers::names;
use crate::sim::controllers::views::{Node, condition};

/// What a running kubelet writes to its Node: whatever is missing, and that it is ready when that is not known.
/// `index` numbers the nodes and decides their addresses.
#[must_use]
pub fn register(node: &Node, index: usize, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let labels = missing_labels(node);
    let mut patch = json!({});
    if !labels.is_empty() {
        patch["metadata"]["labels"] = Value::Object(labels);
    }
    if node.spec.pod_cidr.is_empty() {
        let cidr = network::pod_cidr(index);
        patch["spec"] = json!({"podCIDR": cidr, "podCIDRs": [cidr]});
    }
    if patch != json!({}) {
        actions.push(Action::Merge(Target::of(&node.object), patch));
    }
    let mut status: Map<String, Value> = node.object.field("status").unwrap_or_default();
    let before = status.clone();
    let capacity = json!({"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"});
    let capacity = status.entry("capacity").or_insert(capacity).clone();
    status.entry("allocatable").or_insert(capacity);
    status.entry("addresses").or_insert_with(|| {
        json!([{"type": "InternalIP", "address": network::node_address(index)}, {"type": "Hostname", "address": node.name()}])
    });
    status.entry("nodeInfo").or_insert_with(|| node_info(node));
    status.entry("daemonEndpoints").or_insert_with(|| json!({"kubeletEndpoint": {"Port": 10250}}));
    let known = condition(&node.status.conditions, "Ready").is_some_and(|c| c.status != "Unknown");
    if !known {
        status.insert("conditions".into(), ready_conditions(now));
        let message = format!("Node {} status is now: NodeReady", node.name());
        actions.push(event(&node.object, "kubelet", "NodeReady", message));
    }
    if status != before {
        actions.push(Action::Status(Target::of(&node.object), Value::Object(status)));
    }
    actions
}

fn missing_labels(node: &Node) -> Map<String, Value> {
    let labels = [
        ("kubernetes.io/hostname", node.name()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
    ];
    let missing = labels.iter().filter(|(key, _)| !node.meta().labels.contains_key(*key));
    missing.map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
}

fn ready_conditions(now: Timestamp) -> Value {
    let rows = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    Value::Array(
        rows.iter()
            .map(|(kind, status, reason, message)| {
                json!({
                    "type": kind, "status": status, "reason": reason, "message": message,
                    "lastHeartbeatTime": stamp(now), "lastTransitionTime": stamp(now),
                })
            })
            .collect(),
    )
}

fn node_info(node: &Node) -> Value {
    let id = names::digest(node.name());
    json!({
        "machineID": &id[..32], "systemUUID": format!("{}-{}-{}-{}-{}", &id[0..8], &id[8..12], &id[12..16], &id[16..20], &id[20..32]),
        "bootID": format!("{}-{}-{}-{}-{}", &id[32..40], &id[40..44], &id[44..48], &id[48..52], &id[52..64]),
        "kernelVersion": "6.12.0", "osImage": "Embedded Linux", "containerRuntimeVersion": "containerd://2.1.0",
        "kubeletVersion": "v1.36.3", "kubeProxyVersion": "v1.36.3", "operatingSystem": "linux", "architecture": "amd64",
    })
}
