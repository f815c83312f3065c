//! What faults do to traffic.

use std::{net::IpAddr, time::Duration};

use firedrill::{
    agent::wire::{Direction, Disturbance, Effect, Leg, Order, PortRange, Protocol, Report, Signal},
    types::InjectionId,
};

use crate::{
    driver::{Agent, all, latency, order},
    traffic::{NORMAL, connects, echo, listen, median_ms, now, round_trips},
    world::{Host, Pod, World},
};

const PORT: u16 = 7777;

/// A client, a pod that echoes, and an agent.
fn scene() -> (World, Host, Pod, Agent) {
    let mut world = World::new();
    let (client, pod) = (world.host(), world.pod());
    echo(&pod.host, PORT);
    let agent = Agent::greeted(&world.host());
    (world, client, pod, agent)
}

fn assert_near(what: &str, millis: f64, wanted: f64) {
    // The lower bound is exact: nothing may be early.
    assert!((wanted..wanted + NORMAL).contains(&millis), "{what}: {millis} ms, not {wanted} ms");
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn delays_are_kept_in_both_directions_and_families_and_lifted() {
    let (world, client, pod, mut agent) = scene();
    let before = world.dump(&pod);
    for direction in [Direction::Egress, Direction::Ingress] {
        for address in [&pod.host.v4, &pod.host.v6] {
            assert!(median_ms(&client, address, PORT) < NORMAL);
            agent.apply("slow", &pod, vec![all(direction)], latency(20));
            assert_near(address, median_ms(&client, address, PORT), 20.0);
            agent.lift("slow");
            assert!(median_ms(&client, address, PORT) < NORMAL, "after it was lifted");
        }
    }
    world.assert_unchanged(&pod, &before);
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn faults_compose_and_lifting_one_leaves_the_other() {
    let (_world, client, pod, mut agent) = scene();
    agent.apply("a", &pod, vec![all(Direction::Egress)], latency(20));
    agent.apply("b", &pod, vec![all(Direction::Ingress)], latency(30));
    assert_near("both", median_ms(&client, &pod.host.v4, PORT), 50.0);
    agent.apply("c", &pod, vec![all(Direction::Egress)], latency(40));
    assert_near("all three", median_ms(&client, &pod.host.v4, PORT), 90.0);
    agent.lift("a");
    assert_near("without the first", median_ms(&client, &pod.host.v4, PORT), 70.0);
    // The same name again replaces it.
    agent.apply("b", &pod, vec![all(Direction::Ingress)], latency(10));
    assert_near("replaced", median_ms(&client, &pod.host.v4, PORT), 50.0);
    agent.lift("b");
    let met = agent.lift("c");
    assert!(met >= 150, "three times fifty datagrams were answered: {met}");
    assert!(median_ms(&client, &pod.host.v4, PORT) < NORMAL);
    let injection = InjectionId::new("c", 1);
    assert_eq!(
        agent.ask(Order::Lift { injection: injection.clone() }),
        Report::Lifted { injection, was: false, met }
    );
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn a_share_is_lost() {
    let (_world, client, pod, mut agent) = scene();
    let to: IpAddr = pod.host.v4.parse().expect("an address");
    agent.apply("lossy", &pod, vec![all(Direction::Ingress)], Effect::Loss { share_percent: 30.0 });
    let times = round_trips(&client, to, PORT, (3000, Duration::from_micros(300)));
    let lost = times.iter().filter(|time| time.is_none()).count() as f64 / 30.0;
    // Five standard deviations.
    assert!((lost - 30.0).abs() < 4.2, "{lost} % were lost");
    agent.lift("lossy");
    let times = round_trips(&client, to, PORT, (500, Duration::from_micros(300)));
    assert!(times.iter().all(Option::is_some));
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn a_partition_cuts_what_it_names_and_nothing_else() {
    let (mut world, client, pod, mut agent) = scene();
    let other = world.host();
    for port in [80, 8080] {
        listen(&pod.host, port);
    }
    let leg = Leg {
        peers: vec![format!("{}/32", client.v4).parse().expect("a block")],
        ports: vec![PortRange { first: 80, last: 90 }],
        protocol: Some(Protocol::Tcp),
        ..all(Direction::Ingress)
    };
    agent.apply("cut", &pod, vec![leg.clone()], Effect::Partition);
    assert!(!connects(&client, &pod.host, 80));
    assert!(connects(&client, &pod.host, 8080), "another port");
    assert!(connects(&other, &pod.host, 80), "another peer");
    assert!(median_ms(&client, &pod.host.v4, PORT) < NORMAL, "another protocol");
    // Everybody, but for one.
    let except = vec![format!("{}/32", client.v4).parse().expect("a block")];
    agent.apply("cut", &pod, vec![Leg { except, ..all(Direction::Ingress) }], Effect::Partition);
    assert!(connects(&client, &pod.host, 80), "excepted");
    assert!(!connects(&other, &pod.host, 80));
    assert!(agent.lift("cut") > 1);
    assert!(connects(&other, &pod.host, 80));
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn what_is_held_is_released_when_the_fault_is_lifted() {
    let (_world, client, pod, mut agent) = scene();
    for direction in [Direction::Egress, Direction::Ingress] {
        agent.apply("slow", &pod, vec![all(direction)], latency(1000));
        let (host, to) = (client.clone(), pod.host.v4.parse().expect("an address"));
        let trip = std::thread::spawn(move || round_trips(&host, to, PORT, (20, Duration::from_millis(1))));
        std::thread::sleep(Duration::from_millis(300));
        agent.lift("slow");
        let times = trip.join().expect("it sends");
        assert!(times.iter().all(|time| time.is_some_and(|time| time.as_millis() < 900)), "{times:?}");
    }
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn an_agent_measures_what_it_does() {
    let (_world, _, pod, mut agent) = scene();
    let nobody = vec!["192.0.2.1/32".parse().expect("a block")];
    for (direction, protocol, port) in [
        (Direction::Egress, Protocol::Tcp, Some(5432)),
        (Direction::Ingress, Protocol::Tcp, Some(5432)),
        (Direction::Egress, Protocol::Tcp, None),
        (Direction::Ingress, Protocol::Icmp, None),
        (Direction::Egress, Protocol::Icmp, None),
    ] {
        let ports = port.map(|port| PortRange { first: port, last: port }).into_iter().collect();
        // The agent is a peer of every fault.
        let leg = Leg { peers: nobody.clone(), ports, protocol: Some(protocol), ..all(direction) };
        for address in [&pod.host.v4, &pod.host.v6] {
            let measure = || Order::Measure {
                pod: pod.uid.clone(),
                address: address.parse().expect("an address"),
                direction,
                protocol,
                port,
                count: 10,
                timeout_ms: 1000,
            };
            let median = |report| match report {
                Report::Measured { mut rtt_us, lost: 0, .. } => {
                    rtt_us.sort_unstable();
                    rtt_us[5] as f64 / 1000.0
                }
                other => panic!("{direction:?} {protocol:?} {port:?} {address}: {other:?}"),
            };
            assert!(median(agent.ask(measure())) < NORMAL);
            agent.apply("slow", &pod, vec![leg.clone()], latency(25));
            assert_near("measured", median(agent.ask(measure())), 25.0);
            agent.apply("slow", &pod, vec![leg.clone()], Effect::Partition);
            assert!(matches!(agent.ask(measure()), Report::Measured { lost: 10, .. }));
            let injection = InjectionId::new("slow", 1);
            let counted = agent.ask(Order::Count { injection: injection.clone() });
            assert_eq!(counted, Report::Counted { injection, met: 0 }, "its own packets");
            assert_eq!(agent.lift("slow"), 0, "its own packets");
        }
    }
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn twenty_pods_are_in_force_and_lifted_together() {
    let mut world = World::new();
    let client = world.host();
    let pods: Vec<Pod> = (0..20).map(|_| world.pod()).collect();
    pods.iter().for_each(|pod| echo(&pod.host, PORT));
    let mut agent = Agent::greeted(&world.host());
    let began = now();
    let asked: Vec<u64> = pods
        .iter()
        .map(|pod| agent.send(order("slow", pod, vec![all(Direction::Egress)], latency(50))))
        .collect();
    for seq in asked {
        assert!(matches!(agent.answer(seq), Report::Applied { .. }));
    }
    println!("20 pods in force after {:?}", now() - began);
    for pod in &pods {
        assert_near("one of twenty", median_ms(&client, &pod.host.v4, PORT), 50.0);
    }
    // One injection, all pods.
    agent.lift("slow");
    for pod in &pods {
        assert!(median_ms(&client, &pod.host.v4, PORT) < NORMAL);
    }
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn its_own_time_ends_a_fault() {
    let (world, client, pod, mut agent) = scene();
    let before = world.dump(&pod);
    let Order::Apply { injection, pod: uid, .. } = order("brief", &pod, Vec::new(), latency(1)) else {
        panic!("an order to apply")
    };
    let disturbance = Disturbance { legs: vec![all(Direction::Egress)], effect: latency(20) };
    let brief = Order::Apply { injection: injection.clone(), pod: uid.clone(), disturbance, within_ms: 1500 };
    assert!(matches!(agent.ask(brief), Report::Applied { .. }));
    assert_near("in force", median_ms(&client, &pod.host.v4, PORT), 20.0);
    let expired = Report::Expired { injection, pod: uid };
    while agent.next(Duration::from_secs(5)).expect("a report").report != expired {}
    assert!(median_ms(&client, &pod.host.v4, PORT) < NORMAL);
    world.assert_unchanged(&pod, &before);
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn only_the_processes_that_were_named_are_killed() {
    let (mut world, _, mut pod, mut agent) = scene();
    world.container(&mut pod, "c222222222", "worker");
    world.container(&mut pod, "c222222222", "sidecar");
    let other = world.pod();
    let running = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    let mut kill = |name: &str, container: Option<&str>, process: Option<&str>| {
        let report = agent.ask(Order::Kill {
            injection: InjectionId::new(name, 1),
            pod: pod.uid.clone(),
            container: container.map(str::to_owned),
            process: process.map(str::to_owned),
            signal: Signal::Kill,
        });
        std::thread::sleep(Duration::from_millis(100));
        match report {
            Report::Killed { processes, seen, .. } => {
                assert_eq!(seen.is_empty(), !processes.is_empty(), "{seen:?}");
                processes.iter().map(|process| process.pid).collect::<Vec<_>>()
            }
            report => panic!("{report:?}"),
        }
    };
    // pause, sleep, worker, sidecar
    assert!(kill("none", Some("c222222222"), Some("sleep")).is_empty());
    assert_eq!(kill("one", Some("c222222222"), Some("worker")), [pod.pids[2]]);
    // Once: asked again it says what was done.
    assert_eq!(kill("one", Some("c222222222"), Some("worker")), [pod.pids[2]]);
    let left: Vec<bool> = pod.pids.iter().map(running).collect();
    assert_eq!(left, [true, true, false, true]);
    // All containers: the sandbox is none.
    assert_eq!(kill("all", None, None), [pod.pids[3], pod.pids[1]]);
    let left: Vec<bool> = pod.pids.iter().chain(&other.pids).map(running).collect();
    assert_eq!(left, [true, false, false, false, true, true]);
}
