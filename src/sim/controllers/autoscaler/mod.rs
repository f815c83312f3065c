//! HorizontalPodAutoscalers with resource metrics: as many replicas as the pods' usage asks for.
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go`, v1.36. Not served: container, pod, object and external
//! metrics, which a real cluster without an adapter refuses as well, and ambiguous selectors.

mod calculator;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use calculator::{Counted, Goal, Proposal, Sampled, Standing, Tolerance, propose, standing};
pub use limits::{Limited, Memory};

use super::action::{Action, Decision, Target, event, stamp, warning};
use super::views::{Autoscaler, Condition, MetricSpec, Pod, ResourceMetricSource};
use crate::sim::scheduler;
use crate::sim::store::Object;
use crate::sim::usage::{PodUsage, WINDOW};

/// Time between two syncs (`HorizontalPodAutoscalerSyncPeriod`, config/v1alpha1/defaults.go: 15 seconds).
pub const SYNC: Duration = Duration::from_secs(15);
const SOURCE: &str = "horizontal-pod-autoscaler";

/// The workload that is scaled, with its pods.
pub struct Scaled<'a> {
    /// The workload.
    pub object: Arc<Object>,
    /// Its `spec.replicas`.
    pub replicas: i64,
    /// The pods that its selector selects, and what each uses.
    pub pods: Vec<(&'a Pod, Option<PodUsage>)>,
}

/// What a sync depends on.
pub struct Inputs<'a> {
    /// The autoscaler.
    pub autoscaler: &'a Autoscaler,
    /// Its target, or why there is none.
    pub scaled: Result<Scaled<'a>, String>,
    /// Whether there is a source of resource metrics.
    pub served: bool,
    /// The cluster's time.
    pub now: Timestamp,
}

/// A sync in the making.
struct Sync<'a> {
    input: &'a Inputs<'a>,
    conditions: Vec<Condition>,
    metrics: Vec<Value>,
    actions: Vec<Action>,
}

/// Why a metric says nothing.
struct Failure {
    reason: &'static str,
    message: String,
}

/// One sync of an autoscaler (`reconcileAutoscaler`).
#[must_use]
pub fn decide(input: &Inputs<'_>, memory: &mut Memory) -> Decision {
    let status = &input.autoscaler.status;
    let mut sync =
        Sync { input, conditions: status.conditions.clone(), metrics: Vec::new(), actions: Vec::new() };
    match &input.scaled {
        Ok(scaled) => sync.reconcile(scaled, memory),
        Err(message) => {
            sync.warn("FailedGetScale", message.clone());
            let why = format!("the HPA controller was unable to get the target's current scale: {message}");
            sync.condition("AbleToScale", false, ("FailedGetScale", &why));
            sync.finish(status.current_replicas, status.desired_replicas, false);
        }
    }
    Decision { actions: sync.actions, again: Some(SYNC) }
}

impl Sync<'_> {
    fn reconcile(&mut self, scaled: &Scaled<'_>, memory: &mut Memory) {
        let (spec, now, current) = (self.input.autoscaler.spec.clone(), self.input.now, scaled.replicas);
        let min = spec.min_replicas.unwrap_or(1);
        let got = "the HPA controller was able to get the target's current scale";
        self.condition("AbleToScale", true, ("SucceededGetScale", got));
        memory.begin(current, now);
        let (desired, reason) = if current == 0 && min != 0 {
            let why = "scaling is disabled since the replica count of the target is zero";
            self.condition("ScalingActive", false, ("ScalingDisabled", why));
            (0, String::new())
        } else if current > spec.max_replicas {
            (spec.max_replicas, "Current number of replicas above Spec.MaxReplicas".to_owned())
        } else if current < min {
            (min, "Current number of replicas below Spec.MinReplicas".to_owned())
        } else {
            let Some((asked, metric)) = self.by_metrics(scaled) else {
                return self.finish(current, self.input.autoscaler.status.desired_replicas, false);
            };
            let limited = memory.limit(&spec, current, asked, now);
            self.condition("AbleToScale", true, limited.able);
            self.condition("ScalingLimited", limited.limited, limited.limit);
            let below = "All metrics below target".to_owned();
            (limited.replicas, if asked > current { format!("{metric} above target") } else { below })
        };
        if desired == current {
            return self.finish(current, desired, false);
        }
        self.actions.push(Action::Scale(Target::of(&scaled.object), desired));
        let about = &self.input.autoscaler.object;
        let message = format!("New size: {desired}; reason: {reason}");
        self.actions.push(event(about, SOURCE, "SuccessfulRescale", message));
        let done = format!("the HPA controller was able to update the target scale to {desired}");
        self.condition("AbleToScale", true, ("SucceededRescale", &done));
        memory.scaled(&spec, (current, desired), now);
        self.finish(current, desired, true);
    }

    /// The most that any metric asks for, and its name (`computeReplicasForMetrics`).
    fn by_metrics(&mut self, scaled: &Scaled<'_>) -> Option<(i64, String)> {
        let specs = self.input.autoscaler.spec.metrics.clone();
        let mut best: Option<(i64, String)> = None;
        let mut failed = Vec::new();
        for spec in &specs {
            match self.proposal(spec, scaled) {
                Ok((replicas, name, status)) => {
                    self.metrics.push(status);
                    if best.as_ref().is_none_or(|(most, _)| replicas > *most) {
                        best = Some((replicas, name));
                    }
                }
                Err(failure) => {
                    self.warn(failure.reason, failure.message.clone());
                    failed.push(failure);
                }
            }
        }
        // With one metric unknown the others may still ask for more, never for less.
        let best = best.filter(|(replicas, _)| failed.is_empty() || *replicas >= scaled.replicas);
        if let Some((_, name)) = &best {
            let found = format!("the HPA was able to successfully calculate a replica count from {name}");
            self.condition("ScalingActive", true, ("ValidMetricFound", &found));
        } else if let Some(first) = failed.first() {
            let why = format!("the HPA was unable to compute the replica count: {}", first.message);
            self.condition("ScalingActive", false, (first.reason, &why));
            let message = format!(
                "invalid metrics ({} invalid out of {}), first error is: {}",
                failed.len(),
                specs.len(),
                first.message
            );
            self.warn("FailedComputeMetricsReplicas", message);
        }
        best
    }

    /// What one metric asks for, its name, and its entry in the status.
    fn proposal(&self, spec: &MetricSpec, scaled: &Scaled<'_>) -> Result<(i64, String, Value), Failure> {
        let failure = |reason, message| Failure { reason, message };
        let resource = match (spec.kind.as_str(), &spec.resource) {
            ("Resource", Some(resource)) => resource,
            ("Pods", _) => return Err(failure("FailedGetPodsMetric", no_adapter("custom"))),
            ("Object", _) => return Err(failure("FailedGetObjectMetric", no_adapter("custom"))),
            ("External", _) => return Err(failure("FailedGetExternalMetric", no_adapter("external"))),
            (other, _) => {
                let why = format!("unknown metric source type {other:?}");
                return Err(failure("InvalidMetricSourceType", why));
            }
        };
        let failed = |why: String| {
            let message = format!("failed to get {} resource metric value: {why}", resource.name);
            failure("FailedGetResourceMetric", message)
        };
        let name = &resource.name;
        let target = &resource.target;
        let value = |value: &Value| match value {
            Value::String(text) => scheduler::quantity(text),
            other => scheduler::quantity(&other.to_string()),
        };
        let goal = match (target.average_value.as_ref().and_then(value), target.average_utilization) {
            (Some(average), _) => Goal::AverageValue(i64::try_from(average).unwrap_or(i64::MAX)),
            (None, Some(percent)) => Goal::Utilization(percent),
            (None, None) => {
                let why = "invalid resource metric source: neither an average utilization nor an average value \
                           target was set";
                return Err(failed(why.to_owned()));
            }
        };
        let said = |why| match goal {
            Goal::Utilization(_) => failed(format!("failed to get {name} utilization: {why}")),
            Goal::AverageValue(_) => failed(format!("failed to get {name} usage: {why}")),
        };
        let pods = self.counted(resource, goal, scaled).map_err(said)?;
        let proposal = propose(scaled.replicas, goal, &pods, self.tolerance()).map_err(said)?;
        let label = match goal {
            Goal::Utilization(_) => format!("{name} resource utilization (percentage of request)"),
            Goal::AverageValue(_) => format!("{name} resource"),
        };
        Ok((proposal.replicas, label, metric_status(name, &proposal)))
    }

    fn tolerance(&self) -> Tolerance {
        let behavior = self.input.autoscaler.spec.behavior.as_ref();
        let read = |value: Option<&Value>| {
            let text = value.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))?;
            scheduler::quantity(&text).map(|thousandths| thousandths as f64 / 1000.0)
        };
        let default = Tolerance::default();
        let up = read(behavior.and_then(|b| b.scale_up.as_ref()?.tolerance.as_ref()));
        let down = read(behavior.and_then(|b| b.scale_down.as_ref()?.tolerance.as_ref()));
        Tolerance { up: up.unwrap_or(default.up), down: down.unwrap_or(default.down) }
    }

    /// The pods with what counts of them.
    fn counted(
        &self,
        resource: &ResourceMetricSource,
        goal: Goal,
        scaled: &Scaled<'_>,
    ) -> Result<Vec<Counted>, String> {
        let name = &resource.name;
        let get = "unable to get metrics for resource";
        if !self.input.served {
            return Err(format!(
                "{get} {name}: unable to fetch metrics from resource metrics API: the server could not find the \
                 requested resource (get pods.metrics.k8s.io)"
            ));
        }
        if scaled.pods.iter().all(|(_, usage)| usage.is_none()) {
            return Err(format!("{get} {name}: no metrics returned from resource metrics API"));
        }
        let cpu = name == "cpu";
        let each = scaled.pods.iter().map(|(pod, usage)| {
            let sampled = usage.as_ref().map(|u| Sampled { at: u.at, window: WINDOW });
            let used: i64 = usage.iter().flat_map(|u| &u.containers).map(|c| used(c, cpu)).sum();
            let request = match goal {
                Goal::Utilization(_) => request(pod, name)?,
                Goal::AverageValue(_) => 0,
            };
            Ok(Counted { standing: standing(pod, sampled, cpu, self.input.now), used, request })
        });
        each.collect()
    }

    /// Sets a condition; its time changes only when its status does (`setConditionInList`).
    fn condition(&mut self, kind: &str, status: bool, (reason, message): (&str, &str)) {
        let status = if status { "True" } else { "False" };
        let now = self.input.now;
        let index = self.conditions.iter().position(|c| c.kind == kind);
        let index = index.unwrap_or_else(|| {
            self.conditions.push(Condition { kind: kind.to_owned(), ..Condition::default() });
            self.conditions.len() - 1
        });
        let condition = &mut self.conditions[index];
        if condition.status != status {
            condition.status = status.to_owned();
            condition.last_transition_time = Some(now);
        }
        condition.reason = reason.to_owned();
        condition.message = message.to_owned();
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.actions.push(warning(&self.input.autoscaler.object, SOURCE, reason, message));
    }

    /// Writes the status when it has changed (`setStatus`, `updateStatusIfNeeded`).
    fn finish(&mut self, current: i64, desired: i64, rescaled: bool) {
        let autoscaler = self.input.autoscaler;
        let condition = |c: &Condition| {
            json!({"type": c.kind, "status": c.status, "reason": c.reason, "message": c.message,
                "lastTransitionTime": c.last_transition_time.map(stamp)})
        };
        let conditions: Vec<Value> = self.conditions.iter().map(condition).collect();
        let last = if rescaled { Some(self.input.now) } else { autoscaler.status.last_scale_time };
        let mut status = json!({"desiredReplicas": desired, "conditions": conditions});
        if current != 0 {
            status["currentReplicas"] = json!(current);
        }
        if let Some(at) = last {
            status["lastScaleTime"] = stamp(at);
        }
        if !self.metrics.is_empty() {
            status["currentMetrics"] = Value::Array(self.metrics.clone());
        }
        if status != autoscaler.object.field::<Value>("status").unwrap_or_default() {
            self.actions.push(Action::Status(Target::of(&autoscaler.object), status));
        }
    }
}

/// As a cluster without an adapter says it.
fn no_adapter(which: &str) -> String {
    format!(
        "unable to fetch metrics from {which} metrics API: no {which} metrics API ({which}.metrics.k8s.io) registered"
    )
}

/// Thousandths of a resource's unit.
fn used(container: &crate::sim::usage::ContainerUsage, cpu: bool) -> i64 {
    // Rounded up, as `Quantity.MilliValue` does.
    if cpu { (container.cpu + 999_999) / 1_000_000 } else { container.memory.saturating_mul(1000) }
}

/// What a pod requests (`calculateRequests`).
fn request(pod: &Pod, name: &str) -> Result<i64, String> {
    let mut sum = 0_i64;
    for container in &pod.spec.containers {
        let amount = scheduler::resource(&container.resources.requests, name).ok_or_else(|| {
            format!("missing request for {name} in container {} of Pod {}", container.name, pod.name())
        })?;
        sum = sum.saturating_add(i64::try_from(amount).unwrap_or(i64::MAX));
    }
    Ok(sum)
}

fn metric_status(name: &str, proposal: &Proposal) -> Value {
    let (whole, rest) = (proposal.average / 1000, proposal.average % 1000);
    let average = if rest == 0 { whole.to_string() } else { format!("{}m", proposal.average) };
    let mut current = json!({"averageValue": average});
    if let Some(percent) = proposal.utilization {
        current["averageUtilization"] = json!(percent);
    }
    json!({"type": "Resource", "resource": {"name": name, "current": current}})
}

#[cfg(test)]
mod tests;
