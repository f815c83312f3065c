//! `scale`: a workload run with fewer (or more) replicas than it wants.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, decode, encode,
    field::{self, Change, Next},
    owners::{gitops, whoever},
    patiently,
};
use crate::{
    cluster::{Access, ApiError, JsonPatch, Snapshot, Workload, Write, manages, owner_of},
    types::{FieldSchema, Finding, InjectionId, Length, ObjectRef, RunId, codes::guard, planted},
};

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
    writes: &["spec.replicas"],
    agent: false,
    fields: &[
        FieldSchema {
            name: "replicas",
            description: "How many replicas there shall be. Exactly one of replicas and by. To 0 takes the right to patch the workload itself, where the change is then recorded.",
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
    rights: &[Right { verb: "patch", group: "apps", resource: "deployments/scale", cluster_wide: false }],
    hazards: &[],
};

/// The fields, as in the file.
#[derive(Deserialize)]
struct Params {
    replicas: Option<i32>,
    by: Option<Value>,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    replicas: i32,
}

/// What was there.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    replicas: i32,
}

/// How long pods may take to go or come until the change is seen.
const SEEN_WITHIN: Duration = Duration::from_secs(120);
/// Where `spec.replicas` is in managed fields.
const REPLICAS: [&str; 2] = ["f:spec", "f:replicas"];
/// Managers of changes that can be undone begin so; see [`manager`].
const MANAGER: &str = "firedrill:";

