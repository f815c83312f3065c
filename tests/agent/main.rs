//! The agent as a process: in network namespaces, with processes in control groups that look like pods.
//!
//! Needs root, so it runs only when it is asked for: `tests/real/agent.sh`.
#![cfg(target_os = "linux")]

mod driver;
mod endings;
mod faults;
mod refusals;
mod traffic;
mod world;
