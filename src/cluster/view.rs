//! What is kept of an object: the fields that decisions need, and nothing else.
//!
//! Ten thousand pods decoded whole take ten times the memory and most of the time of a run.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    PodSelector, Toleration,
    autoscaler::{AutoscalerSpec, AutoscalerStatus},
    container::{Container, ContainerStatus},
    fields,
    machine::MachineMark,
    rollout::{Rollout, Strategy, Template},
    written::version_of,
};
use crate::types::ObjectRef;

/// On a pod: Karpenter does not evict it (`DoNotDisruptAnnotationKey` in Karpenter's `labels.go`).
const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";

/// The controller that made an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// `ReplicaSet`, `DaemonSet` …
    pub kind: String,
    /// Its name, in the same namespace.
    pub name: String,
    /// Its identity.
    pub uid: String,
}

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Which one.
    pub object: ObjectRef,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Who made it; None for a bare pod.
    pub owner: Option<Owner>,
    /// The node it is bound to; empty while it waits.
    pub node: String,
    /// Pending, Running, Succeeded, Failed, Unknown.
    pub phase: String,
    /// Whether it is Ready (and not on its way out).
    pub ready: bool,
    /// When it became ready, by its own condition.
    pub ready_since: Option<Timestamp>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether a kubelet made it from a file: it cannot be evicted.
    pub mirror: bool,
    /// Whether it keeps data in emptyDir volumes.
    pub empty_dir: bool,
    /// Whether it asks Karpenter to leave it where it is.
    pub do_not_disrupt: bool,
    /// Whether it uses the node's network.
    pub host_network: bool,
    /// What it tolerates of effect NoExecute, but for what every pod does.
    pub tolerations: Vec<Toleration>,
    /// Container images with their digests, as the kubelet reports them.
    pub images: Vec<String>,
    /// Its containers, init containers aside, by name.
    pub containers: BTreeMap<String, Container>,
    /// Why containers wait, as the kubelet says: `ContainerCreating`, `ImagePullBackOff` …
    pub waiting: BTreeSet<String>,
}

impl Pod {
    /// Whether it has run to its end: evicting it harms nobody.
    pub fn finished(&self) -> bool {
        self.phase == "Succeeded" || self.phase == "Failed"
    }

    /// Whether a DaemonSet made it: a drain leaves it alone.
    pub fn daemon(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.kind == "DaemonSet")
    }
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
    /// NoSchedule, PreferNoSchedule or NoExecute.
    pub effect: String,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Which one.
    pub object: ObjectRef,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations under `undo.firedrill.dev/`.
    pub undo: BTreeMap<String, String>,
    /// Whether it has any annotation.
    pub annotated: bool,
    /// Its resourceVersion; 0 if that is no number.
    pub version: u64,
    /// Whether nothing may be scheduled there.
    pub unschedulable: bool,
    /// Who manages `spec.unschedulable`, as far as managed fields say.
    pub unschedulable_managers: Vec<String>,
    /// Whether it is Ready.
    pub ready: bool,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// How many pods it takes.
    pub pods_max: usize,
    /// What it says of the machine behind it.
    pub mark: MachineMark,
}

impl Node {
    /// Whether the control plane runs here.
    pub fn control_plane(&self) -> bool {
        self.labels.contains_key("node-role.kubernetes.io/control-plane")
            || self.labels.contains_key("node-role.kubernetes.io/master")
    }

    /// Its zone, if it says.
    pub fn zone(&self) -> Option<&str> {
        self.labels.get("topology.kubernetes.io/zone").map(String::as_str)
    }
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq)]
pub struct Pdb {
    /// Which one.
    pub object: ObjectRef,
    /// Whom it covers.
    pub selector: PodSelector,
    /// How many pods may go now.
    pub allowed: i32,
    /// Pods by name whose eviction has been counted, and whose going the controller has not seen yet.
    pub disrupted: BTreeSet<String>,
    /// How many are healthy.
    pub healthy: i32,
    /// How many have to be.
    pub desired: i32,
    /// How many there should be.
    pub expected: i32,
    /// Whether its status is about its present spec.
    pub observed: bool,
}

/// A Deployment, StatefulSet, ReplicaSet or DaemonSet.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Which one.
    pub object: ObjectRef,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, but for the copy that client-side apply keeps.
    pub annotations: BTreeMap<String, String>,
    /// Who made it: a Deployment, for a ReplicaSet.
    pub owner: Option<Owner>,
    /// Its pods.
    pub selector: PodSelector,
    /// How many it wants.
    pub replicas: i32,
    /// How many are ready.
    pub ready: i32,
    /// How many are of the newest template.
    pub updated: i32,
    /// Generation of its spec, and the one that its status is about.
    pub generation: (i64, i64),
    /// Who set `spec.replicas` last, as far as managed fields say.
    pub replicas_manager: Option<String>,
    /// All managers that appear on it: how GitOps tools and operators show.
    pub managers: Vec<String>,
    /// Containers of its template, init containers aside: name and image.
    pub containers: Vec<(String, String)>,
    /// Labels and annotations of its template, where a commit may be named.
    pub template: BTreeMap<String, String>,
    /// What tells its template from others, see [`fingerprint`](super::fingerprint).
    pub fingerprint: String,
    /// How it goes from one template to the next.
    pub rollout: Rollout,
}

