//! What runs on a node for the minutes of a run: a guard and a worker that disturb the network of pods and
//! cannot outlive their orders. From outside only [`wire`] is imported. `docs/agent.md` says what it may do.
//!
//! ```text
//!  guard ──starts──▶ worker ──one thread a network namespace──▶ target: queue ▶ faults ▶ held ▶ sent, accepted
//!    └ says it died    └ desk: takes orders, says when time is up        or lost
//! ```
//!
//! The kernel removes the rules when the process that owns their socket is gone, and lets packets pass when
//! nobody reads the queue: nothing has to be undone by somebody who might be dead.

pub mod wire;

#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod clock;
#[cfg(target_os = "linux")]
mod disturb;
#[cfg(target_os = "linux")]
mod guard;
#[cfg(target_os = "linux")]
mod kill;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod node;
#[cfg(target_os = "linux")]
mod outlet;
#[cfg(target_os = "linux")]
mod packet;
#[cfg(target_os = "linux")]
mod pods;
#[cfg(target_os = "linux")]
mod resend;
#[cfg(target_os = "linux")]
mod target;
#[cfg(target_os = "linux")]
mod targets;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(target_os = "linux")]
pub use guard::main;
