//! The scheduler: which node a pod goes to, or why it goes to none.
//!
//! Filters and their words are kube-scheduler's (`pkg/scheduler/framework/plugins`, v1.36): NodeUnschedulable,
//! TaintToleration, NodeAffinity, NodeResourcesFit, VolumeBinding, PodTopologySpread, InterPodAffinity (required anti-affinity in the
//! pod's own namespace), in that order; the first that refuses a node gives the reason. The score is simpler and has
//! no chance in it: most of the preferred node affinity, then as PodTopologySpread scores, then least allocated, then
//! by name. There is no preemption.

mod spread;

use std::collections::BTreeMap;

use serde_json::Value;

use self::spread::Spread;
use super::controllers::views::{Node, NodeSelector, NodeSelectorTerm, Pod, Taint, Toleration, selects};

/// The taint of a cordoned node.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Label of a node's own name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Label of a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// CPU in millicores, memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Millicores.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
}

/// A node as the scheduler counts it.
#[derive(Clone)]
pub struct Candidate<'a> {
    /// The node.
    pub node: &'a Node,
    /// The unfinished pods bound to it.
    pub pods: Vec<&'a Pod>,
    /// What those request together.
    pub requested: Amount,
    /// Whether a volume of the pod to be placed cannot be used there.
    pub out_of_reach: bool,
}

impl<'a> Candidate<'a> {
    /// Sums up what the pods on a node request; finished pods hold nothing.
    pub fn new(node: &'a Node, pods: impl Iterator<Item = &'a Pod>) -> Self {
        let pods: Vec<&Pod> = pods.filter(|p| !p.finished()).collect();
        let mut requested = Amount::default();
        for pod in &pods {
            let request = requests(pod);
            requested.cpu += request.cpu;
            requested.memory += request.memory;
        }
        Self { node, pods, requested, out_of_reach: false }
    }

    /// With one pod more.
    pub fn take(&mut self, pod: &'a Pod) {
        let request = requests(pod);
        self.requested.cpu += request.cpu;
        self.requested.memory += request.memory;
        self.pods.push(pod);
    }
}

/// Parses a quantity such as `100m`, `0.5`, `1e3`, `512Mi` into thousandths; `None` when it is none.
#[must_use]
pub fn quantity(text: &str) -> Option<i128> {
    const SUFFIXES: [(&str, i128); 13] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
        ("", 1),
    ];
    if let Some(number) = text.strip_suffix('m') {
        return number.parse::<i64>().ok().map(i128::from);
    }
    let (number, factor) =
        SUFFIXES.iter().find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|n| (n, *factor)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if let Ok(whole) = whole.parse::<i64>() {
        // Three digits are all that thousandths can hold.
        let digits: i128 = format!("{fraction:0<3.3}").parse().ok()?;
        return (i128::from(whole) * 1000 + digits).checked_mul(factor);
    }
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number.abs() < 1e15).then(|| (number * 1000.0) as i128 * factor)
}

/// A resource of a list in thousandths (millicores, thousandths of a byte); `None` when it is not in it.
pub fn resource(list: &BTreeMap<String, Value>, name: &str) -> Option<i128> {
    match list.get(name)? {
        Value::String(text) => quantity(text),
        Value::Number(number) => quantity(&number.to_string()),
        _ => None,
    }
}

