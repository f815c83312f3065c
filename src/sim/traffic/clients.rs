//! Clients that somebody opens from outside, besides those whom a Service's annotations state. Their requests go
//! through the same gateway to the same pods, and it counts them too; what becomes of them they also keep
//! themselves, as a load generator does.

use std::time::Duration;

use super::{Code, Event, Traffic, random::Stream};
use crate::types::load::{End, LoadTally, LoadWindow, Pace, Recorder, Schedule};

/// What a client is to send.
#[derive(Debug, Clone)]
pub struct ClientOrder {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// How many requests, and how they follow each other.
    pub pace: Pace,
    /// From which random arrivals, choices of endpoints and service times follow.
    pub seed: u64,
    /// How long it waits for an answer.
    pub timeout: Duration,
    /// How many may wait at once.
    pub max_in_flight: u32,
    /// How far back windows reach.
    pub keep: Duration,
}

/// One client.
pub struct Client {
    /// Namespace and name.
    service: (String, String),
    pub(super) timeout_us: u64,
    pub(super) stream: Stream,
    schedule: Schedule,
    start: u64,
    /// Up to when it has been followed.
    now: u64,
    recorder: Recorder,
    /// The last word.
    ended: Option<LoadTally>,
}

impl Client {
    /// How long it has been sending.
    pub fn age(&self) -> Duration {
        Duration::from_micros(self.now - self.start)
    }

    /// What became of its requests lately.
    pub fn window(&self, length: Duration) -> LoadWindow {
        self.recorder.window(self.now - self.start, length)
    }

    /// One that was sent at `arrival` has ended at `now`.
    pub(super) fn answered(&mut self, arrival: u64, now: u64, code: Code) {
        let end = match code {
            Code::Ok => End::Answered(200),
            Code::BadGateway => End::Answered(502),
            Code::Unavailable => End::Answered(503),
            Code::Timeout => End::TimedOut,
        };
        if self.ended.is_none() {
            self.recorder.end(arrival - self.start, now - self.start, end);
        }
    }
}

impl Traffic {
    /// A client begins to send at `at`. Its number.
    pub fn open_client(&mut self, order: &ClientOrder, at: u64) -> usize {
        self.advance(at);
        self.clients.push(Client {
            service: (order.namespace.clone(), order.service.clone()),
            timeout_us: u64::try_from(order.timeout.as_micros()).unwrap_or(u64::MAX),
            stream: Stream::new(order.seed, "client"),
            schedule: Schedule::new(order.pace, order.seed),
            start: self.now,
            now: self.now,
            recorder: Recorder::new(order.max_in_flight, order.keep),
            ended: None,
        });
        let client = self.clients.len() - 1;
        self.schedule_call(client);
        client
    }

    /// A client sends nothing more after `at`. What became of its requests; None for one that was never opened.
    pub fn close_client(&mut self, client: usize, at: u64) -> Option<LoadTally> {
        self.advance(at);
        let client = self.clients.get_mut(client)?;
        Some(client.ended.get_or_insert_with(|| client.recorder.tally()).clone())
    }

    /// A client as of `at`; None for one that was never opened.
    pub fn client(&mut self, client: usize, at: u64) -> Option<&Client> {
        self.advance(at);
        let now = self.now;
        let client = self.clients.get_mut(client)?;
        client.now = now;
        Some(client)
    }

    fn schedule_call(&mut self, client: usize) {
        let found = &mut self.clients[client];
        let due = u64::try_from(found.schedule.next_due().as_micros()).unwrap_or(u64::MAX);
        let at = found.start.saturating_add(due);
        self.push(at, Event::Call { client });
    }

    /// A client's next request is due.
    pub(super) fn call(&mut self, client: usize, now: u64) {
        let found = &mut self.clients[client];
        if found.ended.is_some() {
            return;
        }
        let due = now - found.start;
        if found.recorder.send(due, due) {
            found.recorder.left(due, due);
            match self.service_index.get(&found.service).copied() {
                Some(service) => self.send(service, Some(client), now),
                None => found.recorder.end(due, due, End::NotConnected),
            }
        }
        self.schedule_call(client);
    }
}
