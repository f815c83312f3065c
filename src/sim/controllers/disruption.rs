//! PodDisruptionBudgets: how many pods may be disrupted now.
//!
//! Source: `pkg/controller/disruption/disruption.go`, v1.36.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::action::{Action, Decision, Target, stamp, warning};
use super::views::{IntOrPercent, Pod, PodDisruptionBudget, condition};

/// How long an eviction that was allowed holds its slot while the pod is not deleted (`DeletionTimeout`).
pub const DELETION_TIMEOUT: Duration = Duration::from_secs(120);
const SOURCE: &str = "controllermanager";

/// What a budget's status depends on.
pub struct Inputs<'a> {
    /// The budget.
    pub budget: &'a PodDisruptionBudget,
    /// The pods that it selects, terminating ones too.
    pub pods: &'a [&'a Pod],
    /// UID and `spec.replicas` of the workload at the top of a pod's owners.
    pub scale_of: &'a dyn Fn(&Pod) -> Option<(String, i64)>,
    /// The cluster's time.
    pub now: Timestamp,
}

/// The numbers of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Pods that ought to exist.
    pub expected: i64,
    /// Pods that must stay healthy.
    pub desired: i64,
}

/// Expected and desired healthy pods (`getExpectedPodCount`); an error when a percentage cannot be read.
pub fn expected(input: &Inputs<'_>) -> Result<Budget, String> {
    let spec = &input.budget.spec;
    let scaled = |amount: &IntOrPercent, total: i64| {
        amount.of(total, true).ok_or_else(|| format!("invalid value for IntOrString: {amount:?}"))
    };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(max), _) => {
            let expected = expected_scale(input)?;
            Ok(Budget { expected, desired: (expected - scaled(max, expected)?).max(0) })
        }
        (None, Some(IntOrPercent::Int(min))) => {
            Ok(Budget { expected: input.pods.len() as i64, desired: *min })
        }
        (None, Some(min)) => {
            let expected = expected_scale(input)?;
            Ok(Budget { expected, desired: scaled(min, expected)? })
        }
        (None, None) => Ok(Budget { expected: 0, desired: 0 }),
    }
}

/// The sum of the scales of the pods' owners, each counted once (`getExpectedScale`).
fn expected_scale(input: &Inputs<'_>) -> Result<i64, String> {
    let mut scales = BTreeMap::new();
    for pod in input.pods.iter().filter(|p| p.controller().is_some()) {
        let Some((uid, scale)) = (input.scale_of)(pod) else {
            return Err(format!("found no controllers for pod {:?}", pod.name()));
        };
        scales.insert(uid, scale);
    }
    Ok(scales.values().sum())
}

/// One sync of a budget (`trySync`, `updatePdbStatus`).
#[must_use]
pub fn decide(input: &Inputs<'_>) -> Decision {
    let mut decision = Decision::default();
    let budget = input.budget;
    if budget.terminating() {
        return decision;
    }
    let disrupted = still_disrupted(input, &mut decision);
    let healthy = input
        .pods
        .iter()
        .filter(|p| !p.terminating() && !disrupted.contains_key(p.name()) && p.ready())
        .count() as i64;
    let generation = budget.meta().generation;
    let mut status = Map::new();
    if !disrupted.is_empty() {
        let pods: Map<String, Value> =
            disrupted.iter().map(|(name, at)| (name.clone(), stamp(*at))).collect();
        status.insert("disruptedPods".into(), Value::Object(pods));
    }
    let (sums, verdict) = match expected(input) {
        Ok(sums) => {
            let allowed = if sums.expected > 0 { (healthy - sums.desired).max(0) } else { 0 };
            let verdict =
                if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
            ((allowed, healthy, sums.desired, sums.expected), (verdict.0, verdict.1, String::new()))
        }
        // On failure the controller only takes the budget away (`failSafe`).
        Err(message) => {
            let old = &budget.status;
            decision.actions.push(warning(
                &budget.object,
                SOURCE,
                "CalculateExpectedPodCountFailed",
                format!("Failed to calculate the number of expected pods: {message}"),
            ));
            (
                (0, old.current_healthy, old.desired_healthy, old.expected_pods),
                ("False", "SyncFailed", message),
            )
        }
    };
    // None of these has omitempty: zeros are there.
    for (name, value) in [
        ("disruptionsAllowed", sums.0),
        ("currentHealthy", sums.1),
        ("desiredHealthy", sums.2),
        ("expectedPods", sums.3),
    ] {
        status.insert(name.into(), json!(value));
    }
    status.insert("observedGeneration".into(), json!(generation));
    status.insert("conditions".into(), json!([allowed_condition(input, verdict)]));
    let status = Value::Object(status);
    let before: Value = budget.object.field("status").unwrap_or_default();
    if status == before {
        decision.actions.clear();
    } else {
        decision.actions.insert(0, Action::Status(Target::of(&budget.object), status));
    }
    decision
}

/// The condition DisruptionAllowed; its time changes only when its status does.
fn allowed_condition(input: &Inputs<'_>, (status, reason, message): (&str, &str, String)) -> Value {
    let old = condition(&input.budget.status.conditions, "DisruptionAllowed").filter(|c| c.status == status);
    let since = old.and_then(|c| c.last_transition_time).unwrap_or(input.now);
    json!({
        "type": "DisruptionAllowed", "status": status, "reason": reason, "message": message,
        "observedGeneration": input.budget.meta().generation, "lastTransitionTime": stamp(since),
    })
}

/// Evictions that were allowed and whose pod is not yet being deleted (`buildDisruptedPodMap`).
fn still_disrupted(input: &Inputs<'_>, decision: &mut Decision) -> BTreeMap<String, Timestamp> {
    let mut kept = BTreeMap::new();
    for pod in input.pods.iter().filter(|p| !p.terminating()) {
        let Some(at) = input.budget.status.disrupted_pods.get(pod.name()) else { continue };
        let left = at.as_millisecond() + DELETION_TIMEOUT.as_millis() as i64 - input.now.as_millisecond();
        if left < 0 {
            let message = format!(
                "Pod was expected by PDB {}/{} to be deleted but it wasn't",
                input.budget.namespace(),
                input.budget.name()
            );
            decision.actions.push(warning(&pod.object, SOURCE, "NotDeleted", message));
        } else {
            decision.again_in(Duration::from_millis(left as u64 + 1));
            kept.insert(pod.name().to_owned(), *at);
        }
    }
    kept
}
