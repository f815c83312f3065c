//! Probes of a container over the network, as long as something on that network keeps them from being as they always
//! are. While nothing does, a container's readiness follows from its start alone and no probe is counted.
//!
//! Source: `pkg/kubelet/prober/worker.go` and `prober.go`, v1.36; `DoHTTPProbe` opens a new connection for each.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::sim::controllers::views::{Container, Probe};

/// A connection that a kubelet tries to its own pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// The pod's UID.
    pub pod: &'a str,
    /// The address of its node, from which it comes.
    pub node: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// How long it may take.
    pub timeout: Duration,
}

/// The way from kubelets to their pods.
pub trait Paths: Send + Sync {
    /// Whether a connection is opened and answered in time, as far as the network goes.
    fn passes(&self, attempt: Attempt<'_>) -> bool;
}

/// What a probe that was looked at found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It failed once too often, and is a readiness probe: the container is not ready.
    Unready,
    /// The container is ready again.
    Ready,
    /// It failed once too often, and is a liveness probe: the container is to be restarted.
    Dead,
}

#[derive(Debug, Clone, Copy)]
enum Due {
    /// Sent then.
    Send(Instant),
    /// Given up then.
    TimeOut(Instant),
}

impl Due {
    fn at(self) -> Instant {
        match self {
            Self::Send(at) | Self::TimeOut(at) => at,
        }
    }
}

/// A probe over the network.
#[derive(Debug, Clone)]
struct Prober {
    liveness: bool,
    port: u16,
    period: Duration,
    timeout: Duration,
    /// When the first was sent.
    first: Instant,
    /// How many in a row turn it.
    failures: u32,
    successes: u32,
    /// Failed, or passed since it failed, so often in a row.
    failed: u32,
    passed: u32,
    /// Whether it has turned.
    turned: bool,
    /// None while it needs no looking after.
    due: Option<Due>,
}

/// Those of one container.
#[derive(Debug, Default)]
pub struct Probers(Vec<Prober>);

impl Probers {
    /// Those of a container that starts at an instant.
    pub fn of(container: &Container, started: Instant) -> Self {
        let one = |probe: &Option<Probe>, liveness| {
            let probe = probe.as_ref()?;
            let seconds = |n: Option<u32>, otherwise: u32| {
                Duration::from_secs(u64::from(n.unwrap_or(otherwise).max(1)))
            };
            Some(Prober {
                liveness,
                port: probe.port(container)?,
                period: seconds(probe.period_seconds, 10),
                timeout: seconds(probe.timeout_seconds, 1),
                first: started + Duration::from_secs(u64::from(probe.initial_delay_seconds)),
                failures: probe.failure_threshold.unwrap_or(3).max(1),
                successes: probe.success_threshold.unwrap_or(1).max(1),
                failed: 0,
                passed: 0,
                turned: false,
                due: None,
            })
        };
        let all = [one(&container.readiness_probe, false), one(&container.liveness_probe, true)];
        Self(all.into_iter().flatten().collect())
    }

    /// A readiness probe has failed once too often.
    pub fn unready(&self) -> bool {
        self.0.iter().any(|prober| prober.turned && !prober.liveness)
    }

    /// Something disturbs the network from now on, or nothing any more. A container that was not ready yet has to pass
    /// its probe first.
    pub fn disturbed(&mut self, disturbed: bool, ready: bool, now: Instant) {
        for prober in self.0.iter_mut().filter(|_| disturbed) {
            if !ready && !prober.liveness {
                prober.turned = true;
            }
            if prober.due.is_none() {
                prober.due = Some(Due::Send(prober.grid(now)));
            }
        }
    }

    /// The next instant at which one is to be looked at.
    pub fn next(&self) -> Option<Instant> {
        self.0.iter().filter_map(|prober| prober.due).map(Due::at).min()
    }

