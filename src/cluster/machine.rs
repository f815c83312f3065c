//! Who owns the machine behind a node: a `Machine` of Cluster API, or a `NodeClaim` of Karpenter.
//!
//! Sources, Cluster API: `api/core/v1beta2/common_types.go` (the annotations that nodes get), `machine_types.go`
//! (`status.nodeRef`, `spec.deletion`), `internal/controllers/machine/machine_controller.go` (`reconcileDelete`: hooks,
//! drain, infrastructure, node) and `internal/controllers/machine/drain`. Karpenter: `pkg/apis/v1/nodeclaim_status.go`,
//! `labels.go`, `nodepool.go` (what `terminationGracePeriod` overrides) and `pkg/controllers/node/termination`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Client, core::Object};
use serde::{Deserialize, Serialize};

use super::{
    ApiError,
    snapshot::{Key, Snapshot},
    view::{Node, Owner, Pod, object},
};
use crate::types::{Length, ObjectRef};

/// The kinds that own machines: API group, versions in the order of preference, kind, plural, and whether they live in
/// namespaces.
pub(super) const KINDS: [(&str, &[&str], &str, &str); 2] = [
    ("cluster.x-k8s.io", &["v1beta2", "v1beta1"], "Machine", "machines"),
    ("karpenter.sh", &["v1"], "NodeClaim", "nodeclaims"),
];

/// On a Node: the name of its Machine (`MachineAnnotation`).
const MACHINE: &str = "cluster.x-k8s.io/machine";
/// On a Node: the name and the namespace of its Cluster, in which its Machine lives too.
const CLUSTER: (&str, &str) = ("cluster.x-k8s.io/cluster-name", "cluster.x-k8s.io/cluster-namespace");
/// On a Machine: of the control plane (`MachineControlPlaneLabel`).
const CONTROL_PLANE: &str = "cluster.x-k8s.io/control-plane";
/// On a Machine: its node is not drained (`ExcludeNodeDrainingAnnotation`).
const NOT_DRAINED: &str = "machine.cluster.x-k8s.io/exclude-node-draining";
/// On a Machine: its deletion waits for whoever takes them away (`PreDrainDeleteHookAnnotationPrefix`,
/// `PreTerminateDeleteHookAnnotationPrefix`).
const HOOKS: [&str; 2] =
    ["pre-drain.delete.hook.machine.cluster.x-k8s.io", "pre-terminate.delete.hook.machine.cluster.x-k8s.io"];
/// On a Pod, `skip`: a drain by Cluster API passes it over (`PodDrainLabel`).
const DRAIN: &str = "cluster.x-k8s.io/drain";
/// On Nodes and NodeClaims: the NodePool (`NodePoolLabelKey`).
const NODE_POOL: &str = "karpenter.sh/nodepool";

/// What a node says of the machine behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineMark {
    /// Namespace and name of its Machine.
    pub machine: Option<Key>,
    /// The Cluster of its Machine.
    pub cluster: String,
    /// Its NodePool.
    pub node_pool: Option<String>,
    /// What the cloud calls it, such as `aws:///eu-west-1a/i-0`.
    pub provider_id: String,
}

impl MachineMark {
    pub(super) fn read(meta: &ObjectMeta, provider_id: String) -> Self {
        let annotation = |key: &str| {
            meta.annotations.as_ref().and_then(|all| all.get(key)).filter(|text| !text.is_empty())
        };
        let namespace = annotation(CLUSTER.1).cloned().unwrap_or_default();
        Self {
            machine: annotation(MACHINE).map(|name| (namespace, name.clone())),
            cluster: annotation(CLUSTER.0).cloned().unwrap_or_default(),
            node_pool: meta.labels.as_ref().and_then(|labels| labels.get(NODE_POOL)).cloned(),
            provider_id,
        }
    }
}

/// How a node is emptied before its machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Drain {
    /// Within budgets, however long they take.
    WithinBudgets,
    /// Within budgets for so long, and then whatever they say.
    AtMost(Length),
    /// Not at all.
    Skipped,
}

