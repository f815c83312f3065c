//! Front end: what runs in the cluster.

pub mod calendar;
