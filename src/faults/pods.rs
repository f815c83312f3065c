//! What holds of every fault that takes pods away: whom it may hit, and how their going is seen.

use super::{Prepare, World};
use crate::types::{Finding, ObjectRef, codes::guard};

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

/// Returns when the pod of this UID is gone, and no Service sends requests to it any more.
pub(super) async fn gone(world: &World, target: &ObjectRef) -> String {
    let seen = world.mirror.wait_for(|snapshot| {
        let gone = snapshot.pod(target).is_none() && !snapshot.serves(&target.namespace, &target.uid);
        gone.then(|| "its UID is gone, and gone from all endpoints".to_owned())
    });
    seen.await
}