/// A Machine or a NodeClaim.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Which one, in the version that it was read in.
    pub object: ObjectRef,
    /// The node that it says is its own: name, and UID where it says that.
    pub node: Option<(String, String)>,
    /// What the cloud calls it.
    pub provider_id: String,
    /// Its Cluster; empty for a NodeClaim.
    pub cluster: String,
    /// Who brings another one when it goes: a MachineSet, a NodePool.
    pub pool: Option<Owner>,
    /// Whether it is one of the control plane.
    pub control_plane: bool,
    /// How its node is emptied.
    pub drain: Drain,
    /// Annotations for which its deletion waits until somebody takes them away.
    pub hooks: Vec<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
}

impl Machine {
    /// Whether it is Karpenter's.
    pub fn karpenter(&self) -> bool {
        self.object.kind == "NodeClaim"
    }

    /// Whether its owner passes `pod` over when it empties the node: the pod ends with the machine.
    pub fn passes_over(&self, pod: &Pod) -> bool {
        !self.karpenter() && pod.labels.get(DRAIN).is_some_and(|value| value == "skip")
    }

    /// Whether `pod` keeps the machine for as long as it likes: Karpenter does not evict such a pod before the grace
    /// period of the NodeClaim is over, and without one it waits for ever.
    pub fn kept_by(&self, pod: &Pod) -> bool {
        self.karpenter() && pod.do_not_disrupt && self.drain == Drain::WithinBudgets
    }
}

/// Why no machine can be named for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unowned {
    /// Neither Cluster API nor Karpenter has marked it.
    Unmarked,
    /// It is marked, and objects of this kind are not served here.
    NotServed {
        /// What was looked for.
        kind: &'static str,
    },
    /// What it is marked with, and what speaks against that.
    Disagrees(String),
}

impl Snapshot {
    /// The Machine or NodeClaim behind a node: node and machine have to name each other.
    ///
    /// # Errors
    /// Why there is none that could be deleted in its stead.
    pub fn machine_behind(&self, node: &Node) -> Result<&Arc<Machine>, Unowned> {
        match (&node.mark.machine, &node.mark.node_pool) {
            (Some(_), Some(pool)) => Err(Unowned::Disagrees(format!(
                "both Cluster API and Karpenter (NodePool {pool}) have marked it as theirs"
            ))),
            (Some((namespace, name)), None) => self.machine_called(node, namespace, name),
            (None, Some(_)) => self.claim_of(node),
            (None, None) => Err(Unowned::Unmarked),
        }
    }

    fn machine_called(&self, node: &Node, namespace: &str, name: &str) -> Result<&Arc<Machine>, Unowned> {
        if !self.machine_kinds.contains("Machine") {
            return Err(Unowned::NotServed { kind: "Machine" });
        }
        let key = (namespace.to_owned(), format!("Machine/{name}"));
        let Some(machine) = self.machines.get(&key) else {
            return Err(Unowned::Disagrees(format!(
                "it names Machine {namespace}/{name}, which is not there; it may be in another, a management cluster"
            )));
        };
        if machine.cluster != node.mark.cluster {
            let (one, other) = (&node.mark.cluster, &machine.cluster);
            return Err(Unowned::Disagrees(format!(
                "it belongs to Cluster {one}, and Machine {namespace}/{name} to Cluster {other}"
            )));
        }
        agree(node, machine)
    }

    fn claim_of(&self, node: &Node) -> Result<&Arc<Machine>, Unowned> {
        if !self.machine_kinds.contains("NodeClaim") {
            return Err(Unowned::NotServed { kind: "NodeClaim" });
        }
        let of_node = |machine: &&Arc<Machine>| {
            machine.karpenter() && machine.node.as_ref().is_some_and(|(name, _)| *name == node.object.name)
        };
        let claims: Vec<&Arc<Machine>> = self.machines.values().filter(of_node).collect();
        match claims[..] {
            [claim] => agree(node, claim),
            [] => Err(Unowned::Disagrees("no NodeClaim says that it is its node".to_owned())),
            [one, other, ..] => Err(Unowned::Disagrees(format!(
                "both NodeClaim {} and {} say that it is their node",
                one.object.name, other.object.name
            ))),
        }
    }

