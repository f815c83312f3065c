//! A whole embedded cluster at work: API server, control loops, traffic and metrics.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Sim, SimConfig,
    agents::Agents,
    controllers::{self, Controllers, World},
    kubelet::Surroundings,
    manifests,
    metrics::scrape::ScrapeConfig,
    store::{Kind, Object, Selector, Status},
    traffic::wiring::ClusterMetrics,
};

/// Where its Prometheus is found, as in many clusters: namespace and Service.
pub const PROMETHEUS: (&str, &str) = ("monitoring", "prometheus");
/// How many nodes there are when the manifests name none: two in each of three zones, so that one can go without its zone.
const NODES: usize = 6;

/// An embedded cluster with everything in it running; it ends when dropped.
pub struct Cluster {
    sim: Sim,
    metrics: Arc<ClusterMetrics>,
    agents: Agents,
    _controllers: Controllers,
    _feed: tokio::task::JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self._feed.abort();
        self.agents.end_all();
    }
}

impl Cluster {
    /// Starts one with what `objects` describe. Needs a tokio runtime; paused time makes it virtual.
    ///
    /// # Errors
    /// The API server's answer to the first object that it refuses.
    pub fn start(config: &SimConfig, objects: &[Value]) -> Result<Self, Status> {
        let sim = Sim::new(config);
        if !objects.iter().any(|object| object["kind"] == "Node") {
            sim.apply_manifests(&manifests::default_nodes(NODES))?;
        }
        let (namespace, service) = PROMETHEUS;
        sim.apply_manifests(&[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": namespace},
                   "spec": {"ports": [{"name": "web", "port": 9090}]}}),
            prometheus_rules(),
        ])?;
        let (metrics, feed) = ClusterMetrics::follow(sim.store(), config.seed, ScrapeConfig::default());
        let (occurrences, occurred) = tokio::sync::mpsc::unbounded_channel();
        let agents = Agents::new(sim.store(), &metrics, occurrences, config.seed);
        let controllers = controllers::spawn_in(
            sim.store(),
            controllers::Config { seed: config.seed, ..Default::default() },
            World {
                usage: Some(metrics.clone()),
                around: Surroundings {
                    paths: Some(metrics.clone()),
                    programs: Some(Arc::new(agents.clone())),
                },
                occurred: Some(occurred),
            },
        );
        sim.register_usage(metrics.clone());
        sim.server().register_logs(Arc::new(agents.clone()));
        let feed = tokio::spawn(feed.run());
        sim.register_backend(namespace, service, metrics.backend());
        sim.server().register_services(metrics.services());
        let senders = metrics.clone();
        sim.server().register_said(Arc::new(move |pod| senders.said(pod)));
        sim.apply_manifests(objects)?;
        Ok(Self { sim, metrics, agents, _controllers: controllers, _feed: feed })
    }

    /// The API server and the objects.
    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    /// What its Prometheus scrapes.
    pub fn metrics(&self) -> &Arc<ClusterMetrics> {
        &self.metrics
    }

    /// The agents that run in it.
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// What its clock shows.
    pub fn now(&self) -> Timestamp {
        self.sim.store().now()
    }

    /// Waits until every workload has all its pods ready, `at_most` so long. What is not by then.
    pub async fn settle(&self, at_most: Duration) -> Result<(), Vec<String>> {
        let give_up = tokio::time::Instant::now() + at_most;
        loop {
            let waiting = self.not_ready();
            if waiting.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() >= give_up {
                return Err(waiting);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn not_ready(&self) -> Vec<String> {
        let store = self.sim.store();
        let kinds = [Kind::DEPLOYMENT, Kind::STATEFUL_SET];
        let workloads = kinds.into_iter().flat_map(|kind| store.list(&kind, None, &Selector::everything()));
        workloads
            .filter(|object| !all_ready(object))
            .map(|object| format!("{}/{}", object.meta.namespace, object.meta.name))
            .collect()
    }
}

/// The kind by which clusters with the Prometheus Operator have their rules (its docs, API reference).
fn prometheus_rules() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "prometheusrules.monitoring.coreos.com"},
        "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"kind": "PrometheusRule", "listKind": "PrometheusRuleList", "plural": "prometheusrules",
                      "singular": "prometheusrule", "shortNames": ["promrule"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "required": ["spec"],
                "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}})
}

fn all_ready(object: &Object) -> bool {
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        replicas: Option<i64>,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Ready {
        ready_replicas: i64,
        observed_generation: u64,
    }
    let wanted = object.field::<Spec>("spec").unwrap_or_default().replicas.unwrap_or(1);
    let status = object.field::<Ready>("status").unwrap_or_default();
    status.ready_replicas >= wanted && status.observed_generation >= object.meta.generation
}
