//! Whose pods a fault takes: what made them replaces them, and its people are the ones to be told.

use serde::{Deserialize, Serialize};

use crate::types::ObjectRef;

/// What loses pods to the faults of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The workload that they belong to in the end.
    pub owner: ObjectRef,
    /// How many.
    pub pods: u32,
}
