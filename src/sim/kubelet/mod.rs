//! Kubelets: what happens to a pod on its node, from binding to removal.
//!
//! One driver for all nodes; a pod is a [`Worker`] that is stepped when something has happened to the pod or when its
//! next instant has come. All containers of a pod behave alike, as the pod's annotations say (`sim::annotations`).
//! Source: `pkg/kubelet/pod_workers.go`, `kuberuntime_manager.go`, `prober`, v1.36.

pub mod network;
pub mod node;
mod status;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::controllers::action::{Action, Target, event, warning};
use super::controllers::names;
use super::controllers::views::{Container, Pod, PreStop};
use super::manifests::{Behaviour, UNPULLABLE_REGISTRY};

const SOURCE: &str = "kubelet";
/// From the binding to the kubelet's first word: watch and pod worker.
pub const SYNC: Duration = Duration::from_millis(20);
/// Sandbox, network and start of the containers, the image being on the node: what containerd takes.
pub const CREATE: Duration = Duration::from_millis(600);
/// A registry that does not answer.
const PULL: Duration = Duration::from_secs(1);
/// First back-off after a crash or a failed pull (`backOffPeriod`, `containerBackOff`), doubled each time.
const BACKOFF: Duration = Duration::from_secs(10);
/// Longest back-off (`MaxContainerBackOff`).
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// What a pod's containers do at the moment.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// Sandbox, pull and start.
    Creating { until: Instant },
    /// The image could not be pulled; `backing_off` once the kubelet waits before the next try.
    PullFailed { until: Instant, backing_off: bool },
    /// Running since; ready from; crashing at.
    Running { ready: Instant, crash: Option<Instant> },
    /// Crashed; started again at.
    CrashLoop { until: Instant },
    /// Told to stop; stopped at, then with that exit code.
    Stopping { until: Instant, exit: i64 },
    /// All containers have ended for good.
    Ended { exit: i64 },
}

/// One pod on its node.
#[derive(Debug)]
pub struct Worker {
    /// The pod's UID.
    pub uid: String,
    /// Its node.
    pub node: String,
    behaviour: Behaviour,
    stage: Stage,
    ip: Option<String>,
    accepted: Timestamp,
    started: Option<Timestamp>,
    finished: Option<(Timestamp, i64)>,
    /// `activeDeadlineSeconds`, from when the kubelet accepted the pod.
    deadline: Option<Instant>,
    /// Whether that is what has ended it.
    expired: bool,
    restarts: u32,
    failures: u32,
    seed: u64,
}

/// What a step of a worker comes to.
#[derive(Debug, Default)]
pub struct Step {
    /// Writes, in order.
    pub actions: Vec<Action>,
    /// When to step again although nothing has happened.
    pub next: Option<Instant>,
    /// The kubelet is done with the pod.
    pub done: bool,
}

/// The present, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Present {
    /// For durations.
    pub instant: Instant,
    /// For timestamps.
    pub time: Timestamp,
}

impl Worker {
    /// A worker for a pod that has come to a node; one that ran there before goes on running.
    #[must_use]
    pub fn new(pod: &Pod, ip: Option<String>, seed: u64, now: Present) -> (Self, Vec<Action>) {
        let mut actions = Vec::new();
        let behaviour = Behaviour::from_annotations(&pod.meta().annotations).unwrap_or_else(|error| {
            actions.push(warning(&pod.object, SOURCE, "InvalidAnnotation", error.to_string()));
            Behaviour::default()
        });
        let mut worker = Self {
            uid: pod.uid().to_owned(),
            node: pod.spec.node_name.clone(),
            behaviour,
            stage: Stage::Creating { until: now.instant + CREATE },
            ip,
            accepted: pod.status.start_time.unwrap_or(now.time),
            started: None,
            finished: None,
            deadline: None,
            expired: false,
            restarts: u32::try_from(pod.restarts()).unwrap_or(0),
            failures: 0,
            seed,
        };
        worker.deadline = pod.spec.active_deadline_seconds.map(|seconds| {
            let active = now.time.duration_since(worker.accepted);
            let left = jiff::SignedDuration::from_secs(seconds) - active;
            now.instant + Duration::try_from(left).unwrap_or_default()
        });
        if pod.status.phase == "Running" {
            worker.started = Some(worker.accepted);
            worker.stage = worker.running(pod, now.instant);
            if let (true, Stage::Running { ready, .. }) = (pod.ready(), &mut worker.stage) {
                *ready = now.instant;
            }
        }
        (worker, actions)
    }

