//! When a pod's containers are ready, and when they end: told to, or because it has been active for too long.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Present, SOURCE, Stage, Worker};
use crate::sim::controllers::action::{Action, event};
use crate::sim::controllers::views::{Container, Pod, PreStop};

/// When a pod that a kubelet accepted then has been active for as long as it may.
pub(super) fn deadline(pod: &Pod, accepted: Timestamp, now: Present) -> Option<Instant> {
    let seconds = pod.spec.active_deadline_seconds?;
    let left = jiff::SignedDuration::from_secs(seconds) - now.time.duration_since(accepted);
    Some(now.instant + Duration::try_from(left).unwrap_or_default())
}

impl Worker {
    /// Fails a pod that has been active for longer than it may (`pkg/kubelet/active_deadline.go`).
    pub(super) fn expire(&mut self, pod: &Pod, now: Present, actions: &mut Vec<Action>) {
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
}

/// How long a preStop hook takes: `sleep`, or an `exec` that is a `sleep` of whole seconds; others take no time.
pub(super) fn pre_stop(hook: &PreStop) -> Duration {
    if let Some(sleep) = &hook.sleep {
        return Duration::from_secs(u64::from(sleep.seconds));
    }
    let words = hook.exec.iter().flat_map(|e| &e.command).flat_map(|word| word.split_whitespace());
    let mut words = words.skip_while(|word| !matches!(*word, "sleep" | "/bin/sleep"));
    words.nth(1).and_then(|n| n.parse().ok()).map_or(Duration::ZERO, Duration::from_secs)
}

/// How long after its start a container is ready: at once without a readiness probe, else at the first probe that
/// finds the application answering (`pkg/kubelet/prober/worker.go`).
pub(super) fn ready_after(container: &Container, answers: Duration) -> Duration {
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
