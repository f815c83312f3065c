//! Traffic over the control loops and kubelets of the embedded cluster, from ordinary manifests.

use super::wiring::ClusterMetrics;
use super::{ScrapeConfig, Totals};
use crate::sim::store::{DeleteOptions, Kind, Selector};
use crate::sim::{Sim, SimConfig, controllers};
use http_body_util::BodyExt;
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

fn workload(name: &str, replicas: u32, annotations: &Json) -> [Json; 2] {
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"containers": [{"name": "app", "image": "app:1"}]}}}}),
    ]
}

/// A cart that calls the vault, and the vault, which nobody visits from outside; and the checkout.
async fn cart(calls: &str) -> (Sim, Arc<ClusterMetrics>, impl Drop) {
    struct Running(
        tokio::task::JoinHandle<()>,
        #[allow(dead_code, reason = "it runs")] controllers::Controllers,
    );
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let sim = Sim::new(&SimConfig::default());
    let loops = controllers::spawn(sim.store(), controllers::Config::default());
    let (metrics, feed) = ClusterMetrics::follow(sim.store(), 1, ScrapeConfig::default());
    let running = Running(tokio::spawn(feed.run()), loops);
    sim.server().register_services(metrics.services());
    let constant = json!({"sim.firedrill.dev/service-time-distribution": "constant"});
    let mut caller = constant.clone();
    caller["sim.firedrill.dev/calls"] = json!(calls);
    let mut all = manifests();
    all.extend(workload("cart", 2, &caller));
    all.extend(workload("vault", 2, &constant));
    sim.apply_manifests(&all).expect("manifests");
    tokio::time::sleep(Duration::from_secs(60)).await;
    (sim, metrics, running)
}

/// What the API server's proxy says of the cart: the status, and after how long.
async fn visit(sim: &Sim) -> (u16, Duration) {
    let begin = tokio::time::Instant::now();
    (proxied(sim, "cart:80").await.0, begin.elapsed())
}