fn clamp(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// What a pod requests: the sum of its containers, at least the largest init container.
#[must_use]
pub fn requests(pod: &Pod) -> Amount {
    *pod.spec.requested.get_or_init(|| sum_requests(pod))
}

fn sum_requests(pod: &Pod) -> Amount {
    let of = |name: &str| {
        let sum: i128 =
            pod.spec.containers.iter().filter_map(|c| resource(&c.resources.requests, name)).sum();
        let init =
            pod.spec.init_containers.iter().filter_map(|c| resource(&c.resources.requests, name)).max();
        sum.max(init.unwrap_or(0))
    };
    Amount { cpu: clamp(of("cpu")), memory: clamp(of("memory") / 1000) }
}

/// What a node has to give.
#[must_use]
pub fn allocatable(node: &Node) -> (Amount, i64) {
    *node.status.room.get_or_init(|| read_allocatable(node))
}

fn read_allocatable(node: &Node) -> (Amount, i64) {
    let list =
        if node.status.allocatable.is_empty() { &node.status.capacity } else { &node.status.allocatable };
    let of = |name: &str| resource(list, name).unwrap_or(0);
    (Amount { cpu: clamp(of("cpu")), memory: clamp(of("memory") / 1000) }, clamp(of("pods") / 1000))
}

/// The node that a pod goes to, or the message of the condition PodScheduled.
///
/// # Errors
/// The words with which kube-scheduler says that no node fits.
pub fn choose(pod: &Pod, nodes: &[Candidate<'_>]) -> Result<String, String> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let (mut fitting, mut resolvable) = (Vec::new(), 0);
    let spread = Spread::new(pod, nodes);
    for (index, candidate) in nodes.iter().enumerate() {
        let refusal = refusal(pod, candidate, (&spread, nodes));
        if refusal.is_empty() {
            fitting.push(index);
        }
        // Preemption helps only where resources or other pods are in the way.
        resolvable += usize::from(refusal.iter().any(|r| {
            r.starts_with("Insufficient")
                || r.starts_with("Too many")
                || r == spread::SKEWED
                || r.contains("anti-affinity")
        }));
        for reason in refusal {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let costs = spread.costs(pod, &fitting, nodes);
    let score = |(index, cost): (usize, i64)| {
        let candidate = &nodes[index];
        let preference = std::cmp::Reverse(preference(pod, candidate.node));
        (preference, cost, load(pod, candidate), candidate.node.name())
    };
    let best = fitting.into_iter().zip(costs).map(score).min();
    best.map(|(.., name)| name.to_owned()).ok_or_else(|| message(nodes.len(), &reasons, resolvable))
}

/// The message for a pod that no node could take for a reason of its own.
#[must_use]
pub fn nowhere(nodes: usize, why: &str) -> String {
    format!(
        "0/{nodes} nodes are available: {why}. preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."
    )
}

/// `FitError.Error` with what the plugin DefaultPreemption adds.
fn message(nodes: usize, reasons: &BTreeMap<String, usize>, resolvable: usize) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".into();
    }
    let mut parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    let mut preemption = Vec::new();
    if resolvable > 0 {
        preemption.push(format!("{resolvable} No preemption victims found for incoming pod"));
    }
    if resolvable < nodes {
        preemption.push(format!("{} Preemption is not helpful for scheduling", nodes - resolvable));
    }
    preemption.sort();
    format!(
        "0/{nodes} nodes are available: {}. preemption: 0/{nodes} nodes are available: {}.",
        parts.join(", "),
        preemption.join(", ")
    )
}

/// Pods of the same owner on a node.
fn siblings(pod: &Pod, candidate: &Candidate<'_>) -> usize {
    let Some(owner) = pod.controller() else { return 0 };
    candidate
        .pods
        .iter()
        .filter(|p| !p.terminating() && p.controller().is_some_and(|o| o.uid == owner.uid))
        .count()
}

/// The larger of the shares of CPU and memory that would be requested, in millionths.
fn load(pod: &Pod, candidate: &Candidate<'_>) -> i128 {
    let (has, _) = allocatable(candidate.node);
    let wants = requests(pod);
    let share = |used: i64, of: i64| i128::from(used) * 1_000_000 / i128::from(of.max(1));
    share(candidate.requested.cpu + wants.cpu, has.cpu)
        .max(share(candidate.requested.memory + wants.memory, has.memory))
}

/// Why a node does not fit; empty when it does.
fn refusal(
    pod: &Pod,
    candidate: &Candidate<'_>,
    (spread, nodes): (&Spread<'_>, &[Candidate<'_>]),
) -> Vec<String> {
    let node = candidate.node;
    let cordon = || Taint { key: UNSCHEDULABLE.into(), effect: "NoSchedule".into(), ..Taint::default() };
    if node.spec.unschedulable && !tolerates(&pod.spec.tolerations, &cordon()) {
        return vec!["node(s) were unschedulable".into()];
    }
    let untolerated = |t: &&Taint| {
        matches!(t.effect.as_str(), "NoSchedule" | "NoExecute") && !tolerates(&pod.spec.tolerations, t)
    };
    if node.spec.taints.iter().any(|t| untolerated(&t)) {
        return vec!["node(s) had untolerated taint(s)".into()];
    }
    if !selected(pod, node) {
        return vec!["node(s) didn't match Pod's node affinity/selector".into()];
    }
    let short = shortages(pod, candidate);
    if !short.is_empty() {
        return short;
    }
    if candidate.out_of_reach {
        return vec!["node(s) didn't match PersistentVolume's node affinity".into()];
    }
    if let Some(skewed) = spread.refusal(node) {
        return vec![skewed.into()];
    }
    if repelled(pod, node, nodes) {
        return vec!["node(s) didn't match pod anti-affinity rules".into()];
    }
    Vec::new()
}

/// Whether any toleration covers a taint.
#[must_use]
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| t.tolerates(taint))
}

