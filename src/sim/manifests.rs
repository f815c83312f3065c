//! What the embedded cluster adds to ordinary manifests: behaviour in annotations, and nodes when there are none.
//!
//! | annotation | on | default | meaning |
//! |---|---|---|---|
//! | `sim.firedrill.dev/startup` | pod template | `2s` | from the container's start until its application answers |
//! | `sim.firedrill.dev/startup-jitter` | pod template | `0s` | added to `startup`, drawn by seed between zero and this |
//! | `sim.firedrill.dev/shutdown` | pod template | `1s` | from SIGTERM until the application has exited |
//! | `sim.firedrill.dev/service-time` | pod template | `20ms` | what one request occupies the application for |
//! | `sim.firedrill.dev/capacity` | pod template | `32` | requests that one pod serves at the same time |
//! | `sim.firedrill.dev/crash-after` | pod template | never | the application exits with 1 so long after each start |
//! | `sim.firedrill.dev/image-pull` | pod template | `ok` | `fail`: the image can never be pulled |
//! | `sim.firedrill.dev/offered-load` | Service | none | requests a second that clients offer to the Service |
//! | `sim.firedrill.dev/kubelet` | Node | `running` | `stopped`: the node's kubelet does nothing more |
//!
//! Durations are written as Go writes them (`1m30s`, `250ms`). A value that cannot be read is an error that names
//! annotation and value; the kubelet then says so in an Event and takes the default.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// From the container's start until the application answers.
pub const STARTUP: &str = "sim.firedrill.dev/startup";
/// Upper bound of what is added to [`STARTUP`] by seed.
pub const STARTUP_JITTER: &str = "sim.firedrill.dev/startup-jitter";
/// From SIGTERM until the application has exited.
pub const SHUTDOWN: &str = "sim.firedrill.dev/shutdown";
/// What one request occupies the application for.
pub const SERVICE_TIME: &str = "sim.firedrill.dev/service-time";
/// Requests that one pod serves at the same time.
pub const CAPACITY: &str = "sim.firedrill.dev/capacity";
/// The application exits with 1 so long after each start.
pub const CRASH_AFTER: &str = "sim.firedrill.dev/crash-after";
/// `fail`: the image can never be pulled.
pub const IMAGE_PULL: &str = "sim.firedrill.dev/image-pull";
/// Requests a second that clients offer to a Service.
pub const OFFERED_LOAD: &str = "sim.firedrill.dev/offered-load";
/// On a Node, `stopped`: its kubelet does nothing more.
pub const KUBELET: &str = "sim.firedrill.dev/kubelet";
/// On a Node, written by the embedded cluster: since when its kubelet is silent (RFC 3339).
pub const SILENT_SINCE: &str = "sim.firedrill.dev/silent-since";
/// Images from this registry can never be pulled (RFC 2606 reserves the name).
pub const UNPULLABLE_REGISTRY: &str = "registry.invalid/";

/// An annotation of the embedded cluster that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation}: {value:?} is not {expected}")]
pub struct BehaviourError {
    /// The annotation's key.
    pub annotation: &'static str,
    /// What it says.
    pub value: String,
    /// What it should be, in words.
    pub expected: &'static str,
}

/// How the application in a pod behaves, read from the pod's annotations.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// From the container's start until its application answers.
    pub startup: Duration,
    /// Upper bound of what is added to `startup` by seed.
    pub startup_jitter: Duration,
    /// From SIGTERM until the application has exited.
    pub shutdown: Duration,
    /// What one request occupies the application for.
    pub service_time: Duration,
    /// Requests that one pod serves at the same time, at least 1.
    pub capacity: u32,
    /// The application exits with 1 so long after each start; `None`: never.
    pub crash_after: Option<Duration>,
    /// False when the image can never be pulled.
    pub image_pulls: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            startup: Duration::from_secs(2),
            startup_jitter: Duration::ZERO,
            shutdown: Duration::from_secs(1),
            service_time: Duration::from_millis(20),
            capacity: 32,
            crash_after: None,
            image_pulls: true,
        }
    }
}

