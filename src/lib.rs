//! firedrill runs chaos experiments, game days and DR drills against Kubernetes workloads that are supposed
//! to heal themselves: it breaks something on purpose, watches, stops when normal is lost, puts everything
//! back and proves that it is back.
//!
//! # Bird's eye view
//!
//! One direction of data: file → spec → plan → run → journal → report. Each arrow is a function; nothing
//! reads upstream.
//!
//! ```text
//!  text ──api::read──▶ Experiment ──engine::assess──▶ Plan ──engine::run──▶ journal ──report::Facts──▶ text,
//!                          │             ▲ plan (pure)       │  ▲                                    Markdown,
//!                          │             └ Snapshot ◀─cluster│  └ replay: the only recovery          JSON
//!                          └ refused: findings with codes    └ next (pure) → drive → a record → transition (pure)
//! ```
//!
//! A run is its journal. `engine::next` looks at the state and says what comes next, `engine::drive` does it
//! and writes down what came of it, `engine::transition` folds the record into the state. A runner that
//! comes after a crash replays the journal and goes on in the same loop.
//!
//! # Code map
//!
//! Low to high; a room imports only from rooms before it (`tests/all/tidy` holds this list and that rule).
//!
//! - [`types`]: the vocabulary: ids, amounts, lengths of time, verdicts, findings, the catalogue of codes.
//! - [`agent`]: what runs on a node, as a program of its own; from outside only its wire, orders and reports.
//! - [`env`](mod@env): the injected world: clock, randomness, storage, HTTP, agents.
//! - [`cluster`]: verbs over `kube::Client`: snapshot, mirror, evict, patch, leases, rights, scars.
//! - [`sim`]: the embedded cluster: API server, controllers, kubelets, scheduler, traffic, metrics. It knows
//!   no fault, probe, experiment or query.
//! - [`faults`]: one file a fault, and their registry.
//! - [`probes`]: one file a probe, their registry, and the expressions that judge them.
//! - [`load`]: open-loop loads: what a file says of one, and who sends it.
//! - [`api`]: the public format: reading, checking, schema, CRDs, `explain`.
//! - [`plan`]: spec, snapshot and seed into a plan: selection, limits, consent, forecast.
//! - [`init`]: a first experiment for a workload that is there.
//! - [`journal`]: records, framing, append, replay.
//! - [`engine`]: the state machine of a run, the loop that acts, rollback.
//! - [`report`]: a journal into facts, and facts into text, Markdown, JSON.
//! - [`controller`]: what runs in the cluster; by now its calendar.
//! - [`cli`]: the command line: one file a subcommand.
//!
//! # Invariants
//!
//! - **Intent before effect.** Nothing is changed before the record that says how to undo it is durable, and
//!   whatever may have happened is treated as having happened.
//! - **Pure decisions.** [`plan`] and the engine's `state`, `next`, `steady` and `clocks` wait for nothing;
//!   of the engine's files only a few that are listed, each with its reason, await at all.
//! - **The engine names no fault and no probe.** Adding one is a file and its registration; schema, checks,
//!   rights, documentation and crash tests follow from the registry.
//! - **The fake is at the wire.** Rehearsed and real runs differ only in how [`Env`](env::Env) was built: the
//!   embedded cluster answers behind the real `kube::Client`, never at a trait of ours.
//! - **Seeded.** No wall clock, no unseeded randomness, no iteration over hashed maps, no `select!` without
//!   `biased`: same file, state and seed, same run.
//! - **Only ours, only while it is ours.** A revert looks at the object first; what somebody else has changed
//!   since is left alone and reported.
//! - **Undo is data, never code**; a scar found on an object is validated like any other input.

pub mod agent;
#[cfg(feature = "runner")]
pub mod api;
#[cfg(feature = "runner")]
pub mod cli;
#[cfg(feature = "runner")]
pub mod cluster;
#[cfg(feature = "runner")]
pub mod controller;
#[cfg(feature = "runner")]
pub mod engine;
#[cfg(feature = "runner")]
pub mod env;
#[cfg(feature = "runner")]
pub mod faults;
#[cfg(feature = "runner")]
pub mod init;
#[cfg(feature = "runner")]
pub mod journal;
#[cfg(feature = "runner")]
pub mod load;
#[cfg(feature = "runner")]
pub mod plan;
#[cfg(feature = "runner")]
pub mod probes;
#[cfg(feature = "runner")]
pub mod report;
#[cfg(feature = "runner")]
pub mod sim;
pub mod types;
