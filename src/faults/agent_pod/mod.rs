//! Arming: an agent's pod on a node. No file names it; faults that need an agent bring it with them.
//!
//! It is an injection like any other, so that its intent is durable before it is made, and it is taken back, found by
//! its scar and cleared away by whoever comes after a crash, as everything is. It is placed before Baseline and goes
//! last. Deleting the pod takes back everything that the agent has in force, whatever became of it.

mod manifest;
mod policy;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::BoxFuture;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) use self::manifest::DELAY_MAX;
pub use self::policy::{manifests as agent_manifests, only_by as agents_only_by};
use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, Reverted, Right, World, decode,
    encode, node_scar, patiently,
};
use crate::{
    agent::wire::{Features, Order, Report},
    cluster::{Access, ApiError, OrderError, RUN_LABEL, Snapshot, Write},
    types::{
        AGENT_NAMESPACE, AGENT_POD, AgentSettings, Epoch, Finding, InjectionId, Length, ObjectRef, RunId,
        codes::{guard, on_node},
        planted,
    },
};

/// See the head of this file.
pub struct AgentPod;

/// What no file can name.
pub static INFO: FaultInfo = FaultInfo {
    name: "agentPod",
    summary: "An agent on a node, for the faults that need one.",
    example: "",
    lifetime: Lifetime::Lasting,
    targets: &[],
    limits: &[],
    writes: &[],
    agent: false,
    fields: &[],
    rights: &AGENT_RIGHTS,
    hazards: &[],
};

/// What placing and talking to agents takes, in their namespace.
pub const AGENT_RIGHTS: [Right; 6] = [
    right("get", "pods"),
    right("create", "pods"),
    right("delete", "pods"),
    right("get", "pods/attach"),
    right("create", "pods/attach"),
    right("get", "pods/log"),
];

const fn right(verb: &'static str, resource: &'static str) -> Right {
    Right { verb, group: "", resource, cluster_wide: false }
}

/// By which an agent's pod is known.
pub(super) const NAME_LABEL: (&str, &str) = ("app.kubernetes.io/name", "firedrill-agent");
/// The first part of the names of these injections. No step is called so: theirs are in lower case.
const ARMING: &str = "Agents";
/// How long an agent may take to be placed and to answer: its image may have to be pulled.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long one order may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long one that runs may leave a greeting unanswered.
const REACHED_WITHIN: Duration = Duration::from_secs(45);
/// How long its pod may take to go by itself: its own grace period, and what the kubelet takes.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Action {
    /// The node.
    node: String,
    image: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pull_secret: String,
    /// The targets there that are known already: it has to be able to enter each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pods: Vec<ObjectRef>,
}

/// What the scar of a pod says: the pod itself is all there is of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    node: String,
}

/// The agent's pod of a run on a node.
pub fn agent_of(run: &RunId, node: &str, namespace: &str) -> ObjectRef {
    let hash = crc32fast::hash(format!("{run} {node}").as_bytes());
    ObjectRef::pod(namespace, &format!("{AGENT_POD}{hash:08x}"))
}

/// What arming a run takes.
#[derive(Debug)]
pub struct Arm<'a> {
    /// The run.
    pub run: &'a RunId,
    /// How agents are placed.
    pub settings: &'a AgentSettings,
    /// The world.
    pub snapshot: &'a Snapshot,
    /// When everything should be undone at the latest.
    pub until: jiff::Timestamp,
    /// Nodes that have an agent already.
    pub armed: &'a BTreeSet<String>,
}

/// The agents that these injections need and that are not there yet. Pure.
pub fn arm(ask: &Arm<'_>, injections: &[Injection]) -> Vec<Injection> {
    let mut nodes: BTreeMap<String, Vec<ObjectRef>> = BTreeMap::new();
    for injection in injections {
        let needs = super::find(&injection.fault).is_some_and(|fault| fault.info().agent);
        let node = ask.snapshot.pod(&injection.target).map(|pod| pod.node.clone());
        if let Some(node) = node.filter(|node| needs && !node.is_empty() && !ask.armed.contains(node)) {
            nodes.entry(node).or_default().push(injection.target.clone());
        }
    }
    arm_nodes(ask, nodes)
}

