//! The pod that sends a load. It is no fault, but what may be left behind of it is taken back as what faults leave is:
//! intended before it is made, marked with a scar in the write that makes it, found by that from any machine.
//!
//! It runs `firedrill send` and nothing else, holds no label of any application, and needs no privilege: Pod Security
//! `restricted` lets it in. The kubelet ends it when the run should long be over (`activeDeadlineSeconds`), whoever
//! lives by then.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, Prepare, Reverted, Right, World,
    decode, encode, node_scar, patiently,
};
use crate::{
    cluster::{Access, ApiError, RUN_LABEL, Write},
    types::{
        Finding, InjectionId, Length, ObjectRef,
        codes::guard,
        load::{SendOrder, SendReport},
    },
};

/// See [`INFO`].
pub struct LoadPod;

/// What a load with `from: Pod` makes.
pub static INFO: FaultInfo = FaultInfo {
    name: "loadPod",
    summary: "The pod that sends a load.",
    example: "",
    lifetime: Lifetime::Lasting,
    targets: &[],
    limits: &[],
    writes: &[],
    fields: &[],
    rights: &[
        right("get", "pods"),
        right("create", "pods"),
        right("delete", "pods"),
        right("get", "pods/log"),
    ],
    hazards: &[],
    agent: false,
};

const fn right(verb: &'static str, resource: &'static str) -> Right {
    Right { verb, group: "", resource, cluster_wide: false }
}

/// The label of such a pod; its value is the pod's name.
const LOAD: &str = "firedrill.dev/load";
/// How long it may take until it sends: its image may have to be pulled.
const BEGINS_WITHIN: Duration = Duration::from_secs(90);
/// Between two looks at it.
const LOOK: Duration = Duration::from_secs(1);
/// Looks whether it is gone, a quarter of a second apart.
const TRIES: usize = 20;
/// The user of the image, who is not root (the number that distroless images have).
const USER: u32 = 65532;

/// What is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    order: SendOrder,
    /// Variables of its environment, each with the Secret and the key that it comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<(String, String, String)>,
    image: String,
}

/// What is to go. Nothing of it was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    load: String,
}

/// What a pod is to be made for.
#[derive(Clone, Debug)]
pub struct LoadAsk<'a> {
    /// The load's name, or its step's.
    pub load: &'a str,
    /// Where.
    pub namespace: &'a str,
    /// What it is to send.
    pub order: SendOrder,
    /// Variables of its environment, each with the Secret and the key that it comes from.
    pub secrets: Vec<(String, String, String)>,
    /// The image of firedrill.
    pub image: &'a str,
    /// What tells this run's pods from those of others.
    pub nonce: &'a str,
    /// When everything should be over at the latest.
    pub until: Timestamp,
}

/// The pod for a load, as it is written down before it is made.
pub fn load_pod(ask: LoadAsk<'_>) -> Injection {
    let load: String = ask.load.chars().take(30).collect();
    let hash = crc32fast::hash(format!("{} {} {}", ask.load, ask.nonce, ask.until).as_bytes());
    let load = format!("{}-{hash:08x}", load.trim_end_matches(['-', '.']));
    let name = format!("firedrill-load-{load}");
    Injection {
        // No step is called so: a fault may have the name of a load.
        id: InjectionId::new(&format!("load_{load}"), 0),
        fault: INFO.name.to_owned(),
        target: ObjectRef::pod(ask.namespace, &name),
        action: encode(&Action { order: ask.order, secrets: ask.secrets, image: ask.image.to_owned() }),
        before: encode(&Mark { load: name }),
        displaced: Vec::new(),
        replicas_lost: 0,
        effect_within: Length(BEGINS_WITHIN),
        until: ask.until,
    }
}

/// The pod.
fn manifest(world: &World, injection: &Injection) -> Result<Value, FaultError> {
    let action: Action = decode(injection, &injection.action)?;
    let pod = &injection.target;
    let order = serde_json::to_string(&action.order).unwrap_or_default();
    let env = action.secrets.iter().map(|(variable, name, key)| {
        json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}})
    });
    let left = injection.until.duration_since(world.signature.at).as_secs();
    Ok(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod.name, "namespace": pod.namespace,
            "labels": {RUN_LABEL: world.signature.run, LOAD: pod.name},
            "annotations": {node_scar::annotation(&injection.id): node_scar::text(world, injection)},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": u64::try_from(left).unwrap_or(0).max(60),
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "load", "image": action.image, "args": ["send", order],
                "env": env.collect::<Vec<Value>>(),
                // A core sends ten thousand a second.
                "resources": {
                    "requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "2", "memory": "256Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    }))
}

/// Whether a pod, as it is now, is nothing but the sender of a load: what a scar may have deleted.
fn is_one(pod: &DynamicObject, injection: &Injection) -> bool {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(LOAD));
    let containers = pod.data["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
    label.is_some()
        && label == pod.metadata.name.as_ref()
        && injection.before["load"] == injection.target.name.as_str()
        && node_scar::on(pod, injection)
        && pod.data["spec"]["restartPolicy"] == "Never"
        && matches!(containers, [only] if only["args"][0] == "send")
}

