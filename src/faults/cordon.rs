//! The cordon of a node: ours while the fault lasts, taken away while nobody else has set it since.

use kube::api::{DynamicObject, ListParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    FaultError, Injection, Reverted, World, decode,
    field::{self, Change, Next},
    node_scar::{self, Attempt},
};
use crate::{
    cluster::{ApiError, JsonPatch, RUN_LABEL, Write, manages},
    types::{ObjectRef, planted},
};

/// What was there: a node that a person had cordoned stays cordoned.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Before {
    pub unschedulable: bool,
}

/// The taint that the node controller gives a cordoned node: what shows that the cordon is in force
/// (k8s.io/api, core/v1/well_known_taints.go).
pub(super) const TAINT: &str = "node.kubernetes.io/unschedulable";
/// Where `spec.unschedulable` is in managed fields.
const UNSCHEDULABLE: [&str; 2] = ["f:spec", "f:unschedulable"];

fn unschedulable(node: &DynamicObject) -> bool {
    node.data.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false)
}

/// Cordon and scar in one write. A node that is cordoned already is left as it is: nothing is changed, so
/// nothing is to be undone.
pub(super) async fn set(world: &World, injection: &Injection, dry_run: bool) -> Result<(), FaultError> {
    let before: Before = decode(injection, &injection.before)?;
    if before.unschedulable {
        return Ok(());
    }
    let what = format!("cordoning {}", injection.target);
    if planted("scar-in-a-second-patch") && !dry_run {
        return set_in_two(world, injection).await.map_err(FaultError::api(what));
    }
    let otherwise = "somebody else has cordoned it, or another run holds it";
    node_scar::apply(world, injection, Attempt { what: &what, otherwise, dry_run }, |now| {
        if unschedulable(now) {
            let ours = node_scar::on(now, injection);
            return if ours { Ok(None) } else { Err(ApiError::Conflict(otherwise.to_owned())) };
        }
        let patch = JsonPatch::new()
            .test("/metadata/uid", &injection.target.uid)
            .test("/spec/unschedulable", Value::Null)
            .add("/spec/unschedulable", true);
        Ok(Some(node_scar::add(patch, world, injection, now)))
    })
    .await
}

/// A planted bug: between its two writes nothing says whose cordon it is.
async fn set_in_two(world: &World, injection: &Injection) -> Result<(), ApiError> {
    let manager = node_scar::manager(world);
    let how = Write { manager: &manager, dry_run: false };
    let bare = JsonPatch::new().add("/spec/unschedulable", true);
    world.access.patch(&injection.target, None, &bare, how).await?;
    let label = format!("/metadata/labels/{}", JsonPatch::segment(RUN_LABEL));
    let scar = json!({ node_scar::annotation(&injection.id): node_scar::text(world, injection) });
    let second = JsonPatch::new().add(&label, &world.signature.run).add("/metadata/annotations", scar);
    world.access.patch(&injection.target, None, &second, how).await.map(|_| ())
}

/// Takes the cordon back while it is still ours, and the scar in any case.
pub(super) async fn take_back(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    let before: Before = decode(injection, &injection.before)?;
    if before.unschedulable {
        return Ok(Reverted::NothingToDo("it had been cordoned before and stays so".to_owned()));
    }
    let (target, manager) = (&injection.target, node_scar::manager(world));
    let what = format!("uncordoning {target}");
    if planted("uncordon-all") {
        uncordon_all(world).await.map_err(FaultError::api(&what))?;
    }
    field::put_back(world, target, (&what, &manager), |now, done| {
        if !node_scar::on(now, injection) {
            return Next::Over(
                done.unwrap_or_else(|| Reverted::NothingToDo("it carries no scar of ours".to_owned())),
            );
        }
        let still_ours = unschedulable(now) && manages(&now.metadata, &manager, &UNSCHEDULABLE);
        let outcome = if still_ours {
            Reverted::Restored("uncordoned, scar removed".to_owned())
        } else if unschedulable(now) {
            Reverted::ChangedSince("somebody else has cordoned it since; it stays cordoned".to_owned())
        } else {
            Reverted::ChangedSince("somebody else had uncordoned it".to_owned())
        };
        let mut patch = JsonPatch::new().test("/metadata/uid", now.metadata.uid.clone().unwrap_or_default());
        if still_ours {
            patch = patch.test("/spec/unschedulable", true).remove("/spec/unschedulable");
        }
        let patch = node_scar::remove(patch, world, injection, now);
        Next::Change(Change { subresource: None, patch, outcome })
    })
    .await
}

/// A planted bug: by selector instead of by what was injected.
async fn uncordon_all(world: &World) -> Result<(), ApiError> {
    let nodes =
        world.access.read(world.access.api(&ObjectRef::node("")).list(&ListParams::default())).await?;
    for node in nodes.items.iter().filter(|node| unschedulable(node) && node.metadata.labels.is_some()) {
        let target = ObjectRef::node(node.metadata.name.as_deref().unwrap_or_default());
        let patch = JsonPatch::new().remove("/spec/unschedulable");
        world.access.patch(&target, None, &patch, Write::default()).await?;
    }
    Ok(())
}
