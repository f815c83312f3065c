//! The embedded cluster: API server, controllers, kubelets, traffic and metrics, in virtual time.

pub mod metrics;
pub mod traffic;
