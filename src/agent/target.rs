//! One thread for one network namespace: it has the rules, the queue, the faults, and what they hold up.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, OwnedFd},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{
    clock,
    disturb::{Decision, Faults, Former, Key, held::Held},
    netlink::{
        queue::{self, Queue},
        rules::{self, Table},
    },
    node,
    outlet::Outlet,
    packet::Packet,
    resend::Resend,
    wire::{Direction, Disturbance, Nfqueue},
};
use crate::types::InjectionId;

/// Bytes of copies of packets that all targets together keep at once; what comes beyond passes.
const COPIES: usize = 48 << 20;
/// Packets between two looks at the clock.
const BURST: usize = 32;
/// For a packet and what the kernel says about it.
const BUFFER: usize = 68 * 1024;
/// For packets on their way through rules that are gone.
const SETTLE: Duration = Duration::from_millis(1);

/// What a target's thread is asked for.
#[derive(Debug)]
pub enum Command {
    /// Put a fault in force, or replace it.
    Set(InjectionId, Disturbance),
    /// Take it away.
    Lift(InjectionId),
    /// Say what it has met.
    Count(InjectionId),
    /// Take all away and end.
    Quit,
}

/// What it answers, once for each command: how many packets that are not the agent's own the fault has met, as far as
/// that was asked.
pub type Outcome = io::Result<u64>;

/// A pod's network namespace and what it needs.
#[derive(Debug)]
pub struct Place {
    /// The namespace.
    pub namespace: OwnedFd,
    /// Whose table.
    pub run: String,
    /// How packets are led to the queue.
    pub how: Nfqueue,
    /// The agent's own addresses.
    pub own: Vec<IpAddr>,
    /// For the log.
    pub name: String,
    /// Where the log goes.
    pub log: Outlet,
    /// Bytes of copies that all targets keep.
    pub copies: Arc<AtomicUsize>,
}

/// Commands in, outcomes out, and what wakes either side.
#[derive(Debug)]
pub struct Line {
    /// From the worker.
    pub commands: Receiver<Command>,
    /// Signalled after each command.
    pub wake: OwnedFd,
    /// To the worker.
    pub outcomes: Sender<Outcome>,
    /// Signalled after each outcome.
    pub notify: OwnedFd,
}

/// The thread's life: until it is told to quit, or has no fault left.
pub fn live(place: Place, line: Line) {
    let entered = move_into_link_name_space(place.namespace.as_fd(), Some(LinkNameSpaceType::Network));
    let opened = entered.map_err(io::Error::from).and_then(|()| {
        node::become_realtime();
        Target::open(&place)
    });
    let ended = match opened {
        Ok(mut target) => target.serve(&place, &line),
        Err(error) => {
            // Whatever is asked is answered with what went wrong.
            for command in &line.commands {
                let again =
                    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
                let _ = line.outcomes.send(Err(again));
                let _ = node::signal(&line.notify);
                if matches!(command, Command::Quit) {
                    break;
                }
            }
            Ok(())
        }
    };
    if let Err(error) = ended {
        place.log.log(format!("{}: {error}: its rules are gone with this thread", place.name));
    }
    // The worker sees the end by the channel's.
    drop(line.outcomes);
    let _ = node::signal(&line.notify);
}

/// What a held packet is.
#[derive(Debug)]
enum Kept {
    /// Waits in the kernel.
    Queued(u32),
    /// Was dropped; this is its copy, for this address and interface.
    Copied(Copied, IpAddr, u32),
}

/// A packet's bytes, counted for as long as they are kept.
#[derive(Debug)]
struct Copied {
    bytes: Vec<u8>,
    all: Arc<AtomicUsize>,
}

impl Copied {
    /// None when all targets together keep enough.
    fn new(bytes: &[u8], all: &Arc<AtomicUsize>) -> Option<Self> {
        if all.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len() > COPIES {
            all.fetch_sub(bytes.len(), Ordering::Relaxed);
            return None;
        }
        Some(Self { bytes: bytes.to_vec(), all: all.clone() })
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

struct Target {
    queue: Queue,
    table: Table,
    resend: Resend,
    faults: Faults,
    held: Held<Kept>,
    overflow: u64,
    unsent: u64,
}

impl Target {
    fn open(place: &Place) -> io::Result<Self> {
        Ok(Self {
            queue: Queue::open()?,
            table: Table::new(&place.run, place.how)?,
            resend: Resend::open()?,
            faults: Faults::default(),
            held: Held::default(),
            overflow: 0,
            unsent: 0,
        })
    }

    fn serve(&mut self, place: &Place, line: &Line) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            self.wait(line)?;
            node::calm(&line.wake);
            while let Ok(command) = line.commands.try_recv() {
                let quit = matches!(command, Command::Quit);
                let outcome = self.obey(command, place);
                let _ = line.outcomes.send(outcome);
                let _ = node::signal(&line.notify);
                if quit {
                    return Ok(());
                }
            }
            for _ in 0..BURST {
                if !self.next_packet(&mut buffer, place)? {
                    break;
                }
            }
            self.release(clock::now())?;
        }
    }

