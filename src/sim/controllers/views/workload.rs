//! Workloads, Services and PodDisruptionBudgets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Condition, IntOrPercent, Matcher, NoStatus, View};

/// A Deployment.
pub type Deployment = View<DeploymentSpec, DeploymentStatus>;
/// A ReplicaSet.
pub type ReplicaSet = View<ReplicaSetSpec, ReplicaSetStatus>;
/// A StatefulSet.
pub type StatefulSet = View<StatefulSetSpec, StatefulSetStatus>;
/// A DaemonSet.
pub type DaemonSet = View<DaemonSetSpec, NoStatus>;
/// A Service.
pub type Service = View<ServiceSpec, NoStatus>;
/// A PodDisruptionBudget.
pub type PodDisruptionBudget = View<PodDisruptionBudgetSpec, PodDisruptionBudgetStatus>;

/// `apps/v1.ReplicaSetSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    pub replicas: Option<i64>,
    pub min_ready_seconds: i64,
    pub selector: Matcher,
    pub template: Value,
    /// The template by which ReplicaSets are told apart, worked out once (`names::canonical`).
    #[serde(skip)]
    pub canonical: std::sync::OnceLock<String>,
}

/// `apps/v1.ReplicaSetStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    pub replicas: i64,
    pub fully_labeled_replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub terminating_replicas: Option<i64>,
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
}

impl ReplicaSet {
    /// `spec.replicas` with its default.
    pub fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }
}

/// `apps/v1.DeploymentSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    pub replicas: Option<i64>,
    pub min_ready_seconds: i64,
    pub progress_deadline_seconds: Option<i64>,
    pub revision_history_limit: Option<i64>,
    pub paused: bool,
    pub selector: Matcher,
    pub strategy: Strategy,
    pub template: Value,
    /// The template by which ReplicaSets are told apart, worked out once (`names::canonical`).
    #[serde(skip)]
    pub canonical: std::sync::OnceLock<String>,
}

/// `apps/v1.DeploymentStrategy`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    #[serde(rename = "type")]
    pub kind: String,
    pub rolling_update: RollingUpdate,
}

/// `apps/v1.RollingUpdateDeployment`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    pub max_surge: Option<IntOrPercent>,
    pub max_unavailable: Option<IntOrPercent>,
}

/// `apps/v1.DeploymentStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    pub replicas: i64,
    pub updated_replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub unavailable_replicas: i64,
    pub terminating_replicas: Option<i64>,
    pub observed_generation: i64,
    pub collision_count: Option<i64>,
    pub conditions: Vec<Condition>,
}

impl Deployment {
    /// `spec.replicas` with its default.
    pub fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }
}

/// `v1.ServiceSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    pub selector: BTreeMap<String, String>,
    pub ports: Vec<ServicePort>,
    pub publish_not_ready_addresses: bool,
    #[serde(rename = "type")]
    pub kind: String,
}

/// `v1.ServicePort`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    pub name: String,
    pub port: i64,
    pub protocol: String,
    pub target_port: Option<IntOrPercent>,
}

/// `policy/v1.PodDisruptionBudgetSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetSpec {
    pub min_available: Option<IntOrPercent>,
    pub max_unavailable: Option<IntOrPercent>,
    pub selector: Option<Matcher>,
}

/// `policy/v1.PodDisruptionBudgetStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetStatus {
    pub disruptions_allowed: i64,
    pub current_healthy: i64,
    pub desired_healthy: i64,
    pub expected_pods: i64,
    pub observed_generation: i64,
    pub disrupted_pods: BTreeMap<String, Timestamp>,
    pub conditions: Vec<Condition>,
}

/// `apps/v1.StatefulSetSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetSpec {
    pub replicas: Option<i64>,
    pub min_ready_seconds: i64,
    pub pod_management_policy: String,
    pub selector: Matcher,
    pub template: Value,
    pub update_strategy: UpdateStrategy,
    pub service_name: String,
    pub ordinals: Ordinals,
    pub volume_claim_templates: Vec<Value>,
    pub persistent_volume_claim_retention_policy: Retention,
}

/// `apps/v1.StatefulSetPersistentVolumeClaimRetentionPolicy`; Retain unless it says Delete.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    pub when_deleted: String,
    pub when_scaled: String,
}

/// `apps/v1.StatefulSetOrdinals`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    pub start: i64,
}

/// `apps/v1.StatefulSetUpdateStrategy` and `DaemonSetUpdateStrategy`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    #[serde(rename = "type")]
    pub kind: String,
    pub rolling_update: SetRollingUpdate,
}

impl UpdateStrategy {
    /// How many of `total` may be unavailable: a share is rounded up, and nothing is one.
    pub fn max_unavailable(&self, total: i64) -> i64 {
        let asked = self.rolling_update.max_unavailable.as_ref();
        asked.and_then(|amount| amount.of(total, true)).unwrap_or(1).max(0)
    }
}

/// `rollingUpdate` of either; a partition is a StatefulSet's, a surge a DaemonSet's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetRollingUpdate {
    pub partition: i64,
    pub max_unavailable: Option<IntOrPercent>,
    pub max_surge: Option<IntOrPercent>,
}

/// `apps/v1.StatefulSetStatus`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetStatus {
    pub current_revision: String,
}

/// `apps/v1.DaemonSetSpec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetSpec {
    pub min_ready_seconds: i64,
    pub selector: Matcher,
    pub template: Value,
    pub update_strategy: UpdateStrategy,
}
