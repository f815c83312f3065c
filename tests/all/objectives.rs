//! What a file promises of recovery beside its clocks: how much data may be lost.

use firedrill::{journal::Record, report::Facts, types::Verdict};

use crate::kit::{Ran, Stage, in_virtual_time, shop};

/// The checkout is away for half a minute; what is lost is said by a probe.
fn outage(says: &str, within: &str) -> Ran {
    let text = format!(
        r#"
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {{name: trial, namespace: shop}}
spec:
  hypothesis: Next to nothing is lost.
  steadyState:
  - name: replicas
    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: checkout}}
    value: object.status.readyReplicas
    expect: object.status.readyReplicas == object.spec.replicas
    during: "true"
  - name: lost
    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: checkout}}
    value: "{says}"
    every: 20s
    role: Informational
  baseline: {{duration: 20s}}
  objectives: {{recoverWithin: 2m, rpo: {{within: {within}, probe: lost}}}}
  limits: {{pods: 100%, duration: 10m}}
  method:
  - name: nobody-serves
    target: {{workload: deployment/checkout}}
    scale: {{replicas: 0}}
    duration: 30s
"#
    );
    in_virtual_time(async move {
        let stage = Stage::new(&shop(), 7).await;
        stage.run(stage.request(&text, 7)).await.unwrap_or_else(|findings| panic!("{findings:#?}"))
    })
}

fn decided(ran: &Ran) -> (Verdict, String, Option<u64>) {
    let reason = ran.entries.iter().find_map(|entry| match &entry.record {
        Record::Decided { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    let lost = ran.entries.iter().find_map(|entry| match &entry.record {
        Record::Finished { clocks, .. } => clocks.rpo_ms,
        _ => None,
    });
    (ran.verdict(), reason.unwrap_or_default(), lost)
}

#[test]
fn what_is_lost_is_what_a_probe_says_when_service_is_back() {
    // Nothing but while nobody serves: what was said then does not count.
    let away = "object.status.?readyReplicas.orValue(0) == 0 ? 900.0 : 45.0";
    let ran = outage(away, "1m");
    assert_eq!(decided(&ran), (Verdict::Passed, "HypothesisHeld".to_owned(), Some(45_000)));
    let facts = Facts::from_entries(&ran.entries).expect("it has a beginning");
    let told = facts.objectives.iter().find(|objective| objective.name == "rpo").expect("it was promised");
    assert_eq!((told.promised_ms, told.measured_ms, told.met), (Some(60_000), Some(45_000), Some(true)));
}

#[test]
fn more_than_was_promised_is_a_failure() {
    assert_eq!(decided(&outage("45.5", "45s")), (Verdict::Failed, "RpoMissed".to_owned(), Some(45_500)));
}

#[test]
fn what_nobody_says_is_never_a_pass() {
    let nobody = outage("object.metadata.annotations.lost", "1m");
    assert_eq!(decided(&nobody), (Verdict::Inconclusive, "NoData".to_owned(), None));
}
