//! Calls between services: what a slow, a missing or an overloaded dependency does to those who call it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::sim::annotations::CALLS;
use crate::sim::metrics::promql::{self, Value};

/// 2026-11-24T10:00:00Z in microseconds.
const START: u64 = 1_795_514_400_000_000;
const SECOND: u64 = 1_000_000;

/// Pods of one Service.
#[derive(Clone, Copy)]
struct Shape {
    pods: usize,
    serving: Serving,
    calls: &'static str,
}

/// So many pods that take so long for a request, always.
fn shape(pods: usize, service_time_us: u64, calls: &'static str) -> Shape {
    let serving = Serving { service_time_us, spread: Spread::Constant, capacity: 1000, queue: 1000 };
    Shape { pods, serving, calls }
}

fn uid(service: &str, n: usize) -> String {
    format!("{service}-{n}")
}

fn pod(service: &str, n: usize, shape: Shape) -> PodState {
    let annotations = BTreeMap::from([(CALLS.to_owned(), shape.calls.to_owned())]);
    let annotations = if shape.calls.is_empty() { BTreeMap::new() } else { annotations };
    PodState {
        uid: uid(service, n),
        name: uid(service, n),
        namespace: "shop".into(),
        node: "n1".into(),
        app: service.into(),
        serving_since: START,
        serving: shape.serving,
        calls: Call::from_annotations("shop", &annotations).expect("a literal of this test"),
    }
}

fn load(service: &str, per_second: f64) -> ServiceLoad {
    ServiceLoad {
        namespace: "shop".into(),
        name: service.into(),
        app: service.into(),
        per_second,
        arrivals: Spread::Exponential,
        timeout_us: 10 * SECOND,
    }
}

fn endpoints(traffic: &mut Traffic, service: &str, of: std::ops::Range<usize>) {
    let (uids, now): (Vec<String>, u64) = (of.map(|n| uid(service, n)).collect(), traffic.now());
    traffic.set_endpoints("shop", service, &uids, now);
}

fn serve(traffic: &mut Traffic, service: &str, shape: Shape) {
    let now = traffic.now();
    (0..shape.pods).for_each(|n| traffic.set_pod(pod(service, n, shape), now));
}

/// Services, each with its offered load and its pods.
fn cluster(seed: u64, services: &[(&str, f64, Shape)]) -> Traffic {
    let mut traffic = Traffic::new(seed, START, ScrapeConfig::default());
    for (service, per_second, shape) in services {
        serve(&mut traffic, service, *shape);
        traffic.set_service(load(service, *per_second), START);
        endpoints(&mut traffic, service, 0..shape.pods);
    }
    traffic
}

fn after(traffic: &mut Traffic, seconds: u64) {
    let to = traffic.now() + seconds * SECOND;
    traffic.advance(to);
}

fn totals(traffic: &Traffic, service: &str) -> Totals {
    traffic.totals("shop", service).expect("it is there")
}

/// What a service answered since, in the order of [`Code::ALL`].
fn since(traffic: &Traffic, service: &str, before: Totals) -> [u64; 4] {
    let now = totals(traffic, service);
    std::array::from_fn(|n| now.by_code[n] - before.by_code[n])
}

fn query(traffic: &Traffic, query: &str) -> f64 {
    let at = i64::try_from(traffic.now() / 1000).expect("a time of this test");
    match promql::instant(traffic.scrapes(), &promql::parse(query).expect("a literal"), at).expect("a value")
    {
        Value::Vector(v) if v.len() == 1 => v[0].value,
        other => panic!("{query}: {other:?}"),
    }
}

/// Mean latency of a service over the last minute.
fn latency(traffic: &Traffic, service: &str) -> f64 {
    let of = |what| format!("rate(http_request_duration_seconds_{what}{{service=\"{service}\"}}[1m])");
    query(traffic, &format!("{} / {}", of("sum"), of("count")))
}

