//! The agent's figures, with their targets.
fn main() {}
