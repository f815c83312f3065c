//! An abort with 100 objects changed, and the same patches sent bare.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use firedrill::{
    journal::{Entry, Record},
    types::Verdict,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    bare,
    bench::{Bench, NAMESPACE, Outcome},
    figures::{Table, median, quantile},
};

/// Objects changed: what can be changed a hundred at a time with one step are nodes.
pub const NODES: usize = 100;
/// Nodes of the pool in all; those that are left keep each zone alive.
const POOL: usize = 106;
const SWITCH: &str = "switch";

/// From the sample that completes the violation to the last verified revert.
pub async fn nodes(bench: &Bench, table: &mut Table) -> Outcome {
    let names = make_pool(bench).await?;
    let (mut engine, mut hand) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        engine.push(by_engine(bench).await?);
        turn(&bench.bare, "yes").await?;
        settled(bench, &names).await?;
        hand.push(by_hand(bench, &names[..NODES]).await?);
        settled(bench, &names).await?;
    }
    for name in &names {
        bench.kubectl(&["delete", "node", name, "--wait=false"]).await?;
    }
    for (what, share) in [("median", 0.5), ("p99", 0.99)] {
        let (mine, bare) = (quantile(&engine, share), quantile(&hand, share));
        table.note(format!("abort with 100 nodes changed, {what}: bare patches"), bare, "ms");
        let title =
            format!("abort with 100 nodes changed, {what} of {}: violation to last revert", engine.len());
        table.at_most(title, mine, (bare * 1.5 + 200.0, "ms"));
    }
    table.note("abort with 100 nodes changed: ratio of medians", median(&engine) / median(&hand), "×");
    Ok(())
}

/// The nodes, and what the probe looks at: their names, once they are settled.
pub async fn make_pool(bench: &Bench) -> Outcome<Vec<String>> {
    let names: Vec<String> = (0..POOL).map(|number| format!("abort-{number:03}")).collect();
    for (number, name) in names.iter().enumerate() {
        bench.create(&node(number, name)).await?;
    }
    make_switch(bench).await?;
    settled(bench, &names).await?;
    Ok(names)
}

/// What the probe looks at.
pub async fn make_switch(bench: &Bench) -> Outcome {
    let metadata = json!({"name": SWITCH, "namespace": NAMESPACE});
    bench
        .create(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"on": "yes"}, "metadata": metadata}),
        )
        .await
}

/// A probe that is violated once the switch is off.
pub fn probe() -> String {
    format!(
        "  - name: switch\n    kubernetes: {{apiVersion: v1, kind: ConfigMap, name: {SWITCH}}}\n    \
         value: '1'\n    expect: object.data.on == \"yes\"\n    during: object.data.on == \"yes\"\n    for: 0s\n"
    )
}

fn node(number: usize, name: &str) -> Value {
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "10"});
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {
            "kubernetes.io/hostname": name, "pool": "abort", "firedrill.dev/allowed": "true",
            "topology.kubernetes.io/zone": (["a", "b", "c"][number % 3])}},
        "status": {"capacity": room, "allocatable": room}})
}

/// All ready and free of taints.
pub async fn settled(bench: &Bench, names: &[String]) -> Outcome {
    bench
        .until("nodes settled", |snapshot| {
            names.iter().all(|name| {
                snapshot
                    .node(name)
                    .is_some_and(|node| node.ready && !node.unschedulable && node.taints.is_empty())
            })
        })
        .await
}

/// Turns it on or off.
pub async fn turn(client: &Client, on: &str) -> Outcome {
    let switches: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    switches.patch(SWITCH, &PatchParams::default(), &Patch::Merge(json!({"data": {"on": on}}))).await?;
    Ok(())
}

async fn by_engine(bench: &Bench) -> Outcome<f64> {
    let method = format!(
        "  - name: drain\n    target: {{nodes: {{matchLabels: {{pool: abort}}}}, count: {NODES}}}\n    \
         nodeDrain: {{}}\n    duration: 10m\n"
    );
    let seen = AtomicUsize::new(0);
    let (client, runtime) = (bench.bare.clone(), tokio::runtime::Handle::current());
    let violated: Arc<std::sync::Mutex<Option<String>>> = Arc::default();
    let trouble = violated.clone();
    let watch = move |entry: &Entry| {
        if matches!(entry.record, Record::EffectSeen { .. })
            && seen.fetch_add(1, Ordering::Relaxed) + 1 == NODES
        {
            let (client, trouble) = (client.clone(), trouble.clone());
            runtime.spawn(async move {
                // The controllers answer a cordon with a taint; they are not to be in the way.
                tokio::time::sleep(Duration::from_secs(3)).await;
                if let Err(error) = turn(&client, "no").await {
                    *trouble.lock().expect("nothing panics while holding it") = Some(error.to_string());
                }
            });
        }
        // Recovering is not what is measured.
        if matches!(entry.record, Record::AllReverted { .. }) {
            let client = client.clone();
            runtime.spawn(async move {
                let _ = turn(&client, "yes").await;
            });
        }
    };
    let ran = bench.run(&method, &probe(), watch, Verdict::Failed).await?;
    if let Some(error) = violated.lock().expect("nothing panics while holding it").take() {
        return Err(error.into());
    }
    let reverted = ran.times(|record| matches!(record, Record::Reverted { .. })).len();
    if reverted != NODES {
        return Err(format!("{reverted} of {NODES} were reverted").into());
    }
    ran.between(
        |record| matches!(record, Record::Violated { .. }),
        |record| matches!(record, Record::Reverted { .. }),
    )
}

/// The patches that an uncordon comes down to: the same operations as the engine's.
pub async fn by_hand(bench: &Bench, names: &[String]) -> Outcome<f64> {
    let change = json!([
        {"op": "add", "path": "/spec/unschedulable", "value": true},
        {"op": "add", "path": "/metadata/labels/bench", "value": "bare"},
        {"op": "add", "path": "/metadata/annotations/bench", "value": "bare"}]);
    bare::patch_nodes(&bench.bare, names, &change).await?;
    bench
        .until("taints follow", |snapshot| {
            names.iter().all(|name| snapshot.node(name).is_some_and(|node| !node.taints.is_empty()))
        })
        .await?;
    let back = json!([
        {"op": "test", "path": "/spec/unschedulable", "value": true},
        {"op": "remove", "path": "/spec/unschedulable"},
        {"op": "remove", "path": "/metadata/annotations/bench"},
        {"op": "remove", "path": "/metadata/labels/bench"}]);
    Ok(bare::patch_nodes(&bench.bare, names, &back).await?.1)
}