#[test]
fn a_slow_dependency_makes_its_callers_slow_and_then_fails_them_at_the_time_out() {
    let slow = |time| shape(2, time, "");
    let checkout = shape(4, 20_000, "vault timeout=500ms");
    let mut traffic = cluster(1, &[("checkout", 50.0, checkout), ("vault", 0.0, slow(100_000))]);
    after(&mut traffic, 120);
    assert!((latency(&traffic, "checkout") - 0.120).abs() < 1e-6, "20 ms of its own and 100 of the vault's");
    assert!((latency(&traffic, "vault") - 0.100).abs() < 1e-6);
    let (checkout, vault) = (totals(&traffic, "checkout"), totals(&traffic, "vault"));
    assert_eq!(checkout.by_code[1..], [0, 0, 0]);
    assert!(checkout.offered - vault.offered < 10, "one call for each request: {checkout:?} {vault:?}");
    serve(&mut traffic, "vault", slow(400_000));
    after(&mut traffic, 120);
    assert!((latency(&traffic, "checkout") - 0.420).abs() < 1e-6, "slow, and still within the time-out");
    serve(&mut traffic, "vault", slow(3_000_000));
    after(&mut traffic, 30);
    let before = totals(&traffic, "checkout");
    after(&mut traffic, 90);
    let [ok, bad, unavailable, timeout] = since(&traffic, "checkout", before);
    assert_eq!([ok, bad, unavailable], [0, 0, 0], "everything waits for the vault");
    assert!(timeout.abs_diff(4500) < 300, "{timeout}");
    assert!((latency(&traffic, "checkout") - 0.520).abs() < 1e-6, "no longer than the time-out");
    assert!((latency(&traffic, "vault") - 0.500).abs() < 1e-6, "the vault's callers leave it then");
}

#[test]
fn callers_that_wait_fill_up_and_so_do_theirs_while_none_of_them_works() {
    let narrow = |calls| Shape {
        serving: Serving { capacity: 4, queue: 8, service_time_us: 20_000, spread: Spread::Constant },
        ..shape(2, 0, calls)
    };
    let services = [
        ("front", 40.0, narrow("checkout timeout=20s")),
        ("checkout", 0.0, narrow("vault timeout=20s")),
        ("vault", 0.0, shape(2, 50_000, "")),
    ];
    let mut traffic = cluster(2, &services);
    after(&mut traffic, 120);
    assert_eq!(totals(&traffic, "front").by_code[1..], [0, 0, 0]);
    let busy = traffic.busy_share("checkout-0");
    assert!((0.05..0.2).contains(&busy), "20/s of 20 ms in four places: {busy}");
    serve(&mut traffic, "vault", shape(2, 10 * SECOND, ""));
    after(&mut traffic, 60);
    let before = (totals(&traffic, "front"), totals(&traffic, "checkout"));
    after(&mut traffic, 600);
    // Eight places of ten seconds each, at both levels, not all of them used since chance spreads the calls: under
    // one request a second of forty.
    let [ok, ..] = since(&traffic, "checkout", before.1);
    assert!((300..=480).contains(&ok), "{ok}");
    let front = since(&traffic, "front", before.0);
    assert!(front[0] < 500, "{front:?}");
    assert!(front[Code::Unavailable as usize] > 20_000, "its own queue is full: {front:?}");
    assert!(traffic.busy_share("checkout-0") < 0.01, "waiting is no work");
    assert_eq!(traffic.in_flight("front-0"), 12, "four places and eight waiting");
    serve(&mut traffic, "vault", shape(2, 50_000, ""));
    after(&mut traffic, 60);
    let before = totals(&traffic, "front");
    after(&mut traffic, 60);
    assert_eq!(since(&traffic, "front", before)[1..], [0, 0, 0], "it heals when the vault does");
}

#[test]
fn retries_multiply_what_a_failing_service_is_asked_as_theory_says() {
    // One of four endpoints is dead and still listed: each attempt fails with p = 1/4, by itself.
    for (calls, retries) in [("vault", 0), ("vault retries=1", 1), ("vault retries=3 backoff=10ms", 3)] {
        let services = [("checkout", 200.0, shape(4, 1_000, calls)), ("vault", 0.0, shape(4, 5_000, ""))];
        let mut traffic = cluster(3, &services);
        traffic.stop_pod("vault-0", START);
        after(&mut traffic, 600);
        traffic.set_service(load("checkout", 0.0), traffic.now());
        after(&mut traffic, 10);
        let (checkout, vault) = (totals(&traffic, "checkout"), totals(&traffic, "vault"));
        let p = 0.25_f64;
        let expected: f64 = (0..=retries).map(|n| p.powi(n)).sum();
        let attempts = vault.offered as f64 / checkout.offered as f64;
        assert!((attempts - expected).abs() < 0.01, "{calls}: {attempts} for {expected}");
        let failed = checkout.by_code[Code::BadGateway as usize] as f64 / checkout.offered as f64;
        let expected = p.powi(retries + 1);
        assert!((failed - expected).abs() < 0.1 * expected + 5e-4, "{calls}: {failed} for {expected}");
        assert_eq!(checkout.offered, checkout.by_code.iter().sum::<u64>());
    }
}

