//! Limits, consent and built-in protection. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::{Selector, SelectorExt};

use super::{Setting, StepAsk};
use crate::{
    cluster::{Node, Pod, RUN_LABEL},
    faults::{self, FaultInfo, Injection, LimitKind},
    types::{Finding, ObjectRef, codes::guard as code, counted},
};

/// Namespaces that nothing opens.
const PROTECTED: [&str; 2] = ["kube-system", "kube-node-lease"];

/// Whether a namespace keeps the cluster, or us, alive.
pub fn protected(namespace: &str) -> bool {
    PROTECTED.contains(&namespace) || namespace == "firedrill" || namespace.starts_with("firedrill-")
}

/// What is the same for whomever a step hits, found once: of thousands each is judged alone, too.
pub(super) struct Ground<'a> {
    ask: &'a StepAsk<'a>,
    info: &'a FaultInfo,
    /// What holds in this run already.
    held: BTreeSet<&'a ObjectRef>,
    /// The nodes among that.
    out: BTreeSet<&'a str>,
    /// How many nodes of each zone are ready and schedulable, those that are hit already aside.
    open: BTreeMap<&'a str, usize>,
}

impl<'a> Ground<'a> {
    /// For the targets of this step.
    pub(super) fn of(ask: &'a StepAsk<'a>, info: &'a FaultInfo) -> Self {
        let held = ask.in_force.iter().map(|injection| &injection.target).collect();
        let out = out_by_then(std::iter::empty(), ask.in_force);
        let mut ground = Self { ask, info, held, out, open: BTreeMap::new() };
        if info.limits.contains(&LimitKind::Nodes) && !info.whole_zone() {
            for node in ask.setting.snapshot.nodes.values() {
                if let Some(zone) = node.zone() {
                    let counts = usize::from(ground.is_open(node));
                    *ground.open.entry(zone).or_default() += counts;
                }
            }
        }
        ground
    }

    fn is_open(&self, node: &Node) -> bool {
        node.ready && !node.unschedulable && !self.out.contains(node.object.name.as_str())
    }

    /// What speaks against these targets, whatever the fault does to them.
    pub(super) fn findings(&self, targets: &[ObjectRef]) -> Vec<Finding> {
        let setting = self.ask.setting;
        let mut findings = Vec::new();
        let spaces: BTreeSet<&str> =
            targets.iter().map(|target| target.namespace.as_str()).filter(|n| !n.is_empty()).collect();
        findings.extend(spaces.into_iter().filter_map(|namespace| unwilling(setting, namespace)));
        // What holds it already within this run is judged field by field.
        let free = targets.iter().filter(|target| !self.held.contains(target));
        findings.extend(free.filter_map(|target| held_by_another(setting, target)));
        if self.info.limits.contains(&LimitKind::Nodes) {
            findings.extend(targets.iter().filter_map(|target| unwilling_node(setting, target)));
            findings.extend(forbidden_nodes(setting, targets));
            findings.extend(if self.info.whole_zone() {
                last_zone(self.ask, targets).into_iter().collect()
            } else {
                self.last_in_zone(targets)
            });
        }
        findings
    }

    fn last_in_zone(&self, targets: &[ObjectRef]) -> Vec<Finding> {
        // With one zone in all there is no zone to lose: then limits.nodes speaks.
        if self.open.len() < 2 {
            return Vec::new();
        }
        let nodes = &self.ask.setting.snapshot;
        let zoned = || targets.iter().filter_map(|target| Some((target, nodes.node(&target.name)?)));
        let mut left = self.open.clone();
        for (_, node) in zoned().filter(|(_, node)| self.is_open(node)) {
            if let Some(left) = node.zone().and_then(|zone| left.get_mut(zone)) {
                *left = left.saturating_sub(1);
            }
        }
        let last = zoned().filter_map(|(target, node)| Some((target, node.zone()?)));
        let last = last.filter(|(_, zone)| left.get(zone) == Some(&0));
        let finding = |(target, zone): (&ObjectRef, &str)| {
            let message = format!("no other node of zone {zone} is ready and schedulable");
            Finding::error(code::LAST_IN_ZONE, target, message).remedy("choose a node of a zone with several")
        };
        last.map(finding).collect()
    }
}

