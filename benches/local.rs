//! What firedrill takes by itself, without a cluster: `cargo bench --bench local`.
//!
//! Prints each figure beside its target. Nothing fails here: a busy machine is no bug.
#![allow(clippy::disallowed_types, reason = "real time is measured, also while tokio's stands still")]

mod figures;
mod loads;
mod noise;
mod traffic;

use std::{
    collections::BTreeSet,
    error::Error,
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use figures::{Table, load, median, ms};
use firedrill::{
    api::{self, Experiment, SourceText, check::Document},
    cluster::{Mirror, Scope, Snapshot},
    engine::State,
    env::{DirStorage, Rng, Storage},
    journal::{self, Environment, Header, Record, SampleState, Writer},
    plan::{self, Bounds, Consent, Setting},
    probes::slo::eprocess::Test,
    sim::{SimConfig, cluster::Cluster},
    types::{Epoch, RunId},
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The program itself.
const PROGRAM: &str = env!("CARGO_BIN_EXE_firedrill");

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    // `cargo test --benches` starts it too, without this: it is no test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    // `cargo bench --bench local -- loads` measures those only, and so does `-- traffic`.
    let only = |what: &str| std::env::args().any(|argument| argument == what);
    let before = load();
    let folder = tempfile::tempdir()?;
    let mut table = Table::default();
    if only("loads") || only("traffic") {
        if only("loads") {
            loads::all(&mut table)?;
        } else {
            traffic::all(&mut table, folder.path())?;
        }
        println!("\nload {before} before, {} after\n\n{table}", load());
        return Ok(());
    }
    program(&mut table)?;
    check(&mut table, folder.path())?;
    plans(&mut table)?;
    journals(&mut table, folder.path())?;
    objectives(&mut table);
    rehearsal(&mut table, folder.path())?;
    traffic::all(&mut table, folder.path())?;
    thousand(&mut table, folder.path())?;
    loads::all(&mut table)?;
    println!("\nload {before} before, {} after\n\n{table}", load());
    Ok(())
}

/// Milliseconds that each of `times` calls takes.
fn timed<T>(times: usize, mut work: impl FnMut() -> T) -> Vec<f64> {
    let one = |_| {
        let start = Instant::now();
        std::hint::black_box(work());
        ms(start.elapsed())
    };
    (0..times).map(one).collect()
}

/// Milliseconds that the program takes with these arguments, each of `times` times.
fn spawned(times: usize, arguments: &[&str], expected: i32) -> Outcome<Vec<f64>> {
    let mut all = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        let output = Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output()?;
        all.push(ms(start.elapsed()));
        if output.status.code() != Some(expected) {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("firedrill {arguments:?} ended with {}: {said}", output.status).into());
        }
    }
    Ok(all)
}

fn program(table: &mut Table) -> Outcome {
    table.at_most("--help, median of 20", median(&spawned(20, &["--help"], 0)?), (10.0, "ms"));
    let bytes = std::fs::metadata(PROGRAM)?.len();
    table.at_most("size of the program", bytes as f64 / 1e6, (25.0, "MB"));
    Ok(())
}

/// A file of 40 steps and 20 probes, with CEL and PromQL in each probe.
fn large_file() -> String {
    let mut text = "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\n\
        metadata: {name: large, namespace: shop}\nspec:\n  hypothesis: It is read quickly.\n  steadyState:\n"
        .to_owned();
    for probe in 0..20 {
        let _ = write!(
            text,
            "  - name: probe-{probe}\n    prometheus:\n      query: |\n        \
             sum(rate(http_requests_total{{app=\"app-{probe}\",code!~\"5..\"}}[1m]))\n          \
             / sum(rate(http_requests_total{{app=\"app-{probe}\"}}[1m]))\n    \
             expect: value >= 0.99 && value <= 1.0\n    during: value >= 0.95 || baseline.mean < 0.9\n"
        );
    }
    text.push_str("  method:\n");
    for step in 0..20 {
        let _ = write!(
            text,
            "  - name: kill-{step}\n    target: {{pods: {{matchLabels: {{app: app-{step}}}}}, count: 50%}}\n    \
             podKill: {{gracePeriod: 0s}}\n  - name: held-{step}\n    \
             check: {{probe: probe-{step}, expect: value >= 0.9, within: 1m}}\n"
        );
    }
    text
}

