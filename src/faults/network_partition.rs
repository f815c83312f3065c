//! `networkPartition`: pods that are cut off, whatever their network plugin enforces.

use futures::future::BoxFuture;
use serde_json::Value;

use super::{
    Fault, FaultError, FaultInfo, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, TargetKind,
    World,
    network::{self, FROM, PORTS, PROTOCOL, TO},
};
use crate::{
    agent::wire::Effect,
    types::{Finding, ObjectRef, codes::hazard},
};

/// See [`INFO`].
pub struct NetworkPartition;

/// Packets get nowhere.
pub static INFO: FaultInfo = FaultInfo {
    name: "networkPartition",
    summary: "Cut pods off from some peers or from everybody, open connections too.",
    example: "name: split\ntarget: {workload: deployment/orders, count: 50%}\nnetworkPartition: {to: [{workload: deployment/payments}], from: [{workload: deployment/payments}]}\nduration: 2m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::Pods, LimitKind::DegradedPods],
    writes: &[],
    agent: true,
    fields: &[TO, FROM, PORTS, PROTOCOL],
    rights: &network::RIGHTS,
    hazards: &[hazard::ROOT_ON_NODE],
};

/// Whether nothing reaches a pod and it reaches nothing: as good as gone.
fn of_everything(params: &Value) -> bool {
    serde_json::from_value::<network::Traffic>(params.clone()).is_ok_and(|traffic| traffic.everything())
}

impl Fault for NetworkPartition {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        network::lint(INFO.name, params)
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        network::prepare(ask, INFO.name, &Effect::Partition)
    }

    fn empties(&self, params: &Value) -> bool {
        of_everything(params)
    }

    fn evicts(&self, _injection: &Injection, _pod: &ObjectRef) -> bool {
        false
    }

    fn degrades(&self, injection: &Injection) -> Vec<ObjectRef> {
        if of_everything(&injection.action["traffic"]) { Vec::new() } else { vec![injection.target.clone()] }
    }

    fn hides(&self, injection: &Injection) -> bool {
        of_everything(&injection.action["traffic"])
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(network::rehearse(world, injection))
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(network::inject(world, injection))
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(network::observe(world, injection))
    }

    fn attend<'a>(&'a self, world: &'a World, injection: &'a Injection) -> Option<BoxFuture<'a, String>> {
        Some(Box::pin(network::attend(world, injection)))
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(network::revert(world, injection))
    }
}
