//! The annotations by which ordinary manifests tell the embedded cluster how a workload behaves.
//!
//! | annotation | on | default | meaning |
//! |---|---|---|---|
//! | `sim.firedrill.dev/startup` | pod template | `2s` | from the container's start until its application answers |
//! | `sim.firedrill.dev/startup-jitter` | pod template | `0s` | added to `startup`, drawn by seed between zero and this |
//! | `sim.firedrill.dev/shutdown` | pod template | `1s` | from SIGTERM until the application has exited |
//! | `sim.firedrill.dev/service-time` | pod template | `20ms` | mean time that one request takes |
//! | `sim.firedrill.dev/service-time-distribution` | pod template | `exponential` | or `constant` |
//! | `sim.firedrill.dev/capacity` | pod template | `32` | requests that one pod serves at the same time |
//! | `sim.firedrill.dev/queue` | pod template | `128` | requests that may wait beyond those |
//! | `sim.firedrill.dev/calls` | pod template | none | the Services that a pod calls for each request, and how |
//! | `sim.firedrill.dev/crash-after` | pod template | never | the application exits with 1 so long after each start |
//! | `sim.firedrill.dev/image-pull` | pod template | `ok` | `fail`: the image can never be pulled |
//! | `sim.firedrill.dev/process` | pod template | the command's or image's name | name of the process that each container runs |
//! | `sim.firedrill.dev/rollback-after` | Deployment | never | a delivery pipeline undoes a rollout so long after its progress deadline has passed |
//! | `sim.firedrill.dev/offered-load` | Service | none | requests a second that clients offer to the Service |
//! | `sim.firedrill.dev/arrivals` | Service | `poisson` | or `constant`: evenly spaced |
//! | `sim.firedrill.dev/timeout` | Service | `5s` | how long a client waits for its answer |
//! | `sim.firedrill.dev/kubelet` | Node | `running` | `stopped`: the node's kubelet does nothing more |
//! | `sim.firedrill.dev/network-policy` | Node | `enforced` | what its network plugin makes of NetworkPolicies: `external-blocks`: enforced, but `ipBlock` matches no pod (as Cilium has it); `ignored`: none is enforced |
//! | `sim.firedrill.dev/node-group` | Node | none | the group that a cluster autoscaler grows and shrinks; in the zones of its nodes |
//! | `sim.firedrill.dev/node-group-min` | Node | `0` | fewest nodes of the group |
//! | `sim.firedrill.dev/node-group-max` | Node | `10` | most nodes of the group |
//! | `sim.firedrill.dev/node-provisioning` | Node, Machine, NodeClaim | `90s` | from the order of a node of the group, or of the machine, until it is ready |
//!
//! Images of the host `registry.invalid` can never be pulled either (RFC 2606 reserves the name).
//!
//! `calls` is a list such as `vault.shop:8080 timeout=1s retries=2 backoff=100ms, rates x3, audit 10% optional`: a
//! Service's name (with its namespace, if it is another, and its port, if it is not the first), how often (`x3`: three
//! times for each request; `10%`: for one request in ten), how long an attempt waits (`5s`), how often one that failed
//! is made again (never) and after what wait, which doubles each time (none). A call that fails in the end fails the
//! request unless it is `optional`. It is read when a container starts.
//!
//! Durations are written as Go writes them (`1m30s`, `250ms`). A value that cannot be read is an error that names
//! annotation and value; the kubelet then says so in an Event and takes the default.

use std::collections::BTreeMap;
use std::time::Duration;

