//! How many exchanges of a load are under way at once, and so how many connections it opens.
//!
//! Requests that are late come in a bunch. If each of them that finds no connection free opened one, which takes longer
//! than to send over one that is there, those behind it would be later still and open more: a hiccup of milliseconds
//! would grow to a thousand connections, and those to tenths of a second. So a request waits for a connection that comes
//! free; as long as some wait, there are a few more each moment. A server that is slow has as many as the load may have
//! within a quarter of a second.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// At the start: opening so many takes some milliseconds at the most.
const FIRST: usize = 32;
/// How often it is seen whether some wait: some round trips within a zone.
const MOMENT: Duration = Duration::from_millis(1);
/// How many more there are then: opening one costs both ends together some 0.2 ms.
const MORE: usize = 4;

/// Room for exchanges.
pub(super) struct Slots {
    free: Semaphore,
    waiting: AtomicUsize,
    /// Somebody has begun to wait.
    wanted: Notify,
    most: usize,
}

/// Counts somebody who waits, until it has waited.
struct Waiting<'a>(&'a Slots);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    /// At most so many. Somebody has to run [`Slots::grow`].
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        let free = Semaphore::new(FIRST.min(most));
        Self { free, waiting: AtomicUsize::new(0), wanted: Notify::new(), most }
    }

    /// One of them, for as long as it is kept; none once there are no more to come, which is never.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(slot) = self.free.try_acquire() {
            return Some(slot);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self);
        self.wanted.notify_one();
        self.free.acquire().await.ok()
    }

    /// Sees to it that there are more while some wait; ends when there are as many as may be.
    pub(super) async fn grow(&self) {
        let mut all = FIRST.min(self.most);
        while all < self.most {
            self.wanted.notified().await;
            tokio::time::sleep(MOMENT).await;
            let waiting = self.waiting.load(Ordering::Relaxed);
            let more = waiting.min(MORE).min(self.most - all);
            self.free.add_permits(more);
            all += more;
            if waiting > more {
                self.wanted.notify_one();
            }
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
        let grown = slots.clone();
        let growing = tokio::spawn(async move { grown.grow().await });
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
        growing.abort();
        assert_eq!(slots.waiting.load(Ordering::Relaxed), 0, "nobody waits any more");
        (peak.load(Ordering::Relaxed), waited)
    }

    #[tokio::test(start_paused = true)]
    async fn a_bunch_that_is_answered_at_once_takes_what_is_there() {
        let (peak, _) = bunch(400, Duration::ZERO, 1000).await;
        assert_eq!(peak, FIRST);
    }

    /// Ten milliseconds of 10,000 requests a second, answered within one each: not a connection for each of them.
    #[tokio::test(start_paused = true)]
    async fn a_hiccup_opens_few() {
        let (peak, waited) = bunch(100, Duration::from_millis(1), 1000).await;
        assert!(peak <= FIRST + 4 * MORE && waited <= Duration::from_millis(6), "{peak} {waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_comes_free_there_are_soon_as_many_as_may_be() {
        let (peak, waited) = bunch(900, Duration::from_secs(5), 1000).await;
        assert_eq!(peak, 900);
        assert!(waited <= Duration::from_millis(250), "{waited:?}");
        let (peak, _) = bunch(900, Duration::from_secs(1), 100).await;
        assert_eq!(peak, 100);
        assert_eq!(bunch(3, Duration::from_secs(1), 0).await.0, 1, "or none would ever be sent");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_waiting_does_not_count() {
        let slots = Slots::new(1);
        let held = slots.take().await;
        assert!(tokio::time::timeout(Duration::from_secs(1), slots.take()).await.is_err());
        assert_eq!(slots.waiting.load(Ordering::Relaxed), 0);
        drop(held);
        assert!(slots.take().await.is_some());
    }
}
