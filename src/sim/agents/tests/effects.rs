//! What orders do to traffic, probes, scrapes and containers.

use super::*;

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
    let count = || Order::Count { injection: InjectionId("slow.0".into()) };
    let Report::Counted { met: so_far, .. } = talk.order(count()).await else { panic!("not counted") };
    let Report::Lifted { was: true, met, .. } = talk.order(lift()).await else { panic!("not lifted") };
    // 20 a second, each with its own answer and a call, and the kubelet's probes.
    assert!((2_400..3_000).contains(&met) && so_far <= met, "{so_far}, {met}");
    // Whoever asks again hears the same.
    let report = talk.order(lift()).await;
    assert_eq!(report, Report::Lifted { injection: InjectionId("slow.0".into()), was: false, met });
    assert_eq!(talk.order(count()).await, Report::Counted { injection: InjectionId("slow.0".into()), met });
    talk.beat(60).await;
    near(world.latency("cart").await, 0.040);
    near(world.latency("vault").await, 0.020);
}

#[tokio::test(start_paused = true)]
async fn what_lies_where_nobody_sends_anything_meets_nobody() {
    let world = World::new(1).await;
    let mut talk = world.opened().await;
    let uid = world.uid("cart");
    let port = Leg { ports: vec![PortRange { first: 5432, last: 5432 }], ..leg(Direction::Egress) };
    talk.order(apply(&uid, vec![port], latency(100))).await;
    let address =
        world.pods("cart")[0].1["status"]["podIP"].as_str().expect("one").parse().expect("an address");
    let measure = Order::Measure {
        pod: uid,
        address,
        direction: Direction::Egress,
        protocol: Protocol::Tcp,
        port: Some(5432),
        count: 5,
        timeout_ms: 1_000,
    };
    let Report::Measured { rtt_us, .. } = talk.order(measure).await else { panic!("not measured") };
    assert!(rtt_us.iter().all(|rtt| *rtt >= 100_000), "the agent sees it: {rtt_us:?}");
    talk.beat(30).await;
    let report = talk.order(lift()).await;
    assert_eq!(report, Report::Lifted { injection: InjectionId("slow.0".into()), was: true, met: 0 });
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
    let Report::Killed { processes, seen, .. } = talk.order(kill(0, &id, Some("nginx"), Signal::Kill)).await
    else {
        panic!("{:?}", talk.said)
    };
    assert!(processes.is_empty(), "there is none of that name");
    assert_eq!(seen, ["cart"], "those that there are, are named");
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
