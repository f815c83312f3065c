//! One agent: attached, attached again, heartbeat, orders matched with reports.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Heard, OrderError, talk};
use crate::{
    agent::wire::{Order, OrderLine, RefusalCode, Report, ReportLine, VERSION, frame},
    cluster::Access,
    env::{Agents, AttachError, Attached},
    types::{Epoch, InjectionId, ObjectRef, RunId},
};

/// Between two beats: well within the time to live.
const BEAT: Duration = Duration::from_secs(2);
/// An agent ticks every second: a stream that says nothing for so long is dropped, and another one is tried.
const SILENT: Duration = Duration::from_secs(4);
/// How long a session may take to be opened before it is tried anew.
const OPENED_WITHIN: Duration = Duration::from_secs(3);
/// Before the first try to attach again, doubling up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
/// Before any other.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often an order that came too late is sent anew.
const LATE_MAX: u32 = 3;

/// What is asked of a session.
pub(super) enum Asked {
    /// To have an order carried out.
    Order { order: Order, answer_tx: oneshot::Sender<Result<Report, OrderError>>, late: u32 },
    /// To say when an injection has ended by itself.
    Watch { injection: InjectionId, lapsed_tx: oneshot::Sender<String> },
}

/// Why a stream is no use any more.
enum Broken {
    /// Another one may be.
    Stream,
    /// The agent is gone, in words.
    Ended(String),
    /// Nobody asks any more.
    Closed,
}

/// The task of one agent.
pub(super) struct Session {
    link: Arc<dyn Agents>,
    access: Access,
    pod: ObjectRef,
    run: RunId,
    epoch: Epoch,
    asked_rx: mpsc::UnboundedReceiver<Asked>,
    heard: Arc<Mutex<Heard>>,
    attached: u64,
    name: String,
    opened: bool,
    seq: u64,
    tick: u64,
    /// Sent and not answered, by number.
    sent: BTreeMap<u64, Asked>,
    /// To be sent once the session is open.
    waiting: VecDeque<Asked>,
    watching: Vec<(InjectionId, oneshot::Sender<String>)>,
}

impl Session {
    pub(super) fn new(
        (link, access): (Arc<dyn Agents>, Access),
        pod: ObjectRef,
        (run, epoch): (RunId, Epoch),
        (asked_rx, heard): (mpsc::UnboundedReceiver<Asked>, Arc<Mutex<Heard>>),
    ) -> Self {
        Self {
            link,
            access,
            pod,
            run,
            epoch,
            asked_rx,
            heard,
            attached: 0,
            name: String::new(),
            opened: false,
            seq: 0,
            tick: 0,
            sent: BTreeMap::new(),
            waiting: VecDeque::new(),
            watching: Vec::new(),
        }
    }

    /// Goes on until nobody asks any more.
    pub(super) async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let before = self.attached;
            let broken = match self.link.attach(&self.pod).await {
                Ok(stream) => {
                    self.known().unattached = None;
                    self.talk(stream).await
                }
                Err(error) => {
                    self.known().unattached = Some(error.to_string());
                    self.unattached(&error).await
                }
            };
            match broken {
                Broken::Closed => return,
                Broken::Ended(how) => return self.ended(how).await,
                Broken::Stream if self.opened && self.attached > before => pause = PAUSE,
                Broken::Stream => {}
            }
            self.opened = false;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Whether there is still somebody to attach to.
    async fn unattached(&self, error: &AttachError) -> Broken {
        tracing::debug!(pod = %self.pod, %error, "not attached");
        match talk::ending(&self.access, &self.pod).await {
            // One that was never there may be on its way.
            Some(_) if self.attached == 0 && *error == AttachError::NoSuchPod => Broken::Stream,
            Some(how) => Broken::Ended(how),
            None => Broken::Stream,
        }
    }

    /// Talks over one stream until it breaks.
    async fn talk(&mut self, stream: Attached) -> Broken {
        let Attached { mut orders, mut reports } = stream;
        self.attached += 1;
        self.name = format!("{}.{}", self.epoch, self.attached);
        (self.seq, self.opened, self.tick) = (0, false, 0);
        // What was under way goes first, in its order, once the session is open.
        for (_, asked) in std::mem::take(&mut self.sent).into_iter().rev() {
            self.waiting.push_front(asked);
        }
        let hello = format!("\n{}", self.line(Order::Hello));
        if orders.write_all(hello.as_bytes()).await.is_err() || orders.flush().await.is_err() {
            return Broken::Stream;
        }
        let mut lines = frame::Lines::default();
        let mut bytes = vec![0; 16 * 1024];
        let mut beat = Instant::now() + BEAT;
        let mut silent = Instant::now() + OPENED_WITHIN;
        loop {
            let mut text = String::new();
            tokio::select! {
                biased;
                read = reports.read(&mut bytes) => {
                    let Ok(length) = read else { return Broken::Stream };
                    if length == 0 {
                        return self.unattached(&AttachError::Unreachable("the stream has ended".to_owned())).await;
                    }
                    for line in lines.push(&bytes[..length]) {
                        if let Ok(report) = frame::decode::<ReportLine>(&line) {
                            silent = Instant::now() + SILENT;
                            match self.heard(report) {
                                Some(broken) => return broken,
                                None => text.push_str(&self.due()),
                            }
                        }
                    }
                }
                asked = self.asked_rx.recv() => {
                    let Some(asked) = asked else { return Broken::Closed };
                    self.take(asked);
                    text = self.due();
                }
                () = tokio::time::sleep_until(beat) => {
                    beat = Instant::now() + BEAT;
                    // Whoever does not own the run any more keeps nothing in force.
                    if self.opened && self.access.fence().check().is_ok() {
                        text = self.line(Order::Beat);
                    }
                }
                () = tokio::time::sleep_until(silent) => return Broken::Stream,
            }
            if !text.is_empty()
                && (orders.write_all(text.as_bytes()).await.is_err() || orders.flush().await.is_err())
            {
                return Broken::Stream;
            }
        }
    }

