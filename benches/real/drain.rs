//! A node drained: by the engine, by the same evictions sent bare, by `kubectl drain`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use firedrill::{
    cluster::Mirror,
    journal::Record,
    types::{ObjectRef, Verdict},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    bare,
    bench::{Bench, NAMESPACE, Outcome, Ran, count},
    figures::{Table, median},
};

const NODE: &str = "kwok-0";
const APP: &str = "drained";
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Measures nothing but whether it is there.
fn probe() -> String {
    format!(
        "  - name: pods\n    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: {APP}}}\n    \
         value: object.status.readyReplicas\n    expect: value >= 0\n"
    )
}

fn method() -> String {
    format!(
        "  - name: drain\n    target: {{nodes: {{matchLabels: {{kubernetes.io/hostname: {NODE}}}}}, count: 1}}\n    \
         nodeDrain: {{}}\n    duration: 1s\n"
    )
}

fn on_node(bench: &Bench) -> Vec<ObjectRef> {
    bench.mirror.snapshot().pods_on(NODE).map(|pod| pod.object.clone()).collect()
}

/// Milliseconds of the whole, from intent to effect seen, and of the fault alone.
async fn by_engine(bench: &Bench) -> Outcome<(f64, f64, Ran)> {
    let ran = bench.run(&method(), &probe(), |_| {}, Verdict::Passed).await?;
    let intended = |record: &Record| matches!(record, Record::InjectIntended { .. });
    let whole = ran.between(intended, |record| matches!(record, Record::EffectSeen { .. }))?;
    let fault = ran.between(intended, |record| matches!(record, Record::Injected { .. }))?;
    Ok((whole, fault, ran))
}

/// Milliseconds until all is answered, and until the node is empty.
async fn by_hand(bench: &Bench) -> Outcome<(f64, f64)> {
    let pods = on_node(bench);
    let start = Instant::now();
    // Without this the replacements would come back to the node.
    bare::patch_nodes(
        &bench.bare,
        &[NODE.to_owned()],
        &json!([{"op": "add", "path": "/spec/unschedulable", "value": true}]),
    )
    .await?;
    bare::evict(&bench.bare, &pods).await?;
    let answered = start.elapsed().as_secs_f64() * 1_000.0;
    bench.until("node empty", |snapshot| snapshot.pods_on(NODE).next().is_none()).await?;
    Ok((answered, start.elapsed().as_secs_f64() * 1_000.0))
}

async fn by_kubectl(bench: &Bench) -> Outcome<f64> {
    let seconds = bench.kubectl(&["drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data"]).await?;
    Ok(seconds * 1_000.0)
}

/// 110 pods, no budget.
pub async fn free(bench: &Bench, table: &mut Table) -> Outcome {
    const PODS: usize = 110;
    let (mut engine, mut fault, mut hand) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..3 {
        bench.deploy(APP, PODS, Some(NODE)).await?;
        let (whole, alone, ran) = by_engine(bench).await?;
        bench.undeploy(APP).await?;
        engine.push(whole);
        fault.push(alone);
        last = Some(ran);
        bench.deploy(APP, PODS, Some(NODE)).await?;
        hand.push(by_hand(bench).await?.1);
        bench.undeploy(APP).await?;
    }
    bench.deploy(APP, PODS, Some(NODE)).await?;
    let kubectl = by_kubectl(bench).await?;
    bench.undeploy(APP).await?;
    let (engine, hand) = (median(&engine), median(&hand));
    table.note("drain of 110 pods: firedrill, intent to effect seen", engine, "ms");
    table.note("drain of 110 pods: firedrill, the fault alone", median(&fault), "ms");
    table.note("drain of 110 pods: bare, until the node is empty", hand, "ms");
    table.note("drain of 110 pods: kubectl drain", kubectl, "ms");
    table.at_most("drain of 110 pods: firedrill / bare", engine / hand, (1.5, "×"));
    table.at_least("drain of 110 pods: kubectl / firedrill", kubectl / engine, (8.0, "×"));
    match last {
        Some(ran) => told_by_audit(bench, &ran, table, PODS),
        None => Ok(()),
    }
}

