//! `podEvict`: pods evicted through the eviction API, as drains, descheduler and autoscalers do.

use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    Fault, FaultError, FaultInfo, Injected, Injection, Lifetime, LimitKind, Prepare, Right, TargetKind,
    World, pods,
};
use crate::{
    cluster::{ApiError, Evicted},
    types::{Finding, InjectionId, Length, ObjectRef},
};

/// See [`INFO`].
pub struct PodEvict;

/// Pods are evicted by UID, in step with their PodDisruptionBudgets.
pub static INFO: FaultInfo = FaultInfo {
    name: "podEvict",
    summary: "Evict pods, within their PodDisruptionBudgets; their owner has to replace them.",
    example: "name: evict-two\ntarget: {workload: deployment/checkout, count: 2}\npodEvict: {}\n",
    lifetime: Lifetime::Instant,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::Pods],
    writes: &[],
    agent: false,
    fields: &[],
    rights: &[
        Right { verb: "get", group: "", resource: "pods", cluster_wide: false },
        Right { verb: "create", group: "", resource: "pods/eviction", cluster_wide: false },
    ],
    hazards: &[],
};

/// How long the budgets may hold up the evictions: as long as `nodeDrain` gives them by default.
const SEEN_WITHIN: Duration = Duration::from_secs(600);

impl Fault for PodEvict {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let findings = pods::refusals(ask);
        if !findings.is_empty() {
            return Err(findings);
        }
        let injection = |(number, target): (usize, &ObjectRef)| Injection {
            id: InjectionId::new(ask.step, number),
            fault: INFO.name.to_owned(),
            target: target.clone(),
            action: json!({}),
            before: Value::Null,
            // What is displaced asks its budgets: forecasts and limits count it so.
            displaced: vec![target.clone()],
            replicas_lost: 0,
            effect_within: Length(SEEN_WITHIN),
            until: ask.until,
        };
        Ok(ask.targets.iter().enumerate().map(injection).collect())
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let target = &injection.target;
            match world.access.evict(target, None, true).await {
                // A budget says no for now; the forecast has judged that.
                Ok(()) | Err(ApiError::NoBudget { .. }) => Ok(()),
                Err(error) => Err(FaultError::api(format!("dry run of evicting {target}"))(error)),
            }
        })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let target = &injection.target;
            let Some(pod) = world.mirror.look(|snapshot| snapshot.pod(target).cloned()) else {
                return Ok(Injected::TargetGone);
            };
            match world.budgets.evict(&pod, None).await {
                Ok(Evicted::Accepted) => Ok(Injected::Done("evicted within its budgets".to_owned())),
                // Gone before its turn came, or an answer that got lost: no eviction of ours is known.
                Ok(Evicted::Gone) => Ok(Injected::TargetGone),
                Err(error) => Err(FaultError::api(format!("evicting {target}"))(error)),
            }
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(pods::gone(world, &injection.target))
    }
}
