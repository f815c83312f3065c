//! `nodeCordon`: nodes that take no new pods, as before maintenance or when an autoscaler gives up on them.

use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::json;

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, cordon, encode, node_scar,
    nodes::{self, Change},
};
use crate::{
    cluster::{Access, ApiError},
    types::{Finding, Length, codes::guard},
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
    agent: false,
    fields: &[],
    rights: &[
        Right { verb: "patch", group: "", resource: "nodes", cluster_wide: true },
        Right { verb: "get", group: "", resource: "nodes", cluster_wide: true },
    ],
    hazards: &[],
};

/// How long the node controller may take to taint a cordoned node; it works at its queue, so this is ample.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

impl Fault for NodeCordon {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        nodes::each(ask, INFO.name, |node| {
            if node.unschedulable {
                let message = "it is cordoned already, so nothing would change";
                let finding = Finding::error(guard::NO_CHANGE, &node.object, message);
                return Err(vec![finding.remedy("uncordon it, or leave it out with target.exclude")]);
            }
            Ok(Change {
                action: json!({"unschedulable": true}),
                before: encode(&cordon::Before { unschedulable: false }),
                displaced: Vec::new(),
                effect_within: Length(SEEN_WITHIN),
            })
        })
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
        Box::pin(world.mirror.wait_for_one(target, move |snapshot| {
            let node = snapshot.node(&target.name).filter(|node| node.object.uid == target.uid)?;
            let tainted = node.taints.iter().any(|taint| taint.key == cordon::TAINT);
            tainted.then(|| format!("the node controller has tainted it {}", cordon::TAINT))
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
