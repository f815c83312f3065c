//! That something has changed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::snapshot::Key;

/// Counts changes, and wakes those who wait in the order in which they came: `tokio::sync::watch` wakes them
/// in an order of its own making, which no seed replays.
#[derive(Default)]
pub(super) struct Signal {
    version: AtomicU64,
    waiting: Notify,
    /// Those who wait for one object: of thousands who wait for one each, a change wakes one.
    of_one: Mutex<BTreeMap<Key, Arc<Notify>>>,
}

impl Signal {
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// One object has changed, of whatever kind; None: any may have.
    pub(super) fn raise(&self, object: Option<&Key>) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.waiting.notify_waiters();
        let of_one = self.of_one();
        match object {
            Some(key) => of_one.get(key).iter().for_each(|waiting| waiting.notify_waiters()),
            None => of_one.values().for_each(|waiting| waiting.notify_waiters()),
        }
    }

    fn of_one(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Notify>>> {
        self.of_one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what `look` finds: looks at once, and then whenever that object has changed.
    pub(super) async fn of<T>(&self, key: Key, mut look: impl FnMut() -> Option<T>) -> T {
        let waits =
            Waits { notify: self.of_one().entry(key.clone()).or_default().clone(), key, signal: self };
        loop {
            let mut raised = std::pin::pin!(waits.notify.notified());
            raised.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            raised.await;
        }
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

/// Somebody who waits for one object.
struct Waits<'a> {
    notify: Arc<Notify>,
    key: Key,
    signal: &'a Signal,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut of_one = self.signal.of_one();
        // The map's own, and this one.
        if Arc::strong_count(&self.notify) <= 2 {
            of_one.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use futures::FutureExt as _;

    use super::*;

    fn key(name: &str) -> Key {
        ("shop".to_owned(), name.to_owned())
    }

    /// Counts its looks, and finds what it looks for at the one of that number.
    fn looking(looks: &AtomicU32, found_at: u32) -> impl FnMut() -> Option<u32> + '_ {
        move || {
            let number = looks.fetch_add(1, Ordering::Relaxed) + 1;
            (number == found_at).then_some(number)
        }
    }

    #[test]
    fn a_change_wakes_whoever_waits_for_that_object_and_no_other() {
        let signal = Signal::default();
        let (one, other) = (AtomicU32::new(0), AtomicU32::new(0));
        let mut waits = Box::pin(signal.of(key("one"), looking(&one, 3)));
        let mut beside = Box::pin(signal.of(key("other"), looking(&other, 3)));
        assert_eq!((waits.as_mut().now_or_never(), beside.as_mut().now_or_never()), (None, None));
        signal.raise(Some(&key("one")));
        assert_eq!((waits.as_mut().now_or_never(), beside.as_mut().now_or_never()), (None, None));
        assert_eq!((one.load(Ordering::Relaxed), other.load(Ordering::Relaxed)), (2, 1));
        // What is listed anew may have changed anything.
        signal.raise(None);
        assert_eq!((waits.as_mut().now_or_never(), beside.as_mut().now_or_never()), (Some(3), None));
        assert_eq!(other.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_waited() {
        let signal = Signal::default();
        let looks = AtomicU32::new(0);
        let mut first = Box::pin(signal.of(key("one"), looking(&looks, 0)));
        let mut second = Box::pin(signal.of(key("one"), looking(&looks, 0)));
        assert_eq!((first.as_mut().now_or_never(), second.as_mut().now_or_never()), (None, None));
        drop(first);
        signal.raise(Some(&key("one")));
        assert_eq!(second.as_mut().now_or_never(), None);
        assert_eq!(looks.load(Ordering::Relaxed), 3, "the one that is left was woken");
        drop(second);
        assert!(signal.of_one().is_empty());
    }
}
