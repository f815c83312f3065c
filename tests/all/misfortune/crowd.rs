//! Guardrails that bound how many runs are at work at once.

use std::{sync::Arc, time::Duration};

use firedrill::{
    cluster::{Lease, Tenure, Write},
    engine::{self, EngineError, Outcome, Start},
    types::{Epoch, Finding, ObjectRef, RunId, Verdict},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Person;
use crate::{
    crash::house::{experiment, house, settled_with},
    kit::{Stage, in_virtual_time},
};

const SCALE: &str = "{name: hit, target: {workload: deployment/web}, scale: {replicas: 1}, duration: 30s}";

/// The house twice, in two namespaces, in a cluster that knows Guardrails.
async fn settled() -> Stage {
    let mut objects = firedrill::api::crds::crds();
    objects.extend(house());
    let in_shop = |one: &Value| one["metadata"]["namespace"] == "shop" || one["kind"] == "Namespace";
    let own = house().into_iter().filter(in_shop);
    objects.extend(own.map(|one| {
        let text = one.to_string().replace("shop", "kitchen");
        serde_json::from_str::<Value>(&text).expect("JSON")
    }));
    settled_with(&objects, 1).await
}

/// One run at once where the namespace has one of these names.
async fn bounded(stage: &Stage, names: &[&str]) {
    let object = ObjectRef::namespaced("firedrill.dev/v1alpha1", "Guardrail", "", "platform");
    let selector = json!({"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": names}]});
    let body = json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Guardrail", "metadata": {"name": "platform"},
        "spec": {"concurrentRuns": 1, "namespaceSelector": selector}});
    let access = Person::of(stage).access().clone();
    access.apply(&object, &body, Write { manager: "kubectl", dry_run: false }).await.expect("a Guardrail");
}

/// Somebody else's run holds the kitchen.
async fn other(stage: &Stage, run: &RunId) -> Lease {
    let tenure = Tenure {
        run: run.clone(),
        holder: "another".to_owned(),
        by: "cook".to_owned(),
        epoch: Epoch(1),
        renewed: stage.env.clock.now(),
        fresh: true,
        abort: None,
        acknowledged: false,
    };
    Lease::acquire(Person::of(stage).access(), "kitchen", tenure, false).await.expect("it is free")
}

/// Assessed, and not begun yet.
async fn ready(stage: &Stage, namespace: &str, run: &RunId) -> Result<Start, Vec<Finding>> {
    let request = stage.request(&experiment(&[SCALE]).replace("shop", namespace), 1);
    let assessment = engine::assess(&stage.env, &request).await?;
    if assessment.refused() {
        return Err(assessment.plan.findings);
    }
    let (outside_tx, outside_rx) = mpsc::unbounded_channel();
    let revert_timeout = Duration::from_secs(600);
    let id = Some(run.clone());
    Ok(Start { request, id, assessment, revert_timeout, outside_rx, outside_tx, observer: Arc::new(|_| {}) })
}

fn verdict(ended: Result<Outcome, EngineError>) -> Verdict {
    ended.expect("an ordinary end").verdict
}

#[test]
fn of_two_runs_that_begin_together_one_gives_way() {
    in_virtual_time(async {
        let stage = settled().await;
        bounded(&stage, &["shop", "kitchen"]).await;
        let runs = ["a", "b"].map(|name| RunId::new(name, 1));
        // Each is told that nobody else is at work.
        let shop = ready(&stage, "shop", &runs[0]).await.expect("not refused");
        let kitchen = ready(&stage, "kitchen", &runs[1]).await.expect("not refused");
        let (first, second) = tokio::join!(engine::run(&stage.env, shop), engine::run(&stage.env, kitchen));
        assert_eq!(verdict(first), Verdict::Passed);
        let refused = second.expect_err("one only may be at work");
        assert!(matches!(&refused, EngineError::Crowded(_)), "{refused}");
        assert!(refused.to_string().contains(runs[0].as_str()), "{refused}");
        // It has nothing any more, and can be tried again.
        let again = ready(&stage, "kitchen", &runs[1]).await.expect("not refused");
        assert_eq!(verdict(engine::run(&stage.env, again).await), Verdict::Passed);
    });
}

/// Whoever was there first stays, whatever it is called.
#[test]
fn a_run_that_is_at_work_by_then_is_not_displaced() {
    in_virtual_time(async {
        let stage = settled().await;
        bounded(&stage, &["shop", "kitchen"]).await;
        let (early, late) = (RunId::new("a", 1), RunId::new("b", 1));
        let start = ready(&stage, "shop", &early).await.expect("not refused");
        let lease = other(&stage, &late).await;
        let refused = engine::run(&stage.env, start).await.expect_err("one only may be at work");
        assert!(matches!(&refused, EngineError::Crowded(_)), "{refused}");
        assert!(stage.env.storage.list().expect("it can be listed").is_empty(), "nothing was begun");
        // Refused beforehand too as long as it is there, and let in once it is gone.
        let findings = ready(&stage, "shop", &early).await.err().expect("refused");
        let found = findings.iter().find(|finding| finding.code.0 == "FD2015").expect("it says why");
        assert_eq!(found.subject, "guardrail/platform");
        assert!(found.message.contains(late.as_str()), "{found:?}");
        lease.release().await.expect("it is given back");
        ready(&stage, "shop", &early).await.expect("not refused");
    });
}

#[test]
fn runs_where_the_guardrail_does_not_hold_are_not_counted() {
    in_virtual_time(async {
        let stage = settled().await;
        bounded(&stage, &["shop"]).await;
        let _lease = other(&stage, &RunId::new("cook", 1)).await;
        let start = ready(&stage, "shop", &RunId::new("trial", 1)).await.expect("not refused");
        assert_eq!(verdict(engine::run(&stage.env, start).await), Verdict::Passed);
    });
}