    /// The pod's address, for its return.
    #[must_use]
    pub fn ip(&self) -> Option<&str> {
        self.ip.as_deref()
    }

    /// Carries the pod forward to the present and writes what has changed.
    #[must_use]
    pub fn step(&mut self, pod: &Pod, now: Present) -> Step {
        let mut step = Step::default();
        if pod.terminating() {
            self.stop(pod, now, &mut step.actions);
        }
        self.expire(pod, now, &mut step.actions);
        while self.advance(pod, now, &mut step.actions) {}
        let ended = matches!(self.stage, Stage::Ended { .. });
        if !pod.finished() || ended {
            let status = status::of(self, pod, now);
            if status != pod.object.field::<Value>("status").unwrap_or_default() {
                step.actions.push(Action::Status(Target::of(&pod.object), status));
            }
        }
        if ended {
            step.done = true;
            if pod.terminating() {
                step.actions.push(Action::Delete(Target::of(&pod.object), Some(0)));
            }
        }
        step.next = self.next(now.instant);
        step
    }

    /// The next instant at which something changes by itself.
    fn next(&self, now: Instant) -> Option<Instant> {
        let by_itself = match self.stage {
            Stage::Creating { until }
            | Stage::PullFailed { until, .. }
            | Stage::CrashLoop { until }
            | Stage::Stopping { until, .. } => Some(until),
            Stage::Running { ready, crash } => {
                [Some(ready), crash].into_iter().flatten().filter(|at| *at > now).min()
            }
            Stage::Ended { .. } => return None,
        };
        by_itself.into_iter().chain(self.deadline.filter(|deadline| *deadline > now)).min()
    }

    /// Fails a pod that has been active for longer than it may (`pkg/kubelet/active_deadline.go`).
    fn expire(&mut self, pod: &Pod, now: Present, actions: &mut Vec<Action>) {
        let over = self.deadline.is_some_and(|deadline| deadline <= now.instant);
        if !over || self.expired || matches!(self.stage, Stage::Ended { .. } | Stage::Stopping { .. }) {
            return;
        }
        self.expired = true;
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        actions.push(event(&pod.object, SOURCE, "DeadlineExceeded", message));
        let grace = pod.spec.termination_grace_period_seconds.unwrap_or(30).max(0);
        let wanted = self.behaviour.shutdown.min(Duration::from_secs(grace as u64));
        self.stage = Stage::Stopping { until: now.instant + wanted, exit: 137 };
    }

    /// One transition that is due; false when there is none.
    fn advance(&mut self, pod: &Pod, now: Present, actions: &mut Vec<Action>) -> bool {
        let instant = now.instant;
        match self.stage.clone() {
            Stage::Creating { until } if until <= instant => {
                if let Some(image) = self.unpullable(pod) {
                    self.failures += 1;
                    let message = format!("Failed to pull image {image:?}: not found");
                    actions.push(warning(&pod.object, SOURCE, "Failed", message));
                    self.stage = Stage::PullFailed { until: instant + PULL, backing_off: false };
                } else {
                    self.started = Some(now.time);
                    self.stage = self.running(pod, instant);
                }
            }
            Stage::PullFailed { until, backing_off: false } if until <= instant => {
                self.stage =
                    Stage::PullFailed { until: instant + self.back_off(self.failures), backing_off: true };
            }
            Stage::PullFailed { until, backing_off: true } | Stage::CrashLoop { until }
                if until <= instant =>
            {
                self.stage = Stage::Creating { until: instant + PULL };
            }
            Stage::Running { crash: Some(at), .. } if at <= instant => self.crash(pod, now, actions),
            Stage::Stopping { until, exit } if until <= instant => {
                self.finished = Some((now.time, exit));
                self.stage = Stage::Ended { exit };
            }
            _ => return false,
        }
        true
    }

