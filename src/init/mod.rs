//! A first experiment for a workload that is there.
//!
//! [`look`] and [`metrics`] ask, [`Found`] holds what came of it, [`draft`] makes a file of that. The asking only
//! reads (GET and LIST, and queries to Prometheus); the rest is pure: the same find, the same file.

mod candidates;
mod families;
mod found;
mod look;
mod measure;
mod page;
mod prometheus;
mod promql;
mod terms;
mod text;

#[cfg(test)]
mod tests;

pub use found::{Candidate, Found, Loss, Metrics, Scaling, ServiceFound, Sought, Unit};
pub use look::{Listed, LookError, consents, deployments, deployments_elsewhere, look};
pub use measure::metrics;
pub use prometheus::{PrometheusService, find};
pub use text::{Draft, draft};
