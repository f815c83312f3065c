//! The controller as a program of its own: what it takes of memory and processor, and how soon a Run that is to end is
//! back. `tests/real/bench.sh controller` brings the cluster up.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    time::Duration,
};

use firedrill::{
    api::{self, API_VERSION},
    cluster::{Access, JsonPatch, Segments, Write},
    controller::{NAMESPACE as OWN, RunSeen, run_id},
    journal::{self, Record},
    types::ObjectRef,
};
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    abort,
    bench::{Bench, NAMESPACE, Outcome},
    figures::{Table, median, quantile},
};

/// Pods in the cluster while it is idle.
const PODS: usize = 10_000;
/// Deployments that have them.
const FILLERS: usize = 20;
/// Runs beside each other.
const BUSY: usize = 100;
/// How long processor time is counted while it is idle.
const IDLE: Duration = Duration::from_secs(60);
/// How long anything may take.
const AT_MOST: Duration = Duration::from_secs(600);
/// What an abort may take beyond one and a half times the bare patches, in milliseconds.
const BEYOND: f64 = 300.0;
/// Clock ticks a second, as /proc counts processor time (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// All of it.
pub async fn all(bench: &Bench, table: &mut Table) -> Outcome {
    installed(bench).await?;
    for filler in 0..FILLERS {
        bench.create(&program(NAMESPACE, &format!("filler-{filler:02}"), PODS / FILLERS)).await?;
    }
    bench.until("pods ready", |seen| seen.pods_in(NAMESPACE).filter(|pod| pod.ready).count() >= PODS).await?;
    let own = Controller::start(bench)?;
    sleep(Duration::from_secs(10)).await;
    idle(&own, table).await?;
    busy(bench, &own, table).await?;
    aborts(bench, table).await
}

/// What has to be in the cluster before a controller is.
pub(super) async fn installed(bench: &Bench) -> Outcome {
    for object in api::crds::crds() {
        bench.create(&object).await?;
    }
    bench.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OWN}})).await?;
    // Until the kinds are served.
    sleep(Duration::from_secs(3)).await;
    Ok(())
}

/// The program, ended with this.
pub(super) struct Controller(Child);

