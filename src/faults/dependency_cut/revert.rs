//! Taking a cut back: the policy, the witness, the labels; from the journal or from scars alone.

use kube::api::DynamicObject;
use serde_json::Value;

use super::{Action, CUT, INFO, Mark, about, policy_named, witness, witness_of};
use crate::{
    cluster::{Access, ApiError, JsonPatch, RUN_LABEL},
    faults::{
        FaultError, Found, Injection, Reverted, World, decode, encode,
        field::{self, Change, Next},
        node_scar,
    },
    types::{ObjectRef, counted},
};

/// Tries until the world is seen to be as before.
const TRIES: usize = 5;

/// Takes back what the injection's target has of it: a policy with all that the journal says, or the one object
/// that a scar was found on.
pub(super) async fn put_back(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    match injection.target.kind.as_str() {
        "NetworkPolicy" => lift(world, injection).await,
        _ => {
            let mark: Mark = decode(injection, &injection.before)?;
            let now = match world.access.get(&injection.target).await {
                Ok(now) => now,
                Err(ApiError::NotFound) => return Ok(Reverted::TargetGone),
                Err(error) => return Err(FaultError::api(format!("reading {}", injection.target))(error)),
            };
            if witness::is_one(&now, &mark.cut) {
                return delete(world, &injection.target, &now).await;
            }
            unmark(world, injection, &mark).await
        }
    }
}

/// Deletes the policy first, which lifts the cut for all of its pods; then witness and labels.
pub(super) async fn lift(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    let mark: Mark = decode(injection, &injection.before)?;
    // A scar says nothing of other objects than its own.
    let action: Option<Action> = serde_json::from_value(injection.action.clone()).ok();
    let policy = policy_named(&injection.target.namespace, &mark.cut).with_uid(&injection.target.uid);
    let outcome = gone(world, injection, &policy).await?;
    let Some(action) = action else { return Ok(outcome) };
    let witness = witness_of(&policy);
    world.access.settled(&witness).await;
    for pod in &action.pods {
        world.access.settled(pod).await;
    }
    let (mut unmarked, mut found) = (0, false);
    for _ in 0..TRIES {
        let left = left_of(world, &policy).await?;
        if left.is_empty() {
            let labels = format!("label taken off {}", counted(unmarked, "pod"));
            return Ok(match outcome {
                Reverted::Restored(what) => Reverted::Restored(format!("{what}, {labels}")),
                Reverted::NothingToDo(_) if found => {
                    Reverted::Restored(format!("the policy was gone; {labels}"))
                }
                other => other,
            });
        }
        found = true;
        for pod in left {
            let object = reference(&pod, &policy.namespace);
            if witness::is_one(&pod, &mark.cut) {
                delete(world, &object, &pod).await?;
            } else {
                unmark(world, &about(injection, &object), &mark).await?;
                unmarked += 1;
            }
        }
    }
    let why = ApiError::Conflict("pods with its label keep appearing".to_owned());
    Err(FaultError::api(format!("taking the label of {policy} off"))(why))
}

/// The pods that still carry anything of this cut.
async fn left_of(world: &World, policy: &ObjectRef) -> Result<Vec<DynamicObject>, FaultError> {
    let like = ObjectRef::pod(&policy.namespace, "");
    let mut left = Vec::new();
    for label in [CUT, witness::WITNESS] {
        let found = world.access.list(&like, &format!("{label}={}", policy.name)).await;
        left.extend(found.map_err(FaultError::api(format!("looking for the pods of {policy}")))?);
    }
    // The witness has both.
    left.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    left.dedup_by(|one, other| one.metadata.name == other.metadata.name);
    // A witness that ends is as good as gone, and its labels matter to nobody.
    left.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(left)
}

fn reference(pod: &DynamicObject, namespace: &str) -> ObjectRef {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    ObjectRef::pod(namespace, name).with_uid(pod.metadata.uid.as_deref().unwrap_or_default())
}

