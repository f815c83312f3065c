//! Agents on two real nodes: until one is there, until a fault is in force on twenty pods and lifted again, and an abort
//! as a client sees it. `tests/real/bench.sh agents` brings such nodes up.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use firedrill::{
    agent::wire::{Direction, Distribution, Disturbance, Effect, Leg, Order, Report},
    cluster::{Access, Sessions, Snapshot, WebSockets},
    faults::{self, Arm},
    journal::{Entry, Record},
    types::{AgentSettings, Epoch, InjectionId, ObjectRef, RunId, Verdict},
};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    abort,
    bench::{Bench, NAMESPACE, Outcome},
    figures::{Table, median, ms, quantile},
    node,
};

const APP: &str = "slowed";
const CLIENT: &str = "client";
const PODS: usize = 20;
/// Rounds of what takes milliseconds.
const QUICK: usize = 100;
const ANSWER: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_millis(200);
/// What an abort may take, in milliseconds.
const ABORTED: f64 = 500.0;
/// In milliseconds: what takes longer is still slowed. What is held up is so for [`DELAY`]; a machine that is busy with
/// the end of a run takes some tens of them for a connection.
const NORMAL: f64 = 150.0;

/// All of it.
pub async fn all(bench: &Bench, table: &mut Table) -> Outcome {
    for object in faults::agent_manifests(&AgentSettings::default()) {
        bench.create(&object).await?;
    }
    for (app, count) in [(APP, PODS), (CLIENT, 1)] {
        bench.create(&program(app, count)).await?;
    }
    bench
        .until("pods ready", |snapshot| {
            snapshot.pods_in(NAMESPACE).filter(|pod| pod.ready && !pod.terminating).count() == PODS + 1
        })
        .await?;
    let mut cold = Vec::new();
    for _ in 1..bench.rounds.min(20) {
        let placed = Placed::new(bench).await?;
        cold.push(placed.took);
        placed.remove(bench).await?;
    }
    let placed = Placed::new(bench).await?;
    cold.push(placed.took);
    let (mut armed, mut lifted) = (Vec::new(), Vec::new());
    for _ in 0..QUICK {
        armed.push(placed.apply().await?);
        lifted.push(placed.lift().await?);
    }
    placed.remove(bench).await?;
    say(table, "no agent there yet: pod asked for to agent ready on both nodes", &cold, 3_000.0);
    say(table, "latency on 20 pods of two nodes: orders sent to in force", &armed, 100.0);
    say(table, "latency on 20 pods of two nodes: orders sent to lifted", &lifted, 100.0);
    let mut aborts = Vec::new();
    for _ in 0..bench.rounds {
        aborts.push(aborted(bench).await?);
    }
    say(
        table,
        "abort with latency on 20 pods: violating sample to the last pod back, by a client",
        &aborts,
        ABORTED,
    );
    Ok(())
}

fn say(table: &mut Table, what: &str, values: &[f64], most: f64) {
    table.at_most(format!("{what}, median of {}", values.len()), median(values), (most, "ms"));
    table.at_most(format!("{what}, p99"), quantile(values, 0.99), (most, "ms"));
}

fn program(app: &str, replicas: usize) -> serde_json::Value {
    let labels = json!({"app": app});
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": app, "namespace": NAMESPACE},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": labels}}],
                "containers": [{"name": "app", "image": "docker.io/firedrill/demo-shop:1", "imagePullPolicy": "Never",
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}}]}}}})
}

/// The pods that are slowed, by node.
fn by_node(snapshot: &Snapshot) -> BTreeMap<String, Vec<ObjectRef>> {
    let mut nodes: BTreeMap<String, Vec<ObjectRef>> = BTreeMap::new();
    let ours = |labels: &BTreeMap<String, String>| labels.get("app").is_some_and(|app| app == APP);
    for pod in snapshot.pods_in(NAMESPACE).filter(|pod| ours(&pod.labels)) {
        nodes.entry(pod.node.clone()).or_default().push(pod.object.clone());
    }
    nodes
}

/// Agents on the nodes of the pods.
struct Placed {
    sessions: Sessions,
    /// Which agent serves which pod.
    pods: Vec<(ObjectRef, ObjectRef)>,
    agents: Vec<ObjectRef>,
    took: f64,
}

