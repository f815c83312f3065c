//! `processKill`: processes of one name killed, wherever in the pod they run.

use futures::future::BoxFuture;
use serde::Deserialize;

use super::{
    Fault, FaultError, FaultInfo, Injected, Injection, Lifetime, LimitKind, Prepare, TargetKind, World,
    kills::{self, Meant, RIGHTS, SIGNAL},
    network::field,
};
use crate::{
    agent::wire::Signal,
    types::{FieldSchema, Finding, codes::hazard},
};

/// See [`INFO`].
pub struct ProcessKill;

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
    rights: &RIGHTS,
    hazards: &[hazard::PDB_BYPASSED, hazard::ROOT_ON_NODE],
};

/// What the kernel keeps as the name of a process.
const PROCESS: &str = r#"{"type":"string","minLength":1,"maxLength":15}"#;

/// The fields, as in the file.
#[derive(Deserialize)]
struct Params {
    name: String,
    #[serde(default)]
    container: Option<String>,
    #[serde(default = "kills::kill")]
    signal: Signal,
}

impl Fault for ProcessKill {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let Params { name, container, signal } = super::params(ask)?;
        kills::prepare(ask, INFO.name, &Meant { container, process: Some(name), signal })
    }

    fn rehearse<'a>(
        &'a self,
        _world: &'a World,
        _injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        // Nothing but the agent, which is asked for by itself, writes anything.
        Box::pin(async { Ok(()) })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(kills::inject(world, injection))
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(kills::seen(world, injection))
    }
}
