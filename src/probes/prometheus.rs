//! `prometheus`: one number, or several series, from a PromQL instant query.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Measure, Probe, ProbeInfo, Reading, Source, Variable, VariableType, unfit};
use crate::types::{FieldSchema, Finding};

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

    fn lint(&self, params: &Value) -> Vec<Finding> {
        let given = |name: &str| params.get(name).is_some_and(|value| !value.is_null());
        let mut findings = Vec::new();
        if given("server") && given("service") {
            findings.push(unfit(
                "prometheus",
                "at most one of server and service can be given",
                "take one of them out",
            ));
        }
        if (given("auth") || given("tls")) && !given("server") && !given("service") {
            findings.push(unfit(
                "prometheus",
                "auth and tls belong to a server or service of the probe's own",
                "put them into spec.prometheus",
            ));
        }
        if given("service") && (given("auth") || given("tls")) {
            findings.push(unfit(
                "prometheus",
                "the API server's proxy passes neither credentials nor TLS settings on to a service",
                "take auth and tls out, or name a server",
            ));
        }
        findings
    }

    fn source(&self, params: &Value) -> Option<Option<Source>> {
        let own: Source = serde_json::from_value(params.clone()).unwrap_or_default();
        Some((own.server.is_some() || own.service.is_some()).then_some(own))
    }

    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let Some(source) = &measure.metrics else {
                return Reading::Missing("there is no place that answers PromQL".to_owned());
            };
            let query = params.get("query").and_then(Value::as_str).unwrap_or_default();
            match source.query(&measure.access, &measure.http, query).await {
                Ok(response) => read(&response),
                Err(error) => Reading::Missing(error.to_string()),
            }
        })
    }
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Element {
    metric: Map<String, Value>,
    value: (f64, String),
}

/// An answer of Prometheus' HTTP API (docs, HTTP API: instant queries) as a reading.
fn read(response: &Response<Bytes>) -> Reading {
    let answer: Answer = match serde_json::from_slice(response.body()) {
        Ok(answer) => answer,
        Err(_) => {
            return Reading::Missing(format!(
                "HTTP {}: not an answer of Prometheus",
                response.status().as_u16()
            ));
        }
    };
    let data = match answer.data {
        Some(data) if answer.status == "success" => data,
        _ => return Reading::Missing(format!("the query is refused: {}", answer.error)),
    };
    let elements: Vec<Element> = match data.result_type.as_str() {
        "vector" => match serde_json::from_value(data.result) {
            Ok(elements) => elements,
            Err(error) => return Reading::Missing(format!("an answer that cannot be read: {error}")),
        },
        "scalar" => match serde_json::from_value(data.result) {
            Ok(value) => vec![Element { metric: Map::new(), value }],
            Err(error) => return Reading::Missing(format!("an answer that cannot be read: {error}")),
        },
        other => {
            return Reading::Missing(format!("the query gives a {other}, not a vector; ask for one instant"));
        }
    };
    let mut series = Vec::new();
    for Element { metric, value: (_, text) } in elements {
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => series.push(json!({"metric": metric, "value": value})),
            // JSON has neither, and no comparison with either means anything.
            _ => return Reading::Missing(format!("the value is {text}{}", labels(&metric))),
        }
    }
    match series.len() {
        0 => Reading::Missing("the query gives no series".to_owned()),
        _ => Reading::Measured([("series", Value::Array(series))].into()),
    }
}

fn labels(metric: &Map<String, Value>) -> String {
    if metric.is_empty() { String::new() } else { format!(" for {}", Value::Object(metric.clone())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Reading {
        read(&Response::new(Bytes::from(body.to_owned())))
    }

    #[test]
    fn missing_is_never_a_number() {
        for (body, why) in [
            (r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "no series"),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}"#,
                "NaN",
            ),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"+Inf"]}]}}"#,
                "+Inf",
            ),
            (r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#, "matrix"),
            (r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#, "parse error"),
            ("<html>login</html>", "not an answer"),
            ("", "not an answer"),
        ] {
            match answer(body) {
                Reading::Missing(reason) => assert!(reason.contains(why), "{reason}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn vectors_and_scalars_are_read() {
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1.5,"0.99"]}]}}"#;
        assert_eq!(
            answer(body),
            Reading::Measured([("series", json!([{"metric": {"a": "b"}, "value": 0.99}]))].into())
        );
        let body = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"2"]}}"#;
        assert_eq!(
            answer(body),
            Reading::Measured([("series", json!([{"metric": {}, "value": 2.0}]))].into())
        );
    }
}
