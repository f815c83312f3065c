use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;
use crate::agent::wire::{
    Direction, Distribution, Disturbance, Effect, End, Leg, Order, OrderLine, PortRange, Protocol,
    RefusalCode, Report, ReportLine, Signal, VERSION, frame,
};
use crate::sim::SimConfig;
use crate::sim::apiserver::mischief::{Action, Matcher, Rule, Turn};
use crate::sim::cluster::Cluster;
use crate::sim::store::{DeleteOptions, Kind, Selector};
use crate::types::{Epoch, InjectionId, RunId};

const RUN: &str = "slow-shop-abcde";

fn workload(name: &str, pods: u32, load: f64, annotations: &Json) -> [Json; 2] {
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop",
                "annotations": {"sim.firedrill.dev/offered-load": load.to_string()}},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"replicas": pods, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"containers": [{"name": "app", "image": format!("{name}:1"),
                    "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 5},
                    "livenessProbe": {"httpGet": {"port": 8080}, "failureThreshold": 6}}]}}}}),
    ]
}

/// A cart with one pod, which 20 a second visit and which calls the vault for each; both take 20 ms, always.
fn shop() -> Vec<Json> {
    let constant = json!({"sim.firedrill.dev/service-time-distribution": "constant"});
    let mut cart = constant.clone();
    cart["sim.firedrill.dev/calls"] = json!("vault:80 timeout=1s");
    let namespaces = ["shop", "firedrill-agents"]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    let mut all = namespaces.to_vec();
    all.extend(workload("cart", 1, 20.0, &cart));
    all.extend(workload("vault", 2, 0.0, &constant));
    all
}

struct World {
    cluster: Cluster,
    agent: String,
}

impl World {
    async fn new(seed: u64) -> Self {
        let config = SimConfig { seed, ..SimConfig::default() };
        let cluster = Cluster::start(&config, &shop()).expect("the manifests are accepted");
        cluster.settle(Duration::from_secs(120)).await.expect("all become ready");
        sleep(90).await;
        let mut world = Self { cluster, agent: String::new() };
        let node = world.pods("cart")[0].1["spec"]["nodeName"].as_str().expect("bound").to_owned();
        world.agent = "firedrill-agent-0".to_owned();
        world.place("firedrill-agent-0", &node, 1).await;
        world
    }

