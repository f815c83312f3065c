//! The public format: text with spans into Experiments, schemas, explanations.

pub mod yaml;

mod types;

pub use types::*;
