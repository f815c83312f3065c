//! Ends every Run, before the controller itself goes: what is in force takes rights to put back that go with it.
//!
//! The intake is stopped first, and stays so: what began after the last look would be left in force, or keep its
//! finalizer, which nobody is there to take off any more. A Guardrail that halts is known to everybody who lets a run
//! begin: to the policy over new Runs, to each replica and to the command line. It is one of its own, so that neither
//! undoes a halt that somebody has pressed nor leaves one behind that nobody knows the reason of.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{object, seen::RunSeen};
use crate::{
    api::API_VERSION,
    cluster::{Access, ApiError, LeaseSeen, Write, leases_in},
    types::ObjectRef,
};

/// The Guardrail that halts while the controller is taken away. The chart brings it, so that it goes with the release.
pub const DRAIN_GUARDRAIL: &str = "firedrill-drain";
/// Who presses it.
const MANAGER: &str = "firedrill-drain";
/// What everybody is told who is stopped by it.
const REASON: &str = "the controller is being taken away (firedrill controller drain)";
/// An API server takes a moment until its policies know of a Guardrail: a Run that it has let in until then is there
/// after this, and not missed by the first look.
const SETTLED: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Halts by [`DRAIN_GUARDRAIL`], asks every Run to end that this has not ended, those that wait for their time too, and
/// waits until each is over and let go, for as long as `within`. `tell` hears of each that is asked. What is left then:
/// NAMESPACE/NAME. The halt stays, whatever comes of it.
///
/// # Errors
/// The API server's; what passes is tried again.
pub async fn drain(
    access: &Access,
    namespace: &str,
    within: Duration,
    mut tell: impl FnMut(&str),
) -> Result<Vec<String>, ApiError> {
    let until = Instant::now() + within;
    stop_intake(access, until).await?;
    sleep(SETTLED).await;
    loop {
        let looked = look(access, namespace, &mut tell).await;
        let late = Instant::now() >= until;
        match looked {
            Ok(left) if left.is_empty() || late => return Ok(left),
            Err(error) if late || !error.is_transient() => return Err(error),
            _ => sleep(LOOK).await,
        }
    }
}

/// Nothing begins from now on.
async fn stop_intake(access: &Access, until: Instant) -> Result<(), ApiError> {
    let guardrail = ObjectRef::namespaced(API_VERSION, "Guardrail", "", DRAIN_GUARDRAIL);
    let body = json!({
        "apiVersion": API_VERSION, "kind": "Guardrail", "metadata": {"name": DRAIN_GUARDRAIL},
        "spec": {"halt": true, "haltReason": REASON},
    });
    loop {
        match access.apply(&guardrail, &body, Write { manager: MANAGER, dry_run: false }).await {
            // Where the kind is not known, Runs are not either.
            Ok(_) | Err(ApiError::NotFound) => return Ok(()),
            Err(error) if Instant::now() >= until || !error.is_transient() => return Err(error),
            Err(_) => sleep(LOOK).await,
        }
    }
}

async fn look(
    access: &Access,
    namespace: &str,
    tell: &mut impl FnMut(&str),
) -> Result<Vec<String>, ApiError> {
    // Without our kinds there is no Run.
    let found = access.list_if_served(API_VERSION, "Run").await?.unwrap_or_default();
    let mut left = Vec::new();
    for run in found.iter().filter_map(RunSeen::read).filter(|run| !run.over() || run.finalizer) {
        if !run.over() && run.spec.as_ref().is_ok_and(|spec| !spec.abort) {
            object::abort(access, &run.object).await?;
            tell(&run.key());
        }
        left.push(run.key());
    }
    // Of Runs that are gone the claim is all that is left.
    for lease in access.list(&leases_in(namespace), "").await? {
        if let Some(LeaseSeen::Claim { object, .. }) = LeaseSeen::read(&lease)
            && !left.contains(&object)
        {
            left.push(object);
        }
    }
    Ok(left)
}
