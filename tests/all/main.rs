//! Everything that is tested from outside of the crate, in one binary.

mod alerts;
mod chart;
mod cli;
mod controller;
mod crash;
mod experiments;
mod kit;
mod load_pods;
mod loads;
mod misfortune;
mod monitoring;
mod objectives;
mod probes;
mod promises;
mod real;
mod registry;
mod reports;
mod scenarios;
mod slo;
mod sources;
mod tidy;
