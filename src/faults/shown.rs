//! A node as the watch shows it, in place of a read: what is decided from it is tested by its resourceVersion when it is
//! written, so that it is as good as what a read decides, and one call less of each target.

use std::time::Duration;

use kube::api::DynamicObject;

use super::World;
use crate::{
    cluster::{JsonPatch, Snapshot},
    types::ObjectRef,
};

/// How long the watch may take to show what was written, before it is read.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// A node as the watch shows it; None of anything else, and of what it does not show.
pub(super) fn now(world: &World, target: &ObjectRef) -> Option<DynamicObject> {
    world.mirror.look(|now| since(now, target, 1))
}

fn since(snapshot: &Snapshot, target: &ObjectRef, version: u64) -> Option<DynamicObject> {
    let node = (target.kind == "Node").then(|| snapshot.node(&target.name)).flatten()?;
    (node.object.uid == target.uid && node.version >= version).then(|| node.as_read())
}

/// The same once it shows what was `written`: the world read again. None: it has to be read.
pub(super) async fn after(
    world: &World,
    target: &ObjectRef,
    written: &DynamicObject,
) -> Option<DynamicObject> {
    now(world, target)?;
    let version = written.metadata.resource_version.as_ref()?.parse().ok()?;
    let shown = world.mirror.wait_for_one(target, |now| since(now, target, version));
    tokio::time::timeout(SHOWN_WITHIN, shown).await.ok()
}

/// `patch`, for this version only.
pub(super) fn only(patch: JsonPatch, shown: &DynamicObject) -> JsonPatch {
    patch.test("/metadata/resourceVersion", &shown.metadata.resource_version)
}
