//! `processKill`: processes of one name killed, wherever in the pod they run.

use serde::Deserialize;

use super::{
    FaultInfo, Lifetime, LimitKind, TargetKind,
    kills::{self, Killing, Kills, Meant, SIGNAL},
    network::field,
};
use crate::{
    agent::wire::Signal,
    types::{FieldSchema, codes::hazard},
};

/// See [`INFO`].
pub static FAULT: Killing<Processes> = Killing::new();

/// The pod stays, with its address and its node.
pub static INFO: FaultInfo = FaultInfo {
    name: "processKill",
    summary: "Kill the processes of one name within pods; what a container's first process ends with starts it again.",
    example: "name: crash\ntarget: {workload: deployment/checkout, count: 50%}\nprocessKill: {name: server}\n",
    lifetime: Lifetime::Instant,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::Pods],
    writes: &[],
    agent: true,
    fields: &[
        FieldSchema {
            required: true,
            ..field(
                "name",
                PROCESS,
                "Name of the processes, as ps shows it; the kernel keeps 15 bytes of it.",
            )
        },
        field("container", "label", "Name of the container. Default: all."),
        FieldSchema { default: Some("KILL"), ..field("signal", SIGNAL, "Signal.") },
    ],
    // What shows that it has ended is in the watch that every run has.
    rights: &[],
    hazards: &[hazard::PDB_BYPASSED, hazard::ROOT_ON_NODE],
};

/// What the kernel keeps as the name of a process.
const PROCESS: &str = r#"{"type":"string","minLength":1,"maxLength":15}"#;

/// The fields, as in the file.
#[derive(Deserialize)]
pub struct Processes {
    name: String,
    #[serde(default)]
    container: Option<String>,
    #[serde(default = "kills::kill")]
    signal: Signal,
}

impl Kills for Processes {
    const INFO: &'static FaultInfo = &INFO;

    fn meant(self) -> Meant {
        Meant { container: self.container, process: Some(self.name), signal: self.signal }
    }
}
