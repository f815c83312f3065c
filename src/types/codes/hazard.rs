//! FD4xxx: hazards that are named and do not refuse.

use crate::types::{Code, CodeInfo};

/// Deletion does not ask PodDisruptionBudgets.
pub const PDB_BYPASSED: Code = Code::new("FD4001");
/// A budget has no room now.
pub const PDB_WAIT: Code = Code::new("FD4002");
/// Nothing would go with the node.
pub const EMPTY_NODE: Code = Code::new("FD4003");

/// The family, in order.
pub static CODES: &[CodeInfo] = &[
    CodeInfo {
        code: PDB_BYPASSED,
        title: "the fault does not ask PodDisruptionBudgets",
        standard: "A PodDisruptionBudget limits evictions, not deletions or crashes (Kubernetes docs, Disruptions: involuntary disruptions).",
        discovery: "The fault kills pods directly and a PodDisruptionBudget selects at least one of them.",
        resolution: "Wanted, when the question is what a crash does; limits.pods is what holds the damage. To stay within the budget use nodeDrain, which evicts.",
    },
    CodeInfo {
        code: PDB_WAIT,
        title: "a PodDisruptionBudget has no room now",
        standard: "An eviction waits until its budget allows a disruption (policy/v1); meanwhile the drain has not taken effect.",
        discovery: "The budget's status.disruptionsAllowed is 0 although it would allow some with every pod healthy.",
        resolution: "Wait until the workload is whole, or let the drain's deadline decide.",
    },
    CodeInfo {
        code: EMPTY_NODE,
        title: "nothing would be displaced from the node",
        standard: "An experiment that moves nothing says little (Principles of Chaos: vary real-world events).",
        discovery: "No pod on the node is one that a drain evicts: DaemonSets, static and finished pods stay.",
        resolution: "Aim at nodes that run the workload: target: {nodesRunning: deployment/NAME}.",
    },
];
