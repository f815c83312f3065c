//! Single requests from inside of the cluster, past the gateway: the API server's proxy. The gateway counts none of
//! them, and their randomness is their own; but the pods that serve them are the same.

use super::journeys::Departure;
use super::requests::{Asker, takes};
use super::work::Work;
use super::{Code, Traffic};

/// How long the end of a visit that nobody asks for is kept, in microseconds: longer than the API server's proxy waits.
const KEPT_US: u64 = 120_000_000;

/// How long the API server's proxy waits for an answer over a connection on which something lies, in microseconds: as long
/// as it tries to connect.
const PATIENCE_US: u64 = 30_000_000;

/// What became of a request to one of some pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// There is no pod to go to.
    NoEndpoint,
    /// NetworkPolicies do not let it through.
    Dropped,
    /// The pod's process does not listen.
    Refused,
    /// The pod's queue is full.
    Full,
    /// A process has taken it and will be done with it.
    Taken {
        /// When, in microseconds.
        finish: u64,
        /// Which.
        process: ProcessId,
    },
    /// A process has taken it that calls others for it, so nobody knows when it is done.
    Working {
        /// For [`Traffic::visited`].
        ticket: u64,
    },
}

/// How a visit stands that a process has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visited {
    /// Not yet done; nothing happens before that instant (microseconds) unless something changes.
    NotBefore(u64),
    /// The process has answered.
    Answered(Code),
    /// It ended without an answer.
    Lost,
}

/// One process of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId {
    pod: usize,
    epoch: u64,
}

impl Traffic {
    /// Sends one request to that port of one of these pods at random.
    pub fn visit(&mut self, (uids, port): (&[String], u16), at: u64) -> Visit {
        self.advance(at);
        let now = self.now;
        let Some(uid) = uids.get(self.visits.below(uids.len())) else { return Visit::NoEndpoint };
        let Some(index) = self.pod_index.get(uid).copied() else { return Visit::Refused };
        if !self.lets_through(None, index, port) {
            return Visit::Dropped;
        }
        if let Some(path) = self.path(None, None, (index, port)) {
            if path.is_cut() {
                if let Some(journeys) = &mut self.journeys {
                    journeys.impairments.meet(&path.to.met);
                }
                return Visit::Dropped;
            }
            self.tickets += 1;
            let ticket = self.tickets;
            let asker = Asker::Visit { ticket };
            self.depart(Departure { asker, timeout_us: PATIENCE_US, hops: 0 }, (index, &path), now);
            return Visit::Working { ticket };
        }
        let pod = &mut self.pods[index];
        let Some(server) = pod.server.as_mut().filter(|server| server.since <= now) else {
            return Visit::Refused;
        };
        let takes = takes(server, &mut self.visits);
        if let Some(pool) = &server.pool {
            if pool.is_full(server.serving.capacity, server.serving.queue) {
                return Visit::Full;
            }
            self.tickets += 1;
            let ticket = self.tickets;
            self.admit(Work::new((index, takes), Asker::Visit { ticket }, now, 0), now);
            return Visit::Working { ticket };
        }
        match server.offer(now, takes) {
            Some(finish) => Visit::Taken { finish, process: ProcessId { pod: index, epoch: pod.epoch } },
            None => Visit::Full,
        }
    }

    /// How a visit stands at `at`; its end is told once.
    pub fn visited(&mut self, ticket: u64, at: u64) -> Visited {
        self.advance(at);
        match self.ended_visits.remove(&ticket) {
            Some((_, Some(code))) => Visited::Answered(code),
            Some((_, None)) => Visited::Lost,
            None => Visited::NotBefore(self.events.next().unwrap_or(self.now)),
        }
    }

    /// A visit at a calling pod has ended; without a code its process has.
    pub(super) fn end_visit(&mut self, ticket: u64, code: Option<Code>, now: u64) {
        self.ended_visits.retain(|_, (at, _)| now.saturating_sub(*at) <= KEPT_US);
        self.ended_visits.insert(ticket, (now, code));
    }

    /// Whether a process lives at `at`.
    pub fn lives(&mut self, process: ProcessId, at: u64) -> bool {
        self.advance(at);
        self.pods.get(process.pod).is_some_and(|pod| pod.epoch == process.epoch && pod.server.is_some())
    }
}
