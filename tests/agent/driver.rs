//! Speaks with an agent's process as a runner does.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use firedrill::{
    agent::wire::{
        Direction, Distribution, Disturbance, Effect, Leg, Order, OrderLine, Report, ReportLine, VERSION,
        frame,
    },
    types::{Epoch, InjectionId, RunId},
};

use crate::world::{Host, Pod};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(15);

/// The run of an agent whose name does not matter.
pub const RUN: &str = "game-bcdfg";

/// An agent that was started.
pub struct Agent {
    process: Child,
    reports_rx: Receiver<ReportLine>,
    /// Heard, and not asked for yet.
    heard: VecDeque<ReportLine>,
    /// To orders whose answer nobody has asked for yet.
    answers: BTreeMap<u64, Report>,
    /// As it is quoted in orders.
    pub tick: u64,
    seq: u64,
    run: RunId,
    /// As it is quoted in orders.
    pub epoch: u64,
    /// What it said unasked, ticks aside.
    pub unasked: Vec<Report>,
}

impl Agent {
    /// In a namespace of its own, with these arguments after the usual ones, and not greeted.
    pub fn start(host: &Host, run: &str, more: &[&str]) -> Self {
        let binary = std::env::var("FIREDRILL_AGENT")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_firedrill-agent").to_owned());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &host.namespace, &binary, "--run", run, "--epoch", "3"]);
        if !more.contains(&"--deadline") {
            command.args(["--deadline", "600"]);
        }
        command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped());
        if std::env::var_os("FIREDRILL_LOG").is_none() {
            command.stderr(Stdio::null());
        }
        let mut process = command.spawn().expect("the agent");
        let mut out = process.stdout.take().expect("piped");
        let (reports_tx, reports_rx) = channel();
        thread::spawn(move || {
            let (mut lines, mut buffer) = (frame::Lines::default(), [0; 4096]);
            while let Ok(length @ 1..) = out.read(&mut buffer) {
                for line in lines.push(&buffer[..length]) {
                    let report = frame::decode(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                    if reports_tx.send(report).is_err() {
                        return;
                    }
                }
            }
        });
        let run = RunId::parse(run).expect("a run");
        Self {
            process,
            reports_rx,
            heard: VecDeque::new(),
            answers: BTreeMap::new(),
            tick: 0,
            seq: 0,
            run,
            epoch: 3,
            unasked: Vec::new(),
        }
    }

    /// Started and greeted.
    pub fn greeted(host: &Host) -> Self {
        let mut agent = Self::start(host, RUN, &[]);
        assert!(matches!(agent.ask(Order::Hello), Report::Ready { .. }));
        agent
    }

    /// The next order as a line.
    pub fn line(&mut self, order: Order) -> OrderLine {
        self.seq += 1;
        OrderLine {
            version: VERSION,
            run: self.run.clone(),
            epoch: Epoch(self.epoch),
            session: "s".to_owned(),
            seq: self.seq,
            tick: self.tick,
            order,
        }
    }

    /// Writes it as it is.
    pub fn write(&mut self, text: &str) {
        self.process.stdin.as_mut().expect("piped").write_all(text.as_bytes()).expect("the agent reads");
    }

    /// Sends an order and does not wait.
    pub fn send(&mut self, order: Order) -> u64 {
        while let Ok(line) = self.reports_rx.try_recv() {
            self.tick = self.tick.max(line.tick);
            self.heard.push_back(line);
        }
        let line = self.line(order);
        self.write(&frame::encode(&line));
        line.seq
    }

    /// Sends an order and waits for its answer.
    pub fn ask(&mut self, order: Order) -> Report {
        let seq = self.send(order);
        self.answer(seq)
    }

    /// The answer to the order of this number; pods answer in any order.
    pub fn answer(&mut self, seq: u64) -> Report {
        loop {
            if let Some(report) = self.answers.remove(&seq) {
                return report;
            }
            let line = self.next(PATIENCE).expect("an answer");
            if line.session == "s" {
                self.answers.insert(line.seq, line.report);
            }
        }
    }

    /// The next line, if one comes in time.
    pub fn next(&mut self, patience: Duration) -> Option<ReportLine> {
        let line = self.heard.pop_front().or_else(|| self.reports_rx.recv_timeout(patience).ok())?;
        self.tick = self.tick.max(line.tick);
        if line.session.is_empty() && line.report != Report::Tick {
            self.unasked.push(line.report.clone());
        }
        Some(line)
    }

    /// What it says last, and its exit code.
    pub fn end(&mut self) -> (Option<Report>, Option<i32>) {
        let mut last = None;
        while let Some(line) = self.next(PATIENCE) {
            last = Some(line.report);
        }
        (last, self.process.wait().expect("it ends").code())
    }

    /// The guard's process and the worker's.
    pub fn processes(&self) -> (u32, u32) {
        let guard = self.process.id();
        let children = fs::read_to_string(format!("/proc/{guard}/task/{guard}/children")).expect("a guard");
        (guard, children.split_whitespace().next().expect("a worker").parse().expect("a number"))
    }

    /// Puts a fault in force on a pod.
    pub fn apply(&mut self, name: &str, pod: &Pod, legs: Vec<Leg>, effect: Effect) {
        let report = self.ask(order(name, pod, legs, effect));
        assert!(matches!(report, Report::Applied { .. }), "{report:?}");
    }

    /// Takes it away: how many packets of others it had met.
    pub fn lift(&mut self, name: &str) -> u64 {
        let injection = InjectionId::new(name, 1);
        match self.ask(Order::Lift { injection: injection.clone() }) {
            Report::Lifted { injection: of, was: true, met } if of == injection => met,
            report => panic!("{report:?}"),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An order to apply a fault for a minute.
pub fn order(name: &str, pod: &Pod, legs: Vec<Leg>, effect: Effect) -> Order {
    Order::Apply {
        injection: InjectionId::new(name, 1),
        pod: pod.uid.clone(),
        disturbance: Disturbance { legs, effect },
        within_ms: 60_000,
    }
}

/// All packets of a direction.
pub fn all(direction: Direction) -> Leg {
    Leg { direction, peers: Vec::new(), except: Vec::new(), ports: Vec::new(), protocol: None }
}

/// A delay without jitter.
pub fn latency(millis: u64) -> Effect {
    Effect::Latency {
        delay_us: millis * 1000,
        jitter_us: 0,
        correlation_percent: 0.0,
        distribution: Distribution::Normal,
    }
}
