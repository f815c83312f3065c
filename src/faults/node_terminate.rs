//! `nodeTerminate`: machines ended for good, by whoever owns them.
//!
//! A deleted Node object comes back with the next heartbeat of its kubelet, so what is deleted is the object that
//! stands for the machine: a `Machine` of Cluster API or a `NodeClaim` of Karpenter ([`crate::cluster::Machine`] says
//! how it is found). Its owner then drains the node, ends the machine, takes the Node away and brings another one;
//! nothing of that can be called back, and nothing has to be put back.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Fault, FaultError, FaultInfo, Injected, Injection, Lifetime, LimitKind, Prepare, Right, TargetKind,
    World, decode, encode,
    nodes::{self, Change},
    pods, vacate,
};
use crate::{
    cluster::{Drain, Machine, Node, Pod, Snapshot, Unowned},
    types::{
        Finding, Length, ObjectRef,
        codes::{guard, hazard},
    },
};

/// See [`INFO`].
pub struct NodeTerminate;

/// The Machine or NodeClaim behind a node is deleted by UID; its owner does the rest.
pub static INFO: FaultInfo = FaultInfo {
    name: "nodeTerminate",
    summary: "End the machines behind nodes by deleting their Machine (Cluster API) or NodeClaim (Karpenter); whoever owns them has to replace them.",
    example: "name: lose-a-machine\ntarget: {nodes: {matchLabels: {pool: general}}, count: 1}\nnodeTerminate: {}\n",
    lifetime: Lifetime::Instant,
    targets: &[TargetKind::Nodes, TargetKind::NodesRunning, TargetKind::Zone],
    limits: &[LimitKind::Nodes, LimitKind::Pods],
    writes: &[],
    agent: false,
    fields: &[],
    rights: &[
        Right { verb: "list", group: "cluster.x-k8s.io", resource: "machines", cluster_wide: true },
        Right { verb: "watch", group: "cluster.x-k8s.io", resource: "machines", cluster_wide: true },
        Right { verb: "get", group: "cluster.x-k8s.io", resource: "machines", cluster_wide: true },
        Right { verb: "delete", group: "cluster.x-k8s.io", resource: "machines", cluster_wide: true },
        Right { verb: "list", group: "karpenter.sh", resource: "nodeclaims", cluster_wide: true },
        Right { verb: "watch", group: "karpenter.sh", resource: "nodeclaims", cluster_wide: true },
        Right { verb: "get", group: "karpenter.sh", resource: "nodeclaims", cluster_wide: true },
        Right { verb: "delete", group: "karpenter.sh", resource: "nodeclaims", cluster_wide: true },
    ],
    hazards: &[hazard::PDB_BYPASSED],
};

/// How long the owner may take to drain, as long as `nodeDrain` gives budgets by default; and then to end the machine
/// and to take its Node away, for which clouds take some minutes.
const DRAINED_WITHIN: Duration = Duration::from_secs(600);
const ENDED_WITHIN: Duration = Duration::from_secs(300);

/// The fields, as in the file: none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {}

/// What is done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Action {
    /// The Machine or NodeClaim, pinned.
    machine: ObjectRef,
    /// How its owner empties the node.
    drain: Drain,
    /// UIDs of the pods that a drain passes over: they end with the machine.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    passed_over: BTreeSet<String>,
}

impl Fault for NodeTerminate {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let Params {} = super::params(ask)?;
        nodes::each(ask, INFO.name, |node| {
            let machine =
                ask.snapshot.machine_behind(node).map_err(|why| vec![unowned(&node.object, why)])?;
            let leaving = vacate::leaving(ask.snapshot, &node.object.name);
            let mut findings = refusals(node, machine, &leaving);
            findings.extend(killed_bystanders(ask, machine, &leaving));
            if !findings.is_empty() {
                return Err(findings);
            }
            let passed_over = leaving.iter().filter(|pod| machine.passes_over(pod));
            let action = Action {
                machine: machine.object.clone(),
                drain: machine.drain,
                passed_over: passed_over.map(|pod| pod.object.uid.clone()).collect(),
            };
            Ok(Change {
                action: encode(&action),
                before: Value::Null,
                displaced: leaving.iter().map(|pod| pod.object.clone()).collect(),
                effect_within: Length(drained_within(machine.drain) + ENDED_WITHIN),
            })
        })
    }

    fn evicts(&self, injection: &Injection, pod: &ObjectRef) -> bool {
        decode::<Action>(injection, &injection.action).is_ok_and(|action| {
            action.drain == Drain::WithinBudgets && !action.passed_over.contains(&pod.uid)
        })
    }

    fn forewarn(&self, snapshot: &Snapshot, injection: &Injection) -> Vec<Finding> {
        let machine = snapshot.node(&injection.target.name).map(|node| snapshot.machine_behind(node));
        let Some(Ok(machine)) = machine else { return Vec::new() };
        vec![Finding::warning(hazard::MACHINE_ENDS, &injection.target, course(machine))]
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let action: Action = decode(injection, &injection.action)?;
            let asked = world.access.delete(&action.machine, true).await;
            asked.map_err(FaultError::api(format!("dry run of deleting {}", action.machine)))
        })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let machine = decode::<Action>(injection, &injection.action)?.machine;
            let said = format!("{machine} deleted");
            pods::deleted(world, &machine, said, || world.access.delete(&machine, false)).await
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let machine = decode::<Action>(injection, &injection.action).ok().map(|action| action.machine);
            world.mirror.wait_for(|snapshot| ended(snapshot, injection, machine.as_ref())).await
        })
    }
}

