//! `containerKill`: the processes of containers killed in place; their kubelet has to start them again.

use serde::Deserialize;

use super::{
    FaultInfo, Lifetime, LimitKind, TargetKind,
    kills::{self, Killing, Kills, Meant, SIGNAL},
    network::field,
};
use crate::{
    agent::wire::Signal,
    types::{
        FieldSchema, Finding,
        codes::{guard, hazard},
    },
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
    // What shows that it has ended is in the watch that every run has.
    rights: &[],
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

    /// The first process of a container gets what it handles, and SIGKILL (pid_namespaces(7)); of the others HUP, USR1
    /// and USR2 are what programs handle by going on.
    fn lint(&self) -> Vec<Finding> {
        let name = match self.signal {
            Signal::Hup => "HUP",
            Signal::Usr1 => "USR1",
            Signal::Usr2 => "USR2",
            _ => return Vec::new(),
        };
        let why = format!("{name} ends no container: its first process ignores it, or goes on");
        let remedy = "take KILL, TERM, INT or QUIT; processKill sends any signal to processes by name";
        vec![Finding::error(guard::FIELDS, format!("{}.signal", INFO.name), why).remedy(remedy)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Fault, *};

    #[test]
    fn a_signal_that_ends_no_container_is_refused() {
        for (signal, wrong) in [("KILL", 0), ("TERM", 0), ("SEGV", 0), ("HUP", 1), ("USR1", 1), ("USR2", 1)] {
            assert_eq!(FAULT.lint(&json!({"signal": signal})).len(), wrong, "{signal}");
        }
    }
}
