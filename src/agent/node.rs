//! What the node can do, tried out; and small things that every thread needs.

use std::{borrow::Cow, fs, io, thread};

use rustix::{
    event::{EventfdFlags, eventfd},
    fd::OwnedFd,
};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::{
    netlink::{
        queue::Queue,
        rules::{Pick, Table},
    },
    wire::{Cgroup, Direction, Features, Lack, Nfqueue},
};
use crate::types::Cidr;

/// Above everything that has ordinary priority, below what the kernel and clusters put higher.
const PRIORITY: u8 = 10;

/// Something to wait for in `poll`.
pub fn event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
}

/// Wakes who waits for it.
pub fn signal(event: &OwnedFd) -> io::Result<()> {
    rustix::io::write(event, &1u64.to_ne_bytes())?;
    Ok(())
}

/// It was heard.
pub fn calm(event: &OwnedFd) {
    let _ = rustix::io::read(event, &mut [0; 8]);
}

/// Gives this thread real-time priority, where that is allowed.
pub fn become_realtime() -> bool {
    let value = ThreadPriorityValue::try_from(PRIORITY).expect("a priority");
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy).is_ok()
}

/// Tries everything out in this thread's own network namespace, and leaves nothing there.
pub fn features() -> Features {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut lacking = Vec::new();
    let nfqueue = match nfqueue() {
        Ok((nfqueue, owned)) => {
            if !owned {
                lacking.push(lack(
                    "owned tables",
                    "the kernel refuses the owner flag".to_owned(),
                    "Linux 5.12 or newer; until then the agent removes its table itself, and an inert rule stays when both of its processes are killed.",
                ));
            }
            nfqueue
        }
        Err(error) => {
            lacking.push(lack(
                "nfqueue",
                error.to_string(),
                "Load the modules nfnetlink_queue and nft_queue (or xt_NFQUEUE with nft_compat), and give the agent NET_ADMIN.",
            ));
            Nfqueue::Missing
        }
    };
    let realtime = thread::spawn(become_realtime).join().unwrap_or(false);
    if !realtime {
        lacking.push(lack(
            "realtime",
            "SCHED_FIFO is refused".to_owned(),
            "Give the agent SYS_NICE, and with CONFIG_RT_GROUP_SCHED its control group real-time runtime; without it delays are late by milliseconds on a busy node.",
        ));
    }
    let arch = std::env::consts::ARCH.to_owned();
    Features { kernel, arch, nfqueue, cgroup: cgroup(), realtime, lacking }
}

fn lack(what: &'static str, why: String, remedy: &'static str) -> Lack {
    Lack { what: Cow::Borrowed(what), why, remedy: Cow::Borrowed(remedy) }
}

fn nfqueue() -> io::Result<(Nfqueue, bool)> {
    let queue = Queue::open()?;
    // An address that is nobody's (RFC 5737).
    let nobody = Cidr::host([192, 0, 2, 1].into());
    let pick = Pick { direction: Direction::Egress, peer: Some(nobody), protocol: None, ports: None };
    let mut failed = None;
    for how in [Nfqueue::Native, Nfqueue::Compat] {
        let mut table = Table::new(&format!("trial_{}", std::process::id()), how)?;
        match table.lead(std::slice::from_ref(&pick), queue.number) {
            Ok(()) => {
                let owned = table.owned;
                // The kernel lets nobody go before its grace period is over, and there is no need to wait for it.
                thread::spawn(move || (table.remove(), drop(queue)));
                return Ok((how, owned));
            }
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

fn cgroup() -> Cgroup {
    // The agent has no mount of its own of it, and needs none: its own membership says what there is.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unified = own.lines().any(|line| line.starts_with("0::"));
    let split = own.lines().any(|line| !line.starts_with("0::"));
    match (unified, split) {
        (true, false) => Cgroup::V2,
        (true, true) => Cgroup::Hybrid,
        (false, _) => Cgroup::V1,
    }
}