/// What the engine asked for in all, from its first record to its last.
fn told_by_audit(bench: &Bench, ran: &Ran, table: &mut Table, pods: usize) -> Outcome {
    let (Some(first), Some(last)) = (ran.entries.first(), ran.entries.last()) else { return Ok(()) };
    // The lease is released after the last record.
    let end = last.at + std::time::Duration::from_secs(1);
    let Some(calls) = bench.calls(first.at, end)? else { return Ok(()) };
    eprintln!("  calls of the run: {calls:?}");
    // Before it each probe that can see changes lists what it watches, once.
    let intent = ran.times(|record| matches!(record, Record::InjectIntended { .. }));
    let after = bench.calls(*intent.first().ok_or("no intent")?, end)?.unwrap_or_default();
    let most = (pods + 20) as f64;
    table.at_most("drain of 110 pods: writes of the run", count(&calls, &WRITES) as f64, (most, "calls"));
    table.at_most(
        "drain of 110 pods: LISTs from the intent on",
        count(&after, &["list"]) as f64,
        (0.0, "calls"),
    );
    table.note("drain of 110 pods: GETs of the run", count(&calls, &["get"]) as f64, "calls");
    Ok(())
}

/// 50 pods under one budget of 5.
pub async fn budget(bench: &Bench, table: &mut Table) -> Outcome {
    const PODS: usize = 50;
    bench
        .create(&json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": APP, "namespace": NAMESPACE},
            "spec": {"maxUnavailable": 5, "selector": {"matchLabels": {"app": APP}}}}))
        .await?;
    let mut engine = Vec::new();
    let mut least = PODS;
    for _ in 0..3 {
        bench.deploy(APP, PODS, Some(NODE)).await?;
        observed(bench, 5).await?;
        let ready = LeastReady::watch(&bench.mirror);
        engine.push(by_engine(bench).await?.0);
        least = least.min(ready.stop());
        bench.undeploy(APP).await?;
    }
    bench.deploy(APP, PODS, Some(NODE)).await?;
    observed(bench, 5).await?;
    let ready = LeastReady::watch(&bench.mirror);
    let kubectl = by_kubectl(bench).await?;
    table.note(
        "drain of 50 pods under a budget of 5: fewest ready with kubectl",
        ready.stop() as f64,
        "pods",
    );
    bench.undeploy(APP).await?;
    let engine = median(&engine);
    table.note("drain of 50 pods under a budget of 5: firedrill", engine, "ms");
    table.note("drain of 50 pods under a budget of 5: kubectl drain", kubectl, "ms");
    table.at_least("drain of 50 pods under a budget of 5: kubectl / firedrill", kubectl / engine, (3.0, "×"));
    table.at_least("drain of 50 pods under a budget of 5: fewest ready", least as f64, (45.0, "pods"));
    bench.kubectl(&["delete", "pdb", APP, "--namespace", NAMESPACE]).await?;
    Ok(())
}

/// Waits until the budget counts all pods.
async fn observed(bench: &Bench, allowed: i32) -> Outcome {
    bench
        .until("the budget allows", |snapshot| {
            snapshot
                .pdbs
                .values()
                .any(|pdb| pdb.object.namespace == NAMESPACE && pdb.observed && pdb.allowed >= allowed)
        })
        .await
}

/// The fewest pods that were ready and not on their way out at any moment.
struct LeastReady {
    least: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl LeastReady {
    fn watch(mirror: &Mirror) -> Self {
        let this = Self { least: Arc::new(AtomicUsize::new(usize::MAX)), stopped: Arc::default() };
        let (least, stopped, mut mirror) = (this.least.clone(), this.stopped.clone(), mirror.clone());
        tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let snapshot = mirror.snapshot();
                let ready = snapshot.pods_in(NAMESPACE).filter(|pod| pod.ready && !pod.terminating).count();
                least.fetch_min(ready, Ordering::Relaxed);
                mirror.changed().await;
            }
        });
        this
    }

    fn stop(self) -> usize {
        self.stopped.store(true, Ordering::Relaxed);
        self.least.load(Ordering::Relaxed)
    }
}
