//! `nodeDrain`: a node cordoned and its pods evicted, as maintenance and autoscalers do.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, cordon, decode, encode, node_scar,
    nodes::{self, Change},
    vacate::{self, Exit},
};
use crate::{
    cluster::{Access, ApiError, Node, Snapshot},
    types::{FieldSchema, Finding, Length, codes::guard},
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
    agent: false,
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
        nodes::each(ask, INFO.name, |node| {
            let findings = refusals(ask.snapshot, node, params.empty_dir_data);
            if !findings.is_empty() {
                return Err(findings);
            }
            let leaving = vacate::leaving(ask.snapshot, &node.object.name);
            Ok(Change {
                action: encode(&Action { unschedulable: true, grace_period: params.grace_period }),
                before: encode(&cordon::Before { unschedulable: node.unschedulable }),
                displaced: leaving.iter().map(|pod| pod.object.clone()).collect(),
                effect_within: params.deadline,
            })
        })
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            cordon::set(world, injection, true).await?;
            for pod in &injection.displaced {
                vacate::rehearse_eviction(world, pod).await?;
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
            let exit = Exit::Evicted(action.grace_period.map(|length| length.0));
            let evicted = vacate::empty(world, &injection.target.name, |_| exit).await?;
            Ok(Injected::Done(format!("cordoned, {evicted} pods evicted")))
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let name = &injection.target.name;
            world
                .mirror
                .wait_for(|snapshot| {
                    let left = snapshot.pods_on(name).filter(|pod| !vacate::stays(pod)).count();
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

/// What speaks against draining this node, budgets and limits aside.
fn refusals(snapshot: &Snapshot, node: &Node, empty_dir: EmptyDirData) -> Vec<Finding> {
    let leaving = vacate::leaving(snapshot, &node.object.name);
    let mut findings = vacate::bare(&node.object, &leaving);
    for pod in leaving.iter().filter(|pod| pod.empty_dir && empty_dir == EmptyDirData::Refuse) {
        let why = format!("it runs on {} and keeps data in an emptyDir volume", node.object);
        findings.push(
            Finding::error(guard::EMPTY_DIR, &pod.object, why)
                .remedy("nodeDrain: {emptyDirData: Delete}, if that data may be lost"),
        );
    }
    findings
}
