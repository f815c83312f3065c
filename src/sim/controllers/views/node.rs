//! Nodes and Namespaces.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Taint, View, condition};

/// A Node.
pub type Node = View<NodeSpec, NodeStatus>;
/// A Namespace.
pub type Namespace = View<NamespaceSpec, NamespaceStatus>;

/// `v1.NodeSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    #[serde(rename = "providerID")]
    pub provider_id: String,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
}

/// `v1.NodeStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    pub capacity: BTreeMap<String, Value>,
    pub allocatable: BTreeMap<String, Value>,
    pub conditions: Vec<Condition>,
    pub addresses: Vec<NodeAddress>,
    /// What the node has to give, and how many pods, worked out once.
    #[serde(skip)]
    pub room: std::sync::OnceLock<(crate::sim::scheduler::Amount, i64)>,
}

/// `v1.NodeAddress`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    #[serde(rename = "type")]
    pub kind: String,
    pub address: String,
}

impl Node {
    /// The node's address inside the cluster.
    pub fn internal_ip(&self) -> Option<&str> {
        self.status.addresses.iter().find(|a| a.kind == "InternalIP").map(|a| a.address.as_str())
    }

    /// The Ready condition is True.
    pub fn ready(&self) -> bool {
        condition(&self.status.conditions, "Ready").is_some_and(|c| c.status == "True")
    }
}

/// `v1.NamespaceSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    pub finalizers: Vec<String>,
}

/// `v1.NamespaceStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    pub phase: String,
}
