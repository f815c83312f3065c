//! Claims a run for this replica, over a dead one if need be.

use std::time::Duration;

use super::{
    Context,
    seen::key,
    work::{Job, WorkError},
};
use crate::{
    cluster::{self, ApiError},
    types::ObjectRef,
};

/// Claims the run. Whether the pod of a dead replica that had it was deleted.
pub(super) async fn take(context: &Context, job: &Job) -> Result<bool, WorkError> {
    let (access, namespace) = (&context.access, context.settings.namespace.as_str());
    let mut deleted = false;
    if let Some((who, version)) = &job.over {
        // First it is made sure that it owns nothing any more.
        if let Some(pod) = cluster::fence(access, (namespace, who), version).await? {
            deleted = end_pod(context, &pod).await;
        }
    }
    let over = job.over.as_ref().map(|(who, _)| who.as_str());
    cluster::claim(access, namespace, (&job.id, &key(&job.object)), (&context.holder, over)).await?;
    Ok(deleted)
}

/// Ends the pod of a dead replica, NAME/UID: its token dies with it, so that what it may still send is refused.
async fn end_pod(context: &Context, pod: &str) -> bool {
    let Some((name, uid)) = pod.split_once('/') else { return false };
    let mut object = ObjectRef::namespaced("v1", "Pod", &context.settings.namespace, name);
    object.uid = uid.to_owned();
    match context.access.delete_pod(&object, Duration::ZERO, false).await {
        Ok(()) => true,
        Err(ApiError::NotFound | ApiError::Conflict(_)) => false,
        Err(error) => {
            tracing::warn!(pod = name, %error, "the pod of a dead replica could not be deleted");
            false
        }
    }
}
