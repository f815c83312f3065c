//! Metrics of the embedded cluster: series that are computed when they are read, PromQL over them,
//! and Prometheus' HTTP API in front.

pub mod http;
pub mod promql;
pub mod rules;
pub mod scrape;
pub mod series;
pub mod state;
