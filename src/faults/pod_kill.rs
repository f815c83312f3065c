//! `podKill`: pods deleted, as when a process or its machine dies.

use super::{Fault, FaultInfo, Lifetime, LimitKind, Right, TargetKind};
use crate::types::{FieldSchema, codes::hazard};

/// See [`INFO`].
pub struct PodKill;

/// Pods are deleted by UID; their owner has to replace them.
pub static INFO: FaultInfo = FaultInfo {
    name: "podKill",
    summary: "Delete pods, as when a process or its machine dies; their owner has to replace them.",
    example: "name: lose-half\ntarget: {workload: deployment/checkout, count: 50%}\npodKill: {gracePeriod: 0s}\n",
    lifetime: Lifetime::Instant,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::Pods],
    fields: &[FieldSchema {
        name: "gracePeriod",
        description: "How long the containers have to end by themselves; 0s kills at once.",
        required: false,
        default: Some("1s"),
        schema: "duration",
    }],
    rights: &[Right { verb: "delete", group: "", resource: "pods", cluster_wide: false }],
    hazards: &[hazard::PDB_BYPASSED],
};

impl Fault for PodKill {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }
}