    /// How many machines of this cluster are there, or ordered, without a node of theirs being there: they are missing
    /// as much as a node that is not ready. Machines of other clusters, as a management cluster has them, do not count.
    pub fn machines_without_node(&self) -> usize {
        let here: BTreeSet<(&str, &str)> = self
            .nodes
            .values()
            .filter_map(|node| Some((node.mark.machine.as_ref()?.0.as_str(), node.mark.cluster.as_str())))
            .collect();
        let missing = self.machines.values().filter(|machine| {
            let ours = machine.karpenter()
                || here.contains(&(machine.object.namespace.as_str(), machine.cluster.as_str()));
            let there = machine.node.as_ref().is_some_and(|(name, _)| self.node(name).is_some());
            ours && !there
        });
        missing.count()
    }
}

/// Whether a machine says of a node what the node says of it.
fn agree<'a>(node: &Node, machine: &'a Arc<Machine>) -> Result<&'a Arc<Machine>, Unowned> {
    let (kind, name) = (&machine.object.kind, &machine.object.name);
    let disagrees = |why: String| Err(Unowned::Disagrees(why));
    match &machine.node {
        None => return disagrees(format!("it names {kind} {name}, which has no node yet")),
        Some((other, _)) if *other != node.object.name => {
            return disagrees(format!("it names {kind} {name}, whose node is {other}"));
        }
        Some((_, uid)) if !uid.is_empty() && *uid != node.object.uid => {
            return disagrees(format!("{kind} {name} means an earlier node of the same name"));
        }
        Some(_) => {}
    }
    let (one, other) = (&node.mark.provider_id, &machine.provider_id);
    if !one.is_empty() && !other.is_empty() && one != other {
        return disagrees(format!("its providerID is {one}, and that of {kind} {name} is {other}"));
    }
    Ok(machine)
}