/// What share of a minute's checkouts succeeds before a slow half minute of the vault, after it, and after the
/// checkout's clients have stayed away for a minute.
fn storm(calls: &'static str) -> [f64; 3] {
    // 200 requests a second at most; a full queue is two seconds long.
    let vault = |service_time_us| Shape {
        serving: Serving { capacity: 10, queue: 100, service_time_us, spread: Spread::Constant },
        ..shape(4, 0, "")
    };
    let services = [("checkout", 100.0, shape(4, 1_000, calls)), ("vault", 0.0, vault(200_000))];
    let mut traffic = cluster(4, &services);
    let share = |traffic: &mut Traffic| {
        let before = totals(traffic, "checkout");
        after(traffic, 60);
        let answers = since(traffic, "checkout", before);
        answers[0] as f64 / answers.iter().sum::<u64>() as f64
    };
    after(&mut traffic, 60);
    let calm = share(&mut traffic);
    serve(&mut traffic, "vault", vault(2_000_000));
    after(&mut traffic, 30);
    serve(&mut traffic, "vault", vault(200_000));
    after(&mut traffic, 600);
    let later = share(&mut traffic);
    traffic.set_service(load("checkout", 0.0), traffic.now());
    after(&mut traffic, 60);
    traffic.set_service(load("checkout", 100.0), traffic.now());
    after(&mut traffic, 10);
    [calm, later, share(&mut traffic)]
}

#[test]
fn a_retry_storm_outlives_its_cause_and_without_retries_there_is_none() {
    let [calm, later, rested] = storm("vault timeout=500ms");
    assert_eq!([calm, later, rested], [1.0; 3], "half of what the vault can do: it drains its queue");
    let [calm, later, rested] = storm("vault timeout=500ms retries=4");
    assert_eq!(calm, 1.0, "retries cost nothing while nothing fails");
    assert!(later < 0.05, "ten minutes after the cause has gone: {later}");
    assert_eq!(rested, 1.0, "a minute without load ends it");
}

#[test]
fn a_call_fails_its_request_at_once_where_nobody_listens_unless_it_is_optional() {
    let outcome = |calls, endpoints_of: Option<usize>| {
        let services = [("checkout", 50.0, shape(2, 20_000, calls)), ("vault", 0.0, shape(2, 5_000, ""))];
        let mut traffic = cluster(5, &services);
        if let Some(pods) = endpoints_of {
            endpoints(&mut traffic, "vault", 0..pods);
        }
        // Callers follow endpoints after a second, and those on their way have their answers.
        after(&mut traffic, 5);
        let before = ["checkout", "vault"].map(|service| totals(&traffic, service));
        after(&mut traffic, 120);
        let codes = |service, before| since(&traffic, service, before).map(|n| n > 0);
        (codes("checkout", before[0]), latency(&traffic, "checkout"), codes("vault", before[1]))
    };
    let only = |code: Code| Code::ALL.map(|one| one == code);
    let (codes, seconds, vault) = outcome("vault", Some(0));
    assert_eq!((codes, vault), (only(Code::BadGateway), only(Code::Unavailable)));
    assert!((seconds - 0.020).abs() < 1e-6, "refused, not waited for: {seconds}");
    let (codes, seconds, vault) = outcome("vault optional retries=2 backoff=40ms", Some(0));
    assert_eq!((codes, vault), (only(Code::Ok), only(Code::Unavailable)));
    assert!((seconds - 0.140).abs() < 1e-6, "20 ms of work, 40 and 80 before the retries: {seconds}");
    let (codes, _, vault) = outcome("nobody.nowhere", None);
    assert_eq!((codes, vault), (only(Code::BadGateway), [false; 4]), "a name that nobody has");
    let (codes, _, vault) = outcome("nobody optional, vault", None);
    assert_eq!((codes, vault), (only(Code::Ok), only(Code::Ok)));
}

#[test]
fn a_port_that_the_service_does_not_have_is_refused_to_callers() {
    for (calls, fails) in [("vault:80", false), ("vault", false), ("vault:81", true)] {
        let services = [("checkout", 50.0, shape(2, 20_000, calls)), ("vault", 0.0, shape(2, 5_000, ""))];
        let mut traffic = cluster(5, &services);
        traffic.set_ports("shop", "vault", vec![ServicePort { port: 80, behind: 8080, tls: false }]);
        after(&mut traffic, 30);
        assert_eq!(totals(&traffic, "checkout").by_code[0] == 0, fails, "{calls}");
        assert_eq!(totals(&traffic, "vault").offered == 0, fails, "{calls}");
    }
}