/// The first experiment of a text that `check` accepts.
fn experiment(text: &str) -> Outcome<(Experiment, Value)> {
    let read = api::read(&[SourceText::new("bench.yaml", text)]);
    if let Some(finding) = read.findings.iter().find(|finding| finding.is_error()) {
        return Err(format!("{finding:?}").into());
    }
    for accepted in read.documents {
        if let Document::Experiment(experiment) = accepted.document {
            return Ok((*experiment, accepted.json));
        }
    }
    Err("there is no experiment in it".into())
}

fn check(table: &mut Table, folder: &Path) -> Outcome {
    let text = large_file();
    experiment(&text)?;
    let file = folder.join("large.yaml");
    std::fs::write(&file, &text)?;
    let file = file.to_string_lossy();
    let whole = median(&spawned(10, &["check", &file], 0)?);
    table.at_most("check of 40 steps and 20 probes, the whole program", whole, (100.0, "ms"));
    let own = timed(20, || api::read(&[SourceText::new("large.yaml", text.as_str())]));
    table.at_most("check of 40 steps and 20 probes, again in one process", median(&own), (100.0, "ms"));
    Ok(())
}

/// Nodes in three zones, and Deployments of twenty with a Service and traffic each.
fn manifests(nodes: usize, deployments: usize) -> Vec<Value> {
    let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata":
        {"name": "shop", "labels": {"firedrill.dev/allowed": "true"}}})];
    for node in 0..nodes {
        let room = json!({"cpu": "16", "memory": "64Gi", "pods": "110"});
        objects.push(json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("node-{node:03}"), "labels": {
                "kubernetes.io/hostname": format!("node-{node:03}"), "pool": "general",
                "topology.kubernetes.io/zone": (["a", "b", "c"][node % 3])}},
            "status": {"capacity": room, "allocatable": room}}));
    }
    for number in 0..deployments {
        let name = format!("app-{number:02}");
        let labels = json!({"app": name});
        // 200 requests a second at the first, a trickle at the others.
        let load = if number == 0 { "200" } else { "4" };
        objects.push(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop",
                "labels": labels, "annotations": {"sim.firedrill.dev/offered-load": load}},
            "spec": {"selector": labels, "ports": [{"port": 80}]}}),
        );
        objects.push(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "spec": {"replicas": 20, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "app:1",
                    "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}}}]}}}}));
    }
    objects
}

/// What a real mirror sees of a cluster with 2,000 pods.
fn snapshot() -> Outcome<Snapshot> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let cluster = Cluster::start(&SimConfig::default(), &manifests(100, 100)).map_err(|s| s.message)?;
        cluster.settle(Duration::from_secs(600)).await.map_err(|waiting| waiting.join(", "))?;
        let mirror = Mirror::start(&cluster.sim().client(), &Scope::Cluster).await?;
        Ok(mirror.snapshot())
    })
}

fn plans(table: &mut Table) -> Outcome {
    let snapshot = snapshot()?;
    let half = "- name: half\n    target: {pods: {matchExpressions: [{key: app, operator: Exists}]}, count: 50%}\n    \
        podKill: {gracePeriod: 0s}";
    let drain = "- name: drain\n    target: {nodes: {matchLabels: {pool: general}}, count: 50}\n    \
        nodeDrain: {}\n    duration: 1m";
    for (name, step) in
        [("plan of 1,000 pods to kill", half), ("plan of 50 nodes and 1,000 pods to evict", drain)]
    {
        let text = format!(
            "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: plan, namespace: shop}}\n\
             spec:\n  hypothesis: It is planned quickly.\n  steadyState:\n  - name: up\n    \
             prometheus: {{query: up}}\n    expect: value == 1.0\n  method:\n  {step}\n  \
             limits: {{pods: 100%, nodes: 100%}}\n"
        );
        let (experiment, _) = experiment(&text)?;
        let bounds = Bounds::new(&experiment.spec.limits, &[]);
        let consent = Consent::default();
        let setting = Setting {
            now: Timestamp::UNIX_EPOCH,
            namespace: "shop",
            snapshot: &snapshot,
            rng: Rng::new(7),
            consent: &consent,
            bounds: &bounds,
            image: firedrill::types::IMAGE,
            agents: &firedrill::types::AgentSettings::default(),
            until: Timestamp::MAX,
        };
        let planned = plan::plan("plan", &experiment.spec, &setting);
        let pods: BTreeSet<_> = planned.injections.iter().flat_map(|one| &one.displaced).collect();
        let found = planned.injections.len() + pods.len();
        if found < 1_000 {
            return Err(format!("{name}: only {found} targets: {:?}", planned.findings).into());
        }
        let own = timed(20, || plan::plan("plan", &experiment.spec, &setting));
        table.at_most(name, median(&own), (100.0, "ms"));
    }
    Ok(())
}