impl Controller {
    pub(super) fn start(bench: &Bench) -> Outcome<Self> {
        let program =
            std::env::var_os("FIREDRILL_BENCH_PROGRAM").ok_or("FIREDRILL_BENCH_PROGRAM is not set")?;
        let log = File::create(bench.folder().join("controller.log"))?;
        let mut command = Command::new(program);
        command.arg("controller").env("KUBECONFIG", bench.kubeconfig()).env("POD_NAME", "bench");
        let child = command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null()).spawn()?;
        Ok(Self(child))
    }

    /// Resident memory in MiB.
    fn resident(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// Seconds of processor time so far.
    fn processor(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // After the name, which may hold anything: state is the first, utime and stime the 12th and 13th.
        let fields: Vec<&str> =
            stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace().skip(11).take(2).collect();
        Ok(fields.iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn idle(own: &Controller, table: &mut Table) -> Outcome {
    let before = own.processor()?;
    sleep(IDLE).await;
    let share = (own.processor()? - before) / IDLE.as_secs_f64() * 100.0;
    table.at_most(format!("controller, idle, {PODS} pods in the cluster: of a core"), share, (1.0, "%"));
    table.at_most("the same: resident".to_owned(), own.resident()?, (64.0, "MiB"));
    Ok(())
}

fn program(namespace: &str, name: &str, replicas: usize) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": "app:1"}]}}}})
}

/// The account that Runs of a namespace act as. Its rights are not what is measured.
pub(super) async fn account(bench: &Bench, namespace: &str) -> Outcome {
    let metadata = json!({"name": "firedrill", "namespace": namespace});
    bench.create(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await?;
    bench
        .create(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("bench-{namespace}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "firedrill", "namespace": namespace}]}))
        .await
}

pub(super) fn experiment(namespace: &str, steady: &Value, step: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": "bench", "namespace": namespace},
        "spec": {"hypothesis": "It is quick.", "steadyState": [steady], "baseline": {"duration": "1s"},
            "method": [step], "objectives": {"stableFor": "1s", "recoverWithin": "2m"},
            "limits": {"pods": "100%", "nodes": "100%", "duration": "30m"}}})
}

pub(super) async fn begin(access: &Access, namespace: &str, name: &str) -> Outcome<ObjectRef> {
    let mut run = ObjectRef::namespaced(API_VERSION, "Run", namespace, name);
    let body = json!({"apiVersion": API_VERSION, "kind": "Run",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"experimentRef": {"name": "bench"}}});
    run.uid = access.create(&run, body, Write::default()).await?.metadata.uid.unwrap_or_default();
    Ok(run)
}

/// As many runs as there may be at once, each with its own namespace.
async fn busy(bench: &Bench, own: &Controller, table: &mut Table) -> Outcome {
    let spaces: Vec<String> = (0..BUSY).map(|number| format!("busy-{number:03}")).collect();
    for space in &spaces {
        bench
            .create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata":
                {"name": space, "labels": {"firedrill.dev/allowed": "true"}}}))
            .await?;
        account(bench, space).await?;
        bench.create(&program(space, "web", 2)).await?;
        let steady = json!({"name": "ready", "kubernetes": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "value": "object.status.readyReplicas", "expect": "value >= 2.0", "during": "true", "every": "1s"});
        let step = json!({"name": "shrink", "target": {"workload": "deployment/web"}, "scale": {"replicas": 1},
            "duration": "60s"});
        bench.create(&experiment(space, &steady, &step)).await?;
    }
    bench
        .until("pods ready", |seen| {
            spaces.iter().all(|space| seen.pods_in(space).filter(|pod| pod.ready).count() == 2)
        })
        .await?;
    let access = Access::new(bench.bare.clone());
    for space in &spaces {
        begin(&access, space, "bench").await?;
    }
    let (mut most, mut together, begun) = (0.0_f64, 0, Instant::now());
    let like = ObjectRef::namespaced(API_VERSION, "Run", "", "");
    loop {
        most = most.max(own.resident()?);
        let runs: Vec<RunSeen> = access.list(&like, "").await?.iter().filter_map(RunSeen::read).collect();
        let in_force = runs.iter().filter(|run| run.finalizer && !run.over()).count();
        together = together.max(in_force);
        if runs.len() == BUSY && runs.iter().all(RunSeen::over) {
            let wrong = runs.iter().find(|run| run.status["verdict"] != "Passed");
            if let Some(wrong) = wrong {
                return Err(format!("{}: {}", wrong.key(), wrong.status).into());
            }
            break;
        }
        if begun.elapsed() >= AT_MOST {
            return Err("the runs are not over".into());
        }
        sleep(Duration::from_millis(500)).await;
    }
    if together < BUSY {
        return Err(format!("{together} of {BUSY} runs were at work at once").into());
    }
    table.at_most(format!("controller with {together} runs at once: resident"), most, (200.0, "MiB"));
    Ok(())
}

/// What ends a run.
#[derive(Clone, Copy, Debug)]
enum End {
    Abort,
    Halt,
    Violation,
}