impl Behaviour {
    /// Reads a pod's annotations; the first that cannot be read is the error.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, BehaviourError> {
        let base = Self::default();
        let duration = |key| duration_of(annotations, key);
        let capacity = match annotations.get(CAPACITY) {
            None => base.capacity,
            Some(text) => text.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(|| BehaviourError {
                annotation: CAPACITY,
                value: text.clone(),
                expected: "a whole number of at least 1",
            })?,
        };
        let image_pulls = match annotations.get(IMAGE_PULL).map(String::as_str) {
            None | Some("ok") => true,
            Some("fail") => false,
            Some(text) => {
                let value = text.to_owned();
                return Err(BehaviourError { annotation: IMAGE_PULL, value, expected: "ok or fail" });
            }
        };
        Ok(Self {
            startup: duration(STARTUP)?.unwrap_or(base.startup),
            startup_jitter: duration(STARTUP_JITTER)?.unwrap_or(base.startup_jitter),
            shutdown: duration(SHUTDOWN)?.unwrap_or(base.shutdown),
            service_time: duration(SERVICE_TIME)?.unwrap_or(base.service_time),
            capacity,
            crash_after: duration(CRASH_AFTER)?,
            image_pulls,
        })
    }
}

/// Requests a second that clients offer to a Service, from the Service's annotations; `None` without the annotation.
/// Written as a number (`200`, `12.5`), optionally followed by `/s`.
pub fn offered_load(annotations: &BTreeMap<String, String>) -> Result<Option<f64>, BehaviourError> {
    let Some(text) = annotations.get(OFFERED_LOAD) else { return Ok(None) };
    let number = text.strip_suffix("/s").unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(Some(rate)),
        _ => Err(BehaviourError {
            annotation: OFFERED_LOAD,
            value: text.clone(),
            expected: "a number of requests a second such as 200",
        }),
    }
}

fn duration_of(
    annotations: &BTreeMap<String, String>,
    annotation: &'static str,
) -> Result<Option<Duration>, BehaviourError> {
    let Some(text) = annotations.get(annotation) else { return Ok(None) };
    match parse_duration(text) {
        Some(duration) => Ok(Some(duration)),
        None => Err(BehaviourError {
            annotation,
            value: text.clone(),
            expected: "a duration such as 5s or 1m30s",
        }),
    }
}

/// A duration as Go's `time.ParseDuration` writes it, without a sign; at most a year.
pub fn parse_duration(text: &str) -> Option<Duration> {
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

/// The nodes of a cluster whose manifests hold none: `count` Ready nodes in zones a, b and c in turn, labelled
/// `pool=general`, each with 4 cores, 8 GiB and room for 110 pods (the kubelet's default `maxPods`).
pub fn default_nodes(count: usize) -> Vec<Value> {
    (0..count)
        .map(|index| {
            let name = format!("node-{}", index + 1);
            let zone = ["a", "b", "c"][index % 3];
            let capacity = json!({"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"});
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name, "labels": {
                    "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                    "topology.kubernetes.io/region": "region-1", "topology.kubernetes.io/zone": zone,
                    "pool": "general",
                }},
                "spec": {},
                "status": {"capacity": capacity, "allocatable": capacity},
            })
        })
        .collect()
}

/// The ServiceAccount that every namespace has (`pkg/controller/serviceaccount`).
pub fn default_service_account(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        for wrong in ["", "5", "-5s", "5 s", "1d", "s", "5sm", "..s", "99999999h"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn behaviour_names_the_annotation_that_it_cannot_read() {
        assert_eq!(Behaviour::from_annotations(&annotations(&[])), Ok(Behaviour::default()));
        let read = Behaviour::from_annotations(&annotations(&[(STARTUP, "5s"), (CAPACITY, "4")])).unwrap();
        assert_eq!((read.startup, read.capacity), (Duration::from_secs(5), 4));
        for (key, value) in [(STARTUP, "soon"), (CAPACITY, "0"), (IMAGE_PULL, "maybe"), (SHUTDOWN, "-1s")] {
            let error = Behaviour::from_annotations(&annotations(&[(key, value)])).unwrap_err();
            assert_eq!((error.annotation, error.value.as_str()), (key, value));
        }
    }

    #[test]
    fn offered_load_is_requests_a_second() {
        assert_eq!(offered_load(&annotations(&[])), Ok(None));
        assert_eq!(offered_load(&annotations(&[(OFFERED_LOAD, "200/s")])), Ok(Some(200.0)));
        assert!(offered_load(&annotations(&[(OFFERED_LOAD, "NaN")])).is_err());
        assert!(offered_load(&annotations(&[(OFFERED_LOAD, "-1")])).is_err());
    }
}
