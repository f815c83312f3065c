//! `networkLoss`: packets of pods that get lost.

use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Fault, FaultError, FaultInfo, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, TargetKind,
    World,
    network::{self, FROM, PORTS, PROTOCOL, TO, field},
};
use crate::{
    agent::wire::Effect,
    types::{
        FieldSchema, Finding, ObjectRef,
        codes::{guard, hazard},
    },
};

/// See [`INFO`].
pub struct NetworkLoss;

/// Packets get lost.
pub static INFO: FaultInfo = FaultInfo {
    name: "networkLoss",
    summary: "Lose a share of the packets that pods send or receive.",
    example: "name: lossy-database\ntarget: {workload: deployment/checkout, count: 50%}\nnetworkLoss: {to: [{service: postgres}], share: 10%}\nduration: 2m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::DegradedPods],
    writes: &[],
    agent: true,
    fields: &[
        TO,
        FROM,
        PORTS,
        PROTOCOL,
        FieldSchema {
            required: true,
            ..field(
                "share",
                "percent",
                "The share of packets that is lost, each independently of the others.",
            )
        },
    ],
    rights: &network::RIGHTS,
    hazards: &[hazard::ROOT_ON_NODE],
};

/// The field of its own, as in the file.
#[derive(Deserialize)]
struct Params {
    share: network::Share,
}

impl Fault for NetworkLoss {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        let mut findings = network::lint(INFO.name, params);
        // What does not have the shape is the schema's to say.
        let Ok(Params { share }) = serde_json::from_value(params.clone()) else { return findings };
        if share.percent() <= 0.0 {
            let why = "a share of 0% loses nothing";
            findings.push(Finding::error(guard::FIELDS, INFO.name, why).remedy("ask for more"));
        }
        findings
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let Params { share } = super::params(ask)?;
        let findings = self.lint(ask.params);
        let effect = Effect::Loss { share_percent: share.percent() };
        if findings.is_empty() { network::prepare(ask, INFO.name, &effect) } else { Err(findings) }
    }

    fn degrades(&self, injection: &Injection) -> Vec<ObjectRef> {
        vec![injection.target.clone()]
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
