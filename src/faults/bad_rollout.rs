//! `badRollout`: a release that cannot run.

use std::{collections::BTreeMap, time::Duration};

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
    template::{self, Attempt},
};
use crate::{
    cluster::{Access, ApiError, JsonPatch, Pod, RUN_LABEL, Snapshot, Workload, manages},
    types::{FieldSchema, Finding, InjectionId, Length, ObjectRef, RunId, codes::guard},
};

/// See [`INFO`].
pub struct BadRollout;

/// The image of one container of a Deployment is changed in its pod template, and changed back.
///
/// Scars are labels: annotations of a Deployment are copied to its ReplicaSets and come back with
/// `kubectl rollout undo`.
pub static INFO: FaultInfo = FaultInfo {
    name: "badRollout",
    summary: "Release an image that cannot run; bring the former release back afterwards, unless somebody else has.",
    example: "name: break-it\ntarget: {workload: deployment/checkout}\nbadRollout: {image: \"registry.invalid/checkout:broken\"}\nduration: 5m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Workload],
    limits: &[LimitKind::Pods],
    writes: &["spec.template"],
    agent: false,
    fields: &[
        FieldSchema {
            name: "image",
            description: "The image. Whatever it is, its pods must not become ready, or nothing is seen in force.",
            required: false,
            default: Some(IMAGE),
            schema: r#"{"type":"string","minLength":1,"maxLength":512,"pattern":"^[^\\s]+$"}"#,
        },
        FieldSchema {
            name: "container",
            description: "Name of the container. Default: the first.",
            required: false,
            default: None,
            schema: "label",
        },
    ],
    rights: &[
        Right { verb: "get", group: "apps", resource: "deployments", cluster_wide: false },
        Right { verb: "patch", group: "apps", resource: "deployments", cluster_wide: false },
    ],
    hazards: &[],
};

/// No host has a name under `invalid` (RFC 2606, section 2).
const IMAGE: &str = "registry.invalid/firedrill:broken";
/// Why containers of a bad release wait (`pkg/kubelet/images/types.go`, `pkg/kubelet/kuberuntime`).
const BAD: [&str; 9] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "CrashLoopBackOff",
    "CreateContainerError",
    "CreateContainerConfigError",
    "RunContainerError",
];
/// How long the controller, the scheduler, the kubelet and a registry may take until a pod of the new release is
/// seen to wait.
const SEEN_WITHIN: Duration = Duration::from_secs(180);
/// The label that says which container was changed.
const CONTAINER: &str = "undo.firedrill.dev/container";
/// The label that says which revision there was.
const REVISION: &str = "undo.firedrill.dev/revision";
/// Which rollout of its Deployment a ReplicaSet was, and had been (`pkg/controller/deployment/util`).
const REVISIONS: [&str; 2] =
    ["deployment.kubernetes.io/revision", "deployment.kubernetes.io/revision-history"];

/// The fields, as in the file.
#[derive(Deserialize)]
struct Params {
    image: Option<String>,
    container: Option<String>,
}

/// What is done.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    image: String,
}

/// What was there.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    /// Whose image it is.
    container: String,
    /// Empty where no ReplicaSet of the revision is left to say it.
    image: String,
    /// `deployment.kubernetes.io/revision`.
    revision: String,
    /// The template's fingerprint; empty where a scar is all there is.
    #[serde(default)]
    template: String,
}

