//! The worker: reads orders, asks the desk what to do, and does it.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    net::IpAddr,
    os::unix::net::UnixStream,
    process::ExitCode,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    process::{Pid, Signal, getppid, set_parent_process_death_signal},
};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{
    arguments::Settings,
    clock, guard, kill,
    measure::{self, Task},
    netlink::links,
    node,
    outlet::Outlet,
    targets::{Done, Targets},
    wire::{
        Act, Desk, Features, Order, Process, Refusal, RefusalCode, Report, ReportLine, Ticket, frame::Lines,
    },
};
use crate::types::InjectionId;

/// Measurements at once.
const MEASURING: usize = 32;

type Outcome = Result<Report, Refusal>;

/// The worker's process. It ends with everything lifted, or the kernel does that for it.
pub fn work(settings: Settings, guard: Option<Pid>) -> ExitCode {
    let tied = set_parent_process_death_signal(Some(Signal::KILL));
    if tied.is_err() || getppid() != guard {
        eprintln!("the guard is gone");
        return ExitCode::FAILURE;
    }
    // Started from /proc/self/exe it would be called so.
    let _ = rustix::thread::set_name(c"firedrill-agent");
    let (outlet, written) = Outlet::open();
    let code = match Worker::start(settings, outlet.clone()).and_then(|mut worker| worker.serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            outlet.log(format!("the worker cannot go on: {error}"));
            ExitCode::FAILURE
        }
    };
    drop(outlet);
    written.wait();
    code
}

struct Worker {
    began: Duration,
    desk: Desk,
    features: Features,
    targets: Targets,
    /// What each Kill has done.
    killed: BTreeMap<(InjectionId, String), Vec<Process>>,
    measured_tx: Sender<(Ticket, Order, Outcome)>,
    measured_rx: Receiver<(Ticket, Order, Outcome)>,
    measuring: usize,
    /// Signalled by every other thread that has something to tell.
    notify: OwnedFd,
    terminate: UnixStream,
    outlet: Outlet,
}

impl Worker {
    fn start(settings: Settings, outlet: Outlet) -> io::Result<Self> {
        let began = clock::now();
        let terminate = guard::signals(&[SIGTERM, SIGINT])?;
        let features = node::features();
        let own: Vec<IpAddr> = links::addresses()?;
        outlet.log(format!(
            "firedrill-agent {} for {}, epoch {}: Linux {}, packets by {:?}, real-time {}, own addresses {own:?}",
            env!("CARGO_PKG_VERSION"),
            settings.run,
            settings.epoch,
            features.kernel,
            features.nfqueue,
            features.realtime
        ));
        for lack in &features.lacking {
            outlet.log(format!("lacking {}: {}. {}", lack.what, lack.why, lack.remedy));
        }
        let notify = node::event()?;
        let run = settings.run.as_str().to_owned();
        let targets = Targets::new(run, features.nfqueue, own, notify.try_clone()?, outlet.clone());
        let (measured_tx, measured_rx) = channel();
        let desk = Desk::new(settings.limits, settings.run, settings.epoch);
        Ok(Self {
            began,
            desk,
            features,
            targets,
            killed: BTreeMap::new(),
            measured_tx,
            measured_rx,
            measuring: 0,
            notify,
            terminate,
            outlet,
        })
    }

    fn now(&self) -> Duration {
        clock::now().saturating_sub(self.began)
    }

    /// Until it has ended.
    fn serve(&mut self) -> io::Result<()> {
        let (mut lines, mut buffer, mut open) = (Lines::default(), vec![0; 64 * 1024], true);
        loop {
            let (input, terminated) = self.wait(open)?;
            let mut acts = if terminated { self.desk.terminate(self.now()) } else { Vec::new() };
            if input {
                let length = rustix::io::read(rustix::stdio::stdin(), &mut buffer).unwrap_or(0);
                // Nobody will ever write again; silence will end it.
                open = length > 0;
                for line in lines.push(&buffer[..length]) {
                    acts.extend(self.desk.take(&line, self.now()));
                }
            }
            acts.extend(self.desk.due(self.now()));
            for act in acts {
                if self.act(act)? {
                    return Ok(());
                }
            }
            self.gather()?;
        }
    }