    async fn place(&self, name: &str, node: &str, epoch: u64) {
        let args = ["--run", RUN, "--epoch", &epoch.to_string(), "--ttl", "10s", "--deadline", "600"]
            .map(str::to_owned);
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "firedrill-agents"},
            "spec": {"nodeName": node, "restartPolicy": "Never", "containers": [
                {"name": "agent", "image": "firedrill/firedrill-agent:1", "args": args, "stdin": true}]}});
        self.cluster.sim().apply_manifests(&[pod]).expect("a pod");
        sleep(2).await;
    }

    /// The pods of an app, by name, with their UIDs.
    fn pods(&self, app: &str) -> Vec<(String, Json)> {
        let pods = self.cluster.sim().store().list(&Kind::POD, Some("shop"), &Selector::everything());
        let of = pods.iter().filter(|pod| pod.meta.labels.get("app").is_some_and(|a| a == app));
        of.map(|pod| (pod.meta.uid.clone(), pod.to_value())).collect()
    }

    fn uid(&self, app: &str) -> String {
        self.pods(app)[0].0.clone()
    }

    fn agent(&self) -> Json {
        let store = self.cluster.sim().store();
        store.get(&Kind::POD, "firedrill-agents", &self.agent).map(|pod| pod.to_value()).unwrap_or_default()
    }

    async fn try_attach(&self, user: User) -> Result<DuplexStream, AttachFailure> {
        let server = self.cluster.sim().server();
        let pod = ("firedrill-agents", self.agent.as_str(), "");
        self.cluster.agents().attach(server, user, pod).await
    }

    async fn talk(&self, session: &str, epoch: u64) -> Talk {
        let stream = self.try_attach(User::admin()).await.expect("attached");
        let mut talk = Talk {
            stream,
            lines: frame::Lines::default(),
            said: Vec::new(),
            session: session.into(),
            epoch,
            seq: 0,
        };
        talk.stream.write_all(b"\n").await.expect("written");
        talk
    }

    async fn opened(&self) -> Talk {
        let mut talk = self.talk("one", 1).await;
        assert!(matches!(talk.order(Order::Hello).await, Report::Ready { .. }));
        talk
    }

    async fn ask(&self, query: &str) -> Option<f64> {
        let uri = format!("/api/v1/query?query={}", crate::sim::metrics::http::encode(query));
        let request = http::Request::get(uri).body(bytes::Bytes::new()).expect("a request");
        let response = self.cluster.metrics().prometheus().handle(request).await;
        let body: Json = serde_json::from_slice(response.body()).expect("JSON");
        body["data"]["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok())
    }

    /// Mean latency of a Service over the last half minute, in seconds.
    async fn latency(&self, service: &str) -> f64 {
        let of = |what| format!("rate(http_request_duration_seconds_{what}{{service=\"{service}\"}}[30s])");
        self.ask(&format!("{} / {}", of("sum"), of("count"))).await.expect("a value")
    }

    /// Answers of the cart per code in the next so many seconds.
    async fn codes(&self, seconds: u64) -> [u64; 4] {
        let now = || self.cluster.metrics().totals("shop", "cart").expect("it has clients").by_code;
        let before = now();
        sleep(seconds).await;
        let after = now();
        std::array::from_fn(|n| after[n] - before[n])
    }
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

struct Talk {
    stream: DuplexStream,
    lines: frame::Lines,
    said: Vec<ReportLine>,
    session: String,
    epoch: u64,
    seq: u64,
}

impl Talk {
    async fn read(&mut self) -> bool {
        let mut bytes = [0_u8; 4096];
        let n = self.stream.read(&mut bytes).await.unwrap_or(0);
        for line in self.lines.push(&bytes[..n]) {
            self.said.push(frame::decode(&line).expect("a report"));
        }
        n > 0
    }

    fn line(&mut self, order: Order) -> String {
        self.seq += 1;
        frame::encode(&OrderLine {
            version: VERSION,
            run: RunId::parse(RUN).expect("a name"),
            epoch: Epoch(self.epoch),
            session: self.session.clone(),
            seq: self.seq,
            tick: self.said.last().map_or(0, |line| line.tick),
            order,
        })
    }

    /// What has been said so far is read, so that the tick that is quoted is the latest.
    async fn catch_up(&mut self) {
        while tokio::time::timeout(Duration::from_millis(1), self.read()).await.unwrap_or(false) {}
    }

    async fn send(&mut self, order: Order) {
        self.catch_up().await;
        let line = self.line(order);
        self.stream.write_all(line.as_bytes()).await.expect("written");
    }

    async fn order(&mut self, order: Order) -> Report {
        self.send(order).await;
        loop {
            let mine = |line: &&ReportLine| line.session == self.session && line.seq == self.seq;
            if let Some(line) = self.said.iter().find(mine) {
                return line.report.clone();
            }
            assert!(self.read().await, "the stream has ended: {:?}", self.said.last());
        }
    }

    /// Keeps the agent busy for so many seconds.
    async fn beat(&mut self, seconds: u64) {
        for _ in 0..seconds.div_ceil(3) {
            self.send(Order::Beat).await;
            sleep(3).await;
        }
    }

    /// All that it still says.
    async fn rest(&mut self) -> Vec<Report> {
        let before = self.said.len();
        while self.read().await {}
        self.said[before..].iter().map(|line| line.report.clone()).filter(|r| *r != Report::Tick).collect()
    }
}

fn leg(direction: Direction) -> Leg {
    Leg { direction, peers: Vec::new(), except: Vec::new(), ports: Vec::new(), protocol: None }
}

fn both() -> Vec<Leg> {
    vec![leg(Direction::Egress), leg(Direction::Ingress)]
}

fn latency(ms: u64) -> Effect {
    let distribution = Distribution::Normal;
    Effect::Latency { delay_us: ms * 1000, jitter_us: 0, correlation_percent: 0.0, distribution }
}

fn apply(pod: &str, legs: Vec<Leg>, effect: Effect) -> Order {
    Order::Apply {
        injection: InjectionId("slow.0".into()),
        pod: pod.into(),
        disturbance: Disturbance { legs, effect },
        within_ms: 600_000,
    }
}

fn lift() -> Order {
    Order::Lift { injection: InjectionId("slow.0".into()) }
}

fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-3, "{value} for {expected}");
}

mod effects;
mod sessions;
