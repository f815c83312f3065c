//! What a watch that stands still has not shown: the API server is asked before a verdict that would be good.

use std::time::Duration;

use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use super::{
    deployed::{Release, Releases, foreign},
    state::State,
};
use crate::{
    cluster::{Access, ApiError, fingerprint},
    types::ObjectRef,
};

/// Tries of a read that fails in passing.
const TRIES: u32 = 5;
/// Between two of them.
const RETRY: Duration = Duration::from_millis(500);

/// In words, that one of the workloads has been rolled out since, or that it cannot be told.
pub(super) async fn rollout(access: &Access, releases: &Releases, state: &State) -> Option<String> {
    let asked = releases.iter().map(|(workload, before)| async move {
        match read(access, workload).await {
            Ok(now) if foreign(state, workload, (before, &release(&now))) => {
                Some(format!("a rollout of {workload} that is not ours has begun"))
            }
            // Without the right to ask there is what the watch has shown.
            Ok(_) | Err(ApiError::NotFound | ApiError::Forbidden(_)) => None,
            Err(error) => Some(format!("whether {workload} was rolled out cannot be read: {error}")),
        }
    });
    futures::future::join_all(asked).await.into_iter().flatten().next()
}

async fn read(access: &Access, workload: &ObjectRef) -> Result<DynamicObject, ApiError> {
    let mut tried = 1;
    loop {
        match access.get(workload).await {
            Err(error) if error.is_transient() && tried < TRIES => {
                tried += 1;
                tokio::time::sleep(error.retry_after().unwrap_or(RETRY).max(RETRY)).await;
            }
            answer => return answer,
        }
    }
}

/// The release, as `deployed::releases` has it of a snapshot.
fn release(workload: &DynamicObject) -> Release {
    let revision = workload.annotations().get("deployment.kubernetes.io/revision").cloned();
    let template = workload.data.pointer("/spec/template").unwrap_or(&Value::Null);
    Release { revision, template: fingerprint(template) }
}
