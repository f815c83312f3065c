//! Traffic over the control loops and kubelets of the embedded cluster, from ordinary manifests.

use super::wiring::ClusterMetrics;
use super::{ScrapeConfig, Totals};
use crate::sim::store::{DeleteOptions, Kind, Selector};
use crate::sim::{Sim, SimConfig, controllers};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::Duration;

fn manifests() -> Vec<Json> {
    let size = json!({"cpu": "8", "memory": "16Gi", "pods": "110"});
    let node = |n: usize| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{n}")},
            "status": {"capacity": size, "allocatable": size}})
    };
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "checkout", "namespace": "shop",
            "annotations": {"sim.firedrill.dev/offered-load": "200"}},
        "spec": {"selector": {"app": "checkout"}, "ports": [{"port": 80}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "checkout"}}, "template": {
            "metadata": {"labels": {"app": "checkout"}},
            "spec": {"containers": [{"name": "app", "image": "checkout:1"}]}}}});
    (0..3).map(node).chain([shop, service, deployment]).collect()
}

async fn ask(metrics: &Arc<ClusterMetrics>, query: &str) -> Option<f64> {
    let uri = format!("/api/v1/query?query={}", crate::sim::metrics::http::encode(query));
    let request = http::Request::get(uri).body(bytes::Bytes::new()).expect("a request");
    let response = metrics.prometheus().handle(request).await;
    let body: Json = serde_json::from_slice(response.body()).expect("JSON");
    body["data"]["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok())
}

const AVAILABILITY: &str = r#"sum(rate(http_requests_total{app="checkout",code!~"5.."}[1m]))
    / sum(rate(http_requests_total{app="checkout"}[1m]))"#;

/// Kills half of the pods with that grace; the counts before and 90 seconds after, and the lowest
/// availability in between.
async fn lose_half(grace: Option<i64>) -> (Totals, Totals, f64) {
    let sim = Sim::new(&SimConfig::default());
    let _loops = controllers::spawn(sim.store(), controllers::Config::default());
    let (metrics, feed) = ClusterMetrics::follow(sim.store(), 1, ScrapeConfig::default());
    let running = tokio::spawn(feed.run());
    sim.apply_manifests(&manifests()).expect("manifests");
    tokio::time::sleep(Duration::from_secs(120)).await;
    let totals = || metrics.totals("shop", "checkout").expect("clients have begun");
    assert_eq!(ask(&metrics, AVAILABILITY).await, Some(1.0));
    let ready = r#"kube_deployment_status_replicas_ready{namespace="shop",deployment="checkout"}"#;
    assert_eq!(ask(&metrics, ready).await, Some(4.0));
    let before = totals();
    let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
    for pod in sim.store().list(&Kind::POD, Some("shop"), &Selector::everything()).iter().take(2) {
        sim.store().delete(&Kind::POD, "shop", &pod.meta.name, &options).expect("deleted");
    }
    let mut lowest = 1.0_f64;
    for _ in 0..18 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        lowest = lowest.min(ask(&metrics, AVAILABILITY).await.expect("a value"));
    }
    assert_eq!(ask(&metrics, AVAILABILITY).await, Some(1.0), "healed");
    assert_eq!(ask(&metrics, "count(up{job=\"kubernetes-pods\"} == 1)").await, Some(4.0));
    let after = totals();
    running.abort();
    (before, after, lowest)
}

#[tokio::test(start_paused = true)]
async fn half_of_the_pods_killed_is_seen_by_the_clients_and_heals() {
    let (before, after, lowest) = lose_half(Some(0)).await;
    let failed = after.by_code[1] - before.by_code[1];
    // Half of 200/s for about the second until clients follow the endpoints, and what was in flight.
    assert!((70..160).contains(&failed), "{after:?}");
    assert!((0.985..0.996).contains(&lowest), "{failed} of 12,000 requests in a minute: {lowest}");
}

#[tokio::test(start_paused = true)]
async fn pods_that_leave_gracefully_cost_next_to_nothing() {
    let (before, after, _) = lose_half(None).await;
    let failed = after.by_code[1] - before.by_code[1];
    assert!(failed < 20, "{after:?}");
}
