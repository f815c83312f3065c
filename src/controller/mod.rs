//! Front end in the cluster: executes Runs with the engine of the command line.
//!
//! `reconcile` says what is to be done (pure), `serve` watches and asks it, `work` does it for one run, `status`
//! alone writes what `kubectl get` shows. The journal is the run here too: a replica that takes over reads it,
//! and puts back. `metrics` counts, and `port` answers with it.

mod agents;
mod agreement;
mod begin;
pub mod calendar;
mod catalog;
mod claiming;
mod covering;
pub(crate) mod day;
mod deeds;
mod drain;
mod events;
mod followed;
pub mod forbidding;
mod going_on;
mod held;
mod hosts;
pub mod installation;
mod keeping;
pub mod manifests;
pub mod metrics;
pub mod notices;
mod object;
mod orphans;
mod people;
pub mod port;
pub mod reconcile;
mod renewing;
mod request;
mod roster;
mod seen;
mod serve;
mod slots;
pub mod status;
mod waiting;
mod work;

pub use drain::{DRAIN_GUARDRAIL, drain};
pub use request::text as text_of;
pub use seen::{FINALIZER, RunSeen, owns, run_id};
pub use serve::{ControllerError, serve};

use crate::{cluster::Access, env::Env, journal::Environment, probes::Source};

/// The namespace that the chart installs the controller in.
pub const NAMESPACE: &str = "firedrill";
/// The ServiceAccount that the chart runs it as.
pub const ACCOUNT: &str = "firedrill";

/// On Experiments and GameDays: who changed the spec last, as the API server saw them.
pub const AUTHOR: &str = "firedrill.dev/author";

/// On Runs: who aborted it, who held it, and who let it go on, each the last to do so, as the API server saw them.
pub const HANDS: [&str; 3] =
    ["firedrill.dev/aborted-by", "firedrill.dev/held-by", "firedrill.dev/resumed-by"];

/// What the controller is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its own namespace: journals, claims.
    pub namespace: String,
    /// Its pod, NAME/UID; empty outside of a cluster.
    pub pod: String,
    /// What its replicas are called: its pod's name, or its host's.
    pub name: String,
    /// Where PromQL is answered when a file does not say.
    pub source: Option<Source>,
    /// Where it runs.
    pub environment: Environment,
    /// Runs at once in this replica.
    pub at_once: usize,
    /// What it counts of itself.
    pub metrics: metrics::Metrics,
    /// Whether it places agents, as `environment` says how.
    pub agents: bool,
}

/// What all runs of a replica share.
#[derive(Clone)]
struct Context {
    /// The world, with the controller's own rights.
    env: Env,
    /// The API server, with the controller's own rights.
    access: Access,
    settings: std::sync::Arc<Settings>,
    /// This replica's identity.
    holder: String,
}
