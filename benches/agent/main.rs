//! The agent's figures, beside their targets: never timed assertions. Needs root: `tests/real/agent.sh bench`.
#![cfg(target_os = "linux")]
#![allow(dead_code, reason = "shares what the tests need")]

#[path = "../../tests/agent/driver.rs"]
mod driver;
#[path = "../../tests/agent/traffic.rs"]
mod traffic;
#[path = "../../tests/agent/world.rs"]
mod world;

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use firedrill::{
    agent::wire::{Direction, Effect, Leg, Order, Report},
    types::InjectionId,
};

use driver::{Agent, RUN, all, latency, order};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use traffic::{echo, now, round_trips};
use world::{Host, Pod, World, beside, inside};

const PORT: u16 = 7777;

fn main() {
    // As `cargo test --benches` runs it: nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") || !rustix::process::geteuid().is_root() {
        println!("the agent's figures need root: tests/real/agent.sh bench");
        return;
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {}, {} processors", load.trim(), thread::available_parallelism().map_or(0, usize::from));
    start();
    thread::spawn(accuracy).join().expect("it measures");
    pass_through();
    bulk();
    twenty();
}

/// The value below which so many of a hundred are, of those that came back.
fn percentile(times: &[Option<Duration>], percent: usize) -> Duration {
    let mut sorted: Vec<Duration> = times.iter().flatten().copied().collect();
    sorted.sort_unstable();
    assert!(!sorted.is_empty(), "nothing came back");
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// An agent that waits for orders for as long as the longest figure takes.
fn patient(world: &mut World) -> Agent {
    let mut agent = Agent::start(&world.host(), RUN, &["--ttl", "60s"]);
    assert!(matches!(agent.ask(Order::Hello), Report::Ready { .. }));
    agent
}

fn scene() -> (World, Host, Pod, Agent) {
    let mut world = World::new();
    let (client, pod) = (world.host(), world.pod());
    let agent = patient(&mut world);
    (world, client, pod, agent)
}

fn spread(times: &[Duration]) -> String {
    let times: Vec<Option<Duration>> = times.iter().copied().map(Some).collect();
    format!("median {}, p99 {}, of {}", ms(percentile(&times, 50)), ms(percentile(&times, 99)), times.len())
}

/// From the start of the process to its first answer.
fn start() {
    let mut world = World::new();
    let host = world.host();
    let times: Vec<Duration> = (0..100)
        .map(|_| {
            let began = now();
            let mut agent = Agent::start(&host, RUN, &[]);
            assert!(matches!(agent.ask(Order::Hello), Report::Ready { .. }));
            let took = now() - began;
            agent.send(Order::Leave);
            agent.end();
            took
        })
        .collect();
    println!("start to ready: {} (target 50 ms)", spread(&times));
}

fn resident(agent: &Agent) -> f64 {
    let (guard, worker) = agent.processes();
    let kilobytes = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default().to_owned();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default()
    };
    (kilobytes(guard) + kilobytes(worker)) / 1024.0
}

fn ticks(agent: &Agent) -> u64 {
    let (guard, worker) = agent.processes();
    let of = |pid: u32| -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|n| n.parse::<u64>().ok())
            .sum()
    };
    of(guard) + of(worker)
}

/// Whether this thread, and those that it starts, go before everything of ordinary priority from now on.
fn become_realtime() -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).is_ok()
}

/// How much later than asked for packets are, at a thousand a second.
fn accuracy() {
    let (_world, client, pod, mut agent) = scene();
    // What measures, started by this thread and like it, is not to be late itself.
    let ordinary = !become_realtime();
    echo(&pod.host, PORT);
    let to: IpAddr = pod.host.v4.parse().expect("an address");
    let measure = || round_trips(&client, to, PORT, (3000, Duration::from_millis(1)));
    let bare = measure();
    println!(
        "round trips without a fault: median {}, p99 {}{}",
        ms(percentile(&bare, 50)),
        ms(percentile(&bare, 99)),
        if ordinary { ", measured without real-time priority" } else { "" }
    );
    for millis in [10, 100] {
        for direction in [Direction::Egress, Direction::Ingress] {
            agent.apply("slow", &pod, vec![all(direction)], latency(millis));
            let times = measure();
            let late = |time: Duration| time.saturating_sub(Duration::from_millis(millis));
            let late: Vec<_> = times.iter().map(|time| time.map(late)).collect();
            println!(
                "{millis} ms {direction:?} at 1,000/s: late by median {}, p99 {}, round trip included (target 0.2 and 1 ms)",
                ms(percentile(&late, 50)),
                ms(percentile(&late, 99))
            );
        }
    }
    println!("resident, guard and worker, one fault: {:.1} MiB (target 8)", resident(&agent));
    let before = ticks(&agent);
    thread::sleep(Duration::from_secs(5));
    println!("processor in 5 s without traffic: {} hundredths of a second", ticks(&agent) - before);
}

