//! The targets of a worker: which thread has which pod's network, and what each was asked for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::AtomicUsize,
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread,
    time::Duration,
};

use rustix::fd::OwnedFd;

use super::{
    clock, node,
    outlet::Outlet,
    pods::{self, Census, Network},
    target::{self, Command, Line, Place},
    wire::{Disturbance, Nfqueue, Order, Refusal, RefusalCode, Report, Ticket},
};
use crate::types::InjectionId;

/// What all threads together have for letting go.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many of the lifted are remembered.
const REMEMBERED: usize = 4096;
/// For a thread's stack.
const STACK: usize = 256 * 1024;

/// An order that was carried out.
#[derive(Debug)]
pub struct Done {
    /// Whose answer it is.
    pub ticket: Ticket,
    /// The order.
    pub order: Order,
    /// What came of it.
    pub outcome: Result<Report, Refusal>,
}

/// Identifies an order among those that wait.
type Number = u64;

#[derive(Debug)]
struct Target {
    commands: Sender<Command>,
    wake: OwnedFd,
    outcomes: Receiver<target::Outcome>,
    /// Of each command that has no outcome yet: whose it is, and what it leaves in force if it succeeds.
    expected: VecDeque<(Number, Expected)>,
    in_force: BTreeSet<InjectionId>,
}

#[derive(Debug)]
enum Expected {
    Set(InjectionId),
    Lift(InjectionId),
    Count,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    order: Order,
    left: usize,
    was: bool,
    /// Packets of others, where that was asked of what is in force.
    met: u64,
    failed: Option<Refusal>,
}

/// Every pod that is or was disturbed.
#[derive(Debug)]
pub struct Targets {
    run: String,
    how: Nfqueue,
    own: Vec<IpAddr>,
    notify: OwnedFd,
    log: Outlet,
    /// Bytes of copies of packets that all of them keep.
    copies: Arc<AtomicUsize>,
    census: Census,
    /// By pod.
    networks: BTreeMap<String, Network>,
    /// By inode of the network namespace.
    targets: BTreeMap<u64, Target>,
    waiting: BTreeMap<Number, Waiting>,
    /// What those that were lifted had met: whoever asks again hears the same.
    met: BTreeMap<InjectionId, u64>,
    number: Number,
    /// Commands that were sent for the order that [`Targets::expect`] is called for next.
    sent: usize,
    was: bool,
}

impl Targets {
    /// None yet.
    pub fn new(run: String, how: Nfqueue, own: Vec<IpAddr>, notify: OwnedFd, log: Outlet) -> Self {
        Self {
            run,
            how,
            own,
            notify,
            log,
            copies: Arc::default(),
            census: Census::default(),
            networks: BTreeMap::new(),
            targets: BTreeMap::new(),
            waiting: BTreeMap::new(),
            met: BTreeMap::new(),
            number: 0,
            sent: 0,
            was: false,
        }
    }

    /// Finds a pod's network anew.
    ///
    /// # Errors
    /// The pod has no network here that may be disturbed.
    pub fn enter(&mut self, pod: &str) -> Result<Report, Refusal> {
        let found = pods::network(pod, &mut self.census)?;
        let (processes, namespace) = (found.processes, found.inode);
        self.networks.insert(pod.to_owned(), found);
        Ok(Report::Entered { pod: pod.to_owned(), processes, namespace })
    }

    /// Asks for a fault on a pod.
    ///
    /// # Errors
    /// The pod has no network here that may be disturbed.
    pub fn set(&mut self, name: &InjectionId, pod: &str, what: &Disturbance) -> Result<(), Refusal> {
        let inode = self.find(pod)?;
        if !self.targets.contains_key(&inode) {
            let target = self.start(pod).map_err(|error| refusal(&error))?;
            self.targets.insert(inode, target);
        }
        let command = Command::Set(name.clone(), what.clone());
        self.ask(inode, command, Expected::Set(name.clone())).map_err(|error| refusal(&error))
    }

    /// Asks for a fault to be taken away from every pod.
    pub fn lift(&mut self, name: &InjectionId) -> io::Result<()> {
        let inodes: Vec<u64> = self.targets.keys().copied().collect();
        for inode in inodes {
            self.lift_at(inode, name)?;
        }
        Ok(())
    }