#[test]
fn a_request_makes_as_many_calls_as_stated() {
    let checkout = shape(2, 1_000, "rates x3, audit 10%");
    let leaf = shape(1, 1_000, "");
    let mut traffic =
        cluster(6, &[("checkout", 100.0, checkout), ("rates", 0.0, leaf), ("audit", 0.0, leaf)]);
    after(&mut traffic, 600);
    traffic.set_service(load("checkout", 0.0), traffic.now());
    after(&mut traffic, 10);
    let [checkout, rates, audit] = ["checkout", "rates", "audit"].map(|name| totals(&traffic, name).offered);
    assert_eq!(rates, 3 * checkout);
    assert!((audit as f64 / checkout as f64 - 0.1).abs() < 0.005, "{audit} of {checkout}");
}

#[test]
fn services_that_call_each_other_in_a_circle_come_to_an_end() {
    let services = [("ping", 5.0, shape(2, 1_000, "pong")), ("pong", 0.0, shape(2, 1_000, "ping"))];
    let mut traffic = cluster(7, &services);
    after(&mut traffic, 600);
    traffic.set_service(load("ping", 0.0), traffic.now());
    after(&mut traffic, 60);
    let (ping, pong) = (totals(&traffic, "ping"), totals(&traffic, "pong"));
    let hops = u64::from(MOST_HOPS);
    let asked = ping.offered - pong.offered;
    assert_eq!((ping.offered, pong.offered), (asked * (hops / 2 + 1), asked * hops / 2));
    assert_eq!((ping.by_code[0], ping.in_flight, pong.in_flight), (ping.offered, 0, 0));
    // Three calls to itself for each: 3^16 requests from one. It chokes on them, and time goes on.
    let narrow = Shape {
        serving: Serving { capacity: 4, queue: 8, service_time_us: 20_000, spread: Spread::Exponential },
        ..shape(2, 0, "echo x3 timeout=1s retries=2")
    };
    let mut traffic = cluster(7, &[("echo", 5.0, narrow)]);
    after(&mut traffic, 600);
    let echo = totals(&traffic, "echo");
    assert!(echo.by_code[1..].iter().sum::<u64>() > echo.offered / 2, "{echo:?}");
    assert!(echo.offered < 5_000_000, "{echo:?}");
    traffic.set_service(load("echo", 0.0), traffic.now());
    traffic.stop_pod("echo-0", traffic.now());
    traffic.stop_pod("echo-1", traffic.now());
    after(&mut traffic, 60);
    assert_eq!(totals(&traffic, "echo").in_flight, 0);
}

#[test]
fn a_caller_that_dies_loses_its_requests_and_not_those_of_the_others() {
    let services = [("checkout", 100.0, shape(2, 20_000, "vault")), ("vault", 0.0, shape(2, 500_000, ""))];
    let mut traffic = cluster(8, &services);
    after(&mut traffic, 60);
    assert_eq!(totals(&traffic, "checkout").by_code[1..], [0, 0, 0]);
    traffic.remove_pod("checkout-0", traffic.now());
    endpoints(&mut traffic, "checkout", 1..2);
    let lost = totals(&traffic, "checkout").by_code[Code::BadGateway as usize];
    assert!((10..45).contains(&lost), "50/s of 520 ms: {lost}");
    after(&mut traffic, 10);
    let before = totals(&traffic, "checkout");
    after(&mut traffic, 60);
    assert_eq!(since(&traffic, "checkout", before)[1..], [0, 0, 0]);
    traffic.stop_pod("vault-0", traffic.now());
    after(&mut traffic, 1);
    let failed = since(&traffic, "checkout", before)[Code::BadGateway as usize];
    assert!(failed > 50, "what the vault held, and half of a second: {failed}");
    assert_eq!(totals(&traffic, "vault").by_code[Code::BadGateway as usize], failed);
}

