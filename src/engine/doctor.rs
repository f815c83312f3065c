//! Whether agents can do their work here: one is placed on each node, enters a pod, changes nothing, and goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use serde::Serialize;

use super::{
    assess::{blind, world},
    unwind,
};
use crate::{
    agent::wire::{Features, Order, Report},
    cluster::{Access, ApiError, Identity, Node, Snapshot},
    env::{Env, Rng},
    faults::{self, Arm, Injection, Signature, World},
    types::{AgentSettings, Epoch, Finding, ObjectRef, RunId, codes::guard as code},
};

/// How long the agents may stay, whatever becomes of this process.
const STAY: Duration = Duration::from_secs(300);
/// How long one order may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What was found out about a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Examined {
    /// The node.
    pub node: String,
    /// What its kernel has, if an agent could be placed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// The pod that was entered; None where there was none to enter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entered: Option<ObjectRef>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Looks at each of these nodes, or at all that are ready. Leaves nothing behind.
///
/// # Errors
/// What stands in the way of even looking.
pub async fn examine(
    env: &Env,
    settings: &AgentSettings,
    nodes: &[String],
    by: &Identity,
) -> Result<Vec<Examined>, ApiError> {
    let access = Access::new(env.kube.clone());
    let known = ready_nodes(&access, nodes).await?;
    let pods = pods_to_enter(&access, settings).await?;
    let now = env.clock.now();
    let entropy =
        Rng::new(env.rng.seed()).stream("doctor").word() ^ now.as_nanosecond().unsigned_abs() as u64;
    let (run, epoch) = (RunId::new("doctor", entropy), Epoch(1));
    let mirror = blind(&access).await?;
    let signature = Signature { run: run.clone(), epoch, by: by.name.clone(), at: now };
    let world = world(env, access, mirror, signature);
    let ask = Arm {
        run: &run,
        settings,
        snapshot: &Snapshot::default(),
        until: now.checked_add(STAY).unwrap_or(jiff::Timestamp::MAX),
        armed: &BTreeSet::new(),
    };
    let wanted = known.iter().map(|node| (node.clone(), pods.get(node).cloned().into_iter().collect()));
    let injections = faults::arm_nodes(&ask, wanted.collect());
    let looks = injections.into_iter().map(|injection| look(world.clone(), injection, &pods));
    Ok(join_all(looks).await)
}

/// Nodes by name; without names, those that are ready and run Linux.
async fn ready_nodes(access: &Access, names: &[String]) -> Result<Vec<String>, ApiError> {
    if !names.is_empty() {
        return Ok(names.to_vec());
    }
    let nodes = access.list(&ObjectRef::node(""), "kubernetes.io/os!=windows").await?;
    let ready = nodes.iter().filter_map(Node::of).filter(|node| node.ready);
    Ok(ready.map(|node| node.object.name).collect())
}

/// A running pod of each node that has a network of its own.
async fn pods_to_enter(
    access: &Access,
    settings: &AgentSettings,
) -> Result<BTreeMap<String, ObjectRef>, ApiError> {
    let mut found = BTreeMap::new();
    for pod in access.list(&ObjectRef::pod("", ""), "").await? {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let namespace = text(&pod.metadata.namespace);
        let fits = pod.data["status"]["phase"] == "Running"
            && pod.data["spec"]["hostNetwork"] != true
            && namespace != settings.namespace;
        if let Some(node) = pod.data["spec"]["nodeName"].as_str().filter(|_| fits) {
            let object = ObjectRef::pod(&namespace, &text(&pod.metadata.name));
            let object = object.with_uid(&text(&pod.metadata.uid));
            found.entry(node.to_owned()).or_insert(object);
        }
    }
    Ok(found)
}

/// One node, and gone again.
async fn look(world: World, injection: Injection, pods: &BTreeMap<String, ObjectRef>) -> Examined {
    let node = faults::armed_node(&injection).unwrap_or_default();
    let mut examined = Examined { node, features: None, entered: None, findings: Vec::new() };
    let subject = format!("node/{}", examined.node);
    let wrong = |why: String| Finding::error(code::AGENT, &subject, why);
    let Some(fault) = faults::find(&injection.fault) else { return examined };
    match tokio::time::timeout(injection.effect_within.0, fault.inject(&world, &injection)).await {
        Ok(Ok(_)) => examined.entered = pods.get(&examined.node).cloned(),
        Ok(Err(faults::FaultError::Refused(finding))) => examined.findings.push(*finding),
        Ok(Err(error)) => examined.findings.push(wrong(error.to_string())),
        Err(_) => {
            examined.findings.push(wrong(format!("no agent was ready after {}", injection.effect_within)))
        }
    }
    if world.agents.talks_to(&injection.target)
        && let Ok(Report::Ready { features, .. }) =
            world.agents.order(&injection.target, Order::Hello, ANSWER).await
    {
        let lacks = features.lacking.iter();
        examined.findings.extend(lacks.map(|lack| {
            let why = format!("it lacks {}: {}", lack.what, lack.why);
            Finding::warning(code::AGENT_KERNEL, &subject, why).remedy(lack.remedy.to_string())
        }));
        examined.features = Some(features);
    }
    let gone = unwind::revert(world, injection.clone(), 1).await;
    if let Err(why) = gone.outcome() {
        let finding = wrong(format!("its agent could not be taken away: {why}"));
        examined.findings.push(finding.remedy("firedrill rollback, when the API server answers again"));
    }
    // Said twice otherwise: by the agent as what is missing, and as why it cannot be used.
    examined.findings.sort_by(|one, other| (&one.code, &one.message).cmp(&(&other.code, &other.message)));
    examined.findings.dedup_by(|one, other| one.code == other.code && one.message == other.message);
    examined
}
