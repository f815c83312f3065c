//! `pods/eviction` (pkg/registry/core/pod/storage/eviction.go of kubernetes v1.36).

use super::decode::decode_object;
use super::request::{Call, Target};
use super::write::{delete_options_from, text};
use super::{ApiBody, ApiServer, json};
use crate::sim::store::deletion::check_preconditions;
use crate::sim::store::{DeleteOptions, Kind, LabelSelector, Object, Selector, Status, StatusCause, Store};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json as value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// `EvictionsRetry`: 20 tries, 500 ms apart.
const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
/// `MaxDisruptedPodSize`.
const MAX_DISRUPTED: usize = 2000;
const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BudgetSpec {
    selector: Option<LabelSelector>,
    unhealthy_pod_eviction_policy: String,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BudgetStatus {
    observed_generation: u64,
    disruptions_allowed: i64,
    current_healthy: i64,
    desired_healthy: i64,
    disrupted_pods: BTreeMap<String, Value>,
    conditions: Vec<Value>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PodStatus {
    phase: String,
    conditions: Vec<Value>,
}

impl ApiServer {
    pub(super) async fn evict(&self, call: &Call, target: &Target) -> Result<Response<ApiBody>, Status> {
        let body = decode_object(call, "Eviction")?;
        let given = body["kind"].as_str().unwrap_or_default();
        if !matches!(given, "" | "Eviction") {
            let version =
                body["apiVersion"].as_str().unwrap_or("policy/v1").rsplit('/').next().unwrap_or_default();
            return Err(Status::bad_request(format!(
                "{given} in version \"{version}\" cannot be handled as a Eviction: converting ({version}.{given}) to (policy.Eviction): unknown conversion"
            )));
        }
        if text(&body, "name") != target.name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let mut options = delete_options_from(&body["deleteOptions"])?;
        options.dry_run |= call.dry_run()?;
        let pod = self.find(target, &Kind::POD)?;
        let way = Way::of(&self.store, &pod, &mut options);
        if let Way::Budget(budget) = &way {
            self.take_slot(budget, &pod.meta.name, options.dry_run).await?;
        }
        way.delete(&self.store, &pod, &options)?;
        Ok(evicted())
    }

    /// Takes one disruption from a budget, trying again while others write it.
    async fn take_slot(&self, budget: &Arc<Object>, pod: &str, dry_run: bool) -> Result<(), Status> {
        let mut budget = budget.clone();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(BETWEEN_TRIES).await;
                let (namespace, name) = (&budget.meta.namespace, &budget.meta.name);
                let fresh = self.store.get(&Kind::POD_DISRUPTION_BUDGET, namespace, name);
                budget = fresh.ok_or_else(|| Status::not_found(&Kind::POD_DISRUPTION_BUDGET, name))?;
            }
            match check_and_decrement(&self.store, &budget, pod, dry_run) {
                Err(status) if status.is("Conflict") => {}
                other => return other,
            }
        }
        let why = format!("couldn't update PodDisruptionBudget \"{}\" due to conflicts", budget.meta.name);
        Err(Status::timeout(why, 10))
    }
}

/// One eviction by a controller of the cluster itself, as the API answers it to others; a conflict is not waited out.
///
/// # Errors
/// What the API would answer: 429 where the budget has no room, 500 under two budgets.
pub(in crate::sim) fn evict(store: &Store, pod: &Arc<Object>) -> Result<(), Status> {
    let mut options = DeleteOptions { uid: Some(pod.meta.uid.clone()), ..DeleteOptions::default() };
    let way = Way::of(store, pod, &mut options);
    if let Way::Budget(budget) = &way {
        check_and_decrement(store, budget, &pod.meta.name, false)?;
    }
    way.delete(store, pod, &options)
}

/// What an eviction has to ask before the pod is deleted.
enum Way {
    /// Nobody: such a pod serves nobody.
    Free,
    /// Nobody, as long as the pod stays as it was seen; under this budget.
    NotReady(String),
    /// A slot of this budget.
    Budget(Arc<Object>),
    /// It can never be: there are two.
    Never,
}

impl Way {
    /// How this pod goes; pins it in `options` where it may not change meanwhile.
    fn of(store: &Store, pod: &Arc<Object>, options: &mut DeleteOptions) -> Self {
        let status: PodStatus = pod.field("status").unwrap_or_default();
        let done = matches!(status.phase.as_str(), "Succeeded" | "Failed");
        if done || status.phase == "Pending" || pod.terminating() {
            // One that may still start is pinned to what was seen.
            if !done && !pod.terminating() && options.resource_version.is_none() {
                options.resource_version = Some(pod.meta.resource_version);
            }
            return Self::Free;
        }
        match budgets_of(store, pod).as_slice() {
            [] => Self::Free,
            [budget] => {
                let ready = status.conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
                if ready || !may_go_unready(budget) {
                    return Self::Budget(budget.clone());
                }
                options.resource_version.get_or_insert(pod.meta.resource_version);
                Self::NotReady(budget.meta.name.clone())
            }
            _ => Self::Never,
        }
    }

    fn delete(&self, store: &Store, pod: &Arc<Object>, options: &DeleteOptions) -> Result<(), Status> {
        match self {
            Self::Never => {
                let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                Err(Status::failure(500, "", why))
            }
            Self::Free | Self::Budget(_) => delete_evicted(store, pod, options),
            Self::NotReady(budget) => match delete_evicted(store, pod, options) {
                Err(status) if status.is("Conflict") => Err(still_processed(budget)),
                other => other,
            },
        }
    }
}

