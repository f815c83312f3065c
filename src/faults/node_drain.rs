//! `nodeDrain`: a node cordoned and its pods evicted, as maintenance and autoscalers do.

use std::{sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};
use kube::api::{DynamicObject, ListParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, decode, encode,
    field::{self, Change, Next, TRIES},
    patiently,
};
use crate::{
    cluster::{
        Access, ApiError, JsonPatch, Node, Pod, RUN_LABEL, Scar, Snapshot, UNDO_PREFIX, Write, manages,
    },
    types::{FieldSchema, Finding, InjectionId, Length, ObjectRef, codes::guard, planted},
};

/// See [`INFO`].
pub struct NodeDrain;

/// A node is cordoned and its pods are evicted in step with every PodDisruptionBudget.
pub static INFO: FaultInfo = FaultInfo {
    name: "nodeDrain",
    summary: "Cordon nodes and evict their pods in step with every PodDisruptionBudget; uncordon afterwards.",
    example: "name: lose-a-node\ntarget: {nodes: {matchLabels: {pool: general}}, count: 1}\nnodeDrain: {}\nduration: 2m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Nodes, TargetKind::NodesRunning, TargetKind::Zone],
    limits: &[LimitKind::Nodes, LimitKind::Pods],
    fields: &[
        FieldSchema {
            name: "gracePeriod",
            description: "How long the containers have to end by themselves. Default: what each pod asks for.",
            required: false,
            default: None,
            schema: "duration",
        },
        FieldSchema {
            name: "deadline",
            description: "How long the evictions may take in all; after it the drain has not taken effect.",
            required: false,
            default: Some("10m"),
            schema: "duration",
        },
        FieldSchema {
            name: "emptyDirData",
            description: "Whether pods with emptyDir volumes, whose data is lost, are evicted (Delete) or refuse the drain (Refuse).",
            required: false,
            default: Some("Refuse"),
            schema: r#"{"type":"string","enum":["Refuse","Delete"]}"#,
        },
    ],
    rights: &[
        Right { verb: "patch", group: "", resource: "nodes", cluster_wide: true },
        Right { verb: "get", group: "", resource: "nodes", cluster_wide: true },
        Right { verb: "create", group: "", resource: "pods/eviction", cluster_wide: true },
    ],
    hazards: &[],
};

/// The fields, as in the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    grace_period: Option<Length>,
    #[serde(default = "ten_minutes")]
    deadline: Length,
    #[serde(default)]
    empty_dir_data: EmptyDirData,
}

fn ten_minutes() -> Length {
    Length::from_secs(600)
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum EmptyDirData {
    #[default]
    Refuse,
    Delete,
}

/// What is done.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Action {
    unschedulable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace_period: Option<Length>,
}

/// What was there: a node that a person had cordoned stays cordoned.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    unschedulable: bool,
}

/// Where `spec.unschedulable` is in managed fields.
const UNSCHEDULABLE: [&str; 2] = ["f:spec", "f:unschedulable"];

