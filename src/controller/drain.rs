//! Ends every Run, before the controller itself goes: what is in force takes rights to put back that go with it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{object, seen::RunSeen};
use crate::{
    api::API_VERSION,
    cluster::{Access, ApiError, LeaseSeen, leases_in},
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Asks every Run to end, those that wait for their time too, and waits until each is over and let go, for as long as
/// `within`. `tell` hears of each that is asked. What is left then: NAMESPACE/NAME.
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
