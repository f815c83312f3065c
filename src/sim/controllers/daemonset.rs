//! DaemonSets: one pod on each node that it fits.
//!
//! Source: `pkg/controller/daemon/daemon_controller.go` and `util/daemonset_util.go`, v1.36. Updates replace one pod at a
//! time (`maxUnavailable: 1`, the default); without surge and ControllerRevisions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::action::{Action, Decision, Target, event};
use super::names;
use super::replicaset::new_pod;
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
        decision.actions.extend(replace_one(set, pods, &revision));
    }
    let status = status(set, (pods, nodes), &fits, (&revision, now));
    if status != set.object.field::<Value>("status").unwrap_or_default() {
        decision.actions.push(Action::Status(Target::of(&set.object), status));
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

fn replace_one(set: &DaemonSet, pods: &[&Pod], revision: &str) -> Vec<Action> {
    if set.spec.update_strategy.kind == "OnDelete" || pods.iter().any(|p| p.terminating() || !p.ready()) {
        return Vec::new();
    }
    let old = |p: &&&Pod| p.meta().labels.get(REVISION).map(String::as_str) != Some(revision);
    pods.iter().find(old).map(|pod| delete(set, pod)).unwrap_or_default()
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
