//! One file a probe, the expressions they are judged by, and their registry.
//!
//! A probe measures ([`Probe::measure`], raw) and is judged elsewhere, purely.

pub mod cel;
mod info;
mod kubernetes;
mod prometheus;

pub use info::{ProbeInfo, Variable, VariableType};

/// A way of measuring.
pub trait Probe: Send + Sync {
    /// What everything else derives from.
    fn info(&self) -> &'static ProbeInfo;
}

/// Every probe, by name.
pub static PROBES: &[&dyn Probe] = &[&kubernetes::Kubernetes, &prometheus::Prometheus];

/// The probe called `name` in files.
pub fn find(name: &str) -> Option<&'static dyn Probe> {
    PROBES.iter().copied().find(|probe| probe.info().name == name)
}
