//! What pods use of CPU and memory, as metrics-server would measure it: the figures behind `metrics.k8s.io`.
//!
//! No container runs here, so usage follows from the simulated traffic. In the last complete window of 15 s
//! (metrics-server's `--metric-resolution`) a pod worked for some share of its capacity (`sim.firedrill.dev/capacity`):
//!
//! - **CPU**: that share of each container's CPU request, or of its limit where it requests none. So a pod that is
//!   busy all the time uses 100 % of its request.
//! - **Memory**: half of the request (or limit) at rest, and the other half by that share.
//!
//! A container is measured once it has run for a whole window: metrics-server needs two scrapes for a rate.

use std::time::Duration;

use jiff::Timestamp;

use super::controllers::views::{Container, Pod};
use super::scheduler::resource;
use super::traffic::WINDOW_US;

/// Who knows how busy pods are.
pub trait BusyShares: Send + Sync {
    /// The share of its capacity that each pod (by UID) worked in the last complete window, from 0 to 1.
    fn shares(&self, uids: &[&str]) -> Vec<f64>;
}

/// Length of the window over which usage is averaged.
pub const WINDOW: Duration = Duration::from_micros(WINDOW_US);

/// What one container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// Billionths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
}

/// What one pod uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodUsage {
    /// End of the window.
    pub at: Timestamp,
    /// Its containers.
    pub containers: Vec<ContainerUsage>,
}

/// What pods use at `now`; `None` for one that is not measured yet, or no longer.
#[must_use]
pub fn measure(pods: &[&Pod], shares: &dyn BusyShares, now: Timestamp) -> Vec<Option<PodUsage>> {
    let window = i64::try_from(WINDOW_US).unwrap_or(i64::MAX);
    let end = now.as_microsecond().div_euclid(window) * window;
    let (Ok(begin), Ok(end)) = (Timestamp::from_microsecond(end - window), Timestamp::from_microsecond(end))
    else {
        return vec![None; pods.len()];
    };
    let uids: Vec<&str> = pods.iter().map(|p| p.uid()).collect();
    let shares = shares.shares(&uids);
    let each = pods.iter().zip(shares);
    each.map(|(pod, share)| runs_since(pod, begin).then(|| of_pod(pod, share, end))).collect()
}

/// Whether all containers have run since `begin` without a break.
fn runs_since(pod: &Pod, begin: Timestamp) -> bool {
    let running = |status: &super::controllers::views::ContainerStatus| {
        status.state.running.as_ref().and_then(|r| r.started_at).is_some_and(|at| at <= begin)
    };
    let containers = &pod.status.container_statuses;
    !containers.is_empty() && containers.iter().all(running)
}

fn of_pod(pod: &Pod, share: f64, at: Timestamp) -> PodUsage {
    // Thousandths of the resource's unit.
    let of = |container: &Container, name: &str| {
        let resources = &container.resources;
        let amount = resource(&resources.requests, name).or_else(|| resource(&resources.limits, name));
        amount.map_or(0.0, |amount| amount as f64)
    };
    let containers = pod.spec.containers.iter().map(|container| ContainerUsage {
        name: container.name.clone(),
        cpu: (of(container, "cpu") * share * 1e6).round() as i64,
        memory: (of(container, "memory") / 1e3 * (0.5 + share / 2.0)).round() as i64,
    });
    PodUsage { at, containers: containers.collect() }
}
