//! `hpaClamp`: an autoscaler held within narrower bounds, or where it is.

use std::time::Duration;

use futures::future::BoxFuture;
use kube::api::{DynamicObject, ListParams};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, decode, encode,
    field::{self, Change, Next},
    node_scar::{self, Attempt},
    owners::{gitops, whoever},
};
use crate::{
    cluster::{Access, ApiError, Autoscaler, JsonPatch, RUN_LABEL, Snapshot, manages},
    types::{FieldSchema, Finding, InjectionId, Length, ObjectRef, codes::guard},
};

/// See [`INFO`].
pub struct HpaClamp;

/// The bounds of the HorizontalPodAutoscaler that scales the workload are changed, and put back.
pub static INFO: FaultInfo = FaultInfo {
    name: "hpaClamp",
    summary: "Clamp the HorizontalPodAutoscaler of a workload, or freeze it where it is; put its bounds back afterwards.",
    example: "name: no-more-than-four\ntarget: {workload: deployment/checkout}\nhpaClamp: {max: 4}\nduration: 5m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Workload],
    limits: &[LimitKind::Pods],
    writes: &["spec.minReplicas", "spec.maxReplicas"],
    agent: false,
    fields: &[
        FieldSchema {
            name: "min",
            description: "Least replicas. Default: what it has. Without min and max it is frozen at the replicas that there are when the step begins.",
            required: false,
            default: None,
            schema: COUNT,
        },
        FieldSchema {
            name: "max",
            description: "Most replicas. Default: what it has. Below what there are now, pods go at once; those count against limits.pods.",
            required: false,
            default: None,
            schema: COUNT,
        },
    ],
    rights: &[
        Right {
            verb: "get",
            group: "autoscaling",
            resource: "horizontalpodautoscalers",
            cluster_wide: false,
        },
        Right {
            verb: "patch",
            group: "autoscaling",
            resource: "horizontalpodautoscalers",
            cluster_wide: false,
        },
    ],
    hazards: &[],
};

const COUNT: &str = r#"{"type":"integer","minimum":1,"maximum":100000}"#;
/// How long it may take until its controller says that it keeps to the bounds: it looks every 15 s
/// (`--horizontal-pod-autoscaler-sync-period`), and has to have scaled.
const SEEN_WITHIN: Duration = Duration::from_secs(120);

/// The fields, as in the file.
#[derive(Deserialize)]
struct Params {
    min: Option<i32>,
    max: Option<i32>,
}

/// Bounds: what is set, and what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<i32>,
    max: i32,
}

impl Fault for HpaClamp {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        let of = |name: &str| params.get(name).and_then(Value::as_i64);
        match (of("min"), of("max")) {
            (Some(min), Some(max)) if min > max => {
                let message = format!("min, {min}, is above max, {max}");
                vec![
                    Finding::error(guard::FIELDS, "hpaClamp", message)
                        .remedy("write for example `hpaClamp: {max: 4}`"),
                ]
            }
            _ => Vec::new(),
        }
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let params: Params = super::params(ask)?;
        let mut findings = Vec::new();
        let mut injections = Vec::new();
        for (number, target) in ask.targets.iter().enumerate() {
            let found = the_one(ask.snapshot, target).map_err(|finding| vec![*finding]);
            let bounds = found.and_then(|hpa| Ok((hpa, wanted(&params, hpa)?)));
            let (hpa, bounds) = match bounds {
                Ok(found) => found,
                Err(more) => {
                    findings.extend(more);
                    continue;
                }
            };
            injections.push(Injection {
                id: InjectionId::new(ask.step, number),
                fault: INFO.name.to_owned(),
                target: hpa.object.clone(),
                action: encode(&bounds),
                before: encode(&Bounds { min: hpa.min, max: hpa.max }),
                displaced: Vec::new(),
                replicas_lost: u32::try_from(hpa.current.saturating_sub(bounds.max)).unwrap_or(0),
                effect_within: Length(SEEN_WITHIN),
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
        Box::pin(clamp(world, injection, true))
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let (action, before) = data(injection)?;
            match clamp(world, injection, false).await {
                Ok(()) => Ok(Injected::Done(format!("bounds {} → {}", words(before), words(action)))),
                Err(FaultError::Api { source: ApiError::NotFound, .. }) => Ok(Injected::TargetGone),
                Err(error) => Err(error),
            }
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let Ok((action, _)) = data(injection) else {
                return std::future::pending().await;
            };
            world.mirror.wait_for(|snapshot| obeyed(snapshot, &injection.target, action)).await
        })
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(put_back(world, injection))
    }

