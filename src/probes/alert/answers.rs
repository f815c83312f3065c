//! What Prometheus and Alertmanager say of an alert. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::Params;
use crate::types::Length;

/// How many evaluations of a rule may be missing: one that failed, and the one that is under way.
const EVALUATIONS: f64 = 3.0;
/// Evaluated less than so many seconds ago is fresh, however often it is.
const ALWAYS_FRESH: f64 = 15.0;

/// What is known of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub firing: bool,
    pub pending: bool,
    /// Seconds since its condition holds, of the one for which it has longest.
    pub active_for: f64,
}

#[derive(Deserialize)]
struct Answer<T> {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<T>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<AlertingRule>,
    /// Seconds.
    #[serde(default)]
    interval: f64,
}

/// An alerting rule; a recording rule has the same fields as far as they matter, and another type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertingRule {
    #[serde(rename = "type", default)]
    kind: String,
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    alerts: Vec<Active>,
    #[serde(default)]
    health: String,
    #[serde(default)]
    last_error: String,
    last_evaluation: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Active {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    state: String,
    active_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Instant {
    result: (f64, String),
}

/// An alert as Alertmanager has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: BTreeMap<String, String>,
    starts_at: Timestamp,
    updated_at: Timestamp,
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    state: String,
}

fn data<T: serde::de::DeserializeOwned>(response: &Response<Bytes>) -> Result<T, String> {
    let answer: Answer<T> = serde_json::from_slice(response.body())
        .map_err(|_| format!("HTTP {}: not an answer of Prometheus", response.status().as_u16()))?;
    match answer.data {
        Some(data) if answer.status == "success" => Ok(data),
        _ => Err(format!("the question is refused: {}", answer.error)),
    }
}

