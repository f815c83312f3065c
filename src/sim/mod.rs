//! The embedded cluster: API server, controllers, kubelets, traffic and metrics, in virtual time.
//!
//! It knows no fault, probe, experiment or query language: it is a Kubernetes cluster and nothing more, behind
//! the real `kube::Client` ([`Sim::client`]) or on a loopback port ([`serve`]).
//!
//! Invariants: time is tokio's clock (paused in a rehearsal), identity comes from one seed, nothing iterates over
//! a hashed map; so one seed and the same calls give the same objects, versions and times, bit for bit.

pub mod agents;
pub mod annotations;
pub mod apiserver;
pub mod cluster;
mod connect;
pub mod controllers;
pub mod impairment;
pub mod kubelet;
pub mod manifests;
pub mod metrics;
pub mod network;
pub mod network_policy;
pub mod scheduler;
pub mod serve;
pub mod store;
pub mod traffic;
pub mod usage;

use apiserver::mischief::Mischief;
use apiserver::{ApiConfig, ApiServer, Backend, User};
use jiff::Timestamp;
use serde_json::Value;
use store::{Status, Store, StoreConfig};

/// How an embedded cluster begins.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Seed of all that is random in it.
    pub seed: u64,
    /// What its clock shows at first.
    pub start_time: Timestamp,
    /// Latencies of the API server.
    pub api: ApiConfig,
}

impl Default for SimConfig {
    fn default() -> Self {
        // 2026-01-01T00:00:00Z: any fixed moment will do.
        let start_time = Timestamp::from_second(1_767_225_600).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { seed: 0, start_time, api: ApiConfig::default() }
    }
}

/// An embedded cluster; clones are the same cluster.
#[derive(Clone)]
pub struct Sim {
    store: Store,
    server: ApiServer,
}

impl Sim {
    /// A cluster with the namespaces and roles that every cluster has, no node, and no controller running yet.
    #[must_use]
    pub fn new(config: &SimConfig) -> Self {
        let store = Store::new(&StoreConfig {
            seed: config.seed,
            start_time: config.start_time,
            ..StoreConfig::default()
        });
        let server = ApiServer::new(store.clone(), config.api.clone());
        // Controllers, scheduler and kubelets are started by the caller over `store()`, within its runtime.
        Self { store, server }
    }

    /// A client with the rights of a cluster administrator. Needs a tokio runtime.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client_as(User::admin())
    }

    /// A client that is somebody. Needs a tokio runtime.
    #[must_use]
    pub fn client_as(&self, user: User) -> kube::Client {
        kube::Client::new(self.server.service(user), "default")
    }

    /// The objects, for controllers and for looking from outside.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The API server.
    #[must_use]
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// Trouble to inject at the wire, and the counters of calls.
    #[must_use]
    pub fn mischief(&self) -> &Mischief {
        self.server.mischief()
    }

    /// Serves a Service's proxy path from within the process.
    pub fn register_backend(&self, namespace: &str, service: &str, backend: Backend) {
        self.server.register_backend(namespace, service, backend);
    }

    /// Serves `metrics.k8s.io`, whose figures follow from these shares.
    pub fn register_usage(&self, shares: std::sync::Arc<dyn usage::BusyShares>) {
        self.server.register_usage(shares);
    }

    /// Creates objects from manifests, namespaces and definitions first; one that is there already stays.
    ///
    /// # Errors
    /// The API server's answer to the first that it refuses.
    pub fn apply_manifests(&self, manifests: &[Value]) -> Result<(), Status> {
        let first = |m: &Value| match m["kind"].as_str() {
            Some("Namespace") => 0,
            Some("CustomResourceDefinition") => 1,
            Some("Node") => 2,
            _ => 3,
        };
        let mut sorted: Vec<&Value> = manifests.iter().collect();
        sorted.sort_by_key(|m| first(m));
        for manifest in sorted {
            let items = manifest["items"].as_array().filter(|_| manifest["kind"] == "List");
            match items {
                Some(items) => self.apply_manifests(items)?,
                None => match self.server.create_object(manifest.clone()) {
                    Err(status) if status.is("AlreadyExists") => {}
                    other => other?,
                },
            }
        }
        Ok(())
    }
}
