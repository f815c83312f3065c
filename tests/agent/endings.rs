//! However an agent ends, traffic is back to normal and nothing is left.

use std::{thread, time::Duration};

use firedrill::{
    agent::wire::{Direction, End, Order, Report},
    types::InjectionId,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    driver::{Agent, RUN, all, latency},
    traffic::{NORMAL, echo, median_ms, now},
    world::{Host, Pod, World},
};

const PORT: u16 = 7777;

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).expect("a process"), signal).expect("it is there");
}

/// Whether the process has not ended.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A fault in force, what is done to end it, and how long that may take; then everything is as it was before.
fn after(arguments: &[&str], end: impl FnOnce(&mut Agent), limit: Duration) -> Agent {
    let mut world = World::new();
    let (client, pod): (Host, Pod) = (world.host(), world.pod());
    echo(&pod.host, PORT);
    let before = world.dump(&pod);
    let mut agent = Agent::start(&world.host(), RUN, arguments);
    assert!(matches!(agent.ask(Order::Hello), Report::Ready { .. }));
    agent.apply("slow", &pod, vec![all(Direction::Egress), all(Direction::Ingress)], latency(50));
    assert!(median_ms(&client, &pod.host.v4, PORT) >= 100.0);
    let (guard, worker) = agent.processes();
    // Whoever looks at the processes of a node, or at who holds a table, is told.
    for pid in [guard, worker] {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert_eq!(name.trim(), "firedrill-agent");
    }
    let began = now();
    end(&mut agent);
    while median_ms(&client, &pod.host.v4, PORT) > NORMAL {
        assert!(now() - began < limit, "still slow after {:?}", now() - began);
    }
    let over = now() + Duration::from_secs(5);
    while lives(guard) || lives(worker) {
        assert!(now() < over, "a process of the agent is left");
        thread::sleep(Duration::from_millis(10));
    }
    world.assert_unchanged(&pod, &before);
    agent
}

fn ended(why: End) -> Option<Report> {
    Some(Report::Ended { why, lifted: vec![InjectionId::new("slow", 1)] })
}

const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn the_worker_is_killed() {
    let mut agent = after(&[], |agent| kill(agent.processes().1, Signal::KILL), AT_ONCE);
    assert_eq!(agent.end(), (Some(Report::Ended { why: End::WorkerDied, lifted: Vec::new() }), Some(1)));
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn the_guard_is_killed() {
    after(&[], |agent| kill(agent.processes().0, Signal::KILL), AT_ONCE);
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn both_are_killed() {
    let both = |agent: &mut Agent| {
        let (guard, worker) = agent.processes();
        kill(guard, Signal::KILL);
        kill(worker, Signal::KILL);
    };
    after(&[], both, AT_ONCE);
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn it_is_asked_to_end() {
    let mut agent = after(&[], |agent| kill(agent.processes().0, Signal::TERM), AT_ONCE);
    assert_eq!(agent.end(), (ended(End::Terminated), Some(0)));
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn it_is_ordered_to_leave() {
    let leave = |agent: &mut Agent| {
        agent.send(Order::Leave);
    };
    let mut agent = after(&[], leave, AT_ONCE);
    assert_eq!(agent.end(), (ended(End::Left), Some(0)));
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn nobody_speaks_any_more() {
    let mut agent = after(&["--ttl", "3s"], |_| {}, Duration::from_secs(5));
    assert_eq!(agent.end(), (ended(End::Silence), Some(0)));
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn its_deadline_comes() {
    let mut agent = after(&["--deadline", "3"], |_| {}, Duration::from_secs(5));
    assert_eq!(agent.end(), (ended(End::Deadline), Some(0)));
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn the_worker_does_not_answer() {
    // Stopped, it cannot lift anything: the guard ends it.
    let stopped = |agent: &mut Agent| {
        let (guard, worker) = agent.processes();
        kill(worker, Signal::STOP);
        kill(guard, Signal::TERM);
    };
    let mut agent = after(&[], stopped, Duration::from_secs(8));
    assert_eq!(agent.end().1, Some(1));
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn nobody_reads_what_it_says() {
    let mut world = World::new();
    let (client, pod): (Host, Pod) = (world.host(), world.pod());
    echo(&pod.host, PORT);
    let mut agent = Agent::greeted(&world.host());
    agent.apply("slow", &pod, vec![all(Direction::Egress)], latency(20));
    // Its output is a pipe that is full: 3,000 answers of which none is read.
    let flood: Vec<u64> = (0..3000).map(|_| agent.send(Order::Hello)).collect();
    assert!(median_ms(&client, &pod.host.v4, PORT) >= 20.0, "{} orders", flood.len());
    agent.send(Order::Lift { injection: InjectionId::new("slow", 1) });
    thread::sleep(Duration::from_millis(300));
    assert!(median_ms(&client, &pod.host.v4, PORT) < NORMAL);
}

#[test]
#[ignore = "needs root: tests/real/agent.sh"]
fn a_container_that_is_started_again_stays_disturbed() {
    let mut world = World::new();
    let (client, mut pod): (Host, Pod) = (world.host(), world.pod());
    echo(&pod.host, PORT);
    let mut agent = Agent::greeted(&world.host());
    agent.apply("slow", &pod, vec![all(Direction::Egress)], latency(20));
    kill(pod.pids[1], Signal::KILL);
    world.container(&mut pod, "c333333333", "sleep");
    assert!(median_ms(&client, &pod.host.v4, PORT) >= 20.0);
    // The same order as when peers are resolved anew.
    agent.apply("slow", &pod, vec![all(Direction::Egress)], latency(20));
    agent.lift("slow");
    assert!(median_ms(&client, &pod.host.v4, PORT) < NORMAL);
}