fn header(run: &RunId, experiment: Value) -> Header {
    Header {
        run: run.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        experiment,
        file: "bench.yaml".to_owned(),
        seed: 7,
        by: "bench".to_owned(),
        holder: "bench".to_owned(),
        environment: Environment::default(),
        namespace: "shop".to_owned(),
        namespaces: vec!["shop".to_owned()],
        limits: std::collections::BTreeMap::new(),
        metrics: String::new(),
        server_ahead_ms: 0,
        approvals: 0,
        asked_by: String::new(),
    }
}

fn sample(number: u32) -> Record {
    Record::Sampled {
        probe: format!("probe-{}", number % 20),
        state: SampleState::Within,
        value: Some(0.99 + f64::from(number % 10) / 1_000.0),
        expect: Some(true),
        during: Some(true),
        check: None,
        note: String::new(),
        alerting: false,
        awaited: false,
    }
}

/// The sequential test of an objective of 99.9 %, at 50 requests a second: how soon a tenfold rise is found, and how
/// often there is an alarm without one.
fn objectives(table: &mut Table) {
    const REQUESTS: f64 = 50.0;
    const ERRORS: f64 = 0.05;
    let alarm = |noise: &mut noise::Noise, (times, every): (f64, f64), most: f64| {
        let mut test = Test::new(ERRORS / REQUESTS, 0.01);
        let mut seconds = 0.0;
        while seconds < most {
            seconds += every;
            test.take(noise.interval((REQUESTS, ERRORS * times), every), every / 3600.0);
            if test.alarms() {
                return Some(seconds);
            }
        }
        None
    };
    for (every, deviation, constant) in [
        (1.0, 0.0, 1.0),
        (1.0, 0.5, 10.0),
        (1.0, 0.5, 60.0),
        (1.0, 1.0, 10.0),
        (5.0, 0.0, 1.0),
        (5.0, 0.5, 10.0),
    ] {
        let what = if deviation > 0.0 {
            format!("noise of deviation {deviation} over {constant} s")
        } else {
            "independent noise".to_owned()
        };
        let mut noise = noise::Noise::new(7, (deviation, constant));
        let found: Vec<f64> =
            (0..2000).map(|_| alarm(&mut noise, (10.0, every), 600.0).unwrap_or(600.0)).collect();
        let false_alarms = (0..3000).filter(|_| alarm(&mut noise, (1.0, every), 3600.0).is_some()).count();
        let of = |figure: &str| format!("{figure}, every {every} s, {what}");
        let share = 100.0 * false_alarms as f64 / 3000.0;
        // The targets are for intervals of a second, and noise that wanders moderately.
        if every == 1.0 && deviation < 1.0 && constant < 60.0 {
            table.at_most(of("slo: tenfold rise found, median of 2,000"), median(&found), (10.0, "s"));
            table.at_most(of("slo: false alarms in 3,000 hours"), share, (1.0, "%"));
        } else {
            table.note(of("slo: tenfold rise found, median of 2,000"), median(&found), "s");
            table.note(of("slo: false alarms in 3,000 hours"), share, "%");
        }
    }
}

/// Appending with and without fsync, and replaying 10,000 records.
fn journals(table: &mut Table, folder: &Path) -> Outcome {
    let storage = DirStorage::new(folder.join("state"));
    let run = RunId::new("bench", 7);
    let (_, json) = experiment(&large_file())?;
    let mut writer = Writer::create(&storage, &run, Epoch(1))?;
    let start: Timestamp = "2026-01-01T00:00:00Z".parse()?;
    writer.append(start, Record::RunStarted(Box::new(header(&run, json))))?;
    let mut number = 0;
    let at = |number: u32| start + Duration::from_millis(u64::from(number) * 100);
    let plain = timed(9_799, || {
        number += 1;
        writer.append(at(number), sample(number)).is_ok()
    });
    table.note("journal: append of a sample (not fsynced), median", median(&plain) * 1_000.0, "µs");
    let durable = timed(200, || {
        number += 1;
        let detail = "deleted, grace period 0s".to_owned();
        writer
            .append(
                at(number),
                Record::Decided {
                    verdict: firedrill::types::Verdict::Passed,
                    reason: "HypothesisHeld".to_owned(),
                    message: detail,
                },
            )
            .is_ok()
    });
    table.note("journal: append of a decision (fsynced), median", median(&durable) * 1_000.0, "µs");
    drop(writer);
    let bytes = storage.read(&run)?.len();
    let replay = timed(5, || -> Outcome<usize> {
        let entries = journal::read(&storage, &run)?;
        let mut state = State::new(&entries[0])?;
        for entry in &entries[1..] {
            firedrill::engine::transition(&mut state, entry)?;
        }
        Ok(entries.len())
    });
    table.note(
        format!("journal: replay of {} records, {} kB", number + 1, bytes / 1_000),
        median(&replay),
        "ms",
    );
    Ok(())
}

