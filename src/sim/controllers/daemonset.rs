//! DaemonSets: one pod on each node that it fits.
//!
//! Source: `pkg/controller/daemon/daemon_controller.go`, `update.go` and `util/daemonset_util.go`, v1.36. Without
//! ControllerRevisions: a revision is the hash of the template.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::action::{Action, Decision, Target, event};
use super::names;
use super::replicaset::{new_pod, next_available};
use super::views::{DaemonSet, Node, Pod, Toleration, View};
use crate::sim::scheduler;
use crate::sim::store::Object;
use std::sync::Arc;

const SOURCE: &str = "daemonset-controller";
const REVISION: &str = "controller-revision-hash";
/// Taints that every daemon tolerates (`AddOrUpdateDaemonPodTolerations`): key and effect.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// One sync of a DaemonSet.
#[must_use]
pub fn decide(set: &DaemonSet, pods: &[&Pod], nodes: &[&Node], now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    let revision = names::template_hash(&set.spec.template, 0);
    let mut by_node: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        by_node.entry(node_of(pod)).or_default().push(pod);
    }
    let example = new_pod(set, &with_tolerations(&set.spec.template), "example").ok();
    let example: Option<Pod> = example.and_then(|o: Object| View::new(Arc::new(o)).ok());
    let fits = |node: &Node| example.as_ref().is_some_and(|pod| eligible(pod, node));
    if !set.terminating() {
        for node in nodes.iter().filter(|n| fits(n) && !n.terminating()) {
            if !by_node.contains_key(node.name()) {
                decision.actions.extend(create(set, node, &revision));
            }
        }
        for (node, pods) in &by_node {
            let wanted = nodes.iter().any(|n| n.name() == node && fits(n));
            for pod in pods.iter().filter(|p| !p.terminating() && (!wanted || p.finished())) {
                decision.actions.extend(delete(set, pod));
            }
        }
        if set.spec.update_strategy.kind != "OnDelete" {
            let wanted: Vec<&Node> = nodes.iter().copied().filter(|n| fits(n) && !n.terminating()).collect();
            decision.actions.extend(rolling_update(set, &by_node, &wanted, (&revision, now)));
        }
    }
    let status = status(set, (pods, nodes), &fits, (&revision, now));
    if status != set.object.field::<Value>("status").unwrap_or_default() {
        decision.actions.push(Action::Status(Target::of(&set.object), status));
    }
    if let Some(delay) = next_available(pods, set.spec.min_ready_seconds, now) {
        decision.again_in(delay);
    }
    decision
}

/// The node that a daemon is bound to, or meant for.
fn node_of(pod: &Pod) -> String {
    if !pod.spec.node_name.is_empty() {
        return pod.spec.node_name.clone();
    }
    let terms = pod.spec.affinity.node_affinity.required.iter().flat_map(|r| &r.node_selector_terms);
    let mut fields = terms.flat_map(|t| &t.match_fields).filter(|f| f.key == "metadata.name");
    fields.next().and_then(|f| f.values.first().cloned()).unwrap_or_default()
}

/// Whether a daemon should run on a node (`NodeShouldRunDaemonPod`): affinity and taints, not resources.
fn eligible(pod: &Pod, node: &Node) -> bool {
    let tolerated = |effects: &[&str]| {
        let tolerations: &[Toleration] = &pod.spec.tolerations;
        node.spec
            .taints
            .iter()
            .filter(|t| effects.contains(&t.effect.as_str()))
            .all(|t| scheduler::tolerates(tolerations, t))
    };
    scheduler::selected(pod, node) && tolerated(&["NoSchedule", "NoExecute"])
}

fn with_tolerations(template: &Value) -> Value {
    let mut template = template.clone();
    let added =
        TOLERATED.iter().map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}));
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        let list = spec.entry("tolerations").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.extend(added);
        }
    }
    template
}

fn create(set: &DaemonSet, node: &Node, revision: &str) -> Vec<Action> {
    let name = format!("{}-{}", set.name(), names::suffix(names::hash(&[set.uid(), node.name(), revision])));
    let mut template = with_tolerations(&set.spec.template);
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        let term =
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node.name()]}]});
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
        let affinity = spec.entry("affinity").or_insert_with(|| json!({}));
        if let Some(affinity) = affinity.as_object_mut() {
            affinity.insert("nodeAffinity".into(), required);
        }
    }
    let Ok(mut pod) = new_pod(set, &template, &name) else { return Vec::new() };
    pod.meta.labels.insert(REVISION.to_owned(), revision.to_owned());
    let message = format!("Created pod: {name}");
    vec![Action::Create(pod), event(&set.object, SOURCE, "SuccessfulCreate", message)]
}

