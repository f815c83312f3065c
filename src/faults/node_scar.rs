//! What every fault of nodes has in common: the scar that goes with its change in one write, and whom it
//! may hit.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use super::{FaultError, Found, Injection, World, field::TRIES, patiently, shown};
use crate::{
    cluster::{Access, ApiError, JsonPatch, Node, RUN_LABEL, Scar, UNDO_PREFIX, Write},
    types::{Finding, InjectionId, Length, ObjectRef, codes::guard},
};

/// What speaks against changing this node, whatever the change.
pub(super) fn refusals(node: &Node) -> Vec<Finding> {
    let mut findings = Vec::new();
    if node.control_plane() {
        findings.push(
            Finding::error(guard::CONTROL_PLANE, &node.object, "the control plane runs there")
                .remedy("choose other nodes"),
        );
    }
    findings
}

/// Under which name the API server records our changes.
pub(super) fn manager(world: &World) -> String {
    format!("firedrill:{}", world.signature.run)
}

/// The key of an injection's scar.
pub(super) fn annotation(id: &InjectionId) -> String {
    format!("{UNDO_PREFIX}{id}")
}

/// The text of the scar.
pub(super) fn text(world: &World, injection: &Injection) -> String {
    let signature = &world.signature;
    let scar = Scar {
        run: signature.run.clone(),
        fault: injection.fault.clone(),
        epoch: signature.epoch,
        by: signature.by.clone(),
        at: signature.at.to_string(),
        until: injection.until.to_string(),
        undo_with: format!("firedrill rollback {}", signature.run),
        before: injection.before.clone(),
    };
    serde_json::to_string(&scar).expect("a scar is plain data")
}

/// Whether the node carries this injection's scar.
pub(super) fn on(node: &DynamicObject, injection: &Injection) -> bool {
    let key = annotation(&injection.id);
    node.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(&key))
}

/// `patch` with the scar in it, as the node is `now`.
pub(super) fn add(patch: JsonPatch, world: &World, injection: &Injection, now: &DynamicObject) -> JsonPatch {
    let run = &world.signature.run;
    let (key, scar) = (annotation(&injection.id), text(world, injection));
    let label = format!("/metadata/labels/{}", JsonPatch::segment(RUN_LABEL));
    let patch = match now.metadata.labels.as_ref().map(|labels| labels.get(RUN_LABEL)) {
        None => {
            patch.test("/metadata/labels", Value::Null).add("/metadata/labels", json!({ RUN_LABEL: run }))
        }
        Some(None) => patch.test(&label, Value::Null).add(&label, run),
        // Ours from another step, or the test fails: another run's node is not for us.
        Some(Some(_)) => patch.test(&label, run),
    };
    if now.metadata.annotations.is_none() {
        patch.test("/metadata/annotations", Value::Null).add("/metadata/annotations", json!({ key: scar }))
    } else {
        patch.add(&format!("/metadata/annotations/{}", JsonPatch::segment(&key)), scar)
    }
}

/// `patch` with the scar taken away, and the run's label with the last of them.
pub(super) fn remove(
    patch: JsonPatch,
    world: &World,
    injection: &Injection,
    now: &DynamicObject,
) -> JsonPatch {
    let key = annotation(&injection.id);
    let patch = patch.remove(&format!("/metadata/annotations/{}", JsonPatch::segment(&key)));
    let annotations = now.metadata.annotations.iter().flatten();
    let last = !annotations.into_iter().any(|(other, _)| other.starts_with(UNDO_PREFIX) && *other != key);
    let label = now.metadata.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL));
    if last && label.map(String::as_str) == Some(world.signature.run.as_str()) {
        patch.remove(&format!("/metadata/labels/{}", JsonPatch::segment(RUN_LABEL)))
    } else {
        patch
    }
}

/// How a change of a node is written: `what` in words, and whether it is only asked for.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// For errors: `cordoning node/n1`.
    pub what: &'a str,
    /// For errors, when somebody else is always faster.
    pub otherwise: &'a str,
    /// Asked but not done.
    pub dry_run: bool,
}

/// Reads the object, a node from the watch at first, and sends what `change` makes of it, until that is accepted. None: it
/// is as wanted already, which is believed of a read only, as is that it cannot be.
///
/// # Errors
/// What the API server answers; and that somebody else has the field, or keeps changing it.
pub(super) async fn apply(
    world: &World,
    injection: &Injection,
    attempt: Attempt<'_>,
    change: impl Fn(&DynamicObject) -> Result<Option<JsonPatch>, ApiError>,
) -> Result<(), FaultError> {
    let (target, manager) = (&injection.target, manager(world));
    let failed = || FaultError::api(attempt.what);
    let how = Write { manager: &manager, dry_run: attempt.dry_run };
    let mut watched = shown::now(world, target);
    for _ in 0..TRIES {
        let by_watch = watched.is_some();
        let now = match watched.take() {
            Some(now) => now,
            None => patiently(5, || world.access.get(target)).await.map_err(failed())?,
        };
        let patch = match change(&now) {
            Ok(Some(patch)) if by_watch => shown::only(patch, &now),
            Ok(Some(patch)) => patch,
            _ if by_watch => continue,
            Ok(None) => return Ok(()),
            Err(error) => return Err(failed()(error)),
        };
        match patiently(5, || world.access.patch(target, None, &patch, how)).await {
            Ok(_) => return Ok(()),
            // A test failed: read again and decide again.
            Err(ApiError::Invalid(_) | ApiError::Conflict(_)) if !attempt.dry_run => {}
            Err(error) if by_watch && !error.is_transient() => {}
            Err(error) => return Err(failed()(error)),
        }
    }
    Err(failed()(ApiError::Conflict(attempt.otherwise.to_owned())))
}

/// Everything that scars of `fault` claim. What does not have the fault's shape is not ours: `action` says
/// what was done, from the before-image.
pub(super) async fn find(
    access: &Access,
    fault: &str,
    action: impl Fn(&Value) -> Option<Value>,
) -> Result<Vec<Found>, ApiError> {
    let nodes = access.api(&ObjectRef::node(""));
    let list = access.read(nodes.list_metadata(&ListParams::default().labels(RUN_LABEL))).await?;
    let of_node = |node: kube::core::PartialObjectMeta<DynamicObject>| {
        let uid = node.metadata.uid.clone().unwrap_or_default();
        let target = ObjectRef::node(&node.metadata.name.clone().unwrap_or_default()).with_uid(&uid);
        claims(&node.metadata, &target, fault, &action)
    };
    Ok(list.items.into_iter().flat_map(of_node).collect())
}

/// What the scars of `fault` on one object claim.
pub(super) fn claims(
    metadata: &ObjectMeta,
    target: &ObjectRef,
    fault: &str,
    action: impl Fn(&Value) -> Option<Value>,
) -> Vec<Found> {
    let mut found = Vec::new();
    for (key, text) in metadata.annotations.iter().flatten() {
        let Some(id) = key.strip_prefix(UNDO_PREFIX) else { continue };
        // A claim by whoever may write the object.
        let Ok(scar) = serde_json::from_str::<Scar>(text) else { continue };
        let Some(action) = action(&scar.before).filter(|_| scar.fault == fault) else { continue };
        found.push(Found {
            run: scar.run.to_string(),
            injection: Injection {
                id: InjectionId(id.to_owned()),
                fault: scar.fault,
                target: target.clone(),
                action,
                before: scar.before,
                displaced: Vec::new(),
                replicas_lost: 0,
                effect_within: Length::default(),
                until: scar.until.parse().unwrap_or_default(),
            },
        });
    }
    found
}
