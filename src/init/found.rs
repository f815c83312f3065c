//! What was found of a workload, as data: what the first experiment is made of.

use std::{collections::BTreeMap, time::Duration};

use crate::api::Signal;

/// A Deployment, and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many pods it wants.
    pub replicas: usize,
    /// How many of them are ready.
    pub ready: usize,
    /// How long its pods took from their creation until they were ready: the median of those that are there.
    pub startup: Option<Duration>,
    /// What moves its replicas.
    pub autoscaler: Option<Scaling>,
    /// The budgets that cover its pods, each with its rule in words: `minAvailable 50%`.
    pub budgets: Vec<(String, String)>,
    /// The Services that select its pods.
    pub services: Vec<ServiceFound>,
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
    /// What its metrics say.
    pub metrics: Metrics,
}

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// Its name.
    pub name: String,
    /// Least replicas.
    pub min: i32,
    /// Most replicas.
    pub max: i32,
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceFound {
    /// Its name.
    pub name: String,
    /// Its first TCP port.
    pub port: Option<u16>,
}

/// What a source of metrics knows of the workload.
#[derive(Clone, Debug, PartialEq)]
pub enum Metrics {
    /// Nobody could be asked, and why.
    Unasked(String),
    /// Somebody was.
    Asked {
        /// Who, as `--prometheus` takes it.
        source: String,
        /// What was found for each signal; a signal without series is not there.
        signals: BTreeMap<Signal, Sought>,
    },
}

impl Default for Metrics {
    fn default() -> Self {
        Self::Unasked("no Prometheus was looked for".to_owned())
    }
}

/// What was found for one signal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sought {
    /// The query to take, with what it says now.
    pub taken: Option<(Candidate, f64)>,
    /// Queries that come later in the order of preference and have a number as well.
    pub others: Vec<Candidate>,
    /// Queries whose series are there and that have no number now, as a rate of errors without requests.
    pub silent: Vec<Candidate>,
}

/// A query for a signal, from series that are there.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Whose signal it is.
    pub signal: Signal,
    /// The PromQL.
    pub query: String,
    /// What its number means.
    pub unit: Unit,
    /// The metric that it is about.
    pub metric: &'static str,
    /// Who writes that metric: the document that its name is from.
    pub writer: &'static str,
    /// How its series were told from those of others: `namespace="shop",service="checkout"`.
    pub identity: String,
    /// How far back its rates look, in seconds.
    pub window: u64,
    /// What else a reader has to know; may be empty.
    pub caveat: &'static str,
}

/// What a number means, which decides what is expected of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Share of the requests that went well, from 0 to 1.
    GoodShare,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Requests per second.
    PerSecond,
    /// Share of a limit, from 0 to 1.
    ShareOfLimit,
    /// Share of what was requested, which may be more than 1.
    ShareOfRequest,
    /// Cores.
    Cores,
    /// Requests at once.
    InFlight,
    /// Share of the replicas that the autoscaler may have at most.
    ShareOfMost,
}

impl Unit {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::GoodShare => "share of requests that did not fail",
            Self::Seconds => "seconds",
            Self::Millis => "milliseconds",
            Self::PerSecond => "requests per second",
            Self::ShareOfLimit => "share of the CPU limit",
            Self::ShareOfRequest => "share of the CPU that is requested",
            Self::Cores => "cores",
            Self::InFlight => "requests in flight",
            Self::ShareOfMost => "share of the most replicas that the autoscaler may want",
        }
    }
}

/// What can be lost of a workload at once without its plan being refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Half of the pods, and so many these are now.
    Half(usize),
    /// One pod.
    One,
    /// None: it has one replica.
    Single,
    /// None: so many are missing that no more may be.
    Degraded,
}

impl Loss {
    /// How many pods that are now.
    pub fn pods(self) -> usize {
        match self {
            Self::Half(pods) => pods,
            Self::One => 1,
            Self::Single | Self::Degraded => 0,
        }
    }
}

impl Found {
    /// What may be lost: half from four on, one of two or three. Half of what is wanted is the most that may be
    /// not ready for whatever reason, as `limits.pods` says by default.
    pub fn loss(&self) -> Loss {
        let missing = self.replicas.saturating_sub(self.ready);
        let (most, half) = (self.replicas / 2, self.ready / 2);
        match self.replicas {
            0 | 1 => Loss::Single,
            4.. if half > 0 && missing + half <= most => Loss::Half(half),
            _ if self.ready > 0 && missing < most => Loss::One,
            _ => Loss::Degraded,
        }
    }

    /// What was found for a signal.
    pub fn sought(&self, signal: Signal) -> Option<&Sought> {
        match &self.metrics {
            Metrics::Asked { signals, .. } => signals.get(&signal),
            Metrics::Unasked(_) => None,
        }
    }

    /// Who answers PromQL, if any of the probes asks it.
    pub fn source(&self) -> Option<&str> {
        match &self.metrics {
            Metrics::Asked { source, signals } if signals.values().any(|sought| sought.taken.is_some()) => {
                Some(source)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_already_counts_against_what_may_be_lost() {
        for (replicas, ready, loss) in [
            (1, 1, Loss::Single),
            (2, 2, Loss::One),
            (2, 1, Loss::Degraded),
            (3, 3, Loss::One),
            (3, 2, Loss::Degraded),
            (4, 4, Loss::Half(2)),
            (4, 3, Loss::Half(1)),
            (4, 2, Loss::Degraded),
            (5, 5, Loss::Half(2)),
            (5, 4, Loss::One),
            (6, 0, Loss::Degraded),
            (100, 100, Loss::Half(50)),
        ] {
            assert_eq!(Found { replicas, ready, ..Found::default() }.loss(), loss, "{ready} of {replicas}");
        }
    }
}
