//! What kube-state-metrics says of objects, as far as hypotheses are written with it: the job
//! `kube-state-metrics`, its series named and labelled as in that project's docs (docs/metrics).
//!
//! - `kube_deployment_spec_replicas`, `kube_deployment_status_replicas`, `…_ready`, `…_available`,
//!   `…_unavailable`, `…_updated` with `namespace`, `deployment`;
//! - `kube_pod_status_ready` with `namespace`, `pod`, `uid`, `condition="true"`;
//! - `kube_node_spec_unschedulable` with `node`.

use std::collections::BTreeMap;

use super::scrape::{ScrapeConfig, Scrapes, SeriesId, TargetId};
use super::series::Labels;

/// Replica counts of a Deployment; absent integers of its status are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeploymentReplicas {
    /// `spec.replicas`.
    pub desired: i64,
    /// `status.replicas`.
    pub current: i64,
    /// `status.readyReplicas`.
    pub ready: i64,
    /// `status.availableReplicas`.
    pub available: i64,
    /// `status.unavailableReplicas`.
    pub unavailable: i64,
    /// `status.updatedReplicas`.
    pub updated: i64,
}

/// The target kube-state-metrics and the series of each object that it knows.
#[derive(Debug)]
pub struct KubeState {
    scrapes: Scrapes,
    target: TargetId,
    /// Series by kind, namespace and name of the object.
    objects: BTreeMap<(&'static str, String, String), Vec<SeriesId>>,
}

impl KubeState {
    /// No objects yet, at `now` (milliseconds since the Unix epoch).
    pub fn new(config: ScrapeConfig, now: i64) -> Self {
        let mut scrapes = Scrapes::new(config, now);
        let labels: Labels = [
            ("job", "kube-state-metrics"),
            ("instance", "kube-state-metrics.monitoring:8080"),
            ("namespace", "monitoring"),
        ]
        .into_iter()
        .collect();
        let target = scrapes.add_target(labels, now);
        Self { scrapes, target, objects: BTreeMap::new() }
    }

    /// What is exposed.
    pub fn scrapes(&self) -> &Scrapes {
        &self.scrapes
    }

    /// Time has come to `now`.
    pub fn advance(&mut self, now: i64) {
        self.scrapes.advance(now);
    }

    /// A Deployment has these counts from `at` on.
    pub fn deployment(&mut self, namespace: &str, name: &str, replicas: DeploymentReplicas, at: i64) {
        let labels = [("namespace", namespace), ("deployment", name)];
        let values = [
            ("kube_deployment_spec_replicas", replicas.desired),
            ("kube_deployment_status_replicas", replicas.current),
            ("kube_deployment_status_replicas_ready", replicas.ready),
            ("kube_deployment_status_replicas_available", replicas.available),
            ("kube_deployment_status_replicas_unavailable", replicas.unavailable),
            ("kube_deployment_status_replicas_updated", replicas.updated),
        ];
        self.set(("deployment", namespace, name), &labels, &values, at);
    }

    /// A pod is ready, or not, from `at` on. `name` and `uid` identify it.
    pub fn pod_ready(&mut self, namespace: &str, (name, uid): (&str, &str), ready: bool, at: i64) {
        let labels = [("namespace", namespace), ("pod", name), ("uid", uid), ("condition", "true")];
        self.set(("pod", namespace, uid), &labels, &[("kube_pod_status_ready", i64::from(ready))], at);
    }

    /// A node is cordoned, or not, from `at` on.
    pub fn node(&mut self, name: &str, unschedulable: bool, at: i64) {
        let values = [("kube_node_spec_unschedulable", i64::from(unschedulable))];
        self.set(("node", "", name), &[("node", name)], &values, at);
    }

    /// A Deployment is gone.
    pub fn forget_deployment(&mut self, namespace: &str, name: &str, at: i64) {
        self.forget(("deployment", namespace, name), at);
    }

    /// A pod is gone.
    pub fn forget_pod(&mut self, namespace: &str, uid: &str, at: i64) {
        self.forget(("pod", namespace, uid), at);
    }

    /// A node is gone.
    pub fn forget_node(&mut self, name: &str, at: i64) {
        self.forget(("node", "", name), at);
    }

    fn set(
        &mut self,
        key: (&'static str, &str, &str),
        labels: &[(&str, &str)],
        values: &[(&str, i64)],
        at: i64,
    ) {
        let key = (key.0, key.1.to_string(), key.2.to_string());
        let (scrapes, target) = (&mut self.scrapes, self.target);
        let series = self.objects.entry(key).or_insert_with(|| {
            values.iter().map(|(name, v)| scrapes.register(target, name, labels, (at, *v as f64))).collect()
        });
        for (id, (_, value)) in series.iter().zip(values) {
            self.scrapes.set(*id, at, *value as f64);
        }
    }

    fn forget(&mut self, key: (&'static str, &str, &str), at: i64) {
        let series = self.objects.remove(&(key.0, key.1.to_string(), key.2.to_string()));
        for id in series.into_iter().flatten() {
            self.scrapes.end_series(id, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::metrics::promql::{self, Value};

    #[test]
    fn a_deployment_is_counted_while_it_exists() {
        let mut state = KubeState::new(ScrapeConfig::default(), 0);
        let replicas = DeploymentReplicas { desired: 4, available: 3, ..DeploymentReplicas::default() };
        state.deployment("shop", "checkout", replicas, 1000);
        state.forget_deployment("shop", "checkout", 60_000);
        state.deployment("shop", "checkout", DeploymentReplicas { desired: 1, ..replicas }, 120_000);
        state.advance(200_000);
        let ask = |query: &str, at| match promql::instant(state.scrapes(), &promql::parse(query).unwrap(), at)
        {
            Ok(Value::Vector(v)) => v.iter().map(|e| e.value).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let desired = r#"kube_deployment_spec_replicas{namespace="shop",deployment="checkout"}"#;
        assert_eq!(ask(desired, 30_000), [4.0]);
        assert_eq!(ask("kube_deployment_status_replicas_available", 30_000), [3.0]);
        assert_eq!(ask(desired, 70_000), [0.0; 0], "the marker ends it at once");
        assert_eq!(ask(desired, 130_000), [1.0], "the same name again");
    }
}
