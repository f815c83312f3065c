//! Emptying a node: which of its pods go, how, and until when.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;

use super::{FaultError, World, pods};
use crate::{
    cluster::{ApiError, Pod, Snapshot},
    types::{Finding, ObjectRef, codes::guard},
};

/// How a pod leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Evicted, within its budgets. None: the grace period that it asks for itself.
    Evicted(Option<Duration>),
    /// Deleted, whatever its budgets say, with this grace period.
    Killed(Duration),
}

/// Whether an emptied node keeps the pod, as `kubectl drain` does: DaemonSets' pods, static pods, and those that
/// have run to their end.
pub(super) fn stays(pod: &Pod) -> bool {
    pod.daemon() || pod.mirror || pod.finished()
}

/// The pods of a node that go, by namespace and name.
pub(super) fn leaving(snapshot: &Snapshot, node: &str) -> Vec<Arc<Pod>> {
    snapshot.pods_on(node).filter(|pod| !stays(pod) && !pod.terminating).cloned().collect()
}

/// Those of the pods that leave `node` which nothing would bring back.
pub(super) fn bare(node: &ObjectRef, leaving: &[Arc<Pod>]) -> Vec<Finding> {
    let bare = leaving.iter().filter(|pod| pod.owner.is_none());
    bare.map(|pod| {
        let why = format!("it runs on {node} and no controller owns it, so nothing would bring it back");
        Finding::error(guard::BARE_POD, &pod.object, why)
            .remedy("run it from a Deployment, or choose other nodes")
    })
    .collect()
}

/// Asks for the evictions without doing them (server-side dry run).
pub(super) async fn rehearse_eviction(world: &World, pod: &ObjectRef) -> Result<(), FaultError> {
    match world.access.evict(pod, None, true).await {
        // A budget says no for now; the forecast has judged that.
        Ok(()) | Err(ApiError::NotFound | ApiError::Conflict(_) | ApiError::NoBudget { .. }) => Ok(()),
        Err(error) => Err(FaultError::api(format!("dry run of evicting {pod}"))(error)),
    }
}

/// Sends pods away, each as `exit` says, until none that goes is bound to the node. How many.
pub(super) async fn empty(
    world: &World,
    node: &str,
    exit: impl Fn(&Pod) -> Exit + Sync,
) -> Result<usize, FaultError> {
    let mut sent = 0;
    loop {
        let pods = leaving(&world.mirror.snapshot(), node);
        if pods.is_empty() {
            return Ok(sent);
        }
        let calls = pods.iter().map(|pod| send_away(world, pod, exit(pod)));
        for outcome in join_all(calls).await {
            outcome?;
            sent += 1;
        }
        // The watch has to show them on their way out before the next look.
        let uids: Vec<ObjectRef> = pods.iter().map(|pod| pod.object.clone()).collect();
        world
            .mirror
            .wait_for(|snapshot| {
                let left = uids.iter().any(|pod| snapshot.pod(pod).is_some_and(|pod| !pod.terminating));
                (!left).then_some(())
            })
            .await;
    }
}

async fn send_away(world: &World, pod: &Pod, exit: Exit) -> Result<(), FaultError> {
    match exit {
        Exit::Evicted(grace) => {
            let done = world.budgets.evict(pod, grace).await;
            done.map(|_| ()).map_err(FaultError::api(format!("evicting {}", pod.object)))
        }
        Exit::Killed(grace) => pods::delete(world, &pod.object, grace).await.map(drop),
    }
}
