//! The cluster autoscaler: nodes come for pods that find no room, and go when nobody needs them.
//!
//! Source: the FAQ of kubernetes/autoscaler, `cluster-autoscaler/FAQ.md` ("How does scale-up work?", "How does
//! scale-down work?", "What are the parameters to CA?"), whose default intervals and thresholds these are. Node groups
//! are what nodes say of themselves in annotations ([`crate::sim::annotations::NODE_GROUP`]); the first node of a group
//! and zone is the template of those that come later, as a cloud's own template is, whatever has been done to it since.
//! Where several groups would do, the expander `least-waste` chooses, and among equals the seed. The autoscaler knows
//! nothing of a zone that is closed: like the real one it may order nodes there.

mod scale_down;
pub(super) mod scale_up;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::action::{Action, Target, event, warning};
use super::queue::Work;
use super::views::{Node, Pod, Taint, View};
use super::{ControlLoop, names};
use crate::sim::annotations::{self, InvalidAnnotation};
use crate::sim::scheduler::{Candidate, HOSTNAME, ZONE};
use crate::sim::store::{Kind, Object};

/// How often it looks (`--scan-interval`).
pub const SCAN: Duration = Duration::from_secs(10);
/// How long a node has to be unneeded before it goes (`--scale-down-unneeded-time`), and how long nothing goes after
/// a node has come (`--scale-down-delay-after-add`).
const UNNEEDED: SignedDuration = SignedDuration::from_secs(600);
/// The taint of a node that is about to go.
const DELETING: &str = "ToBeDeletedByClusterAutoscaler";
const SOURCE: &str = "cluster-autoscaler";

/// What a node says of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    min: usize,
    max: usize,
    provisioning: Duration,
}

/// The name of a node's group, and the settings, if it has one.
fn settings(node: &Node) -> Result<Option<(String, Settings)>, InvalidAnnotation> {
    let of = &node.meta().annotations;
    let Some(name) = of.get(annotations::NODE_GROUP).filter(|name| !name.is_empty()) else { return Ok(None) };
    let count = |key, default| {
        let read = annotations::read(of, key, "a number of nodes up to 1000", |text| {
            text.parse::<usize>().ok().filter(|count| *count <= 1000)
        });
        read.map(|count| count.unwrap_or(default))
    };
    let provisioning = annotations::read(
        of,
        annotations::NODE_PROVISIONING,
        "a duration such as 90s",
        annotations::duration,
    )?;
    Ok(Some((
        name.clone(),
        Settings {
            min: count(annotations::NODE_GROUP_MIN, 0)?,
            max: count(annotations::NODE_GROUP_MAX, 10)?,
            provisioning: provisioning.unwrap_or(Duration::from_secs(90)),
        },
    )))
}

/// What the autoscaler remembers from scan to scan.
#[derive(Default)]
pub(super) struct Memory {
    settings: BTreeMap<String, Settings>,
    /// The first node seen of each group and zone.
    templates: BTreeMap<(String, String), Arc<Object>>,
    /// Nodes that are ordered and not there yet, with their group.
    upcoming: BTreeMap<String, (String, Node)>,
    /// Since when nobody needs a node.
    unneeded: BTreeMap<String, Timestamp>,
    /// Nodes whose last pods are on their way out.
    draining: BTreeSet<String>,
    added: Option<Timestamp>,
    ordered: u64,
    /// Nodes whose annotations cannot be read, and pods that no group has room for: told once.
    told: BTreeSet<String>,
}

impl Memory {
    /// Takes in what a node says; whether it is in a group.
    fn learn(&mut self, node: &Node) -> Result<bool, InvalidAnnotation> {
        let Some((group, settings)) = settings(node)? else { return Ok(false) };
        self.settings.insert(group.clone(), settings);
        let zone = node.meta().labels.get(ZONE).cloned().unwrap_or_default();
        self.templates.entry((group, zone)).or_insert_with(|| node.object.clone());
        Ok(true)
    }

    /// Nodes as they would come to `group`, `count` of them, each in the zone that has the fewest by then.
    fn hypothetical(&self, group: &str, count: usize, there: &[&Node], seed: u64) -> Vec<Node> {
        let of_group = self.templates.iter().filter(|((of, _), _)| of == group);
        let zones: BTreeMap<&str, &Arc<Object>> =
            of_group.map(|((_, zone), object)| (zone.as_str(), object)).collect();
        let mut sizes: BTreeMap<&str, usize> = zones.keys().map(|zone| (*zone, 0)).collect();
        for node in there {
            let zone = node.meta().labels.get(ZONE).map_or("", String::as_str);
            sizes.entry(zone).and_modify(|size| *size += 1);
        }
        let mut nodes = Vec::new();
        for number in 0..count as u64 {
            let Some((zone, size)) = sizes.iter_mut().min_by_key(|(zone, size)| (**size, **zone)) else {
                break;
            };
            *size += 1;
            let ordinal = (self.ordered + number).to_string();
            let hash = names::hash(&[&seed.to_string(), "node", group, &ordinal]);
            nodes.extend(from_template(zones[*zone], &format!("{group}-{}", names::suffix(hash))));
        }
        nodes
    }
}

