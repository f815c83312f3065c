//! The embedded cluster: API server, controllers, kubelets, traffic and metrics, in virtual time.
//!
//! It knows no fault, probe, experiment or query language: it is a Kubernetes cluster and nothing more, behind
//! the real `kube::Client`.

pub mod metrics;
pub mod store;
pub mod traffic;
