//! Alerts: of the embedded cluster's Prometheus, as experiments ask for them.

use std::{sync::Arc, time::Duration};

use firedrill::{
    cluster::Access,
    engine::State,
    env::Loads,
    journal::{Entry, Record, SampleState},
    probes::{self, Measure, MetricSource, Reading},
    report::Facts,
    types::Verdict,
};
use serde_json::{Value, json};

use crate::kit::{Ran, Stage, in_virtual_time, shop};

/// Half of the checkout fails for a minute and a half.
const OUTAGE: &str = r#"
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: trial, namespace: shop}
spec:
  hypothesis: Somebody is told.
  steadyState:
  - name: pager
    ALERT
    every: 5s
  - name: replicas
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: checkout}
    value: object.status.readyReplicas
    expect: object.status.readyReplicas == object.spec.replicas
    during: "true"
  baseline: {duration: 20s}
  objectives: {recoverWithin: 2m MORE}
  limits: {pods: 100%, duration: 10m}
  method:
  - name: nobody-serves
    target: {workload: deployment/checkout}
    scale: {replicas: 0}
    duration: LENGTH
"#;

fn rule(rule: &Value) -> Value {
    json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"name": "trial", "namespace": "shop"},
        "spec": {"groups": [{"name": "trial", "interval": "10s", "rules": [rule]}]}})
}

/// Fires after 20 s without a ready pod of the checkout.
fn none_ready() -> Value {
    rule(&json!({"alert": "NobodyServes", "for": "20s", "labels": {"severity": "page"},
        "expr": "kube_deployment_status_replicas_ready{namespace=\"shop\",deployment=\"checkout\"} < 1"}))
}

/// Runs the outage on a shop with this rule.
fn outage(rules: Value, alert: &str, more: &str, length: &str) -> Ran {
    let text = OUTAGE.replace("ALERT", alert).replace("MORE", more).replace("LENGTH", length);
    in_virtual_time(async move {
        let mut objects = shop();
        objects.push(rules);
        let stage = Stage::new(&objects, 7).await;
        stage.run(stage.request(&text, 7)).await.unwrap_or_else(|findings| panic!("{findings:#?}"))
    })
}