    /// Looks at those that are due. `passes` says whether a connection to a port is answered within a time-out; probes
    /// go on while the network is disturbed or one of them has yet to recover.
    pub fn look(
        &mut self,
        now: Instant,
        disturbed: bool,
        passes: &dyn Fn(u16, Duration) -> bool,
    ) -> Vec<Found> {
        let mut found = Vec::new();
        for prober in &mut self.0 {
            while let Some(due) = prober.due.filter(|due| due.at() <= now) {
                match due {
                    Due::Send(at) if !passes(prober.port, prober.timeout) => {
                        prober.due = Some(Due::TimeOut(at + prober.timeout));
                    }
                    Due::Send(_) => found.extend(prober.pass(disturbed, now)),
                    Due::TimeOut(at) => found.extend(prober.fail(at)),
                }
            }
        }
        found
    }
}

impl Prober {
    /// The first of its instants after `now`.
    fn grid(&self, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.first);
        if now < self.first {
            return self.first;
        }
        let periods = u32::try_from(since.as_nanos() / self.period.as_nanos()).unwrap_or(u32::MAX);
        self.first + self.period.saturating_mul(periods.saturating_add(1))
    }

    fn pass(&mut self, disturbed: bool, now: Instant) -> Option<Found> {
        self.failed = 0;
        self.passed = self.passed.saturating_add(1);
        let recovered = self.turned && self.passed >= self.successes;
        self.turned &= !recovered;
        self.due = (disturbed || self.turned).then(|| Due::Send(self.grid(now)));
        (recovered && !self.liveness).then_some(Found::Ready)
    }

    fn fail(&mut self, at: Instant) -> Option<Found> {
        self.passed = 0;
        self.failed = self.failed.saturating_add(1);
        self.due = Some(Due::Send(self.grid(at)));
        if self.turned || self.failed < self.failures {
            return None;
        }
        self.turned = true;
        Some(if self.liveness { Found::Dead } else { Found::Unready })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container() -> Container {
        let value = json!({"name": "app", "image": "app:1",
            "ports": [{"name": "web", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"port": "web"}, "periodSeconds": 5},
            "livenessProbe": {"tcpSocket": {"port": 9090}, "failureThreshold": 4}});
        serde_json::from_value(value).expect("a literal of this test")
    }

    fn all(probers: &mut Probers, until: Instant, open: bool) -> Vec<(u64, Found)> {
        let start = until - Duration::from_secs(600);
        let mut found = Vec::new();
        while let Some(at) = probers.next().filter(|at| *at <= until) {
            let seen = probers.look(at, !open, &|port, timeout| {
                assert!(matches!(port, 8080 | 9090) && timeout == Duration::from_secs(1));
                open
            });
            found.extend(seen.into_iter().map(|f| ((at - start).as_secs(), f)));
        }
        found
    }

    #[tokio::test(start_paused = true)]
    async fn three_in_a_row_turn_a_probe_and_one_turns_it_back() {
        let start = Instant::now();
        let end = start + Duration::from_secs(600);
        let mut probers = Probers::of(&container(), start);
        assert_eq!(probers.next(), None, "nothing disturbs");
        let now = start + Duration::from_secs(102);
        probers.disturbed(true, true, now);
        let mut broken = Vec::new();
        while broken.len() < 2 {
            let at = probers.next().expect("due");
            let seen = probers.look(at, true, &|_, _| false);
            broken.extend(seen.into_iter().map(|f| ((at - start).as_secs(), f)));
        }
        // Sent at 105, 110, 115, the last given up at 116; and at 110, 120, 130, 140.
        assert_eq!(broken, [(116, Found::Unready), (141, Found::Dead)]);
        assert!(probers.unready());
        let back = all(&mut probers, end, true);
        assert_eq!(back, [(145, Found::Ready)]);
        assert_eq!(probers.next(), None, "all is as always");
    }

    #[tokio::test(start_paused = true)]
    async fn an_exec_probe_is_not_on_the_network() {
        let exec = json!({"name": "app", "readinessProbe": {"exec": {"command": ["true"]}}});
        let container: Container = serde_json::from_value(exec).expect("a literal of this test");
        let mut probers = Probers::of(&container, Instant::now());
        probers.disturbed(true, true, Instant::now());
        assert_eq!(probers.next(), None);
    }
}