/// Makes the pod, unless it is there.
async fn made(world: &World, injection: &Injection) -> Result<(), FaultError> {
    let (access, pod, manager) = (&world.access, &injection.target, node_scar::manager(world));
    let failed = || FaultError::api(format!("making {pod}"));
    let how = Write { manager: &manager, dry_run: false };
    match access.create(pod, manifest(world, injection)?, how).await {
        Ok(_) => Ok(()),
        Err(ApiError::AlreadyExists) => {
            let there = patiently(5, || access.get(pod)).await.map_err(failed())?;
            if is_one(&there, injection) {
                return Ok(());
            }
            Err(failed()(ApiError::Conflict("there is one of that name that is not ours".to_owned())))
        }
        Err(error) => Err(failed()(error)),
    }
}

/// Waits until it says that it sends.
async fn sending(world: &World, injection: &Injection) -> Result<(), FaultError> {
    let (access, pod) = (&world.access, &injection.target);
    let give_up = tokio::time::Instant::now() + BEGINS_WITHIN;
    let mut state = String::new();
    while tokio::time::Instant::now() < give_up {
        tokio::time::sleep(LOOK).await;
        match access.log(pod, 1).await {
            Ok(text) if text.lines().any(|line| serde_json::from_str::<SendReport>(line).is_ok()) => {
                return Ok(());
            }
            // ContainerCreating.
            Ok(_) | Err(ApiError::Invalid(_)) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(FaultError::api(format!("reading the log of {pod}"))(error)),
        }
        match access.get(pod).await {
            Ok(now) => {
                state = in_words(&now);
                if matches!(now.data["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
                    break;
                }
            }
            Err(ApiError::NotFound) => {
                state = "somebody has deleted it".to_owned();
                break;
            }
            Err(_) => {}
        }
    }
    let within = if tokio::time::Instant::now() < give_up {
        String::new()
    } else {
        format!(" within {}", Length(BEGINS_WITHIN))
    };
    let why = format!("the pod that is to send it did not begin{within}: {state}");
    Err(Finding::error(guard::NOT_REACHABLE, pod, why)
        .remedy("--image says which image to take; kubectl describe shows what keeps the pod from starting")
        .into())
}

/// Where a pod is, as far as its status says.
fn in_words(pod: &DynamicObject) -> String {
    let status = &pod.data["status"];
    let container = &status["containerStatuses"][0]["state"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let reason = ["waiting", "terminated"].iter().find_map(|state| text(&container[*state]["reason"]));
    let condition =
        status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "PodScheduled");
    let unscheduled =
        || condition.filter(|one| one["status"] == "False").and_then(|one| text(&one["message"]));
    let phase = || text(&status["phase"]).unwrap_or_else(|| "Unknown".to_owned());
    text(&status["reason"]).or(reason).or_else(unscheduled).unwrap_or_else(phase)
}

/// Deletes the pod, and sees that it is gone or going.
async fn gone(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    let pod = &injection.target;
    let mut done = None;
    for _ in 0..TRIES {
        let now = match world.access.get(pod).await {
            Ok(now) => now,
            Err(ApiError::NotFound) => return Ok(done.unwrap_or(Reverted::TargetGone)),
            Err(error) => return Err(FaultError::api(format!("reading {pod}"))(error)),
        };
        if !is_one(&now, injection) {
            let others =
                || Reverted::ChangedSince("the pod of that name is somebody else's; it stays".to_owned());
            return Ok(done.unwrap_or_else(others));
        }
        if done.is_some() {
            tokio::time::sleep(super::PAUSE).await;
        }
        let this = pod.clone().with_uid(now.metadata.uid.as_deref().unwrap_or_default());
        match world.access.delete(&this, false).await {
            Ok(()) => done = Some(Reverted::Restored("pod deleted".to_owned())),
            // Another of that name, or gone meanwhile: whoever looks again sees it.
            Err(ApiError::NotFound | ApiError::Conflict(_)) => {}
            Err(error) => return Err(FaultError::api(format!("deleting {pod}"))(error)),
        }
    }
    let why = ApiError::Conflict("it is still there".to_owned());
    Err(FaultError::api(format!("deleting {pod}"))(why))
}

impl Fault for LoadPod {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    /// Its injections come from loads, never from a step of its own.
    fn prepare(&self, _ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        Ok(Vec::new())
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let manager = node_scar::manager(world);
            let how = Write { manager: &manager, dry_run: true };
            let pod = manifest(world, injection)?;
            let made = world.access.create(&injection.target, pod, how).await;
            made.map(|_| ()).map_err(FaultError::api(format!("dry run of making {}", injection.target)))
        })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            made(world, injection).await?;
            sending(world, injection).await?;
            Ok(Injected::Done("it sends".to_owned()))
        })
    }

    fn observe<'a>(&'a self, _world: &'a World, _injection: &'a Injection) -> BoxFuture<'a, String> {
        // What it does is measured by the load's probes.
        Box::pin(std::future::pending())
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(gone(world, injection))
    }

    fn scars<'a>(
        &'a self,
        access: &'a Access,
        namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(async move {
            let mut found = Vec::new();
            for namespace in namespaces {
                for pod in access.list(&ObjectRef::pod(namespace, ""), LOAD).await? {
                    let text = |text: &Option<String>| text.clone().unwrap_or_default();
                    let metadata = &pod.metadata;
                    let target = ObjectRef::pod(&text(&metadata.namespace), &text(&metadata.name))
                        .with_uid(&text(&metadata.uid));
                    let valid = |before: &Value| {
                        let mark: Mark = serde_json::from_value(before.clone()).ok()?;
                        (mark.load == target.name).then(|| encode(&mark))
                    };
                    found.extend(node_scar::claims(metadata, &target, INFO.name, valid));
                }
            }
            Ok(found)
        })
    }
}
