//! One container of a pod that has been started: it runs, ends, waits and is started again, by itself.
//!
//! Source: `doBackOff` and `computePodActions` in `pkg/kubelet/kuberuntime/kuberuntime_manager.go`,
//! `pkg/kubelet/container/helpers.go` (`ShouldContainerBeRestarted`), v1.36.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::prober::Probers;
use super::{MAX_BACKOFF, PULL, Present, back_off};

/// What a container does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has never been started.
    New,
    /// It runs, and ends then with that exit code, as far as is known.
    Up { ends: Option<(Instant, i64)> },
    /// It has ended and waits for its back-off.
    BackOff { until: Instant },
    /// It has ended, and another is being started in its place.
    Starting { until: Instant },
    /// It has ended for good.
    Done,
}

/// One end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub started: Timestamp,
    pub finished: Timestamp,
    pub exit: i64,
}

/// A container.
#[derive(Debug)]
pub struct Life {
    pub turn: Turn,
    pub started: Option<Timestamp>,
    /// Its last end.
    pub end: Option<End>,
    /// How often it has been started again.
    pub restarts: u32,
    /// Ends since it last ran for long.
    failures: u32,
    /// From when its application answers.
    pub answers: Instant,
    /// From when it is ready, as long as no probe fails.
    pub ready: Instant,
    pub probers: Probers,
}

impl Life {
    /// One that has not been started.
    pub fn new(restarts: u32, now: Instant) -> Self {
        Self {
            turn: Turn::New,
            started: None,
            end: None,
            restarts,
            failures: 0,
            answers: now,
            ready: now,
            probers: Probers::default(),
        }
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        matches!(self.turn, Turn::Up { .. })
    }

    /// Whether it runs and is ready.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.runs() && self.ready <= now && !self.probers.unready()
    }

    /// It will end then with that code, unless it does so before.
    pub fn ends_at(&mut self, at: Instant, exit: i64) {
        if let Turn::Up { ends } = &mut self.turn
            && ends.is_none_or(|(sooner, _)| sooner > at)
        {
            *ends = Some((at, exit));
        }
    }

    /// It has ended. How long it waits before it is started again; None if it is not.
    pub fn finish(&mut self, exit: i64, policy: &str, now: Present) -> Option<Duration> {
        let started = self.started.unwrap_or(now.time);
        self.end = Some(End { started, finished: now.time, exit });
        if policy == "Never" || (policy == "OnFailure" && exit == 0) {
            self.turn = Turn::Done;
            return None;
        }
        // One that ran for twice the longest back-off starts from the beginning (`backOff.Next` and GC).
        if now.time.as_second() - started.as_second() > 2 * MAX_BACKOFF.as_secs() as i64 {
            self.failures = 0;
        }
        let delay = if self.failures == 0 { Duration::ZERO } else { back_off(self.failures) };
        self.failures += 1;
        self.turn = match delay {
            Duration::ZERO => Turn::Starting { until: now.instant + PULL },
            delay => Turn::BackOff { until: now.instant + delay },
        };
        Some(delay)
    }

    /// The next instant at which something changes by itself.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        match self.turn {
            Turn::BackOff { until } | Turn::Starting { until } => Some(until),
            Turn::Up { ends } => {
                let ready = Some(self.ready).filter(|at| *at > now);
                [ready, ends.map(|(at, _)| at), self.probers.next()].into_iter().flatten().min()
            }
            Turn::New | Turn::Done => None,
        }
    }
}