/// A node like the template, of another name, as its kubelet would register it.
pub(super) fn from_template(template: &Object, name: &str) -> Option<Node> {
    let mut value = template.to_value();
    let kept = |taint: &Value| {
        let key = taint["key"].as_str().unwrap_or_default();
        !key.starts_with("node.kubernetes.io/") && key != DELETING
    };
    let taints = value.pointer("/spec/taints").and_then(Value::as_array);
    let taints: Vec<Value> = taints.into_iter().flatten().filter(|taint| kept(taint)).cloned().collect();
    let (mut labels, mut annotations) =
        (value["metadata"]["labels"].take(), value["metadata"]["annotations"].take());
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(HOSTNAME.to_owned(), json!(name));
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations
            .retain(|key, _| ![annotations::SILENT_SINCE, annotations::KUBELET].contains(&key.as_str()));
    }
    let room = ["capacity", "allocatable"].map(|list| value["status"][list].take());
    let value = json!({
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": if taints.is_empty() { json!({}) } else { json!({"taints": taints}) },
        "status": {"capacity": room[0], "allocatable": room[1]},
    });
    Object::from_value(Kind::NODE, value).ok().and_then(|object| View::new(Arc::new(object)).ok())
}

impl ControlLoop {
    /// A node that is new or has changed: the scans begin with the first that is in a group.
    pub(super) fn node_group_changed(&mut self, name: &str) {
        let Some(node) = self.cache.node(name).cloned() else { return };
        match self.node_groups.learn(&node) {
            Ok(true) => {
                self.after(Work::NodeGroups, SCAN);
            }
            Ok(false) => {}
            Err(error) => {
                if self.node_groups.told.insert(node.uid().to_owned()) {
                    self.apply(&warning(&node.object, SOURCE, "InvalidAnnotation", error.to_string()));
                }
            }
        }
    }

    /// One scan of the cluster autoscaler, and the next one later.
    pub(super) fn node_groups(&mut self) {
        self.after(Work::NodeGroups, SCAN);
        let actions = self.scale_node_groups_down();
        for action in actions {
            self.apply(&action);
        }
        if !self.unschedulable.is_empty() {
            self.scale_node_groups_up();
        }
    }

    /// The nodes of each group.
    fn members(&self) -> BTreeMap<String, Vec<&Node>> {
        let mut members: BTreeMap<String, Vec<&Node>> = BTreeMap::new();
        for node in self.cache.nodes.values().filter(|node| !node.terminating()) {
            if let Some(group) = node.meta().annotations.get(annotations::NODE_GROUP) {
                members.entry(group.clone()).or_default().push(node);
            }
        }
        members
    }

    fn scale_node_groups_up(&mut self) {
        let members = self.members();
        let pods: Vec<&Pod> = self.unschedulable.keys().filter_map(|key| self.cache.pods.get(key)).collect();
        let there = self.cache.nodes.values().filter(|node| !node.terminating());
        let mut candidates: Vec<Candidate<'_>> =
            there.map(|node| Candidate::new(node, self.cache.pods_on(node.name()))).collect();
        let upcoming = self.node_groups.upcoming.values();
        candidates.extend(upcoming.map(|(_, node)| Candidate::new(node, std::iter::empty())));
        let groups = self.node_groups.settings.iter().map(|(name, settings)| {
            let mut nodes = members.get(name).cloned().unwrap_or_default();
            let ordered = self.node_groups.upcoming.values().filter(|(group, _)| group == name);
            nodes.extend(ordered.map(|(_, node)| node));
            let more = settings.max.saturating_sub(nodes.len()).min(pods.len());
            (name.clone(), self.node_groups.hypothetical(name, more, &nodes, self.config.seed))
        });
        let groups: Vec<(String, Vec<Node>)> = groups.collect();
        let draw =
            names::hash(&[&self.config.seed.to_string(), "expander", &self.node_groups.ordered.to_string()]);
        let choice = scale_up::decide(&pods, &candidates, &groups, draw);
        let hopeless: Vec<Arc<Object>> = choice.hopeless.iter().map(|pod| pod.object.clone()).collect();
        let order = choice.order.and_then(|(group, count, helped)| {
            let nodes = groups.iter().find(|(name, _)| name == group)?.1.iter().take(count);
            let helped: Vec<Arc<Object>> = helped.iter().map(|pod| pod.object.clone()).collect();
            let size = members.get(group).map_or(0, Vec::len);
            Some((group.to_owned(), nodes.cloned().collect::<Vec<Node>>(), helped, size))
        });
        if let Some((group, nodes, helped, size)) = order {
            self.order(&group, nodes, &helped, size);
        }
        for pod in hopeless {
            if self.node_groups.told.insert(pod.meta.uid.clone()) {
                let message = "pod didn't trigger scale-up: no node group has room for it".to_owned();
                self.apply(&event(&pod, SOURCE, "NotTriggerScaleUp", message));
            }
        }
    }

