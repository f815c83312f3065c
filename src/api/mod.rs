//! The public format: text with spans into Experiments, schemas, explanations.

mod types;

pub use types::*;
