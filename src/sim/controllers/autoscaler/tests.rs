//! Autoscalers on a whole embedded cluster, in virtual time.

use std::time::Duration;

use serde_json::{Value, json};

use crate::sim::SimConfig;
use crate::sim::annotations::OFFERED_LOAD;
use crate::sim::cluster::Cluster;
use crate::sim::store::{Kind, Selector};

/// A Deployment of two pods with 25 places each, which take 20 ms for a request: 1000 requests a second keep them busy
/// for 40 % of their CPU, which is what the autoscaler wants.
fn shop(load: u32) -> Vec<Value> {
    let metric = json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 40}}});
    vec![
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "default", "annotations": {OFFERED_LOAD: load.to_string()}},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"sim.firedrill.dev/capacity": "25"}},
                "spec": {"containers": [{"name": "app", "image": "web:1",
                    "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "200m", "memory": "64Mi"}}}]}}}}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"minReplicas": 2, "maxReplicas": 10, "metrics": [metric],
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
    ]
}

fn start(load: u32) -> Cluster {
    Cluster::start(&SimConfig { seed: 7, ..SimConfig::default() }, &shop(load)).expect("accepted")
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn read(cluster: &Cluster, kind: &Kind, field: &str) -> Value {
    cluster.sim().store().get(kind, "default", "web").expect("it is there").field(field).expect("JSON")
}

fn replicas(cluster: &Cluster) -> i64 {
    read(cluster, &Kind::DEPLOYMENT, "spec")["replicas"].as_i64().expect("a number")
}

fn offer(cluster: &Cluster, load: u32) {
    let change = |service: &mut crate::sim::store::Object| {
        service.meta.annotations.insert(OFFERED_LOAD.to_owned(), load.to_string());
        Ok(())
    };
    cluster.sim().store().modify(&Kind::SERVICE, "default", "web", change).expect("modified");
}

fn condition(cluster: &Cluster, kind: &str) -> (String, String) {
    let status = read(cluster, &Kind::HORIZONTAL_POD_AUTOSCALER, "status");
    let all = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|c| c["type"] == kind).expect("the condition");
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

/// When the replicas changed in a run that doubles the load and takes it away, in seconds.
async fn doubled_and_gone() -> (Vec<(u64, i64)>, String) {
    let cluster = start(1000);
    sleep(120).await;
    assert_eq!(replicas(&cluster), 2, "1000/s of 20 ms on 50 places are 40 %");
    let mut changes = vec![(0, 2)];
    for second in 0..1200 {
        match second {
            0 => offer(&cluster, 2000),
            300 => offer(&cluster, 50),
            _ => {}
        }
        sleep(1).await;
        if changes.last().is_some_and(|(_, n)| *n != replicas(&cluster)) {
            changes.push((second, replicas(&cluster)));
        }
    }
    let status = read(&cluster, &Kind::HORIZONTAL_POD_AUTOSCALER, "status").to_string();
    (changes, status)
}

#[tokio::test(start_paused = true)]
async fn a_doubled_load_doubles_the_pods_and_the_stabilisation_window_keeps_them() {
    let (changes, status) = doubled_and_gone().await;
    let [(_, 2), (up, 4), .., (down, 2)] = changes[..] else { panic!("{changes:?}") };
    assert!((15..=60).contains(&up), "two windows and a sync at most: {changes:?}");
    assert!((600..=660).contains(&down), "five minutes after the load was gone: {changes:?}");
    assert_eq!(doubled_and_gone().await, (changes, status), "the same again");
}

#[tokio::test(start_paused = true)]
async fn the_status_events_and_managers_say_what_happened() {
    let cluster = start(2000);
    sleep(20).await;
    assert_eq!(condition(&cluster, "ScalingActive"), ("False".into(), "FailedGetResourceMetric".into()));
    sleep(100).await;
    assert_eq!(condition(&cluster, "ScalingActive"), ("True".into(), "ValidMetricFound".into()));
    assert_eq!(replicas(&cluster), 4);
    let status = read(&cluster, &Kind::HORIZONTAL_POD_AUTOSCALER, "status");
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(4), &json!(4)), "{status}");
    let percent = status["currentMetrics"][0]["resource"]["current"]["averageUtilization"].as_i64();
    assert!(percent.is_some_and(|p| (36..=44).contains(&p)), "{status}");
    let events = cluster.sim().store().list(&Kind::EVENT, Some("default"), &Selector::everything());
    let rescaled =
        events.iter().find(|e| e.raw("reason") == Some("\"SuccessfulRescale\"")).expect("an Event");
    let message = rescaled.raw("message").unwrap_or_default();
    assert!(message.contains("New size: 4; reason: cpu resource utilization"), "{message}");
    let deployment = cluster.sim().store().get(&Kind::DEPLOYMENT, "default", "web").expect("it is there");
    let scaled = deployment.meta.managed_fields.iter().find(|e| e.subresource == "scale").expect("a manager");
    assert_eq!(scaled.manager, "kube-controller-manager");
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_pauses_at_zero_and_keeps_to_its_bounds() {
    let cluster = start(1000);
    sleep(60).await;
    let scale = |n: i64| {
        let change = |d: &mut crate::sim::store::Object| {
            let mut spec: Value = d.field("spec").expect("JSON");
            spec["replicas"] = json!(n);
            d.set_value("spec", &spec);
            Ok(())
        };
        cluster.sim().store().modify(&Kind::DEPLOYMENT, "default", "web", change).expect("modified");
    };
    scale(0);
    sleep(120).await;
    assert_eq!(replicas(&cluster), 0);
    assert_eq!(condition(&cluster, "ScalingActive"), ("False".into(), "ScalingDisabled".into()));
    scale(30);
    sleep(20).await;
    assert_eq!(replicas(&cluster), 10);
    scale(1);
    sleep(20).await;
    assert_eq!(replicas(&cluster), 2);
}

#[tokio::test(start_paused = true)]
async fn metrics_are_served_as_metrics_server_does() {
    let cluster = start(1000);
    let get = |path: &str| {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        let client = cluster.sim().client();
        async move { client.request::<Value>(request).await }
    };
    sleep(90).await;
    let base = "/apis/metrics.k8s.io/v1beta1";
    let pods = get(&format!("{base}/namespaces/default/pods?labelSelector=app%3Dweb")).await.expect("a list");
    assert_eq!(pods["kind"], "PodMetricsList");
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(2), "{pods}");
    let first = &pods["items"][0];
    assert_eq!(
        (&first["window"], &first["timestamp"]),
        (&json!("15s"), &json!("2026-01-01T00:01:30Z")),
        "{first}"
    );
    let cpu = first["containers"][0]["usage"]["cpu"].as_str().and_then(|c| c.strip_suffix('n'));
    let cores = cpu.and_then(|c| c.parse::<f64>().ok()).expect("nanocores") / 1e9;
    assert!((0.07..0.09).contains(&cores), "40 % of 200m: {cores}");
    let name = first["metadata"]["name"].as_str().expect("a name");
    let one = get(&format!("{base}/namespaces/default/pods/{name}")).await.expect("one");
    assert_eq!((&one["kind"], &one["containers"]), (&json!("PodMetrics"), &first["containers"]));
    let nodes = get(&format!("{base}/nodes")).await.expect("a list");
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(6), "{nodes}");
    let groups = get("/apis").await.expect("the groups");
    assert!(groups.to_string().contains("metrics.k8s.io/v1beta1"));
    assert!(get(&format!("{base}/namespaces/default/pods/nobody")).await.is_err());
}