impl Workload {
    /// `deployment.kubernetes.io/revision`, for Deployments.
    pub fn revision(&self) -> Option<&str> {
        self.annotations.get("deployment.kubernetes.io/revision").map(String::as_str)
    }

    /// Images of its template.
    pub fn images(&self) -> Vec<String> {
        self.containers.iter().map(|(_, image)| image.clone()).collect()
    }

    /// Whether pods of a former template are still there, or the controller has not seen the present one yet.
    pub fn rolling_out(&self) -> bool {
        self.generation.1 < self.generation.0 || self.updated < self.replicas
    }
}

/// A namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// What is decoded of a pod.
pub(super) type RawPod = Object<PodSpec, PodStatus>;
/// What is decoded of a node.
pub(super) type RawNode = Object<NodeSpec, NodeStatus>;
/// What is decoded of a budget.
pub(super) type RawPdb = Object<PdbSpec, PdbStatus>;
/// What is decoded of a workload.
pub(super) type RawWorkload = Object<WorkloadSpec, WorkloadStatus>;
/// What is decoded of an autoscaler.
pub(super) type RawAutoscaler = Object<AutoscalerSpec, AutoscalerStatus>;
/// What is decoded of a namespace.
pub(super) type RawSpace = Object<Empty, Empty>;
/// What is decoded of an EndpointSlice: no spec there, so it is all in one.
pub(super) type RawSlice = k8s_openapi::api::discovery::v1::EndpointSlice;

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Empty {}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    node_name: String,
    host_network: bool,
    volumes: Vec<Volume>,
    tolerations: Vec<Toleration>,
}

