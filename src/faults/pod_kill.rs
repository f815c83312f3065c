//! `podKill`: pods deleted, as when a process or its machine dies.

use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Fault, FaultError, FaultInfo, Injected, Injection, Lifetime, LimitKind, Prepare, Right, TargetKind,
    World, decode, pods,
};
use crate::types::{FieldSchema, Finding, InjectionId, Length, codes::hazard};

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
    writes: &[],
    agent: false,
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

/// The fields, as in the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    #[serde(default = "one_second")]
    grace_period: Length,
}

fn one_second() -> Length {
    Length::from_secs(1)
}

/// What is done.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Action {
    grace_period: Length,
}

/// How long the API server, the kubelet and the endpoints may take beyond the grace period until the pod is
/// seen to be gone.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

impl Fault for PodKill {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let params: Params = super::params(ask)?;
        let findings = pods::refusals(ask);
        let mut injections = Vec::new();
        for (number, target) in ask.targets.iter().enumerate() {
            injections.push(Injection {
                id: InjectionId::new(ask.step, number),
                fault: INFO.name.to_owned(),
                target: target.clone(),
                action: super::encode(&Action { grace_period: params.grace_period }),
                before: Value::Null,
                displaced: Vec::new(),
                replicas_lost: 0,
                effect_within: Length(params.grace_period.0 + SEEN_WITHIN),
                until: ask.until,
            });
        }
        if findings.is_empty() { Ok(injections) } else { Err(findings) }
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let action: Action = decode(injection, &injection.action)?;
            let asked = world.access.delete_pod(&injection.target, action.grace_period.0, true).await;
            asked.map_err(FaultError::api(format!("dry run of deleting {}", injection.target)))
        })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let action: Action = decode(injection, &injection.action)?;
            pods::delete(world, &injection.target, action.grace_period.0).await
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(pods::gone(world, &injection.target))
    }
}
