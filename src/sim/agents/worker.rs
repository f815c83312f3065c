//! One agent at work: lines in, reports out, orders carried out on the simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Agents, PROGRAMMING, What};
use crate::agent::wire::{
    Act, Cgroup, Desk, Features, Limits, Nfqueue, Order, Process, Refusal, RefusalCode, Report, ReportLine,
    Signal, Ticket, frame,
};
use crate::sim::annotations::{PROCESS, duration};
use crate::sim::controllers::names;
use crate::sim::controllers::views::{Container, Pod, View};
use crate::sim::impairment::{Dice, Held};
use crate::sim::kubelet::Handled;
use crate::sim::traffic::Measurement;
use crate::types::{Epoch, InjectionId, RunId};

type Outcome = Result<Report, Refusal>;

/// An agent.
pub(super) struct Worker {
    agents: Agents,
    uid: String,
    node: String,
    address: Option<IpAddr>,
    started: Instant,
    /// None if its arguments make no sense.
    desk: Option<Desk>,
    dice: Dice,
    /// What was killed, by injection and pod.
    killed: BTreeMap<(InjectionId, String), Vec<Process>>,
    /// What those that were lifted had met.
    met: BTreeMap<InjectionId, u64>,
    /// What is known and not said yet.
    coming: BTreeMap<(Instant, u64), (Ticket, Order, Outcome)>,
    number: u64,
}

impl Worker {
    /// One that is started with these arguments in a pod.
    pub(super) fn new(agents: Agents, pod: &Pod, args: &[String]) -> Self {
        let dice = Dice::new(agents.0.seed, &format!("agent {}", pod.uid()));
        Self {
            uid: pod.uid().to_owned(),
            node: pod.spec.node_name.clone(),
            address: None,
            started: Instant::now(),
            desk: desk(args),
            dice,
            killed: BTreeMap::new(),
            met: BTreeMap::new(),
            coming: BTreeMap::new(),
            number: 0,
            agents,
        }
    }

    /// Works until the desk ends it or it is terminated; its container ends with it.
    pub(super) async fn run(
        mut self,
        mut input: mpsc::UnboundedReceiver<Vec<u8>>,
        mut terminated: watch::Receiver<bool>,
    ) {
        let exit = self.work(&mut input, &mut terminated).await;
        drop(self.agents.0.end(&self.uid));
        self.agents.0.occur(&self.uid, What::Exited(exit));
    }

