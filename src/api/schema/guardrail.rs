//! Guardrail: format.md, section 9.

use super::build::*;
use super::registry::fault_names;
use super::{Column, KindSchema, Merge, Schema, shared};
use crate::types::codes::format as codes;

pub fn kind() -> KindSchema {
    KindSchema {
        kind: "Guardrail",
        plural: "guardrails",
        short_names: &[],
        namespaced: false,
        description: "What nobody may exceed. Of several, each that selects the namespace applies, and the strictest wins.",
        spec: spec(),
        status: status(),
        columns: &[
            Column { name: "Halt", kind: "boolean", path: ".spec.halt", wide: false },
            Column { name: "Max-Pods", kind: "string", path: ".spec.limits.pods", wide: false },
            Column { name: "Max-Nodes", kind: "string", path: ".spec.limits.nodes", wide: false },
            Column { name: "Active", kind: "integer", path: ".status.activeRuns", wide: false },
            Column { name: "Age", kind: "date", path: ".metadata.creationTimestamp", wide: false },
        ],
    }
}

fn spec() -> Schema {
    let names: Vec<&str> = fault_names().collect();
    let faults = object(vec![
        field("denied", "These are not.", list(choice(&names), 0, 64, Merge::Set)),
        field("allowed", "Only these are.", list(choice(&names), 0, 64, Merge::Set)),
    ])
    .at_most_one(&["denied", "allowed"], "faults takes at most one of denied, allowed");
    let limits = object(vec![
        field("pods", "Of the pods any workload wants: not ready.", bound()),
        field("degradedPods", "Of the pods any workload wants: slowed, starved or fed errors.", bound()),
        field("nodes", "Of all nodes: not ready or unschedulable.", bound()),
        field("duration", "First injection to the end of the method.", positive()),
    ]);
    let nodes = object(vec![
        field("selector", "Only these may be hit by node faults.", shared::selector())
            .default("{}: all but the control plane"),
        field(
            "bystanders",
            "Namespaces that have not consented whose pods may be evicted with a node. Default: none.",
            list(label(), 0, 64, Merge::Set),
        ),
    ]);
    object(vec![
        field("description", "For people.", text(1024)).default("\"\""),
        field("halt", "true: every covered run aborts, none starts.", boolean()).default("false"),
        field("haltReason", "Shown to everyone who is stopped.", text(1024)).default("\"\""),
        field("environment", "production: every run is refused.", choice(&["", "production"])).default("\"\""),
        field("allowProduction", "true: runs in production may start, with approval by somebody else.", boolean()).default("false"),
        field("namespaceSelector", "Covers runs whose file or target is in such a namespace.", shared::selector()).default("{}: all"),
        field("faults", "Which faults are allowed. Default: all.", faults),
        field("limits", "What a file may raise its limits to. Default: none.", limits),
        field("nodes", "Which nodes may be hit, and whose pods with them.", nodes),
        field("concurrentRuns", "Covered runs at once; 0: none may start. Default: no bound.", integer(0, 10_000)),
        field("timeZone", "IANA time zone; required with windows or blackouts.", time_zone()),
        field("windows", "When runs may start and inject. Default: any time.", shared::windows()),
        field("blackouts", "Whole days without runs. Default: none.", shared::blackouts()),
        field("approvals", "Who has to agree.", object(vec![field("required", "How many.", integer(0, 16)).default("0")])),
        field("probeHosts", "Hosts outside of the cluster that probes, load and webhooks may reach from the controller. Default: none.",
            list(pattern(r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "a host name, or *. and a domain", 253), 0, 64, Merge::Set)),
    ])
    .checked(codes::TOGETHER, "has(self.timeZone) || !(has(self.windows) || has(self.blackouts))", "windows and blackouts need timeZone")
}

fn status() -> Schema {
    object(vec![
        field("observedGeneration", "The generation that the rest is about.", integer(0, i64::MAX)),
        field("conditions", "Enforced.", shared::conditions()),
        field("activeRuns", "Covered runs that are not over.", integer(0, i64::MAX)),
        field("refusals", "Runs refused in the last 24 h.", integer(0, i64::MAX)),
    ])
}
