//! A Run of 6,000 targets by the controller, and the same patches sent bare. `tests/real/bench.sh targets` brings up a
//! control plane that believes nodes to be well that nobody keeps.

use std::time::Duration;

use firedrill::{
    cluster::{Access, Segments},
    controller::{NAMESPACE as OWN, RunSeen, run_id},
    journal::{self, Entry, Record},
};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    bare,
    bench::{Bench, NAMESPACE, Outcome},
    controller::{Controller, account, begin, experiment, installed},
    figures::{Table, median},
};

/// Nodes that are tainted.
const NODES: usize = 6_000;
/// Nodes in all; those that are left keep each zone alive.
const POOL: usize = NODES + 6;
/// Seconds that it is held.
const HELD: f64 = 5.0;
/// What a status may take (design: etcd and watches bear no more).
const STATUS: f64 = 32.0;
/// How long anything may take.
const AT_MOST: Duration = Duration::from_secs(600);

/// All of it.
pub async fn all(bench: &Bench, table: &mut Table) -> Outcome {
    installed(bench).await?;
    account(bench, NAMESPACE).await?;
    let names: Vec<String> = (0..POOL).map(|number| format!("many-{number:04}")).collect();
    let made = stream::iter(names.iter().enumerate());
    let made = made.map(|(number, name)| async move { bench.create(&node(number, name)).await });
    for result in made.buffer_unordered(bare::IN_FLIGHT).collect::<Vec<_>>().await {
        result?;
    }
    untainted(bench).await?;
    let steady = json!({"name": "there", "kubernetes": {"apiVersion": "v1", "kind": "Namespace", "name": NAMESPACE},
        "value": "1", "expect": "true"});
    let step = json!({"name": "taint", "target": {"nodes": {"matchLabels": {"pool": "many"}}, "count": NODES},
        "nodeTaint": {"taint": {"key": "drill", "value": "yes", "effect": "NoSchedule"}}, "duration": format!("{HELD}s")});
    bench.create(&experiment(NAMESPACE, &steady, &step)).await?;
    let _own = Controller::start(bench)?;
    let rounds = bench.rounds.clamp(3, 5);
    let (mut there, mut back, mut bare_there, mut bare_back) = (vec![], vec![], vec![], vec![]);
    let mut largest = 0;
    for round in 0..rounds {
        let (out, home) = by_hand(bench, &names[..NODES]).await?;
        bare_there.push(out);
        bare_back.push(home);
        untainted(bench).await?;
        let (entries, status) = by_controller(bench, round).await?;
        let intended = entries.iter().find(|entry| matches!(entry.record, Record::InjectIntended { .. }));
        let begun = intended.ok_or("nothing was intended")?.at;
        let seen = last(&entries, |record| matches!(record, Record::EffectSeen { .. }))?;
        let reverted = last(&entries, |record| matches!(record, Record::Reverted { .. }))?;
        there.push(seen.duration_since(begun).as_secs_f64() * 1_000.0);
        // The step is over so long after the last was seen.
        back.push((reverted.duration_since(seen).as_secs_f64() - HELD) * 1_000.0);
        println!(
            "  round {round}: bare {out:.0} and {home:.0} ms, a Run {:.0} and {:.0} ms",
            there[round], back[round]
        );
        largest = largest.max(status);
        untainted(bench).await?;
    }
    for (what, mine, bare) in [("in force", &there, &bare_there), ("reverted", &back, &bare_back)] {
        let (mine, bare) = (median(mine), median(bare));
        table.note(format!("{NODES} nodes by bare patches, {what}, median of {rounds}"), bare, "ms");
        let title = format!("{NODES} nodes by the controller, {what}, median of {rounds}");
        table.at_most(title, mine, (bare * 1.5, "ms"));
        table.note(format!("{NODES} nodes, {what}: ratio of medians"), mine / bare, "×");
    }
    table.at_most("status of a Run of 6,000 targets, the largest", largest as f64 / 1024.0, (STATUS, "KiB"));
    Ok(())
}

fn node(number: usize, name: &str) -> Value {
    let (room, now) = (json!({"cpu": "4", "memory": "8Gi", "pods": "10"}), Timestamp::now().to_string());
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "pool": "many", "firedrill.dev/allowed": "true",
            "topology.kubernetes.io/zone": (["a", "b", "c"][number % 3])}},
        "status": {"capacity": room, "allocatable": room, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Bench", "message": "nobody keeps it",
             "lastHeartbeatTime": now, "lastTransitionTime": now}]}})
}

async fn untainted(bench: &Bench) -> Outcome {
    bench
        .until("nodes ready and free of taints", |seen| {
            let many =
                seen.nodes.values().filter(|node| node.labels.get("pool").is_some_and(|p| p == "many"));
            many.filter(|node| node.ready && node.taints.is_empty()).count() == POOL
        })
        .await
}

/// Milliseconds until the last was tainted, and until the last was as before: the same operations as the engine's.
async fn by_hand(bench: &Bench, names: &[String]) -> Outcome<(f64, f64)> {
    let change = json!([
        {"op": "add", "path": "/spec/taints", "value": [{"key": "drill", "value": "yes", "effect": "NoSchedule"}]},
        {"op": "add", "path": "/metadata/labels/bench", "value": "bare"},
        {"op": "add", "path": "/metadata/annotations/bench", "value": "bare"}]);
    let there = bare::patch_nodes(&bench.bare, names, &change).await?.1;
    let back = json!([
        {"op": "test", "path": "/spec/taints/0/key", "value": "drill"},
        {"op": "remove", "path": "/spec/taints"},
        {"op": "remove", "path": "/metadata/annotations/bench"},
        {"op": "remove", "path": "/metadata/labels/bench"}]);
    Ok((there, bare::patch_nodes(&bench.bare, names, &back).await?.1))
}

/// What the Run's journal says, and how many bytes its status took at the most.
async fn by_controller(bench: &Bench, round: usize) -> Outcome<(Vec<Entry>, usize)> {
    let access = Access::new(bench.bare.clone());
    let run = begin(&access, NAMESPACE, &format!("many-{round}")).await?;
    let (begun, mut largest) = (Instant::now(), 0);
    loop {
        let seen = RunSeen::read(&access.get(&run).await?).ok_or("no Run")?;
        largest = largest.max(seen.status.to_string().len());
        if seen.over() && !seen.finalizer {
            if seen.status["verdict"] != "Passed" {
                return Err(format!("{}: {}", seen.key(), seen.status).into());
            }
            let bytes = Segments::bytes(&access, OWN, &run_id(&run)).await?;
            return Ok((journal::decode(&bytes)?.0, largest));
        }
        if begun.elapsed() >= AT_MOST {
            return Err(format!("{} is not over: {}", seen.key(), seen.status).into());
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// When the last of as many as there are targets was written down.
fn last(entries: &[Entry], of: impl Fn(&Record) -> bool) -> Outcome<Timestamp> {
    let times: Vec<Timestamp> =
        entries.iter().filter(|entry| of(&entry.record)).map(|entry| entry.at).collect();
    if times.len() != NODES {
        return Err(format!("{} records of {NODES}", times.len()).into());
    }
    times.into_iter().max().ok_or_else(|| "nothing was done".into())
}
