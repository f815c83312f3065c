//! `networkLoss`: packets of pods that get lost.

use serde::Deserialize;

use super::{
    FaultInfo, Lifetime, LimitKind, TargetKind,
    network::{self, Disturb, Disturbing, FROM, PORTS, PROTOCOL, TO, field},
};
use crate::{
    agent::wire::Effect,
    types::{
        FieldSchema, Finding,
        codes::{guard, hazard},
    },
};

/// See [`INFO`].
pub static FAULT: Disturbing<Loss> = Disturbing::new();

/// Packets get lost.
pub static INFO: FaultInfo = FaultInfo {
    name: "networkLoss",
    summary: "Lose a share of the packets that pods send or receive.",
    example: "name: lossy-database\ntarget: {workload: deployment/checkout, count: 50%}\nnetworkLoss: {to: [{service: postgres}], share: 10%}\nduration: 2m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::Pods, LimitKind::DegradedPods],
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
pub struct Loss {
    share: network::Share,
}

impl Disturb for Loss {
    const INFO: &'static FaultInfo = &INFO;

    fn effect(&self) -> Effect {
        Effect::Loss { share_percent: self.share.percent() }
    }

    fn lint(&self) -> Vec<Finding> {
        let none =
            Finding::error(guard::FIELDS, format!("{}.share", INFO.name), "a share of 0% loses nothing");
        if self.share.percent() > 0.0 { Vec::new() } else { vec![none.remedy("ask for more")] }
    }
}