    /// Until there is something to read, to gather, or due: whether there is input, and whether to end.
    fn wait(&mut self, open: bool) -> io::Result<(bool, bool)> {
        let left = clock::timespec(self.desk.next_due().saturating_sub(self.now()));
        let stdin = rustix::stdio::stdin();
        let input = if open { PollFlags::IN } else { PollFlags::empty() };
        let mut all = [
            PollFd::new(&self.terminate, PollFlags::IN),
            PollFd::new(&self.notify, PollFlags::IN),
            PollFd::new(&stdin, input),
        ];
        // A stream that has ended is always ready.
        let some = if open { &mut all[..] } else { &mut all[..2] };
        match poll(some, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let (ready, terminated) = (!all[2].revents().is_empty(), !all[0].revents().is_empty());
        if terminated {
            let _ = self.terminate.read(&mut [0; 16]);
        }
        node::calm(&self.notify);
        Ok((open && ready, terminated))
    }

    /// Whether it was the last.
    fn act(&mut self, act: Act) -> io::Result<bool> {
        match act {
            Act::Say(line) => self.outlet.say(&line),
            Act::Carry(ticket, order) => self.carry(ticket, order)?,
            Act::Lift(injection, pod) => self.targets.lift_from(&injection, &pod)?,
            Act::End(line) => {
                self.end(&line);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn end(&mut self, line: &ReportLine) {
        let in_time = self.targets.quit();
        if let Report::Ended { why, lifted } = &line.report {
            let how = if in_time { "" } else { "; some did not answer, and the kernel lifts what they had" };
            self.outlet.log(format!("ended ({why:?}), {} lifted{how}", lifted.len()));
        }
        self.outlet.say(line);
    }

    /// Answers now, or once other threads have done their part.
    fn carry(&mut self, ticket: Ticket, order: Order) -> io::Result<()> {
        let outcome = match &order {
            Order::Apply { injection, pod, disturbance, .. } => {
                let set = if self.features.network() {
                    self.targets.set(injection, pod, disturbance)
                } else {
                    Err(unsupported(&self.features))
                };
                if set.is_ok() {
                    self.targets.expect(ticket, order);
                    return Ok(());
                }
                set.map(|()| self.ready())
            }
            Order::Lift { injection } => {
                self.targets.lift(injection)?;
                self.targets.expect(ticket, order);
                return Ok(());
            }
            Order::Count { injection } => {
                self.targets.count(injection)?;
                self.targets.expect(ticket, order);
                return Ok(());
            }
            Order::Measure { .. } if self.measuring < MEASURING => return self.measure(ticket, order),
            Order::Measure { .. } => Err(Refusal {
                code: RefusalCode::Limit,
                why: format!("{MEASURING} measurements are under way"),
                remedy: "Wait for them.".to_owned(),
            }),
            Order::Enter { pod } => self.targets.enter(pod),
            Order::Kill { .. } => self.kill(&order),
            Order::Hello | Order::Beat | Order::Leave => Ok(self.ready()),
        };
        self.answer(ticket, &order, outcome);
        Ok(())
    }

    fn answer(&mut self, ticket: Ticket, order: &Order, outcome: Outcome) {
        if let Err(refusal) = &outcome {
            self.outlet.log(format!("refused ({:?}): {}. {}", refusal.code, refusal.why, refusal.remedy));
        }
        let line = self.desk.answer(ticket, order, outcome, self.now());
        self.outlet.say(&line);
    }

    fn ready(&self) -> Report {
        Report::Ready {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            features: self.features.clone(),
            in_force: Vec::new(),
            ignored: 0,
        }
    }

    fn kill(&mut self, order: &Order) -> Outcome {
        let Order::Kill { injection, pod, container, process, signal } = order else {
            return Ok(self.ready());
        };
        let key = (injection.clone(), pod.clone());
        let (processes, seen) = match self.killed.get(&key) {
            Some(processes) => (processes.clone(), Vec::new()),
            None => {
                let (sent, seen) = kill::kill(pod, container.as_deref(), process.as_deref(), *signal)?;
                self.outlet
                    .log(format!("pod {pod}: {injection}: sent {signal:?} to {} processes", sent.len()));
                // Where none was meant, nothing was done that may not be tried again.
                if !sent.is_empty() {
                    self.killed.insert(key, sent.clone());
                }
                (sent, seen)
            }
        };
        Ok(Report::Killed { injection: injection.clone(), pod: pod.clone(), processes, seen })
    }

    /// By a thread of its own, as it takes its time.
    fn measure(&mut self, ticket: Ticket, order: Order) -> io::Result<()> {
        let Order::Measure { pod, address, direction, protocol, port, count, timeout_ms } = order.clone()
        else {
            return Ok(());
        };
        let timeout = Duration::from_millis(timeout_ms);
        let task = Task { address, direction, protocol, port, count, timeout };
        let (measured_tx, notify) = (self.measured_tx.clone(), self.notify.try_clone()?);
        self.measuring += 1;
        thread::spawn(move || {
            let outcome = measure::measure(pod, &task);
            let _ = measured_tx.send((ticket, order, outcome));
            let _ = node::signal(&notify);
        });
        Ok(())
    }

    /// What other threads have done.
    fn gather(&mut self) -> io::Result<()> {
        for Done { ticket, order, outcome } in self.targets.gather()? {
            self.answer(ticket, &order, outcome);
        }
        while let Ok((ticket, order, outcome)) = self.measured_rx.try_recv() {
            self.measuring -= 1;
            self.answer(ticket, &order, outcome);
        }
        Ok(())
    }
}

fn unsupported(features: &Features) -> Refusal {
    let lack = features.lacking.iter().find(|lack| lack.what == "nfqueue");
    Refusal {
        code: RefusalCode::Unsupported,
        why: lack.map_or_else(String::new, |lack| format!("this node hands no packets over: {}", lack.why)),
        remedy: lack.map_or_else(String::new, |lack| lack.remedy.clone().into_owned()),
    }
}