/// `nodeSelector` and required node affinity (`component-helpers/scheduling/corev1/nodeaffinity`).
#[must_use]
pub fn selected(pod: &Pod, node: &Node) -> bool {
    let labels = &node.meta().labels;
    if !selects(&pod.spec.node_selector, labels) {
        return false;
    }
    let Some(required) = &pod.spec.affinity.node_affinity.required else { return true };
    meets(required, node)
}

/// Whether a node meets any term of a selector.
pub fn meets(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

/// The sum of the weights of the preferred node affinity that a node meets.
fn preference(pod: &Pod, node: &Node) -> i64 {
    let preferred = pod.spec.affinity.node_affinity.preferred.iter();
    preferred.filter(|one| term_matches(&one.preference, node)).map(|one| one.weight).sum()
}

/// Whether all of a term holds; an empty one matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let fields = BTreeMap::from([("metadata.name".to_owned(), node.name().to_owned())]);
    let empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
    !empty
        && term.match_expressions.iter().all(|r| r.matches(&node.meta().labels))
        && term.match_fields.iter().all(|r| r.matches(&fields))
}

/// NodeResourcesFit names every resource that is short.
fn shortages(pod: &Pod, candidate: &Candidate<'_>) -> Vec<String> {
    let ((has, pods), wants) = (allocatable(candidate.node), requests(pod));
    let mut short = Vec::new();
    if candidate.pods.len() as i64 + 1 > pods {
        short.push("Too many pods".to_owned());
    }
    if wants.cpu > 0 && candidate.requested.cpu + wants.cpu > has.cpu {
        short.push("Insufficient cpu".to_owned());
    }
    if wants.memory > 0 && candidate.requested.memory + wants.memory > has.memory {
        short.push("Insufficient memory".to_owned());
    }
    short
}

/// Required pod anti-affinity: a pod that matches a term is in the same topology domain.
fn repelled(pod: &Pod, node: &Node, nodes: &[Candidate<'_>]) -> bool {
    pod.spec.affinity.pod_anti_affinity.required.iter().any(|term| {
        let Some(domain) = node.meta().labels.get(&term.topology_key) else { return false };
        let Some(selector) = &term.label_selector else { return false };
        nodes
            .iter()
            .filter(|c| c.node.meta().labels.get(&term.topology_key) == Some(domain))
            .flat_map(|c| &c.pods)
            .any(|other| other.namespace() == pod.namespace() && selector.matches(&other.meta().labels))
    })
}

#[cfg(test)]
mod tests;
