//! MachineSets and NodePools: as many machines as they say, or as pods need.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Action, ControlLoop, Decision, Duration, Key, Machine, Maker, Node, Object, Pod, Target, View,
    from_template, merge, names,
    view::{NODE_POOL, SET_NAME},
};
use crate::sim::controllers::node_groups::scale_up;
use crate::sim::controllers::views::NoStatus;
use crate::sim::scheduler::Candidate;

/// How often pods without a place are looked at: Karpenter gathers them for at most ten seconds
/// (`BATCH_MAX_DURATION`).
const BATCH: Duration = Duration::from_secs(10);
/// How many machines one look orders at the most.
const AT_ONCE: usize = 100;

/// `spec` of either, the fields that are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    replicas: Option<usize>,
    cluster_name: String,
    selector: Selected,
    template: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selected {
    match_labels: std::collections::BTreeMap<String, String>,
}

type Pool = View<Spec, NoStatus>;

impl ControlLoop {
    pub(super) fn machine_pool(&mut self, maker: Maker, object: Arc<Object>) -> Option<Decision> {
        let pool = Pool::new(object).ok()?;
        if pool.terminating() {
            return None;
        }
        let mut decision = Decision::default();
        let machines = self.machines_of(maker, &pool.object.kind);
        let mine: Vec<&Machine> = machines.iter().filter(|machine| belongs(maker, &pool, machine)).collect();
        // Those that somebody has made and labelled for the set are its own from now on (`MachineSet` adopts orphans).
        for orphan in
            mine.iter().filter(|machine| maker == Maker::ClusterApi && machine.controller().is_none())
        {
            let owner = pool.object.controller_reference();
            decision.actions.push(merge(&orphan.object, json!({"metadata": {"ownerReferences": [owner]}})));
        }
        let active: Vec<&Machine> = mine.iter().copied().filter(|machine| !machine.terminating()).collect();
        let wanted = pool.spec.replicas.or((maker == Maker::ClusterApi).then_some(1));
        let missing = match wanted {
            Some(wanted) => {
                let extra = active.iter().rev().take(active.len().saturating_sub(wanted));
                decision.actions.extend(extra.map(|m| Action::Delete(Target::of(&m.object), None)));
                // A MachineSet counts those that are going until they are gone (`SyncMachinesPlanner`).
                let there = if maker == Maker::ClusterApi { mine.len() } else { active.len() };
                wanted.saturating_sub(there)
            }
            None => {
                decision.again_in(BATCH);
                self.needed(maker, &pool, &active)
            }
        };
        for _ in 0..missing.min(AT_ONCE) {
            decision.actions.extend(self.new_machine(maker, &pool).map(Action::Create));
        }
        let ready = active.iter().filter(|machine| self.node_of(machine).is_some_and(Node::ready)).count();
        let status = json!({"replicas": active.len(), "readyReplicas": ready, "availableReplicas": ready});
        let known: Value = pool.object.field("status").unwrap_or_default();
        let told = |field: &str| known.get(field) == status.get(field);
        if maker == Maker::ClusterApi
            && !["replicas", "readyReplicas", "availableReplicas"].iter().all(|f| told(f))
        {
            decision.actions.push(merge(&pool.object, json!({ "status": status })));
        }
        Some(decision)
    }

    /// How many machines pods need that find no place, neither on a node that is there nor on one that is to come.
    fn needed(&self, maker: Maker, pool: &Pool, active: &[&Machine]) -> usize {
        let key = (maker, pool.key());
        let Some(template) = self.machines.templates.get(&key) else { return 0 };
        let pods: Vec<&Pod> = self.unschedulable.keys().filter_map(|key| self.cache.pods.get(key)).collect();
        if pods.is_empty() {
            return 0;
        }
        let node = |name: &str| from_template(template, name);
        let coming: Vec<Node> = active
            .iter()
            .filter(|machine| self.node_of(machine).is_none())
            .filter_map(|m| node(m.name()))
            .collect();
        let there = self.cache.nodes.values().filter(|node| !node.terminating());
        let mut candidates: Vec<Candidate<'_>> =
            there.map(|node| Candidate::new(node, self.cache.pods_on(node.name()))).collect();
        candidates.extend(coming.iter().map(|node| Candidate::new(node, std::iter::empty())));
        let more: Vec<Node> =
            (0..pods.len().min(AT_ONCE)).filter_map(|n| node(&format!("{}-next-{n}", pool.name()))).collect();
        let group = [(pool.name().to_owned(), more)];
        scale_up::decide(&pods, &candidates, &group, 0).order.map_or(0, |(_, count, _)| count)
    }

    /// A machine as the pool's template describes it.
    fn new_machine(&mut self, maker: Maker, pool: &Pool) -> Option<Object> {
        let kind = self.store.kind_of(&pool.object.kind.api_version(), maker.machines())?;
        let made = self.machines.made.entry(pool.uid().to_owned()).or_default();
        *made += 1;
        let hash = names::hash(&[&self.config.seed.to_string(), "machine", pool.name(), &made.to_string()]);
        let template = &pool.spec.template;
        let map = |field: &str| -> Map<String, Value> {
            template
                .pointer(&format!("/metadata/{field}"))
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default()
        };
        let mut labels = map("labels");
        let mut owner = json!(pool.object.controller_reference());
        match maker {
            Maker::ClusterApi => {
                labels.insert(SET_NAME.to_owned(), json!(pool.name()));
                labels.insert("cluster.x-k8s.io/cluster-name".to_owned(), json!(pool.spec.cluster_name));
            }
            Maker::Karpenter => {
                labels.insert(NODE_POOL.to_owned(), json!(pool.name()));
                // It is an owner and not the controller.
                owner["controller"] = Value::Null;
            }
        }
        let mut spec = template.get("spec").cloned().unwrap_or_else(|| json!({}));
        if maker == Maker::ClusterApi && spec["clusterName"].is_null() {
            spec["clusterName"] = json!(pool.spec.cluster_name);
        }
        let mut meta = json!({
            "name": format!("{}-{}", pool.name(), names::suffix(hash)), "namespace": pool.namespace(),
            "labels": labels, "annotations": map("annotations"), "ownerReferences": [owner],
            "finalizers": [maker.finalizer()],
        });
        super::super::views::drop_nulls(&mut meta);
        Object::from_value(kind, json!({"metadata": meta, "spec": spec})).ok()
    }
}

/// Whether a machine is of this pool: by its controller; by its labels, while it has none.
fn belongs(maker: Maker, pool: &Pool, machine: &Machine) -> bool {
    match (maker, machine.controller()) {
        (Maker::Karpenter, _) => machine.pool() == Some(Key::new("", pool.name())),
        (Maker::ClusterApi, Some(owner)) => owner.uid == pool.uid(),
        (Maker::ClusterApi, None) => {
            let wanted = &pool.spec.selector.match_labels;
            let selected = super::super::views::selects(wanted, &machine.meta().labels);
            !wanted.is_empty() && selected && machine.namespace() == pool.namespace()
        }
    }
}
