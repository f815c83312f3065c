//! `prometheus`: one number, or several series, from a PromQL instant query.

use super::{Probe, ProbeInfo, Variable, VariableType};
use crate::types::FieldSchema;

/// See [`INFO`].
pub struct Prometheus;

/// A PromQL instant query; where to ask is `spec.prometheus`, the probe's own source, or the place's.
pub static INFO: ProbeInfo = ProbeInfo {
    name: "prometheus",
    summary: "One number, or several series, from a PromQL instant query.",
    example: "name: availability\nprometheus: {query: 'sum(rate(http_requests_total{code!~\"5..\"}[1m])) / sum(rate(http_requests_total[1m]))'}\nexpect: value >= 0.99\n",
    fields: &[
        FieldSchema {
            name: "query",
            description: "PromQL. It has to give one number, unless expressions use `series`.",
            required: true,
            default: None,
            schema: "promql",
        },
        FieldSchema {
            name: "server",
            description: "URL of a Prometheus, in place of spec.prometheus. At most one of server and service.",
            required: false,
            default: None,
            schema: r#"{"type":"string","maxLength":1024,"pattern":"^https?://[^\\s]+$"}"#,
        },
        FieldSchema {
            name: "service",
            description: "A Service, reached through the API server's proxy, in place of spec.prometheus.",
            required: false,
            default: None,
            schema: "service",
        },
        FieldSchema {
            name: "auth",
            description: "How to authenticate; with server or service.",
            required: false,
            default: None,
            schema: "auth",
        },
        FieldSchema {
            name: "tls",
            description: "TLS settings; with server.",
            required: false,
            default: None,
            schema: "tls",
        },
    ],
    variables: &[Variable {
        name: "series",
        kind: VariableType::Any,
        description: "List of {metric, value}. Using it lifts the rule that there is one series.",
    }],
    default_value: Some("series[0].value"),
};

impl Probe for Prometheus {
    fn info(&self) -> &'static ProbeInfo {
        &INFO
    }
}