impl Fault for Scale {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let params: Params = super::params(ask)?;
        let mut findings = Vec::new();
        let mut injections = Vec::new();
        for (number, target) in ask.targets.iter().enumerate() {
            let Some(workload) = ask.snapshot.workload(&target.namespace, &target.kind, &target.name) else {
                findings.push(Finding::error(guard::NO_TARGET, target, "it is not there"));
                continue;
            };
            let replicas = match wanted(&params, workload.replicas) {
                Ok(replicas) => replicas,
                Err(message) => {
                    findings.push(Finding::error(guard::FIELDS, format!("step {}", ask.step), message));
                    continue;
                }
            };
            findings.extend(other_owners(ask.snapshot, workload, replicas));
            if replicas == workload.replicas {
                let message = format!("it has {replicas} replicas already, so nothing would change");
                findings.push(Finding::error(guard::NO_CHANGE, target, message));
            }
            injections.push(Injection {
                id: InjectionId::new(ask.step, number),
                fault: INFO.name.to_owned(),
                target: target.clone(),
                action: encode(&Action { replicas }),
                before: encode(&Before { replicas: workload.replicas }),
                displaced: Vec::new(),
                replicas_lost: u32::try_from(workload.replicas.saturating_sub(replicas)).unwrap_or(0),
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
        Box::pin(async move { patch(world, injection, true).await })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let (action, before) = data(injection)?;
            match patch(world, injection, false).await {
                Ok(()) => {}
                Err(FaultError::Api { source: ApiError::NotFound, .. }) => return Ok(Injected::TargetGone),
                // The tests failed: ours already (an answer that got lost), another object, or moved by
                // somebody else since it was planned.
                Err(FaultError::Api { source: ApiError::Conflict(_) | ApiError::Invalid(_), what }) => {
                    let now = match world.access.get(&injection.target).await {
                        Ok(now) => now,
                        Err(ApiError::NotFound) => return Ok(Injected::TargetGone),
                        Err(error) => return Err(FaultError::api(what)(error)),
                    };
                    if !(ours(&now, &manager(&world.signature.run, before.replicas))
                        && replicas(&now) == action.replicas)
                    {
                        let found =
                            format!("it has {} replicas now, not {}", replicas(&now), before.replicas);
                        return Err(FaultError::api(what)(ApiError::Conflict(found)));
                    }
                }
                Err(error) => return Err(error),
            }
            Ok(Injected::Done(format!("replicas {} → {}", before.replicas, action.replicas)))
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let Ok((action, before)) = data(injection) else {
                return std::future::pending().await;
            };
            let (target, down) = (&injection.target, action.replicas < before.replicas);
            world
                .mirror
                .wait_for(|snapshot| {
                    let workload = snapshot.workload(&target.namespace, &target.kind, &target.name)?;
                    let seen = workload.generation.1 >= workload.generation.0
                        && if down {
                            workload.ready <= action.replicas
                        } else {
                            workload.ready >= action.replicas
                        };
                    seen.then(|| format!("status.readyReplicas is {}", workload.ready))
                })
                .await
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

fn data(injection: &Injection) -> Result<(Action, Before), FaultError> {
    Ok((decode(injection, &injection.action)?, decode(injection, &injection.before)?))
}

/// How many replicas are wanted, of `now`.
fn wanted(params: &Params, now: i32) -> Result<i32, String> {
    let text = match (params.replicas, &params.by) {
        (Some(replicas), None) => return Ok(replicas),
        (None, Some(Value::String(text))) => text.clone(),
        (None, Some(Value::Number(number))) => number.to_string(),
        _ => return Err("exactly one of replicas and by has to be given".to_owned()),
    };
    let malformed = || format!("by: `{text}` is neither a number (-1) nor a percentage (-50%)");
    let change = match text.strip_suffix('%') {
        None => text.parse::<i32>().map_err(|_| malformed())?,
        Some(percent) => {
            let percent: i64 = percent.parse().map_err(|_| malformed())?;
            let change = i64::from(now) * percent / 100;
            let change = if change == 0 { percent.signum() } else { change };
            i32::try_from(change).map_err(|_| malformed())?
        }
    };
    Ok(now.saturating_add(change).max(0))
}

/// Whoever else decides over the replicas would undo the fault, or fight it.
fn other_owners(snapshot: &Snapshot, workload: &Workload, to: i32) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(hpa) = snapshot.autoscaler_of(&workload.object) {
        match &hpa.scaled_object {
            Some(name) => findings.push(
                Finding::error(
                    guard::OWNED_ELSEWHERE,
                    &workload.object,
                    format!("KEDA's ScaledObject {name} decides over its replicas"),
                )
                .remedy("pause it with the annotation autoscaling.keda.sh/paused, or choose another fault"),
            ),
            // An autoscaler pauses at zero (docs, HorizontalPodAutoscaler: implicit maintenance mode).
            None if to == 0 => {}
            None => findings.push(
                Finding::error(
                    guard::OWNED_ELSEWHERE,
                    &workload.object,
                    format!("HorizontalPodAutoscaler {} decides over its replicas", hpa.object.name),
                )
                .remedy("scale to 0, where it pauses, or choose another fault"),
            ),
        }
    }
    if let Some(tool) = workload.replicas_manager.as_deref().and_then(gitops) {
        findings.push(
            Finding::error(guard::OWNED_ELSEWHERE, &workload.object, format!("{tool} sets its replicas and would put them back"))
                .remedy("suspend its synchronisation for the time of the run, or leave replicas out of what it applies"),
        );
    }
    findings
}

/// The field manager under which the change is made; it is the scar, for the scale subresource drops
/// metadata. At most 128 bytes: the run's name has at most 63.
fn manager(run: &RunId, before: i32) -> String {
    format!("{MANAGER}{run}:replicas={before}")
}

/// The run and the replicas that a manager's name claims.
fn claim(manager: &str) -> Option<(RunId, i32)> {
    let (run, replicas) = manager.strip_prefix(MANAGER)?.split_once(":replicas=")?;
    let replicas: i32 = replicas.parse().ok().filter(|replicas| (0..=100_000).contains(replicas))?;
    Some((RunId::parse(run)?, replicas))
}

/// Whether what is there is still our change.
fn ours(object: &DynamicObject, manager: &str) -> bool {
    manages(&object.metadata, manager, &REPLICAS) || planted("reverts-what-others-changed")
}

/// Absent means the default, 1; zero is written out in spec.
fn replicas(object: &DynamicObject) -> i32 {
    let replicas = object.data.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    i32::try_from(replicas).unwrap_or(i32::MAX)
}

/// In a Scale a zero is left out, so null tests for it.
fn in_scale(replicas: i32) -> Value {
    if replicas == 0 { Value::Null } else { Value::from(replicas) }
}

async fn patch(world: &World, injection: &Injection, dry_run: bool) -> Result<(), FaultError> {
    let (action, before) = data(injection)?;
    // A Scale leaves a zero out, and then the API server records nobody as the manager of the replicas: no
    // scar. The workload itself writes it out.
    let (subresource, now) = match action.replicas {
        0 => (None, Value::from(before.replicas)),
        _ => (Some("scale"), in_scale(before.replicas)),
    };
    let change = JsonPatch::new()
        .test("/metadata/uid", &injection.target.uid)
        .test("/spec/replicas", now)
        .add("/spec/replicas", action.replicas);
    let manager = manager(&world.signature.run, before.replicas);
    let how = Write { manager: &manager, dry_run };
    let done = patiently(5, || world.access.patch(&injection.target, subresource, &change, how)).await;
    done.map(|_| ()).map_err(FaultError::api(format!("scaling {} to {}", injection.target, action.replicas)))
}

async fn put_back(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    let (action, before) = data(injection)?;
    let what = format!("scaling {} back to {}", injection.target, before.replicas);
    let manager = manager(&world.signature.run, before.replicas);
    field::put_back(world, &injection.target, (&what, "firedrill"), |now, done| {
        let count = replicas(now);
        if !ours(now, &manager) {
            return Next::Over(match done {
                Some(_) => Reverted::Restored(format!("replicas {} → {count}", action.replicas)),
                None if count == before.replicas => {
                    Reverted::NothingToDo(format!("replicas is {count}, as before"))
                }
                None => {
                    let by = whoever(now, &REPLICAS);
                    Reverted::ChangedSince(format!("replicas is {count}, set by {by} since"))
                }
            });
        }
        let patch = JsonPatch::new()
            .test("/metadata/uid", now.metadata.uid.clone().unwrap_or_default())
            .test("/spec/replicas", in_scale(count))
            .add("/spec/replicas", if planted("before-image-ignored") { 2 } else { before.replicas });
        let outcome = Reverted::Restored(format!("replicas {} → {}", action.replicas, before.replicas));
        Next::Change(Change { subresource: Some("scale"), patch, outcome })
    })
    .await
}

async fn find_scars(access: &Access, namespaces: &[String]) -> Result<Vec<Found>, ApiError> {
    let mut found = Vec::new();
    for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
        for namespace in namespaces {
            let sample = ObjectRef::namespaced("apps/v1", kind, namespace, "");
            let list = access.read(access.api(&sample).list_metadata(&ListParams::default())).await?;
            for object in list.items {
                let Some(manager) = owner_of(&object.metadata, &REPLICAS) else { continue };
                let Some((run, before)) = claim(&manager) else { continue };
                let name = object.metadata.name.clone().unwrap_or_default();
                let uid = object.metadata.uid.clone().unwrap_or_default();
                let namespace = object.metadata.namespace.clone().unwrap_or_default();
                let target = ObjectRef::namespaced("apps/v1", kind, &namespace, &name).with_uid(&uid);
                let current = access.get(&target).await.map_or(before, |now| replicas(&now));
                found.push(Found {
                    run: run.to_string(),
                    injection: Injection {
                        id: InjectionId::new(&name, found.len()),
                        fault: INFO.name.to_owned(),
                        target,
                        action: encode(&Action { replicas: current }),
                        before: encode(&Before { replicas: before }),
                        displaced: Vec::new(),
                        replicas_lost: 0,
                        effect_within: Length(SEEN_WITHIN),
                        until: Timestamp::UNIX_EPOCH,
                    },
                });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(by: Value, now: i32) -> Result<i32, String> {
        wanted(&Params { replicas: None, by: Some(by) }, now)
    }

    #[test]
    fn shares_round_towards_zero_but_change_one_at_least() {
        assert_eq!(to("-50%".into(), 5), Ok(3));
        assert_eq!(to("-10%".into(), 5), Ok(4));
        assert_eq!(to("50%".into(), 1), Ok(2));
        assert_eq!(to((-3).into(), 2), Ok(0));
        assert!(to("much".into(), 2).is_err());
        assert!(wanted(&Params { replicas: Some(1), by: Some(1.into()) }, 2).is_err());
    }

    #[test]
    fn the_managers_name_is_a_claim_and_is_validated() {
        let run = RunId::parse("checkout-x7k2p").expect("a name");
        assert_eq!(claim(&manager(&run, 3)), Some((run, 3)));
        for forged in
            ["firedrill", "firedrill:x", "firedrill:x:replicas=-1", "firedrill:../x:replicas=1", "kubectl"]
        {
            assert_eq!(claim(forged), None, "{forged}");
        }
    }
}