/// What is decoded of a Machine or a NodeClaim.
pub(super) type RawMachine = Object<MachineSpec, MachineStatus>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MachineSpec {
    cluster_name: String,
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
    /// v1beta1.
    node_drain_timeout: Option<String>,
    /// v1beta2.
    deletion: Option<MachineDeletion>,
    /// Karpenter.
    termination_grace_period: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MachineDeletion {
    node_drain_timeout_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MachineStatus {
    node_ref: Option<NodeReference>,
    /// Karpenter.
    node_name: Option<String>,
    /// Karpenter.
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeReference {
    name: String,
    /// v1beta1.
    uid: String,
}

impl Machine {
    /// One of this kind, read in this version: lists need not repeat it for each item.
    pub(super) fn read(raw: RawMachine, (api_version, kind): (&str, &str)) -> Self {
        let meta = raw.metadata;
        let status = raw.status.unwrap_or_default();
        let annotations = meta.annotations.clone().unwrap_or_default();
        let labels = meta.labels.clone().unwrap_or_default();
        let node = match kind {
            "Machine" => status.node_ref.map(|node| (node.name, node.uid)),
            _ => status.node_name.map(|name| (name, String::new())),
        };
        Self {
            node: node.filter(|(name, _)| !name.is_empty()),
            provider_id: raw.spec.provider_id.clone().or(status.provider_id).unwrap_or_default(),
            cluster: raw.spec.cluster_name.clone(),
            pool: pool(&meta, &labels, kind),
            control_plane: labels.contains_key(CONTROL_PLANE),
            drain: drain(&raw.spec, &annotations),
            hooks: annotations
                .keys()
                .filter(|key| HOOKS.iter().any(|prefix| key.starts_with(prefix)))
                .cloned()
                .collect(),
            terminating: meta.deletion_timestamp.is_some(),
            object: object(&meta, api_version, kind),
        }
    }
}

/// Who brings another machine: the controller of a Machine; the NodePool of a NodeClaim, which is an owner but not its
/// controller and is named by a label as well.
fn pool(meta: &ObjectMeta, labels: &BTreeMap<String, String>, kind: &str) -> Option<Owner> {
    let owner = meta.owner_references.iter().flatten().find(|owner| match kind {
        "Machine" => owner.controller == Some(true),
        _ => owner.kind == "NodePool",
    });
    let owned = |owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| Owner {
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    };
    owner.map(owned).or_else(|| {
        let name = labels.get(NODE_POOL).filter(|_| kind == "NodeClaim")?.clone();
        Some(Owner { kind: "NodePool".to_owned(), name, uid: String::new() })
    })
}

/// A drain time-out of Cluster API of 0 is none; a grace period of Karpenter of 0 is one. One that cannot be read is
/// taken for the worse: as if it were over at once.
fn drain(spec: &MachineSpec, annotations: &BTreeMap<String, String>) -> Drain {
    let read = |text: &String| text.parse::<Length>().unwrap_or_default();
    if annotations.contains_key(NOT_DRAINED) {
        return Drain::Skipped;
    }
    if let Some(grace) = &spec.termination_grace_period {
        return Drain::AtMost(read(grace));
    }
    let seconds = spec.deletion.as_ref().and_then(|deletion| deletion.node_drain_timeout_seconds);
    let timeout = seconds.map(|seconds| Length::from_secs(u64::from(seconds)));
    match timeout.or_else(|| spec.node_drain_timeout.as_ref().map(read)) {
        Some(timeout) if !timeout.is_zero() => Drain::AtMost(timeout),
        _ => Drain::WithinBudgets,
    }
}

/// Which of [`KINDS`] the server knows, with the version to ask in.
pub(super) async fn served(client: &Client) -> Result<Vec<(String, &'static str, &'static str)>, ApiError> {
    let groups = client.list_api_groups().await?;
    let mut served = Vec::new();
    for (group, preferred, kind, plural) in KINDS {
        let Some(found) = groups.groups.iter().find(|found| found.name == group) else { continue };
        let has = |version: &&&str| found.versions.iter().any(|known| known.version == **version);
        let Some(version) = preferred.iter().find(has) else { continue };
        let api_version = format!("{group}/{version}");
        let resources = client.list_api_group_resources(&api_version).await?;
        if resources.resources.iter().any(|resource| resource.name == plural) {
            served.push((api_version, kind, plural));
        }
    }
    Ok(served)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::view::RawNode;

    fn node(name: &str, annotations: Value, labels: Value, provider: &str) -> Node {
        let raw = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "annotations": annotations, "labels": labels},
            "spec": {"providerID": provider}});
        Node::read(serde_json::from_value::<RawNode>(raw).expect("a node"))
    }

    fn capi(machine: &str) -> Value {
        json!({"cluster.x-k8s.io/machine": machine, "cluster.x-k8s.io/cluster-name": "prod",
            "cluster.x-k8s.io/cluster-namespace": "infra"})
    }

    fn machine(name: &str, rest: Value) -> Machine {
        let mut raw = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": name, "namespace": "infra"}, "spec": {"clusterName": "prod"}});
        json_patch::merge(&mut raw, &rest);
        Machine::read(
            serde_json::from_value(raw).expect("a machine"),
            ("cluster.x-k8s.io/v1beta2", "Machine"),
        )
    }

    fn claim(name: &str, rest: Value) -> Machine {
        let mut raw = json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": name, "labels": {NODE_POOL: "general"}}, "spec": {}});
        json_patch::merge(&mut raw, &rest);
        Machine::read(serde_json::from_value(raw).expect("a claim"), ("karpenter.sh/v1", "NodeClaim"))
    }

    fn world(nodes: Vec<Node>, machines: Vec<Machine>) -> Snapshot {
        let key = |machine: &Machine| {
            (machine.object.namespace.clone(), format!("{}/{}", machine.object.kind, machine.object.name))
        };
        let node_key = |node: &Node| (String::new(), node.object.name.clone());
        Snapshot {
            nodes: Arc::new(nodes.into_iter().map(|node| (node_key(&node), Arc::new(node))).collect()),
            machines: Arc::new(machines.into_iter().map(|m| (key(&m), Arc::new(m))).collect()),
            machine_kinds: Arc::new(BTreeSet::from(["Machine".to_owned(), "NodeClaim".to_owned()])),
            ..Snapshot::default()
        }
    }

    fn found(world: &Snapshot, name: &str) -> Result<String, Unowned> {
        let node = world.node(name).expect("the node");
        world.machine_behind(node).map(|machine| machine.object.to_string())
    }

    #[test]
    fn node_and_machine_have_to_name_each_other() {
        let running = |node: &str, uid: &str| json!({"status": {"nodeRef": {"name": node, "uid": uid}}});
        let world = world(
            vec![
                node("n1", capi("m1"), json!({}), "cloud:///1"),
                node("n2", capi("m3"), json!({}), ""),
                node("n4", capi("m4"), json!({}), ""),
                node("n5", capi("gone"), json!({}), ""),
                node("n6", json!({}), json!({}), ""),
                node("n7", capi("m7"), json!({}), "cloud:///7"),
                node("n8", capi("m8"), json!({}), ""),
            ],
            vec![
                machine("m1", running("n1", "uid-n1")),
                machine("m3", running("n3", "")),
                machine(
                    "m4",
                    json!({"status": {"nodeRef": {"name": "n4"}}, "spec": {"clusterName": "test"}}),
                ),
                machine(
                    "m7",
                    json!({"status": {"nodeRef": {"name": "n7"}}, "spec": {"providerID": "cloud:///9"}}),
                ),
                machine("m8", running("n8", "uid-of-before")),
            ],
        );
        assert_eq!(found(&world, "n1"), Ok("machine/infra/m1".to_owned()));
        assert_eq!(found(&world, "n6"), Err(Unowned::Unmarked));
        for (node, why) in [
            ("n2", "whose node is n3"),
            ("n4", "to Cluster test"),
            ("n5", "a management cluster"),
            ("n7", "cloud:///9"),
            ("n8", "an earlier node"),
        ] {
            let said = found(&world, node);
            assert!(matches!(&said, Err(Unowned::Disagrees(text)) if text.contains(why)), "{node}: {said:?}");
        }
        // m3's node is not there, nor is that of any machine that has none.
        assert_eq!(world.machines_without_node(), 1);
    }

    #[test]
    fn a_claim_is_found_by_the_node_that_it_names() {
        let pool = || json!({NODE_POOL: "general"});
        let of = |node: &str| json!({"status": {"nodeName": node, "providerID": format!("cloud:///{node}")}});
        let mut world = world(
            vec![
                node("n1", json!({}), pool(), "cloud:///n1"),
                node("n2", json!({}), pool(), "cloud:///n2"),
                node("n3", capi("m3"), pool(), ""),
            ],
            vec![claim("c1", of("n1")), claim("c9", of("n9"))],
        );
        assert_eq!(found(&world, "n1"), Ok("nodeclaim/c1".to_owned()));
        assert!(matches!(found(&world, "n2"), Err(Unowned::Disagrees(why)) if why.contains("no NodeClaim")));
        assert!(matches!(found(&world, "n3"), Err(Unowned::Disagrees(why)) if why.contains("both")));
        world.machine_kinds = Arc::default();
        assert_eq!(found(&world, "n1"), Err(Unowned::NotServed { kind: "NodeClaim" }));
    }

    #[test]
    fn drains_and_pools_are_read_in_both_spellings() {
        let drain = |rest: Value| machine("m", rest).drain;
        assert_eq!(drain(json!({})), Drain::WithinBudgets);
        assert_eq!(
            drain(json!({"spec": {"nodeDrainTimeout": "10m0s"}})),
            Drain::AtMost(Length::from_secs(600))
        );
        assert_eq!(drain(json!({"spec": {"nodeDrainTimeout": "0s"}})), Drain::WithinBudgets);
        let seconds = json!({"spec": {"deletion": {"nodeDrainTimeoutSeconds": 90}}});
        assert_eq!(drain(seconds), Drain::AtMost(Length::from_secs(90)));
        assert_eq!(drain(json!({"metadata": {"annotations": {NOT_DRAINED: ""}}})), Drain::Skipped);
        let claim_for = |grace: &str| claim("c", json!({"spec": {"terminationGracePeriod": grace}})).drain;
        assert_eq!(claim_for("48h"), Drain::AtMost(Length::from_secs(172_800)));
        assert_eq!(claim_for("0s"), Drain::AtMost(Length::default()));
        assert_eq!(claim("c", json!({})).pool.map(|pool| pool.name), Some("general".to_owned()));
        let owners = json!([{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineSet", "name": "md", "uid": "u",
            "controller": true}]);
        let owned = machine("m", json!({"metadata": {"ownerReferences": owners}}));
        assert_eq!(owned.pool.map(|pool| (pool.kind, pool.name)), Some(("MachineSet".into(), "md".into())));
        assert_eq!(machine("m", json!({})).pool, None);
    }
}