impl Fault for NodeDrain {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let params: Params = super::params(ask)?;
        let mut findings = Vec::new();
        let mut injections = Vec::new();
        for (number, target) in ask.targets.iter().enumerate() {
            let Some(node) = ask.snapshot.node(&target.name) else {
                findings.push(Finding::error(guard::NO_TARGET, target, "it is not there"));
                continue;
            };
            findings.extend(refusals(ask.snapshot, node, params.empty_dir_data));
            let displaced = evictable(ask.snapshot, &target.name);
            injections.push(Injection {
                id: InjectionId::new(ask.step, number),
                fault: INFO.name.to_owned(),
                target: target.clone(),
                action: encode(&Action { unschedulable: true, grace_period: params.grace_period }),
                before: encode(&Before { unschedulable: node.unschedulable }),
                displaced: displaced.iter().map(|pod| pod.object.clone()).collect(),
                replicas_lost: 0,
                effect_within: params.deadline,
                until: ask.until,
            });
        }
        if findings.is_empty() { Ok(injections) } else { Err(findings) }
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            cordon(world, injection, true).await?;
            for pod in &injection.displaced {
                match world.access.evict(pod, None, true).await {
                    // A budget says no for now; the forecast has judged that.
                    Ok(()) | Err(ApiError::NotFound | ApiError::Conflict(_) | ApiError::NoBudget { .. }) => {}
                    Err(error) => return Err(FaultError::api(format!("dry run of evicting {pod}"))(error)),
                }
            }
            Ok(())
        })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let action: Action = decode(injection, &injection.action)?;
            match cordon(world, injection, false).await {
                Ok(()) => {}
                Err(FaultError::Api { source: ApiError::NotFound, .. }) => return Ok(Injected::TargetGone),
                Err(error) => return Err(error),
            }
            let evicted =
                evict_all(world, &injection.target.name, action.grace_period.map(|length| length.0)).await?;
            Ok(Injected::Done(format!("cordoned, {evicted} pods evicted")))
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let name = &injection.target.name;
            world
                .mirror
                .wait_for(|snapshot| {
                    let left = snapshot.pods_on(name).filter(|pod| !stays(pod)).count();
                    (left == 0).then(|| "no evictable pod is left on it".to_owned())
                })
                .await
        })
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(uncordon(world, injection))
    }

    fn scars<'a>(
        &'a self,
        access: &'a Access,
        _namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(find_scars(access))
    }
}

/// Whether a drain leaves the pod where it is, as `kubectl drain` does: DaemonSets' pods, static pods, and
/// those that have run to their end.
fn stays(pod: &Pod) -> bool {
    pod.daemon() || pod.mirror || pod.finished()
}

/// The pods of a node that a drain evicts, by namespace and name.
fn evictable(snapshot: &Snapshot, node: &str) -> Vec<Arc<Pod>> {
    snapshot.pods_on(node).filter(|pod| !stays(pod) && !pod.terminating).cloned().collect()
}

/// What speaks against draining this node, budgets and limits aside.
fn refusals(snapshot: &Snapshot, node: &Node, empty_dir: EmptyDirData) -> Vec<Finding> {
    let mut findings = Vec::new();
    if node.control_plane() {
        findings.push(
            Finding::error(guard::CONTROL_PLANE, &node.object, "the control plane runs there")
                .remedy("choose other nodes"),
        );
    }
    if let Some(run) = node.labels.get(RUN_LABEL) {
        findings.push(
            Finding::error(guard::OVERLAP, &node.object, format!("it carries the scar of run {run}"))
                .remedy(format!("firedrill rollback {run}")),
        );
    }
    for pod in evictable(snapshot, &node.object.name) {
        if pod.owner.is_none() {
            findings.push(
                Finding::error(
                    guard::BARE_POD,
                    &pod.object,
                    format!(
                        "it runs on {} and no controller owns it, so nothing would bring it back",
                        node.object
                    ),
                )
                .remedy("run it from a Deployment, or choose other nodes"),
            );
        }
        if pod.empty_dir && empty_dir == EmptyDirData::Refuse {
            findings.push(
                Finding::error(
                    guard::EMPTY_DIR,
                    &pod.object,
                    format!("it runs on {} and keeps data in an emptyDir volume", node.object),
                )
                .remedy("nodeDrain: {emptyDirData: Delete}, if that data may be lost"),
            );
        }
    }
    findings
}

fn manager(world: &World) -> String {
    format!("firedrill:{}", world.signature.run)
}

fn annotation(id: &InjectionId) -> String {
    format!("{UNDO_PREFIX}{id}")
}

