//! What an agent refuses.

use std::time::Duration;

use firedrill::{
    agent::wire::{Direction, Effect, Order, RefusalCode, Report, VERSION, frame},
    types::RunId,
};

use crate::{
    driver::{Agent, RUN, all, latency, order},
    world::{Pod, World, run},
};

fn refused(report: Report) -> RefusalCode {
    match report {
        Report::Refused(refusal) => {
            assert!(refusal.why.len() > 5 && refusal.remedy.len() > 5, "{refusal:?}");
            refusal.code
        }
        report => panic!("{report:?}"),
    }
}

fn scene() -> (World, Pod, Agent) {
    let mut world = World::new();
    let pod = world.pod();
    let agent = Agent::greeted(&world.host());
    (world, pod, agent)
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn orders_that_are_malformed_replayed_late_or_of_an_old_epoch() {
    let (world, pod, mut agent) = scene();
    let before = world.dump(&pod);
    let cut = order("cut", &pod, vec![all(Direction::Egress)], Effect::Partition);
    agent.write("\nrubbish\nfd1 3 00000000 abc\n\u{0}\u{1}\n");
    for (version, seq, why) in
        [(VERSION, 90, RefusalCode::Malformed), (VERSION - 1, 91, RefusalCode::Version)]
    {
        let wrong = format!(
            "{{\"version\":{version},\"session\":\"s\",\"seq\":{seq},\"order\":{{\"destroy\":{{}}}}}}"
        );
        agent.write(&format!("fd1 {} {:08x} {wrong}\n", wrong.len(), crc32fast::hash(wrong.as_bytes())));
        assert_eq!(refused(agent.answer(seq)), why);
    }
    let line = agent.line(Order::Beat);
    agent.write(&frame::encode(&line));
    agent.write(&frame::encode(&line));
    assert_eq!(refused(agent.answer(line.seq)), RefusalCode::Replayed);
    let mut line = agent.line(cut.clone());
    line.run = RunId::parse("other-run").expect("a run");
    agent.write(&frame::encode(&line));
    assert_eq!(refused(agent.answer(line.seq)), RefusalCode::OtherRun);
    agent.epoch = 2;
    assert_eq!(refused(agent.ask(cut.clone())), RefusalCode::OldEpoch);
    agent.epoch = 3;
    // What it quotes is old by the time that it arrives.
    let late = agent.line(cut);
    while agent.tick < late.tick + 6 {
        agent.next(Duration::from_secs(5)).expect("a tick");
    }
    agent.write(&frame::encode(&late));
    assert_eq!(refused(agent.answer(late.seq)), RefusalCode::Late);
    let Report::Ready { ignored, in_force, .. } = agent.ask(Order::Hello) else { panic!("no answer") };
    assert_eq!((ignored, in_force.len()), (3, 0));
    world.assert_unchanged(&pod, &before);
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn limits_are_the_agent_s_own() {
    let mut world = World::new();
    let pod = world.pod();
    let mut agent = Agent::start(&world.host(), RUN, &["--max-delay", "100ms", "--max-loss", "20"]);
    agent.ask(Order::Hello);
    for effect in [latency(101), Effect::Loss { share_percent: 21.0 }] {
        assert_eq!(
            refused(agent.ask(order("much", &pod, vec![all(Direction::Egress)], effect))),
            RefusalCode::Limit
        );
    }
    agent.apply("much", &pod, vec![all(Direction::Egress)], latency(100));
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn pods_that_are_not_its_to_disturb() {
    let (mut world, pod, mut agent) = scene();
    let all = || vec![all(Direction::Egress)];
    let mut gone = pod.clone();
    gone.uid = gone.uid.replace("0b5c", "0b5d");
    assert_eq!(refused(agent.ask(order("a", &gone, all(), latency(10)))), RefusalCode::NoSuchPod);
    assert_eq!(refused(agent.ask(Order::Enter { pod: gone.uid })), RefusalCode::NoSuchPod);
    assert!(matches!(agent.ask(Order::Enter { pod: pod.uid.clone() }), Report::Entered { processes: 2, .. }));
    // A pod of the node's network, and the agent's own.
    let own = world.pod();
    let mut agent = Agent::start(&own.host, RUN, &[]);
    agent.ask(Order::Hello);
    assert_eq!(refused(agent.ask(order("a", &own, all(), latency(10)))), RefusalCode::OwnPod);
    let host = world.on_the_node();
    assert_eq!(refused(agent.ask(order("a", &host, all(), latency(10)))), RefusalCode::HostNetwork);
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn another_run_s_rules_are_not_touched() {
    let (mut world, pod, mut agent) = scene();
    let all = || vec![all(Direction::Egress)];
    agent.apply("a", &pod, all(), latency(10));
    let mut other = Agent::start(&world.host(), "other-ghjkl", &[]);
    other.ask(Order::Hello);
    let Report::Refused(refusal) = other.ask(order("a", &pod, all(), latency(10))) else { panic!("taken") };
    assert_eq!(refusal.code, RefusalCode::Foreign);
    assert!(refusal.why.contains(RUN), "{}", refusal.why);
    agent.lift("a");
    other.apply("a", &pod, all(), latency(10));
    // A table of the same run that nobody owns is a leftover; rules of others stay.
    drop(other);
    let namespace = &pod.host.namespace;
    run(&format!("ip netns exec {namespace} nft add table inet theirs"));
    run(&format!("ip netns exec {namespace} nft add table inet firedrill_plain"));
    let mut plain = Agent::start(&world.host(), "plain", &[]);
    plain.ask(Order::Hello);
    plain.apply("a", &pod, all(), latency(10));
    plain.lift("a");
    assert_eq!(run(&format!("ip netns exec {namespace} nft list tables")), "table inet theirs\n");
}