/// Seconds since the Unix epoch, from the answer to `time()`.
pub(super) fn time(response: &Response<Bytes>) -> Result<f64, String> {
    data::<Instant>(response).map(|instant| instant.result.0)
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// What the rules of that name say; `now` by the source's own clock. A rule that is not there, fails or is not
/// evaluated any more says nothing: quiet it would be all the same.
pub(super) fn of_rules(response: &Response<Bytes>, params: &Params, now: f64) -> Result<Told, String> {
    let Groups { groups } = data(response)?;
    let mut told = Told::default();
    let (mut known, mut meant) = (false, false);
    for group in &groups {
        let named = group.rules.iter().filter(|rule| rule.kind != "recording" && rule.name == params.name);
        for rule in named {
            known = true;
            let alerts = || rule.alerts.iter().filter(|alert| params.means(&alert.labels));
            // The labels of a rule and those of what it finds make those of the alert: only of an alert that is
            // there both are known.
            if alerts().next().is_none() && !may_mean(rule, params) {
                continue;
            }
            meant = true;
            evaluated(rule, group.interval, now)?;
            for alert in alerts() {
                told.firing |= alert.state == "firing";
                told.pending |= alert.state == "pending";
                let since = alert.active_at.map_or(now, seconds);
                told.active_for = told.active_for.max(now - since);
            }
        }
    }
    match (known, meant) {
        (false, _) => Err(format!("there is no alerting rule {}", params.name)),
        (true, false) => Err(format!("no alerting rule {} has these labels", params.name)),
        (true, true) => Ok(told),
    }
}

/// Whether what a rule finds could carry the labels: those that it sets itself must not speak against it.
fn may_mean(rule: &AlertingRule, params: &Params) -> bool {
    let wanted = params.labels.as_ref().and_then(|labels| labels.match_labels.as_ref());
    let differs = |(name, value): (&String, &String)| {
        rule.labels.get(name).is_some_and(|own| own != value && !own.contains("{{"))
    };
    !wanted.into_iter().flatten().any(differs)
}

fn evaluated(rule: &AlertingRule, interval: f64, now: f64) -> Result<(), String> {
    if rule.health == "err" {
        return Err(format!("the rule {} fails: {}", rule.name, rule.last_error));
    }
    // Before the first time it is the year 1.
    let Some(last) = rule.last_evaluation.map(seconds).filter(|last| *last > 0.0) else {
        return Err(format!("the rule {} has not been evaluated yet", rule.name));
    };
    let (age, bound) = (now - last, (interval * EVALUATIONS).max(ALWAYS_FRESH));
    if age <= bound {
        return Ok(());
    }
    let words = |seconds: f64| Length::from_secs(seconds.round() as u64);
    Err(format!(
        "stale: the rule {} was last evaluated {} ago, and {} is the most",
        rule.name,
        words(age),
        words(bound)
    ))
}

/// What Alertmanager has: `active` reaches somebody, `suppressed` (silenced, inhibited) nobody.
pub(super) fn of_alerts(response: &Response<Bytes>, params: &Params) -> Result<Told, String> {
    let alerts: Vec<Posted> = serde_json::from_slice(response.body())
        .map_err(|_| format!("HTTP {}: not an answer of Alertmanager", response.status().as_u16()))?;
    let mut told = Told::default();
    let meant =
        |alert: &&Posted| alert.labels.get("alertname") == Some(&params.name) && params.means(&alert.labels);
    for alert in alerts.iter().filter(meant).filter(|alert| alert.status.state == "active") {
        told.firing = true;
        told.active_for = told.active_for.max(seconds(alert.updated_at) - seconds(alert.starts_at)).max(0.0);
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn response(body: &Value) -> Response<Bytes> {
        Response::new(Bytes::from(body.to_string()))
    }

    fn params(value: Value) -> Params {
        serde_json::from_value(value).expect("fields")
    }

    /// As in Prometheus' documentation of its HTTP API.
    fn rules(alerts: Value, health: &str, evaluated: &str) -> Response<Bytes> {
        response(&json!({"status": "success", "data": {"groups": [{"name": "shop", "file": "shop.yaml",
            "interval": 60, "limit": 0, "rules": [
                {"type": "recording", "name": "Errors", "query": "1", "health": "ok"},
                {"type": "alerting", "name": "Errors", "query": "x > 1", "duration": 30, "keepFiringFor": 0,
                 "labels": {"severity": "page"}, "annotations": {}, "alerts": alerts, "health": health,
                 "lastError": "many-to-many", "lastEvaluation": evaluated, "state": "firing"}]}]}}))
    }

    fn alert(state: &str) -> Value {
        json!({"labels": {"alertname": "Errors", "severity": "page", "app": "web"}, "annotations": {},
               "state": state, "activeAt": "1970-01-01T00:16:00.5Z", "value": "1e+00"})
    }

    #[test]
    fn alerts_are_firing_pending_or_quiet() {
        let read = |alerts, labels: Value| {
            let params = params(json!({"name": "Errors", "labels": labels}));
            of_rules(&rules(alerts, "ok", "1970-01-01T02:16:30+02:00"), &params, 1000.0)
        };
        let told = |firing, pending, active_for| Ok(Told { firing, pending, active_for });
        assert_eq!(read(json!([]), Value::Null), told(false, false, 0.0));
        assert_eq!(read(json!([alert("pending")]), Value::Null), told(false, true, 39.5));
        assert_eq!(read(json!([alert("pending"), alert("firing")]), Value::Null), told(true, true, 39.5));
        let web = json!({"matchLabels": {"app": "web", "severity": "page"}});
        assert_eq!(read(json!([alert("firing")]), web), told(true, false, 39.5));
        let other = json!({"matchLabels": {"app": "db"}});
        assert_eq!(read(json!([alert("firing")]), other), told(false, false, 0.0), "another one's alert");
    }

    #[test]
    fn silence_of_a_rule_that_says_nothing_is_no_quiet() {
        let of = |name: &str, labels: Value, answer: &Response<Bytes>, now| {
            of_rules(answer, &params(json!({"name": name, "labels": labels})), now)
        };
        let fresh = rules(json!([]), "ok", "1970-01-01T00:16:30Z");
        let why = |result: Result<Told, String>| result.expect_err("nothing to judge");
        assert!(why(of("Erorrs", Value::Null, &fresh, 1000.0)).contains("no alerting rule Erorrs"));
        let ticket = json!({"matchLabels": {"severity": "ticket"}});
        assert!(why(of("Errors", ticket, &fresh, 1000.0)).contains("has these labels"));
        assert!(why(of("Errors", Value::Null, &fresh, 1200.0)).contains("last evaluated 3m30s ago"));
        let never = rules(json!([]), "unknown", "0001-01-01T00:00:00Z");
        assert!(why(of("Errors", Value::Null, &never, 1000.0)).contains("not been evaluated"));
        let fails = rules(json!([]), "err", "1970-01-01T00:16:30Z");
        assert!(why(of("Errors", Value::Null, &fails, 1000.0)).contains("fails: many-to-many"));
        for body in [json!({"status": "error", "error": "no"}), json!("<html>"), json!({})] {
            assert!(of("Errors", Value::Null, &response(&body), 1000.0).is_err(), "{body}");
        }
        assert!(time(&response(&json!({"status": "success", "data": {"result": []}}))).is_err());
    }

    #[test]
    fn alertmanager_tells_of_what_reaches_somebody() {
        let alert = |state: &str| {
            json!({"labels": {"alertname": "Errors", "severity": "page"}, "annotations": {},
                "startsAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:01:00Z",
                "endsAt": "2026-01-01T00:05:00Z", "fingerprint": "a", "receivers": [{"name": "page"}],
                "status": {"inhibitedBy": [], "silencedBy": [], "mutedBy": [], "state": state}})
        };
        let of = |name: &str, alerts: Value| of_alerts(&response(&alerts), &params(json!({"name": name})));
        let firing = Told { firing: true, pending: false, active_for: 60.0 };
        assert_eq!(of("Errors", json!([alert("suppressed"), alert("active")])), Ok(firing));
        assert_eq!(of("Errors", json!([alert("suppressed")])), Ok(Told::default()));
        assert_eq!(of("Other", json!([alert("active")])), Ok(Told::default()));
        assert!(of("Errors", json!({"status": "success"})).is_err());
    }
}