/// Cordon and scar in one write. A node that is cordoned already is left as it is: nothing is changed, so
/// nothing is to be undone.
async fn cordon(world: &World, injection: &Injection, dry_run: bool) -> Result<(), FaultError> {
    let before: Before = decode(injection, &injection.before)?;
    if before.unschedulable {
        return Ok(());
    }
    let target = &injection.target;
    let failed = || FaultError::api(format!("cordoning {target}"));
    let manager = manager(world);
    let how = Write { manager: &manager, dry_run };
    for _ in 0..TRIES {
        let now = patiently(5, || world.access.get(target)).await.map_err(failed())?;
        if scarred(&now, injection) && unschedulable(&now) {
            return Ok(());
        }
        let patch = cordon_patch(world, injection, &now);
        if planted("scar-in-a-second-patch") && !dry_run {
            let bare = JsonPatch::new().add("/spec/unschedulable", true);
            world.access.patch(target, None, &bare, how).await.map_err(failed())?;
            let label = format!("/metadata/labels/{}", JsonPatch::segment(RUN_LABEL));
            let scar = json!({ annotation(&injection.id): scar(world, injection) });
            let second =
                JsonPatch::new().add(&label, &world.signature.run).add("/metadata/annotations", scar);
            return world.access.patch(target, None, &second, how).await.map(|_| ()).map_err(failed());
        }
        match patiently(5, || world.access.patch(target, None, &patch, how)).await {
            Ok(_) => return Ok(()),
            // A test failed: read again and decide again.
            Err(ApiError::Invalid(_) | ApiError::Conflict(_)) if !unschedulable(&now) => {}
            Err(error) => return Err(failed()(error)),
        }
        if dry_run {
            break;
        }
    }
    Err(failed()(ApiError::Conflict("somebody else has cordoned it, or another run holds it".to_owned())))
}

/// The text of the scar.
fn scar(world: &World, injection: &Injection) -> String {
    let signature = &world.signature;
    let scar = Scar {
        run: signature.run.clone(),
        fault: INFO.name.to_owned(),
        epoch: signature.epoch,
        by: signature.by.clone(),
        at: signature.at.to_string(),
        until: injection.until.to_string(),
        undo_with: format!("firedrill rollback {}", signature.run),
        before: injection.before.clone(),
    };
    serde_json::to_string(&scar).expect("a scar is plain data")
}

fn cordon_patch(world: &World, injection: &Injection, now: &DynamicObject) -> JsonPatch {
    let signature = &world.signature;
    let (key, scar) = (annotation(&injection.id), scar(world, injection));
    let mut patch = JsonPatch::new()
        .test("/metadata/uid", &injection.target.uid)
        .test("/spec/unschedulable", Value::Null)
        .add("/spec/unschedulable", true);
    let label = format!("/metadata/labels/{}", JsonPatch::segment(RUN_LABEL));
    patch = match now.metadata.labels.as_ref().map(|labels| labels.get(RUN_LABEL)) {
        None => patch
            .test("/metadata/labels", Value::Null)
            .add("/metadata/labels", json!({ RUN_LABEL: signature.run })),
        Some(None) => patch.test(&label, Value::Null).add(&label, &signature.run),
        // Ours from another step, or the test fails: another run's node is not for us.
        Some(Some(_)) => patch.test(&label, &signature.run),
    };
    if now.metadata.annotations.is_none() {
        patch.test("/metadata/annotations", Value::Null).add("/metadata/annotations", json!({ key: scar }))
    } else {
        patch.add(&format!("/metadata/annotations/{}", JsonPatch::segment(&key)), scar)
    }
}

/// Evicts until nothing evictable is bound to the node. How many.
async fn evict_all(world: &World, node: &str, grace: Option<Duration>) -> Result<usize, FaultError> {
    let mut evicted = 0;
    loop {
        let pods = evictable(&world.mirror.snapshot(), node);
        if pods.is_empty() {
            return Ok(evicted);
        }
        let evictions = pods.iter().map(|pod| async move {
            let done = world.budgets.evict(pod, grace).await;
            done.map_err(FaultError::api(format!("evicting {}", pod.object)))
        });
        for outcome in join_all(evictions).await {
            outcome?;
            evicted += 1;
        }
        // The watch has to show them on their way out before the next look.
        let uids: Vec<ObjectRef> = pods.iter().map(|pod| pod.object.clone()).collect();
        world
            .mirror
            .wait_for(|snapshot| {
                let left = uids.iter().any(|pod| snapshot.pod(pod).is_some_and(|pod| !pod.terminating));
                (!left).then_some(())
            })
            .await;
    }
}

fn unschedulable(node: &DynamicObject) -> bool {
    node.data.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false)
}

fn scarred(node: &DynamicObject, injection: &Injection) -> bool {
    let key = annotation(&injection.id);
    node.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(&key))
}

