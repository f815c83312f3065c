//! Changes as they happen: subscriptions for controllers, and a bounded history from which API watches resume.

use super::kind::Kind;
use super::object::Object;
use super::status::Status;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// It was created.
    Added,
    /// It was written.
    Modified,
    /// It is gone.
    Deleted,
}

impl EventType {
    /// As the watch protocol spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub kind: EventType,
    /// The object after the change; of a deleted one its last state with the resourceVersion of the deletion.
    pub object: Arc<Object>,
    /// The object before the change.
    pub previous: Option<Arc<Object>>,
}

/// A subscriber's end: every change of one kind, in order, none left out.
pub struct Subscription {
    receiver: mpsc::UnboundedReceiver<Event>,
}

impl Subscription {
    /// The next change; `None` when the store is gone or the subscription was cut.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// The next change if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.receiver.try_recv().ok()
    }
}

/// History and subscribers of one kind.
#[derive(Default)]
struct Feed {
    history: VecDeque<(u64, Instant, Event)>,
    /// Highest resourceVersion that has been dropped from the history.
    dropped: u64,
    subscribers: Vec<mpsc::UnboundedSender<Event>>,
}

/// All feeds.
pub(super) struct Feeds {
    feeds: BTreeMap<Kind, Feed>,
    /// Subscribers of every kind, those still to be defined too.
    everything: Vec<mpsc::UnboundedSender<Event>>,
    window: Duration,
    capacity: usize,
}

impl Feeds {
    pub(super) fn new(window: Duration, capacity: usize) -> Self {
        Self { feeds: BTreeMap::new(), everything: Vec::new(), window, capacity }
    }

    pub(super) fn publish(&mut self, kind: &Kind, version: u64, event: Event) {
        self.everything.retain(|s| s.send(event.clone()).is_ok());
        let feed = self.feeds.entry(kind.clone()).or_default();
        let now = Instant::now();
        feed.subscribers.retain(|s| s.send(event.clone()).is_ok());
        feed.history.push_back((version, now, event));
        while feed.history.len() > self.capacity
            || feed.history.front().is_some_and(|(_, at, _)| now.duration_since(*at) > self.window)
        {
            if let Some((version, _, _)) = feed.history.pop_front() {
                feed.dropped = version;
            }
        }
    }

    pub(super) fn subscribe_everything(&mut self) -> Subscription {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.everything.push(sender);
        Subscription { receiver }
    }

    pub(super) fn subscribe(&mut self, kind: &Kind) -> Subscription {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.feeds.entry(kind.clone()).or_default().subscribers.push(sender);
        Subscription { receiver }
    }

    /// The changes after `version` that are still known, then everything to come.
    pub(super) fn resume(&mut self, kind: &Kind, version: u64) -> Result<(Vec<Event>, Subscription), Status> {
        let feed = self.feeds.entry(kind.clone()).or_default();
        let now = Instant::now();
        while feed.history.front().is_some_and(|(_, at, _)| now.duration_since(*at) > self.window) {
            if let Some((version, _, _)) = feed.history.pop_front() {
                feed.dropped = version;
            }
        }
        if version < feed.dropped {
            return Err(Status::expired(format!("too old resource version: {version} ({})", feed.dropped)));
        }
        let missed =
            feed.history.iter().filter(|(v, _, _)| *v > version).map(|(_, _, e)| e.clone()).collect();
        Ok((missed, self.subscribe(kind)))
    }

    /// The changes after `version`, oldest first.
    pub(super) fn since(&self, kind: &Kind, version: u64) -> Result<Vec<Event>, Status> {
        let Some(feed) = self.feeds.get(kind) else { return Ok(Vec::new()) };
        if version < feed.dropped {
            return Err(Status::expired(format!("too old resource version: {version} ({})", feed.dropped)));
        }
        Ok(feed.history.iter().filter(|(v, _, _)| *v > version).map(|(_, _, e)| e.clone()).collect())
    }

    /// Forgets all history up to `version` (a compaction).
    pub(super) fn compact(&mut self, version: u64) {
        for feed in self.feeds.values_mut() {
            feed.history.retain(|(v, _, _)| *v > version);
            feed.dropped = feed.dropped.max(version);
        }
    }
}