/// Agents on these nodes, each with the pods that it has to be able to enter. Pure.
pub fn arm_nodes(ask: &Arm<'_>, nodes: BTreeMap<String, Vec<ObjectRef>>) -> Vec<Injection> {
    let numbered = nodes.into_iter().zip(ask.armed.len()..);
    let armed = numbered.map(|((node, pods), number)| Injection {
        id: InjectionId::new(ARMING, number),
        fault: INFO.name.to_owned(),
        target: agent_of(ask.run, &node, &ask.settings.namespace),
        action: encode(&Action {
            node: node.clone(),
            image: ask.settings.image.clone(),
            pull_secret: ask.settings.pull_secret.clone(),
            pods,
        }),
        before: encode(&Mark { node }),
        displaced: Vec::new(),
        replicas_lost: 0,
        effect_within: Length(READY_WITHIN),
        until: ask.until,
    });
    armed.collect()
}

/// The node that an injection puts an agent on.
pub fn armed_node(injection: &Injection) -> Option<String> {
    let action: Action =
        (injection.fault == INFO.name).then(|| decode(injection, &injection.action).ok())??;
    Some(action.node)
}

/// The pod that an injection of this kind makes, for a run and an epoch; None for any other.
pub fn agent_pod_of(injection: &Injection, run: &RunId, epoch: Epoch) -> Option<Value> {
    let action: Action =
        (injection.fault == INFO.name).then(|| decode(injection, &injection.action).ok())??;
    Some(manifest::manifest(&manifest::Ask {
        pod: &injection.target,
        action: &action,
        run: run.as_str(),
        epoch,
        scar: (&node_scar::annotation(&injection.id), "{}"),
        deadline: 60,
    }))
}

fn pod(world: &World, injection: &Injection, action: &Action) -> Value {
    let (key, scar) = (node_scar::annotation(&injection.id), node_scar::text(world, injection));
    let left = injection.until.duration_since(world.signature.at).as_secs();
    manifest::manifest(&manifest::Ask {
        pod: &injection.target,
        action,
        run: world.signature.run.as_str(),
        epoch: world.signature.epoch,
        scar: (&key, &scar),
        deadline: u64::try_from(left).unwrap_or(0).max(60),
    })
}

/// Makes the pod, or finds it made.
async fn place(world: &World, injection: &Injection, action: &Action) -> Result<(), FaultError> {
    let (access, target) = (&world.access, &injection.target);
    let failed = || FaultError::api(format!("making {target}"));
    let manager = node_scar::manager(world);
    let how = Write { manager: &manager, dry_run: false };
    match access.create(target, pod(world, injection, action), how).await {
        Ok(_) => Ok(()),
        Err(ApiError::AlreadyExists) => {
            let there = patiently(5, || access.get(target)).await.map_err(failed())?;
            if manifest::is_one(&there, world.signature.run.as_str()) {
                return Ok(());
            }
            Err(failed()(ApiError::Conflict("there is one of that name that is not ours".to_owned())))
        }
        Err(error) => Err(failed()(error)),
    }
}

/// Why an agent's pod will never run, if its kubelet says so.
fn hopeless(pod: &DynamicObject, action: &Action) -> Option<Finding> {
    let status = &pod.data["status"];
    let waiting = &status["containerStatuses"][0]["state"]["waiting"];
    let reason = waiting["reason"].as_str().or(status["reason"].as_str()).unwrap_or_default();
    let said = waiting["message"].as_str().or(status["message"].as_str()).unwrap_or_default();
    let node = &action.node;
    let refused = |why: String, remedy: String| {
        Some(Finding::error(on_node::AGENT, format!("node/{node}"), why).remedy(remedy))
    };
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => refused(
            format!("the agent's image {} cannot be had there: {reason}: {said}", action.image),
            "mirror it and name it with --agent-image, with --agent-pull-secret where it takes one"
                .to_owned(),
        ),
        "CreateContainerError" | "CreateContainerConfigError" | "RunContainerError" => refused(
            format!("the agent's container cannot be started there: {reason}: {said}"),
            "kubectl describe the pod that it names; firedrill doctor tries each node by itself".to_owned(),
        ),
        _ if status["phase"] == "Failed" || status["phase"] == "Succeeded" => refused(
            format!("the agent there has ended before anything was asked of it: {reason} {said}"),
            "look at the log of its pod; firedrill doctor tries each node by itself".to_owned(),
        ),
        _ => None,
    }
}

