//! Writing a Run's status.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{About, Progress, render};
use crate::{
    cluster::{Access, ApiError, JsonPatch, SegmentSize, Write},
    controller::{object::MANAGER, people::Answers, seen::RunSeen},
};

/// Between two writes: what happens faster is seen in the next.
const PACE: Duration = Duration::from_secs(1);
/// How often it is looked whether there is something new that nobody has told of.
const LOOK: Duration = Duration::from_secs(5);

/// Writes a Run's status as it goes.
#[derive(Clone)]
pub(in crate::controller) struct Writer(Arc<Shared>);

struct Shared {
    access: Access,
    /// What people say, and of which generation of the Run that is.
    answers: Answers,
    known: Mutex<Known>,
    changed: Notify,
}

struct Known {
    run: RunSeen,
    progress: Progress,
    about: About,
}

impl Writer {
    /// For a Run as it was seen, and what people say in it from then on.
    pub(in crate::controller) fn new(
        access: &Access,
        (run, answers): (RunSeen, Answers),
        progress: Progress,
        about: About,
    ) -> Self {
        let known = Mutex::new(Known { run, progress, about });
        Self(Arc::new(Shared { access: access.beside(), answers, known, changed: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known; it is written within [`PACE`].
    pub(in crate::controller) fn tell(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock().progress);
        self.0.changed.notify_one();
    }

    /// How much of the journal is in the cluster by now.
    pub(in crate::controller) fn journal(&self, size: SegmentSize) {
        self.lock().about.journal = size;
    }

    /// The seed that was chosen.
    pub(in crate::controller) fn seed(&self, seed: u64) {
        self.lock().about.seed = Some(seed);
    }

    /// Writes whenever something has changed, until it is dropped.
    pub(in crate::controller) async fn keep(
        &self,
        clock: &crate::env::Clock,
        size: impl Fn() -> SegmentSize,
    ) {
        loop {
            // That the Run was seen once more changes nothing but the generation.
            let _ = tokio::time::timeout(LOOK, self.0.changed.notified()).await;
            self.journal(size());
            if let Err(error) = self.write(clock.now()).await {
                tracing::warn!(%error, "the status of a Run could not be written; the next change does it");
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Writes it now, if it says something new. A Run that is gone needs none.
    pub(in crate::controller) async fn write(&self, now: Timestamp) -> Result<(), ApiError> {
        let (object, status) = {
            let mut known = self.lock();
            known.run.generation = known.run.generation.max(self.0.answers.generation());
            let status = render(&known.run, &known.progress, &known.about, now);
            if status == known.run.status {
                return Ok(());
            }
            (known.run.object.clone(), status)
        };
        let patch = JsonPatch::new().test("/metadata/uid", &object.uid).add("/status", &status);
        let how = Write { manager: MANAGER, dry_run: false };
        match self.0.access.patch(&object, Some("status"), &patch, how).await {
            Ok(_) => {
                self.lock().run.status = status;
                Ok(())
            }
            Err(ApiError::NotFound) => Ok(()),
            // The test of its UID: another Run of that name is not ours to write on.
            Err(error @ ApiError::Invalid(_)) => match self.0.access.get(&object).await {
                Err(ApiError::NotFound) => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}
