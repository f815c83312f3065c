//! `nodeCordon`: nodes that take no new pods, as before maintenance or when an autoscaler gives up on them.

use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::json;

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, cordon, encode, node_scar,
};
use crate::{
    cluster::{Access, ApiError},
    types::{Finding, InjectionId, Length, codes::guard},
};

/// See [`INFO`].
pub struct NodeCordon;

/// A node is cordoned; what runs there goes on.
pub static INFO: FaultInfo = FaultInfo {
    name: "nodeCordon",
    summary: "Cordon nodes, so that they take no new pods; uncordon afterwards.",
    example: "name: no-room\ntarget: {nodes: {matchLabels: {pool: general}}, count: 1}\nnodeCordon: {}\nduration: 5m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Nodes, TargetKind::NodesRunning, TargetKind::Zone],
    limits: &[LimitKind::Nodes],
    writes: &["spec.unschedulable"],
    fields: &[],
    rights: &[
        Right { verb: "patch", group: "", resource: "nodes", cluster_wide: true },
        Right { verb: "get", group: "", resource: "nodes", cluster_wide: true },
    ],
    hazards: &[],
};

/// How long the node controller may take to taint a cordoned node; it works at its queue, so this is ample.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// The taint of the node controller on what is cordoned (k8s.io/api, core/v1/well_known_taints.go).
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

impl Fault for NodeCordon {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut injections = Vec::new();
        for (number, target) in ask.targets.iter().enumerate() {
            let Some(node) = ask.snapshot.node(&target.name) else {
                findings.push(Finding::error(guard::NO_TARGET, target, "it is not there"));
                continue;
            };
            findings.extend(node_scar::refusals(node));
            if node.unschedulable {
                let message = "it is cordoned already, so nothing would change";
                findings.push(
                    Finding::error(guard::NO_CHANGE, target, message)
                        .remedy("uncordon it, or leave it out with target.exclude"),
                );
            }
            injections.push(Injection {
                id: InjectionId::new(ask.step, number),
                fault: INFO.name.to_owned(),
                target: target.clone(),
                action: json!({"unschedulable": true}),
                before: encode(&cordon::Before { unschedulable: false }),
                displaced: Vec::new(),
                replicas_lost: 0,
                effect_within: Length(SEEN_WITHIN),
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
        Box::pin(cordon::set(world, injection, true))
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            match cordon::set(world, injection, false).await {
                Ok(()) => Ok(Injected::Done("cordoned".to_owned())),
                Err(FaultError::Api { source: ApiError::NotFound, .. }) => Ok(Injected::TargetGone),
                Err(error) => Err(error),
            }
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        let target = &injection.target;
        Box::pin(world.mirror.wait_for(move |snapshot| {
            let node = snapshot.node(&target.name).filter(|node| node.object.uid == target.uid)?;
            let tainted = node.taints.iter().any(|taint| taint.key == UNSCHEDULABLE);
            tainted.then(|| format!("the node controller has tainted it {UNSCHEDULABLE}"))
        }))
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
            Some(json!({"unschedulable": true}))
        }))
    }
}
