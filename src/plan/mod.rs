//! Spec, snapshot and seed into a Plan. Pure.
