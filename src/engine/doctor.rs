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
    types::{AgentSettings, Epoch, Finding, ObjectRef, RunId, codes::on_node, nearest},
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
    let (known, missing) = ready_nodes(&access, nodes).await?;
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
    Ok(missing.into_iter().chain(join_all(looks).await).collect())
}

/// Nodes by name, and what is to be said of those that are not there; without names, those that are ready and run
/// Linux.
async fn ready_nodes(access: &Access, names: &[String]) -> Result<(Vec<String>, Vec<Examined>), ApiError> {
    let listed = access.list(&ObjectRef::node(""), "").await;
    if names.is_empty() {
        let nodes: Vec<Node> = listed?.iter().filter_map(Node::of).collect();
        let linux = |node: &Node| node.labels.get("kubernetes.io/os").is_none_or(|os| os == "linux");
        let ready = nodes.into_iter().filter(|node| node.ready && linux(node));
        return Ok((ready.map(|node| node.object.name).collect(), Vec::new()));
    }
    // Who may not list them is told by the agent's pod that gets nowhere.
    let Ok(listed) = listed else { return Ok((names.to_vec(), Vec::new())) };
    let there: Vec<String> = listed.iter().filter_map(|node| node.metadata.name.clone()).collect();
    let (known, unknown) = names.iter().cloned().partition(|name| there.contains(name));
    let missing = |name: String| {
        let why = format!("there is no node {name}; there are {}", there.join(", "));
        let near = nearest(&name, there.iter().map(String::as_str));
        let remedy = near.map_or("name one of those".to_owned(), |near| format!("did you mean {near}?"));
        let finding = Finding::error(on_node::AGENT, format!("node/{name}"), why).remedy(remedy);
        Examined { node: name, features: None, entered: None, findings: vec![finding] }
    };
    let unknown: Vec<String> = unknown;
    Ok((known, unknown.into_iter().map(missing).collect()))
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
    let wrong = |why: String, remedy: String| Finding::error(on_node::AGENT, &subject, why).remedy(remedy);
    let placed = format!("kubectl get pods,events -n {}", injection.target.namespace);
    let Some(fault) = faults::find(&injection.fault) else { return examined };
    // Whether its pod is let in at all is known, with what helps, before one is made.
    if let Err(Ok(refusals)) = fault.rehearse(&world, &injection).await.map_err(faults::FaultError::refusals)
    {
        examined.findings = refusals;
        return examined;
    }
    match tokio::time::timeout(injection.effect_within.0, fault.inject(&world, &injection)).await {
        Ok(Ok(_)) => examined.entered = pods.get(&examined.node).cloned(),
        Ok(Err(faults::FaultError::Refused(findings))) => examined.findings.extend(findings),
        Ok(Err(error)) => {
            let remedy =
                format!("firedrill doctor --node {} once more; if it stays so, {placed}", examined.node);
            examined.findings.push(wrong(error.about(&injection.target), remedy));
        }
        Err(_) => {
            let why = format!("no agent was ready after {}", injection.effect_within);
            let remedy = format!("{placed} while it is tried shows what its pod waits for");
            examined.findings.push(wrong(why, remedy));
        }
    }
    if world.agents.talks_to(&injection.target)
        && let Ok(Report::Ready { features, .. }) =
            world.agents.order(&injection.target, Order::Hello, ANSWER).await
    {
        let lacks = features.lacking.iter();
        examined.findings.extend(lacks.map(|lack| {
            let why = format!("it lacks {}: {}", lack.what, lack.why);
            Finding::warning(on_node::AGENT_KERNEL, &subject, why).remedy(lack.remedy.to_string())
        }));
        examined.features = Some(features);
    }
    let gone = unwind::revert(world, injection.clone(), 1).await;
    if let Err(why) = gone.outcome() {
        let remedy = "firedrill rollback, when the API server answers again".to_owned();
        examined.findings.push(wrong(format!("its agent could not be taken away: {why}"), remedy));
    }
    // Said twice otherwise: by the agent as what is missing, and as why it cannot be used.
    examined.findings.sort_by(|one, other| (&one.code, &one.message).cmp(&(&other.code, &other.message)));
    examined.findings.dedup_by(|one, other| one.code == other.code && one.message == other.message);
    examined
}
