//! A fault that would cut off the metric source of its own hypothesis.

use firedrill::{
    engine,
    types::{
        Finding,
        codes::{guard, hazard},
    },
};
use serde_json::{Value, json};

use crate::{
    crash::house::{deployment, house, settled_with},
    kit::{Stage, in_virtual_time},
};

/// The house with a Prometheus of its own in it, of so many pods.
fn with_prometheus(pods: u32) -> Vec<Value> {
    let mut objects = house();
    objects.push(deployment("prom", pods));
    objects.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "prom", "namespace": "shop"},
        "spec": {"selector": {"app": "prom"}, "ports": [{"name": "web", "port": 9090}]},
    }));
    objects
}

/// What is found about one step.
async fn findings(stage: &Stage, role: &str, step: &str) -> Vec<Finding> {
    let text = format!(
        "apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {{name: trial, namespace: shop}}
spec:
  hypothesis: It is measured to the end.
  steadyState:
  - name: ready
    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: web}}
    value: object.status.readyReplicas
    expect: value >= 1.0
  - name: served
    prometheus: {{query: sum(up), service: {{name: prom, port: 9090}}}}
    expect: value >= 1.0
    role: {role}
  limits: {{pods: 100%, nodes: 100%}}
  method:
  - {step}
"
    );
    match engine::assess(&stage.env, &stage.request(&text, 1)).await {
        Ok(assessment) => assessment.plan.findings,
        Err(findings) => findings,
    }
}

const KILL: &str = "{name: hit, target: {workload: deployment/prom, count: 1}, podKill: {}}";
const KILL_ALL: &str = "{name: hit, target: {workload: deployment/prom, count: all}, podKill: {}}";
const DRAIN: &str =
    "{name: hit, target: {nodesRunning: deployment/prom, count: all}, nodeDrain: {}, duration: 5s}";
const SCALE: &str = "{name: hit, target: {workload: deployment/prom}, scale: {replicas: 0}, duration: 5s}";
const FEWER: &str = "{name: hit, target: {workload: deployment/prom}, scale: {by: -1}, duration: 5s}";
const WEB: &str = "{name: hit, target: {workload: deployment/web, count: 2}, podKill: {}}";

#[test]
fn a_fault_that_cuts_off_the_metric_source_of_its_hypothesis_is_refused() {
    let (cut, thinned) = (Some(&guard::METRIC_SOURCE), Some(&hazard::SOURCE_THINNED));
    for (pods, step, expected) in [
        (1, KILL, cut),
        (1, DRAIN, cut),
        (1, SCALE, cut),
        (2, KILL_ALL, cut),
        (2, DRAIN, cut),
        (2, SCALE, cut),
        (2, KILL, thinned),
        (2, FEWER, thinned),
        (1, WEB, None),
    ] {
        in_virtual_time(async {
            let stage = settled_with(&with_prometheus(pods), 2).await;
            let found = findings(&stage, "Hypothesis", step).await;
            let codes = [&guard::METRIC_SOURCE, &hazard::SOURCE_THINNED, &hazard::SOURCE_UNKNOWN];
            let said: Vec<&Finding> = found.iter().filter(|finding| codes.contains(&&finding.code)).collect();
            let first = said.first().map(|finding| &finding.code);
            assert_eq!(first, expected, "{pods} pods, {step}: {found:#?}");
            assert!(said.len() <= 1, "{said:#?}");
            assert!(said.iter().all(|finding| finding.subject == "service/shop/prom"), "{said:#?}");
        });
    }
}

/// What is only written down may go.
#[test]
fn a_source_that_decides_nothing_may_be_hit() {
    in_virtual_time(async {
        let stage = settled_with(&with_prometheus(1), 2).await;
        let found = findings(&stage, "Informational", KILL).await;
        assert!(!found.iter().any(|finding| finding.code == guard::METRIC_SOURCE), "{found:#?}");
    });
}
