//! A Machine or a NodeClaim as its controller reads it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Maker, merge};
use crate::sim::annotations;
use crate::sim::controllers::action::Action;
use crate::sim::controllers::views::{Key, Node, View};
use crate::sim::scheduler::ZONE;
use crate::sim::store::Object;

/// On a Node: its Machine, and of what Cluster and pool that is (`api/core/v1beta2/common_types.go`).
pub(super) const MACHINE: &str = "cluster.x-k8s.io/machine";
const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
const CLUSTER_NAMESPACE: &str = "cluster.x-k8s.io/cluster-namespace";
const OWNER_KIND: &str = "cluster.x-k8s.io/owner-kind";
const OWNER_NAME: &str = "cluster.x-k8s.io/owner-name";
/// On a Machine: its MachineSet.
pub(super) const SET_NAME: &str = "cluster.x-k8s.io/set-name";
/// On NodeClaims and Nodes: their NodePool.
pub(super) const NODE_POOL: &str = "karpenter.sh/nodepool";
/// Labels of Machines that their Nodes get (`getManagedLabels`).
const MANAGED: [&str; 3] =
    ["node-role.kubernetes.io/", "node-restriction.kubernetes.io/", "node.cluster.x-k8s.io/"];

/// `spec` of either, the fields that are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub cluster_name: String,
    #[serde(rename = "providerID")]
    pub provider_id: String,
    pub failure_domain: String,
    /// v1beta1.
    pub node_drain_timeout: String,
    /// v1beta2.
    pub deletion: Deletion,
    /// Karpenter.
    pub termination_grace_period: Option<String>,
}

/// `spec.deletion` of a Machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Deletion {
    pub node_drain_timeout_seconds: u32,
}

/// `status` of either.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub node_ref: NodeRef,
    pub node_name: String,
    #[serde(rename = "providerID")]
    pub provider_id: String,
}

/// `status.nodeRef` of a Machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeRef {
    pub name: String,
}

/// One of them.
pub(super) struct Machine {
    pub maker: Maker,
    view: View<Spec, Status>,
}

impl Deref for Machine {
    type Target = View<Spec, Status>;
    fn deref(&self) -> &Self::Target {
        &self.view
    }
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl Machine {
    /// One that cannot be read is not looked after.
    pub(super) fn read(maker: Maker, object: Arc<Object>) -> Option<Self> {
        View::new(object).ok().map(|view| Self { maker, view })
    }

    pub(super) fn node(&self) -> Option<&str> {
        given(match self.maker {
            Maker::ClusterApi => &self.status.node_ref.name,
            Maker::Karpenter => &self.status.node_name,
        })
    }

    pub(super) fn provider_id(&self) -> Option<&str> {
        given(match self.maker {
            Maker::ClusterApi => &self.spec.provider_id,
            Maker::Karpenter => &self.status.provider_id,
        })
    }

    /// Its MachineSet or NodePool, as a label says; a set in its namespace.
    pub(super) fn pool(&self) -> Option<Key> {
        let label = match self.maker {
            Maker::ClusterApi => SET_NAME,
            Maker::Karpenter => NODE_POOL,
        };
        Some(Key::new(self.namespace(), self.meta().labels.get(label)?))
    }

    /// The zone that it is asked for.
    pub(super) fn zone(&self) -> Option<&str> {
        let label = self.meta().labels.get(ZONE).map(String::as_str);
        given(&self.spec.failure_domain).or(label)
    }

    /// Those of its labels that its node gets.
    pub(super) fn node_labels(&self) -> Map<String, Value> {
        let all = self.meta().labels.iter();
        let managed = |key: &str| match self.maker {
            Maker::ClusterApi => MANAGED.iter().any(|prefix| key.starts_with(prefix)),
            Maker::Karpenter => true,
        };
        all.filter(|(key, _)| managed(key)).map(|(key, value)| (key.clone(), json!(value))).collect()
    }

    /// What its node says of it.
    pub(super) fn marks(&self) -> BTreeMap<&'static str, String> {
        if self.maker == Maker::Karpenter {
            return BTreeMap::new();
        }
        let mut marks = BTreeMap::from([
            (MACHINE, self.name().to_owned()),
            (CLUSTER_NAME, self.spec.cluster_name.clone()),
            (CLUSTER_NAMESPACE, self.namespace().to_owned()),
        ]);
        if let Some(owner) = self.controller() {
            marks.extend([(OWNER_KIND, owner.kind.clone()), (OWNER_NAME, owner.name.clone())]);
        }
        marks
    }

    /// Its status once it has this node.
    pub(super) fn status_with(&self, node: &Node) -> Value {
        match self.maker {
            Maker::ClusterApi => json!({"status": {"nodeRef": {"name": node.name()}, "phase": "Running"}}),
            Maker::Karpenter => {
                json!({"status": {"nodeName": node.name(), "providerID": node.spec.provider_id}})
            }
        }
    }

    pub(super) fn with_provider_id(&self, id: &str) -> Action {
        let place = match self.maker {
            Maker::ClusterApi => "spec",
            Maker::Karpenter => "status",
        };
        merge(&self.object, json!({place: {"providerID": id}}))
    }

    /// How long its node may be drained; None: for ever.
    pub(super) fn drain_timeout(&self) -> Option<Duration> {
        let read = |text: &str| annotations::duration(text).unwrap_or_default();
        if let Some(grace) = &self.spec.termination_grace_period {
            return Some(read(grace));
        }
        let seconds = Duration::from_secs(u64::from(self.spec.deletion.node_drain_timeout_seconds));
        let timeout = if seconds.is_zero() { read(&self.spec.node_drain_timeout) } else { seconds };
        (!timeout.is_zero()).then_some(timeout)
    }
}
