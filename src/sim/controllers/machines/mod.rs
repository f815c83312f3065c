//! Those who own machines: Machines and MachineSets of Cluster API, NodeClaims and NodePools of Karpenter.
//!
//! They work once their CustomResourceDefinitions are applied, and on no other objects. A machine without a node gets
//! one after its provisioning time; one that is deleted has its node drained within budgets and taken away; a set keeps
//! as many machines as it says. What a node of a set looks like is learnt from the first that it has, as the cluster
//! autoscaler does it. Left out: MachineDeployments, MachineHealthChecks, MachineDrainRules, volumes, Karpenter's
//! consolidation, drift and expiry.
//!
//! Sources, Cluster API v1.11: `internal/controllers/machine` (`machine_controller.go`, `machine_controller_noderef.go`,
//! `drain`), `internal/controllers/machineset`. Karpenter v1: `pkg/controllers/node/termination`,
//! `pkg/controllers/provisioning`, `pkg/controllers/static` (NodePools with `spec.replicas`).

mod ending;
mod pools;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use self::view::{MACHINE, Machine, NODE_POOL};
use super::action::{Action, Decision, Target};
use super::node_groups::from_template;
use super::queue::Work;
use super::views::{Key, Node, Pod, View};
use super::{ControlLoop, names};
use crate::sim::annotations;
use crate::sim::scheduler::{HOSTNAME, ZONE};
use crate::sim::store::{Event, EventType, Kind, Object, Selector};

/// How long a machine takes to get its node where nothing is said: what clouds commonly take.
const PROVISIONING: Duration = Duration::from_secs(90);

/// Whose kinds these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Maker {
    ClusterApi,
    Karpenter,
}

impl Maker {
    fn of(kind: &Kind) -> Option<Self> {
        match kind.group.as_ref() {
            "cluster.x-k8s.io" => Some(Self::ClusterApi),
            "karpenter.sh" => Some(Self::Karpenter),
            _ => None,
        }
    }

    /// The kind of its machines.
    fn machines(self) -> &'static str {
        match self {
            Self::ClusterApi => "Machine",
            Self::Karpenter => "NodeClaim",
        }
    }

    /// The kind of what keeps a number of them.
    fn pools(self) -> &'static str {
        match self {
            Self::ClusterApi => "MachineSet",
            Self::Karpenter => "NodePool",
        }
    }

    /// What holds a machine until it has ended (`MachineFinalizer`, `TerminationFinalizer`).
    fn finalizer(self) -> &'static str {
        match self {
            Self::ClusterApi => "machine.cluster.x-k8s.io",
            Self::Karpenter => "karpenter.sh/termination",
        }
    }
}

/// What is remembered of machines from look to look.
#[derive(Default)]
pub(super) struct Memory {
    /// Machines and their pools that are there.
    known: BTreeSet<(Kind, Key)>,
    /// The first node seen of each pool, by the pool's name: kind, namespace and name.
    templates: BTreeMap<(Maker, Key), Arc<Object>>,
    /// How many machines each pool (by UID) has made.
    made: BTreeMap<String, u64>,
}

impl ControlLoop {
    /// A custom object that is new or has changed: whether it is one of ours, its owner looks.
    pub(super) fn machine_changed(&mut self, event: &Event, key: &Key) {
        let kind = &event.object.kind;
        let Some(maker) = Maker::of(kind) else { return };
        if ![maker.machines(), maker.pools()].contains(&kind.kind.as_ref()) {
            return;
        }
        let entry = (kind.clone(), key.clone());
        if event.kind == EventType::Deleted {
            self.machines.known.remove(&entry);
        } else {
            self.machines.known.insert(entry);
            self.after(Work::Machine(kind.clone(), key.clone()), self.config.delays.controller);
        }
        if kind.kind == maker.machines() {
            self.pools_look(maker);
        }
    }

    /// A node that has come, gone or changed: pools count those that are ready, machines look for theirs.
    pub(super) fn machines_see_node(&mut self, event: &Event) {
        let modified = event.kind == EventType::Modified;
        let delay = self.config.delays.controller;
        for (kind, key) in self.machines.known.clone() {
            let pool = Maker::of(&kind).is_some_and(|maker| kind.kind == maker.pools());
            if pool || !modified {
                self.after(Work::Machine(kind, key), delay);
            }
        }
    }

    fn pools_look(&mut self, maker: Maker) {
        let delay = self.config.delays.controller;
        let pools: Vec<(Kind, Key)> =
            self.machines.known.iter().filter(|(kind, _)| kind.kind == maker.pools()).cloned().collect();
        for (kind, key) in pools {
            self.after(Work::Machine(kind, key), delay);
        }
    }