/// From the container's start until the application answers.
pub const STARTUP: &str = "sim.firedrill.dev/startup";
/// Upper bound of what is added to [`STARTUP`] by seed.
pub const STARTUP_JITTER: &str = "sim.firedrill.dev/startup-jitter";
/// From SIGTERM until the application has exited.
pub const SHUTDOWN: &str = "sim.firedrill.dev/shutdown";
/// Mean time that one request takes.
pub const SERVICE_TIME: &str = "sim.firedrill.dev/service-time";
/// `exponential` or `constant`.
pub const SERVICE_TIMES: &str = "sim.firedrill.dev/service-time-distribution";
/// Requests that one pod serves at the same time.
pub const CAPACITY: &str = "sim.firedrill.dev/capacity";
/// Requests that may wait beyond those.
pub const QUEUE: &str = "sim.firedrill.dev/queue";
/// The Services that a pod calls for each request.
pub const CALLS: &str = "sim.firedrill.dev/calls";
/// The application exits with 1 so long after each start.
pub const CRASH_AFTER: &str = "sim.firedrill.dev/crash-after";
/// `fail`: the image can never be pulled.
pub const IMAGE_PULL: &str = "sim.firedrill.dev/image-pull";
/// The name of the process that each container runs.
pub const PROCESS: &str = "sim.firedrill.dev/process";
/// On a Deployment: a delivery pipeline undoes a rollout so long after its progress deadline has passed.
pub const ROLLBACK_AFTER: &str = "sim.firedrill.dev/rollback-after";
/// Requests a second that clients offer to a Service, such as `"200"` or `"12.5/s"`.
pub const OFFERED_LOAD: &str = "sim.firedrill.dev/offered-load";
/// On a Service: `poisson` (independent clients) or `constant` (evenly spaced).
pub const ARRIVALS: &str = "sim.firedrill.dev/arrivals";
/// On a Service: how long a client waits for its answer.
pub const TIMEOUT: &str = "sim.firedrill.dev/timeout";
/// On a Node, `stopped`: its kubelet does nothing more.
pub const KUBELET: &str = "sim.firedrill.dev/kubelet";
/// On a Node: what its network plugin makes of NetworkPolicies, `enforced`, `external-blocks` or `ignored`.
pub const NETWORK_POLICY: &str = "sim.firedrill.dev/network-policy";
/// On a Node: the group that the cluster autoscaler grows and shrinks.
pub const NODE_GROUP: &str = "sim.firedrill.dev/node-group";
/// On a Node: fewest nodes of its group.
pub const NODE_GROUP_MIN: &str = "sim.firedrill.dev/node-group-min";
/// On a Node: most nodes of its group.
pub const NODE_GROUP_MAX: &str = "sim.firedrill.dev/node-group-max";
/// On a Node: how long a new node of its group takes to be ready. On a Machine or NodeClaim: how long its node takes.
pub const NODE_PROVISIONING: &str = "sim.firedrill.dev/node-provisioning";
/// On a Node, written by the embedded cluster: since when its kubelet is silent (RFC 3339).
pub const SILENT_SINCE: &str = "sim.firedrill.dev/silent-since";

/// An annotation whose value says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {name}: {value:?} is not {expected}")]
pub struct InvalidAnnotation {
    /// Name of the annotation.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// What it has to be, in words.
    pub expected: &'static str,
}

/// What an annotation says; `None` without it.
///
/// # Errors
/// The value is none of those that `parse` accepts.
pub fn read<T>(
    annotations: &BTreeMap<String, String>,
    name: &'static str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, InvalidAnnotation> {
    let Some(value) = annotations.get(name) else { return Ok(None) };
    match parse(value.trim()) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(InvalidAnnotation { name, value: value.clone(), expected }),
    }
}

/// A duration as Go's `time.ParseDuration` reads it, without a sign; at most a year.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    const YEAR: f64 = 366.0 * 86_400.0;
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (seconds <= YEAR).then(|| Duration::from_nanos((seconds * 1e9).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_users_has_the_same_table() {
        let table = |text: &str, before: &str| -> Vec<String> {
            let rows = text.lines().filter_map(|line| line.strip_prefix(before));
            rows.filter(|row| row.starts_with("| `sim.firedrill.dev/")).map(str::to_owned).collect()
        };
        let here = table(include_str!("annotations.rs"), "//! ");
        assert!(here.len() > 15, "the table was not found");
        assert_eq!(table(include_str!("../../docs/embedded-cluster.md"), ""), here);
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for wrong in ["", "5", "-5s", "5 s", "1d", "s", "5sm", "..s", "99999999h"] {
            assert_eq!(duration(wrong), None, "{wrong:?}");
        }
    }
}