impl Placed {
    async fn new(bench: &Bench) -> Outcome<Self> {
        let (run, settings) = (RunId::new("bench", rand()), AgentSettings::default());
        let (nodes, snapshot) = (by_node(&bench.mirror.snapshot()), Snapshot::default());
        let until = Timestamp::now() + SignedDuration::from_secs(600);
        let ask =
            Arm { run: &run, settings: &settings, snapshot: &snapshot, until, armed: &Default::default() };
        let arming = faults::arm_nodes(&ask, nodes.clone());
        let link = Arc::new(WebSockets::new(bench.bare.clone()));
        let sessions = Sessions::new(link, Access::new(bench.bare.clone()), run.clone(), Epoch(1));
        let pods: Api<Pod> = Api::namespaced(bench.bare.clone(), &settings.namespace);
        let begun = Instant::now();
        let ready = arming.iter().map(|injection| {
            let (pods, sessions) = (&pods, &sessions);
            let pod = faults::agent_pod_of(injection, &run, Epoch(1)).ok_or("it does not arm");
            async move {
                pods.create(&PostParams::default(), &serde_json::from_value(pod?)?).await?;
                sessions.order(&injection.target, Order::Hello, Duration::from_secs(60)).await?;
                Outcome::Ok(())
            }
        });
        try_join_all(ready).await?;
        let took = ms(begun.elapsed());
        let agents: Vec<ObjectRef> = arming.iter().map(|injection| injection.target.clone()).collect();
        let served = agents.iter().zip(nodes.into_values());
        let pods =
            served.flat_map(|(agent, pods)| pods.into_iter().map(|pod| (agent.clone(), pod))).collect();
        Ok(Self { sessions, pods, agents, took })
    }

    /// Milliseconds until every pod's order is answered.
    async fn orders(&self, order: impl Fn(InjectionId, &ObjectRef) -> Order) -> Outcome<f64> {
        let begun = Instant::now();
        let answers = self.pods.iter().enumerate().map(|(number, (agent, pod))| {
            self.sessions.order(agent, order(InjectionId::new("bench", number), pod), ANSWER)
        });
        for answer in try_join_all(answers).await? {
            if !matches!(answer, Report::Applied { .. } | Report::Lifted { was: true, .. }) {
                return Err(format!("{answer:?}").into());
            }
        }
        Ok(ms(begun.elapsed()))
    }

    async fn apply(&self) -> Outcome<f64> {
        let everything = Leg {
            direction: Direction::Egress,
            peers: Vec::new(),
            except: Vec::new(),
            ports: Vec::new(),
            protocol: None,
        };
        let effect = Effect::Latency {
            delay_us: DELAY.as_micros() as u64,
            jitter_us: 0,
            correlation_percent: 0.0,
            distribution: Distribution::Normal,
        };
        let disturbance = Disturbance { legs: vec![everything], effect };
        let apply = |injection, pod: &ObjectRef| Order::Apply {
            injection,
            pod: pod.uid.clone(),
            disturbance: disturbance.clone(),
            within_ms: 60_000,
        };
        self.orders(apply).await
    }

    async fn lift(&self) -> Outcome<f64> {
        self.orders(|injection, _| Order::Lift { injection }).await
    }