    fn scars<'a>(
        &'a self,
        access: &'a Access,
        namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(find_scars(access, namespaces))
    }
}

fn data(injection: &Injection) -> Result<(Bounds, Bounds), FaultError> {
    Ok((decode(injection, &injection.action)?, decode(injection, &injection.before)?))
}

/// The autoscaler of a workload, if there is exactly one and nobody else decides over it.
fn the_one<'a>(snapshot: &'a Snapshot, target: &'a ObjectRef) -> Result<&'a Autoscaler, Box<Finding>> {
    let found: Vec<&Autoscaler> = snapshot.autoscalers_of(target).map(|hpa| &**hpa).collect();
    let hpa = match found.as_slice() {
        [one] => *one,
        [] => {
            let message = "no HorizontalPodAutoscaler scales it";
            return Err(Box::new(
                Finding::error(guard::NO_TARGET, target, message)
                    .remedy(format!("kubectl get hpa -n {}", target.namespace)),
            ));
        }
        several => {
            let names: Vec<&str> = several.iter().map(|hpa| hpa.object.name.as_str()).collect();
            let message = format!("several HorizontalPodAutoscalers scale it: {}", names.join(", "));
            return Err(Box::new(
                Finding::error(guard::NO_TARGET, target, message)
                    .remedy("leave one: they fight over its replicas in any case"),
            ));
        }
    };
    if let Some(run) = &hpa.run {
        let message = format!("run {run} has changed it and not put it back");
        return Err(Box::new(
            Finding::error(guard::OVERLAP, &hpa.object, message).remedy(format!("firedrill rollback {run}")),
        ));
    }
    if let Some(name) = &hpa.scaled_object {
        let message = format!("KEDA's ScaledObject {name} sets its bounds and would put them back");
        return Err(Box::new(Finding::error(guard::OWNED_ELSEWHERE, &hpa.object, message).remedy(
            "pause it with the annotation autoscaling.keda.sh/paused-replicas, or choose another fault",
        )));
    }
    if let Some(tool) = hpa.max_manager.as_deref().and_then(gitops) {
        let message = format!("{tool} sets its bounds and would put them back");
        return Err(Box::new(
            Finding::error(guard::OWNED_ELSEWHERE, &hpa.object, message)
                .remedy("suspend its synchronisation for the time of the run"),
        ));
    }
    Ok(hpa)
}

/// The bounds that are to be, and whether keeping to them can be seen.
fn wanted(params: &Params, hpa: &Autoscaler) -> Result<Bounds, Vec<Finding>> {
    let refused = |code, message: String, remedy: &str| {
        Err(vec![Finding::error(code, &hpa.object, message).remedy(remedy)])
    };
    if hpa.conditions.is_empty() {
        // Its counts are zero until then, and what would be taken away could not be held to the limits.
        let message = "its controller has not looked at it yet".to_owned();
        return refused(guard::NO_CHANGE, message, "wait until kubectl get hpa shows its replicas");
    }
    let (min, max) = match (params.min, params.max) {
        (None, None) if hpa.current < 1 => {
            let message = "it says that there are no replicas to freeze it at".to_owned();
            return refused(guard::NO_CHANGE, message, "give min and max, or wait until it scales");
        }
        (None, None) => (hpa.current, hpa.current),
        (min, max) => (min.unwrap_or(hpa.least()), max.unwrap_or(hpa.max)),
    };
    if min > max {
        let message = format!("its bounds would be {min} to {max}");
        return refused(guard::FIELDS, message, "give both min and max");
    }
    if (min, max) == (hpa.least(), hpa.max) {
        let message = format!("its bounds are {min} to {max} already");
        return refused(guard::NO_CHANGE, message, "ask for others");
    }
    // Outside its bounds it moves whatever its metrics say; within them one that has none does nothing.
    let moves = hpa.current < min || hpa.current > max;
    if !moves && hpa.holds("ScalingActive") != Some(true) {
        let reason = hpa.conditions.get("ScalingActive").map_or("it has not said anything", |(_, why)| why);
        let message = format!("it does not scale at present ({reason}), so there is nothing to hold");
        return refused(guard::NO_CHANGE, message, "kubectl describe hpa says what is missing");
    }
    Ok(Bounds { min: Some(min), max })
}

