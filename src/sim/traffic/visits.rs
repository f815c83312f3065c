//! Single requests from inside of the cluster, past the gateway: the API server's proxy. The gateway counts none of
//! them, and their randomness is their own; but the pods that serve them are the same.

use super::{Spread, Traffic, random::Stream};

/// What became of a request to one of some pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// There is no pod to go to.
    NoEndpoint,
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
}

/// One process of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessId {
    pod: usize,
    epoch: u64,
}

impl Traffic {
    /// Sends one request to one of these pods at random.
    pub fn visit(&mut self, uids: &[String], at: u64) -> Visit {
        self.advance(at);
        let now = self.now;
        let Some(uid) = uids.get(self.visits.below(uids.len())) else { return Visit::NoEndpoint };
        let Some(index) = self.pod_index.get(uid).copied() else { return Visit::Refused };
        let pod = &mut self.pods[index];
        let Some(server) = pod.server.as_mut().filter(|server| server.since <= now) else {
            return Visit::Refused;
        };
        let takes = match server.serving.spread {
            Spread::Constant => server.serving.service_time_us,
            Spread::Exponential => exponential(&mut self.visits, server.serving.service_time_us),
        };
        match server.offer(now, takes) {
            Some(finish) => Visit::Taken { finish, process: ProcessId { pod: index, epoch: pod.epoch } },
            None => Visit::Full,
        }
    }

    /// Whether a process lives at `at`.
    pub fn lives(&mut self, process: ProcessId, at: u64) -> bool {
        self.advance(at);
        self.pods.get(process.pod).is_some_and(|pod| pod.epoch == process.epoch && pod.server.is_some())
    }
}

fn exponential(stream: &mut Stream, mean_us: u64) -> u64 {
    stream.exponential(mean_us as f64).round() as u64
}