/// What is seen when the machine has ended: its Node gone, or, where the owner could not delete that, not ready and
/// without a machine; and nothing that ran there left to be sent requests.
fn ended(snapshot: &Snapshot, injection: &Injection, machine: Option<&ObjectRef>) -> Option<String> {
    let target = &injection.target;
    let node = snapshot.node(&target.name).filter(|node| node.object.uid == target.uid);
    let how = match node {
        None => "its Node is gone by UID",
        Some(node) if !node.ready && machine.is_some_and(|machine| !is_there(snapshot, machine)) => {
            "its machine is gone by UID, and its Node is not ready"
        }
        Some(_) => return None,
    };
    let left = |pod: &ObjectRef| snapshot.pod(pod).is_some() || snapshot.serves(&pod.namespace, &pod.uid);
    if injection.displaced.iter().any(left) {
        return None;
    }
    Some(match injection.displaced.len() {
        0 => how.to_owned(),
        pods => format!("{how}; the {pods} pods that ran there are gone by UID and from all endpoints"),
    })
}

fn is_there(snapshot: &Snapshot, machine: &ObjectRef) -> bool {
    let key = (machine.namespace.clone(), format!("{}/{}", machine.kind, machine.name));
    snapshot.machines.get(&key).is_some_and(|found| found.object.uid == machine.uid)
}

fn drained_within(drain: Drain) -> Duration {
    match drain {
        Drain::WithinBudgets => DRAINED_WITHIN,
        Drain::AtMost(length) => length.0.min(DRAINED_WITHIN),
        Drain::Skipped => Duration::ZERO,
    }
}

/// Why there is no machine to end.
fn unowned(node: &ObjectRef, why: Unowned) -> Finding {
    match why {
        Unowned::Unmarked => {
            let why = "neither Cluster API nor Karpenter owns its machine, and deleting the Node alone would end nothing";
            Finding::error(guard::NO_MACHINE, node, why)
                .remedy("nodeDrain empties it; end the machine itself by the cloud's own means")
        }
        Unowned::NotServed { kind } => {
            let why = format!("its {kind} is not served by this API server");
            Finding::error(guard::NO_MACHINE, node, why).remedy(
                "end it where its object lives, such as in the management cluster; nodeDrain empties it here",
            )
        }
        Unowned::Disagrees(why) => Finding::error(guard::OTHER_MACHINE, node, why)
            .remedy("choose another node, or see which of the two is out of date: firedrill explain FD3042"),
    }
}

/// What speaks against ending this machine, budgets and limits aside.
fn refusals(node: &Node, machine: &Machine, leaving: &[Arc<Pod>]) -> Vec<Finding> {
    let of = &machine.object;
    let mut findings = vacate::bare(&node.object, leaving);
    if machine.control_plane && !node.control_plane() {
        let why = format!("{of} is one of the control plane");
        findings.push(Finding::error(guard::CONTROL_PLANE, &node.object, why).remedy("choose other nodes"));
    }
    if machine.terminating {
        let why = format!("{of} is being deleted already");
        findings.push(Finding::error(guard::NO_CHANGE, &node.object, why).remedy("choose another node"));
    }
    if machine.pool.is_none() {
        let why = format!("no controller owns {of}, so nothing would bring another machine");
        findings.push(
            Finding::error(guard::NOT_REPLACED, &node.object, why)
                .remedy("choose nodes of a MachineSet or a NodePool"),
        );
    }
    for pod in leaving.iter().filter(|pod| machine.kept_by(pod)) {
        let why = format!(
            "it carries karpenter.sh/do-not-disrupt and {of} has no terminationGracePeriod: its node would be drained for ever"
        );
        findings.push(
            Finding::error(guard::MACHINE_KEPT, &pod.object, why)
                .remedy("choose another node, or give the NodePool a terminationGracePeriod"),
        );
    }
    findings
}

/// Pods of those who have agreed to evictions only, and that would not be evicted.
fn killed_bystanders(ask: &Prepare<'_>, machine: &Machine, leaving: &[Arc<Pod>]) -> Vec<Finding> {
    let evicted = |pod: &Pod| machine.drain == Drain::WithinBudgets && !machine.passes_over(pod);
    let killed = leaving
        .iter()
        .filter(|pod| ask.bystanders.contains(&pod.object.namespace) && !evicted(pod))
        .map(|pod| {
            let why = format!(
                "{} does not wait for its budgets, and namespace {} has agreed to evictions only",
                machine.object, pod.object.namespace
            );
            Finding::error(guard::BYSTANDER, &pod.object, why)
                .remedy("choose nodes without it, or ask for the namespace's consent")
        });
    killed.collect()
}

/// How a machine goes and another one comes, in words, for the plan.
fn course(machine: &Machine) -> String {
    let of = &machine.object;
    let first = match machine.drain {
        Drain::WithinBudgets => {
            "its owner drains the node first, within all budgets and for as long as they take".to_owned()
        }
        Drain::AtMost(length) if length.is_zero() => "its owner does not wait for pods or budgets".to_owned(),
        Drain::AtMost(length) => {
            format!(
                "its owner drains the node first, within budgets for {length} and against them after that"
            )
        }
        Drain::Skipped => "its owner does not drain the node first".to_owned(),
    };
    let hooks = match &machine.hooks[..] {
        [] => String::new(),
        hooks => format!("; it waits until somebody takes away {}", hooks.join(" and ")),
    };
    let next = match &machine.pool {
        Some(pool) if machine.karpenter() => {
            format!(
                "NodePool {} brings another when pods need one, or at once if it has spec.replicas",
                pool.name
            )
        }
        Some(pool) => format!("{} {} brings another", pool.kind, pool.name),
        None => "nobody brings another".to_owned(),
    };
    format!("{of} is deleted, and an abort does not call that back: {first}{hooks}; {next}")
}
