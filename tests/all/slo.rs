//! Service level objectives, as experiments ask for them.

use firedrill::{
    journal::{Record, SampleState},
    report::Facts,
    types::Verdict,
};

use crate::kit::{Ran, Stage, in_virtual_time, shop};

const FILE: &str = r#"
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: trial, namespace: shop}
spec:
  hypothesis: The kitchen keeps its objective.
  steadyState:
  - name: objective
    signal: Errors
    slo:
      good: sum(rate(http_requests_total{app="kitchen",code!~"5.."}[1m]))
      total: sum(rate(http_requests_total{app="kitchen"}[1m]))
      objective: 99.9%
    every: 5s
    MORE
  - name: replicas
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: kitchen}
    value: object.status.readyReplicas
    expect: object.status.readyReplicas == object.spec.replicas
    during: "true"
  baseline: {duration: 30s}
  objectives: {recoverWithin: 3m}
  limits: {pods: 100%, duration: 10m}
  method:
  - name: fewer
    target: {workload: deployment/kitchen}
    scale: {replicas: COUNT}
    duration: 2m
"#;

/// Runs it with so many replicas left.
fn scaled(count: u32, more: &str) -> Ran {
    run(FILE.replace("COUNT", &count.to_string()).replace("MORE", more))
}

fn run(text: String) -> Ran {
    in_virtual_time(async move {
        let stage = Stage::new(&shop(), 7).await;
        stage.run(stage.request(&text, 7)).await.unwrap_or_else(|findings| panic!("{findings:#?}"))
    })
}

#[track_caller]
fn ended(ran: &Ran, verdict: Verdict) {
    let told =
        || ran.entries.iter().map(|entry| format!("{} {:?}\n", entry.at, entry.record)).collect::<String>();
    assert_eq!(ran.verdict(), verdict, "{}", told());
}

/// Two of three pods carry the load: terminating gracefully, the third costs nobody anything.
#[test]
fn an_objective_that_is_kept_passes() {
    let ran = scaled(2, "");
    ended(&ran, Verdict::Passed);
    let missing = |record: &Record| matches!(record, Record::Sampled { state: SampleState::Missing, .. });
    assert!(!ran.entries.iter().any(|entry| missing(&entry.record)));
}

/// One pod carries three quarters: a quarter of the requests fail, which two scrapes show.
#[test]
fn an_objective_that_is_lost_is_found_by_the_counters_long_before_the_rate_shows_it() {
    let ran = scaled(1, "");
    ended(&ran, Verdict::Failed);
    let facts = Facts::from_entries(&ran.entries).expect("a report");
    let found = facts.clocks.detection_ms.expect("a violation");
    assert!(found <= 20_000, "{found}");
    let probe = facts.probe("objective").expect("the probe");
    assert!(probe.expect.contains("within 0.1%"), "{}", probe.expect);
    assert!(probe.samples.iter().any(|sample| sample.note.contains("more than chance allows")));
    assert!(facts.clocks.recovery_ms.is_some(), "it heals: {:?}", facts.clocks);
}

#[test]
fn a_burn_rate_that_is_borne_is_borne() {
    ended(&scaled(1, "during: burnRate <= 1000.0"), Verdict::Passed);
    ended(&scaled(1, "during: burnRate <= 14.4"), Verdict::Failed);
    // A quarter of two minutes' requests is 250 times the budget over them, and less over what was before as well.
    let windows = |windows: &str| {
        let text = FILE.replace("99.9%", &format!("99.9%\n      windows: {windows}")).replace("COUNT", "1");
        run(text.replace("MORE", "during: burnRate <= 200.0"))
    };
    ended(&windows("[1m]"), Verdict::Failed);
    ended(&windows("[1h, 1m]"), Verdict::Passed);
}

#[test]
fn without_an_expectation_the_queries_have_to_be_sums_of_counters() {
    let text = FILE
        .replace("COUNT", "2")
        .replace("MORE", "")
        .replace("sum(rate(http_requests_total{app=\"kitchen\"}[1m]))", "vector(1)");
    let source = firedrill::api::SourceText::new("trial.yaml", text);
    let read = firedrill::api::read(std::slice::from_ref(&source));
    assert!(
        read.findings.iter().any(|finding| finding.is_error() && finding.message.contains("expect")),
        "{:#?}",
        read.findings
    );
}
