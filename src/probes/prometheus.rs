//! `prometheus`: one number, or several series, from a PromQL instant query.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Judge, Measure, MetricSource, Probe, ProbeInfo, Reading, Source, SourceError, Variable, VariableType,
    buckets,
    freshness::{self, Reads},
    source::{self, connection, own_source},
};
use crate::{
    cluster::Access,
    env::HttpClient,
    types::{FieldSchema, Finding, Length},
};

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
            name: "maxAge",
            description: "How old the newest sample of what the query reads may be; older is no data. Default: three scrape intervals as the samples show them, at least 15s, at most 1m30s.",
            required: false,
            default: None,
            schema: "duration",
        },
        source::SERVER,
        source::SERVICE,
        source::AUTH,
        source::TLS,
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
        connection("prometheus", params)
    }

    fn source(&self, params: &Value) -> Option<Option<Source>> {
        Some(own_source(params))
    }

    fn doubts<'a>(
        &'a self,
        measure: &'a Measure,
        params: &'a Value,
        judge: &'a Judge,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Some(source) = &measure.metrics else { return Vec::new() };
            let query = params.get("query").and_then(Value::as_str).unwrap_or_default();
            buckets::doubts(&Asking { measure, source, max_age: None }, query, judge).await
        })
    }

    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let Some(source) = &measure.metrics else {
                return Reading::Missing("there is no place that answers PromQL".to_owned());
            };
            let query = params.get("query").and_then(Value::as_str).unwrap_or_default();
            let max_age = params.get("maxAge").and_then(Value::as_str).and_then(|text| text.parse().ok());
            let asking = Asking { measure, source, max_age: max_age.map(|length: Length| length.0) };
            let (answer, staleness) = futures::join!(asking.ask(query), asking.staleness(query));
            match (answer.map(|response| read(&response)), staleness) {
                (Err(why), _) | (Ok(Reading::Measured(_)), Some(why)) => Reading::Missing(why),
                (Ok(reading), _) => reading,
            }
        })
    }
}

/// Where one measurement asks, and how old the data may be.
pub(super) struct Asking<'a> {
    pub measure: &'a Measure,
    pub source: &'a MetricSource,
    /// None: as the samples show.
    pub max_age: Option<Duration>,
}

impl Asking<'_> {
    pub async fn ask(&self, query: &str) -> Result<Response<Bytes>, String> {
        let Measure { access, http, .. } = self.measure;
        self.source.query(access, http, query).await.map_err(|error| error.to_string())
    }

    /// The one number that a query gives, with the time of its evaluation in seconds. None: no series.
    async fn number(&self, query: &str) -> Result<Option<(f64, f64)>, String> {
        let elements = elements(&self.ask(query).await?)?;
        let Some(Element { value: (at, text), .. }) = elements.first() else { return Ok(None) };
        text.parse().map(|number| Some((*at, number))).map_err(|_| format!("a number that is {text}"))
    }

    /// Why what `query` is answered from is too old, if it is.
    pub async fn staleness(&self, query: &str) -> Option<String> {
        let reads = self.source.reads(query);
        let ages = join_all(reads.iter().map(|reads| async move { (reads, self.age(reads).await) })).await;
        let mut unseen = None;
        let mut any_fresh = false;
        for (reads, age) in ages {
            match age {
                Err(error) => return Some(format!("whether the data is fresh cannot be told: {error}")),
                // It gives nothing, as a counter of errors that there have never been.
                Ok(None) => {}
                // Only its past is left: it may have ended, as long as anything else is alive.
                Ok(Some((age, bound))) if age > freshness::LONG_AGO => {
                    unseen.get_or_insert_with(|| freshness::stale(reads, age, bound));
                }
                Ok(Some((age, bound))) if age > bound => return Some(freshness::stale(reads, age, bound)),
                Ok(Some(_)) => any_fresh = true,
            }
        }
        unseen.filter(|_| !any_fresh)
    }

    /// How old the newest sample is, and how old it may be.
    async fn age(&self, reads: &Reads) -> Result<Option<(Duration, Duration)>, String> {
        let Some((at, newest)) = self.number(&reads.newest()).await? else { return Ok(None) };
        // A target's own timestamps may be ahead.
        let age = Duration::try_from_secs_f64((at - newest).max(0.0)).unwrap_or(Duration::MAX);
        let bound = match self.max_age {
            Some(bound) => bound,
            None if age <= freshness::ALWAYS_FRESH => freshness::ALWAYS_FRESH,
            None if age > freshness::NEVER_FRESH => freshness::NEVER_FRESH,
            None => {
                let samples = self.number(&reads.samples()).await?.map_or(0.0, |(_, samples)| samples);
                freshness::bound(samples)
            }
        };
        Ok(Some((age, bound)))
    }
}

/// One element of the answer to an instant query.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesNow {
    /// Its labels, the name among them if the query keeps it.
    pub labels: BTreeMap<String, String>,
    /// Its value; NaN and infinities are values too.
    pub value: f64,
}

/// How long [`MetricSource::vector`] waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl MetricSource {
    /// What an instant query gives now; nothing is no error.
    ///
    /// # Errors
    /// There is no answer within ten seconds, or the source does not take the query.
    pub async fn vector(
        &self,
        access: &Access,
        http: &HttpClient,
        query: &str,
    ) -> Result<Vec<SeriesNow>, SourceError> {
        let late = || SourceError::Unreachable(format!("no answer within {}", Length(PATIENCE)));
        let answer = tokio::time::timeout(PATIENCE, self.query(access, http, query)).await;
        let found = elements(&answer.map_err(|_| late())??).map_err(SourceError::Unreachable)?;
        let series = found.into_iter().filter_map(|element| {
            let value = element.number()?;
            let text = |value: Value| value.as_str().map(str::to_owned);
            let labels = element.metric.into_iter().filter_map(|(key, value)| Some((key, text(value)?)));
            Some(SeriesNow { labels: labels.collect(), value })
        });
        Ok(series.collect())
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

/// A series at one instant.
#[derive(Deserialize)]
pub(super) struct Element {
    metric: Map<String, Value>,
    value: (f64, String),
}

impl Element {
    /// Its labels, the name among them.
    pub fn metric(&self) -> &Map<String, Value> {
        &self.metric
    }

    /// Its value as it was written.
    pub fn text(&self) -> &str {
        &self.value.1
    }

    /// Its value.
    pub fn number(&self) -> Option<f64> {
        self.value.1.parse().ok()
    }
}

/// What an answer of Prometheus' HTTP API holds (docs, HTTP API: instant queries).
pub(super) fn elements(response: &Response<Bytes>) -> Result<Vec<Element>, String> {
    let answer: Answer = serde_json::from_slice(response.body())
        .map_err(|_| format!("HTTP {}: not an answer of Prometheus", response.status().as_u16()))?;
    let data = match answer.data {
        Some(data) if answer.status == "success" => data,
        _ => return Err(format!("the query is refused: {}", answer.error)),
    };
    let unreadable = |error: serde_json::Error| format!("an answer that cannot be read: {error}");
    match data.result_type.as_str() {
        "vector" => serde_json::from_value(data.result).map_err(unreadable),
        "scalar" => {
            let value = serde_json::from_value(data.result).map_err(unreadable)?;
            Ok(vec![Element { metric: Map::new(), value }])
        }
        other => Err(format!("the query gives a {other}, not a vector; ask for one instant")),
    }
}

/// An answer as a reading.
fn read(response: &Response<Bytes>) -> Reading {
    let elements = match elements(response) {
        Ok(elements) => elements,
        Err(why) => return Reading::Missing(why),
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
