//! Answers of a real Prometheus.