fn reason(ran: &Ran) -> (Verdict, String) {
    let decided = ran.entries.iter().find_map(|entry| match &entry.record {
        Record::Decided { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    (ran.verdict(), decided.unwrap_or_default())
}

#[track_caller]
fn ended(ran: &Ran, verdict: Verdict, why: &str) {
    let all =
        || ran.entries.iter().map(|entry| format!("{} {:?}\n", entry.at, entry.record)).collect::<String>();
    assert_eq!(reason(ran), (verdict, why.to_owned()), "{}", all());
}

fn seconds(clock: Option<u64>) -> u64 {
    clock.map_or(0, |ms| ms / 1000)
}

#[test]
fn an_alert_that_fires_and_clears_in_time_passes_and_is_timed() {
    let alert = "alert: {name: NobodyServes, labels: {matchLabels: {severity: page}}, firesWithin: 1m, clearsWithin: 1m}";
    let ran = outage(none_ready(), alert, ", detectWithin: 1m", "90s");
    ended(&ran, Verdict::Passed, "HypothesisHeld");
    let facts = Facts::from_entries(&ran.entries).expect("a report");
    let (alerted, rto) = (facts.clocks.alert_ms, facts.clocks.rto_ms);
    assert!(
        (20..=45).contains(&seconds(alerted)),
        "20 s of `for`, an evaluation each 10 s, a sample each 5 s: {alerted:?}"
    );
    assert_eq!(facts.clocks.detection_ms, alerted, "there was no violation before");
    assert!(rto > alerted, "health does not wait for the alert: {rto:?}");
    let objective = facts.objectives.iter().find(|objective| objective.name == "detectWithin");
    assert_eq!(objective.and_then(|objective| objective.met), Some(true));
    assert!(facts.timeline.iter().any(|event| event.text == "pager fires"));
    assert!(facts.probe("pager").is_some_and(|probe| probe.expect.contains("fires within 1m")));
}

/// The outage is over, and healed, long before the alert has to fire: the run waits for it.
#[test]
fn a_fault_that_nobody_was_told_of_is_a_failure_however_well_it_healed() {
    let alert = "alert: {name: NobodyServes, firesWithin: 1m}";
    let ran = outage(none_ready(), alert, "", "10s");
    ended(&ran, Verdict::Failed, "Violated");
    let waited = |records: &[Entry]| {
        let since = |kind: fn(&Record) -> bool| {
            records.iter().find(|entry| kind(&entry.record)).map(|entry| entry.at)
        };
        let seen = since(|record| matches!(record, Record::EffectSeen { .. })).expect("seen");
        let lost = since(|record| matches!(record, Record::Violated { .. })).expect("violated");
        Duration::try_from(lost.duration_since(seen)).expect("later")
    };
    let waited = waited(&ran.entries);
    assert!((60..=80).contains(&waited.as_secs()), "{waited:?}");
    State::replay(&ran.entries).expect("the journal can be replayed");
}

#[test]
fn an_alert_that_must_stay_quiet_and_does_not_is_a_violation() {
    let ran = outage(none_ready(), "alert: {name: NobodyServes}", "", "90s");
    ended(&ran, Verdict::Failed, "Violated");
    let quiet = outage(none_ready(), "alert: {name: NobodyServes}", "", "5s");
    ended(&quiet, Verdict::Passed, "HypothesisHeld");
}

#[test]
fn an_alert_that_clears_too_late_is_a_violation() {
    let mut slow = none_ready();
    slow["spec"]["groups"][0]["rules"][0]["keep_firing_for"] = json!("3m");
    let ran = outage(slow, "alert: {name: NobodyServes, firesWithin: 1m, clearsWithin: 30s}", "", "60s");
    ended(&ran, Verdict::Failed, "Violated");
}

#[test]
fn an_alert_that_was_firing_already_or_about_to_ends_the_run_before_the_first_change() {
    let always = |hold: &str| rule(&json!({"alert": "NobodyServes", "expr": "vector(1)", "for": hold}));
    for rules in [always("0s"), always("1h")] {
        let ran = outage(rules, "alert: {name: NobodyServes, firesWithin: 1m}", "", "60s");
        ended(&ran, Verdict::NotSteady, "NotSteady");
        assert!(!ran.entries.iter().any(|entry| matches!(entry.record, Record::InjectIntended { .. })));
    }
}

#[test]
fn a_rule_that_is_not_there_or_fails_proves_nothing() {
    let fails = rule(&json!({"alert": "NobodyServes", "expr": "deriv(up[1m]) > 1"}));
    for (rules, name) in [(none_ready(), "NobodySevres"), (fails, "NobodyServes")] {
        let ran = outage(rules, &format!("alert: {{name: {name}}}"), "", "60s");
        ended(&ran, Verdict::Inconclusive, "NoData");
        assert!(!ran.entries.iter().any(|entry| matches!(entry.record, Record::InjectIntended { .. })));
        let missing =
            |entry: &&Entry| matches!(&entry.record, Record::Sampled { state: SampleState::Missing, .. });
        assert!(ran.entries.iter().any(|entry| missing(&entry)));
    }
}

#[test]
fn detection_that_was_promised_and_did_not_come_is_a_failure_of_its_own() {
    let alert = "alert: {name: NobodyServes}\n    role: Informational";
    let ran = outage(none_ready(), alert, ", detectWithin: 30s", "10s");
    ended(&ran, Verdict::Failed, "DetectionMissed");
    let facts = Facts::from_entries(&ran.entries).expect("a report");
    let objective = facts.objectives.iter().find(|objective| objective.name == "detectWithin");
    assert_eq!(objective.and_then(|objective| objective.met), Some(false));
    let ran = outage(none_ready(), alert, ", detectWithin: 50s", "90s");
    ended(&ran, Verdict::Passed, "HypothesisHeld");
}

#[test]
fn with_an_expectation_of_its_own_an_alert_is_a_probe_like_any_other() {
    let alert = "alert: {name: NobodyServes}\n    expect: '!firing'\n    during: 'activeFor < 300.0'";
    let ran = outage(none_ready(), alert, "", "60s");
    ended(&ran, Verdict::Passed, "HypothesisHeld");
    let facts = Facts::from_entries(&ran.entries).expect("a report");
    assert!(facts.clocks.alert_ms.is_some(), "it is timed all the same");
}

/// An Alertmanager behind a Service: asked by its own API, and only what reaches somebody fires.
#[test]
fn an_alertmanager_is_asked_by_its_own_api() {
    let answered = in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let alert = |state: &str| {
            json!({"labels": {"alertname": "NobodyServes"}, "status": {"state": state},
                "startsAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:01:00Z"})
        };
        let mut answers = Vec::new();
        for state in ["active", "suppressed"] {
            let body = json!([alert(state)]).to_string();
            stage.cluster.sim().register_backend(
                "monitoring",
                "alertmanager",
                Arc::new(move |request| {
                    let known = request.uri().path() == "/api/v2/alerts";
                    let body = if known { body.clone() } else { "no".to_owned() };
                    Box::pin(async move { http::Response::new(bytes::Bytes::from(body)) })
                }),
            );
            let access = Access::new(stage.env.kube.clone());
            let service = json!({"name": "alertmanager", "namespace": "monitoring", "port": 9093});
            let params = json!({"name": "NobodyServes", "api": "Alertmanager", "service": service});
            let probe = probes::find("alert").expect("a probe");
            let source = probe.source(&params).flatten().expect("a source of its own");
            let metrics = MetricSource::resolve(&access, "shop", &source).await.expect("no credentials");
            let measure = Measure {
                access,
                http: stage.env.http.clone(),
                metrics: Some(metrics),
                namespace: "shop".to_owned(),
                loads: Loads::default(),
                every: Duration::from_secs(5),
            };
            answers.push(match probe.measure(&measure, &params).await {
                Reading::Measured(variables) => (variables["firing"].clone(), variables["activeFor"].clone()),
                other => panic!("{other:?}"),
            });
        }
        answers
    });
    assert_eq!(answered, [(json!(true), json!(60.0)), (json!(false), json!(0.0))]);
}
