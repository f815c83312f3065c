//! What the embedded cluster adds to ordinary manifests: behaviour in annotations, the defaults that a real API
//! server and its admission plugins write, and the objects that every cluster has.
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

use serde_json::{Map, Value, json};

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
        None => {
            Err(BehaviourError { annotation, value: text.clone(), expected: "a duration such as 5s or 1m30s" })
        }
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

/// The namespaces that the API server itself makes
/// (`pkg/controlplane/controller/systemnamespaces`), without their ServiceAccounts.
pub fn default_namespaces() -> Vec<Value> {
    ["default", "kube-system", "kube-public", "kube-node-lease"].into_iter().map(namespace).collect()
}

/// A Namespace object as the API server stores it.
pub fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

/// The ServiceAccount that every namespace has (`pkg/controller/serviceaccount`).
pub fn default_service_account(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace},
    })
}

/// Everything that a fresh cluster holds before any manifest: namespaces and their ServiceAccounts.
pub fn fresh_cluster() -> Vec<Value> {
    let mut objects = default_namespaces();
    objects.extend(
        ["default", "kube-system", "kube-public", "kube-node-lease"].into_iter().map(default_service_account),
    );
    objects
}

/// Writes the defaults that a real API server writes on create and update (`pkg/apis/*/v1/defaults.go`) into an
/// object of a kind that the embedded cluster acts on; other kinds stay as they are.
pub fn apply_defaults(object: &mut Value) {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    match kind.as_str() {
        "Deployment" => default_deployment(spec),
        "ReplicaSet" | "StatefulSet" | "DaemonSet" => default_workload(&kind, spec),
        "Pod" => {
            default_pod_spec(spec);
            default_admission(spec);
        }
        "Service" => default_service(spec),
        _ => {}
    }
}

fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    match map.get(key) {
        None | Some(Value::Null) => {
            map.insert(key.to_owned(), value);
        }
        Some(_) => {}
    }
}

fn default_template(spec: &mut Map<String, Value>) {
    if let Some(pod) = spec.get_mut("template").and_then(|t| t.get_mut("spec")).and_then(Value::as_object_mut) {
        default_pod_spec(pod);
    }
}

fn default_deployment(spec: &mut Map<String, Value>) {
    put(spec, "replicas", json!(1));
    put(spec, "revisionHistoryLimit", json!(10));
    put(spec, "progressDeadlineSeconds", json!(600));
    put(spec, "strategy", json!({}));
    if let Some(strategy) = spec.get_mut("strategy").and_then(Value::as_object_mut) {
        put(strategy, "type", json!("RollingUpdate"));
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
            put(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
                put(rolling, "maxUnavailable", json!("25%"));
                put(rolling, "maxSurge", json!("25%"));
            }
        }
    }
    default_template(spec);
}

fn default_workload(kind: &str, spec: &mut Map<String, Value>) {
    if kind != "DaemonSet" {
        put(spec, "replicas", json!(1));
    }
    if kind != "ReplicaSet" {
        put(spec, "revisionHistoryLimit", json!(10));
        put(spec, "updateStrategy", json!({"type": "RollingUpdate"}));
    }
    if kind == "StatefulSet" {
        put(spec, "podManagementPolicy", json!("OrderedReady"));
    }
    default_template(spec);
}

fn default_service(spec: &mut Map<String, Value>) {
    put(spec, "type", json!("ClusterIP"));
    put(spec, "sessionAffinity", json!("None"));
    put(spec, "internalTrafficPolicy", json!("Cluster"));
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            put(port, "protocol", json!("TCP"));
            let number = port.get("port").cloned().unwrap_or(Value::Null);
            put(port, "targetPort", number);
        }
    }
}

/// The defaults of a PodSpec (`pkg/apis/core/v1/defaults.go`), as the API server writes them into pods and templates.
pub fn default_pod_spec(spec: &mut Map<String, Value>) {
    put(spec, "restartPolicy", json!("Always"));
    put(spec, "dnsPolicy", json!("ClusterFirst"));
    put(spec, "schedulerName", json!("default-scheduler"));
    put(spec, "terminationGracePeriodSeconds", json!(30));
    put(spec, "securityContext", json!({}));
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                default_container(container);
            }
        }
    }
}

fn default_container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    put(container, "imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" }));
    put(container, "terminationMessagePath", json!("/dev/termination-log"));
    put(container, "terminationMessagePolicy", json!("File"));
    put(container, "resources", json!({}));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            put(port, "protocol", json!("TCP"));
        }
    }
    for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            put(probe, "timeoutSeconds", json!(1));
            put(probe, "periodSeconds", json!(10));
            put(probe, "successThreshold", json!(1));
            put(probe, "failureThreshold", json!(3));
        }
    }
    // Limits stand in for requests that are not given.
    let limits = container.get("resources").and_then(|r| r.get("limits")).and_then(Value::as_object).cloned();
    let resources = container.get_mut("resources").and_then(Value::as_object_mut);
    if let (Some(limits), Some(resources)) = (limits, resources) {
        put(resources, "requests", json!({}));
        if let Some(requests) = resources.get_mut("requests").and_then(Value::as_object_mut) {
            for (name, amount) in limits {
                put(requests, &name, amount);
            }
        }
    }
}

/// What admission plugins add to a pod at creation: ServiceAccount, Priority, and DefaultTolerationSeconds
/// (`plugin/pkg/admission/defaulttolerationseconds`, 300 s each).
pub fn default_admission(spec: &mut Map<String, Value>) {
    put(spec, "serviceAccountName", json!("default"));
    let account = spec.get("serviceAccountName").cloned().unwrap_or_default();
    put(spec, "serviceAccount", account);
    put(spec, "priority", json!(0));
    put(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    put(spec, "enableServiceLinks", json!(true));
    put(spec, "tolerations", json!([]));
    let Some(tolerations) = spec.get_mut("tolerations").and_then(Value::as_array_mut) else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|t| {
            let text = |name: &str| t.get(name).and_then(Value::as_str).unwrap_or_default();
            (text("key").is_empty() || text("key") == key) && matches!(text("effect"), "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
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

    #[test]
    fn a_deployment_gets_the_defaults_of_the_api_server() {
        let mut object = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [
            {"name": "app", "image": "app", "resources": {"limits": {"cpu": "1"}}, "readinessProbe": {}}]}}}});
        apply_defaults(&mut object);
        assert_eq!(object["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["resources"]["requests"]["cpu"], "1");
        assert_eq!(container["readinessProbe"]["periodSeconds"], 10);
        let once = object.clone();
        apply_defaults(&mut object);
        assert_eq!(object, once, "defaulting twice changes nothing");
    }

    #[test]
    fn pods_tolerate_a_lost_node_for_five_minutes_unless_they_say_otherwise() {
        let mut pod = json!({"kind": "Pod", "spec": {"containers": [], "tolerations": [
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]}});
        apply_defaults(&mut pod);
        let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
        assert_eq!(tolerations.len(), 2);
        assert_eq!(tolerations[0]["tolerationSeconds"], 5);
        assert_eq!(tolerations[1]["tolerationSeconds"], 300);
    }
}