/// Why nothing may be done to what is in a namespace.
pub(super) fn unwilling(setting: &Setting<'_>, namespace: &str) -> Option<Finding> {
    let subject = format!("namespace/{namespace}");
    if protected(namespace) || namespace == setting.agents.namespace {
        return Some(Finding::error(code::PROTECTED, subject, "it is protected; nothing opens it"));
    }
    let space = setting.snapshot.space(namespace).map(|space| &**space);
    if space.is_some_and(|space| space.terminating) {
        return Some(Finding::error(code::NO_TARGET, subject, "it is being deleted"));
    }
    if setting.consent.given(namespace, space) {
        return None;
    }
    let remedy = format!(
        "kubectl label namespace {namespace} firedrill.dev/allowed=true, or --allow-namespace {namespace}"
    );
    Some(Finding::error(code::NO_CONSENT, subject, "it has not consented to experiments").remedy(remedy))
}

/// Why nothing may be done to a node: where it is asked, by whoever runs it in the cluster.
fn unwilling_node(setting: &Setting<'_>, target: &ObjectRef) -> Option<Finding> {
    let node = setting.snapshot.node(&target.name).filter(|_| target.kind == "Node")?;
    if setting.consent.given_by_node(&node.labels) {
        return None;
    }
    let message = "it has not consented to experiments of the controller";
    let remedy = format!(
        "kubectl label node {} firedrill.dev/allowed=true, or choose nodes that have it",
        target.name
    );
    Some(Finding::error(code::NO_CONSENT, target, message).remedy(remedy))
}

/// A scar that is there already names the run that holds the object.
fn held_by_another(setting: &Setting<'_>, target: &ObjectRef) -> Option<Finding> {
    let snapshot = setting.snapshot;
    let run = match target.kind.as_str() {
        "Node" => snapshot.node(&target.name)?.labels.get(RUN_LABEL)?.clone(),
        "Pod" => return None,
        kind => {
            let workload = snapshot.workload(&target.namespace, kind, &target.name)?;
            let scaled =
                || workload.replicas_manager.as_deref()?.strip_prefix("firedrill:")?.split(':').next();
            workload.labels.get(RUN_LABEL).map(String::as_str).or_else(scaled)?.to_owned()
        }
    };
    Some(
        Finding::error(code::OVERLAP, target, format!("run {run} has changed it and not put it back"))
            .remedy(format!("firedrill rollback {run}")),
    )
}

/// Nodes that a Guardrail does not let anybody hit.
fn forbidden_nodes(setting: &Setting<'_>, targets: &[ObjectRef]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (guardrail, selector) in &setting.bounds.node_rules {
        // One that cannot be read allows no node.
        let selector = Selector::try_from(selector.clone()).ok();
        for target in targets {
            let labels = setting.snapshot.node(&target.name).map(|node| &node.labels);
            let allowed =
                selector.as_ref().zip(labels).is_some_and(|(selector, labels)| selector.matches(labels));
            if !allowed {
                let message = format!("Guardrail {guardrail} lets only other nodes be hit");
                findings.push(
                    Finding::error(code::GUARDRAIL, target, message)
                        .remedy("choose nodes that its spec.nodes.selector selects"),
                );
            }
        }
    }
    findings
}

/// The nodes that are hit by then, earlier steps' among them: a plan knows those by their injections only.
fn out_by_then<'a>(
    hit: impl Iterator<Item = &'a ObjectRef>,
    in_force: &[&'a Injection],
) -> BTreeSet<&'a str> {
    let held = in_force.iter().map(|injection| &injection.target);
    hit.chain(held).filter(|target| target.kind == "Node").map(|target| target.name.as_str()).collect()
}

/// Losing a zone is survived in the others: somewhere a node has to be left.
fn last_zone(ask: &StepAsk<'_>, targets: &[ObjectRef]) -> Option<Finding> {
    let hit = out_by_then(targets.iter(), ask.in_force);
    let snapshot = ask.setting.snapshot;
    let open = snapshot.nodes.values().any(|node| {
        // A control plane keeps ordinary pods away by a taint.
        let kept = node.control_plane() && node.taints.iter().any(|taint| taint.effect == "NoSchedule");
        node.ready && !node.unschedulable && !kept && !hit.contains(node.object.name.as_str())
    });
    let zone = || snapshot.node(&targets.first()?.name)?.zone().map(str::to_owned);
    (!open).then(|| {
        let subject = format!("zone {}", zone().unwrap_or_default());
        Finding::error(code::LAST_ZONE, subject, "no node outside it is ready and schedulable")
            .remedy("add nodes in another zone, or uncordon those that are there")
    })
}