    /// One look at a machine or at a pool of them.
    pub(super) fn machine(&mut self, kind: &Kind, key: &Key) -> Option<Decision> {
        let object = self.store.get(kind, &key.namespace, &key.name)?;
        let maker = Maker::of(&object.kind)?;
        if object.kind.kind == maker.pools() {
            return self.machine_pool(maker, object);
        }
        let machine = Machine::read(maker, object)?;
        let node = self.node_of(&machine).cloned();
        if machine.terminating() {
            return self.ending(&machine, node.as_ref());
        }
        let finalizer = maker.finalizer();
        let mut decision = Decision::default();
        if !machine.meta().finalizers.iter().any(|held| held == finalizer) {
            let mut all = machine.meta().finalizers.clone();
            all.push(finalizer.to_owned());
            decision.actions.push(merge(&machine.object, json!({"metadata": {"finalizers": all}})));
        }
        match node {
            Some(node) => {
                if let Some(pool) = machine.pool() {
                    self.machines.templates.entry((maker, pool)).or_insert_with(|| node.object.clone());
                }
                decision.actions.extend(joined(&machine, &node));
            }
            None if machine.node().is_none() => self.provisioned(&machine, &mut decision),
            // Its node is gone and it stays: that is for a MachineHealthCheck to mend.
            None => {}
        }
        Some(decision)
    }

    /// The node of a machine: the one that it names, or the one with its providerID.
    fn node_of(&self, machine: &Machine) -> Option<&Node> {
        match (machine.node(), machine.provider_id()) {
            (Some(name), _) => self.cache.node(name),
            (None, Some(id)) => self.cache.nodes.values().find(|node| node.spec.provider_id == id),
            (None, None) => None,
        }
    }

    /// Has a machine without a node get one when its time has come.
    fn provisioned(&self, machine: &Machine, decision: &mut Decision) {
        let takes = annotations::read(
            &machine.meta().annotations,
            annotations::NODE_PROVISIONING,
            "a duration such as 90s",
            annotations::duration,
        );
        let takes = takes.ok().flatten().unwrap_or(PROVISIONING);
        let created = machine.meta().creation_timestamp.unwrap_or_else(|| self.store.now());
        let due = SignedDuration::try_from(takes).ok().and_then(|takes| created.checked_add(takes).ok());
        let left = due.unwrap_or(created).duration_since(self.store.now());
        if left.is_positive() {
            return decision.again_in(left.unsigned_abs());
        }
        let id = machine.provider_id().map_or_else(|| format!("sim:///{}", machine.name()), str::to_owned);
        let template = machine.pool().and_then(|pool| self.machines.templates.get(&(machine.maker, pool)));
        let node = template.and_then(|template| from_template(template, machine.name()));
        if let Some(node) = new_node(machine, node.as_ref(), &id) {
            decision.actions.push(machine.with_provider_id(&id));
            decision.actions.push(Action::Create(node));
        }
    }

    /// The machines of a kind.
    fn machines_of(&self, maker: Maker, like: &Kind) -> Vec<Machine> {
        let Some(kind) = self.store.kind_of(&like.api_version(), maker.machines()) else { return Vec::new() };
        let all = self.store.list(&kind, None, &Selector::everything());
        all.into_iter().filter_map(|object| Machine::read(maker, object)).collect()
    }
}

fn merge(object: &Object, patch: Value) -> Action {
    Action::Merge(Target::of(object), patch)
}

/// A node as its kubelet registers it: like the first of its pool, or, for a pool that has had none yet, as the machine
/// describes it.
fn new_node(machine: &Machine, like: Option<&Node>, provider_id: &str) -> Option<Object> {
    let name = machine.name();
    let mut value = like.map_or_else(
        || {
            let mut labels: Map<String, Value> = machine.node_labels();
            labels.insert(HOSTNAME.to_owned(), json!(name));
            if let Some(zone) = machine.zone() {
                labels.insert(ZONE.to_owned(), json!(zone));
            }
            json!({"metadata": {"name": name, "labels": labels}, "spec": {}})
        },
        |node| node.object.to_value(),
    );
    // What named the machine of the other node.
    if let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(MACHINE);
    }
    value["spec"]["providerID"] = json!(provider_id);
    if let (Maker::Karpenter, Some(pool)) = (machine.maker, machine.pool()) {
        value["metadata"]["labels"][NODE_POOL] = json!(pool.name);
    }
    Object::from_value(Kind::NODE, value).ok()
}

/// What the two say of each other once a machine has a node (`reconcileNode` of Cluster API; Karpenter's registration).
fn joined(machine: &Machine, node: &Node) -> Vec<Action> {
    let mut actions = Vec::new();
    if machine.node() != Some(node.name()) {
        actions.push(merge(&machine.object, machine.status_with(node)));
    }
    let meta = node.meta();
    let marks = machine.marks();
    let missing: Map<String, Value> = marks
        .into_iter()
        .filter(|(key, value)| meta.annotations.get(*key) != Some(value))
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    if !missing.is_empty() {
        actions.push(merge(&node.object, json!({"metadata": {"annotations": missing}})));
    }
    actions
}
