//! The desk takes orders: it knows sessions, epochs, ticks and times, and says what to do.
//!
//! Time is handed in, as the length of time since the agent's start. Whoever owns a desk calls [`Desk::take`]
//! with each line that arrives and [`Desk::due`] at [`Desk::next_due`], carries out the acts in their order,
//! and brings what came of each errand to [`Desk::answer`].

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{
    End, Order, OrderLine, Refusal, RefusalCode, Report, ReportLine, VERSION,
    check::{self, refuse},
    frame::{self, FrameError},
};
use crate::types::{Epoch, InjectionId, RunId};

/// Before the first session.
const GRACE: Duration = Duration::from_secs(60);
/// The longest time to live.
const TTL_MAX: Duration = Duration::from_secs(60);
/// An order that quotes an older tick was delivered late.
const LATE: u64 = 5;
const SECOND: Duration = Duration::from_secs(1);
/// Remembered; the one opened first is forgotten first.
const SESSIONS: usize = 64;
/// In force at once, over all pods.
const IN_FORCE: usize = 1024;

/// What an agent allows, whoever asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Without an order for so long, everything is lifted. More than a minute counts as a minute.
    pub ttl: Duration,
    /// Ended after so long, whatever happens.
    pub deadline: Duration,
    /// The longest delay.
    pub delay_max: Duration,
    /// The largest share of lost packets; a partition is not counted here.
    pub loss_max_percent: f64,
}

/// Which order an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    session: String,
    seq: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Say it.
    Say(ReportLine),
    /// Carry out the order and bring what came of it to [`Desk::answer`], now or later. It is one of Hello
    /// (say `Ready` with the features; the desk fills in the rest), Enter, Apply, Lift, Count, Kill and Measure.
    Carry(Ticket, Order),
    /// Its own time ran out: lift it from this pod. What is said about it comes next.
    Lift(InjectionId, String),
    /// Lift everything, then say this and exit with 0.
    End(ReportLine),
}

/// An agent's side of the conversation.
#[derive(Clone, Debug)]
pub struct Desk {
    limits: Limits,
    run: RunId,
    epoch: Epoch,
    /// The last number of each session, in the order in which they were opened.
    sessions: Vec<(String, u64)>,
    /// Until when each injection is in force on each pod.
    in_force: BTreeMap<(InjectionId, String), Duration>,
    silent_from: Duration,
    said: u64,
    ignored: u64,
    ended: bool,
}

/// What an order is judged by before it is read as a whole.
#[derive(Deserialize)]
struct Head {
    version: u32,
    #[serde(default)]
    session: String,
    #[serde(default)]
    seq: u64,
}

impl Desk {
    /// The desk of an agent that was started for `run` by the owner of this epoch.
    #[must_use]
    pub fn new(limits: Limits, run: RunId, epoch: Epoch) -> Self {
        Self {
            limits,
            run,
            epoch,
            sessions: Vec::new(),
            in_force: BTreeMap::new(),
            silent_from: GRACE,
            said: 0,
            ignored: 0,
            ended: false,
        }
    }

    /// Takes a line. What is no frame is counted and no more.
    pub fn take(&mut self, line: &str, now: Duration) -> Vec<Act> {
        if self.ended || line.trim().is_empty() {
            return Vec::new();
        }
        // An order that comes too late for its time finds everything lifted, also if nobody looked in between.
        let mut acts = self.due(now);
        if self.ended {
            return acts;
        }
        let Ok(json) = frame::payload(line) else {
            self.ignored += 1;
            return acts;
        };
        let head: Head =
            serde_json::from_str(json).unwrap_or(Head { version: VERSION, session: String::new(), seq: 0 });
        let ticket = Ticket { session: head.session, seq: head.seq };
        let read = if head.version == VERSION {
            frame::decode(line)
        } else {
            acts.push(self.say(&ticket, now, Report::Refused(of_another_version(head.version))));
            return acts;
        };
        match read.map_err(malformed).and_then(|order| self.judge(order, now)) {
            Ok(order) => acts.extend(self.accept(ticket, order, now)),
            Err(refusal) => acts.push(self.say(&ticket, now, Report::Refused(refusal))),
        }
        acts
    }

    /// What came of an errand, as the line to say.
    pub fn answer(
        &mut self,
        ticket: Ticket,
        order: &Order,
        outcome: Result<Report, Refusal>,
        now: Duration,
    ) -> ReportLine {
        let mut report = outcome.unwrap_or_else(Report::Refused);
        match (&mut report, order) {
            (Report::Applied { injection, pod }, Order::Apply { within_ms, .. }) => {
                let until = now + Duration::from_millis(*within_ms);
                self.in_force.insert((injection.clone(), pod.clone()), until);
            }
            (Report::Lifted { injection, .. }, Order::Lift { .. }) => {
                self.in_force.retain(|(other, _), _| other != injection);
            }
            (Report::Ready { in_force, ignored, .. }, _) => {
                *in_force = self.in_force();
                *ignored = self.ignored;
            }
            _ => {}
        }
        self.line(ticket.session, ticket.seq, now, report)
    }

    /// What time asks for.
    pub fn due(&mut self, now: Duration) -> Vec<Act> {
        if self.ended {
            return Vec::new();
        }
        if now >= self.limits.deadline {
            return vec![self.end(End::Deadline, now)];
        }
        if now >= self.silent_from {
            return vec![self.end(End::Silence, now)];
        }
        let mut acts = Vec::new();
        let over = self.in_force.iter().filter(|(_, until)| **until <= now).map(|(key, _)| key.clone());
        for (injection, pod) in over.collect::<Vec<_>>() {
            self.in_force.remove(&(injection.clone(), pod.clone()));
            acts.push(Act::Lift(injection.clone(), pod.clone()));
            acts.push(self.unasked(now, Report::Expired { injection, pod }));
        }
        if tick(now) > self.said {
            self.said = tick(now);
            acts.push(self.unasked(now, Report::Tick));
        }
        acts
    }