impl Fault for BadRollout {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn takes(&self, resource: &str) -> bool {
        resource == "deployments"
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let params: Params = super::params(ask)?;
        let mut findings = Vec::new();
        let mut injections = Vec::new();
        for (number, found) in template::targets(ask, &["Deployment"]).into_iter().enumerate() {
            let planned =
                found.and_then(|(target, workload)| Ok((target, workload, planned(&params, workload)?)));
            let (target, workload, (action, before)) = match planned {
                Ok(planned) => planned,
                Err(more) => {
                    findings.extend(more);
                    continue;
                }
            };
            injections.push(Injection {
                id: InjectionId::new(ask.step, number),
                fault: INFO.name.to_owned(),
                target: target.clone(),
                action: encode(&action),
                before: encode(&before),
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
        Box::pin(async move { release(world, injection, true).await.map(|_| ()) })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let (action, before) = data(injection)?;
            match release(world, injection, false).await {
                Ok(template) => {
                    let Before { container, image, revision, .. } = before;
                    let said =
                        format!("image of {container}: {image}, revision {revision} → {}", action.image);
                    Ok(Injected::RolledOut { said, template })
                }
                Err(FaultError::Api { source: ApiError::NotFound, .. }) => Ok(Injected::TargetGone),
                Err(error) => Err(error),
            }
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let Ok((_, before)) = data(injection) else {
                return std::future::pending().await;
            };
            world.mirror.wait_for(|snapshot| waits(snapshot, &injection.target, &before)).await
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

/// Which image goes where, or what speaks against it.
fn planned(params: &Params, workload: &Workload) -> Result<(Action, Before), Vec<Finding>> {
    let object = &workload.object;
    let refused =
        |code, message: String, remedy: &str| Err(vec![Finding::error(code, object, message).remedy(remedy)]);
    if let Some(tool) = workload.managers.iter().find_map(|manager| gitops(manager)) {
        let message = format!("{tool} applies it and would put the image back before anybody has to notice");
        return refused(
            guard::OWNED_ELSEWHERE,
            message,
            "suspend its synchronisation for the time of the run",
        );
    }
    let names = || workload.containers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match &params.container {
        Some(name) => workload.containers.iter().find(|(container, _)| container == name),
        None => workload.containers.first(),
    };
    let Some((container, image)) = found else {
        let asked = params.container.as_deref().unwrap_or_default();
        let message = format!("its template has no container {asked}, but {}", names());
        return refused(guard::FIELDS, message, "name one of them");
    };
    let bad = params.image.clone().unwrap_or_else(|| IMAGE.to_owned());
    if bad == *image {
        return refused(guard::NO_CHANGE, format!("{container} has that image already"), "ask for another");
    }
    let before = Before {
        container: container.clone(),
        image: image.clone(),
        revision: workload.revision().unwrap_or_default().to_owned(),
        template: workload.fingerprint.clone(),
    };
    Ok((Action { image: bad }, before))
}

/// Where a container's image is among managed fields.
fn managed_path(container: &str) -> [String; 6] {
    let key = format!("k:{}", serde_json::json!({ "name": container }));
    ["f:spec".into(), "f:template".into(), "f:spec".into(), "f:containers".into(), key, "f:image".into()]
}

/// Where a container is in the template, and its image.
fn image_of<'a>(now: &'a DynamicObject, container: &str) -> Option<(usize, &'a str)> {
    let containers = now.data.pointer("/spec/template/spec/containers").and_then(Value::as_array)?;
    let at = containers.iter().position(|there| there["name"] == container)?;
    Some((at, containers[at]["image"].as_str().unwrap_or_default()))
}

fn label<'a>(now: &'a DynamicObject, key: &str) -> Option<&'a str> {
    now.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Whether the scar of this injection is on it.
fn scarred(now: &DynamicObject, run: &RunId, before: &Before) -> bool {
    let labels = [(RUN_LABEL, run.as_str()), (CONTAINER, &before.container), (REVISION, &before.revision)];
    labels.into_iter().all(|(key, value)| label(now, key) == Some(value))
}

/// The patch that sets a container's image, if it is what `now` has.
fn with_image(patch: JsonPatch, now: &DynamicObject, container: &str, image: &str) -> Option<JsonPatch> {
    let (at, there) = image_of(now, container)?;
    let path = format!("/spec/template/spec/containers/{at}");
    let patch = patch.test(&format!("{path}/name"), container).test(&format!("{path}/image"), there);
    Some(patch.add(&format!("{path}/image"), image))
}

/// Image and labels in one write.
async fn release(world: &World, injection: &Injection, dry_run: bool) -> Result<String, FaultError> {
    let (action, before) = data(injection)?;
    let run = &world.signature.run;
    let what = format!("releasing {} to {}", action.image, injection.target);
    template::write(world, injection, Attempt { what: &what, dry_run }, |now| {
        // Labels and image are one write; what admission makes of the image is ours all the same.
        if scarred(now, run, &before) {
            return Ok(None);
        }
        if label(now, RUN_LABEL).is_some() {
            return Err(ApiError::Conflict("another run holds it, or another step of this one".to_owned()));
        }
        template::untouched(now, &before.template)?;
        let patch = JsonPatch::new()
            .test("/metadata/uid", &injection.target.uid)
            .test("/metadata/generation", now.metadata.generation);
        let labels = [
            (RUN_LABEL, run.as_str()),
            (CONTAINER, before.container.as_str()),
            (REVISION, before.revision.as_str()),
        ];
        let patch = if now.metadata.labels.is_none() {
            let labels: BTreeMap<&str, &str> = labels.into_iter().collect();
            patch.test("/metadata/labels", Value::Null).add("/metadata/labels", labels)
        } else {
            let at = |key: &str| format!("/metadata/labels/{}", JsonPatch::segment(key));
            labels.into_iter().fold(patch, |patch, (key, value)| patch.add(&at(key), value))
        };
        let gone = || ApiError::Conflict(format!("its container {} is gone", before.container));
        with_image(patch, now, &before.container, &action.image).map(Some).ok_or_else(gone)
    })
    .await
}

/// A pod of the new revision that does not get on, by the kubelet's own word.
fn waits(snapshot: &Snapshot, target: &ObjectRef, before: &Before) -> Option<String> {
    let deployment = snapshot.workload(&target.namespace, &target.kind, &target.name)?;
    let revision = deployment.revision().filter(|now| *now != before.revision)?;
    let bad = |pod: &Pod| pod.waiting.iter().find(|why| BAD.contains(&why.as_str())).cloned();
    snapshot.pods_of(deployment).filter(|pod| !pod.ready).find_map(|pod| {
        let set = &pod.owner.as_ref()?.name;
        let of_it = snapshot.workload(&target.namespace, "ReplicaSet", set)?.revision() == Some(revision);
        let why = bad(pod).filter(|_| of_it)?;
        Some(format!("pod {} of revision {revision} waits: {why}", pod.object.name))
    })
}

/// Takes the labels away.
fn unscarred(patch: JsonPatch, now: &DynamicObject) -> JsonPatch {
    let there = [RUN_LABEL, CONTAINER, REVISION].into_iter().filter(|key| label(now, key).is_some());
    there.fold(patch, |patch, key| patch.remove(&format!("/metadata/labels/{}", JsonPatch::segment(key))))
}

/// The former image while ours is still there, and the labels away in any case.
async fn put_back(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    let (_, before) = data(injection)?;
    let (target, run) = (&injection.target, &world.signature.run);
    let what = format!("bringing revision {} of {target} back", before.revision);
    if before.image.is_empty() {
        let why = format!("no ReplicaSet of revision {} says what its image was", before.revision);
        return Err(FaultError::Data(injection.id.clone(), why));
    }
    let (manager, path) = (template::manager(world), managed_path(&before.container));
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    field::put_back(world, target, (&what, "firedrill"), |now, done| {
        if !scarred(now, run, &before) {
            return Next::Over(
                done.unwrap_or_else(|| Reverted::NothingToDo("it carries no scar of ours".to_owned())),
            );
        }
        let patch = JsonPatch::new().test("/metadata/uid", now.metadata.uid.clone().unwrap_or_default());
        let there = image_of(now, &before.container).map_or("", |(_, image)| image);
        // Whoever has set another image since manages it; admission may have made another one of ours.
        let ours = there != before.image && manages(&now.metadata, &manager, &path);
        if ours && let Some(patch) = with_image(patch.clone(), now, &before.container, &before.image) {
            let outcome = Reverted::Restored(format!(
                "image of {}: {there} → {}, the template of revision {}",
                before.container, before.image, before.revision
            ));
            return Next::Change(Change { subresource: None, patch: unscarred(patch, now), outcome });
        }
        let by = whoever(now, &path);
        let outcome = if template::print(now) == before.template {
            format!("the template of revision {} was back already, by {by}", before.revision)
        } else if there == before.image {
            format!("the image of revision {} was back already, by {by}", before.revision)
        } else {
            format!("the image of {} is {there}, set by {by} since", before.container)
        };
        let outcome = Reverted::ChangedSince(outcome);
        Next::Change(Change { subresource: None, patch: unscarred(patch, now), outcome })
    })
    .await
}

/// What labels claim. They name a container and a revision of their own object, and nothing else; the image is the
/// one that the ReplicaSet of that revision has.
async fn find_scars(access: &Access, namespaces: &[String]) -> Result<Vec<Found>, ApiError> {
    let mut found = Vec::new();
    for namespace in namespaces {
        let api = access.api(&ObjectRef::namespaced("apps/v1", "Deployment", namespace, ""));
        let list = access.read(api.list(&ListParams::default().labels(RUN_LABEL))).await?;
        for deployment in list.items {
            found.extend(claim(access, &deployment, found.len()).await?);
        }
    }
    Ok(found)
}

async fn claim(
    access: &Access,
    deployment: &DynamicObject,
    number: usize,
) -> Result<Option<Found>, ApiError> {
    let claimed = |key: &str| label(deployment, key);
    let run = claimed(RUN_LABEL).and_then(RunId::parse);
    let revision = claimed(REVISION).filter(|revision| revision.parse::<u64>().is_ok());
    let there =
        claimed(CONTAINER).and_then(|container| Some((container, image_of(deployment, container)?.1)));
    let (Some(run), Some(revision), Some((container, image))) = (run, revision, there) else {
        return Ok(None);
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (name, uid) = (text(&deployment.metadata.name), text(&deployment.metadata.uid));
    let namespace = text(&deployment.metadata.namespace);
    let sets = access.api(&ObjectRef::namespaced("apps/v1", "ReplicaSet", &namespace, ""));
    let sets = access.read(sets.list(&ListParams::default())).await?;
    let former = sets.items.iter().find(|set| made_by(set, &uid) && was_at(set, revision));
    let before = Before {
        container: container.to_owned(),
        image: former.and_then(|set| image_of(set, container)).map(|(_, i)| i.to_owned()).unwrap_or_default(),
        revision: revision.to_owned(),
        template: String::new(),
    };
    Ok(Some(Found {
        run: run.to_string(),
        injection: Injection {
            id: InjectionId::new(&name, number),
            fault: INFO.name.to_owned(),
            target: ObjectRef::namespaced("apps/v1", "Deployment", &namespace, &name).with_uid(&uid),
            action: encode(&Action { image: image.to_owned() }),
            before: encode(&before),
            displaced: Vec::new(),
            replicas_lost: 0,
            effect_within: Length(SEEN_WITHIN),
            until: Timestamp::UNIX_EPOCH,
        },
    }))
}

fn made_by(set: &DynamicObject, uid: &str) -> bool {
    let mut owners = set.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Whether a ReplicaSet has, or has had, that revision: one that is used again is given a new number.
fn was_at(set: &DynamicObject, revision: &str) -> bool {
    let annotations = set.metadata.annotations.iter().flatten();
    let mut numbers = annotations.filter(|(key, _)| REVISIONS.contains(&key.as_str()));
    numbers.any(|(_, numbers)| numbers.split(',').any(|number| number == revision))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_replica_set_that_is_used_again_is_still_of_its_former_revision() {
        let set = |annotations: Value| {
            object(
                json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web-1", "annotations": annotations}}),
            )
        };
        let [revision, history] = REVISIONS;
        assert!(was_at(&set(json!({ revision: "3" })), "3"));
        assert!(was_at(&set(json!({ revision: "5", history: "1,3" })), "3"));
        assert!(!was_at(&set(json!({ revision: "13", history: "1,33" })), "3"));
        assert!(!was_at(&set(json!({})), "3"));
    }

    #[test]
    fn the_right_container_is_changed_and_no_other() {
        let now = object(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "p:1"}, {"name": "main", "image": "m:1"}]}}},
        }));
        assert_eq!(image_of(&now, "main"), Some((1, "m:1")));
        let patch = with_image(JsonPatch::new(), &now, "main", "bad").expect("it is there");
        let patch: json_patch::Patch =
            serde_json::from_value(serde_json::to_value(patch).expect("JSON")).expect("a patch");
        let mut value = serde_json::to_value(&now).expect("JSON");
        json_patch::patch(&mut value, &patch).expect("applies");
        let containers = value.pointer("/spec/template/spec/containers").cloned();
        assert_eq!(
            containers,
            Some(json!([{"name": "proxy", "image": "p:1"}, {"name": "main", "image": "bad"}]))
        );
        assert!(with_image(JsonPatch::new(), &now, "other", "bad").is_none());
        assert_eq!(managed_path("main")[4], "k:{\"name\":\"main\"}");
    }
}