/// Deletes the policy if it is ours, and reads again.
async fn gone(world: &World, injection: &Injection, policy: &ObjectRef) -> Result<Reverted, FaultError> {
    let mut done = None;
    for _ in 0..TRIES {
        let reading = FaultError::api(format!("reading {policy}"));
        let now = match world.access.get(policy).await {
            Ok(now) => now,
            Err(ApiError::NotFound) => {
                let nothing = || Reverted::NothingToDo("there is no policy of ours".to_owned());
                return Ok(done.unwrap_or_else(nothing));
            }
            Err(error) => return Err(reading(error)),
        };
        if !node_scar::on(&now, injection) {
            return Ok(Reverted::ChangedSince(
                "the policy of that name is somebody else's; it stays".to_owned(),
            ));
        }
        done = Some(delete(world, policy, &now).await?);
    }
    let why = ApiError::Conflict("it is still there".to_owned());
    Err(FaultError::api(format!("deleting {policy}"))(why))
}

/// Deletes the object that was read, and no other of its name.
async fn delete(world: &World, object: &ObjectRef, now: &DynamicObject) -> Result<Reverted, FaultError> {
    let object = object.clone().with_uid(now.metadata.uid.as_deref().unwrap_or_default());
    match world.access.delete(&object, false).await {
        Ok(()) => Ok(Reverted::Restored(format!("{} deleted", object.kind))),
        // Another of that name, or gone meanwhile: whoever looks again sees it.
        Err(ApiError::NotFound | ApiError::Conflict(_)) => Ok(Reverted::TargetGone),
        Err(error) => Err(FaultError::api(format!("deleting {object}"))(error)),
    }
}

/// Takes label and scar off a pod.
async fn unmark(world: &World, injection: &Injection, mark: &Mark) -> Result<Reverted, FaultError> {
    let manager = node_scar::manager(world);
    let what = format!("taking the label off {}", injection.target);
    field::put_back(world, &injection.target, (&what, &manager), |now, done| {
        let there = now.metadata.labels.as_ref().and_then(|labels| labels.get(CUT));
        let (scarred, ours) = (node_scar::on(now, injection), there == Some(&mark.cut));
        if !scarred && !ours {
            let nothing = || Reverted::NothingToDo("it carries no label of ours".to_owned());
            return Next::Over(done.unwrap_or_else(nothing));
        }
        let mut patch = JsonPatch::new().test("/metadata/uid", now.metadata.uid.clone().unwrap_or_default());
        if ours {
            let label = format!("/metadata/labels/{}", JsonPatch::segment(CUT));
            patch = patch.test(&label, &mark.cut).remove(&label);
        }
        if scarred {
            patch = node_scar::remove(patch, world, injection, now);
        }
        let outcome = if ours {
            Reverted::Restored("label and scar removed".to_owned())
        } else {
            Reverted::ChangedSince("somebody else had taken the label off".to_owned())
        };
        Next::Change(Change { subresource: None, patch, outcome })
    })
    .await
}

/// Policies and pods that carry scars of this kind.
pub(super) async fn find_scars(access: &Access, namespaces: &[String]) -> Result<Vec<Found>, ApiError> {
    let valid =
        |before: &Value| serde_json::from_value::<Mark>(before.clone()).ok().map(|mark| encode(&mark));
    let mut found = Vec::new();
    for namespace in namespaces {
        for like in [policy_named(namespace, ""), ObjectRef::pod(namespace, "")] {
            for object in access.list(&like, RUN_LABEL).await? {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                let metadata = &object.metadata;
                let target = ObjectRef {
                    namespace: text(&metadata.namespace),
                    name: text(&metadata.name),
                    uid: text(&metadata.uid),
                    ..like.clone()
                };
                let claims = node_scar::claims(metadata, &target, INFO.name, valid);
                // A policy's scar is about that policy alone.
                found.extend(claims.into_iter().filter(|found| {
                    target.kind != "NetworkPolicy" || found.injection.before["cut"] == target.name.as_str()
                }));
            }
        }
    }
    Ok(found)
}
