use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::agent::wire::{Distribution, Disturbance, Effect, Leg};
use crate::sim::metrics::scrape::ScrapeConfig;
use crate::sim::store::{Kind, Object};
use crate::sim::traffic::{Call, Code, PodState, ServiceLoad, ServicePort, Serving, Spread, Totals};
use crate::types::InjectionId;

/// 2026-11-24T10:00:00Z in microseconds.
const START: u64 = 1_795_514_400_000_000;
const SECOND: u64 = 1_000_000;

fn pod(service: &str, n: usize, calls: &str) -> PodState {
    let calls = std::collections::BTreeMap::from([("sim.firedrill.dev/calls".to_owned(), calls.to_owned())]);
    PodState {
        uid: format!("{service}-{n}"),
        name: format!("{service}-{n}"),
        namespace: "shop".into(),
        node: "n1".into(),
        app: service.into(),
        serving_since: START,
        serving: Serving { service_time_us: 20_000, spread: Spread::Constant, ..Serving::default() },
        calls: Call::from_annotations("shop", &calls).unwrap_or_default(),
    }
}

/// A cart of two pods that calls a vault of two, in a network that knows their addresses.
fn shop(seed: u64) -> Traffic {
    let mut traffic = Traffic::new(seed, START, ScrapeConfig::default());
    let mut network = Network::default();
    for (m, (service, calls, per_second)) in
        [("cart", "vault timeout=1s retries=1", 50.0), ("vault", "", 0.0)].into_iter().enumerate()
    {
        let names = ("shop", service, service);
        let load = ServiceLoad::from_annotations(names, &std::collections::BTreeMap::new());
        traffic.set_service(ServiceLoad { per_second, ..load.expect("no annotation is wrong") }, START);
        for n in 0..2 {
            let uid = format!("{service}-{n}");
            traffic.set_pod(pod(service, n, calls), START);
            let object = json!({"metadata": {"name": uid, "namespace": "shop", "uid": uid},
                "spec": {"nodeName": "n1"}, "status": {"podIP": format!("10.244.{m}.{}", n + 2)}});
            network.apply(&Object::from_value(Kind::POD, object).expect("a literal"), false);
        }
        traffic.set_ports("shop", service, vec![ServicePort { port: 80, behind: 8080, tls: false }]);
        traffic.set_address("shop", service, format!("10.96.0.{m}").parse().ok());
        let uids = [format!("{service}-0"), format!("{service}-1")];
        traffic.set_endpoints("shop", service, &uids, START);
    }
    traffic.set_network(network, START);
    traffic
}

fn held(name: &str, directions: &[Direction], effect: Effect) -> Held {
    let leg = |direction: &Direction| Leg {
        direction: *direction,
        peers: Vec::new(),
        except: Vec::new(),
        ports: Vec::new(),
        protocol: None,
    };
    Held {
        agent: "agent".into(),
        address: None,
        injection: InjectionId(name.into()),
        disturbance: Disturbance { legs: directions.iter().map(leg).collect(), effect },
    }
}

fn delay(ms: u64) -> Effect {
    let distribution = Distribution::Normal;
    Effect::Latency { delay_us: ms * 1000, jitter_us: 0, correlation_percent: 0.0, distribution }
}

const BOTH: [Direction; 2] = [Direction::Egress, Direction::Ingress];

fn totals(traffic: &Traffic, service: &str) -> Totals {
    traffic.totals("shop", service).expect("it is there")
}

#[test]
fn an_answer_that_is_lost_was_worked_for() {
    let mut traffic = shop(1);
    for n in 0..2 {
        traffic.impair(&format!("vault-{n}"), held("cut.0", &[Direction::Egress], Effect::Partition), START);
    }
    traffic.advance(START + 120 * SECOND);
    assert_eq!(totals(&traffic, "vault").by_code[0], 0);
    let busy = traffic.busy_share("vault-0");
    // The cart's 64 places are held for two time-outs each: so many attempts a second, over two pods of 32 places.
    let attempts = 2.0 * 64.0 / 2.020;
    assert!((busy - attempts / 2.0 * 0.020 / 32.0).abs() < 0.001, "{busy}");
    traffic.lift(|_, _| true, START + 120 * SECOND);
    traffic.advance(START + 130 * SECOND);
    let before = totals(&traffic, "cart");
    traffic.advance(START + 160 * SECOND);
    assert_eq!(totals(&traffic, "cart").by_code[1..], before.by_code[1..], "all is as before");
}

