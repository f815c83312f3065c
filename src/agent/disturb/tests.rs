//! Composition: what several faults make of one packet.

use proptest::prelude::*;

use super::{
    select::tests::{any_leg, any_packet},
    *,
};
use crate::agent::wire::{Distribution, Leg};

fn name(text: &str) -> InjectionId {
    InjectionId::new(text, 1)
}

fn everything(direction: Direction) -> Leg {
    Leg { direction, peers: Vec::new(), except: Vec::new(), ports: Vec::new(), protocol: None }
}

fn latency(millis: u64, jitter: u64) -> Effect {
    Effect::Latency {
        delay_us: millis * 1000,
        jitter_us: jitter * 1000,
        correlation_percent: 0.0,
        distribution: Distribution::Normal,
    }
}

fn with(legs: Vec<Leg>, effect: Effect) -> Disturbance {
    Disturbance { legs, effect }
}

fn any_effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        (1u64..50, 0u64..2).prop_map(|(delay, jitter)| latency(delay, jitter)),
        (1.0f64..100.0).prop_map(|share_percent| Effect::Loss { share_percent }),
        Just(Effect::Partition),
    ]
}

fn one_packet() -> Packet {
    let bytes = crate::agent::packet::tests::packet("10.0.0.1", "10.0.0.2", 6, 80);
    Packet::read(&bytes).expect("a packet")
}

#[test]
fn delays_add_up_and_a_loss_wins() {
    let mut faults = Faults::default();
    let leg = || vec![everything(Direction::Egress)];
    faults.set(&name("a"), &with(leg(), latency(10, 0)), &[]);
    faults.set(&name("b"), &with(leg(), latency(20, 0)), &[]);
    let Decision::Delay(delays) = faults.decide(&one_packet(), Direction::Egress) else { panic!("no delay") };
    assert_eq!(delays.iter().map(|(_, delay)| delay.as_millis()).sum::<u128>(), 30);
    assert_eq!(faults.decide(&one_packet(), Direction::Ingress), Decision::Pass);
    faults.set(&name("c"), &with(leg(), Effect::Partition), &[]);
    assert_eq!(faults.decide(&one_packet(), Direction::Egress), Decision::Lose);
    let (_, met) = faults.lift(&name("c")).expect("in force");
    assert_eq!(met, Met { delayed: 0, lost: 1, others: 1 });
    assert!(matches!(faults.decide(&one_packet(), Direction::Egress), Decision::Delay(_)));
}

/// A fault that meets nothing but the agent that measures it has met nobody.
#[test]
fn what_the_agent_itself_sends_is_not_counted() {
    let mut faults = Faults::default();
    let (own, other) = ("10.0.0.2".parse().expect("an address"), "10.0.0.3".parse().expect("an address"));
    let elsewhere =
        || Leg { peers: vec!["192.0.2.0/24".parse().expect("a block")], ..everything(Direction::Egress) };
    faults.set(&name("a"), &with(vec![elsewhere()], Effect::Loss { share_percent: 1.0 }), &[own]);
    faults.set(&name("b"), &with(vec![everything(Direction::Egress)], latency(10, 0)), &[other]);
    for _ in 0..10 {
        faults.decide(&one_packet(), Direction::Egress);
    }
    // New peers begin no new count.
    faults.set(&name("b"), &with(vec![elsewhere()], latency(10, 0)), &[other]);
    assert_eq!((faults.met(&name("a")).others, faults.met(&name("b")).others), (0, 10));
    assert_eq!(faults.lift(&name("b")).expect("in force").1, Met { delayed: 10, lost: 0, others: 10 });
    assert_eq!(faults.met(&name("b")), Met::default());
}

#[test]
fn neighbour_discovery_passes_a_partition() {
    let mut faults = Faults::default();
    faults.set(&name("a"), &with(vec![everything(Direction::Egress)], Effect::Partition), &[]);
    let mut bytes = crate::agent::packet::tests::packet("fd00::1", "fd00::2", 58, 0);
    bytes[40] = 135;
    let packet = Packet::read(&bytes).expect("a packet");
    assert_eq!(faults.decide(&packet, Direction::Egress), Decision::Pass);
}

#[test]
fn new_peers_do_not_begin_the_dice_anew() {
    let mut faults = Faults::default();
    let mut other = Faults::default();
    let loss = || Effect::Loss { share_percent: 50.0 };
    for faults in [&mut faults, &mut other] {
        faults.set(&name("a"), &with(vec![everything(Direction::Egress)], loss()), &[]);
    }
    let mut fell = Vec::new();
    for round in 0..200 {
        if round % 10 == 0 {
            faults.set(&name("a"), &with(vec![everything(Direction::Egress)], loss()), &[]);
        }
        fell.push(faults.decide(&one_packet(), Direction::Egress));
        assert_eq!(fell.last(), Some(&other.decide(&one_packet(), Direction::Egress)), "round {round}");
    }
    assert!(fell.contains(&Decision::Lose) && fell.contains(&Decision::Pass));
}

proptest! {
    /// What one fault does to a packet is the same whether others are there, come, or go.
    #[test]
    fn faults_do_not_see_each_other(
        first in (proptest::collection::vec(any_leg(), 1..3), any_effect()),
        second in (proptest::collection::vec(any_leg(), 1..3), any_effect()),
        packets in proptest::collection::vec((any_packet(), any::<bool>()), 1..60),
        gone in 0usize..60,
    ) {
        let (mut both, mut alone, mut other) = (Faults::default(), Faults::default(), Faults::default());
        let (first, second) = (with(first.0, first.1), with(second.0, second.1));
        both.set(&name("a"), &first, &[]);
        alone.set(&name("a"), &first, &[]);
        other.set(&name("b"), &second, &[]);
        both.set(&name("b"), &second, &[]);
        for (number, (packet, egress)) in packets.iter().enumerate() {
            let direction = if *egress { Direction::Egress } else { Direction::Ingress };
            if number == gone {
                both.lift(&name("b"));
                other.lift(&name("b"));
            }
            let delays = |decision: &Decision| match decision {
                Decision::Delay(delays) => delays.iter().map(|(_, delay)| *delay).sum(),
                _ => Duration::ZERO,
            };
            let (a, b) = (alone.decide(packet, direction), other.decide(packet, direction));
            match both.decide(packet, direction) {
                Decision::Lose => prop_assert!(a == Decision::Lose || b == Decision::Lose),
                decision => {
                    prop_assert!(a != Decision::Lose && b != Decision::Lose);
                    prop_assert_eq!(delays(&decision), delays(&a) + delays(&b));
                }
            }
        }
    }
}
