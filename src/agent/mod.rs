//! What runs on a node for the minutes of a run: a guard and a worker that disturb the network of pods, and
//! cannot outlive their orders. From outside only [`wire`] is imported.

pub mod wire;