    /// Asks for a fault to be taken away from one pod; nobody waits for it.
    pub fn lift_from(&mut self, name: &InjectionId, pod: &str) -> io::Result<()> {
        if let Some(inode) = self.networks.get(pod).map(|network| network.inode) {
            self.lift_at(inode, name)?;
        }
        (self.sent, self.was) = (0, false);
        self.number += 1;
        Ok(())
    }

    /// Asks what a fault has met on every pod.
    pub fn count(&mut self, name: &InjectionId) -> io::Result<()> {
        let holds = |target: &&Target| target.in_force.contains(name);
        let inodes: Vec<u64> =
            self.targets.iter().filter(|(_, target)| holds(target)).map(|(inode, _)| *inode).collect();
        for inode in inodes {
            self.ask(inode, Command::Count(name.clone()), Expected::Count)?;
        }
        Ok(())
    }

    /// Says whose order that was: it is done when all threads have answered.
    pub fn expect(&mut self, ticket: Ticket, order: Order) {
        let waiting = Waiting { ticket, order, left: self.sent, was: self.was, met: 0, failed: None };
        self.waiting.insert(self.number, waiting);
        (self.sent, self.was) = (0, false);
        self.number += 1;
        // An order that asks nothing of any thread is done at once.
        let _ = node::signal(&self.notify);
    }

    /// The orders that are done by now.
    ///
    /// # Errors
    /// A thread has died.
    pub fn gather(&mut self) -> io::Result<Vec<Done>> {
        for target in self.targets.values_mut() {
            loop {
                match target.outcomes.try_recv() {
                    Ok(outcome) => {
                        if let Some((name, met)) = target.hear(outcome, &mut self.waiting) {
                            *self.met.entry(name).or_default() += met;
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        // One that could not even start has said so, and was asked for nothing more.
                        if target.is_idle() {
                            break;
                        }
                        return Err(io::Error::other("a thread of its own has died"));
                    }
                }
            }
        }
        let idle = self.targets.iter().filter(|(_, target)| target.is_idle()).map(|(inode, _)| *inode);
        for inode in idle.collect::<Vec<_>>() {
            if let Some(target) = self.targets.remove(&inode) {
                let _ = target.send(Command::Quit);
            }
            // A namespace that is kept open outlives its pod.
            self.networks.retain(|_, network| network.inode != inode);
        }
        while self.met.len() > REMEMBERED {
            self.met.pop_first();
        }
        let done = self.waiting.iter().filter(|(_, waiting)| waiting.left == 0).map(|(number, _)| *number);
        let done: Vec<Number> = done.collect();
        let done = done.into_iter().filter_map(|number| self.waiting.remove(&number));
        Ok(done.map(|waiting| waiting.done(&self.met)).collect())
    }

    /// Lifts everything, and says whether all threads did so in time.
    pub fn quit(&mut self) -> bool {
        let over = clock::now() + PATIENCE;
        for target in self.targets.values() {
            let _ = target.send(Command::Quit);
        }
        let mut in_time = true;
        for target in self.targets.values() {
            loop {
                match target.outcomes.recv_timeout(over.saturating_sub(clock::now())) {
                    Ok(_) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        in_time = false;
                        break;
                    }
                }
            }
        }
        self.targets.clear();
        in_time
    }

    fn find(&mut self, pod: &str) -> Result<u64, Refusal> {
        if !self.networks.get(pod).is_some_and(|network| network.holds(pod)) {
            let network = pods::network(pod, &mut self.census)?;
            self.networks.insert(pod.to_owned(), network);
        }
        Ok(self.networks[pod].inode)
    }

    fn start(&self, pod: &str) -> io::Result<Target> {
        let network = &self.networks[pod];
        let place = Place {
            namespace: network.namespace.try_clone()?,
            run: self.run.clone(),
            how: self.how,
            own: self.own.clone(),
            name: format!("pod {pod}"),
            log: self.log.clone(),
            copies: self.copies.clone(),
        };
        let (commands_tx, commands_rx) = channel();
        let (outcomes_tx, outcomes_rx) = channel();
        let wake = node::event()?;
        let line = Line {
            commands: commands_rx,
            wake: wake.try_clone()?,
            outcomes: outcomes_tx,
            notify: self.notify.try_clone()?,
        };
        thread::Builder::new().stack_size(STACK).spawn(move || target::live(place, line))?;
        Ok(Target {
            commands: commands_tx,
            wake,
            outcomes: outcomes_rx,
            expected: VecDeque::new(),
            in_force: BTreeSet::new(),
        })
    }