#[derive(Clone, Debug, Deserialize)]
struct Volume {
    #[serde(rename = "emptyDir")]
    empty_dir: Option<Empty>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    phase: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    last_transition_time: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeSpec {
    unschedulable: bool,
    #[serde(rename = "providerID")]
    provider_id: String,
    taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeStatus {
    conditions: Vec<Condition>,
    allocatable: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PdbSpec {
    selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PdbStatus {
    disruptions_allowed: i32,
    disrupted_pods: BTreeMap<String, serde::de::IgnoredAny>,
    current_healthy: i32,
    desired_healthy: i32,
    expected_pods: i32,
    observed_generation: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkloadSpec {
    replicas: Option<i32>,
    selector: Option<LabelSelector>,
    paused: bool,
    strategy: Strategy,
    update_strategy: Strategy,
    template: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkloadStatus {
    ready_replicas: i32,
    number_ready: i32,
    desired_number_scheduled: i32,
    updated_replicas: i32,
    updated_number_scheduled: i32,
    observed_generation: i64,
}

/// Group, version, kind and plural of what is read leanly.
pub(super) fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

pub(super) fn object(meta: &ObjectMeta, api_version: &str, kind: &str) -> ObjectRef {
    ObjectRef {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        kind: kind.to_owned(),
        api_version: api_version.to_owned(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

fn owner(meta: &ObjectMeta) -> Option<Owner> {
    let reference = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    Some(Owner { kind: reference.kind.clone(), name: reference.name.clone(), uid: reference.uid.clone() })
}

impl Pod {
    pub(super) fn read(raw: RawPod) -> Self {
        let meta = raw.metadata;
        let status = raw.status.unwrap_or_default();
        let terminating = meta.deletion_timestamp.is_some();
        let condition = status
            .conditions
            .iter()
            .find(|condition| condition.kind == "Ready" && condition.status == "True");
        let mut images: Vec<String> = status
            .container_statuses
            .iter()
            .map(|status| image_with_digest(&status.image, &status.image_id))
            .collect();
        images.sort();
        let containers = status.container_statuses.iter().map(ContainerStatus::read).collect();
        let waiting = status.container_statuses.into_iter().filter_map(|status| status.state.waiting);
        let waiting = waiting.map(|waiting| waiting.reason);
        Self {
            object: object(&meta, "v1", "Pod"),
            owner: owner(&meta),
            node: raw.spec.node_name,
            phase: if status.phase.is_empty() { "Pending".to_owned() } else { status.phase },
            ready: condition.is_some() && !terminating,
            ready_since: condition.and_then(|condition| condition.last_transition_time),
            terminating,
            mirror: meta.annotations.iter().flatten().any(|(key, _)| key == "kubernetes.io/config.mirror"),
            do_not_disrupt: meta
                .annotations
                .iter()
                .flatten()
                .any(|(key, value)| key == DO_NOT_DISRUPT && value == "true"),
            empty_dir: raw.spec.volumes.iter().any(|volume| volume.empty_dir.is_some()),
            host_network: raw.spec.host_network,
            tolerations: raw.spec.tolerations.into_iter().filter(Toleration::matters).collect(),
            images,
            containers,
            waiting: waiting.collect(),
            labels: meta.labels.unwrap_or_default(),
        }
    }
}

/// `name@sha256:…` when the kubelet knows the digest.
fn image_with_digest(image: &str, id: &str) -> String {
    match id.rfind("sha256:") {
        Some(at) if !image.contains('@') => format!("{image}@{}", &id[at..]),
        _ => image.to_owned(),
    }
}

impl Node {
    /// As it was read by itself; None if it is none.
    pub fn of(object: &DynamicObject) -> Option<Self> {
        let raw: RawNode = serde_json::from_value(serde_json::to_value(object).ok()?).ok()?;
        Some(Self::read(raw))
    }

    pub(super) fn read(raw: RawNode) -> Self {
        let meta = raw.metadata;
        let status = raw.status.unwrap_or_default();
        let pods = status.allocatable.get("pods");
        let pods_max =
            pods.and_then(|pods| pods.as_str().map_or_else(|| pods.as_u64(), |text| text.parse().ok()));
        let undo = meta.annotations.iter().flatten().filter(|(key, _)| key.starts_with(super::UNDO_PREFIX));
        Self {
            mark: MachineMark::read(&meta, raw.spec.provider_id),
            undo: undo.map(|(key, value)| (key.clone(), value.clone())).collect(),
            annotated: meta.annotations.is_some(),
            version: version_of(&meta),
            object: object(&meta, "v1", "Node"),
            unschedulable: raw.spec.unschedulable,
            unschedulable_managers: fields::managers_of(&meta, &["f:spec", "f:unschedulable"]),
            ready: status
                .conditions
                .iter()
                .any(|condition| condition.kind == "Ready" && condition.status == "True"),
            taints: raw.spec.taints,
            pods_max: usize::try_from(pods_max.unwrap_or(110)).unwrap_or(110),
            labels: meta.labels.unwrap_or_default(),
        }
    }
}

impl Pdb {
    pub(super) fn read(raw: RawPdb) -> Self {
        let status = raw.status.unwrap_or_default();
        Self {
            object: object(&raw.metadata, "policy/v1", "PodDisruptionBudget"),
            selector: PodSelector::read(raw.spec.selector),
            allowed: status.disruptions_allowed,
            disrupted: status.disrupted_pods.into_keys().collect(),
            healthy: status.current_healthy,
            desired: status.desired_healthy,
            expected: status.expected_pods,
            observed: status.observed_generation >= raw.metadata.generation.unwrap_or(0),
        }
    }
}

impl Workload {
    pub(super) fn read(raw: RawWorkload, kind: &str) -> Self {
        let meta = raw.metadata;
        let status = raw.status.unwrap_or_default();
        let daemon = kind == "DaemonSet";
        let mut managers: Vec<String> =
            meta.managed_fields.iter().flatten().filter_map(|entry| entry.manager.clone()).collect();
        managers.sort();
        managers.dedup();
        let replicas = if daemon { status.desired_number_scheduled } else { raw.spec.replicas.unwrap_or(1) };
        let strategy = if kind == "Deployment" { raw.spec.strategy } else { raw.spec.update_strategy };
        let template = Template::read(raw.spec.template);
        let mut annotations = meta.annotations.clone().unwrap_or_default();
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        Self {
            object: object(&meta, "apps/v1", kind),
            owner: owner(&meta),
            selector: PodSelector::read(raw.spec.selector),
            replicas,
            ready: if daemon { status.number_ready } else { status.ready_replicas },
            updated: if daemon { status.updated_number_scheduled } else { status.updated_replicas },
            generation: (meta.generation.unwrap_or(0), status.observed_generation),
            replicas_manager: fields::owner_of(&meta, &["f:spec", "f:replicas"]),
            managers,
            containers: template.containers,
            template: template.marks,
            fingerprint: template.fingerprint,
            rollout: Rollout::read(kind, replicas, raw.spec.paused, strategy),
            annotations,
            labels: meta.labels.unwrap_or_default(),
        }
    }
}

impl Space {
    pub(super) fn read(raw: RawSpace) -> Self {
        Self {
            name: raw.metadata.name.unwrap_or_default(),
            terminating: raw.metadata.deletion_timestamp.is_some(),
            labels: raw.metadata.labels.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn budget(spec: serde_json::Value) -> Pdb {
        let raw = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "shop", "generation": 2}, "spec": spec,
            "status": {"disruptionsAllowed": 2, "observedGeneration": 2,
                "disruptedPods": {"web-1": "2026-01-01T00:00:00Z"}}});
        Pdb::read(serde_json::from_value(raw).expect("a budget"))
    }

    #[test]
    fn a_budget_names_the_pods_whose_eviction_is_counted_already() {
        let budget = budget(json!({"selector": {}}));
        assert_eq!((budget.allowed, budget.observed), (2, true));
        assert_eq!(budget.disrupted.into_iter().collect::<Vec<_>>(), ["web-1"]);
    }
}