    /// Has these nodes come after the group's provisioning time.
    fn order(&mut self, group: &str, nodes: Vec<Node>, helped: &[Arc<Object>], size: usize) {
        let Some(settings) = self.node_groups.settings.get(group).cloned() else { return };
        let ordered = self.node_groups.upcoming.values().filter(|(of, _)| of == group).count();
        let (before, after) = (size + ordered, size + ordered + nodes.len());
        for pod in helped {
            let message =
                format!("pod triggered scale-up: [{{{group} {before}->{after} (max: {})}}]", settings.max);
            self.apply(&event(pod, SOURCE, "TriggeredScaleUp", message));
        }
        for node in nodes {
            let name = node.name().to_owned();
            self.node_groups.ordered += 1;
            self.node_groups.upcoming.insert(name.clone(), (group.to_owned(), node));
            self.after(Work::Provision(name), settings.provisioning);
        }
    }

    /// A node that was ordered has started, and its kubelet registers it.
    pub(super) fn provision(&mut self, name: &str) {
        let Some((_, node)) = self.node_groups.upcoming.remove(name) else { return };
        self.node_groups.added = Some(self.store.now());
        self.apply(&Action::Create((*node.object).clone()));
    }

    fn scale_node_groups_down(&mut self) -> Vec<Action> {
        let now = self.store.now();
        let members = self.members();
        let budgets: Vec<_> = self.cache.budgets.values().collect();
        let pods_on = |name: &str| self.cache.pods_on(name).collect::<Vec<&Pod>>();
        let memory = &self.node_groups;
        let world = scale_down::World {
            nodes: &self.cache.nodes.values().filter(|node| !node.terminating()).collect::<Vec<_>>(),
            pods_on: &pods_on,
            budgets: &budgets,
            draining: &memory.draining,
        };
        let unneeded: Vec<String> = scale_down::unneeded(&world, &members);
        let since: BTreeMap<String, Timestamp> = unneeded
            .iter()
            .map(|name| (name.clone(), memory.unneeded.get(name).copied().unwrap_or(now)))
            .collect();
        let calm = memory.added.is_none_or(|added| now.duration_since(added) >= UNNEEDED);
        let least = |group: &str| memory.settings.get(group).map_or(usize::MAX, |settings| settings.min);
        let due = since.iter().filter(|(_, since)| calm && now.duration_since(**since) >= UNNEEDED);
        let due: Vec<&str> = due.map(|(name, _)| name.as_str()).collect();
        let going = scale_down::going(&world, &members, &due, &least);
        let mut actions = Vec::new();
        let mut draining = BTreeSet::new();
        for node in memory.draining.iter().map(String::as_str).chain(going.iter().copied()) {
            let Some(view) = self.cache.node(node) else { continue };
            let leaving: Vec<&Pod> = pods_on(node).into_iter().filter(|pod| scale_down::moves(pod)).collect();
            if leaving.is_empty() {
                let words = format!("node removed by cluster autoscaler: {node}");
                actions.push(event(&view.object, SOURCE, "ScaleDown", words));
                actions.push(Action::Delete(Target::of(&view.object), None));
                continue;
            }
            draining.insert(node.to_owned());
            let taint =
                Taint { key: DELETING.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
            actions.push(Action::Taints { node: node.to_owned(), add: vec![taint], remove: Vec::new() });
            let evicted = leaving.iter().filter(|pod| !pod.terminating());
            actions.extend(evicted.map(|pod| Action::Delete(Target::of(&pod.object), None)));
        }
        self.node_groups.unneeded = since;
        self.node_groups.draining = draining;
        actions
    }
}
