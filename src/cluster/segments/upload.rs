//! Brings what was appended into the cluster, segment after segment.

use std::{sync::Arc, time::Duration};

use kube::api::PostParams;
use tokio::time::Instant;

use super::{OnTrouble, SegmentPlace, SegmentTrouble, Shared, api, pack};
use crate::cluster::{Access, ApiError};

/// What nobody waits for is brought there so often: a segment a sample would be too many.
const GATHERED: Duration = Duration::from_secs(15);
/// And what a survivor goes by so often: one segment for all the outcomes of a step.
const HASTENED: Duration = Duration::from_secs(1);
/// Without an answer for so long the API server is in trouble: the run ends, and what is in force goes back.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries, at the most.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Uploads until another owner is found to have written.
pub(super) async fn upload(shared: Arc<Shared>, access: Access, place: SegmentPlace, tell: OnTrouble) {
    let access = access.beside();
    loop {
        wait(&shared).await;
        let (number, packed, taken, offset) = {
            let state = shared.lock();
            let (packed, taken) = pack::compress(&state.bytes[state.stored..]);
            (state.next, packed, taken, state.stored)
        };
        let size = packed.len();
        let segment = pack::segment(&place, number, (packed, offset));
        if let Err(why) = create(&access, &place, &segment, &tell).await {
            shared.lock().superseded = true;
            shared.done.notify_waiters();
            tell(SegmentTrouble::Superseded(why));
            return;
        }
        let mut state = shared.lock();
        state.next += 1;
        state.stored = offset + taken;
        state.size.segments += 1;
        state.size.bytes += size as u64;
        let left = state.stored < state.bytes.len();
        state.since = left.then(Instant::now);
        // What came meanwhile may be such.
        state.hastened = state.hastened.filter(|_| left);
        drop(state);
        shared.done.notify_waiters();
    }
}

/// Until there is something to be brought there now.
async fn wait(shared: &Shared) {
    loop {
        let mut work = std::pin::pin!(shared.work.notified());
        work.as_mut().enable();
        let due = {
            let state = shared.lock();
            if state.stored < state.urgent {
                return;
            }
            let since = state.since.filter(|_| state.stored < state.bytes.len());
            let hastened = state.hastened.filter(|_| since.is_some()).map(|since| since + HASTENED);
            since.map(|since| since + GATHERED).into_iter().chain(hastened).min()
        };
        match due {
            Some(due) => {
                if tokio::time::timeout_at(due, work).await.is_err() {
                    return;
                }
            }
            None => work.await,
        }
    }
}

/// Creates one segment, however long that takes.
///
/// # Errors
/// Another owner has written that number.
async fn create(
    access: &Access,
    place: &SegmentPlace,
    segment: &k8s_openapi::api::core::v1::ConfigMap,
    tell: &OnTrouble,
) -> Result<(), String> {
    let segments = api(access, &place.namespace);
    let name = segment.metadata.name.clone().unwrap_or_default();
    let (begun, mut told, mut pause) = (Instant::now(), false, Duration::from_millis(250));
    loop {
        let error = match access.read(segments.create(&PostParams::default(), segment)).await {
            Ok(_) => return Ok(()),
            // It may be ours: an answer can be lost after it was done.
            Err(ApiError::AlreadyExists) => match access.read(segments.get(&name)).await {
                Ok(found) if pack::same(&found, segment) => return Ok(()),
                Ok(_) => return Err(format!("another owner of run {} has written {name}", place.run)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::warn!(run = %place.run, %name, %error, "a segment of the journal could not be written yet");
        if begun.elapsed() >= PATIENCE && !std::mem::replace(&mut told, true) {
            tell(SegmentTrouble::Late(format!("the journal cannot be written: {error}")));
        }
        tokio::time::sleep(error.retry_after().unwrap_or(pause).min(PAUSE_MAX)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
