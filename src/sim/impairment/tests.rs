use super::*;
use crate::agent::wire::PortRange;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn leg(direction: Direction) -> Leg {
    Leg { direction, peers: Vec::new(), except: Vec::new(), ports: Vec::new(), protocol: None }
}

fn held(injection: &str, legs: Vec<Leg>, effect: Effect) -> Held {
    Held {
        agent: "agent".into(),
        address: Some(address("10.244.0.99")),
        injection: InjectionId(injection.into()),
        disturbance: Disturbance { legs, effect },
    }
}

fn latency(delay_us: u64) -> Effect {
    let distribution = Distribution::Normal;
    Effect::Latency { delay_us, jitter_us: 0, correlation_percent: 0.0, distribution }
}

/// A pod of the shop that calls the vault at its Service's address.
fn call() -> Connection<'static> {
    Connection {
        client: Some("shop"),
        from: address("10.244.0.5"),
        dialled: (address("10.96.0.7"), 80),
        server: "vault",
        port: 8080,
    }
}

/// What a delay of 1 µs on a pod adds to a call, there and back.
fn adds(pod: &str, leg: Leg, call: Connection<'_>) -> (f64, f64) {
    let mut impairments = Impairments::default();
    impairments.put(pod, held("a.0", vec![leg], latency(1)));
    let path = impairments.path(call);
    (path.to.mean_us(), path.fro.mean_us())
}

#[test]
fn each_end_sees_its_own_addresses_and_ports() {
    let (egress, ingress) = (leg(Direction::Egress), leg(Direction::Ingress));
    let port = |leg: &Leg, n: u16| Leg { ports: vec![PortRange { first: n, last: n }], ..leg.clone() };
    let peer = |leg: &Leg, block: &str| Leg { peers: vec![block.parse().expect("a block")], ..leg.clone() };
    for (pod, leg, expected) in [
        ("shop", egress.clone(), (1.0, 0.0)),
        ("shop", ingress.clone(), (0.0, 1.0)),
        ("vault", ingress.clone(), (1.0, 0.0)),
        ("vault", egress.clone(), (0.0, 1.0)),
        ("bank", egress.clone(), (0.0, 0.0)),
        // The caller knows the Service's address and port, the called its own and the caller's.
        ("shop", port(&egress, 80), (1.0, 0.0)),
        ("shop", port(&egress, 8080), (0.0, 0.0)),
        ("vault", port(&ingress, 8080), (1.0, 0.0)),
        ("vault", port(&egress, 8080), (0.0, 0.0)),
        ("vault", port(&egress, EPHEMERAL), (0.0, 1.0)),
        ("shop", peer(&egress, "10.96.0.0/16"), (1.0, 0.0)),
        ("shop", peer(&egress, "10.244.0.0/16"), (0.0, 0.0)),
        ("vault", peer(&ingress, "10.244.0.5/32"), (1.0, 0.0)),
        ("vault", peer(&ingress, "10.244.0.6/32"), (0.0, 0.0)),
        (
            "vault",
            Leg { except: vec!["10.244.0.0/24".parse().expect("a block")], ..ingress.clone() },
            (0.0, 0.0),
        ),
        ("shop", Leg { protocol: Some(Protocol::Udp), ..egress.clone() }, (0.0, 0.0)),
        ("shop", Leg { protocol: Some(Protocol::Tcp), ..egress.clone() }, (1.0, 0.0)),
    ] {
        assert_eq!(adds(pod, leg.clone(), call()), expected, "{pod}: {leg:?}");
    }
}

#[test]
fn the_agent_is_always_a_peer() {
    let mut hop = Hop::default();
    let mut impairments = Impairments::default();
    let far: Vec<Cidr> = vec!["192.0.2.0/24".parse().expect("a block")];
    let only = Leg { peers: far.clone(), except: far, ..leg(Direction::Egress) };
    impairments.put("vault", held("a.0", vec![only], latency(1)));
    impairments.add(&mut hop, "vault", Packet::tcp(Direction::Egress, address("10.244.0.99"), 9));
    assert_eq!(hop.mean_us(), 1.0);
    impairments.add(&mut hop, "vault", Packet::tcp(Direction::Egress, address("192.0.2.1"), 9));
    assert_eq!(hop.mean_us(), 1.0, "excepted");
}

#[test]
fn disturbances_compose_and_one_that_goes_leaves_the_others() {
    let mut impairments = Impairments::default();
    let both = || vec![leg(Direction::Egress), leg(Direction::Ingress)];
    assert!(impairments.put("vault", held("a.0", both(), latency(5))));
    assert!(!impairments.put("vault", held("b.0", both(), Effect::Loss { share_percent: 50.0 })));
    assert!(!impairments.put("vault", held("a.0", both(), latency(7))), "the same again replaces");
    let path = impairments.path(call());
    assert_eq!((path.to.mean_us(), path.fro.mean_us(), path.to.passes), (7.0, 7.0, 0.5));
    assert_eq!(path.round_trip_us(), 14.0);
    let lifted = impairments.lift(|_, held| held.injection.0 == "a.0");
    assert_eq!(lifted, Lifted { any: true, ..Lifted::default() });
    assert_eq!(impairments.lift(|_, held| held.injection.0 == "a.0"), Lifted::default());
    let path = impairments.path(call());
    assert_eq!((path.to.mean_us(), path.to.passes, path.is_cut()), (0.0, 0.5, false));
    impairments.put("vault", held("c.0", vec![leg(Direction::Egress)], Effect::Partition));
    let path = impairments.path(call());
    assert_eq!((path.to.passes, path.fro.passes, path.is_cut()), (0.5, 0.0, true), "one way");
    let lifted = impairments.lift(|pod, held| pod == "vault" && held.agent == "agent");
    assert_eq!(lifted, Lifted { any: true, free: vec!["vault".to_owned()], met: 0 });
    assert!(impairments.is_empty() && impairments.path(call()).is_free());
}
