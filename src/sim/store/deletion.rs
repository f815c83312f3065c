//! What a delete does to an object that stays for now, and its preconditions.

use super::{DeleteOptions, Kind, Object, Propagation, Status, whole_seconds};
use jiff::{SignedDuration, Timestamp};

/// Whether a delete's preconditions hold.
pub(in crate::sim) fn check_preconditions(current: &Object, options: &DeleteOptions) -> Result<(), Status> {
    let meta = &current.meta;
    if let Some(uid) = options.uid.as_deref().filter(|u| *u != meta.uid) {
        return Err(Status::precondition(&current.kind, &meta.name, "UID", (uid, &meta.uid)));
    }
    if let Some(version) = options.resource_version.filter(|v| *v != meta.resource_version) {
        let versions = (version.to_string(), meta.resource_version.to_string());
        return Err(Status::precondition(
            &current.kind,
            &meta.name,
            "ResourceVersion",
            (&versions.0, &versions.1),
        ));
    }
    Ok(())
}

/// Marks an object as being deleted and says whether it stays for now
/// (staging/src/k8s.io/apiserver/pkg/registry/rest/delete.go and pkg/registry/core/pod/strategy.go).
pub(super) fn mark_deleted(object: &mut Object, options: &DeleteOptions, now: Timestamp) -> bool {
    let finalizer = match options.propagation {
        Propagation::Foreground => Some("foregroundDeletion"),
        Propagation::Orphan => Some("orphan"),
        Propagation::Background => None,
    };
    if let Some(f) = finalizer.filter(|f| !object.meta.finalizers.iter().any(|have| have == f)) {
        object.meta.finalizers.push(f.into());
    }
    let grace = if object.kind == Kind::POD { pod_grace(object, options) } else { 0 };
    let namespace = object.kind == Kind::NAMESPACE;
    let stays = grace > 0 || !object.meta.finalizers.is_empty() || namespace;
    if !stays {
        return false;
    }
    let due = whole_seconds(now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now));
    match (object.meta.deletion_timestamp, object.meta.deletion_grace_period_seconds) {
        // A later delete may shorten the grace, never lengthen it.
        (Some(at), Some(before)) if grace >= before || at <= due => {}
        (already, _) => {
            if already.is_none() && object.meta.generation > 0 {
                object.meta.generation += 1;
            }
            object.meta.deletion_timestamp = Some(due);
            object.meta.deletion_grace_period_seconds = Some(grace);
        }
    }
    if namespace {
        object.meta.deletion_grace_period_seconds = None;
        object.set_value("status", &serde_json::json!({"phase": "Terminating"}));
    }
    true
}

/// Seconds of grace for a pod; 0 for one that never ran or has finished.
fn pod_grace(pod: &Object, options: &DeleteOptions) -> i64 {
    #[derive(serde::Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        node_name: String,
        termination_grace_period_seconds: Option<i64>,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct PodStatus {
        phase: String,
    }
    let spec: Spec = pod.field("spec").unwrap_or_default();
    let status: PodStatus = pod.field("status").unwrap_or_default();
    if spec.node_name.is_empty() || matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return 0;
    }
    // 30: DefaultTerminationGracePeriodSeconds in pkg/apis/core/types.go.
    options.grace_period_seconds.or(spec.termination_grace_period_seconds).unwrap_or(30).max(0)
}