/// What the limits say, per workload and over all nodes, with what is in force already.
pub(super) fn limits(
    setting: &Setting<'_>,
    injections: &[Injection],
    in_force: &[&Injection],
) -> Vec<Finding> {
    let mut findings = pod_limits(setting, injections, in_force);
    findings.extend(degraded_limits(setting, injections, in_force));
    let snapshot = setting.snapshot;
    if injections.iter().any(|injection| injection.target.kind == "Node") {
        let nodes = out_by_then(injections.iter().map(|injection| &injection.target), in_force);
        let out = snapshot
            .nodes
            .values()
            .filter(|node| !node.ready || node.unschedulable || nodes.contains(node.object.name.as_str()));
        // A machine that is to come is a node that is missing.
        let coming = snapshot.machines_without_node();
        let (out, all) = (out.count() + coming, snapshot.nodes.len() + coming);
        let bound = setting.bounds.nodes_of(all);
        if out > bound {
            let message = format!(
                "{out} of {all} nodes would be not ready or unschedulable, and limits.nodes allows {bound}"
            );
            findings.push(
                Finding::error(code::NODE_LIMIT, "nodes", message).remedy("hit fewer, or raise limits.nodes"),
            );
        }
        findings.extend(room(setting, injections, &nodes));
    }
    findings
}

/// What an owner loses, of what it wants.
#[derive(Default)]
struct Loss {
    /// In step with budgets.
    evicted: BTreeSet<ObjectRef>,
    /// All at once: a delete asks no budget.
    killed: BTreeSet<ObjectRef>,
    replicas: usize,
}

fn pod_limits(setting: &Setting<'_>, injections: &[Injection], in_force: &[&Injection]) -> Vec<Finding> {
    let snapshot = setting.snapshot;
    let mut losses: BTreeMap<(String, String, String), Loss> = BTreeMap::new();
    for injection in injections {
        let target = &injection.target;
        // What is only hampered stays ready, and counts elsewhere.
        let hit = target.kind == "Pod" && !faults::degraded(injection).contains(target);
        for pod in injection.displaced.iter().chain(hit.then_some(target)) {
            if let Some(pod) = snapshot.pod(pod)
                && pod.ready
                && let Some(owner) = snapshot.top_owner(pod)
            {
                let key = (target_namespace(pod), owner.kind, owner.name);
                let loss = losses.entry(key).or_default();
                let of = if evicts(injection, &pod.object) { &mut loss.evicted } else { &mut loss.killed };
                of.insert(pod.object.clone());
            }
        }
        if injection.replicas_lost > 0
            && let Some(workload) = snapshot.workload_of(target)
        {
            let object = &workload.object;
            let key = (object.namespace.clone(), object.kind.clone(), object.name.clone());
            losses.entry(key).or_default().replicas += injection.replicas_lost as usize;
        }
    }
    let mut findings = Vec::new();
    for ((namespace, kind, name), loss) in losses {
        let Some(workload) = snapshot.workload(&namespace, &kind, &name) else { continue };
        // What our own scaling has taken away is still wanted.
        let scaled: u32 = in_force
            .iter()
            .filter(|injection| injection.target == workload.object && scales(injection))
            .map(|i| i.replicas_lost)
            .sum();
        let wanted = usize::try_from(workload.replicas).unwrap_or(0) + scaled as usize;
        let ready = usize::try_from(workload.ready).unwrap_or(0);
        let down = wanted.saturating_sub(ready) + at_once(setting, &loss) + loss.replicas.min(ready);
        let bound = setting.bounds.pods_of(wanted);
        if down > bound {
            let message = format!(
                "{down} of the {wanted} pods it wants would be not ready, and limits.pods allows {bound}"
            );
            findings.push(
                Finding::error(code::POD_LIMIT, &workload.object, message)
                    .remedy("hit fewer, wait until it is whole, or raise limits.pods"),
            );
        }
    }
    findings
}

/// What limits.degradedPods says, with what is hampered already.
fn degraded_limits(setting: &Setting<'_>, injections: &[Injection], in_force: &[&Injection]) -> Vec<Finding> {
    let snapshot = setting.snapshot;
    let mut hampered: BTreeMap<ObjectRef, BTreeSet<ObjectRef>> = BTreeMap::new();
    for pod in injections.iter().chain(in_force.iter().copied()).flat_map(faults::degraded) {
        let owner = snapshot.pod(&pod).and_then(|found| snapshot.top_owner(found));
        let workload = owner.and_then(|owner| snapshot.workload(&pod.namespace, &owner.kind, &owner.name));
        if let Some(workload) = workload {
            hampered.entry(workload.object.clone()).or_default().insert(pod);
        }
    }
    let beyond = hampered.into_iter().filter_map(|(workload, pods)| {
        let wanted = snapshot.workload_of(&workload)?.replicas;
        let wanted = usize::try_from(wanted).unwrap_or(0).max(pods.len());
        let (bound, hit) = (setting.bounds.degraded_of(wanted), pods.len());
        let message = format!(
            "{hit} of the {wanted} pods it wants would be hampered, and limits.degradedPods allows {bound}"
        );
        (hit > bound).then(|| {
            Finding::error(code::DEGRADED_LIMIT, &workload, message)
                .remedy("hit fewer, or raise limits.degradedPods")
        })
    });
    beyond.collect()
}

