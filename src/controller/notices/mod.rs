//! Notices: what a GameDay's notifications are told of, in the background.
//!
//! Nothing waits for them. What is told goes into a queue for each notification and is sent from there, tried a few
//! times where that may help; what cannot be sent is said in the log and in an Event, and the run goes on. Secrets are
//! read as the file's account and never with the controller's own rights, at each try, so that rights withdrawn since
//! then hold. No URL and nothing of a Secret is in any word of it.

mod post;
mod words;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinHandle,
    time::Instant,
};
use tracing::Instrument as _;

use self::post::{Failure, Postman};
use super::events::Told;
use crate::{
    api::{NoticeEvent, Notification, Person},
    cluster::Access,
    env::Env,
    types::{Finding, ObjectRef, Verdict, codes::guard as code, counted},
};

/// So many notices may wait for one notification: a webhook that hangs is no reason to keep more.
const WAITING: usize = 32;
/// How long one try may take.
const TRY: Duration = Duration::from_secs(10);
/// How often a notice is tried.
const TRIES: u32 = 4;
/// Before it is tried for the second time; three times as long before each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest that whoever is told may ask to be waited for (`Retry-After`).
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long the end of a run waits for what is still to be sent.
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

/// What notices are about, and whose Secrets they are sent with.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// The Run, or the GameDay before there is one: its namespace is that of the Secrets, and its Events say what could
    /// not be sent.
    pub on: ObjectRef,
    /// Name of the GameDay.
    pub game_day: String,
    /// What the cluster is called.
    pub cluster: String,
    /// Who takes part.
    pub people: Vec<Person>,
    /// The ServiceAccount in that namespace that Secrets are read as.
    pub account: String,
    /// Its UID: one that is deleted, or made anew, reads nothing.
    pub account_uid: String,
}

/// How one experiment ended, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its name in the game day.
    pub name: String,
    /// Its verdict, or Skipped.
    pub verdict: String,
    /// Why.
    pub reason: String,
}

/// Something to be told. What does not apply stays empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What has happened, or is about to.
    pub event: NoticeEvent,
    /// The same for people, in a sentence or two.
    pub message: String,
    /// The experiment that it is about, by its name in the game day.
    pub experiment: String,
    /// The step or gate that waits.
    pub step: String,
    /// What it meant.
    pub verdict: Option<Verdict>,
    /// Why, CamelCase and stable.
    pub reason: String,
    /// What is to be approved.
    pub hash: String,
    /// When it begins.
    pub starts: Option<Timestamp>,
    /// The experiments so far.
    pub experiments: Vec<Outcome>,
    /// When it happened; None: when it is told.
    pub time: Option<Timestamp>,
}

impl Notice {
    /// One with nothing but words.
    pub fn new(event: NoticeEvent, message: impl Into<String>) -> Self {
        Self {
            event,
            message: message.into(),
            experiment: String::new(),
            step: String::new(),
            verdict: None,
            reason: String::new(),
            hash: String::new(),
            starts: None,
            experiments: Vec::new(),
            time: None,
        }
    }
}

/// What every notification of a game day has in common.
struct Shared {
    env: Env,
    about: About,
}

/// The queue of one notification.
struct Queue {
    notification: Arc<Notification>,
    notices_tx: mpsc::Sender<Arc<Notice>>,
    /// Told, and neither sent nor given up.
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// The notifications of one game day, being told.
#[derive(Clone)]
pub struct Notices {
    shared: Arc<Shared>,
    queues: Arc<Mutex<Vec<Queue>>>,
}

impl Notices {
    /// Begins to send for these notifications. `env`: the world with the controller's own rights, which are used to look
    /// at Guardrails and at the account, and to write Events. Needs a runtime.
    pub fn new(env: &Env, about: About, notifications: &[Notification]) -> Self {
        let shared = Arc::new(Shared { env: env.clone(), about });
        let queue = |notification: &Notification| {
            let (notices_tx, notices_rx) = mpsc::channel(WAITING);
            let notification = Arc::new(notification.clone());
            let open = Arc::new(AtomicUsize::new(0));
            let postman = Postman::new(&shared.env, &shared.about, &notification);
            // What it logs says which run it is about.
            let carry = carry(shared.clone(), postman, notices_rx, open.clone());
            let task = tokio::spawn(carry.in_current_span());
            Queue { notification, notices_tx, open, task }
        };
        let queues = notifications.iter().map(queue).collect();
        Self { shared, queues: Arc::new(Mutex::new(queues)) }
    }