/// An hour with a kill every five minutes and probes every five seconds, as the program itself rehearses it.
fn rehearsal(table: &mut Table, folder: &Path) -> Outcome {
    let demo = folder.join("demo");
    std::fs::create_dir_all(&demo)?;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests(100, 50)});
    std::fs::write(demo.join("cluster.yaml"), list.to_string())?;
    let mut text = "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\n\
        metadata: {name: hour, namespace: shop}\nspec:\n  hypothesis: An hour passes quickly.\n  steadyState:\n  \
        - name: availability\n    prometheus:\n      query: |\n        \
        sum(rate(http_requests_total{app=\"app-00\",code!~\"5..\"}[1m])) / \
        sum(rate(http_requests_total{app=\"app-00\"}[1m]))\n    expect: value >= 0.9\n    during: value >= 0.5\n  \
        - name: p99\n    prometheus:\n      query: histogram_quantile(0.99, sum by (le) \
        (rate(http_request_duration_seconds_bucket{app=\"app-00\"}[1m])))\n    expect: value <= 1.0\n  \
        - name: requests\n    prometheus: {query: 'sum(rate(http_requests_total{app=\"app-00\"}[1m]))'}\n    \
        expect: value >= 50.0\n  - name: replicas\n    \
        kubernetes: {apiVersion: apps/v1, kind: Deployment, name: app-00}\n    value: object.status.readyReplicas\n    \
        expect: value == 20\n    during: value >= 2\n  method:\n"
        .to_owned();
    for step in 0..11 {
        let _ = write!(
            text,
            "  - name: kill-{step}\n    target: {{workload: deployment/app-00, count: 5}}\n    \
             podKill: {{gracePeriod: 0s}}\n  - wait: 5m\n"
        );
    }
    text.push_str("  objectives: {recoverWithin: 5m}\n  limits: {pods: 50%, duration: 2h}\n");
    let file = folder.join("hour.yaml");
    std::fs::write(&file, text)?;
    let arguments = ["rehearse", &*file.to_string_lossy(), "--seed", "7"];
    let all = spawned(3, &arguments, 0)?;
    table.at_most(
        "rehearsal of an hour, 100 nodes, 1,000 pods, median of 3",
        median(&all) / 1_000.0,
        (2.0, "s"),
    );
    Ok(())
}

/// A thousand targets from the file to the report, beside the same of ten: what a target costs us.
fn thousand(table: &mut Table, folder: &Path) -> Outcome {
    let mut medians = Vec::new();
    for (count, name) in [("10", "ten"), ("all", "thousand")] {
        let text = format!(
            "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec:\n  hypothesis: Every pod comes back.\n  steadyState:\n  - name: replicas\n    \
             kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: app-00}}\n    \
             value: object.status.readyReplicas\n    expect: value == 20\n    during: \"true\"\n  method:\n  \
             - name: kill\n    target: {{pods: {{matchExpressions: [{{key: app, operator: Exists}}]}}, count: {count}}}\n    \
             podKill: {{gracePeriod: 0s}}\n  objectives: {{recoverWithin: 10m}}\n  limits: {{pods: 100%}}\n"
        );
        let file = folder.join(format!("{name}.yaml"));
        std::fs::write(&file, text)?;
        medians.push(median(&spawned(3, &["rehearse", &*file.to_string_lossy(), "--seed", "7"], 0)?));
    }
    table.note("rehearsal of 10 pods killed of 1,000, median of 3", medians[0] / 1_000.0, "s");
    table.note("rehearsal of 1,000 pods killed of 1,000, median of 3", medians[1] / 1_000.0, "s");
    Ok(())
}