/// Datagrams a second that arrive.
fn rate(client: &Host, pod: &Pod) -> f64 {
    let at = SocketAddr::new(pod.host.v4.parse().expect("an address"), 9999);
    let socket = inside(&pod.host.namespace, move || UdpSocket::bind(at).expect("a free port"));
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a time-out");
    let sending = beside(&client.namespace, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        let until = now() + Duration::from_secs(3);
        while now() < until {
            for _ in 0..64 {
                let _ = socket.send_to(b"datagram", at);
            }
        }
    });
    let (mut count, mut buffer, began) = (0u32, [0; 64], now());
    let mut last = began;
    while socket.recv(&mut buffer).is_ok() {
        (count, last) = (count + 1, now());
    }
    sending.join().expect("it sends");
    f64::from(count) / (last - began).as_secs_f64()
}

/// What the queue costs a packet that no fault selects.
fn pass_through() {
    let (_world, client, pod, mut agent) = scene();
    let without = rate(&client, &pod);
    let except = vec![format!("{}/32", client.v4).parse().expect("a block")];
    agent.apply("through", &pod, vec![Leg { except, ..all(Direction::Ingress) }], Effect::Partition);
    let with = rate(&client, &pod);
    println!("pass-through: {with:.0} packets/s through the queue, {without:.0} without it (target 80,000)");
}

/// Megabits a second from one host to another.
fn bulk_rate(from: &Host, to: &Host) -> f64 {
    let at = SocketAddr::new(to.v4.parse().expect("an address"), 9998);
    let listener = inside(&to.namespace, move || TcpListener::bind(at).expect("a free port"));
    let sending = beside(&from.namespace, move || {
        let mut stream = TcpStream::connect(at).expect("a connection");
        let (bytes, until) = (vec![0; 256 * 1024], now() + Duration::from_secs(8));
        while now() < until && stream.write_all(&bytes).is_ok() {}
    });
    let (mut stream, _) = listener.accept().expect("a connection");
    let (mut buffer, began, mut count, mut from_here) = (vec![0; 256 * 1024], now(), 0usize, None);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        // The first seconds are slow start.
        if now() - began > Duration::from_secs(3) {
            from_here.get_or_insert_with(now);
            count += length;
        }
    }
    let took = now() - from_here.unwrap_or(began);
    drop(stream);
    sending.join().expect("it sends");
    count as f64 * 8.0 / took.as_secs_f64() / 1e6
}

/// Bulk transfers from the pod, beside the same round trip made at the receiver, where it cannot starve TCP.
fn bulk() {
    let mut world = World::new();
    let (receiver, pod) = (world.pod(), world.pod());
    let mut agent = patient(&mut world);
    println!("bulk TCP without a fault: {:.0} Mbit/s", bulk_rate(&pod.host, &receiver.host));
    for millis in [10, 100] {
        agent.apply("slow", &receiver, vec![all(Direction::Ingress)], latency(millis));
        let allowed = bulk_rate(&pod.host, &receiver.host);
        agent.lift("slow");
        agent.apply("slow", &pod, vec![all(Direction::Egress)], latency(millis));
        let sent = bulk_rate(&pod.host, &receiver.host);
        println!(
            "bulk TCP under {millis} ms of egress delay: {sent:.0} Mbit/s, the round trip allows {allowed:.0}: {:.2} of it (target 0.5); resident {:.1} MiB",
            sent / allowed,
            resident(&agent)
        );
        agent.lift("slow");
    }
}

/// Twenty pods of one node.
fn twenty() {
    let mut world = World::new();
    let pods: Vec<Pod> = (0..20).map(|_| world.pod()).collect();
    let mut agent = patient(&mut world);
    let (mut set, mut lifted) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let began = now();
        let legs = || vec![all(Direction::Egress)];
        let asked: Vec<u64> =
            pods.iter().map(|pod| agent.send(order("slow", pod, legs(), latency(50)))).collect();
        for seq in asked {
            assert!(matches!(agent.answer(seq), Report::Applied { .. }));
        }
        set.push(now() - began);
        let began = now();
        agent.ask(Order::Lift { injection: InjectionId::new("slow", 1) });
        lifted.push(now() - began);
    }
    println!("20 pods, order to in force: {} (target 100 ms)", spread(&set));
    println!("20 pods, order to lifted: {} (target 100 ms)", spread(&lifted));
}