    async fn remove(self, bench: &Bench) -> Outcome {
        let pods: Api<Pod> = Api::namespaced(bench.bare.clone(), &AgentSettings::default().namespace);
        for agent in &self.agents {
            pods.delete(&agent.name, &DeleteParams::default()).await?;
        }
        while !pods.list(&ListParams::default()).await?.items.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// A run has a name of its own each time.
fn rand() -> u64 {
    Timestamp::now().as_nanosecond() as u64
}

/// Milliseconds from the sample that violates to when the last pod answers a client as usual again.
async fn aborted(bench: &Bench) -> Outcome<f64> {
    let method = format!(
        "  - name: slow\n    target: {{workload: deployment/{APP}, count: all}}\n    networkLatency: {{delay: {}ms}}\n    duration: 10m\n",
        DELAY.as_millis()
    );
    abort::make_switch(bench).await?;
    let looking = Looking::start(bench).await?;
    let (client, runtime) = (bench.bare.clone(), tokio::runtime::Handle::current());
    let seen = AtomicUsize::new(0);
    let watch = move |entry: &Entry| {
        let turned = match &entry.record {
            Record::EffectSeen { injection, .. } if injection.step() == "slow" => {
                (seen.fetch_add(1, Ordering::Relaxed) + 1 == PODS).then_some("no")
            }
            Record::AllReverted { .. } => Some("yes"),
            _ => None,
        };
        if let Some(on) = turned {
            let client = client.clone();
            runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let _ = abort::turn(&client, on).await;
            });
        }
    };
    let ran = bench.run(&method, &abort::probe(), watch, Verdict::Failed).await?;
    let lines = looking.end();
    let outside = |record: &Record| matches!(record, Record::Sampled { during: Some(false), .. });
    let violating = *ran.times(outside).first().ok_or("no sample violates")?;
    let back = lines.iter().map(|line| back(line, violating)).collect::<Option<Vec<_>>>();
    let last = back.and_then(|all| all.into_iter().max_by_key(|(back, _)| *back));
    let (last, (began, took)) = last.ok_or("a pod was not slow, or is not back")?;
    let since = |at: Timestamp| at.duration_since(violating).as_secs_f64() * 1000.0;
    if since(last) > ABORTED {
        // Where the time went: deciding, taking back, or what a client saw after that.
        let first = |is: fn(&Record) -> bool| ran.times(is).first().map_or(0.0, |at| since(*at));
        let decided = first(|record| matches!(record, Record::StopRequested { .. }));
        let reverts = ran.times(
            |record| matches!(record, Record::Reverted { injection, .. } if injection.step() == "slow"),
        );
        let reverted = reverts.last().map_or(0.0, |at| since(*at));
        println!(
            "  an abort of {:.0} ms: decided after {decided:.0} ms, the last fault reported lifted after {reverted:.0} ms, the last slow connection begun after {:.0} ms took {took:.0} ms",
            since(last),
            since(began)
        );
    }
    Ok(since(last))
}

/// When a connection was begun, and the milliseconds that it took.
type Sample = (Timestamp, f64);

/// When the first connection as usual was there after the last that was slow, and that one.
fn back(line: &[Sample], violating: Timestamp) -> Option<(Timestamp, Sample)> {
    let last = line.iter().rposition(|(_, took)| *took > NORMAL)?;
    let (at, took) = line.get(last + 1)?;
    let back = *at + SignedDuration::from_micros((took * 1000.0) as i64);
    (back > violating).then_some((back, line[last]))
}

/// A client that connects to every pod, over and over.
struct Looking {
    goes_on: Arc<AtomicBool>,
    lines: Vec<JoinHandle<Vec<Sample>>>,
}

impl Looking {
    async fn start(bench: &Bench) -> Outcome<Self> {
        let pods: Api<Pod> = Api::namespaced(bench.bare.clone(), NAMESPACE);
        let of = |app: &str| ListParams::default().labels(&format!("app={app}"));
        let client = pods.list(&of(CLIENT)).await?.items.pop().and_then(|pod| pod.metadata.uid);
        let within = node::processes(&client.unwrap_or_default());
        let pid = within.first().ok_or("the client has no process here")?.pid;
        let goes_on = Arc::new(AtomicBool::new(true));
        let mut lines = Vec::new();
        for pod in pods.list(&of(APP)).await? {
            let address = pod.status.and_then(|status| status.pod_ip).ok_or("a pod has no address")?;
            let (address, going) = (SocketAddr::new(address.parse()?, 8080), goes_on.clone());
            lines.push(node::beside(pid, move || look(address, &going))?);
        }
        Ok(Self { goes_on, lines })
    }

    fn end(self) -> Vec<Vec<Sample>> {
        self.goes_on.store(false, Ordering::Relaxed);
        self.lines.into_iter().map(|line| line.join().unwrap_or_default()).collect()
    }
}

fn look(address: SocketAddr, goes_on: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    while goes_on.load(Ordering::Relaxed) {
        let (at, begun) = (Timestamp::now(), std::time::Instant::now());
        let _ = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2));
        samples.push((at, ms(begun.elapsed())));
        std::thread::sleep(Duration::from_millis(20));
    }
    samples
}
