//! What the embedded cluster adds to ordinary manifests: how applications behave, and nodes when there are none.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::annotations::{
    CRASH_AFTER, IMAGE_PULL, InvalidAnnotation, SHUTDOWN, STARTUP, STARTUP_JITTER, duration, read,
};
use super::traffic::Serving;

/// Images from this registry can never be pulled (RFC 2606 reserves the name).
pub const UNPULLABLE_REGISTRY: &str = "registry.invalid/";

/// How the application in a pod behaves, read from the pod's annotations.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// From the container's start until its application answers.
    pub startup: Duration,
    /// Upper bound of what is added to `startup` by seed.
    pub startup_jitter: Duration,
    /// From SIGTERM until the application has exited.
    pub shutdown: Duration,
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
            crash_after: None,
            image_pulls: true,
        }
    }
}

impl Behaviour {
    /// Reads a pod's annotations, those of [`Serving`] too, so that somebody says that they are wrong.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, InvalidAnnotation> {
        Serving::from_annotations(annotations)?;
        let base = Self::default();
        let length = |name| read(annotations, name, "a duration such as 5s or 1m30s", duration);
        let pulls = |text: &str| match text {
            "ok" => Some(true),
            "fail" => Some(false),
            _ => None,
        };
        Ok(Self {
            startup: length(STARTUP)?.unwrap_or(base.startup),
            startup_jitter: length(STARTUP_JITTER)?.unwrap_or(base.startup_jitter),
            shutdown: length(SHUTDOWN)?.unwrap_or(base.shutdown),
            crash_after: length(CRASH_AFTER)?,
            image_pulls: read(annotations, IMAGE_PULL, "ok or fail", pulls)?.unwrap_or(base.image_pulls),
        })
    }
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
    use crate::sim::annotations::CAPACITY;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn behaviour_names_the_annotation_that_it_cannot_read() {
        assert_eq!(Behaviour::from_annotations(&annotations(&[])), Ok(Behaviour::default()));
        let read = Behaviour::from_annotations(&annotations(&[(STARTUP, "5s")])).unwrap();
        assert_eq!(read.startup, Duration::from_secs(5));
        for (key, value) in [(STARTUP, "soon"), (CAPACITY, "0"), (IMAGE_PULL, "maybe"), (SHUTDOWN, "-1s")] {
            let error = Behaviour::from_annotations(&annotations(&[(key, value)])).unwrap_err();
            assert_eq!((error.name, error.value.as_str()), (key, value));
        }
    }
}