/// Whether a pod that goes with the injection asks its budgets.
pub(super) fn evicts(injection: &Injection, pod: &ObjectRef) -> bool {
    faults::find(&injection.fault).is_none_or(|fault| fault.evicts(injection, pod))
}

/// Whether it changes how many replicas the workload itself wants.
fn scales(injection: &Injection) -> bool {
    faults::find(&injection.fault).is_some_and(|fault| fault.info().writes.contains(&"spec.replicas"))
}

fn target_namespace(pod: &Pod) -> String {
    pod.object.namespace.clone()
}

/// How many of the pods are down at the same time: a budget lets evictions through a few at a time, and
/// nothing else.
fn at_once(setting: &Setting<'_>, loss: &Loss) -> usize {
    let evicted = |pod: &ObjectRef| {
        let pod = setting.snapshot.pod(pod)?;
        let budget = setting.snapshot.pdbs_of(pod).next()?;
        Some(usize::try_from(budget.allowed).unwrap_or(0))
    };
    let budget = loss.evicted.iter().filter_map(evicted).min();
    loss.killed.len() + budget.map_or(loss.evicted.len(), |budget| budget.min(loss.evicted.len()))
}

/// Whether the pods that go find a place: by pod slots, which every node has a bounded number of.
fn room(setting: &Setting<'_>, injections: &[Injection], hit: &BTreeSet<&str>) -> Option<Finding> {
    let snapshot = setting.snapshot;
    let mut running: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in snapshot.pods.values().filter(|pod| !pod.finished()) {
        *running.entry(pod.node.as_str()).or_default() += 1;
    }
    let open = snapshot
        .nodes
        .values()
        .filter(|node| node.ready && !node.unschedulable && !hit.contains(node.object.name.as_str()));
    let free: usize = open
        .map(|node| {
            node.pods_max.saturating_sub(running.get(node.object.name.as_str()).copied().unwrap_or(0))
        })
        .sum();
    let displaced: usize = injections.iter().map(|injection| injection.displaced.len()).sum();
    (displaced > free).then(|| {
        let message = format!(
            "{} would be displaced, and the other nodes have room for {free}",
            counted(displaced, "pod")
        );
        Finding::error(code::NO_ROOM, "nodes", message).remedy("add a node, or drain fewer")
    })
}

/// Pods of namespaces that have not consented go with a node only if those are named, and only if a budget
/// or another ready replica elsewhere covers them.
pub(super) fn bystanders(setting: &Setting<'_>, injections: &[Injection]) -> Vec<Finding> {
    let snapshot = setting.snapshot;
    let mut findings = Vec::new();
    let displaced: BTreeSet<&ObjectRef> =
        injections.iter().flat_map(|injection| &injection.displaced).collect();
    for object in &displaced {
        let namespace = object.namespace.as_str();
        let space = snapshot.space(namespace).map(|space| &**space);
        if setting.consent.given(namespace, space) && !protected(namespace) {
            continue;
        }
        let Some(pod) = snapshot.pod(object) else { continue };
        let owner = snapshot
            .top_owner(pod)
            .map_or_else(String::new, |owner| format!(" of {} {}", owner.kind, owner.name));
        if !setting.consent.bystanders.contains(namespace) {
            findings.push(
                Finding::error(
                    code::BYSTANDER,
                    object,
                    format!("it{owner} would be displaced, and namespace {namespace} has not consented"),
                )
                .remedy(format!("--bystanders {namespace}, if its keepers agree")),
            );
        } else if snapshot.pdbs_of(pod).next().is_none() && !ready_elsewhere(setting, pod, &displaced) {
            findings.push(
                Finding::error(code::BYSTANDER, object, format!("it{owner} would be displaced, and neither a budget nor another ready replica covers it"))
                    .remedy("give it a second replica or a PodDisruptionBudget"),
            );
        }
    }
    findings
}

fn ready_elsewhere(setting: &Setting<'_>, pod: &Pod, displaced: &BTreeSet<&ObjectRef>) -> bool {
    let Some(owner) = setting.snapshot.top_owner(pod) else { return false };
    setting.snapshot.pods_in(&pod.object.namespace).any(|other| {
        other.ready
            && other.node != pod.node
            && !displaced.contains(&other.object)
            && setting.snapshot.top_owner(other).as_ref() == Some(&owner)
    })
}
