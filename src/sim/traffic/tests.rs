//! Conservation, loss, queueing and determinism.

use super::*;
use crate::sim::metrics::promql::{self, Value};
use proptest::prelude::*;

/// 2026-11-24T10:00:00Z in microseconds.
const START: u64 = 1_795_514_400_000_000;
const SECOND: u64 = 1_000_000;

fn load(per_second: f64) -> ServiceLoad {
    ServiceLoad {
        namespace: "shop".into(),
        name: "checkout".into(),
        app: "checkout".into(),
        per_second,
        arrivals: Spread::Exponential,
        timeout_us: 5 * SECOND,
    }
}

fn pod(n: usize, serving: Serving) -> PodState {
    PodState {
        uid: format!("uid-{n}"),
        name: format!("checkout-{n}"),
        namespace: "shop".into(),
        node: format!("node-{}", n % 3),
        app: "checkout".into(),
        serving_since: START,
        serving,
        calls: std::sync::Arc::default(),
    }
}

fn uids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("uid-{n}")).collect()
}

/// A service with so many pods, all of them endpoints.
fn cluster(seed: u64, per_second: f64, pods: usize, serving: Serving) -> Traffic {
    let mut traffic = Traffic::new(seed, START, ScrapeConfig::default());
    for n in 0..pods {
        traffic.set_pod(pod(n, serving), START);
    }
    traffic.set_service(load(per_second), START);
    traffic.set_endpoints("shop", "checkout", &uids(0..pods), START);
    traffic
}

fn totals(traffic: &Traffic) -> Totals {
    traffic.totals("shop", "checkout").unwrap()
}