    fn lift_at(&mut self, inode: u64, name: &InjectionId) -> io::Result<()> {
        let Some(target) = self.targets.get(&inode) else { return Ok(()) };
        let coming =
            |(_, expected): &(Number, Expected)| matches!(expected, Expected::Set(other) if other == name);
        if target.in_force.contains(name) || target.expected.iter().any(coming) {
            self.was = true;
            self.ask(inode, Command::Lift(name.clone()), Expected::Lift(name.clone()))?;
        }
        Ok(())
    }

    fn ask(&mut self, inode: u64, command: Command, expected: Expected) -> io::Result<()> {
        let Some(target) = self.targets.get_mut(&inode) else { return Ok(()) };
        target.send(command)?;
        target.expected.push_back((self.number, expected));
        self.sent += 1;
        Ok(())
    }
}

impl Target {
    fn send(&self, command: Command) -> io::Result<()> {
        self.commands.send(command).map_err(|_| io::Error::other("a thread of its own has died"))?;
        node::signal(&self.wake)
    }

    /// Whether it has and will have nothing in force.
    fn is_idle(&self) -> bool {
        self.in_force.is_empty() && self.expected.is_empty()
    }

    /// The outcome of the command that was sent first; what was lifted by it, with what that had met.
    fn hear(
        &mut self,
        outcome: target::Outcome,
        waiting: &mut BTreeMap<Number, Waiting>,
    ) -> Option<(InjectionId, u64)> {
        let (number, expected) = self.expected.pop_front()?;
        let waiting = waiting.get_mut(&number);
        let (mut lifted, mut counted) = (None, 0);
        match (&outcome, expected) {
            (Ok(_), Expected::Set(name)) => drop(self.in_force.insert(name)),
            (Ok(met), Expected::Lift(name)) => {
                self.in_force.remove(&name);
                lifted = Some((name, *met));
            }
            (Ok(met), Expected::Count) => counted = *met,
            (Err(_), _) => {}
        }
        if let Some(waiting) = waiting {
            waiting.left -= 1;
            waiting.met += counted;
            waiting.failed = waiting.failed.take().or(outcome.err().map(|error| refusal(&error)));
        }
        lifted
    }
}

impl Waiting {
    fn done(self, lifted: &BTreeMap<InjectionId, u64>) -> Done {
        let met = |injection| lifted.get(injection).copied().unwrap_or(0);
        let outcome = match (self.failed, &self.order) {
            (Some(refusal), _) => Err(refusal),
            (None, Order::Apply { injection, pod, .. }) => {
                Ok(Report::Applied { injection: injection.clone(), pod: pod.clone() })
            }
            (None, Order::Lift { injection }) => {
                Ok(Report::Lifted { injection: injection.clone(), was: self.was, met: met(injection) })
            }
            (None, Order::Count { injection }) => {
                Ok(Report::Counted { injection: injection.clone(), met: met(injection) + self.met })
            }
            (None, _) => Err(refusal(&io::ErrorKind::InvalidInput.into())),
        };
        Done { ticket: self.ticket, order: self.order, outcome }
    }
}

/// What a thread could not do, in words.
fn refusal(error: &io::Error) -> Refusal {
    // Its own error names the table; the kernel's has a number.
    if error.kind() == io::ErrorKind::AlreadyExists && error.raw_os_error().is_none() {
        let table = error.to_string();
        let run = table.trim_start_matches(super::netlink::rules::PREFIX);
        return Refusal {
            code: RefusalCode::Foreign,
            why: format!("run {run} disturbs this pod already (table {table})"),
            remedy: format!("End it first: firedrill abort {run}."),
        };
    }
    Refusal {
        code: RefusalCode::Failed,
        why: error.to_string(),
        remedy: "See the agent's log; it needs NET_ADMIN, NET_RAW and SYS_ADMIN.".to_owned(),
    }
}
