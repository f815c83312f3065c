//! Rows that measure what pods really answer: the experiments of this repository, and what can become of
//! a metric. They use the demo workload, in this order where there is but one.

use firedrill::types::Verdict;

use crate::scenarios::{
    people,
    row::{Moment, Row, row},
};

const SHOP: &str = include_str!("../../../../experiments/demo/shop.yaml");

fn experiment(name: &'static str, text: &str) -> Row {
    row(name).objects(&[SHOP]).file(text).of_the_shop()
}

/// Availability of an app over 10 s; `more` are further fields.
fn availability(query_more: &str, more: &str) -> String {
    format!(
        "  - name: availability\n    signal: Errors\n    prometheus:\n      query: sum(rate(http_requests_total{{app=\"checkout\",code!~\"5..\"}}[10s])) / sum(rate(http_requests_total{{app=\"checkout\"}}[10s])){query_more}\n    expect: value >= 0.99\n    during: value >= 0.95\n    every: 1s\n    timeout: 1s\n    for: 2s\n{more}"
    )
}

fn lose_all(name: &'static str, more: &str) -> Row {
    let replicas = "  - name: replicas\n    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: checkout}\n    value: object.status.readyReplicas\n    expect: object.status.readyReplicas == object.spec.replicas\n    during: \"true\"\n";
    row(name)
        .objects(&[SHOP])
        .spec(
            &format!("{replicas}{}", availability("", more)),
            "  - name: lose-all\n    target: {workload: deployment/checkout, count: all}\n    podKill: {gracePeriod: 0s}\n  - wait: 20s",
            "  baseline: {within: 90s}\n  limits: {pods: 100%}",
        )
        .of_the_shop()
}

fn lose_one(name: &'static str, query: &str) -> Row {
    let probe = format!(
        "  - name: what\n    prometheus: {{query: '{query}'}}\n    expect: value >= 0.0\n    every: 1s\n    timeout: 1s\n    for: 2s"
    );
    let method = "  - name: lose-one\n    target: {workload: deployment/checkout}\n    podKill: {}";
    row(name)
        .objects(&[SHOP])
        .spec(&probe, method, "")
        .of_the_shop()
        .ends(Verdict::Inconclusive)
        .never(&["InjectIntended"])
}

/// The kitchen is left with one pod, which carries three quarters of its load.
fn one_cook(name: &'static str, more: &str) -> Row {
    let probe = format!(
        "  - name: objective\n    slo:\n      good: sum(rate(http_requests_total{{app=\"kitchen\",code!~\"5..\"}}[1m]))\n      total: sum(rate(http_requests_total{{app=\"kitchen\"}}[1m]))\n      objective: 99%\n    every: 2s\n{more}"
    );
    let method = "  - name: one-cook\n    target: {workload: deployment/kitchen}\n    scale: {replicas: 1}\n    duration: 1m";
    row(name)
        .objects(&[SHOP])
        .spec(&probe, method, "  objectives: {recoverWithin: 3m}\n  limits: {pods: 70%}")
        .of_the_shop()
}

/// What is judged by metrics.
pub fn metrics() -> Vec<Row> {
    vec![
        experiment(
            "checkout-survives-pod-loss",
            include_str!("../../../../experiments/checkout-survives-pod-loss.yaml"),
        )
        .journal(&["EffectSeen lose-half.1", "Checked whole-again Held"]),
        experiment(
            "drain-that-can-never-finish",
            include_str!("../../../../experiments/drain-that-can-never-finish.yaml"),
        )
        .refused(&["FD3009"]),
        experiment("metric-source-gone", include_str!("../../../../experiments/metric-source-gone.yaml"))
            .ends(Verdict::Inconclusive)
            .never(&["InjectIntended"]),
        lose_one("metric-without-series", "sum(rate(there_is_no_such_metric[1m]))"),
        lose_one(
            "metric-of-two-series",
            "sum by (app) (rate(http_requests_total{app=~\"checkout|kitchen\"}[1m]))",
        ),
        lose_one("metric-not-a-number", "sum(rate(http_requests_total{app=\"checkout\"}[1m])) * 0 / 0"),
        experiment("drain-under-a-budget", include_str!("../../../../experiments/drain-under-a-budget.yaml"))
            .act(Moment::Before, people::closes_the_vault)
            .journal(&["EffectSeen no evictable pod", "Reverted Restored"]),
        experiment("scale-below-need", include_str!("../../../../experiments/scale-below-need.yaml"))
            .ends(Verdict::Failed)
            .journal(&["Violated availability", "Reverted Restored"]),
        one_cook("slo-is-lost", "").ends(Verdict::Failed).journal(&[
            "Violated objective",
            "Sampled objective Outside more than chance",
            "Reverted Restored",
        ]),
        one_cook("slo-burns-and-that-is-borne", "    during: burnRate < 100.0")
            .journal(&["Reverted Restored"]),
        lose_all("metric-falls", "").ends(Verdict::Failed).journal(&["Violated availability", "Recovered"]),
        lose_all("metric-falls-and-it-goes-on", "    onViolation: Continue")
            .ends(Verdict::Failed)
            .journal(&["Violated availability"])
            .never(&["StopRequested"]),
        lose_all("metric-stops-the-run", "    role: StopCondition")
            .ends(Verdict::Aborted)
            .journal(&["StopRequested StopCondition"]),
        lose_all("metric-is-only-written-down", "    role: Informational").never(&["Violated"]),
    ]
}