/// What the autoscaler's controller says of itself, written after our change.
fn obeyed(snapshot: &Snapshot, target: &ObjectRef, bounds: Bounds) -> Option<String> {
    let hpa = snapshot.autoscaler(target).filter(|hpa| hpa.object.uid == target.uid)?;
    let least = bounds.min.unwrap_or(1);
    let ours = hpa.run.is_some() && (hpa.least(), hpa.max) == (least, bounds.max);
    let looked = hpa.status_written > hpa.written;
    let kept = (least..=bounds.max).contains(&hpa.desired);
    (ours && looked && kept).then(|| {
        let limited = match hpa.conditions.get("ScalingLimited") {
            Some((status, reason)) if status == "True" => format!(", ScalingLimited: {reason}"),
            _ => String::new(),
        };
        format!("its controller has looked since and wants {} replicas{limited}", hpa.desired)
    })
}

fn words(bounds: Bounds) -> String {
    format!("{}..{}", bounds.min.unwrap_or(1), bounds.max)
}

/// The bounds of an autoscaler as it is.
fn bounds_of(now: &DynamicObject) -> Bounds {
    let of = |field: &str| {
        let value = now.data.pointer(field).and_then(Value::as_i64)?;
        i32::try_from(value).ok()
    };
    Bounds { min: of("/spec/minReplicas"), max: of("/spec/maxReplicas").unwrap_or(0) }
}

/// Sets `to` where it differs from what is there, and tests what is there.
fn set(patch: JsonPatch, now: Bounds, to: Bounds) -> JsonPatch {
    const MIN: &str = "/spec/minReplicas";
    const MAX: &str = "/spec/maxReplicas";
    let patch = patch.test(MIN, now.min).test(MAX, now.max);
    let patch = match (now.min, to.min) {
        (now, to) if now == to => patch,
        (_, Some(min)) => patch.add(MIN, min),
        (_, None) => patch.remove(MIN),
    };
    if now.max == to.max { patch } else { patch.add(MAX, to.max) }
}

/// Bounds and scar in one write.
async fn clamp(world: &World, injection: &Injection, dry_run: bool) -> Result<(), FaultError> {
    let (action, before) = data(injection)?;
    let what = format!("clamping {}", injection.target);
    let otherwise = "somebody else has changed its bounds since it was planned, or another run holds it";
    node_scar::apply(world, injection, Attempt { what: &what, otherwise, dry_run }, |now| {
        let there = bounds_of(now);
        if there == action && node_scar::on(now, injection) {
            return Ok(None);
        }
        let run = now.metadata.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL));
        if there != before || run.is_some_and(|run| run != world.signature.run.as_str()) {
            return Err(ApiError::Conflict(otherwise.to_owned()));
        }
        let patch = JsonPatch::new().test("/metadata/uid", &injection.target.uid);
        Ok(Some(node_scar::add(set(patch, there, action), world, injection, now)))
    })
    .await
}

/// What goes back of bounds that are `now`, where only what is still ours (least, most) is touched. None: nothing is.
fn back(now: Bounds, (least, most): (bool, bool), before: Bounds) -> Option<Bounds> {
    let to = Bounds {
        min: if least { before.min } else { now.min },
        max: if most { before.max } else { now.max },
    };
    // Half of it put back beside what somebody else has set may make no sense.
    (to != now && to.min.unwrap_or(1) <= to.max).then_some(to)
}

/// Puts the bounds back as far as they are ours, and takes the scar away in any case.
async fn put_back(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    const FIELDS: [[&str; 2]; 2] = [["f:spec", "f:minReplicas"], ["f:spec", "f:maxReplicas"]];
    let (_, before) = data(injection)?;
    let (target, manager) = (&injection.target, node_scar::manager(world));
    let what = format!("putting the bounds of {target} back");
    field::put_back(world, target, (&what, &manager), |now, done| {
        if !node_scar::on(now, injection) {
            return Next::Over(
                done.unwrap_or_else(|| Reverted::NothingToDo("it carries no scar of ours".to_owned())),
            );
        }
        let there = bounds_of(now);
        let [least, most] = FIELDS.map(|field| manages(&now.metadata, &manager, &field));
        let to = back(there, (least, most), before);
        let patch = JsonPatch::new().test("/metadata/uid", now.metadata.uid.clone().unwrap_or_default());
        let patch = node_scar::remove(set(patch, there, to.unwrap_or(there)), world, injection, now);
        let outcome = if to == Some(before) {
            Reverted::Restored(format!("bounds {} → {}", words(there), words(before)))
        } else {
            let [least_by, most_by] = FIELDS.map(|field| whoever(now, &field));
            let left = words(to.unwrap_or(there));
            Reverted::ChangedSince(format!(
                "its bounds were {}, set by {least_by} and {most_by}; they are {left} now",
                words(there)
            ))
        };
        Next::Change(Change { subresource: None, patch, outcome })
    })
    .await
}

