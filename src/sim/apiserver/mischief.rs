//! Trouble at the wire, for tests: refusals, lost answers, dropped connections, outages; and counters of calls.
//!
//! Deterministic: a rule counts the calls that it matches, and acts on those that its turn names.

use crate::sim::store::Status;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Which calls a rule is about; an empty field matches every call.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// Resource name (plural).
    pub resource: String,
    /// Subresource; `-` matches only calls without one.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Object name.
    pub name: String,
    /// User name.
    pub user: String,
}

/// Which of the matching calls are hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// All of them.
    Every,
    /// Only the n-th, counted from 1.
    Nth(u64),
    /// The first n.
    First(u64),
}

/// What happens to a call that is hit.
#[derive(Debug, Clone)]
pub enum Action {
    /// Answered with this error; nothing happens.
    Answer(Status),
    /// Nothing happens; after the server's request time-out (60 s, `--request-timeout`) 504.
    TimeoutBeforeCommit,
    /// The effect happens; after the server's request time-out 504.
    TimeoutAfterCommit,
    /// The connection breaks before anything happens.
    DropBeforeCommit,
    /// The effect happens, and the connection breaks before the answer.
    DropAfterCommit,
    /// The call takes longer.
    Latency(Duration),
    /// A watch is answered 200 and then ends with an ERROR event 410 in the stream.
    WatchGone,
}

/// One piece of trouble.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which calls it counts.
    pub matcher: Matcher,
    /// Which of them it hits.
    pub turn: Turn,
    /// What it does.
    pub action: Action,
}

/// What a rule sees of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Verb.
    pub verb: String,
    /// Resource with its subresource, for example `pods/eviction`; the path when it is no resource.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Object name.
    pub name: String,
    /// User name.
    pub user: String,
}

#[derive(Default)]
struct State {
    rules: Vec<(Rule, u64)>,
    calls: BTreeMap<(String, String), u64>,
    trace: Option<Vec<Seen>>,
}

/// The trouble of one API server; clones share it.
#[derive(Clone)]
pub struct Mischief {
    state: Arc<Mutex<State>>,
    outage: Arc<watch::Sender<bool>>,
    stall: Arc<watch::Sender<bool>>,
    streams: Arc<watch::Sender<Streams>>,
}

/// What happens to attached streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::sim) struct Streams {
    /// Nothing passes for now.
    pub held: bool,
    /// How often all were cut.
    pub cuts: u64,
}

impl Default for Mischief {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            outage: Arc::new(watch::Sender::new(false)),
            stall: Arc::new(watch::Sender::new(false)),
            streams: Arc::new(watch::Sender::new(Streams::default())),
        }
    }
}

impl Mischief {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule. Of several rules that hit one call the first added acts.
    pub fn add(&self, rule: Rule) {
        self.lock().rules.push((rule, 0));
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// While on, every call fails as a refused connection and open watches are cut.
    pub fn outage(&self, on: bool) {
        self.outage.send_replace(on);
    }

    /// While on, watches stay open and say nothing more, as behind a connection that is half dead: no event, no
    /// bookmark, no end. New ones are taken and say nothing either.
    pub fn stall_watches(&self, on: bool) {
        self.stall.send_replace(on);
    }

    /// While on, nothing passes over attached streams in either direction, and afterwards all that was held up does: as
    /// when the API server's process is stopped and goes on. Orders come late by that.
    pub fn hold_streams(&self, on: bool) {
        self.streams.send_modify(|streams| streams.held = on);
    }

    /// Cuts all attached streams, as a load balancer does to idle ones.
    pub fn cut_streams(&self) {
        self.streams.send_modify(|streams| streams.cuts += 1);
    }

    pub(in crate::sim) fn streams_signal(&self) -> watch::Receiver<Streams> {
        self.streams.subscribe()
    }

    pub(super) fn stall_signal(&self) -> watch::Receiver<bool> {
        self.stall.subscribe()
    }

    /// Whether an outage is on.
    #[must_use]
    pub fn is_out(&self) -> bool {
        *self.outage.borrow()
    }

    pub(in crate::sim) fn outage_signal(&self) -> watch::Receiver<bool> {
        self.outage.subscribe()
    }

    /// Calls so far by verb and resource (with subresource), refused and failed ones included.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<(String, String), u64> {
        self.lock().calls.clone()
    }

    /// Sets the counters back to zero.
    pub fn reset_calls(&self) {
        self.lock().calls.clear();
    }

    /// Starts to record every call, in order.
    pub fn record(&self) {
        self.lock().trace = Some(Vec::new());
    }

    /// The calls recorded since [`Mischief::record`].
    #[must_use]
    pub fn recorded(&self) -> Vec<Seen> {
        self.lock().trace.clone().unwrap_or_default()
    }

    /// Counts a call and says what is to happen to it.
    pub(super) fn meet(&self, seen: &Seen) -> Option<Action> {
        let mut state = self.lock();
        *state.calls.entry((seen.verb.clone(), seen.resource.clone())).or_default() += 1;
        if let Some(trace) = &mut state.trace {
            trace.push(seen.clone());
        }
        let mut hit = None;
        for (rule, count) in &mut state.rules {
            if !rule.matcher.matches(seen) {
                continue;
            }
            *count += 1;
            let acts = match rule.turn {
                Turn::Every => true,
                Turn::Nth(n) => *count == n,
                Turn::First(n) => *count <= n,
            };
            if acts && hit.is_none() {
                hit = Some(rule.action.clone());
            }
        }
        hit
    }
}

impl Matcher {
    /// Matches calls of one verb on one resource (`pods`, or `pods/eviction`).
    #[must_use]
    pub fn on(verb: &str, resource: &str) -> Self {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, "-"));
        Self {
            verb: verb.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            ..Self::default()
        }
    }

    fn matches(&self, seen: &Seen) -> bool {
        let (resource, subresource) = seen.resource.split_once('/').unwrap_or((&seen.resource, "-"));
        let is = |want: &str, have: &str| want.is_empty() || want == have;
        is(&self.verb, &seen.verb)
            && is(&self.resource, resource)
            && is(&self.subresource, subresource)
            && is(&self.namespace, &seen.namespace)
            && is(&self.name, &seen.name)
            && is(&self.user, &seen.user)
    }
}
