//! Which nodes nobody needs, and which of them go. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::scale_up::put;
use crate::sim::controllers::views::{Node, Pod, PodDisruptionBudget};
use crate::sim::scheduler::{Candidate, allocatable};

/// Below this share of what it has a node may be unneeded (`--scale-down-utilization-threshold`).
const THRESHOLD: f64 = 0.5;
/// How many empty nodes go in one scan (`--max-scale-down-parallelism`).
const EMPTY_AT_ONCE: usize = 10;
/// Says of a pod that it may be moved, or may not.
const SAFE: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// What a scan sees.
pub(super) struct World<'a> {
    pub nodes: &'a [&'a Node],
    pub pods_on: &'a dyn Fn(&str) -> Vec<&'a Pod>,
    pub budgets: &'a [&'a PodDisruptionBudget],
    /// On their way out already.
    pub draining: &'a BTreeSet<String>,
}

/// Whether a pod has to find another place when its node goes.
pub(super) fn moves(pod: &Pod) -> bool {
    let daemon = pod.controller().is_some_and(|owner| owner.kind == "DaemonSet");
    let mirror = pod.meta().annotations.contains_key("kubernetes.io/config.mirror");
    !daemon && !mirror && !pod.finished()
}

/// The nodes of groups that are used less than half, and whose pods would all find a place elsewhere, each as if
/// those before it had gone.
pub(super) fn unneeded(world: &World<'_>, members: &BTreeMap<String, Vec<&Node>>) -> Vec<String> {
    let mut room: Vec<Candidate<'_>> = world
        .nodes
        .iter()
        .filter(|node| node.ready() && !world.draining.contains(node.name()))
        .map(|node| Candidate::new(node, (world.pods_on)(node.name()).into_iter()))
        .collect();
    let mut names = Vec::new();
    for node in members.values().flatten().filter(|node| !world.draining.contains(node.name())) {
        let pods = (world.pods_on)(node.name());
        let moving: Vec<&Pod> = pods.iter().copied().filter(|pod| moves(pod)).collect();
        let stuck = moving.iter().any(|pod| stuck(pod)) || !budgets_allow(world.budgets, &moving);
        if utilization(node, pods) >= THRESHOLD || stuck {
            continue;
        }
        let mut without: Vec<Candidate<'_>> =
            room.iter().filter(|candidate| candidate.node.name() != node.name()).cloned().collect();
        if moving.iter().all(|pod| put(&mut without, pod)) {
            room = without;
            names.push(node.name().to_owned());
        }
    }
    names
}

/// Of those whose time has come: empty ones together, otherwise one; no group below its minimum.
pub(super) fn going<'a>(
    world: &World<'_>,
    members: &BTreeMap<String, Vec<&Node>>,
    due: &[&'a str],
    least: &dyn Fn(&str) -> usize,
) -> Vec<&'a str> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for (group, nodes) in members {
        let staying = nodes.iter().filter(|node| !world.draining.contains(node.name())).count();
        left.insert(group, staying.saturating_sub(least(group)));
    }
    let group_of = |name: &str| {
        let of = members.iter().find(|(_, nodes)| nodes.iter().any(|node| node.name() == name));
        of.map(|(group, _)| group.as_str())
    };
    let empty = |name: &str| !(world.pods_on)(name).into_iter().any(moves);
    let (empty, used): (Vec<&str>, Vec<&str>) = due.iter().copied().partition(|name| empty(name));
    let mut going = Vec::new();
    let one = if empty.is_empty() && world.draining.is_empty() { 1 } else { 0 };
    for name in empty.into_iter().take(EMPTY_AT_ONCE).chain(used.into_iter().take(one)) {
        let Some(spare) = group_of(name).and_then(|group| left.get_mut(group)) else { continue };
        if *spare > 0 {
            *spare -= 1;
            going.push(name);
        }
    }
    going
}

/// The larger share of CPU and memory that is requested.
fn utilization(node: &Node, pods: Vec<&Pod>) -> f64 {
    let (has, used) = (allocatable(node).0, Candidate::new(node, pods.into_iter()).requested);
    let share = |used: i64, has: i64| used as f64 / has.max(1) as f64;
    share(used.cpu, has.cpu).max(share(used.memory, has.memory))
}

/// Whether a pod keeps its node ("What types of pods can prevent CA from removing a node?").
fn stuck(pod: &Pod) -> bool {
    match pod.meta().annotations.get(SAFE).map(String::as_str) {
        Some("true") => return false,
        Some("false") => return true,
        _ => {}
    }
    let spec: Value = pod.object.field("spec").unwrap_or_default();
    let local = |volume: &Value| {
        let memory = volume.pointer("/emptyDir/medium").and_then(Value::as_str) == Some("Memory");
        volume.get("hostPath").is_some() || (volume.get("emptyDir").is_some() && !memory)
    };
    let volumes = spec["volumes"].as_array();
    pod.controller().is_none()
        || pod.namespace() == "kube-system"
        || volumes.is_some_and(|volumes| volumes.iter().any(local))
}

/// Whether all of the pods may go at the same time (`CanRemovePods` in `core/scaledown/pdb`).
fn budgets_allow(budgets: &[&PodDisruptionBudget], pods: &[&Pod]) -> bool {
    budgets.iter().all(|budget| {
        let covered = pods.iter().filter(|pod| {
            budget.namespace() == pod.namespace()
                && budget.spec.selector.as_ref().is_some_and(|s| s.matches(&pod.meta().labels))
        });
        covered.count() as i64 <= budget.status.disruptions_allowed.max(0)
    })
}
