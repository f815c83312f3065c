//! What holds of every fault that takes pods away: whom it may hit, how they are deleted, and how their going is
//! seen.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{FaultError, Injected, Prepare, World, patiently};
use crate::{
    cluster::{ApiError, Snapshot},
    types::{Finding, Length, ObjectRef, codes::guard},
};

/// What speaks against taking each target away: nothing would change, or nothing would bring it back.
pub(super) fn refusals(ask: &Prepare<'_>) -> Vec<Finding> {
    let found = ask.targets.iter().filter_map(|target| Some((target, ask.snapshot.pod(target)?)));
    let findings = found.filter_map(|(target, pod)| {
        if pod.mirror {
            let why = "a kubelet runs it from a file; deleting it here changes nothing";
            Some(Finding::error(guard::STATIC_POD, target, why).remedy("leave it out with target.exclude"))
        } else if pod.owner.is_none() {
            let why = "no controller owns it, so nothing would bring it back";
            Some(
                Finding::error(guard::BARE_POD, target, why)
                    .remedy("run it from a Deployment or leave it out with target.exclude"),
            )
        } else {
            None
        }
    });
    findings.collect()
}

/// Deletes the pod of this UID, whatever its budgets say; its containers have `grace` to end by themselves.
pub(super) async fn delete(
    world: &World,
    target: &ObjectRef,
    grace: Duration,
) -> Result<Injected, FaultError> {
    let said = format!("deleted, grace period {}", Length(grace));
    deleted(world, target, said, || world.access.delete_pod(target, grace, false)).await
}

/// Has `call` delete the object of this UID, in words: tried again while that may help, and whoever was faster has
/// done what was wanted.
pub(super) async fn deleted<F>(
    world: &World,
    target: &ObjectRef,
    said: String,
    call: impl Fn() -> F,
) -> Result<Injected, FaultError>
where
    F: Future<Output = Result<(), ApiError>>,
{
    let lost = AtomicBool::new(false);
    let delete = || async {
        let done = call().await;
        lost.fetch_or(done.as_ref().is_err_and(ApiError::is_uncertain), Ordering::Relaxed);
        done
    };
    match patiently(5, delete).await {
        // Ours, most likely: the answer to an earlier try got lost. Its effect has to be seen.
        Err(ApiError::NotFound) if lost.load(Ordering::Relaxed) => {
            Ok(Injected::Done("deleted; the answer got lost".to_owned()))
        }
        Ok(()) => Ok(Injected::Done(said)),
        // Gone: what was wanted is so, whoever did it.
        Err(ApiError::NotFound) => Ok(Injected::TargetGone),
        // Another object of that name, or a refusal that only sounds like it: look before believing it.
        Err(conflict @ ApiError::Conflict(_)) => {
            let what = format!("deleting {target}");
            match patiently(5, || world.access.get(target)).await {
                Err(ApiError::NotFound) => Ok(Injected::TargetGone),
                Ok(_) => Err(FaultError::api(what)(conflict)),
                Err(error) => Err(FaultError::api(what)(error)),
            }
        }
        Err(error) => Err(FaultError::api(format!("deleting {target}"))(error)),
    }
}

/// Returns when the pod of this UID is gone, and no Service sends requests to it any more.
pub(super) async fn gone(world: &World, target: &ObjectRef) -> String {
    let away = |snapshot: &Snapshot| snapshot.pod(target).is_none().then_some(());
    world.mirror.wait_for_one(target, away).await;
    let seen = world.mirror.wait_for(|snapshot| {
        let gone = snapshot.pod(target).is_none() && !snapshot.serves(&target.namespace, &target.uid);
        gone.then(|| "its UID is gone, and gone from all endpoints".to_owned())
    });
    seen.await
}
