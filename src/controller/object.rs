//! Changing a Run's metadata: our finalizer and our label, and nothing else.

use kube::api::DynamicObject;

use super::seen::{FINALIZER, RunSeen};
use crate::{
    cluster::{Access, ApiError, JsonPatch, Write},
    types::ObjectRef,
};

/// Who writes.
pub(super) const MANAGER: &str = "firedrill-controller";
/// On a Run: the experiment that it runs.
pub(super) const EXPERIMENT: &str = "firedrill.dev/experiment";
/// On a Run: the game day that it is.
pub(super) const GAME_DAY: &str = "firedrill.dev/gameday";
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

/// Puts our finalizer and a label on a Run. False if it is gone or going: then nothing may be begun.
///
/// # Errors
/// The API server's.
pub(super) async fn hold(
    access: &Access,
    run: &ObjectRef,
    (label, value): (&str, &str),
) -> Result<bool, ApiError> {
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
        if !value.is_empty() {
            let key = format!("/metadata/labels/{}", JsonPatch::segment(label));
            patch = match found.metadata.labels {
                Some(_) => patch.add(&key, value),
                None => patch
                    .test("/metadata/labels", ())
                    .add("/metadata/labels", serde_json::json!({label: value})),
            };
        }
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