fn delete(set: &DaemonSet, pod: &Pod) -> Vec<Action> {
    let message = format!("Deleted pod: {}", pod.name());
    vec![
        Action::Delete(Target::of(&pod.object), None),
        event(&set.object, SOURCE, "SuccessfulDelete", message),
    ]
}

/// One step of an update (`rollingUpdate`): old daemons that are down anyway go at once, of the others as many as may
/// be unavailable; with a surge the new one is there and available before the old one goes.
fn rolling_update(
    set: &DaemonSet,
    by_node: &BTreeMap<String, Vec<&Pod>>,
    nodes: &[&Node],
    (revision, now): (&str, Timestamp),
) -> Vec<Action> {
    let strategy = &set.spec.update_strategy;
    let desired = i64::try_from(nodes.len()).unwrap_or(i64::MAX);
    let surge = strategy.rolling_update.max_surge.as_ref().and_then(|s| s.of(desired, true)).unwrap_or(0);
    let available = |pod: &Pod| pod.available(set.spec.min_ready_seconds, now);
    let (mut actions, mut candidates) = (Vec::new(), Vec::new());
    let (mut unavailable, mut surging) = (0_i64, 0_i64);
    for node in nodes {
        let there = by_node.get(node.name()).into_iter().flatten().filter(|pod| !pod.terminating());
        let (new, old): (Vec<&Pod>, Vec<&Pod>) =
            there.partition(|pod| pod.meta().labels.get(REVISION).map(String::as_str) == Some(revision));
        match (new.first(), old.first()) {
            (None, None) => unavailable += 1,
            (Some(new), None) => unavailable += i64::from(!available(new)),
            (Some(new), Some(old)) if surge > 0 && available(new) => actions.extend(delete(set, old)),
            (Some(_), Some(_)) => {
                unavailable += 1;
                surging += 1;
            }
            (None, Some(old)) if surge > 0 && !available(old) => actions.extend(create(set, node, revision)),
            (None, Some(old)) if !available(old) => actions.extend(delete(set, old)),
            (None, Some(old)) => candidates.push((*node, *old)),
        }
    }
    if surge > 0 {
        let more = usize::try_from(surge - surging).unwrap_or(0);
        actions.extend(candidates.iter().take(more).flat_map(|(node, _)| create(set, node, revision)));
    } else {
        // Neither may be nothing.
        let room = strategy.max_unavailable(desired).max(1) - unavailable;
        let more = usize::try_from(room).unwrap_or(0);
        actions.extend(candidates.iter().take(more).flat_map(|(_, old)| delete(set, old)));
    }
    actions
}

fn status(
    set: &DaemonSet,
    (pods, nodes): (&[&Pod], &[&Node]),
    fits: &dyn Fn(&Node) -> bool,
    (revision, now): (&str, Timestamp),
) -> Value {
    let wanted = |pod: &&&Pod| nodes.iter().any(|n| n.name() == node_of(pod) && fits(n));
    let count = |test: &dyn Fn(&Pod) -> bool| pods.iter().filter(wanted).filter(|p| test(p)).count();
    let desired = nodes.iter().filter(|n| fits(n)).count();
    let ready = count(&|p| p.ready());
    let available = count(&|p| p.available(set.spec.min_ready_seconds, now));
    let updated = count(&|p| p.meta().labels.get(REVISION).map(String::as_str) == Some(revision));
    let mut status = json!({
        "currentNumberScheduled": count(&|_| true), "numberMisscheduled": pods.iter().filter(|p| !wanted(p)).count(),
        "desiredNumberScheduled": desired, "numberReady": ready, "observedGeneration": set.meta().generation,
    });
    for (name, value) in [
        ("updatedNumberScheduled", updated),
        ("numberAvailable", available),
        ("numberUnavailable", desired.saturating_sub(available)),
    ] {
        if value > 0 {
            status[name] = json!(value);
        }
    }
    status
}
