//! That something has changed.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts changes, and wakes those who wait in the order in which they came: `tokio::sync::watch` wakes them
/// in an order of its own making, which no seed replays.
#[derive(Default)]
pub(super) struct Signal {
    version: AtomicU64,
    waiting: Notify,
}

impl Signal {
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn raise(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.waiting.notify_waiters();
    }

    /// The first version after `seen`.
    pub(super) async fn after(&self, seen: u64) -> u64 {
        loop {
            let mut raised = std::pin::pin!(self.waiting.notified());
            // In the queue before looking: nothing is missed in between.
            raised.as_mut().enable();
            let version = self.version();
            if version != seen {
                return version;
            }
            raised.await;
        }
    }
}
