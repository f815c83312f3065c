//! The injected world: clock, randomness, Kubernetes client, HTTP, loads, storage, agents.
//!
//! Simulated and real runs differ only in how an [`Env`] was built. The fake is at the wire, under the
//! real `kube::Client`, never at our own traits.

mod agents;
mod clock;
mod http;
mod load;
mod resolver;
mod rng;
mod storage;

pub use agents::{AGENT_CONTAINER, Agents, AttachError, Attached, NoAgents};
pub use clock::Clock;
pub use http::{FirstBytes, Guarded, Http2, HttpClient, HttpError, Tls, client_config, first_bytes};
pub use load::{LoadOrder, LoadWire, Loads, Underway};
pub use resolver::{Resolver, is_forbidden, literal_address};
pub use rng::{Rng, Stream};
pub use storage::{DirStorage, Log, MemoryStorage, Storage, StorageError};

use std::sync::Arc;

/// Everything from outside that a run touches.
#[derive(Clone)]
pub struct Env {
    /// What time it is.
    pub clock: Clock,
    /// Where every choice comes from.
    pub rng: Rng,
    /// The API server. Its built-in retry is off: 429 means something here.
    pub kube: kube::Client,
    /// Any other HTTP server (metric sources).
    pub http: HttpClient,
    /// Who sends loads.
    pub load: LoadWire,
    /// Where journals are.
    pub storage: Arc<dyn Storage>,
    /// The way to agents.
    pub agents: Arc<dyn Agents>,
}
