//! The pod template of a workload, written: what every fault that begins a rollout has in common.

use std::collections::BTreeSet;

use kube::api::DynamicObject;
use serde_json::Value;

use super::{FaultError, Injection, Prepare, World, field::TRIES, patiently};
use crate::{
    cluster::{ApiError, JsonPatch, Workload, Write, fingerprint},
    types::{Finding, ObjectRef, codes::guard},
};

/// Under which name the API server records our changes of templates.
pub(super) fn manager(world: &World) -> String {
    format!("firedrill:{}", world.signature.run)
}

/// Whom a rollout may hit: each target with its workload, or what speaks against it.
pub(super) fn targets<'a>(
    ask: &Prepare<'a>,
    kinds: &[&str],
) -> Vec<Result<(&'a ObjectRef, &'a Workload), Vec<Finding>>> {
    let look = |target: &'a ObjectRef| {
        if !kinds.contains(&target.kind.as_str()) {
            let message = format!("it is a {}, and what this fault does takes another kind", target.kind);
            return Err(vec![
                Finding::error(guard::FIELDS, target, message)
                    .remedy(format!("choose a {}", kinds.join(", a ").to_lowercase())),
            ]);
        }
        let Some(workload) = ask.snapshot.workload(&target.namespace, &target.kind, &target.name) else {
            return Err(vec![Finding::error(guard::NO_TARGET, target, "it is not there")]);
        };
        let findings = refusals(target, workload);
        if findings.is_empty() { Ok((target, &**workload)) } else { Err(findings) }
    };
    ask.targets.iter().map(look).collect()
}

/// What speaks against beginning a rollout of this workload, whatever is written.
fn refusals(target: &ObjectRef, workload: &Workload) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rollout = &workload.rollout;
    if let Some(owner) = &workload.owner {
        let message = format!("{} {} made it and decides over its template", owner.kind, owner.name);
        findings.push(Finding::error(guard::OWNED_ELSEWHERE, target, message).remedy("aim at its owner"));
    }
    if rollout.paused {
        let message = "it is paused, so no rollout would begin";
        findings.push(
            Finding::error(guard::NO_CHANGE, target, message)
                .remedy(format!("kubectl rollout resume deployment/{} -n {}", target.name, target.namespace)),
        );
    }
    if rollout.strategy == "OnDelete" {
        let message = "its update strategy is OnDelete, so no pod would be replaced";
        findings
            .push(Finding::error(guard::NO_CHANGE, target, message).remedy("kill its pods instead: podKill"));
    }
    if rollout.partition > 0 {
        let message = format!("its partition keeps pods below {} at the former template", rollout.partition);
        findings.push(
            Finding::error(guard::NO_CHANGE, target, message)
                .remedy("set the partition to 0 for the time of the run"),
        );
    }
    if workload.replicas == 0 {
        findings.push(Finding::error(
            guard::NO_CHANGE,
            target,
            "it wants no pods, so none would be replaced",
        ));
    }
    if workload.rolling_out() {
        let kind = target.kind.to_lowercase();
        findings.push(
            Finding::error(guard::ROLLOUT, target, "a rollout of it is under way").remedy(format!(
                "wait: kubectl rollout status {kind}/{} -n {}",
                target.name, target.namespace
            )),
        );
    }
    findings
}

/// How a template is written: `what` in words, and whether it is only asked for.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// For errors: `restarting deployment/web`.
    pub what: &'a str,
    /// Asked but not done.
    pub dry_run: bool,
}

/// Reads the workload and sends what `change` makes of it, until that is accepted. None: it is as wanted already.
/// The fingerprint of the template that is there then.
///
/// # Errors
/// What the API server answers; and that somebody else keeps changing it.
pub(super) async fn write(
    world: &World,
    injection: &Injection,
    attempt: Attempt<'_>,
    change: impl Fn(&DynamicObject) -> Result<Option<JsonPatch>, ApiError>,
) -> Result<String, FaultError> {
    let (target, manager) = (&injection.target, manager(world));
    let failed = || FaultError::api(attempt.what);
    let how = Write { manager: &manager, dry_run: attempt.dry_run };
    for _ in 0..TRIES {
        let now = patiently(5, || world.access.get(target)).await.map_err(failed())?;
        let Some(patch) = change(&now).map_err(failed())? else { return Ok(print(&now)) };
        match patiently(5, || world.access.patch(target, None, &patch, how)).await {
            Ok(written) => return Ok(print(&written)),
            // A test failed: read again and decide again.
            Err(ApiError::Invalid(_) | ApiError::Conflict(_)) if !attempt.dry_run => {}
            Err(error) => return Err(failed()(error)),
        }
    }
    Err(failed()(ApiError::Conflict("somebody else keeps changing it".to_owned())))
}

/// The fingerprint of a workload's template.
pub(super) fn print(workload: &DynamicObject) -> String {
    fingerprint(workload.data.pointer("/spec/template").unwrap_or(&Value::Null))
}

/// That nobody has rolled anything out since it was planned.
pub(super) fn untouched(now: &DynamicObject, planned: &str) -> Result<(), ApiError> {
    if print(now) == planned {
        return Ok(());
    }
    Err(ApiError::Conflict("somebody else has changed its pod template since it was planned".to_owned()))
}

/// The UIDs of a workload's pods.
pub(super) fn pods(ask: &Prepare<'_>, workload: &Workload) -> BTreeSet<String> {
    ask.snapshot.pods_of(workload).map(|pod| pod.object.uid.clone()).collect()
}
