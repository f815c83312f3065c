//! A zone lost: ten nodes closed and a thousand pods sent away, by the engine and by the same calls sent bare.

use firedrill::{
    journal::Record,
    types::{ObjectRef, Verdict},
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    bare,
    bench::{Bench, NAMESPACE, Outcome},
    figures::{Table, median},
};

/// Nodes of the zone; as many in another one take what is sent away.
const NODES: usize = 10;
const PODS: usize = 1000;
const APP: &str = "zonal";
const LOST: &str = "bench-lost";
const SPARE: &str = "bench-spare";

/// Both modes, against the calls that they come down to.
pub async fn outage(bench: &Bench, table: &mut Table) -> Outcome {
    for (number, zone) in [(0, LOST), (1, SPARE)] {
        for node in names(zone) {
            bench.create(&self::node(&node, zone, number)).await?;
        }
    }
    uncordoned(bench).await?;
    for mode in ["Drain", "Kill"] {
        let (mut engine, mut hand) = (Vec::new(), Vec::new());
        // A thousand pods take the controllers half a minute each time.
        for _ in 0..if bench.rounds > 10 { 3 } else { 1 } {
            deploy(bench).await?;
            engine.push(by_engine(bench, mode).await?);
            undeploy(bench).await?;
            deploy(bench).await?;
            hand.push(by_hand(bench, mode).await?);
            undeploy(bench).await?;
        }
        let (engine, hand) = (median(&engine), median(&hand));
        let title = format!("zone of {NODES} nodes and {PODS} pods, {mode}");
        table.note(format!("{title}: firedrill, intent to effect seen"), engine, "ms");
        table.note(format!("{title}: bare, until the nodes are empty"), hand, "ms");
        table.at_most(format!("{title}: firedrill / bare"), engine / hand, (1.3, "×"));
    }
    for zone in [LOST, SPARE] {
        for node in names(zone) {
            bench.kubectl(&["delete", "node", &node, "--wait=false"]).await?;
        }
    }
    Ok(())
}

fn names(zone: &str) -> Vec<String> {
    (0..NODES).map(|number| format!("{zone}-{number}")).collect()
}

fn node(name: &str, zone: &str, order: usize) -> Value {
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "110"});
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {
            "kubernetes.io/hostname": name, "pool": "zonal", "order": order.to_string(),
            "topology.kubernetes.io/zone": zone}},
        "status": {"capacity": room, "allocatable": room}})
}

/// Makes the nodes of a zone unschedulable, or schedulable again.
async fn cordon(bench: &Bench, zone: &str, on: bool) -> Outcome {
    let patch = json!([{"op": "add", "path": "/spec/unschedulable", "value": on}]);
    bare::patch_nodes(&bench.bare, &names(zone), &patch).await?;
    Ok(())
}

/// All nodes are ready, schedulable and free of taints.
async fn uncordoned(bench: &Bench) -> Outcome {
    bench
        .until("nodes open", |snapshot| {
            [LOST, SPARE].into_iter().flat_map(names).all(|name| {
                snapshot
                    .node(&name)
                    .is_some_and(|node| node.ready && !node.unschedulable && node.taints.is_empty())
            })
        })
        .await
}

/// All pods in the zone that is to be lost.
async fn deploy(bench: &Bench) -> Outcome {
    cordon(bench, SPARE, true).await?;
    let labels = json!({"app": APP});
    bench
        .create(&json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": APP, "namespace": NAMESPACE},
            "spec": {"replicas": PODS, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "nodeSelector": {"pool": "zonal"},
                    "containers": [{"name": "app", "image": "app:1"}]}}}}))
        .await?;
    bench
        .until("pods ready", |snapshot| {
            snapshot.pods_in(NAMESPACE).filter(|pod| pod.ready && pod.node.starts_with(LOST)).count() == PODS
        })
        .await?;
    cordon(bench, SPARE, false).await?;
    uncordoned(bench).await
}

async fn undeploy(bench: &Bench) -> Outcome {
    let deployments: Api<Deployment> = Api::namespaced(bench.bare.clone(), NAMESPACE);
    deployments.delete(APP, &DeleteParams::background()).await?;
    let left = |snapshot: &firedrill::cluster::Snapshot| snapshot.pods_in(NAMESPACE).next().is_some();
    bench.until("pods gone", |snapshot| !left(snapshot)).await?;
    cordon(bench, LOST, false).await?;
    uncordoned(bench).await
}

/// Milliseconds from the intent to the last effect seen.
async fn by_engine(bench: &Bench, mode: &str) -> Outcome<f64> {
    let probe = format!(
        "  - name: pods\n    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: {APP}}}\n    \
         value: object.status.readyReplicas\n    expect: value >= 0\n"
    );
    let method = format!(
        "  - name: out\n    target: {{zone: {LOST}}}\n    zoneOutage: {{mode: {mode}}}\n    duration: 1s\n"
    );
    let ran = bench.run(&method, &probe, |_| {}, Verdict::Passed).await?;
    ran.between(
        |record| matches!(record, Record::InjectIntended { .. }),
        |record| matches!(record, Record::EffectSeen { .. }),
    )
}

/// Milliseconds until the nodes are empty.
async fn by_hand(bench: &Bench, mode: &str) -> Outcome<f64> {
    let snapshot = bench.mirror.snapshot();
    let on = |node: &String| snapshot.pods_on(node).map(|pod| pod.object.clone()).collect::<Vec<_>>();
    let pods: Vec<ObjectRef> = names(LOST).iter().flat_map(on).collect();
    let start = Instant::now();
    cordon(bench, LOST, true).await?;
    if mode == "Drain" {
        bare::evict(&bench.bare, &pods).await?;
    } else {
        bare::delete(&bench.bare, &pods, 1).await?;
    }
    bench
        .until("nodes empty", |snapshot| !snapshot.pods.values().any(|pod| pod.node.starts_with(LOST)))
        .await?;
    Ok(start.elapsed().as_secs_f64() * 1_000.0)
}
