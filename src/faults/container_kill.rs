//! `containerKill`: the processes of containers killed in place; their kubelet has to start them again.

use serde::Deserialize;

use super::{
    FaultInfo, Lifetime, LimitKind, TargetKind,
    kills::{self, Killing, Kills, Meant, RIGHTS, SIGNAL},
    network::field,
};
use crate::{
    agent::wire::Signal,
    types::{FieldSchema, codes::hazard},
};

/// See [`INFO`].
pub static FAULT: Killing<Containers> = Killing::new();

/// The pod stays, with its address and its node.
pub static INFO: FaultInfo = FaultInfo {
    name: "containerKill",
    summary: "Kill the processes of containers; the pod stays, and its kubelet has to start them again.",
    example: "name: crash\ntarget: {workload: deployment/checkout, count: 50%}\ncontainerKill: {container: main}\n",
    lifetime: Lifetime::Instant,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::Pods],
    writes: &[],
    agent: true,
    fields: &[
        field("container", "label", "Name of the container. Default: all."),
        FieldSchema { default: Some("KILL"), ..field("signal", SIGNAL, "Signal.") },
    ],
    rights: &RIGHTS,
    hazards: &[hazard::PDB_BYPASSED, hazard::ROOT_ON_NODE],
};

/// The fields, as in the file.
#[derive(Deserialize)]
pub struct Containers {
    #[serde(default)]
    container: Option<String>,
    #[serde(default = "kills::kill")]
    signal: Signal,
}

impl Kills for Containers {
    const INFO: &'static FaultInfo = &INFO;

    fn meant(self) -> Meant {
        Meant { container: self.container, process: None, signal: self.signal }
    }
}