    async fn work(
        &mut self,
        input: &mut mpsc::UnboundedReceiver<Vec<u8>>,
        terminated: &mut watch::Receiver<bool>,
    ) -> i64 {
        let Some(mut desk) = self.desk.take() else { return 2 };
        let mut lines = frame::Lines::default();
        let mut open = true;
        loop {
            let due = self.started + desk.next_due();
            let due = self.coming.keys().next().map_or(due, |(at, _)| due.min(*at));
            let mut acts = Vec::new();
            tokio::select! {
                biased;
                Ok(()) = terminated.changed() => acts = desk.terminate(self.now()),
                bytes = input.recv(), if open => match bytes {
                    Some(bytes) => {
                        for line in lines.push(&bytes) {
                            acts.extend(desk.take(&line, self.now()));
                        }
                    }
                    None => open = false,
                },
                () = tokio::time::sleep_until(due) => acts = desk.due(self.now()),
            }
            for act in acts {
                match act {
                    Act::Say(line) => self.say(&line),
                    Act::Carry(ticket, order) => self.carry(ticket, order),
                    Act::Lift(injection, pod) => {
                        let own = &self.uid;
                        let (_, met) =
                            self.agents.0.lift(|p, agent, i| p == pod && agent == own && i == injection.0);
                        *self.met.entry(injection).or_default() += met;
                    }
                    Act::End(line) => {
                        self.agents.0.lift(|_, agent, _| agent == self.uid);
                        self.say(&line);
                        return 0;
                    }
                }
            }
            while let Some(first) = self.coming.first_entry().filter(|first| first.key().0 <= Instant::now())
            {
                let (ticket, order, outcome) = first.remove();
                let line = desk.answer(ticket, &order, outcome, self.now());
                self.say(&line);
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn say(&self, line: &ReportLine) {
        self.agents.0.say(&self.uid, &frame::encode(line));
    }

    /// Carries out an order; what came of it is said when as much time has passed as it takes.
    fn carry(&mut self, ticket: Ticket, order: Order) {
        let mut takes = Duration::ZERO;
        let outcome = match &order {
            Order::Hello => Ok(ready()),
            Order::Enter { pod } => self.enter(pod),
            Order::Apply { .. } => {
                takes = PROGRAMMING;
                self.put(&order)
            }
            Order::Lift { injection } => {
                takes = PROGRAMMING;
                let (own, name) = (self.uid.clone(), injection.0.clone());
                let (was, met) = self.agents.0.lift(|_, agent, i| agent == own && i == name);
                let all = self.met.entry(injection.clone()).or_default();
                *all += met;
                Ok(Report::Lifted { injection: injection.clone(), was, met: *all })
            }
            Order::Count { injection } => {
                let own = |held: &Held| held.agent == self.uid && held.injection == *injection;
                let met = self.agents.0.metrics.met(own) + self.met.get(injection).copied().unwrap_or(0);
                Ok(Report::Counted { injection: injection.clone(), met })
            }
            Order::Kill { .. } => self.kill(&order),
            Order::Measure { .. } => self.measure(&order, &mut takes),
            // The desk sees to these.
            Order::Beat | Order::Leave => return,
        };
        self.number += 1;
        self.coming.insert((Instant::now() + takes, self.number), (ticket, order, outcome));
    }

    /// The pod of that UID, as far as this agent finds it: on its node, with a process.
    fn find(&self, uid: &str) -> Result<Pod, Refusal> {
        let pods = self.agents.0.store.pods_on(&self.node);
        let pod = pods.into_iter().find(|pod| pod.meta.uid == uid).and_then(|pod| View::new(pod).ok());
        let found: Option<Pod> = pod.filter(|pod: &Pod| !pod.finished() && !pod.status.pod_ip.is_empty());
        found.ok_or_else(|| {
            let why = format!("no process on this node has the pod UID {uid} in its control group");
            refusal(RefusalCode::NoSuchPod, why, "Look whether the pod still runs, and on which node.")
        })
    }

    /// The same, where its network is meant.
    fn find_network(&self, uid: &str) -> Result<Pod, Refusal> {
        let pod = self.find(uid)?;
        if pod.spec.host_network {
            let why = "the pod is in its node's network namespace, and so are others";
            return Err(refusal(RefusalCode::HostNetwork, why.into(), "Choose pods without hostNetwork."));
        }
        if pod.uid() == self.uid {
            let why = "the agent is in that pod itself";
            return Err(refusal(RefusalCode::OwnPod, why.into(), "Choose other pods."));
        }
        Ok(pod)
    }

    fn enter(&self, uid: &str) -> Outcome {
        let pod = self.find_network(uid)?;
        // One for each container, and the one that holds the sandbox.
        let processes = 1 + running(&pod).count() as u32;
        let namespace = 4_026_532_000 + names::hash(&["namespace", uid]) % 100_000;
        Ok(Report::Entered { pod: uid.to_owned(), processes, namespace })
    }

    fn put(&mut self, order: &Order) -> Outcome {
        let Order::Apply { injection, pod: uid, disturbance, .. } = order else { return Err(nonsense()) };
        self.find_network(uid)?;
        if self.agents.0.metrics.impairments(uid).iter().any(|held| held.agent != self.uid) {
            let why = "another agent's rules are in the pod's network namespace";
            return Err(refusal(RefusalCode::Foreign, why.into(), "Wait until the other run has ended."));
        }
        let held = Held {
            agent: self.uid.clone(),
            address: self.own_address(),
            injection: injection.clone(),
            disturbance: disturbance.clone(),
        };
        // Nothing is put anywhere for one that has ended meanwhile.
        if self.agents.0.lock().contains_key(&self.uid) && self.agents.0.metrics.impair(uid, held) {
            self.agents.0.occur(uid, What::Disturbed(true));
        }
        Ok(Report::Applied { injection: injection.clone(), pod: uid.clone() })
    }

    fn own_address(&mut self) -> Option<IpAddr> {
        if self.address.is_none() {
            let own = self.find(&self.uid).ok();
            self.address = own.and_then(|pod| pod.status.pod_ip.parse().ok());
        }
        self.address
    }

    fn kill(&mut self, order: &Order) -> Outcome {
        let Order::Kill { injection, pod: uid, container, process, signal } = order else {
            return Err(nonsense());
        };
        let key = (injection.clone(), uid.clone());
        let said = |processes, seen| {
            Ok(Report::Killed { injection: injection.clone(), pod: uid.clone(), processes, seen })
        };
        if let Some(done) = self.killed.get(&key) {
            return said(done.clone(), Vec::new());
        }
        let pod = self.find(uid)?;
        let hit = running(&pod).filter(|(c, id)| {
            let named = |wanted: &String| truncated(&process_name(&pod, c)) == truncated(wanted);
            container.as_ref().is_none_or(|wanted| id == wanted) && process.as_ref().is_none_or(named)
        });
        let (mut containers, mut processes) = (Vec::new(), Vec::new());
        for (c, id) in hit {
            containers.push(c.name.clone());
            let pid = 1_000 + names::hash(&["pid", &id]) % 60_000;
            processes.push(Process { pid: pid as u32, name: truncated(&process_name(&pod, c)) });
        }
        if !processes.is_empty() {
            self.agents.0.occur(uid, What::Signal(containers, handled(*signal)));
            self.killed.insert(key, processes.clone());
            return said(processes, Vec::new());
        }
        let there = running(&pod).filter(|(_, id)| container.as_ref().is_none_or(|wanted| id == wanted));
        let names: BTreeSet<String> = there.map(|(c, _)| truncated(&process_name(&pod, c))).collect();
        said(processes, names.into_iter().collect())
    }

    fn measure(&mut self, order: &Order, takes: &mut Duration) -> Outcome {
        let Order::Measure { pod, address, direction, protocol, port, count, timeout_ms } = order else {
            return Err(nonsense());
        };
        let from = self.own_address().ok_or_else(nonsense)?;
        let timeout_us = timeout_ms.saturating_mul(1000);
        let (direction, protocol) = (*direction, *protocol);
        let what = Measurement { pod, from, direction, protocol, port: *port, count: *count, timeout_us };
        let found = self.agents.0.metrics.pod_at(*address).is_some_and(|at| at == *pod);
        let each = match found {
            true => self.agents.0.metrics.measure(&self.uid, what, &mut self.dice),
            // Nobody has that address (any more).
            false => vec![None; *count as usize],
        };
        // One after another.
        *takes = Duration::from_micros(each.iter().map(|rtt| rtt.unwrap_or(timeout_us)).sum());
        let rtt_us: Vec<u64> = each.iter().copied().flatten().collect();
        let lost = count.saturating_sub(u32::try_from(rtt_us.len()).unwrap_or(u32::MAX));
        Ok(Report::Measured { pod: pod.clone(), rtt_us, lost })
    }
}

fn refusal(code: RefusalCode, why: String, remedy: &str) -> Refusal {
    Refusal { code, why, remedy: remedy.to_owned() }
}

fn nonsense() -> Refusal {
    refusal(RefusalCode::Failed, "the agent's pod has no address".into(), "Look at the agent's pod.")
}

/// What a node of today can do.
fn ready() -> Report {
    let features = Features {
        kernel: "6.12.0".to_owned(),
        arch: "x86_64".to_owned(),
        nfqueue: Nfqueue::Native,
        cgroup: Cgroup::V2,
        realtime: true,
        lacking: Vec::new(),
    };
    let agent_version = env!("CARGO_PKG_VERSION").to_owned();
    Report::Ready { agent_version, features, in_force: Vec::new(), ignored: 0 }
}

/// The containers of a pod that run, with their ids.
fn running(pod: &Pod) -> impl Iterator<Item = (&Container, String)> {
    pod.spec.containers.iter().filter_map(|container| {
        let status = pod.status.container_statuses.iter().find(|status| status.name == container.name)?;
        status.state.running.as_ref()?;
        let id = status.container_id.split_once("://").map_or("", |(_, id)| id);
        Some((container, id.to_owned()))
    })
}

/// The name of a container's one process: as an annotation states it, or else that of its command, or of its image.
fn process_name(pod: &Pod, container: &Container) -> String {
    if let Some(stated) = pod.meta().annotations.get(PROCESS) {
        return stated.clone();
    }
    let command = container.command.first().map(|path| path.rsplit('/').next().unwrap_or_default());
    let image = container.image.rsplit('/').next().and_then(|last| last.split([':', '@']).next());
    command.or(image).unwrap_or_default().to_owned()
}

/// As much of a process's name as the kernel keeps (`TASK_COMM_LEN`).
fn truncated(name: &str) -> String {
    String::from_utf8_lossy(&name.as_bytes()[..name.len().min(15)]).into_owned()
}

/// What a signal does to the first process of a container: of those sent from outside, SIGKILL ends it, and the others do
/// only what it handles (pid_namespaces(7)). Servers handle SIGTERM, SIGINT and SIGQUIT by shutting down; nothing else is
/// assumed of them.
fn handled(signal: Signal) -> Handled {
    match signal {
        Signal::Kill => Handled::Ends(9),
        Signal::Term | Signal::Int | Signal::Quit => Handled::ShutsDown,
        Signal::Hup | Signal::Abrt | Signal::Segv | Signal::Usr1 | Signal::Usr2 => Handled::GoesOn,
    }
}

/// The desk that an agent's arguments ask for.
fn desk(args: &[String]) -> Option<Desk> {
    let mut given = BTreeMap::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((flag, value)) => given.insert(flag.to_owned(), value.to_owned()),
            None => given.insert(word.clone(), words.next()?.clone()),
        };
    }
    // A length, or seconds.
    let length = |flag: &str, otherwise: Duration| match given.get(flag) {
        Some(text) => duration(text).or_else(|| Some(Duration::from_secs(text.parse().ok()?))),
        None => Some(otherwise),
    };
    let percent = |text: &String| text.trim_end_matches('%').parse::<f64>().ok();
    let limits = Limits {
        ttl: length("--ttl", Duration::from_secs(10))?,
        deadline: length("--deadline", Duration::from_secs(3600))?,
        delay_max: length("--max-delay", Duration::from_secs(60))?,
        loss_max_percent: given.get("--max-loss").map_or(Some(100.0), percent)?,
    };
    let epoch = given.get("--epoch").map_or(Some(0), |text| text.parse().ok())?;
    Some(Desk::new(limits, RunId::parse(given.get("--run")?)?, Epoch(epoch)))
}