fn query(traffic: &Traffic, query: &str) -> f64 {
    let at = (traffic.now() / 1000) as i64;
    match promql::instant(traffic.scrapes(), &promql::parse(query).unwrap(), at).unwrap() {
        Value::Vector(v) if v.len() == 1 => v[0].value,
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn a_healthy_service_answers_everything() {
    let mut traffic = cluster(1, 100.0, 4, Serving::default());
    traffic.advance(START + 600 * SECOND);
    let t = totals(&traffic);
    assert!(t.offered.abs_diff(60_000) < 1000, "{t:?}");
    assert_eq!(t.by_code[0] + t.in_flight, t.offered);
    let rate = query(&traffic, r#"sum(rate(http_requests_total{app="checkout"}[5m]))"#);
    assert!((rate - 100.0).abs() < 3.0, "{rate}");
    let p50 = query(
        &traffic,
        "histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    );
    assert!((0.010..0.018).contains(&p50), "median of an exponential of 20 ms is 13.9 ms, got {p50}");
    let mean = query(
        &traffic,
        "rate(http_request_duration_seconds_sum[5m]) / rate(http_request_duration_seconds_count[5m])",
    );
    assert!((mean - 0.020).abs() < 0.001, "{mean}");
    assert_eq!(query(&traffic, "count(up == 1)"), 5.0, "four pods and the gateway");
}

#[test]
fn losing_half_of_the_pods_costs_half_of_the_requests_until_the_endpoints_follow() {
    let mut traffic = cluster(2, 200.0, 10, Serving::default());
    traffic.advance(START + 60 * SECOND);
    for n in 0..5 {
        traffic.remove_pod(&format!("uid-{n}"), START + 60 * SECOND);
    }
    traffic.set_endpoints("shop", "checkout", &uids(5..10), START + 61 * SECOND);
    traffic.advance(START + 120 * SECOND);
    let t = totals(&traffic);
    // One second until the endpoints change, one until clients follow: half of 400, and about
    // 200/s × 20 ms / 2 = 2 in flight.
    let failed = t.by_code[Code::BadGateway as usize];
    assert!(failed.abs_diff(202) < 45, "{t:?}");
    assert_eq!((t.by_code[2], t.by_code[3]), (0, 0));
    let lowest = promql::range(
        traffic.scrapes(),
        &promql::parse(
            r#"sum(rate(http_requests_total{code!~"5.."}[30s])) / sum(rate(http_requests_total[30s]))"#,
        )
        .unwrap(),
        promql::Range {
            start: (START / 1000) as i64 + 40_000,
            end: (START / 1000) as i64 + 120_000,
            step: 5_000,
        },
    )
    .unwrap();
    let values: Vec<f64> = lowest[0].samples.iter().map(|s| s.v).collect();
    assert_eq!((values[0], values[values.len() - 1]), (1.0, 1.0), "before and healed: {values:?}");
    let min = values.iter().copied().fold(1.0, f64::min);
    assert!((0.92..0.98).contains(&min), "2 of 30 seconds at half: {min}");
    assert_eq!(query(&traffic, r#"count(up{job="kubernetes-pods"})"#), 5.0);
}

#[test]
fn without_endpoints_connections_are_refused_and_a_dead_pod_answers_502() {
    let mut traffic = cluster(3, 50.0, 1, Serving::default());
    traffic.advance(START + 10 * SECOND);
    traffic.set_endpoints("shop", "checkout", &[], START + 10 * SECOND);
    traffic.advance(START + 20 * SECOND);
    let refused = totals(&traffic).by_code[Code::Unavailable as usize];
    assert!(refused.abs_diff(450) < 80, "{refused}");
    traffic.set_endpoints("shop", "checkout", &uids(0..1), START + 20 * SECOND);
    traffic.stop_pod("uid-0", START + 20 * SECOND);
    traffic.advance(START + 31 * SECOND);
    let t = totals(&traffic);
    assert!(t.by_code[Code::BadGateway as usize].abs_diff(500) < 80, "{t:?}");
    assert_eq!(query(&traffic, r#"up{job="kubernetes-pods"}"#), 0.0);
    let restarted = PodState { serving_since: START + 33 * SECOND, ..pod(0, Serving::default()) };
    traffic.set_pod(restarted, START + 31 * SECOND);
    let before = totals(&traffic).by_code[0];
    traffic.advance(START + 33 * SECOND);
    assert_eq!(totals(&traffic).by_code[0], before, "not listening yet");
    traffic.advance(START + 43 * SECOND);
    assert!(totals(&traffic).by_code[0] > before + 400);
}

#[test]
fn overload_queues_then_refuses_and_the_impatient_leave() {
    // Two places of 100 ms each: 20/s. At 18/s requests wait; at 40/s half are refused.
    let serving = Serving { capacity: 2, queue: 20, service_time_us: 100_000, spread: Spread::Exponential };
    let latency = |per_second, timeout_us| {
        let mut traffic = cluster(4, 0.0, 1, serving);
        traffic.set_service(ServiceLoad { timeout_us, ..load(per_second) }, START);
        traffic.advance(START + 3600 * SECOND);
        let t = totals(&traffic);
        let seconds =
            query(&traffic, "http_request_duration_seconds_sum / http_request_duration_seconds_count");
        (seconds, t.by_code.map(|c| c as f64 / t.offered as f64))
    };
    let (idle, _) = latency(2.0, 60 * SECOND);
    assert!((idle - 0.101).abs() < 0.005, "{idle}");
    // M/M/2 at 90 %: 100 ms / (1 - 0.81) = 526 ms; the bounded queue cuts its tail.
    let (busy, share) = latency(18.0, 60 * SECOND);
    assert!((0.35..0.53).contains(&busy), "{busy}");
    assert!(share[Code::Unavailable as usize] < 0.05);
    let (_, share) = latency(40.0, 60 * SECOND);
    assert!((share[Code::Unavailable as usize] - 0.5).abs() < 0.02, "{share:?}");
    let (_, share) = latency(40.0, SECOND / 2);
    assert!(share[Code::Timeout as usize] > 0.3, "twenty before you take a second: {share:?}");
}

#[test]
fn same_seed_same_counters_whatever_the_steps() {
    let run = |seed, step| {
        let mut traffic = cluster(seed, 150.0, 6, Serving { capacity: 2, ..Serving::default() });
        let mut t = START;
        while t < START + 120 * SECOND {
            t += step;
            traffic.advance(t.min(START + 120 * SECOND));
        }
        let all = promql::parse(r#"{__name__=~"http.*"}"#).unwrap();
        let at = (START / 1000) as i64 + 120_000;
        (totals(&traffic), format!("{:?}", promql::instant(traffic.scrapes(), &all, at)))
    };
    assert_eq!(run(5, SECOND), run(5, 120 * SECOND));
    assert_eq!(run(5, SECOND), run(5, 37_013));
    assert_ne!(run(5, SECOND).0, run(6, SECOND).0);
}

#[test]
fn another_service_does_not_change_this_ones_randomness() {
    let mut alone = cluster(8, 100.0, 2, Serving::default());
    let mut beside = cluster(8, 100.0, 2, Serving::default());
    beside.set_service(ServiceLoad { name: "cart".into(), app: "cart".into(), ..load(10.0) }, START);
    alone.advance(START + 60 * SECOND);
    beside.advance(START + 60 * SECOND);
    assert_eq!(totals(&alone), totals(&beside));
}

#[test]
fn an_hour_of_a_big_cluster_is_cheap() {
    let begin = tokio::time::Instant::now();
    let mut traffic = cluster(9, 200.0, 1000, Serving::default());
    traffic.advance(START + 3600 * SECOND);
    let t = totals(&traffic);
    let took = begin.elapsed();
    let rate = t.offered as f64 / took.as_secs_f64() / 1e6;
    println!("an hour, 1,000 pods, {} requests: {took:?}, {rate:.2} million requests/s", t.offered);
    assert!(took.as_secs() < 60, "even unoptimised and on a busy machine: {took:?}");
    assert!(t.offered > 700_000 && t.by_code[0] + t.in_flight == t.offered);
    let rate = query(&traffic, "sum(rate(http_requests_total[1m]))");
    assert!((150.0..250.0).contains(&rate));
}

#[derive(Debug, Clone)]
enum Act {
    Kill(usize),
    Stop(usize),
    Start(usize),
    Endpoints(Vec<usize>),
    Load(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..6_usize).prop_map(Act::Kill),
        (0..6_usize).prop_map(Act::Stop),
        (0..6_usize).prop_map(Act::Start),
        proptest::collection::vec(0..6_usize, 0..6).prop_map(Act::Endpoints),
        (0..400_u16).prop_map(Act::Load),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_is_lost_or_invented(
        seed in any::<u64>(),
        capacity in 1..4_u32,
        queue in 0..5_u32,
        acts in proptest::collection::vec((0..3_000_000_u64, act()), 0..25),
    ) {
        let serving = Serving { capacity, queue, service_time_us: 50_000, spread: Spread::Exponential };
        let mut traffic = cluster(seed, 100.0, 6, serving);
        let (mut t, mut before) = (START, [0; 4]);
        for (after, act) in acts {
            t += after;
            match act {
                Act::Kill(n) => traffic.remove_pod(&format!("uid-{n}"), t),
                Act::Stop(n) => traffic.stop_pod(&format!("uid-{n}"), t),
                Act::Start(n) => traffic.set_pod(PodState { serving_since: t, ..pod(n, serving) }, t),
                Act::Endpoints(all) => {
                    let uids: Vec<String> = all.iter().map(|n| format!("uid-{n}")).collect();
                    traffic.set_endpoints("shop", "checkout", &uids, t);
                }
                Act::Load(rate) => traffic.set_service(load(f64::from(rate)), t),
            }
            let now = totals(&traffic);
            prop_assert_eq!(now.offered, now.by_code.iter().sum::<u64>() + now.in_flight);
            prop_assert!(now.by_code.iter().zip(before).all(|(new, old)| *new >= old));
            before = now.by_code;
        }
        traffic.set_service(load(0.0), t);
        traffic.advance(t + 60 * SECOND);
        let end = totals(&traffic);
        prop_assert_eq!(end.in_flight, 0, "everybody has an answer in the end");
        prop_assert_eq!(end.offered, end.by_code.iter().sum::<u64>());
        let counted = query(&traffic, "sum(http_requests_total)");
        prop_assert_eq!(counted, end.offered as f64);
        prop_assert_eq!(query(&traffic, "http_request_duration_seconds_count"), end.offered as f64);
        prop_assert_eq!(query(&traffic, "http_requests_in_flight"), 0.0);
    }
}
