//! `rolloutRestart`: all pods of a workload replaced by its own rollout.

use std::{collections::BTreeSet, time::Duration};

use futures::future::BoxFuture;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, decode, encode,
    template::{self, Attempt},
};
use crate::{
    cluster::{Access, ApiError, JsonPatch},
    types::{Finding, InjectionId, Length},
};

/// See [`INFO`].
pub struct RolloutRestart;

/// The template gets the annotation that `kubectl rollout restart` sets; the workload's controller does the rest.
///
/// A workload that a GitOps tool applies is not refused: the annotation is no field of what such a tool applies,
/// and neither Argo CD nor Flux takes it away (Argo CD's own action `restart` sets the same one).
pub static INFO: FaultInfo = FaultInfo {
    name: "rolloutRestart",
    summary: "Replace all pods of a workload by its own rollout, as kubectl rollout restart does.",
    example: "name: restart\ntarget: {workload: deployment/checkout}\nrolloutRestart: {}\n",
    lifetime: Lifetime::Instant,
    targets: &[TargetKind::Workload],
    limits: &[LimitKind::Pods],
    writes: &["spec.template"],
    agent: false,
    fields: &[],
    rights: &[
        Right { verb: "get", group: "apps", resource: "deployments", cluster_wide: false },
        Right { verb: "patch", group: "apps", resource: "deployments", cluster_wide: false },
    ],
    hazards: &[],
};

/// What has rollouts.
const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];
/// The annotation of a template that a restart changes (`defaultObjectRestarter` in kubectl's polymorphichelpers).
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// How long a rollout may take until all pods are new: as long as a Deployment may stand still by default
/// (`progressDeadlineSeconds`, 600), and half as long again for what goes one by one.
const SEEN_WITHIN: Duration = Duration::from_secs(900);

/// What is done.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Action {
    /// The annotation's value.
    restarted_at: String,
    /// The template's fingerprint before.
    template: String,
    /// UIDs of the pods that have to go.
    pods: BTreeSet<String>,
}

impl Fault for RolloutRestart {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut injections = Vec::new();
        for (number, found) in template::targets(ask, &KINDS).into_iter().enumerate() {
            let (target, workload) = match found {
                Ok(found) => found,
                Err(more) => {
                    findings.extend(more);
                    continue;
                }
            };
            let action = Action {
                restarted_at: ask.now.round(jiff::Unit::Second).unwrap_or(ask.now).to_string(),
                template: workload.fingerprint.clone(),
                pods: template::pods(ask, workload),
            };
            injections.push(Injection {
                id: InjectionId::new(ask.step, number),
                fault: INFO.name.to_owned(),
                target: target.clone(),
                action: encode(&action),
                before: Value::Null,
                displaced: Vec::new(),
                replicas_lost: u32::try_from(workload.rollout.unavailable).unwrap_or(0),
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
        Box::pin(async move { restart(world, injection, true).await.map(|_| ()) })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let action: Action = decode(injection, &injection.action)?;
            match restart(world, injection, false).await {
                Ok(template) => {
                    let said = format!(
                        "restarted, {RESTARTED_AT}: {}, {} pods to go",
                        action.restarted_at,
                        action.pods.len()
                    );
                    Ok(Injected::RolledOut { said, template })
                }
                Err(FaultError::Api { source: ApiError::NotFound, .. }) => Ok(Injected::TargetGone),
                Err(error) => Err(error),
            }
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let Ok(action) = decode::<Action>(injection, &injection.action) else {
                return std::future::pending().await;
            };
            let target = &injection.target;
            world
                .mirror
                .wait_for(|snapshot| {
                    let workload = snapshot.workload(&target.namespace, &target.kind, &target.name)?;
                    let mut pods = snapshot.pods_in(&target.namespace);
                    let through = workload.fingerprint != action.template && !workload.rolling_out();
                    (through && !pods.any(|pod| action.pods.contains(&pod.object.uid))).then(|| {
                        format!(
                            "all {} former pods are gone, {} of {} are of the new template",
                            action.pods.len(),
                            workload.updated,
                            workload.replicas
                        )
                    })
                })
                .await
        })
    }

    fn revert<'a>(
        &'a self,
        _world: &'a World,
        _injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(async {
            Ok(Reverted::NothingToDo("a restarted workload is as it was, with new pods".to_owned()))
        })
    }

    fn scars<'a>(
        &'a self,
        _access: &'a Access,
        _namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Sets the annotation, unless it is set already: the answer to an earlier try may have got lost.
async fn restart(world: &World, injection: &Injection, dry_run: bool) -> Result<String, FaultError> {
    let action: Action = decode(injection, &injection.action)?;
    let what = format!("restarting {}", injection.target);
    template::write(world, injection, Attempt { what: &what, dry_run }, |now| {
        if restarted_at(now) == Some(action.restarted_at.as_str()) {
            return Ok(None);
        }
        template::untouched(now, &action.template)?;
        Ok(Some(annotated(now, &action.restarted_at, &injection.target.uid)))
    })
    .await
}

fn annotations(workload: &DynamicObject) -> &Value {
    workload.data.pointer("/spec/template/metadata/annotations").unwrap_or(&Value::Null)
}

fn restarted_at(workload: &DynamicObject) -> Option<&str> {
    annotations(workload).get(RESTARTED_AT).and_then(Value::as_str)
}

/// The patch that sets the annotation, if the template is still what `now` has.
fn annotated(now: &DynamicObject, at: &str, uid: &str) -> JsonPatch {
    const ANNOTATIONS: &str = "/spec/template/metadata/annotations";
    let patch =
        JsonPatch::new().test("/metadata/uid", uid).test("/metadata/generation", now.metadata.generation);
    let one = json!({ RESTARTED_AT: at });
    match annotations(now) {
        Value::Object(_) => patch.add(&format!("{ANNOTATIONS}/{}", JsonPatch::segment(RESTARTED_AT)), at),
        // A template without labels would match no selector, so metadata is there.
        _ => patch.add(ANNOTATIONS, one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_annotations_of_the_template_stay() {
        let workload = |annotations: Value| -> DynamicObject {
            serde_json::from_value(json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "u1", "generation": 3},
                "spec": {"template": {"metadata": {"labels": {"app": "web"}, "annotations": annotations}}},
            }))
            .expect("a Deployment")
        };
        let patched = |annotations: Value| {
            let now = workload(annotations);
            let patch = serde_json::to_value(annotated(&now, "2026-01-01T00:00:00Z", "u1")).expect("JSON");
            let patch: json_patch::Patch = serde_json::from_value(patch).expect("a patch");
            let mut value = serde_json::to_value(&now).expect("JSON");
            json_patch::patch(&mut value, &patch).expect("applies");
            value.pointer("/spec/template/metadata/annotations").cloned()
        };
        let at = "2026-01-01T00:00:00Z";
        assert_eq!(patched(Value::Null), Some(json!({ RESTARTED_AT: at })));
        assert_eq!(patched(json!({"a": "b"})), Some(json!({"a": "b", RESTARTED_AT: at})));
        assert_eq!(patched(json!({ RESTARTED_AT: "earlier" })), Some(json!({ RESTARTED_AT: at })));
        assert_eq!(restarted_at(&workload(json!({ RESTARTED_AT: at }))), Some(at));
    }
}
