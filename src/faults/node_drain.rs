//! `nodeDrain`: a node cordoned and its pods evicted, as maintenance and autoscalers do.

use std::{sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, cordon, decode, encode, node_scar,
};
use crate::{
    cluster::{Access, ApiError, Node, Pod, Snapshot},
    types::{FieldSchema, Finding, InjectionId, Length, ObjectRef, codes::guard},
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
    writes: &["spec.unschedulable"],
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
                before: encode(&cordon::Before { unschedulable: node.unschedulable }),
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
            cordon::set(world, injection, true).await?;
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
            match cordon::set(world, injection, false).await {
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
        Box::pin(cordon::take_back(world, injection))
    }

    fn scars<'a>(
        &'a self,
        access: &'a Access,
        _namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(node_scar::find(access, INFO.name, |before| {
            serde_json::from_value::<cordon::Before>(before.clone()).ok()?;
            Some(encode(&Action { unschedulable: true, grace_period: None }))
        }))
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
    let mut findings = node_scar::refusals(node);
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
