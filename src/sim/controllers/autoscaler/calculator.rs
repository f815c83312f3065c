//! How many replicas a metric asks for.
//!
//! Source: `pkg/controller/podautoscaler/replica_calculator.go` and `metrics/utilization.go`, v1.36.

use std::time::Duration;

use jiff::Timestamp;

use crate::sim::controllers::views::{Pod, condition};

/// How long after its start a pod's CPU samples count only while it is ready
/// (`CPUInitializationPeriod`, config/v1alpha1/defaults.go: 5 minutes).
pub const CPU_INITIALIZATION_PERIOD: Duration = Duration::from_secs(300);
/// A pod that became unready so soon after its start has never been ready
/// (`InitialReadinessDelay`, config/v1alpha1/defaults.go: 30 seconds).
pub const INITIAL_READINESS_DELAY: Duration = Duration::from_secs(30);
/// By how much a metric may miss its target without consequences
/// (`Tolerance`, config/v1alpha1/defaults.go: 0.1).
pub const TOLERANCE: f64 = 0.1;

/// How a pod counts (`groupPods`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// With its sample.
    Ready,
    /// As using nothing when there is need for more, else not at all.
    Unready,
    /// It has no sample: as using nothing when there is need for more, all of its share when for less.
    Missing,
    /// Not at all: it failed, or is going away.
    Ignored,
}

/// When a sample was taken, and over how long.
#[derive(Debug, Clone, Copy)]
pub struct Sampled {
    /// End of its window.
    pub at: Timestamp,
    /// Length of its window.
    pub window: Duration,
}

/// How a pod counts for a metric (`groupPods`); readiness matters for `cpu` only.
#[must_use]
pub fn standing(pod: &Pod, sampled: Option<Sampled>, cpu: bool, now: Timestamp) -> Standing {
    if pod.terminating() || pod.status.phase == "Failed" {
        return Standing::Ignored;
    }
    if pod.status.phase == "Pending" {
        return Standing::Unready;
    }
    let Some(sampled) = sampled else { return Standing::Missing };
    if cpu && unready(pod, sampled, now) { Standing::Unready } else { Standing::Ready }
}

fn unready(pod: &Pod, sampled: Sampled, now: Timestamp) -> bool {
    let (Some(ready), Some(started)) = (condition(&pod.status.conditions, "Ready"), pod.status.start_time)
    else {
        return true;
    };
    let changed = ready.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH);
    let is_false = ready.status == "False";
    if after(started, CPU_INITIALIZATION_PERIOD) > now.as_millisecond() {
        // Ready, and one whole window since it became so.
        is_false || sampled.at.as_millisecond() < after(changed, sampled.window)
    } else {
        // Unready, and never ready before.
        is_false && after(started, INITIAL_READINESS_DELAY) > changed.as_millisecond()
    }
}

fn after(time: Timestamp, delay: Duration) -> i64 {
    time.as_millisecond().saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

/// A pod with what counts of it, in thousandths of the resource's unit.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// How it counts.
    pub standing: Standing,
    /// What it uses; for ready pods only.
    pub used: i64,
    /// What it requests.
    pub request: i64,
}

/// What a metric is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// A percentage of the pods' requests.
    Utilization(i64),
    /// So much a pod, in thousandths of the resource's unit.
    AverageValue(i64),
}

/// How far the ratio of usage to goal may be from 1, upwards and downwards (`Tolerances`).
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// Above 1.
    pub up: f64,
    /// Below 1.
    pub down: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { up: TOLERANCE, down: TOLERANCE }
    }
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// What a metric asks for, and what it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// Replicas.
    pub replicas: i64,
    /// Percentage of the requests, for a goal that is one.
    pub utilization: Option<i64>,
    /// Average of the pods that were counted, in thousandths of the resource's unit.
    pub average: i64,
}

/// How many replicas a metric asks for (`GetResourceReplicas`, `calcPlainMetricReplicas`).
///
/// # Errors
/// In words, when nothing can be computed.
pub fn propose(current: i64, goal: Goal, pods: &[Counted], tolerance: Tolerance) -> Result<Proposal, String> {
    let of = |standing: Standing| pods.iter().filter(move |p| p.standing == standing);
    let mut counted: Vec<(i64, i64)> = of(Standing::Ready).map(|p| (p.used, p.request)).collect();
    if counted.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let ready = counted.len();
    let (usage, mut proposal) = measure(goal, &counted)?;
    proposal.replicas = current;
    let rebalance = usage > 1.0 && of(Standing::Unready).next().is_some();
    if !rebalance && of(Standing::Missing).next().is_none() {
        if !tolerance.covers(usage) {
            proposal.replicas = (usage * ready as f64).ceil() as i64;
        }
        return Ok(proposal);
    }
    for pod in of(Standing::Missing) {
        match goal {
            Goal::Utilization(target) if usage < 1.0 => {
                counted.push((pod.request.saturating_mul(target.max(100)) / 100, pod.request));
            }
            Goal::AverageValue(target) if usage < 1.0 => counted.push((target, pod.request)),
            // Exactly on target the calculator leaves missing pods out for utilization (`usageRatio > 1.0`).
            Goal::Utilization(_) if usage <= 1.0 => {}
            _ => counted.push((0, pod.request)),
        }
    }
    if rebalance {
        counted.extend(of(Standing::Unready).map(|p| (0, p.request)));
    }
    let (adjusted, _) = measure(goal, &counted)?;
    let turned = (usage < 1.0 && adjusted > 1.0) || (usage > 1.0 && adjusted < 1.0);
    if tolerance.covers(adjusted) || turned {
        return Ok(proposal);
    }
    let replicas = (adjusted * counted.len() as f64).ceil() as i64;
    // The number of pods counted must not turn the direction either.
    if !((adjusted < 1.0 && replicas > current) || (adjusted > 1.0 && replicas < current)) {
        proposal.replicas = replicas;
    }
    Ok(proposal)
}

/// The ratio of usage to goal (`GetResourceUtilizationRatio`, `GetMetricUsageRatio`).
fn measure(goal: Goal, counted: &[(i64, i64)]) -> Result<(f64, Proposal), String> {
    let used: i64 = counted.iter().map(|p| p.0).sum();
    let average = used / i64::try_from(counted.len()).unwrap_or(i64::MAX).max(1);
    match goal {
        Goal::Utilization(target) => {
            let requested: i64 = counted.iter().map(|p| p.1).sum();
            if requested == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            // Whole percents, as the status shows them.
            let utilization = used.saturating_mul(100) / requested;
            let proposal = Proposal { replicas: 0, utilization: Some(utilization), average };
            Ok((utilization as f64 / target.max(1) as f64, proposal))
        }
        Goal::AverageValue(target) => {
            let proposal = Proposal { replicas: 0, utilization: None, average };
            Ok((average as f64 / target.max(1) as f64, proposal))
        }
    }
}

#[cfg(test)]
mod tests;
