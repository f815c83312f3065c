//! Pods.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Matcher, View, condition};

/// A Pod.
pub type Pod = View<PodSpec, PodStatus>;

/// `v1.PodSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: String,
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    pub node_selector: BTreeMap<String, String>,
    pub affinity: Affinity,
    pub tolerations: Vec<Toleration>,
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    pub termination_grace_period_seconds: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub host_network: bool,
    pub scheduler_name: String,
    pub restart_policy: String,
    /// The claims that its volumes name.
    #[serde(rename = "volumes", deserialize_with = "claims")]
    pub claims: Vec<String>,
    /// What the containers request together, worked out once.
    #[serde(skip)]
    pub requested: std::sync::OnceLock<crate::sim::scheduler::Amount>,
}

/// `persistentVolumeClaim.claimName` of each volume that has one.
fn claims<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Volume {
        persistent_volume_claim: Option<Claim>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Claim {
        claim_name: String,
    }
    let volumes = Vec::<Volume>::deserialize(deserializer)?;
    Ok(volumes.into_iter().filter_map(|volume| Some(volume.persistent_volume_claim?.claim_name)).collect())
}

/// `v1.TopologySpreadConstraint`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologySpreadConstraint {
    pub max_skew: i64,
    pub topology_key: String,
    pub when_unsatisfiable: String,
    pub label_selector: Option<Matcher>,
    pub min_domains: Option<i64>,
    pub match_label_keys: Vec<String>,
    pub node_affinity_policy: String,
    pub node_taints_policy: String,
}

/// `v1.Affinity`: what the scheduler enforces.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    pub node_affinity: NodeAffinity,
    pub pod_anti_affinity: PodAntiAffinity,
}

/// `v1.NodeAffinity`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub preferred: Vec<PreferredSchedulingTerm>,
}

/// `v1.PreferredSchedulingTerm`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PreferredSchedulingTerm {
    /// 1 to 100.
    pub weight: i64,
    pub preference: NodeSelectorTerm,
}

/// `v1.NodeSelector`: terms are alternatives.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// `v1.NodeSelectorTerm`: requirements hold together.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    pub match_expressions: Vec<Requirement>,
    pub match_fields: Vec<Requirement>,
}

/// `v1.PodAntiAffinity`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAntiAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Vec<PodAffinityTerm>,
}

/// `v1.PodAffinityTerm`, in the pod's own namespace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAffinityTerm {
    pub label_selector: Option<Matcher>,
    pub topology_key: String,
}

/// One requirement of a node selector term.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirement {
    pub key: String,
    pub operator: String,
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether labels meet the requirement; `Gt` and `Lt` are for node selectors only.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let number = |text: &String| text.parse::<i64>().ok();
        match self.operator.as_str() {
            "In" => value.is_some_and(|v| self.values.contains(v)),
            "NotIn" => value.is_none_or(|v| !self.values.contains(v)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => value.and_then(number) > self.values.first().and_then(number) && value.is_some(),
            "Lt" => match (value.and_then(number), self.values.first().and_then(number)) {
                (Some(a), Some(b)) => a < b,
                _ => false,
            },
            _ => false,
        }
    }
}

/// `v1.Toleration`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    pub key: String,
    pub operator: String,
    pub value: String,
    pub effect: String,
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// `v1.Toleration.ToleratesTaint`.
    pub fn tolerates(&self, taint: &super::Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator.as_str() {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                _ => false,
            }
    }
}

/// `v1.Taint`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
    pub time_added: Option<Timestamp>,
}

/// `v1.Container`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub ports: Vec<ContainerPort>,
    pub resources: Resources,
    pub readiness_probe: Option<Probe>,
    pub liveness_probe: Option<Probe>,
    pub lifecycle: Lifecycle,
    pub restart_policy: String,
}

/// `v1.ContainerPort`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    pub name: String,
    pub container_port: i64,
    pub protocol: String,
}

/// `v1.ResourceRequirements`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub requests: BTreeMap<String, Value>,
    pub limits: BTreeMap<String, Value>,
}

/// `v1.Probe`: its timing, and where it goes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    pub initial_delay_seconds: u32,
    pub period_seconds: Option<u32>,
    pub timeout_seconds: Option<u32>,
    pub success_threshold: Option<u32>,
    pub failure_threshold: Option<u32>,
    pub http_get: Option<ProbedPort>,
    pub tcp_socket: Option<ProbedPort>,
    pub grpc: Option<ProbedPort>,
}

/// The port of a `v1.HTTPGetAction`, `v1.TCPSocketAction` or `v1.GRPCAction`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ProbedPort {
    pub port: Value,
}

impl Probe {
    /// The port of the container that it connects to; `None` for one that does not use the network.
    pub fn port(&self, container: &Container) -> Option<u16> {
        let probed = [&self.http_get, &self.tcp_socket, &self.grpc].into_iter().flatten().next()?;
        let number = match &probed.port {
            Value::String(name) => container.ports.iter().find(|p| p.name == *name)?.container_port,
            port => port.as_i64()?,
        };
        u16::try_from(number).ok().filter(|port| *port > 0)
    }
}

/// `v1.Lifecycle`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    pub pre_stop: PreStop,
}

/// `v1.LifecycleHandler` of a preStop hook.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PreStop {
    pub sleep: Option<SleepAction>,
    pub exec: Option<ExecAction>,
}

/// `v1.SleepAction`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SleepAction {
    pub seconds: u32,
}

/// `v1.ExecAction`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ExecAction {
    pub command: Vec<String>,
}

/// `v1.PodStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: String,
    pub conditions: Vec<Condition>,
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    pub start_time: Option<Timestamp>,
    pub container_statuses: Vec<ContainerStatus>,
}

/// `v1.ContainerStatus`: what deletion ranking and resource metrics read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub restart_count: i64,
    pub state: ContainerState,
}

/// `v1.ContainerState`: whether it runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub running: Option<ContainerStateRunning>,
}

/// `v1.ContainerStateRunning`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStateRunning {
    pub started_at: Option<Timestamp>,
}

impl Pod {
    /// The Ready condition is True.
    pub fn ready(&self) -> bool {
        condition(&self.status.conditions, "Ready").is_some_and(|c| c.status == "True")
    }

    /// Since when the pod is ready; `None` when it is not.
    pub fn ready_since(&self) -> Option<Timestamp> {
        condition(&self.status.conditions, "Ready").filter(|c| c.status == "True")?.last_transition_time
    }

    /// Ready for at least `min_ready_seconds` (`podutil.IsPodAvailable`).
    pub fn available(&self, min_ready_seconds: i64, now: Timestamp) -> bool {
        self.ready()
            && (min_ready_seconds == 0
                || self.ready_since().is_some_and(|t| t.as_second() + min_ready_seconds <= now.as_second()))
    }

    /// Succeeded or Failed: it will not run again.
    pub fn finished(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Neither finished nor terminating (`controller.IsPodActive`).
    pub fn active(&self) -> bool {
        !self.finished() && !self.terminating()
    }

    /// The most restarts of any of its containers.
    pub fn restarts(&self) -> i64 {
        self.status.container_statuses.iter().map(|c| c.restart_count).max().unwrap_or(0)
    }
}