/// Takes the cordon back while it is still ours, and the scar in any case.
async fn uncordon(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    let before: Before = decode(injection, &injection.before)?;
    if before.unschedulable {
        return Ok(Reverted::NothingToDo("it had been cordoned before and stays so".to_owned()));
    }
    let (target, manager) = (&injection.target, manager(world));
    let what = format!("uncordoning {target}");
    if planted("uncordon-all") {
        uncordon_all(world).await.map_err(FaultError::api(&what))?;
    }
    field::put_back(world, target, (&what, &manager), |now, done| {
        if !scarred(now, injection) {
            return Next::Over(
                done.unwrap_or_else(|| Reverted::NothingToDo("it carries no scar of ours".to_owned())),
            );
        }
        let still_ours = unschedulable(now) && manages(&now.metadata, &manager, &UNSCHEDULABLE);
        let outcome = if still_ours {
            Reverted::Restored("uncordoned, scar removed".to_owned())
        } else if unschedulable(now) {
            Reverted::ChangedSince("somebody else has cordoned it since; it stays cordoned".to_owned())
        } else {
            Reverted::ChangedSince("somebody else had uncordoned it".to_owned())
        };
        let patch = uncordon_patch(world, injection, now, still_ours);
        Next::Change(Change { subresource: None, patch, outcome })
    })
    .await
}

/// A planted bug: by selector instead of by what was injected.
async fn uncordon_all(world: &World) -> Result<(), ApiError> {
    let nodes =
        world.access.read(world.access.api(&ObjectRef::node("")).list(&ListParams::default())).await?;
    for node in nodes.items.iter().filter(|node| unschedulable(node) && node.metadata.labels.is_some()) {
        let target = ObjectRef::node(node.metadata.name.as_deref().unwrap_or_default());
        let patch = JsonPatch::new().remove("/spec/unschedulable");
        world.access.patch(&target, None, &patch, Write::default()).await?;
    }
    Ok(())
}

fn uncordon_patch(world: &World, injection: &Injection, now: &DynamicObject, still_ours: bool) -> JsonPatch {
    let uid = now.metadata.uid.clone().unwrap_or_default();
    let key = annotation(&injection.id);
    let mut patch = JsonPatch::new().test("/metadata/uid", uid);
    if still_ours {
        patch = patch.test("/spec/unschedulable", true).remove("/spec/unschedulable");
    }
    patch = patch.remove(&format!("/metadata/annotations/{}", JsonPatch::segment(&key)));
    let annotations = now.metadata.annotations.iter().flatten();
    let last = !annotations.into_iter().any(|(other, _)| other.starts_with(UNDO_PREFIX) && *other != key);
    let label = now.metadata.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL));
    if last && label.map(String::as_str) == Some(world.signature.run.as_str()) {
        patch = patch.remove(&format!("/metadata/labels/{}", JsonPatch::segment(RUN_LABEL)));
    }
    patch
}

async fn find_scars(access: &Access) -> Result<Vec<Found>, ApiError> {
    let nodes = access.api(&ObjectRef::node(""));
    let list = access.read(nodes.list_metadata(&ListParams::default().labels(RUN_LABEL))).await?;
    let mut found = Vec::new();
    for node in list.items {
        let name = node.metadata.name.clone().unwrap_or_default();
        let uid = node.metadata.uid.clone().unwrap_or_default();
        for (key, text) in node.metadata.annotations.iter().flatten() {
            let Some(id) = key.strip_prefix(UNDO_PREFIX) else { continue };
            // A claim by whoever may write nodes: what does not have this fault's shape is not ours.
            let Ok(scar) = serde_json::from_str::<Scar>(text) else { continue };
            if scar.fault != INFO.name || serde_json::from_value::<Before>(scar.before.clone()).is_err() {
                continue;
            }
            found.push(Found {
                run: scar.run.to_string(),
                injection: Injection {
                    id: InjectionId(id.to_owned()),
                    fault: scar.fault,
                    target: ObjectRef::node(&name).with_uid(&uid),
                    action: encode(&Action { unschedulable: true, grace_period: None }),
                    before: scar.before,
                    displaced: Vec::new(),
                    replicas_lost: 0,
                    effect_within: Length::default(),
                    until: scar.until.parse().unwrap_or_default(),
                },
            });
        }
    }
    Ok(found)
}
