//! How many exchanges of a load are under way at once, and so how many connections it opens.
//!
//! Requests that are late come in a bunch. If each of them that finds no connection free opened one, which takes longer
//! than to send over one that is there, those behind it would be later still and open more: a hiccup of milliseconds
//! would grow to a thousand connections. So a request waits a moment for a connection that comes free. Where none does,
//! as with a server that is slow, there are soon as many as the load may have.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// At the start.
const FIRST: usize = 16;
/// How long a request waits before there are twice as many: some round trips within a zone.
const MOMENT: Duration = Duration::from_millis(1);

/// Room for exchanges.
pub(super) struct Slots {
    free: Semaphore,
    all: AtomicUsize,
    most: usize,
}

impl Slots {
    /// At most so many.
    pub(super) fn new(most: usize) -> Self {
        let first = FIRST.min(most.max(1));
        Self { free: Semaphore::new(first), all: AtomicUsize::new(first), most }
    }

    /// One of them, for as long as it is kept; none once there are no more to come, which is never.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        loop {
            let all = self.all.load(Ordering::Relaxed);
            match tokio::time::timeout(MOMENT, self.free.acquire()).await {
                Ok(slot) => return slot.ok(),
                Err(_) => self.grow(all),
            }
        }
    }

    /// Twice as many, unless somebody else who waited has seen to that.
    fn grow(&self, all: usize) {
        let more = all.min(self.most.saturating_sub(all));
        let grown = self.all.compare_exchange(all, all + more, Ordering::Relaxed, Ordering::Relaxed);
        if grown.is_ok() {
            self.free.add_permits(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;

    /// How many are under way at most when so many come at once and each takes so long, and when the last has begun.
    async fn bunch(of: usize, each: Duration, most: usize) -> (usize, Duration) {
        let slots = Arc::new(Slots::new(most));
        let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let begun = Instant::now();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..of {
            let (slots, now, peak) = (slots.clone(), now.clone(), peak.clone());
            all.spawn(async move {
                let _slot = slots.take().await.expect("one");
                let waited = begun.elapsed();
                peak.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                // Even the quickest answer comes a turn later.
                tokio::task::yield_now().await;
                tokio::time::sleep(each).await;
                now.fetch_sub(1, Ordering::Relaxed);
                waited
            });
        }
        let waited = all.join_all().await.into_iter().max().unwrap_or_default();
        (peak.load(Ordering::Relaxed), waited)
    }

    #[tokio::test(start_paused = true)]
    async fn a_bunch_that_is_answered_at_once_takes_what_is_there() {
        let (peak, _) = bunch(400, Duration::ZERO, 1000).await;
        assert_eq!(peak, FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_comes_free_there_are_soon_as_many_as_may_be() {
        let (peak, waited) = bunch(900, Duration::from_secs(1), 1000).await;
        assert_eq!(peak, 900);
        assert!(waited <= Duration::from_millis(12), "{waited:?}");
        let (peak, _) = bunch(900, Duration::from_secs(1), 100).await;
        assert_eq!(peak, 100);
        assert_eq!(bunch(3, Duration::from_secs(1), 0).await.0, 1, "or none would ever be sent");
    }
}
