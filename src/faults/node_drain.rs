//! `nodeDrain`: a node cordoned and its pods evicted, as maintenance and autoscalers do.

use super::{Fault, FaultInfo, Lifetime, LimitKind, Right, TargetKind};
use crate::types::FieldSchema;

/// See [`INFO`].
pub struct NodeDrain;

/// A node is cordoned and its pods are evicted in step with every PodDisruptionBudget.
pub static INFO: FaultInfo = FaultInfo {
    name: "nodeDrain",
    summary: "Cordon nodes and evict their pods in step with every PodDisruptionBudget; uncordon afterwards.",
    example: "name: lose-a-node\ntarget: {nodes: {matchLabels: {pool: general}}, count: 1}\nnodeDrain: {}\nduration: 2m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Nodes, TargetKind::NodesRunning, TargetKind::Zone],
    limits: &[LimitKind::Nodes, LimitKind::Pods],
    fields: &[
        FieldSchema {
            name: "gracePeriod",
            description: "How long the containers have to end by themselves. Default: what each pod asks for.",
            required: false,
            default: None,
            schema: "duration",
        },
        FieldSchema {
            name: "deadline",
            description: "How long the evictions may take in all; after it the drain has not taken effect.",
            required: false,
            default: Some("10m"),
            schema: "duration",
        },
        FieldSchema {
            name: "emptyDirData",
            description: "Whether pods with emptyDir volumes, whose data is lost, are evicted (Delete) or refuse the drain (Refuse).",
            required: false,
            default: Some("Refuse"),
            schema: r#"{"type":"string","enum":["Refuse","Delete"]}"#,
        },
    ],
    rights: &[
        Right { verb: "patch", group: "", resource: "nodes", cluster_wide: true },
        Right { verb: "get", group: "", resource: "nodes", cluster_wide: true },
        Right { verb: "create", group: "", resource: "pods/eviction", cluster_wide: true },
    ],
    hazards: &[],
};

impl Fault for NodeDrain {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }
}