    /// Tells every notification that wants to know. Returns at once, and says nothing of how that goes.
    pub fn tell(&self, notice: Notice) {
        self.queue(notice, |_| true);
    }

    /// Tells one notification, if it wants to know: each says for itself how long before its run it is told.
    pub fn tell_one(&self, name: &str, notice: Notice) {
        self.queue(notice, |notification| notification.name == name);
    }

    fn queue(&self, mut notice: Notice, meant: impl Fn(&Notification) -> bool) {
        notice.time.get_or_insert(self.shared.env.clock.now());
        let notice = Arc::new(notice);
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = queues
            .iter()
            .filter(|queue| meant(&queue.notification) && queue.notification.wants(notice.event));
        for queue in wanted {
            queue.open.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = queue.notices_tx.try_send(notice.clone()) {
                queue.open.fetch_sub(1, Ordering::Relaxed);
                let why = match error {
                    TrySendError::Full(_) => format!("{WAITING} others wait already"),
                    TrySendError::Closed(_) => "nobody sends any more".to_owned(),
                };
                let what = format!("{} is left out: {why}", notice.event);
                self.shared.troubled(&queue.notification.name, &what, "");
            }
        }
    }

    /// Waits for what is still to be sent, a few seconds at the most; what is left then is given up. Nothing is sent of
    /// what is told later.
    pub async fn close(&self) {
        let queues = std::mem::take(&mut *self.queues.lock().unwrap_or_else(PoisonError::into_inner));
        let until = Instant::now() + DRAINED_WITHIN;
        let mut ending = Vec::new();
        for Queue { notification, notices_tx, open, task } in queues {
            drop(notices_tx);
            ending.push((notification, open, task));
        }
        for (notification, open, mut task) in ending {
            if tokio::time::timeout_at(until, &mut task).await.is_err() {
                task.abort();
                let left = counted(open.load(Ordering::Relaxed), "notice");
                let what = format!("{left} given up at the end of the run");
                self.shared.troubled(&notification.name, &what, "");
            }
        }
    }
}

impl Shared {
    /// Says in the log and in an Event what could not be sent.
    fn troubled(&self, notification: &str, what: &str, remedy: &str) {
        let finding =
            Finding::warning(code::NOTICE, format!("notification {notification}"), what).remedy(remedy);
        let About { on, game_day, .. } = &self.about;
        tracing::warn!(on = %on, game_day, code = %finding.code, subject = finding.subject, why = finding.message, remedy, "not told");
        let words = finding.to_string();
        let told = Told { on: on.clone(), warning: true, reason: "NotTold".to_owned(), words };
        told.send(&Access::new(self.env.kube.clone()), &self.env.clock);
    }
}

/// Sends one notice after the other, until nothing more is told.
async fn carry(
    shared: Arc<Shared>,
    postman: Postman,
    mut notices_rx: mpsc::Receiver<Arc<Notice>>,
    open: Arc<AtomicUsize>,
) {
    // What is wrong with it in the same way again is said once.
    let mut said = String::new();
    while let Some(notice) = notices_rx.recv().await {
        match tried(&postman, &notice).await {
            Ok(()) => {
                tracing::debug!(notification = postman.name(), event = %notice.event, "told");
                said.clear();
            }
            Err(failure) if failure.why == said => {}
            Err(failure) => {
                shared.troubled(
                    postman.name(),
                    &format!("{}: {}", notice.event, failure.why),
                    failure.remedy,
                );
                said = failure.why;
            }
        }
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tries a few times, where that may help.
async fn tried(postman: &Postman, notice: &Notice) -> Result<(), Failure> {
    let mut pause = PAUSE;
    let mut tries = 0;
    loop {
        tries += 1;
        let sent = tokio::time::timeout(TRY, postman.post(notice)).await;
        let failure =
            match sent.unwrap_or_else(|_| Err(Failure::passing(format!("no answer within {TRY:?}")))) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
        if !failure.passes || tries == TRIES {
            return Err(failure);
        }
        tokio::time::sleep(failure.after.unwrap_or(pause).clamp(pause, PAUSE_MAX.max(pause))).await;
        pause *= 3;
    }
}
