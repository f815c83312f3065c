//! `networkPartition`: pods that are cut off, whatever their network plugin enforces.

use serde::Deserialize;

use super::{
    FaultInfo, Lifetime, LimitKind, TargetKind,
    network::{self, Disturb, Disturbing, FROM, PORTS, PROTOCOL, TO},
};
use crate::{agent::wire::Effect, types::codes::hazard};

/// See [`INFO`].
pub static FAULT: Disturbing<Partition> = Disturbing::new();

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

/// It has no fields of its own.
#[derive(Deserialize)]
pub struct Partition {}

impl Disturb for Partition {
    const INFO: &'static FaultInfo = &INFO;

    fn effect(&self) -> Effect {
        Effect::Partition
    }
}
