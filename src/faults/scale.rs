//! `scale`: a workload run with fewer (or more) replicas than it wants.

use super::{Fault, FaultInfo, Lifetime, LimitKind, Right, TargetKind};
use crate::types::FieldSchema;

/// See [`INFO`].
pub struct Scale;

/// The replicas of a workload are changed through its scale subresource and put back.
pub static INFO: FaultInfo = FaultInfo {
    name: "scale",
    summary: "Change the replicas of a workload through its scale subresource; put them back afterwards.",
    example: "name: to-zero\ntarget: {workload: deployment/recommendations}\nscale: {replicas: 0}\nduration: 3m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Workload],
    limits: &[LimitKind::Pods],
    fields: &[
        FieldSchema {
            name: "replicas",
            description: "How many replicas there shall be. Exactly one of replicas and by.",
            required: false,
            default: None,
            schema: r#"{"type":"integer","minimum":0,"maximum":100000}"#,
        },
        FieldSchema {
            name: "by",
            description: "By how many replicas to change, or by what share of those there are: -1, 2, -50%. Shares are rounded towards zero, but change 1 at least.",
            required: false,
            default: None,
            schema: r#"{"anyOf":[{"type":"integer"},{"type":"string"}],"x-kubernetes-int-or-string":true,"pattern":"^-?[1-9][0-9]{0,4}%?$"}"#,
        },
    ],
    rights: &[
        Right { verb: "get", group: "apps", resource: "deployments/scale", cluster_wide: false },
        Right { verb: "patch", group: "apps", resource: "deployments/scale", cluster_wide: false },
    ],
    hazards: &[],
};

impl Fault for Scale {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }
}