/// Waits until it runs and answers.
async fn ready(world: &World, injection: &Injection, action: &Action) -> Result<Features, FaultError> {
    let target = &injection.target;
    let mut running_since = None;
    loop {
        let now = patiently(5, || world.access.get(target)).await;
        let now = now.map_err(FaultError::api(format!("reading {target}")))?;
        if let Some(finding) = hopeless(&now, action) {
            return Err(finding.into());
        }
        if now.data["status"]["phase"] == "Running" {
            match world.agents.order(target, Order::Hello, ANSWER).await {
                Ok(Report::Ready { features, .. }) => return Ok(features),
                Err(OrderError::Unanswered(_, why)) => {
                    let since = *running_since.get_or_insert_with(tokio::time::Instant::now);
                    if since.elapsed() >= REACHED_WITHIN {
                        return Err(out_of_reach(action, &why).into());
                    }
                }
                Ok(other) => return Err(unexpected(target, &other)),
                Err(error) => return Err(FaultError::agent(format!("greeting {target}"))(error)),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// That an agent runs and nobody gets to it.
fn out_of_reach(action: &Action, why: &str) -> Finding {
    let why = format!("the agent there runs, and orders do not get to it by pods/attach: {why}");
    let remedy = "kubectl attach of its pod takes the same way: look at the rights, at what is between here and the API server (websockets), and between it and the kubelet";
    Finding::error(on_node::AGENT, format!("node/{}", action.node), why).remedy(remedy)
}

pub(super) fn unexpected(agent: &ObjectRef, report: &Report) -> FaultError {
    FaultError::Api {
        what: format!("an order to {agent}"),
        source: ApiError::Malformed(format!("it answers with {report:?}")),
    }
}

/// What a node lacks for disturbing the network of its pods.
fn lacking(action: &Action, features: &Features) -> Option<Finding> {
    let lack = features.lacking.first();
    (!features.network()).then(|| {
        let why = lack.map_or_else(
            || "its kernel has no NFQUEUE".to_owned(),
            |lack| format!("it lacks {}: {}", lack.what, lack.why),
        );
        let remedy = lack.map_or_else(String::new, |lack| lack.remedy.to_string());
        Finding::error(on_node::AGENT_KERNEL, format!("node/{}", action.node), why).remedy(remedy)
    })
}

/// Enters every target that is known already.
async fn enter(world: &World, injection: &Injection, action: &Action) -> Result<usize, FaultError> {
    let mut entered = 0;
    for pod in &action.pods {
        let order = Order::Enter { pod: pod.uid.clone() };
        match world.agents.order(&injection.target, order, ANSWER).await {
            Ok(Report::Entered { .. }) => entered += 1,
            // Gone since: whoever is hit in the end is chosen when the step begins.
            Err(OrderError::Refused(refusal))
                if refusal.code == crate::agent::wire::RefusalCode::NoSuchPod => {}
            Ok(other) => return Err(unexpected(&injection.target, &other)),
            Err(error) => return Err(FaultError::agent(format!("entering {pod}"))(error)),
        }
    }
    Ok(entered)
}

/// Deletes the pod, and waits until it is gone. One whose node does not answer is taken out of the API by force once
/// its agent has certainly ended by itself.
async fn remove(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    let (access, target) = (&world.access, &injection.target);
    let run = world.signature.run.as_str();
    let give_up = tokio::time::Instant::now() + GONE_WITHIN;
    let mut asked = false;
    loop {
        let now = match access.get(target).await {
            Ok(now) => now,
            Err(ApiError::NotFound) if asked => {
                return Ok(Reverted::Restored("its pod is deleted and gone".to_owned()));
            }
            Err(ApiError::NotFound) => return Ok(Reverted::NothingToDo("there is no such pod".to_owned())),
            Err(error) => return Err(FaultError::api(format!("reading {target}"))(error)),
        };
        if !manifest::is_one(&now, run) {
            let theirs = "the pod of that name is somebody else's; it stays".to_owned();
            return Ok(Reverted::ChangedSince(theirs));
        }
        let late = tokio::time::Instant::now() >= give_up;
        if !asked || late {
            let pinned = target.clone().with_uid(now.metadata.uid.as_deref().unwrap_or_default());
            let deleted = if late {
                access.delete_pod(&pinned, Duration::ZERO, false).await
            } else {
                access.delete(&pinned, false).await
            };
            match deleted {
                Ok(()) | Err(ApiError::NotFound | ApiError::Conflict(_)) => asked = true,
                Err(error) => return Err(FaultError::api(format!("deleting {target}"))(error)),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Fault for AgentPod {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &super::Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let why = "no step arms by itself";
        Err(vec![Finding::error(guard::FIELDS, format!("step {}", ask.step), why)])
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let action: Action = decode(injection, &injection.action)?;
            let (target, how) = (&injection.target, Write { manager: "", dry_run: true });
            let namespace = &target.namespace;
            match world.access.create(target, pod(world, injection, &action), how).await {
                Ok(_) => Ok(()),
                Err(error) => Err(admission(namespace, &error).into()),
            }
        })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let action: Action = decode(injection, &injection.action)?;
            place(world, injection, &action).await?;
            let features = ready(world, injection, &action).await?;
            if let Some(finding) = lacking(&action, &features) {
                return Err(finding.into());
            }
            let entered = enter(world, injection, &action).await?;
            let targets = crate::types::counted(entered, "target");
            let kernel = &features.kernel;
            Ok(Injected::Done(format!(
                "agent on node {}, Linux {kernel}; it can enter {targets}",
                action.node
            )))
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            loop {
                let answer = world.agents.order(&injection.target, Order::Hello, ANSWER).await;
                if let Ok(Report::Ready { agent_version, .. }) = answer {
                    return format!("firedrill-agent {agent_version} answers");
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(async move {
            if planted("agents-stay") {
                return Ok(Reverted::Restored("its pod is deleted and gone".to_owned()));
            }
            let outcome = remove(world, injection).await?;
            world.agents.close(&injection.target);
            Ok(outcome)
        })
    }

    fn scars<'a>(
        &'a self,
        access: &'a Access,
        namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(find_scars(access, namespaces))
    }
}

/// Why the API server does not take an agent's pod, and what helps.
pub(super) fn admission(namespace: &str, error: &ApiError) -> Finding {
    let subject = format!("namespace/{namespace}");
    let make = format!("firedrill agents manifests --agent-namespace {namespace} | kubectl apply -f -");
    match error {
        ApiError::NotFound => {
            Finding::error(guard::AGENT_NAMESPACE, subject, "it is where agents run, and it is not there")
                .remedy(format!("{make}, or name another with --agent-namespace"))
        }
        error => Finding::error(
            guard::AGENT_NAMESPACE,
            subject,
            format!("it refuses the agent's pod: {error}"),
        )
        .remedy(format!(
            "kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged, or {make}"
        )),
    }
}

/// Agents that carry their scar.
async fn find_scars(access: &Access, namespaces: &[String]) -> Result<Vec<Found>, ApiError> {
    let mut found = Vec::new();
    // Who may not look everywhere looks where agents usually are, beside their own.
    let everywhere = namespaces.iter().any(String::is_empty);
    let usual =
        (!everywhere && !namespaces.iter().any(|one| one == AGENT_NAMESPACE)).then_some(AGENT_NAMESPACE);
    for namespace in namespaces.iter().map(String::as_str).chain(usual) {
        found.extend(agents_left(access, namespace).await?);
    }
    Ok(found)
}

/// The agents in a namespace that carry their scar.
///
/// # Errors
/// The API server's.
pub async fn agents_left(access: &Access, namespace: &str) -> Result<Vec<Found>, ApiError> {
    let valid = |before: &Value| {
        let mark = serde_json::from_value::<Mark>(before.clone()).ok()?;
        Some(json!({"node": mark.node, "image": ""}))
    };
    let like = ObjectRef::pod(namespace, "");
    let selector = format!("{RUN_LABEL},{}={}", NAME_LABEL.0, NAME_LABEL.1);
    let mut found = Vec::new();
    for object in access.list(&like, &selector).await? {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let metadata = &object.metadata;
        let target =
            ObjectRef::pod(&text(&metadata.namespace), &text(&metadata.name)).with_uid(&text(&metadata.uid));
        found.extend(node_scar::claims(metadata, &target, INFO.name, valid));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