    /// Decides on the next packet that is there, if any.
    fn next_packet(&mut self, buffer: &mut [u8], place: &Place) -> io::Result<bool> {
        let now = clock::now();
        let Some(packet) = self.queue.receive(buffer)? else { return Ok(false) };
        let judged =
            Packet::read(packet.bytes).map(|read| (self.faults.decide(&read, packet.direction), read));
        match judged {
            None | Some((Decision::Pass, _)) => self.queue.accept(packet.id)?,
            Some((Decision::Lose, _)) => self.queue.drop(packet.id)?,
            Some((Decision::Delay(delays), read)) => {
                let resent = packet.direction == Direction::Egress && self.resend.takes(&read, packet.bytes);
                let copy = resent.then(|| Copied::new(packet.bytes, &place.copies)).flatten();
                if let Some(copy) = copy {
                    let (id, interface) = (packet.id, packet.interface);
                    self.held.push(Kept::Copied(copy, read.destination, interface), now, delays);
                    self.queue.drop(id)?;
                } else if !resent && self.held.len() < queue::LONGEST as usize {
                    self.held.push(Kept::Queued(packet.id), now, delays);
                } else {
                    self.overflow += 1;
                    self.queue.accept(packet.id)?;
                }
            }
        }
        Ok(true)
    }

    /// Until there is a packet, a command, or something due.
    fn wait(&mut self, line: &Line) -> io::Result<()> {
        self.queue.flush()?;
        let left = self.held.next_due().map(|due| clock::timespec(due.saturating_sub(clock::now())));
        let mut either = [PollFd::new(&self.queue, PollFlags::IN), PollFd::new(&line.wake, PollFlags::IN)];
        match poll(&mut either, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn release(&mut self, now: Duration) -> io::Result<()> {
        while let Some(kept) = self.held.pop(now) {
            match kept {
                Kept::Queued(id) => self.queue.accept(id)?,
                Kept::Copied(copy, to, interface) => {
                    self.unsent += u64::from(self.resend.send(&copy.bytes, to, interface).is_err());
                }
            }
        }
        self.queue.flush()
    }

    fn obey(&mut self, command: Command, place: &Place) -> Outcome {
        match command {
            Command::Set(name, disturbance) => self.set(&name, &disturbance, place).map(|()| 0),
            Command::Count(name) => Ok(self.faults.met(&name).others),
            Command::Lift(name) => self.lift(&name, place),
            Command::Quit => {
                let names = self.faults.names();
                let lifted = names.iter().try_for_each(|name| self.lift(name, place).map(drop));
                lifted.and_then(|()| self.table.remove()).map(|()| 0)
            }
        }
    }

    fn set(&mut self, name: &InjectionId, disturbance: &Disturbance, place: &Place) -> io::Result<()> {
        if self.faults.is_empty() {
            self.clear_the_way(place)?;
        }
        let former = self.faults.set(name, disturbance, &place.own);
        let picks = self.faults.picks();
        if let Err(error) = self.table.lead(&picks, self.queue.number) {
            // The kernel has changed nothing, so nothing is changed here.
            self.faults.restore(name, former);
            return Err(error);
        }
        // A fault of another kind under the same name: what the former held up is let go.
        if let Former::Whole(former) = former {
            self.let_go(former.key())?;
        }
        let owned = if self.table.owned { "" } else { ", removed by the agent only (Linux before 5.12)" };
        place.log.log(format!("{}: {name} in force: {} rules{owned}", place.name, picks.len()));
        Ok(())
    }

    fn lift(&mut self, name: &InjectionId, place: &Place) -> Outcome {
        let Some((key, met)) = self.faults.lift(name) else { return Ok(0) };
        self.table.lead(&self.faults.picks(), self.queue.number)?;
        self.let_go(key)?;
        if self.faults.is_empty() {
            // The kernel drops what is queued when a table goes, so nothing may be. A packet that was being
            // looked at while the rules were changed comes a little later.
            self.drain()?;
            thread::sleep(SETTLE);
            self.drain()?;
            self.table.remove()?;
        }
        place.log.log(format!(
            "{}: {name} lifted: {} packets of others met; {} delayed, {} lost, {} passed early for want of room, {} not sent again",
            place.name, met.others, met.delayed, met.lost, self.overflow, self.unsent
        ));
        Ok(met.others)
    }

    fn let_go(&mut self, key: Key) -> io::Result<()> {
        self.held.release(key);
        self.release(clock::now())
    }

    /// Lets pass all that is queued.
    fn drain(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        while let Some(packet) = self.queue.receive(&mut buffer)? {
            let id = packet.id;
            self.queue.accept(id)?;
        }
        self.queue.flush()
    }

    /// Leftovers of this run are taken away, those of others are not ours.
    fn clear_the_way(&self, place: &Place) -> io::Result<()> {
        let ours = format!("{}{}", rules::PREFIX, place.run);
        for table in rules::tables()? {
            if table != ours {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, table));
            }
            rules::delete(&table)?;
            place.log.log(format!("{}: removed what an earlier agent of this run had left", place.name));
        }
        Ok(())
    }
}
