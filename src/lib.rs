//! firedrill: chaos experiments, game days and DR drills for Kubernetes.
//!
//! One direction of data: file → spec → plan → run → journal → report. Each arrow is a function;
//! nothing reads upstream.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod types;
// agent: not built yet
pub mod api;
pub mod cli;
pub mod cluster;
pub mod engine;
pub mod env;
pub mod faults;
pub mod journal;
pub mod plan;
pub mod probes;
pub mod report;
pub mod sim;
