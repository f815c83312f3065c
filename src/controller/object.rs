//! Changing a Run's metadata: our finalizer and our label, and nothing else.

use std::collections::BTreeMap;

use kube::api::DynamicObject;

use super::seen::{FINALIZER, RunSeen};
use crate::{
    api::API_VERSION,
    cluster::{Access, ApiError, JsonPatch, Write},
    types::ObjectRef,
};

/// Who writes.
pub(super) const MANAGER: &str = "firedrill-controller";
/// On a Run: the experiment that it runs.
pub(super) const EXPERIMENT: &str = "firedrill.dev/experiment";
/// On a Run: the game day that it is.
pub(super) const GAME_DAY: &str = "firedrill.dev/gameday";
/// Labels by which Argo CD, Flux and Helm find what they have applied; and ours.
const TRACKED: [&str; 6] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "firedrill.dev/",
];
/// A conflict is somebody else's write; the next read has it.
const TRIES: usize = 8;

/// The Run as it is now; None if it is gone, or another one of the same name.
pub(super) async fn read(access: &Access, run: &ObjectRef) -> Result<Option<RunSeen>, ApiError> {
    Ok(raw(access, run).await?.and_then(|found| RunSeen::read(&found)))
}

async fn raw(access: &Access, run: &ObjectRef) -> Result<Option<DynamicObject>, ApiError> {
    match access.get(run).await {
        Ok(found) => Ok(Some(found)),
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks a Run to end; one that is gone has.
pub(super) async fn abort(access: &Access, run: &ObjectRef) -> Result<(), ApiError> {
    let patch = JsonPatch::new().test("/metadata/uid", &run.uid).add("/spec/abort", true);
    match access.patch(run, None, &patch, Write { manager: MANAGER, dry_run: false }).await {
        Ok(_) | Err(ApiError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The labels of a file that its Runs get too. Not those by which GitOps knows what it has applied, for it would take
/// the Runs away again as something that is in no repository; nor ours, which say something of their object.
pub(super) fn inherited(file: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let others = |key: &str| {
        TRACKED.iter().any(|tracked| key == *tracked || (tracked.ends_with('/') && key.starts_with(tracked)))
    };
    file.iter().filter(|(key, _)| !others(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The labels that a Run of this file is to have: what it is of, and the file's own.
async fn labels(
    access: &Access,
    run: &ObjectRef,
    (label, name): (&str, &str),
) -> Result<BTreeMap<String, String>, ApiError> {
    if name.is_empty() {
        return Ok(BTreeMap::new());
    }
    let kind = if label == GAME_DAY { "GameDay" } else { "Experiment" };
    let file = raw(access, &ObjectRef::namespaced(API_VERSION, kind, &run.namespace, name)).await?;
    let mut labels = inherited(&file.and_then(|file| file.metadata.labels).unwrap_or_default());
    labels.insert(label.to_owned(), name.to_owned());
    Ok(labels)
}

/// Puts our finalizer on a Run, and the labels that say what it is of. False if it is gone or going: then nothing may
/// be begun.
///
/// # Errors
/// The API server's.
pub(super) async fn hold(access: &Access, run: &ObjectRef, file: (&str, &str)) -> Result<bool, ApiError> {
    let labels = labels(access, run, file).await?;
    let mut last = ApiError::NotFound;
    for _ in 0..TRIES {
        let Some(found) = raw(access, run).await? else { return Ok(false) };
        if found.metadata.deletion_timestamp.is_some() {
            return Ok(false);
        }
        let mut patch = JsonPatch::new().test("/metadata/uid", &run.uid);
        let held = found.metadata.finalizers.unwrap_or_default();
        if held.iter().any(|held| held == FINALIZER) {
            return Ok(true);
        }
        patch = if held.is_empty() {
            patch.test("/metadata/finalizers", ()).add("/metadata/finalizers", [FINALIZER])
        } else {
            patch.add("/metadata/finalizers/-", FINALIZER)
        };
        patch = match found.metadata.labels {
            // What whoever made it has said stays, but for what it is of.
            Some(own) => labels.iter().filter(|(key, _)| *key == file.0 || !own.contains_key(*key)).fold(
                patch,
                |patch, (key, value)| {
                    patch.add(&format!("/metadata/labels/{}", JsonPatch::segment(key)), value)
                },
            ),
            None if labels.is_empty() => patch,
            None => patch.test("/metadata/labels", ()).add("/metadata/labels", &labels),
        };
        match change(access, run, &patch).await {
            Err(ApiError::Invalid(why) | ApiError::Conflict(why)) => last = ApiError::Conflict(why),
            Err(ApiError::NotFound) => return Ok(false),
            other => return other.map(|_| true),
        }
    }
    Err(last)
}

/// Takes our finalizer away, so that the Run can go.
///
/// # Errors
/// The API server's.
pub(super) async fn let_go(access: &Access, run: &ObjectRef) -> Result<(), ApiError> {
    let mut last = ApiError::NotFound;
    for _ in 0..TRIES {
        let Some(found) = raw(access, run).await? else { return Ok(()) };
        let held = found.metadata.finalizers.unwrap_or_default();
        let Some(at) = held.iter().position(|held| held == FINALIZER) else { return Ok(()) };
        let path = format!("/metadata/finalizers/{at}");
        let patch = JsonPatch::new().test("/metadata/uid", &run.uid).test(&path, FINALIZER).remove(&path);
        match change(access, run, &patch).await {
            Err(ApiError::Invalid(why) | ApiError::Conflict(why)) => last = ApiError::Conflict(why),
            Ok(_) | Err(ApiError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn change(access: &Access, run: &ObjectRef, patch: &JsonPatch) -> Result<DynamicObject, ApiError> {
    access.patch(run, None, patch, Write { manager: MANAGER, dry_run: false }).await
}

/// Deletes a Run.
///
/// # Errors
/// The API server's.
pub(super) async fn delete(access: &Access, run: &ObjectRef) -> Result<(), ApiError> {
    match access.delete(run, false).await {
        Ok(()) | Err(ApiError::NotFound | ApiError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