/// What the API server's proxy says of `[SCHEME:]SERVICE[:PORT]`: status and body.
async fn proxied(sim: &Sim, service: &str) -> (u16, String) {
    let path = format!("/api/v1/namespaces/shop/services/{service}/proxy/");
    let request = http::Request::get(path).body(kube::client::Body::empty()).expect("a request");
    let answer = sim.client().send(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The words are those of a real API server.
#[tokio::test(start_paused = true)]
async fn a_port_that_is_not_there_and_the_wrong_language_get_no_answer() {
    let (sim, _metrics, _running) = cart("vault:80").await;
    for (service, status, words) in [
        ("cart", 200, "true"),
        ("http:cart:80", 200, "true"),
        ("cart:81", 503, "no service port 81 found for service \\\"cart\\\""),
        ("cart:web", 503, "no endpoints available for service \\\"cart:web\\\""),
        ("https:cart:80", 503, "http: server gave HTTP response to HTTPS client"),
    ] {
        let (said, body) = proxied(&sim, service).await;
        assert!(said == status && body.contains(words), "{service}: {said} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_a_service_that_calls_another_waits_for_that_one() {
    let (sim, metrics, _running) = cart("vault:80 timeout=2s").await;
    let (status, took) = visit(&sim).await;
    assert_eq!(status, 200);
    assert!((40..60).contains(&took.as_millis()), "20 ms here and 20 ms there: {took:?}");
    assert_eq!(metrics.totals("shop", "vault").map(|t| t.offered), Some(1), "the vault was asked");
    sim.store()
        .modify(&Kind::DEPLOYMENT, "shop", "vault", |d| {
            let mut spec: Json = d.field("spec").expect("a literal of this test");
            spec["replicas"] = json!(0);
            d.set_value("spec", &spec);
            Ok(())
        })
        .expect("scaled");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (status, took) = visit(&sim).await;
    assert_eq!(status, 502, "it says so itself");
    assert!(took.as_millis() < 40, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_of_calls_is_as_if_it_was_not_there() {
    let (sim, metrics, _running) = cart("vault twice").await;
    assert_eq!(visit(&sim).await.0, 200);
    assert_eq!(metrics.totals("shop", "vault"), None, "nobody calls it");
}

#[tokio::test(start_paused = true)]
async fn a_calling_pod_that_dies_breaks_the_connections_to_it() {
    let (sim, _, _running) = cart("vault timeout=30s retries=99 backoff=10s").await;
    sim.store().delete(&Kind::SERVICE, "shop", "vault", &DeleteOptions::default()).expect("deleted");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = tokio::spawn({
        let sim = sim.clone();
        async move { visit(&sim).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    for pod in sim.store().list(&Kind::POD, Some("shop"), &Selector::everything()) {
        sim.store().delete(&Kind::POD, "shop", &pod.meta.name, &now).expect("deleted");
    }
    let (status, took) = asked.await.expect("it ends");
    assert_eq!(status, 503, "the API server's own word for a broken connection");
    assert!((5000..5100).contains(&took.as_millis()), "{took:?}");
}

fn policy(app: &str, spec: &Json) -> Json {
    let mut spec = spec.clone();
    spec["podSelector"] = json!({"matchLabels": {"app": app}});
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("of-{app}"), "namespace": "shop"}, "spec": spec})
}

async fn applied(sim: &Sim, policy: Json) {
    let _ = sim.store().delete(
        &Kind::NETWORK_POLICY,
        "shop",
        policy["metadata"]["name"].as_str().expect("a name"),
        &DeleteOptions::default(),
    );
    sim.apply_manifests(&[policy]).expect("a policy");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_policy_drops_waits_until_its_time_out() {
    let (sim, metrics, _running) = cart("vault:80 timeout=2s").await;
    let vault = || metrics.totals("shop", "vault").expect("it is called").by_code;
    assert_eq!((visit(&sim).await.0, vault()), (200, [1, 0, 0, 0]));
    applied(&sim, policy("cart", &json!({"policyTypes": ["Egress"]}))).await;
    let (status, took) = visit(&sim).await;
    assert_eq!((status, vault()), (504, [1, 0, 0, 1]), "dropped, not refused");
    assert!((2000..2060).contains(&took.as_millis()), "20 ms of its own, then the time-out: {took:?}");
    // The port of the pods is 8080, not the Service's 80.
    for (port, expected) in [(80, 504), (8080, 200)] {
        let to =
            json!([{"to": [{"podSelector": {"matchLabels": {"app": "vault"}}}], "ports": [{"port": port}]}]);
        applied(&sim, policy("cart", &json!({"policyTypes": ["Egress"], "egress": to}))).await;
        assert_eq!(visit(&sim).await.0, expected, "port {port}");
    }
    for (from, expected) in [("cart", 200), ("checkout", 504)] {
        let rules = json!([{"from": [{"podSelector": {"matchLabels": {"app": from}}}]}]);
        applied(&sim, policy("vault", &json!({"policyTypes": ["Ingress"], "ingress": rules}))).await;
        assert_eq!(visit(&sim).await.0, expected, "from {from}");
    }
    for node in sim.store().list(&Kind::NODE, None, &Selector::everything()) {
        let ignores = sim.store().modify(&Kind::NODE, "", &node.meta.name, |node| {
            node.meta.annotations.insert("sim.firedrill.dev/network-policy".into(), "ignored".into());
            Ok(())
        });
        ignores.expect("a node");
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(visit(&sim).await.0, 200, "a plugin that enforces none");
}

#[tokio::test(start_paused = true)]
async fn those_outside_obey_the_policies_for_what_comes_in() {
    let (sim, metrics, _running) = cart("vault optional").await;
    let answers = async || {
        let before = metrics.totals("shop", "checkout").expect("it has clients").by_code;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let after = metrics.totals("shop", "checkout").expect("it has clients").by_code;
        [after[0] - before[0], after[3] - before[3]]
    };
    let from = |peer: Json| json!({"policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]});
    for (peer, open) in [
        (json!({"namespaceSelector": {}}), false),
        (json!({"ipBlock": {"cidr": "0.0.0.0/0"}}), true),
        (json!({"ipBlock": {"cidr": "10.0.0.0/8"}}), false),
    ] {
        applied(&sim, policy("checkout", &from(peer.clone()))).await;
        // Those who were sent before have their answers.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let [ok, timeout] = answers().await;
        assert_eq!((ok > 3500, timeout > 3500), (open, !open), "{peer}: {ok} {timeout}");
    }
    applied(&sim, policy("cart", &from(json!({"namespaceSelector": {}})))).await;
    let (status, took) = visit(&sim).await;
    assert_eq!((status, took.as_secs()), (503, 30), "the API server is no pod, and tries for so long");
}
