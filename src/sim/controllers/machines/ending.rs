//! The end of a machine: hooks, drain, Node, finalizer.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Action, ControlLoop, Decision, Duration, Machine, Maker, Node, Pod, Target, merge};
use crate::sim::controllers::action::event;
use crate::sim::controllers::views::Taint;

/// How soon a drain is looked at again (`drainRetryInterval`; Karpenter's termination controller: a second).
const RETRY: [(Maker, Duration); 2] =
    [(Maker::ClusterApi, Duration::from_secs(20)), (Maker::Karpenter, Duration::from_secs(1))];
/// Annotations that hold a Machine until they are taken away (`machine_types.go`).
const PRE_DRAIN: &str = "pre-drain.delete.hook.machine.cluster.x-k8s.io";
const PRE_TERMINATE: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io";
/// Its node is not drained.
const NOT_DRAINED: &str = "machine.cluster.x-k8s.io/exclude-node-draining";
/// On a pod, `skip`: passed over by a drain.
const POD_DRAIN: &str = "cluster.x-k8s.io/drain";
/// On a pod, `true`: left where it is until the grace period is over.
pub(super) const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// The taint of a node that Karpenter drains (`DisruptedNoScheduleTaint`).
const DISRUPTED: &str = "karpenter.sh/disrupted";

impl ControlLoop {
    /// The next step of the end of a machine (`reconcileDelete`; `finalize` of Karpenter's termination controller).
    pub(super) fn ending(&self, machine: &Machine, node: Option<&Node>) -> Option<Decision> {
        let mut decision = Decision::default();
        let finalizer = machine.maker.finalizer();
        if !machine.meta().finalizers.iter().any(|held| held == finalizer) {
            return None;
        }
        let hooked = |prefix: &str| machine.meta().annotations.keys().any(|key| key.starts_with(prefix));
        if let Some(node) = node {
            // Whoever takes the hook away changes the machine, and that is seen.
            if hooked(PRE_DRAIN) {
                return Some(decision);
            }
            let pods: Vec<&Pod> = self.cache.pods_on(node.name()).collect();
            let left = drained(machine, &pods, self.store.now());
            if !left.is_empty() {
                decision.actions.extend(closed(machine.maker, node));
                let going = left.iter().filter(|pod| !pod.terminating() && !kept(machine, pod));
                decision.actions.extend(going.map(|pod| Action::Evict(Target::of(&pod.object))));
                let retry = RETRY.iter().find(|(maker, _)| *maker == machine.maker);
                decision.again_in(retry.map_or(Duration::from_secs(20), |(_, retry)| *retry));
                if let Some(end) = time_out(machine) {
                    let to_go = end.duration_since(self.store.now());
                    decision.again_in(to_go.unsigned_abs());
                }
                return Some(decision);
            }
        }
        if hooked(PRE_TERMINATE) {
            return Some(decision);
        }
        if let Some(node) = node {
            // Karpenter has pods end by themselves before it ends the machine (`DeleteExpiringPods`); those that
            // Cluster API leaves are for the pod garbage collector.
            if machine.maker == Maker::Karpenter {
                let left = self.cache.pods_on(node.name()).filter(|pod| moves(machine.maker, pod));
                decision.actions.extend(left.map(|pod| Action::Delete(Target::of(&pod.object), Some(0))));
            }
            let words = format!("machine {} has ended", machine.name());
            decision.actions.push(event(&node.object, "machine-controller", "DeletingNode", words));
            decision.actions.push(Action::Delete(Target::of(&node.object), None));
        }
        let kept: Vec<&String> = machine.meta().finalizers.iter().filter(|held| *held != finalizer).collect();
        let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
        decision.actions.push(merge(&machine.object, json!({"metadata": {"finalizers": kept}})));
        Some(decision)
    }
}

/// When a drain is given up, whatever budgets say.
fn time_out(machine: &Machine) -> Option<Timestamp> {
    let begun = machine.meta().deletion_timestamp?;
    let length = SignedDuration::try_from(machine.drain_timeout()?).ok()?;
    begun.checked_add(length).ok()
}

/// The pods that have to be gone before the machine may end: none, once the drain is given up or where there is none.
fn drained<'a>(machine: &Machine, pods: &[&'a Pod], now: Timestamp) -> Vec<&'a Pod> {
    let over = time_out(machine).is_some_and(|end| now >= end);
    if over || machine.meta().annotations.contains_key(NOT_DRAINED) {
        return Vec::new();
    }
    pods.iter().copied().filter(|pod| moves(machine.maker, pod)).collect()
}

/// Whether a drain waits for the pod's going (`filters.go` of Cluster API's drain; Karpenter's `IsDrainable`).
fn moves(maker: Maker, pod: &Pod) -> bool {
    let daemon = pod.controller().is_some_and(|owner| owner.kind == "DaemonSet");
    let mirror = pod.meta().annotations.contains_key("kubernetes.io/config.mirror");
    let skipped =
        maker == Maker::ClusterApi && pod.meta().labels.get(POD_DRAIN).is_some_and(|value| value == "skip");
    !(daemon || mirror || skipped || pod.finished())
}

/// Whether the pod is waited for and not evicted.
fn kept(machine: &Machine, pod: &Pod) -> bool {
    let asks = pod.meta().annotations.get(DO_NOT_DISRUPT).is_some_and(|value| value == "true");
    machine.maker == Maker::Karpenter && asks
}

/// Nothing new comes to a node that is being drained.
fn closed(maker: Maker, node: &Node) -> Option<Action> {
    match maker {
        Maker::ClusterApi => {
            (!node.spec.unschedulable).then(|| merge(&node.object, json!({"spec": {"unschedulable": true}})))
        }
        Maker::Karpenter => {
            let closed = node.spec.taints.iter().any(|taint| taint.key == DISRUPTED);
            let taint =
                Taint { key: DISRUPTED.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
            (!closed).then(|| Action::Taints {
                node: node.name().to_owned(),
                add: vec![taint],
                remove: Vec::new(),
            })
        }
    }
}