    /// When [`Desk::due`] has something next, if nothing else happens.
    #[must_use]
    pub fn next_due(&self) -> Duration {
        let tick = SECOND * u32::try_from(self.said + 1).unwrap_or(u32::MAX);
        let expiry = self.in_force.values().min().copied().unwrap_or(Duration::MAX);
        tick.min(expiry).min(self.silent_from).min(self.limits.deadline)
    }

    /// On SIGTERM.
    pub fn terminate(&mut self, now: Duration) -> Vec<Act> {
        if self.ended { Vec::new() } else { vec![self.end(End::Terminated, now)] }
    }

    /// What is in force, each injection once.
    #[must_use]
    pub fn in_force(&self) -> Vec<InjectionId> {
        let mut names: Vec<_> = self.in_force.keys().map(|(injection, _)| injection.clone()).collect();
        names.dedup();
        names
    }

    fn judge(&self, line: OrderLine, now: Duration) -> Result<OrderLine, Refusal> {
        if line.run != self.run {
            let why = format!("this agent is of run {}, the order of run {}", self.run, line.run);
            return refuse(RefusalCode::OtherRun, why, "Attach to the pod of the order's run.");
        }
        if line.epoch < self.epoch {
            let why = format!("epoch {} has been overtaken by {}", line.epoch, self.epoch);
            return refuse(RefusalCode::OldEpoch, why, "The run has another owner: stop.");
        }
        let hello = line.order == Order::Hello;
        let known =
            self.sessions.iter().find(|(session, _)| *session == line.session && line.epoch == self.epoch);
        match known {
            Some((_, last)) if line.seq <= *last => {
                let why = format!("order {} of session {:?} is not after {last}", line.seq, line.session);
                return refuse(RefusalCode::Replayed, why, "Number the orders of a session upwards.");
            }
            None if !hello => {
                let why = format!("session {:?} is not open", line.session);
                return refuse(RefusalCode::NoSession, why, "Open it with Hello.");
            }
            _ => {}
        }
        if line.session.is_empty() || line.session.len() > 64 {
            return refuse(RefusalCode::Malformed, "a session has a name of 1 to 64 bytes", "Name it.");
        }
        // A session that was never open can have seen no tick.
        let greeting = hello && line.tick == 0;
        if !greeting && !(line.tick..=line.tick.saturating_add(LATE)).contains(&tick(now)) {
            let why = format!("it quotes tick {}, and now is tick {}", line.tick, tick(now));
            return refuse(RefusalCode::Late, why, "Look at what is in force, then decide anew.");
        }
        check::order(&line.order, &self.limits)?;
        match &line.order {
            Order::Apply { .. } if self.in_force.len() >= IN_FORCE => {
                let why = format!("{IN_FORCE} disturbances are in force");
                refuse(RefusalCode::Limit, why, "Lift some.")
            }
            _ => Ok(line),
        }
    }

    /// An order that was judged.
    fn accept(&mut self, ticket: Ticket, line: OrderLine, now: Duration) -> Vec<Act> {
        if line.epoch > self.epoch {
            self.epoch = line.epoch;
            self.sessions.clear();
        }
        match self.sessions.iter_mut().find(|(session, _)| *session == line.session) {
            Some((_, last)) => *last = line.seq,
            None => {
                if self.sessions.len() == SESSIONS {
                    self.sessions.remove(0);
                }
                self.sessions.push((line.session, line.seq));
            }
        }
        self.silent_from = now + self.limits.ttl.min(TTL_MAX);
        match line.order {
            Order::Beat => Vec::new(),
            Order::Leave => vec![self.ending(ticket, End::Left, now)],
            order => vec![Act::Carry(ticket, order)],
        }
    }

    fn end(&mut self, why: End, now: Duration) -> Act {
        self.ending(Ticket { session: String::new(), seq: 0 }, why, now)
    }

    fn ending(&mut self, ticket: Ticket, why: End, now: Duration) -> Act {
        let lifted = self.in_force();
        self.in_force.clear();
        self.ended = true;
        Act::End(self.line(ticket.session, ticket.seq, now, Report::Ended { why, lifted }))
    }

    fn say(&self, ticket: &Ticket, now: Duration, report: Report) -> Act {
        Act::Say(self.line(ticket.session.clone(), ticket.seq, now, report))
    }

    fn unasked(&self, now: Duration, report: Report) -> Act {
        Act::Say(self.line(String::new(), 0, now, report))
    }

    fn line(&self, session: String, seq: u64, now: Duration, report: Report) -> ReportLine {
        ReportLine {
            version: VERSION,
            run: self.run.clone(),
            epoch: self.epoch,
            session,
            seq,
            tick: tick(now),
            report,
        }
    }
}

/// The agent's count of seconds.
fn tick(now: Duration) -> u64 {
    now.as_secs()
}

fn of_another_version(version: u32) -> Refusal {
    Refusal {
        code: RefusalCode::Version,
        why: format!("orders of version {version}; this agent takes version {VERSION}"),
        remedy: "Use an agent and a runner of one version (--agent-image).".to_owned(),
    }
}

fn malformed(error: FrameError) -> Refusal {
    Refusal {
        code: RefusalCode::Malformed,
        why: error.to_string(),
        remedy: "Use an agent and a runner of one version (--agent-image).".to_owned(),
    }
}

#[cfg(test)]
mod tests;
