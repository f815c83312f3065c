//! Sessions with the agents of a run: one task a pod, which keeps the stream and the heartbeat.
//!
//! A runner that cannot reach an agent knows one thing all the same: without a beat the agent takes back what it
//! holds within its time to live. So an agent that is out of reach ([`OrderError::Unanswered`]) is never mistaken
//! for one that refuses ([`OrderError::Refused`]) or has ended ([`OrderError::Ended`]).

mod session;
mod talk;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::Instant,
};
use tracing::Instrument as _;

use self::session::{Asked, Session};
use super::{Access, ApiError};
use crate::{
    agent::wire::{Order, Refusal, RefusalCode, Report},
    env,
    types::{Epoch, InjectionId, ObjectRef, RunId},
};

/// How long an agent keeps what it holds without a beat: what it is started with.
pub const AGENT_TTL: Duration = Duration::from_secs(10);
/// On top of that: what a beat that was under way may have taken, and the agent's own way to its last rule.
const MARGIN: Duration = Duration::from_secs(5);

/// Why an order has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The agent does not do it; nothing was changed.
    #[error("the agent refuses: {0}")]
    Refused(Refusal),
    /// The agent is gone, and with it everything that it held.
    #[error("the agent has ended: {0}")]
    Ended(String),
    /// No answer in time: it may have happened, and it may not.
    #[error("no answer from the agent within {0:?}: {1}")]
    Unanswered(Duration, String),
    /// This process no longer owns the run: nothing was sent.
    #[error(transparent)]
    Fenced(ApiError),
}

impl OrderError {
    /// Whether it is because no process of the pod is on the agent's node.
    pub fn no_such_pod(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == RefusalCode::NoSuchPod)
    }
}

/// The agents of a run, as one of its owners talks to them. Talking ends when the last clone is dropped.
#[derive(Clone)]
pub struct Sessions(Arc<Shared>);

struct Shared {
    link: Arc<dyn env::Agents>,
    access: Access,
    run: RunId,
    epoch: Epoch,
    open: Mutex<BTreeMap<ObjectRef, Open>>,
    /// Round trips before a fault, by injection.
    undisturbed: Mutex<BTreeMap<InjectionId, Duration>>,
    /// Packets that were met by what was lifted, by injection.
    met: Mutex<BTreeMap<InjectionId, u64>>,
}

struct Open {
    asked_tx: mpsc::UnboundedSender<Asked>,
    heard: Arc<Mutex<Heard>>,
    task: AbortHandle,
}

/// What is known of an agent.
#[derive(Debug)]
struct Heard {
    /// When it said something last.
    at: Instant,
    /// Why nobody is attached to it, if so.
    unattached: Option<String>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sessions {
    /// Nobody is talked to yet.
    pub fn new(link: Arc<dyn env::Agents>, access: Access, run: RunId, epoch: Epoch) -> Self {
        let (open, undisturbed, met) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { link, access: access.beside(), run, epoch, open, undisturbed, met }))
    }

    /// Has the agent of this pod carry out an order, and hands back its report. A session is begun where there is none,
    /// and the order is sent again when the stream breaks meanwhile: every order may come twice.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn order(&self, pod: &ObjectRef, order: Order, within: Duration) -> Result<Report, OrderError> {
        self.0.access.fence().check().map_err(OrderError::Fenced)?;
        let (answer_tx, answer_rx) = oneshot::channel();
        self.ask(pod, Asked::Order { order, answer_tx, late: 0 });
        match tokio::time::timeout(within, answer_rx).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(OrderError::Unanswered(within, "the session was closed".to_owned())),
            Err(_) => {
                let since = self.unheard(pod).map_or_else(String::new, |silent| {
                    format!("nothing was heard from it for {:.1} s", silent.as_secs_f64())
                });
                let since = match self.unattached(pod) {
                    Some(why) => format!("{since}; nobody is attached to it: {why}"),
                    None => since,
                };
                Err(OrderError::Unanswered(within, since))
            }
        }
    }

    /// Returns, in words, when what this injection put in force on the pod's node has ended by itself.
    pub async fn lapsed(&self, pod: &ObjectRef, injection: &InjectionId) -> String {
        let (lapsed_tx, lapsed_rx) = oneshot::channel();
        self.ask(pod, Asked::Watch { injection: injection.clone(), lapsed_tx });
        match lapsed_rx.await {
            Ok(how) => how,
            // The session was closed: nobody takes that for an end of the fault.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether so much time has passed since anything was heard from the agent that it has taken everything back by
    /// itself, whatever has become of it.
    pub fn past_ttl(&self, pod: &ObjectRef) -> bool {
        self.unheard(pod).is_some_and(|silent| silent >= AGENT_TTL + MARGIN)
    }

    /// Why nobody is attached to the agent of this pod, if so.
    fn unattached(&self, pod: &ObjectRef) -> Option<String> {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = open.get(&named(pod))?.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.unattached.clone()
    }

    fn unheard(&self, pod: &ObjectRef) -> Option<Duration> {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&named(pod))
            .map(|open| open.heard.lock().unwrap_or_else(PoisonError::into_inner).at.elapsed())
    }

    /// Whether there is a session with this pod.
    pub fn talks_to(&self, pod: &ObjectRef) -> bool {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&named(pod))
    }

    /// How the agent of this pod has ended, in words; None while it may be there.
    pub async fn ending(&self, pod: &ObjectRef) -> Option<String> {
        talk::ending(&self.0.access, &named(pod)).await
    }

    /// Ends the session with this pod.
    pub fn close(&self, pod: &ObjectRef) {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&named(pod));
    }

    /// Keeps what a round trip took before a fault.
    pub fn keep_undisturbed(&self, injection: &InjectionId, round_trip: Duration) {
        let mut kept = self.0.undisturbed.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(injection.clone(), round_trip);
    }

    /// What a round trip took before this fault.
    pub fn undisturbed(&self, injection: &InjectionId) -> Option<Duration> {
        self.0.undisturbed.lock().unwrap_or_else(PoisonError::into_inner).get(injection).copied()
    }

    /// Keeps how many packets of others a fault had met when its agent lifted it.
    pub fn keep_met(&self, injection: &InjectionId, packets: u64) {
        let mut kept = self.0.met.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(injection.clone(), packets);
    }

    /// How many packets of others this fault had met when its agent lifted it; None if no agent has said so.
    pub fn met(&self, injection: &InjectionId) -> Option<u64> {
        self.0.met.lock().unwrap_or_else(PoisonError::into_inner).get(injection).copied()
    }

    fn ask(&self, pod: &ObjectRef, asked: Asked) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.entry(named(pod)).or_insert_with(|| self.begin(pod));
        // One that has ended answers so by itself, until it is closed.
        let _ = session.asked_tx.send(asked);
    }

    fn begin(&self, pod: &ObjectRef) -> Open {
        let (asked_tx, asked_rx) = mpsc::unbounded_channel();
        let heard = Arc::new(Mutex::new(Heard { at: Instant::now(), unattached: None }));
        let session = Session::new(
            (self.0.link.clone(), self.0.access.clone()),
            pod.clone(),
            (self.0.run.clone(), self.0.epoch),
            (asked_rx, heard.clone()),
        );
        let task = tokio::spawn(session.run().in_current_span()).abort_handle();
        Open { asked_tx, heard, task }
    }
}

/// Pods of a run have names of their own: who is meant is known before it is there, and so before it has a UID.
fn named(pod: &ObjectRef) -> ObjectRef {
    ObjectRef { uid: String::new(), ..pod.clone() }
}
