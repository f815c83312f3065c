//! The same samples, requests and answers as a real Prometheus gave
//! (`tests/real/promql/regenerate.py` wrote them).

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::sim::metrics::http::{PrometheusApi, encode};
use crate::sim::metrics::series::{Labels, Sample, SeriesStore};

#[derive(Deserialize)]
struct Golden {
    prometheus: String,
    series: Vec<Stored>,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Stored {
    metric: std::collections::BTreeMap<String, String>,
    samples: Vec<(i64, String)>,
}

#[derive(Deserialize)]
struct Answer {
    path: String,
    params: std::collections::BTreeMap<String, String>,
    status: u16,
    body: Json,
}

fn golden() -> Golden {
    let text = include_str!("../../../../tests/real/promql/golden.json");
    serde_json::from_str(text).unwrap()
}

fn api(golden: &Golden) -> PrometheusApi {
    let mut store = SeriesStore::new(i64::MAX / 4);
    for s in &golden.series {
        let labels: Labels = s.metric.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        for (t, v) in &s.samples {
            store.append(labels.clone(), Sample { t: *t, v: v.parse().unwrap() }).unwrap();
        }
    }
    PrometheusApi::new(Arc::new(store), || 0)
}

/// Results are sets: the order of series is not part of the answer, but for `sort` and `topk`.
fn ordered(mut data: Json, query: &str) -> Json {
    if query.starts_with("sort") {
        return data;
    }
    if let Some(result) = data["result"].as_array_mut()
        && result.iter().all(|r| r.get("metric").is_some())
    {
        result.sort_by_key(|r| r["metric"].to_string());
    }
    data
}

/// Equal, numbers as strings to 12 digits: Prometheus 3 sums more exactly than 2 did.
fn same(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| same(v, other)))
        }
        (Json::String(a), Json::String(b)) if a == b => true,
        (Json::String(a), Json::String(b)) => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a - b).abs() <= 1e-12 * a.abs().max(b.abs()),
            _ => false,
        },
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

#[tokio::test]
async fn answers_are_those_of_a_real_prometheus() {
    let golden = golden();
    assert!(golden.answers.len() >= 40, "a table of Prometheus {}", golden.prometheus);
    let api = api(&golden);
    let mut wrong = Vec::new();
    for a in &golden.answers {
        let form: Vec<String> = a.params.iter().map(|(k, v)| format!("{k}={}", encode(v))).collect();
        let uri = format!("{}?{}", a.path, form.join("&"));
        let request = http::Request::get(&uri).body(Bytes::new()).unwrap();
        let response = api.handle(request).await;
        let body: Json = serde_json::from_slice(response.body()).unwrap();
        let query = a.params["query"].as_str();
        let equal = response.status().as_u16() == a.status
            && body["errorType"] == a.body["errorType"]
            && same(&ordered(body["data"].clone(), query), &ordered(a.body["data"].clone(), query));
        if !equal {
            wrong.push(format!("{query}\n  ours:   {body}\n  theirs: {}", a.body));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), golden.answers.len(), wrong.join("\n"));
}
