use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;
use crate::agent::wire::{
    Direction, Distribution, Disturbance, Effect, End, Leg, Order, OrderLine, Protocol, RefusalCode, Report,
    ReportLine, Signal, VERSION, frame,
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

#[tokio::test(start_paused = true)]
async fn latency_raises_what_its_callers_see_by_the_delay_and_is_gone_when_lifted() {
    let world = World::new(1).await;
    near(world.latency("cart").await, 0.040);
    let mut talk = world.opened().await;
    let report = talk.order(apply(&world.uid("cart"), vec![leg(Direction::Egress)], latency(100))).await;
    assert!(matches!(report, Report::Applied { .. }), "{report:?}");
    talk.beat(60).await;
    // Its answers are late, and so are its calls.
    near(world.latency("cart").await, 0.240);
    near(world.latency("vault").await, 0.120);
    let p99 = "histogram_quantile(0.99, rate(http_request_duration_seconds_bucket{service=\"cart\"}[30s]))";
    assert!((0.1..=0.25).contains(&world.ask(p99).await.expect("a value")));
    assert_eq!(
        talk.order(lift()).await,
        Report::Lifted { injection: InjectionId("slow.0".into()), was: true }
    );
    assert_eq!(
        talk.order(lift()).await,
        Report::Lifted { injection: InjectionId("slow.0".into()), was: false }
    );
    talk.beat(60).await;
    near(world.latency("cart").await, 0.040);
    near(world.latency("vault").await, 0.020);
}

#[tokio::test(start_paused = true)]
async fn a_partition_of_a_dependency_makes_calls_time_out_and_nothing_else() {
    let world = World::new(2).await;
    let mut talk = world.opened().await;
    let store = world.cluster.sim().store();
    let service: Json = store.get(&Kind::SERVICE, "shop", "vault").expect("there").to_value();
    let address = service["spec"]["clusterIP"].as_str().expect("one");
    let to = Leg { peers: vec![format!("{address}/32").parse().expect("a block")], ..leg(Direction::Egress) };
    talk.order(apply(&world.uid("cart"), vec![to], Effect::Partition)).await;
    talk.beat(5).await;
    let [ok, bad, full, timeout] = world.codes(6).await;
    assert_eq!((ok, bad, full), (0, 0, 0));
    assert!(timeout.abs_diff(120) < 40, "{timeout}");
    assert!(matches!(
        world.pods("cart")[0].1.pointer("/status/containerStatuses/0/ready"),
        Some(Json::Bool(true))
    ));
    talk.order(lift()).await;
    talk.beat(5).await;
    let codes = world.codes(9).await;
    assert_eq!(codes[1..], [0, 0, 0], "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_partition_of_everything_fails_probes_and_scrapes_and_restarts_the_container() {
    let world = World::new(3).await;
    let mut talk = world.opened().await;
    let (uid, up) = (world.uid("cart"), "up{pod=~\"cart-.*\"}");
    assert_eq!(world.ask(up).await, Some(1.0));
    talk.order(apply(&uid, both(), Effect::Partition)).await;
    talk.beat(12).await;
    assert_eq!(world.ask(up).await, Some(0.0));
    let status =
        |n: &str| world.pods("cart")[0].1.pointer(&format!("/status/containerStatuses/0/{n}")).cloned();
    talk.beat(9).await;
    assert_eq!(status("ready"), Some(json!(false)), "three probes in 15 seconds");
    let codes = world.codes(5).await;
    assert!(codes[2] > 70, "no endpoint: {codes:?}");
    talk.beat(60).await;
    assert!(
        status("restartCount").is_some_and(|n| n.as_i64() >= Some(1)),
        "six liveness probes: {:?}",
        status("restartCount")
    );
    talk.order(lift()).await;
    talk.beat(60).await;
    assert_eq!((status("ready"), world.ask(up).await), (Some(json!(true)), Some(1.0)));
    assert_eq!(world.codes(5).await[1..], [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn lost_packets_are_sent_again_and_some_requests_time_out() {
    let world = World::new(4).await;
    let mut talk = world.opened().await;
    let report = talk.order(apply(&world.uid("cart"), both(), Effect::Loss { share_percent: 20.0 })).await;
    assert!(matches!(report, Report::Applied { .. }));
    let (_, codes) = tokio::join!(talk.beat(60), world.codes(60));
    let mean = world.latency("cart").await;
    assert!((0.15..0.4).contains(&mean), "{mean}");
    // Of each of two calls' segments one in 125 is lost three times running, and then a second is over.
    assert!(codes[0] > 1_000 && (5..60).contains(&codes[3]), "{codes:?}");
    assert_eq!(codes[1..3], [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn silence_lifts_all_and_the_pod_succeeds() {
    let world = World::new(5).await;
    let mut talk = world.opened().await;
    talk.order(apply(&world.uid("cart"), vec![leg(Direction::Egress)], latency(100))).await;
    talk.beat(30).await;
    near(world.latency("cart").await, 0.240);
    let rest = talk.rest().await;
    let lifted = vec![InjectionId("slow.0".into())];
    assert_eq!(rest, [Report::Ended { why: End::Silence, lifted }]);
    sleep(60).await;
    near(world.latency("cart").await, 0.040);
    assert_eq!(world.agent()["status"]["phase"], "Succeeded");
    let failure = world.try_attach(User::admin()).await.expect_err("it has ended");
    assert!(matches!(failure, AttachFailure::Answered(status) if status.code == 400));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_its_pod_or_of_its_node_lifts_all_at_once() {
    for (grace, why) in [(None, "SIGTERM"), (Some(0), "killed"), (None, "node")] {
        let world = World::new(6).await;
        let mut talk = world.opened().await;
        let uid = world.uid("cart");
        talk.order(apply(&uid, vec![leg(Direction::Egress)], latency(100))).await;
        assert_eq!(world.cluster.metrics().impairments(&uid).len(), 1);
        let store = world.cluster.sim().store();
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        let deleted = if why == "node" {
            let node = world.agent()["spec"]["nodeName"].as_str().expect("bound").to_owned();
            store.delete(&Kind::NODE, "", &node, &options)
        } else {
            store.delete(&Kind::POD, "firedrill-agents", &world.agent, &options)
        };
        deleted.expect("deleted");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(world.cluster.metrics().impairments(&uid).is_empty(), "{why}");
        let rest = talk.rest().await;
        let ended = rest.iter().any(|report| matches!(report, Report::Ended { why: End::Terminated, .. }));
        assert_eq!(ended, why == "SIGTERM", "{why}: {rest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_kubelet_cuts_the_stream_and_the_time_to_live_ends_the_agent() {
    let world = World::new(7).await;
    let mut talk = world.opened().await;
    let uid = world.uid("cart");
    talk.order(apply(&uid, vec![leg(Direction::Egress)], latency(100))).await;
    let node = world.agent()["spec"]["nodeName"].as_str().expect("bound").to_owned();
    let stop = |node: &mut crate::sim::store::Object| {
        node.meta.annotations.insert(crate::sim::annotations::KUBELET.into(), "stopped".into());
        Ok(())
    };
    world.cluster.sim().store().modify(&Kind::NODE, "", &node, stop).expect("a node");
    assert_eq!(talk.rest().await, [], "cut, without a word");
    assert_eq!(world.cluster.metrics().impairments(&uid).len(), 1);
    assert!(world.try_attach(User::admin()).await.is_err());
    sleep(11).await;
    assert!(world.cluster.metrics().impairments(&uid).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_higher_epoch_takes_over_and_the_lower_one_is_refused() {
    let world = World::new(8).await;
    let mut old = world.opened().await;
    let mut new = world.talk("two", 2).await;
    let Report::Ready { .. } = new.order(Order::Hello).await else { panic!("{:?}", new.said) };
    let Report::Refused(refusal) = old.order(lift()).await else { panic!("{:?}", old.said) };
    assert_eq!(refusal.code, RefusalCode::OldEpoch);
    // Both hear all; and what one leaves half written spoils the other's line.
    assert!(old.said.iter().any(|line| line.session == "two"));
    let (half, whole) = (old.line(Order::Beat), new.line(lift()));
    old.stream.write_all(&half.as_bytes()[..half.len() / 2]).await.expect("written");
    sleep(1).await;
    new.stream.write_all(whole.as_bytes()).await.expect("written");
    sleep(1).await;
    new.catch_up().await;
    assert!(!new.said.iter().any(|line| line.session == "two" && line.seq == new.seq));
    assert!(matches!(new.order(lift()).await, Report::Lifted { was: false, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_killed_container_is_started_again_with_its_count_id_and_readiness_anew() {
    let world = World::new(9).await;
    let mut talk = world.opened().await;
    let uid = world.uid("cart");
    let status = || world.pods("cart")[0].1["status"]["containerStatuses"][0].clone();
    let before = status();
    let id =
        before["containerID"].as_str().and_then(|id| id.strip_prefix("containerd://")).map(str::to_owned);
    let kill = |n: u32, container: &Option<String>, process: Option<&str>, signal| Order::Kill {
        injection: InjectionId(format!("kill.{n}")),
        pod: uid.clone(),
        container: container.clone(),
        process: process.map(str::to_owned),
        signal,
    };
    let Report::Killed { processes, .. } = talk.order(kill(0, &id, Some("nginx"), Signal::Kill)).await else {
        panic!("{:?}", talk.said)
    };
    assert!(processes.is_empty(), "there is none of that name");
    let Report::Killed { processes, .. } = talk.order(kill(1, &id, Some("cart"), Signal::Kill)).await else {
        panic!("{:?}", talk.said)
    };
    assert_eq!(processes.len(), 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let dead = status();
    assert_eq!((&dead["state"]["terminated"]["exitCode"], &dead["ready"]), (&json!(137), &json!(false)));
    sleep(2).await;
    let again = status();
    assert_eq!((&again["restartCount"], &again["ready"]), (&json!(1), &json!(false)), "{again}");
    assert_ne!(again["containerID"], before["containerID"]);
    assert_eq!(again["lastState"]["terminated"]["containerID"], before["containerID"]);
    let Report::Killed { processes: same, .. } = talk.order(kill(1, &None, Some("cart"), Signal::Kill)).await
    else {
        panic!("{:?}", talk.said)
    };
    assert_eq!(same, processes, "once for each injection");
    talk.beat(9).await;
    assert_eq!(status()["ready"], true, "at the probe after its start");
    assert_eq!(status()["restartCount"], 1);
    talk.order(kill(2, &None, None, Signal::Kill)).await;
    sleep(1).await;
    assert_eq!(status()["state"]["waiting"]["reason"], "CrashLoopBackOff");
    talk.beat(12).await;
    assert_eq!(status()["restartCount"], 2);
    talk.order(kill(3, &None, None, Signal::Usr1)).await;
    sleep(3).await;
    assert_eq!(status()["restartCount"], 2, "a signal that nothing handles");
    talk.order(kill(4, &None, None, Signal::Term)).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(status()["lastState"]["terminated"]["exitCode"], 0, "it has shut down: {}", status());
}

#[tokio::test(start_paused = true)]
async fn round_trips_are_measured_as_the_model_has_them() {
    let world = World::new(10).await;
    let mut talk = world.opened().await;
    let (uid, pod) = world.pods("cart")[0].clone();
    let measure = |direction| Order::Measure {
        pod: uid.clone(),
        address: pod["status"]["podIP"].as_str().expect("an address").parse().expect("an address"),
        direction,
        protocol: Protocol::Tcp,
        port: Some(5432),
        count: 5,
        timeout_ms: 500,
    };
    assert!(matches!(talk.order(Order::Enter { pod: uid.clone() }).await, Report::Entered { .. }));
    let Report::Measured { rtt_us, lost: 0, .. } = talk.order(measure(Direction::Egress)).await else {
        panic!("{:?}", talk.said.last())
    };
    assert!(rtt_us.len() == 5 && rtt_us.iter().all(|us| *us < 1_000), "{rtt_us:?}");
    // Only what goes out to that port of somebody else, and the agent is always one.
    let out = Leg {
        peers: vec!["192.0.2.0/24".parse().expect("a block")],
        ports: vec![crate::agent::wire::PortRange { first: 5432, last: 5432 }],
        ..leg(Direction::Egress)
    };
    talk.order(apply(&uid, vec![out.clone()], latency(100))).await;
    let Report::Measured { rtt_us, .. } = talk.order(measure(Direction::Egress)).await else { panic!() };
    assert!(rtt_us.iter().all(|us| (100_000..101_000).contains(us)), "{rtt_us:?}");
    let Report::Measured { rtt_us, .. } = talk.order(measure(Direction::Ingress)).await else { panic!() };
    assert!(rtt_us.iter().all(|us| *us < 1_000), "the other way: {rtt_us:?}");
    talk.order(apply(&uid, vec![out], Effect::Partition)).await;
    let begin = Instant::now();
    let Report::Measured { lost, .. } = talk.order(measure(Direction::Egress)).await else { panic!() };
    assert_eq!((lost, begin.elapsed().as_millis() / 100), (5, 25), "the same injection, replaced");
    near(world.latency("cart").await, 0.040);
}

#[tokio::test(start_paused = true)]
async fn mischief_refuses_drops_and_holds_streams() {
    let world = World::new(11).await;
    let mischief = world.cluster.sim().mischief();
    let rule = |action| Rule { matcher: Matcher::on("get", "pods/attach"), turn: Turn::First(1), action };
    mischief.add(rule(Action::Answer(Status::failure(403, "Forbidden", "no"))));
    assert!(
        matches!(world.try_attach(User::admin()).await, Err(AttachFailure::Answered(s)) if s.code == 403)
    );
    mischief.clear();
    mischief.add(rule(Action::DropBeforeCommit));
    assert!(matches!(world.try_attach(User::admin()).await, Err(AttachFailure::Broken(_))));
    mischief.clear();
    let nobody = User::new("nobody", &[]);
    assert!(matches!(world.try_attach(nobody).await, Err(AttachFailure::Answered(s)) if s.code == 403));
    let mut talk = world.opened().await;
    mischief.cut_streams();
    assert!(talk.rest().await.is_empty());
    let mut talk = world.talk("again", 1).await;
    assert!(matches!(talk.order(Order::Hello).await, Report::Ready { .. }), "it has not noticed");
    // Held up for six seconds: an order that comes so late is refused.
    talk.catch_up().await;
    mischief.hold_streams(true);
    let late = talk.line(lift());
    talk.stream.write_all(late.as_bytes()).await.expect("written");
    sleep(6).await;
    mischief.hold_streams(false);
    sleep(1).await;
    talk.catch_up().await;
    let refused = talk.said.iter().find(|line| line.seq == talk.seq && line.session == "again");
    assert!(matches!(refused.map(|l| &l.report), Some(Report::Refused(r)) if r.code == RefusalCode::Late));
    mischief.outage(true);
    assert!(talk.rest().await.is_empty(), "the API server is gone");
    assert!(matches!(world.try_attach(User::admin()).await, Err(AttachFailure::Broken(_))));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_bytes() {
    let run = async |seed| {
        let world = World::new(seed).await;
        let mut talk = world.opened().await;
        let uid = world.uid("cart");
        let jitter = Effect::Latency {
            delay_us: 80_000,
            jitter_us: 40_000,
            correlation_percent: 25.0,
            distribution: Distribution::Pareto,
        };
        talk.order(apply(&uid, both(), jitter)).await;
        talk.beat(30).await;
        talk.order(apply(&uid, both(), Effect::Loss { share_percent: 30.0 })).await;
        talk.beat(30).await;
        talk.order(Order::Leave).await;
        let all = world.ask("sum(http_request_duration_seconds_sum)").await;
        let pods = world.pods("cart");
        format!("{all:?} {:?} {pods:?}", talk.said)
    };
    let first = run(12).await;
    assert_eq!(first, run(12).await);
    assert_ne!(first, run(13).await);
}