/// From asking for the end to the last verified revert of a hundred nodes, and the same patches sent bare.
async fn aborts(bench: &Bench, table: &mut Table) -> Outcome {
    let names = abort::make_pool(bench).await?;
    account(bench, NAMESPACE).await?;
    let steady = json!({"name": "switch", "kubernetes": {"apiVersion": "v1", "kind": "ConfigMap", "name": "switch"},
        "value": "1", "expect": "object.data.on == \"yes\"", "for": "0s", "every": "1s"});
    let step = json!({"name": "drain", "target": {"nodes": {"matchLabels": {"pool": "abort"}}, "count": abort::NODES},
        "nodeDrain": {}, "duration": "10m"});
    bench.create(&experiment(NAMESPACE, &steady, &step)).await?;
    let mut hand = Vec::new();
    for _ in 0..bench.rounds {
        hand.push(abort::by_hand(bench, &names[..abort::NODES]).await?);
        abort::settled(bench, &names).await?;
    }
    for (share, what) in [(0.5, "median"), (0.99, "p99")] {
        table.note(format!("100 nodes put back by bare patches, {what}"), quantile(&hand, share), "ms");
    }
    for end in [End::Abort, End::Halt, End::Violation] {
        let mut took = Vec::new();
        for round in 0..bench.rounds {
            took.push(ended(bench, end, round).await?);
            abort::settled(bench, &names).await?;
        }
        let what = format!("controller: {end:?} to the last revert of 100 nodes");
        for (share, word) in [(0.5, "median"), (0.99, "p99")] {
            let most = quantile(&hand, share) * 1.5 + BEYOND;
            table.at_most(format!("{what}, {word} of {}", took.len()), quantile(&took, share), (most, "ms"));
        }
        table.note(format!("{what}: ratio of medians"), median(&took) / median(&hand), "×");
    }
    Ok(())
}

async fn ended(bench: &Bench, end: End, round: usize) -> Outcome<f64> {
    let access = Access::new(bench.bare.clone());
    let run = begin(&access, NAMESPACE, &format!("{end:?}-{round}").to_lowercase()).await?;
    bench
        .until("the nodes are closed", |seen| {
            seen.nodes.values().filter(|node| node.unschedulable && !node.taints.is_empty()).count()
                == abort::NODES
        })
        .await?;
    // What is seen of it is written down, and the controllers' answers are over.
    sleep(Duration::from_secs(3)).await;
    let asked = Timestamp::now();
    let button = ObjectRef::namespaced(API_VERSION, "Guardrail", "", "halt");
    match end {
        End::Abort => {
            let patch = JsonPatch::new().add("/spec/abort", true);
            access.patch(&run, None, &patch, Write::default()).await?;
        }
        End::Halt => {
            let body = json!({"apiVersion": API_VERSION, "kind": "Guardrail", "metadata": {"name": "halt"},
                "spec": {"halt": true, "haltReason": "bench"}});
            access.create(&button, body, Write::default()).await?;
        }
        End::Violation => abort::turn(&bench.bare, "no").await?,
    }
    let begun = Instant::now();
    let entries = loop {
        let seen = RunSeen::read(&access.get(&run).await?).ok_or("no Run")?;
        if ["Recovering", "Finished"].contains(&seen.status["phase"].as_str().unwrap_or_default()) {
            // Recovering is not what is measured.
            abort::turn(&bench.bare, "yes").await?;
        }
        if seen.over() && !seen.finalizer {
            let bytes = Segments::bytes(&access, OWN, &run_id(&run)).await?;
            break journal::decode(&bytes)?.0;
        }
        if begun.elapsed() >= AT_MOST {
            return Err(format!("{} is not over: {}", seen.key(), seen.status).into());
        }
        sleep(Duration::from_millis(200)).await;
    };
    if matches!(end, End::Halt) {
        take_away(&bench.bare, &button).await?;
    }
    let reverts: Vec<Timestamp> = entries
        .iter()
        .filter(|entry| matches!(entry.record, Record::Reverted { .. }))
        .map(|entry| entry.at)
        .collect();
    if reverts.len() != abort::NODES {
        return Err(format!("{} of {} were reverted", reverts.len(), abort::NODES).into());
    }
    // From the sample that violates, as its journal has it.
    let violated = entries.iter().find(|entry| matches!(entry.record, Record::Violated { .. }));
    let from = violated.map_or(asked, |entry| entry.at);
    let last = reverts.iter().max().ok_or("nothing was reverted")?;
    Ok(last.duration_since(from).as_secs_f64() * 1_000.0)
}

async fn take_away(client: &Client, object: &ObjectRef) -> Outcome {
    Access::new(client.clone()).api(object).delete(&object.name, &Default::default()).await?;
    // Until every watch has seen it.
    sleep(Duration::from_secs(1)).await;
    Ok(())
}