#[test]
fn same_seed_same_counters_whatever_the_steps() {
    let run = |seed, step| {
        let narrow = |calls| Shape {
            serving: Serving { capacity: 3, queue: 5, service_time_us: 30_000, spread: Spread::Exponential },
            ..shape(3, 0, calls)
        };
        let services = [
            ("front", 40.0, narrow("checkout timeout=300ms retries=2 backoff=20ms, ads 50% optional")),
            ("checkout", 10.0, narrow("vault x2 timeout=200ms retries=1")),
            ("vault", 5.0, narrow("")),
            ("ads", 0.0, narrow("front 1%")),
        ];
        let mut traffic = cluster(seed, &services);
        let end = START + 240 * SECOND;
        for n in 0..(240 * SECOND / step) {
            traffic.advance(START + n * step);
            if n == 90 * SECOND / step {
                traffic.advance(START + 90 * SECOND);
                traffic.remove_pod("vault-1", START + 90 * SECOND);
                traffic.remove_pod("checkout-2", START + 90 * SECOND);
            }
        }
        traffic.advance(end);
        let all = promql::parse(r#"{__name__=~"http.*"}"#).expect("a literal");
        let at = i64::try_from(end / 1000).expect("a time of this test");
        format!("{:?}", promql::instant(traffic.scrapes(), &all, at))
    };
    assert_eq!(run(5, SECOND), run(5, 90 * SECOND));
    assert_eq!(run(5, SECOND), run(5, 5_000));
    assert_ne!(run(5, SECOND), run(6, SECOND));
}

#[test]
fn callers_of_a_service_do_not_change_when_its_own_clients_come() {
    let run = |calls| {
        let services = [("checkout", 20.0, shape(2, 1_000, calls)), ("vault", 50.0, shape(2, 5_000, ""))];
        let mut traffic = cluster(9, &services);
        after(&mut traffic, 60);
        totals(&traffic, "vault").offered
            - if calls.is_empty() { 0 } else { totals(&traffic, "checkout").offered }
    };
    assert!(run("").abs_diff(run("vault")) <= 1, "one request may be on its way");
}

#[derive(Debug, Clone)]
enum Act {
    Kill(usize),
    Stop(usize),
    Start(usize),
    Endpoints(usize),
    Load(u16),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..6_usize).prop_map(Act::Kill),
        (0..6_usize).prop_map(Act::Stop),
        (0..6_usize).prop_map(Act::Start),
        (0..4_usize).prop_map(Act::Endpoints),
        (0..100_u16).prop_map(Act::Load),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nothing_is_lost_or_invented(
        seed in any::<u64>(),
        capacity in 1..4_u32,
        queue in 0..5_u32,
        calls in prop_oneof![
            Just("vault timeout=100ms retries=2 backoff=30ms"),
            Just("vault x2 optional, checkout 20% timeout=200ms"),
            Just("nobody 30%, vault 50%"),
        ],
        acts in proptest::collection::vec((0..2_000_000_u64, act()), 0..20),
    ) {
        let serving = Serving { capacity, queue, service_time_us: 50_000, spread: Spread::Exponential };
        let shapes = [
            ("checkout", Shape { serving, ..shape(3, 0, calls) }),
            ("vault", Shape { serving, ..shape(3, 0, "") }),
        ];
        let mut traffic = cluster(seed, &[("checkout", 50.0, shapes[0].1), ("vault", 1.0, shapes[1].1)]);
        let mut t = START;
        for (after, act) in acts {
            t += after;
            let who = |n: usize| (shapes[n / 3], n % 3);
            match act {
                Act::Kill(n) => traffic.remove_pod(&uid(who(n).0.0, who(n).1), t),
                Act::Stop(n) => traffic.stop_pod(&uid(who(n).0.0, who(n).1), t),
                Act::Start(n) => {
                    let ((service, shape), n) = who(n);
                    traffic.set_pod(PodState { serving_since: t, ..pod(service, n, shape) }, t);
                }
                Act::Endpoints(n) => {
                    traffic.advance(t);
                    endpoints(&mut traffic, "vault", 0..n);
                }
                Act::Load(rate) => traffic.set_service(load("checkout", f64::from(rate)), t),
            }
            for service in ["checkout", "vault"] {
                let now = totals(&traffic, service);
                prop_assert_eq!(now.offered, now.by_code.iter().sum::<u64>() + now.in_flight);
            }
        }
        traffic.set_service(load("checkout", 0.0), t);
        traffic.set_service(load("vault", 0.0), t);
        traffic.advance(t + 120 * SECOND);
        for service in ["checkout", "vault"] {
            let end = totals(&traffic, service);
            prop_assert_eq!(end.in_flight, 0, "everybody has an answer in the end");
            prop_assert_eq!(end.offered, end.by_code.iter().sum::<u64>());
        }
        prop_assert_eq!((traffic.works.len(), traffic.events.len()), (0, 0), "nothing stays behind");
    }
}