async fn find_scars(access: &Access, namespaces: &[String]) -> Result<Vec<Found>, ApiError> {
    let mut found = Vec::new();
    for namespace in namespaces {
        let of = |name: &str, namespace: &str| {
            ObjectRef::namespaced("autoscaling/v2", "HorizontalPodAutoscaler", namespace, name)
        };
        let api = access.api(&of("", namespace));
        let list = access.read(api.list(&ListParams::default().labels(RUN_LABEL))).await?;
        for hpa in list.items {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let metadata = &hpa.metadata;
            let target = of(&text(&metadata.name), &text(&metadata.namespace)).with_uid(&text(&metadata.uid));
            // What is there is what was done, as far as a scar can say; whose it is, managed fields say.
            let action = encode(&bounds_of(&hpa));
            let valid = |before: &Value| {
                let before: Bounds = serde_json::from_value(before.clone()).ok()?;
                let fits = before.min.is_none_or(|min| min >= 0) && (1..=100_000).contains(&before.max);
                (fits && before.min.unwrap_or(1) <= before.max).then(|| action.clone())
            };
            found.extend(node_scar::claims(metadata, &target, INFO.name, valid));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn of(min: i32, max: i32) -> Bounds {
        Bounds { min: Some(min), max }
    }

    #[test]
    fn only_what_is_still_ours_goes_back() {
        let (clamped, before) = (of(4, 4), of(2, 10));
        assert_eq!(back(clamped, (true, true), before), Some(before));
        assert_eq!(back(of(4, 20), (true, false), before), Some(of(2, 20)));
        assert_eq!(back(of(1, 4), (false, true), before), Some(of(1, 10)));
        assert_eq!(back(of(6, 8), (false, false), before), None, "nothing of it is ours");
        // Somebody has raised the least to 12: the 10 of before is below it.
        assert_eq!(back(of(12, 14), (false, true), before), None);
        assert_eq!(back(before, (true, true), before), None, "it is back already");
        let absent = Bounds { min: None, max: 10 };
        assert_eq!(back(clamped, (true, true), absent), Some(absent));
    }

    #[test]
    fn a_patch_tests_what_it_changes() {
        let absent = Bounds { min: None, max: 10 };
        let patch = |now, to| serde_json::to_value(set(JsonPatch::new(), now, to)).expect("JSON");
        assert_eq!(
            patch(of(2, 10), of(4, 10)),
            json!([
                {"op": "test", "path": "/spec/minReplicas", "value": 2},
                {"op": "test", "path": "/spec/maxReplicas", "value": 10},
                {"op": "add", "path": "/spec/minReplicas", "value": 4},
            ])
        );
        assert_eq!(patch(of(4, 4), absent)[2], json!({"op": "remove", "path": "/spec/minReplicas"}));
        assert_eq!(patch(absent, absent).as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn one_that_has_not_said_anything_is_refused() {
        let new = Autoscaler {
            object: ObjectRef::namespaced("autoscaling/v2", "HorizontalPodAutoscaler", "shop", "web"),
            target: ("Deployment".to_owned(), "web".to_owned()),
            scaled_object: None,
            min: None,
            max: 10,
            current: 0,
            desired: 0,
            conditions: BTreeMap::new(),
            status_written: None,
            written: None,
            max_manager: None,
            run: None,
        };
        let params = Params { min: None, max: Some(2) };
        let refused = wanted(&params, &new).expect_err("its counts mean nothing");
        assert_eq!(refused[0].code, guard::NO_CHANGE, "{refused:?}");
        let condition = ("AbleToScale".to_owned(), ("True".to_owned(), "ReadyForNewScale".to_owned()));
        let looked = Autoscaler { current: 4, conditions: [condition].into(), ..new };
        assert_eq!(wanted(&params, &looked).ok(), Some(of(1, 2)));
    }

    #[test]
    fn least_above_most_is_refused_from_the_file_alone() {
        assert_eq!(HpaClamp.lint(&json!({"min": 5, "max": 4})).len(), 1);
        assert!(HpaClamp.lint(&json!({"min": 4, "max": 4})).is_empty());
        assert!(HpaClamp.lint(&json!({})).is_empty());
    }
}
