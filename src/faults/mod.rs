//! One file a fault, and the registry that everything else derives from.
//!
//! A fault is data about itself ([`FaultInfo`]), a pure `prepare` that turns targets into injections
//! with everything needed to go back, and three effects: `inject`, `observe`, `revert`. All effects are
//! idempotent: whatever may have happened is treated as having happened and done again.
//! Schema, `explain`, rights checks, crash tests and documentation come from [`FAULTS`].

mod info;
mod node_drain;
mod pod_kill;
mod scale;

pub use info::{FaultInfo, Lifetime, LimitKind, Right, TargetKind};

/// A kind of disturbance.
pub trait Fault: Send + Sync {
    /// What everything else derives from.
    fn info(&self) -> &'static FaultInfo;
}

/// Every fault, by name.
pub static FAULTS: &[&dyn Fault] = &[&node_drain::NodeDrain, &pod_kill::PodKill, &scale::Scale];

/// The fault called `name` in files.
pub fn find(name: &str) -> Option<&'static dyn Fault> {
    FAULTS.iter().copied().find(|fault| fault.info().name == name)
}