    fn crash(&mut self, pod: &Pod, now: Present, actions: &mut Vec<Action>) {
        self.finished = Some((now.time, 1));
        if pod.spec.restart_policy == "Never" {
            self.stage = Stage::Ended { exit: 1 };
            return;
        }
        // A container that ran for twice the longest back-off starts from the beginning (`backOff.Next` and GC).
        let ran = self.started.map_or(0, |s| now.time.as_second() - s.as_second());
        self.failures = if ran > 2 * MAX_BACKOFF.as_secs() as i64 { 0 } else { self.failures };
        let delay = if self.failures == 0 { Duration::ZERO } else { self.back_off(self.failures) };
        self.failures += 1;
        self.restarts += 1;
        if !delay.is_zero() {
            let message = "Back-off restarting failed container".to_owned();
            actions.push(warning(&pod.object, SOURCE, "BackOff", message));
        }
        self.stage = Stage::CrashLoop { until: now.instant + delay };
    }

    fn back_off(&self, failures: u32) -> Duration {
        BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(MAX_BACKOFF)
    }

    fn unpullable<'p>(&self, pod: &'p Pod) -> Option<&'p str> {
        let mut images = pod.spec.containers.iter().map(|c| c.image.as_str());
        if self.behaviour.image_pulls {
            images.find(|i| i.starts_with(UNPULLABLE_REGISTRY))
        } else {
            images.next()
        }
    }

    /// The stage of containers that start at `instant`.
    fn running(&self, pod: &Pod, instant: Instant) -> Stage {
        let restarts = self.restarts.to_string();
        let hash = names::hash(&[&self.seed.to_string(), "startup", pod.namespace(), pod.name(), &restarts]);
        let jitter = self.behaviour.startup_jitter.mul_f64(names::fraction(hash));
        let answers = self.behaviour.startup + jitter;
        let ready = pod.spec.containers.iter().map(|c| ready_after(c, answers)).max().unwrap_or_default();
        Stage::Running { ready: instant + ready, crash: self.behaviour.crash_after.map(|d| instant + d) }
    }

    /// Begins to stop, or stops sooner when the grace has been shortened.
    fn stop(&mut self, pod: &Pod, now: Present, actions: &mut Vec<Action>) {
        let seconds = pod.meta().deletion_grace_period_seconds.unwrap_or(0).max(0);
        let grace = Duration::from_secs(seconds as u64);
        match self.stage {
            Stage::Ended { .. } => {}
            Stage::Stopping { ref mut until, ref mut exit } => {
                if *until > now.instant + grace {
                    (*until, *exit) = (now.instant + grace, 137);
                }
            }
            Stage::Running { .. } => {
                for container in &pod.spec.containers {
                    let message = format!("Stopping container {}", container.name);
                    actions.push(event(&pod.object, SOURCE, "Killing", message));
                }
                let hook = pod.spec.containers.iter().map(|c| pre_stop(&c.lifecycle.pre_stop)).max();
                let wanted = hook.unwrap_or_default() + self.behaviour.shutdown;
                let exit = if wanted > grace { 137 } else { 0 };
                self.stage = Stage::Stopping { until: now.instant + wanted.min(grace), exit };
            }
            _ => self.stage = Stage::Stopping { until: now.instant + SYNC, exit: 0 },
        }
    }
}

/// How long after its start a container is ready: at once without a readiness probe, else at the first probe that
/// finds the application answering (`pkg/kubelet/prober/worker.go`).
fn ready_after(container: &Container, answers: Duration) -> Duration {
    let Some(probe) = &container.readiness_probe else { return Duration::ZERO };
    let seconds = |n: u32| Duration::from_secs(u64::from(n));
    let period = seconds(probe.period_seconds.unwrap_or(10).max(1));
    let mut at = seconds(probe.initial_delay_seconds);
    if at < answers {
        let missed = (answers - at).as_nanos().div_ceil(period.as_nanos());
        at += period * u32::try_from(missed).unwrap_or(u32::MAX);
    }
    at + period * (probe.success_threshold.unwrap_or(1).max(1) - 1)
}

/// How long a preStop hook takes: `sleep`, or an `exec` that is a `sleep` of whole seconds; others take no time.
fn pre_stop(hook: &PreStop) -> Duration {
    if let Some(sleep) = &hook.sleep {
        return Duration::from_secs(u64::from(sleep.seconds));
    }
    let words = hook.exec.iter().flat_map(|e| &e.command).flat_map(|word| word.split_whitespace());
    let mut words = words.skip_while(|word| !matches!(*word, "sleep" | "/bin/sleep"));
    words.nth(1).and_then(|n| n.parse().ok()).map_or(Duration::ZERO, Duration::from_secs)
}

#[cfg(test)]
mod tests;
