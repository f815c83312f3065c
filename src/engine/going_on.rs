//! Going on with a run whose runner is lost; `resumable` says which.

use std::collections::BTreeMap;

use tracing::Instrument as _;

use super::{
    EngineError, Outcome, Start,
    deployed::{Release, Releases},
    drive::Driver,
    spans,
    start::{attended, conclude},
    state::State,
    taking::{Owner, TakeOver, Taken, take},
};
use crate::{
    cluster::Snapshot,
    env::Env,
    journal::{Entry, Moment, Record, StopReason},
    types::RunId,
};

/// Takes a run over and goes on with it: replay, then the ordinary loop. Its former owner has to be fenced off. What the
/// assessment says against beginning does not count: the run has begun, and each injection asks for itself.
///
/// # Errors
/// See [`EngineError`]; whatever was in force by then was taken back, or the error says that it was not.
pub async fn go_on(env: &Env, run: &RunId, start: Start) -> Result<Outcome, EngineError> {
    let span = spans::run(run);
    taken_over(env, run, start).instrument(span).await
}

async fn taken_over(env: &Env, run: &RunId, start: Start) -> Result<Outcome, EngineError> {
    let Start { request, assessment, revert_timeout, outside_rx, outside_tx, observer, .. } = start;
    let (holder, by) = (request.holder.clone(), assessment.by.name.clone());
    let owner = Owner { holder: &holder, by: &by, take_over: TakeOver::OnceLapsed };
    let Taken { keeper, writer, entries, epoch, unwritten } =
        take(env, &assessment.access, (run, owner), outside_tx).await?;
    let state = State::replay(&entries)?;
    let snapshot = assessment.mirror.snapshot();
    let mut driver =
        attended(env, (request, assessment), (state, writer, epoch), (revert_timeout, outside_rx), observer);
    driver.releases = released(&entries, &snapshot);
    let lost = unwritten.as_ref().map(|unwritten| (StopReason::JournalLost, unwritten.why.clone()));
    driver.unwritten = unwritten;
    let change = Record::OwnerChanged { holder, by, why: "takeover".to_owned(), goes_on: true };
    let forbidden = lost.or_else(|| driver.forbidden(&snapshot, None));
    let result = match begun(&mut driver, (change, entries), forbidden) {
        Ok(()) => conclude(driver, &*env.storage).await,
        Err(error) => Err(error),
    };
    keeper.release().await;
    result
}

/// Writes down that it goes on, and why it may not.
fn begun(
    driver: &mut Driver,
    (change, entries): (Record, Vec<Entry>),
    forbidden: Option<(StopReason, String)>,
) -> Result<(), EngineError> {
    driver.note_anyhow(change, entries)?;
    match forbidden {
        Some((reason, by)) if driver.state.stop.is_none() => {
            driver.note(Record::StopRequested { reason, by })
        }
        _ => Ok(()),
    }
}

/// What was released when the run began: a rollout that came while nobody looked shows by its revision.
fn released(entries: &[Entry], snapshot: &Snapshot) -> Releases {
    let before = entries.iter().find_map(|entry| match &entry.record {
        Record::DeployedSeen { moment: Moment::Before, workloads } => Some(workloads),
        _ => None,
    });
    let mut releases = BTreeMap::new();
    for seen in before.into_iter().flatten() {
        if let Some(now) = snapshot.workload_of(&seen.workload) {
            let revision = seen.revision.clone().or_else(|| now.revision().map(str::to_owned));
            releases.insert(seen.workload.clone(), Release { revision, template: now.fingerprint.clone() });
        }
    }
    releases
}
