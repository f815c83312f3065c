//! A field that is ours while the fault lasts: it is put back while nobody else has set it since, and read again
//! to see that it is.

use kube::api::DynamicObject;

use super::{FaultError, Reverted, World, shown};
use crate::{
    cluster::{ApiError, JsonPatch, Write},
    types::ObjectRef,
};

/// Tries of a patch whose tests fail because somebody else writes at the same time.
pub(super) const TRIES: usize = 8;

/// What is to be done about an object as it is now.
pub(super) enum Next {
    /// Nothing more; so it came out.
    Over(Reverted),
    /// This, and then another look.
    Change(Change),
}

/// A change that takes something back.
pub(super) struct Change {
    /// The subresource that is patched, if not the object itself.
    pub subresource: Option<&'static str>,
    /// Tests what was read, so that it fails when somebody else was faster.
    pub patch: JsonPatch,
    /// How it has come out once the patch is accepted and has been seen.
    pub outcome: Reverted,
}

/// Reads `target`, does what `decide` says, and reads again, until it says that it is over: that is the
/// verification. `decide` is also told how the last change that was accepted came out. Nodes are read from the watch
/// where it shows them; that nothing is to be done, or cannot be, is believed of a read only.
///
/// # Errors
/// What the API server answers, as the answer to `what`; and that somebody else keeps changing it.
pub(super) async fn put_back(
    world: &World,
    target: &ObjectRef,
    (what, manager): (&str, &str),
    decide: impl Fn(&DynamicObject, Option<Reverted>) -> Next,
) -> Result<Reverted, FaultError> {
    let how = Write { manager, dry_run: false };
    let (mut done, mut watched) = (None, shown::now(world, target));
    for _ in 0..TRIES {
        let by_watch = watched.is_some();
        let now = match watched.take() {
            Some(now) => Ok(now),
            None => world.access.get(target).await,
        };
        let now = match now {
            Ok(now) => now,
            Err(ApiError::NotFound) => return Ok(Reverted::TargetGone),
            Err(error) => return Err(FaultError::api(what)(error)),
        };
        let change = match decide(&now, done.clone()) {
            Next::Over(_) if by_watch && done.is_none() => continue,
            Next::Over(outcome) => return Ok(outcome),
            Next::Change(change) => change,
        };
        let patch = if by_watch { shown::only(change.patch, &now) } else { change.patch };
        match world.access.patch(target, change.subresource, &patch, how).await {
            Ok(written) => {
                watched = shown::after(world, target, &written).await;
                done = Some(change.outcome);
            }
            // A test failed: read again, and judge what is there.
            Err(ApiError::Conflict(_) | ApiError::Invalid(_)) => {}
            Err(error) if by_watch && !error.is_transient() => {}
            Err(ApiError::NotFound) => return Ok(Reverted::TargetGone),
            Err(error) => return Err(FaultError::api(what)(error)),
        }
    }
    Err(FaultError::api(what)(ApiError::Conflict("somebody else keeps changing it".to_owned())))
}