    fn take(&mut self, asked: Asked) {
        match asked {
            Asked::Order { .. } => self.waiting.push_back(asked),
            Asked::Watch { injection, lapsed_tx } => self.watching.push((injection, lapsed_tx)),
        }
    }

    /// The lines of what may be sent now.
    fn due(&mut self) -> String {
        let mut text = String::new();
        while self.opened
            && let Some(asked) = self.waiting.pop_front()
        {
            let Asked::Order { order, answer_tx, .. } = &asked else { continue };
            // Nobody waits for it any more, and nobody knows whether it is still meant.
            if answer_tx.is_closed() {
                continue;
            }
            text.push_str(&self.line(order.clone()));
            self.sent.insert(self.seq, asked);
        }
        text
    }

    /// The next order as its line.
    fn line(&mut self, order: Order) -> String {
        self.seq += 1;
        frame::encode(&OrderLine {
            version: VERSION,
            run: self.run.clone(),
            epoch: self.epoch,
            session: self.name.clone(),
            seq: self.seq,
            tick: self.tick,
            order,
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&mut self, line: ReportLine) -> Option<Broken> {
        if line.run != self.run {
            return None;
        }
        self.known().at = Instant::now();
        self.tick = self.tick.max(line.tick);
        let ours = line.session == self.name;
        match line.report {
            Report::Tick => {}
            Report::Expired { injection, .. } => {
                self.lapse(|other| *other == injection, "its own time ran out, and the agent took it back");
            }
            Report::Ended { why, .. } => return Some(Broken::Ended(talk::in_words(why).to_owned())),
            Report::Ready { ref in_force, .. } if ours && !self.opened => {
                self.opened = true;
                let gone = |injection: &InjectionId| !in_force.contains(injection);
                self.lapse(gone, "the agent does not hold it any more");
                self.answer(line.seq, Ok(line.report));
            }
            Report::Refused(ref refusal) if ours => match refusal.code {
                RefusalCode::NoSession | RefusalCode::Replayed if line.seq <= 1 => {
                    return Some(Broken::Stream);
                }
                RefusalCode::NoSession => return Some(Broken::Stream),
                RefusalCode::Late => self.again(line.seq, refusal.clone()),
                // The first is the greeting: whoever waits hears why.
                _ if line.seq == 1 => {
                    let error = OrderError::Refused(refusal.clone());
                    self.fail(&error);
                }
                _ => self.answer(line.seq, Err(OrderError::Refused(refusal.clone()))),
            },
            report if ours => self.answer(line.seq, Ok(report)),
            _ => {}
        }
        None
    }

    /// It quoted a tick that was old by then: the newest is known now.
    fn again(&mut self, seq: u64, refusal: crate::agent::wire::Refusal) {
        match self.sent.remove(&seq) {
            Some(Asked::Order { order, answer_tx, late }) if late < LATE_MAX => {
                self.waiting.push_back(Asked::Order { order, answer_tx, late: late + 1 });
            }
            Some(Asked::Order { answer_tx, .. }) => {
                let _ = answer_tx.send(Err(OrderError::Refused(refusal)));
            }
            _ => {}
        }
    }

    fn answer(&mut self, seq: u64, answer: Result<Report, OrderError>) {
        if let Some(Asked::Order { answer_tx, .. }) = self.sent.remove(&seq) {
            let _ = answer_tx.send(answer);
        }
    }

    fn lapse(&mut self, of: impl Fn(&InjectionId) -> bool, how: &str) {
        for (injection, lapsed_tx) in std::mem::take(&mut self.watching) {
            if of(&injection) {
                let _ = lapsed_tx.send(how.to_owned());
            } else {
                self.watching.push((injection, lapsed_tx));
            }
        }
    }

    fn fail(&mut self, error: &OrderError) {
        let sent = std::mem::take(&mut self.sent).into_values();
        for asked in sent.chain(std::mem::take(&mut self.waiting)) {
            if let Asked::Order { answer_tx, .. } = asked {
                let _ = answer_tx.send(Err(error.clone()));
            }
        }
    }

    /// Answers whoever asks from now on: it is gone.
    async fn ended(mut self, how: String) {
        self.lapse(|_| true, &how);
        self.fail(&OrderError::Ended(how.clone()));
        while let Some(asked) = self.asked_rx.recv().await {
            match asked {
                Asked::Order { answer_tx, .. } => {
                    let _ = answer_tx.send(Err(OrderError::Ended(how.clone())));
                }
                Asked::Watch { lapsed_tx, .. } => {
                    let _ = lapsed_tx.send(how.clone());
                }
            }
        }
    }
}