#[test]
fn a_delay_longer_than_the_time_out_is_a_time_out_and_the_work_is_done_all_the_same() {
    let mut traffic = shop(2);
    for n in 0..2 {
        traffic.impair(&format!("vault-{n}"), held("slow.0", &[Direction::Ingress], delay(1_500)), START);
    }
    traffic.advance(START + 60 * SECOND);
    let vault = totals(&traffic, "vault");
    assert_eq!((vault.by_code[Code::Ok as usize], vault.by_code[Code::BadGateway as usize]), (0, 0));
    assert!(vault.by_code[Code::Timeout as usize] > 3_500, "{vault:?}");
    assert!(traffic.busy_share("vault-0") > 0.018);
}

#[test]
fn a_disturbance_of_one_pod_is_not_felt_by_those_who_go_to_the_other() {
    let mut traffic = shop(3);
    traffic.impair("vault-0", held("cut.0", &BOTH, Effect::Partition), START);
    traffic.advance(START + 120 * SECOND);
    let vault = totals(&traffic, "vault");
    let share = vault.by_code[Code::Timeout as usize] as f64 / vault.offered as f64;
    assert!((share - 0.5).abs() < 0.03, "{share}");
    let failed = totals(&traffic, "cart").by_code[Code::Timeout as usize] as f64;
    let share = failed / totals(&traffic, "cart").offered as f64;
    assert!((share - 0.25).abs() < 0.03, "one retry: {share}");
}

#[derive(Debug, Clone)]
enum Act {
    Impair(usize, u8),
    Lift(u8),
    Remove(usize),
    Start(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..4_usize, 0..3_u8).prop_map(|(pod, kind)| Act::Impair(pod, kind)),
        (0..3_u8).prop_map(Act::Lift),
        (0..4_usize).prop_map(Act::Remove),
        (0..4_usize).prop_map(Act::Start),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nothing_is_lost_or_invented(
        seed in any::<u64>(),
        acts in proptest::collection::vec((0..2_000_000_u64, act()), 0..20),
        step in prop_oneof![Just(SECOND), Just(7_001_u64)],
    ) {
        let run = |step: Option<u64>| {
            let mut traffic = shop(seed);
            let mut t = START;
            for (after, act) in &acts {
                let from = t;
                t += after;
                for at in step.into_iter().flat_map(|step| (from..t).step_by(step as usize)) {
                    traffic.advance(at);
                }
                let of = |n: usize| (["cart", "vault"][n / 2], n % 2);
                let uid = |n: usize| format!("{}-{}", of(n).0, of(n).1);
                match act {
                    Act::Impair(n, kind) => {
                        let effect = match kind {
                            0 => delay(700),
                            1 => Effect::Loss { share_percent: 40.0 },
                            _ => Effect::Partition,
                        };
                        traffic.impair(&uid(*n), held(&kind.to_string(), &BOTH, effect), t);
                    }
                    Act::Lift(kind) => drop(traffic.lift(|_, held| held.injection.0 == kind.to_string(), t)),
                    Act::Remove(n) => traffic.remove_pod(&uid(*n), t),
                    Act::Start(n) => {
                        let calls = if of(*n).0 == "cart" { "vault timeout=1s retries=1" } else { "" };
                        traffic.set_pod(PodState { serving_since: t, ..pod(of(*n).0, of(*n).1, calls) }, t);
                    }
                }
            }
            let none = std::collections::BTreeMap::new();
            let quiet = ServiceLoad::from_annotations(("shop", "cart", "cart"), &none).expect("a literal");
            traffic.set_service(quiet, t);
            traffic.advance(t + 60 * SECOND);
            let ends = ["cart", "vault"].map(|service| totals(&traffic, service));
            let left = (traffic.works.len(), traffic.events.len(), traffic.journeys.as_ref().map_or(0, |j| j.len()));
            (ends, left)
        };
        let (ends, left) = run(None);
        prop_assert_eq!(left, (0, 0, 0), "nothing stays behind");
        for end in ends {
            prop_assert_eq!((end.in_flight, end.offered), (0, end.by_code.iter().sum::<u64>()));
        }
        prop_assert_eq!(run(Some(step)), (ends, left), "whatever the steps");
    }
}