/// The budgets whose selector matches a pod; a null selector matches nothing.
fn budgets_of(store: &Store, pod: &Object) -> Vec<Arc<Object>> {
    let all = store.list(&Kind::POD_DISRUPTION_BUDGET, Some(&pod.meta.namespace), &Selector::everything());
    let covers = |b: &Arc<Object>| {
        let spec: BudgetSpec = b.field("spec").unwrap_or_default();
        spec.selector.is_some_and(|s| Selector::from_label_selector(&s).matches_labels(&pod.meta.labels))
    };
    all.into_iter().filter(covers).collect()
}

fn check_and_decrement(store: &Store, budget: &Arc<Object>, pod: &str, dry_run: bool) -> Result<(), Status> {
    let kind = &Kind::POD_DISRUPTION_BUDGET;
    let name = &budget.meta.name;
    let mut status: BudgetStatus = budget.field("status").unwrap_or_default();
    if status.observed_generation < budget.meta.generation {
        return Err(still_processed(name));
    }
    if status.disruptions_allowed < 0 {
        return Err(Status::forbidden(kind, name, "pdb disruptions allowed is negative"));
    }
    if status.disrupted_pods.len() > MAX_DISRUPTED {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(kind, name, why));
    }
    if status.disruptions_allowed == 0 {
        return Err(exhausted(name, &status));
    }
    if dry_run {
        return Ok(());
    }
    let now = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    status.disruptions_allowed -= 1;
    if status.disruptions_allowed == 0 {
        no_longer_allowed(&mut status, budget.meta.generation, &now);
    }
    status.disrupted_pods.insert(pod.into(), now.into());
    let mut next = (**budget).clone();
    next.set_field("status", &status).map_err(Status::internal)?;
    store.update(next).map(drop)
}

/// Notes the condition on the pod, then deletes it, both under the preconditions.
fn delete_evicted(store: &Store, pod: &Arc<Object>, options: &DeleteOptions) -> Result<(), Status> {
    let (namespace, name) = (&pod.meta.namespace, &pod.meta.name);
    let mut options = options.clone();
    if !options.dry_run {
        let now = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let marked = store.modify(&Kind::POD, namespace, name, |pod| {
            check_preconditions(pod, &options)?;
            mark_disrupted(pod, &now);
            Ok(())
        })?;
        if options.resource_version.is_some() {
            options.resource_version = Some(marked.meta.resource_version);
        }
    }
    store.delete(&Kind::POD, namespace, name, &options).map(drop)
}

fn evicted() -> Response<ApiBody> {
    let status =
        value!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    json(StatusCode::CREATED, &status)
}

/// Whether a pod that is not ready may be evicted without taking a slot.
fn may_go_unready(budget: &Object) -> bool {
    let spec: BudgetSpec = budget.field("spec").unwrap_or_default();
    let status: BudgetStatus = budget.field("status").unwrap_or_default();
    spec.unhealthy_pod_eviction_policy == "AlwaysAllow"
        || (status.current_healthy >= status.desired_healthy && status.desired_healthy > 0)
}

fn with_cause(mut status: Status, message: String) -> Status {
    let details = status.details.get_or_insert_default();
    details.causes.push(StatusCause { reason: "DisruptionBudget".into(), message, field: String::new() });
    status
}

fn still_processed(budget: &str) -> Status {
    let message = format!("The disruption budget {budget} is still being processed by the server.");
    with_cause(Status::too_many_requests(VIOLATES, 10), message)
}

fn exhausted(name: &str, status: &BudgetStatus) -> Status {
    let condition =
        status.conditions.iter().find(|c| c["type"] == "DisruptionAllowed" && c["status"] == "False");
    let field = |f: &str| condition.and_then(|c| c[f].as_str()).unwrap_or_default();
    let (reason, why) = (field("reason"), field("message"));
    let message = if reason == "SyncFailed" && !why.is_empty() {
        format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}"
        )
    } else if status.current_healthy <= status.desired_healthy {
        let (need, have) = (status.desired_healthy, status.current_healthy);
        format!("The disruption budget {name} needs {need} healthy pods and has {have} currently")
    } else if !why.is_empty() {
        format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {why}")
    } else {
        format!("The disruption budget {name} does not allow evicting pods currently")
    };
    with_cause(Status::too_many_requests(VIOLATES, 0), message)
}

/// `UpdateDisruptionAllowedCondition` once nothing is allowed any more.
fn no_longer_allowed(status: &mut BudgetStatus, generation: u64, now: &str) {
    let condition = value!({"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": generation, "lastTransitionTime": now});
    match status.conditions.iter_mut().find(|c| c["type"] == "DisruptionAllowed") {
        Some(have) => *have = condition,
        None => status.conditions.push(condition),
    }
}

/// Sets the condition DisruptionTarget, as evictions do.
fn mark_disrupted(pod: &mut Object, now: &str) {
    let mut status: Value = pod.field("status").unwrap_or_default();
    let condition = value!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now});
    let Some(map) = status.as_object_mut() else { return };
    let conditions = map.entry("conditions").or_insert_with(|| value!([]));
    if let Some(list) =
        conditions.as_array_mut().filter(|l| !l.iter().any(|c| c["type"] == "DisruptionTarget"))
    {
        list.push(condition);
    }
    pod.set_value("status", &status);
}
