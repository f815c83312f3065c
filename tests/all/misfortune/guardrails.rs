//! Guardrails that change while a run goes on, and the red button.

use std::time::Duration;

use firedrill::{
    cluster::{Access, Write},
    journal::{Entry, Record, RevertOutcome, StopReason},
    sim::apiserver::User,
    types::{ObjectRef, Verdict},
};
use serde_json::{Value, json};

use super::{Person, assert_sound, once, reverts};
use crate::{
    crash::house::{experiment, house, settled_with, settles},
    kit::{Ran, Stage, in_virtual_time, manifests},
};

const SCALE: &str = "{name: hit, target: {workload: deployment/web}, scale: {replicas: 1}, duration: 30s}";

/// The house, in a cluster that knows Guardrails.
async fn settled(seed: u64) -> Stage {
    let mut objects = firedrill::api::crds::crds();
    objects.extend(house());
    settled_with(&objects, seed).await
}

/// Somebody in charge writes what a Guardrail says.
async fn rule(access: &Access, name: &str, spec: Value) {
    let object = ObjectRef::namespaced("firedrill.dev/v1alpha1", "Guardrail", "", name);
    let body = json!({
        "apiVersion": "firedrill.dev/v1alpha1",
        "kind": "Guardrail",
        "metadata": {"name": name},
        "spec": spec,
    });
    let how = Write { manager: "kubectl", dry_run: false };
    access.apply(&object, &body, how).await.expect("somebody in charge may do that");
}

/// A run during which a Guardrail is written as soon as `when` has been written down.
async fn ruled(stage: &Stage, when: fn(&Record) -> bool, spec: Value) -> Ran {
    let access = Person::of(stage).access().clone();
    let act = move || {
        let (access, spec) = (access.clone(), spec.clone());
        tokio::spawn(async move { rule(&access, "platform", spec).await });
    };
    let watch = once(when, act);
    let request = stage.request(&experiment(&[SCALE]), 1);
    stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused")
}

fn seen(record: &Record) -> bool {
    matches!(record, Record::EffectSeen { .. })
}

fn stop(entries: &[Entry]) -> Option<(StopReason, String, jiff::Timestamp)> {
    entries.iter().find_map(|entry| match &entry.record {
        Record::StopRequested { reason, by } => Some((*reason, by.clone(), entry.at)),
        _ => None,
    })
}

fn at(entries: &[Entry], which: fn(&Record) -> bool) -> jiff::Timestamp {
    entries.iter().find(|entry| which(&entry.record)).expect("it was written down").at
}

#[test]
fn the_red_button_ends_a_run_at_once_and_everything_is_back() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let before = stage.state();
        let ran = ruled(&stage, seen, json!({"halt": true, "haltReason": "incident 42"})).await;
        assert_eq!(ran.verdict(), Verdict::Aborted);
        assert_sound(&stage, &ran, "halted");
        let (reason, by, stopped) = stop(&ran.entries).expect("it was stopped");
        assert_eq!((reason, by.as_str()), (StopReason::Halted, "Guardrail platform: incident 42"));
        assert_eq!(reverts(&ran.entries), [RevertOutcome::Restored]);
        let pressed = at(&ran.entries, seen);
        let back = at(&ran.entries, |record| matches!(record, Record::AllReverted { .. }));
        assert!(stopped.duration_since(pressed).as_millis() < 200, "{pressed} {stopped}");
        assert!(back.duration_since(pressed).as_secs() < 2, "{pressed} {back}");
        let left = settles(&stage, &before).await;
        assert!(left.iter().all(|line| line.contains("Guardrail")), "{left:?}");
        // None starts while it is pressed.
        let refused = stage.run(stage.request(&experiment(&[SCALE]), 2)).await.err().expect("refused");
        assert!(refused.iter().any(|finding| finding.message.contains("incident 42")), "{refused:?}");
    });
}

#[test]
fn the_red_button_during_baseline_injects_nothing() {
    in_virtual_time(async {
        let stage = settled(1).await;
        let began = |record: &Record| matches!(record, Record::BaselineStarted {});
        let ran = ruled(&stage, began, json!({"halt": true})).await;
        assert_eq!(ran.verdict(), Verdict::Aborted);
        assert_eq!(stop(&ran.entries).map(|(reason, ..)| reason), Some(StopReason::Halted));
        assert!(!ran.entries.iter().any(|entry| matches!(entry.record, Record::InjectIntended { .. })));
    });
}

#[test]
fn a_guardrail_that_becomes_tighter_ends_what_it_forbids() {
    in_virtual_time(async {
        for spec in [
            json!({"faults": {"denied": ["scale"]}}),
            json!({"limits": {"pods": "10%"}}),
            json!({"environment": "production"}),
            json!({"approvals": {"required": 1}}),
        ] {
            let stage = settled(1).await;
            let ran = ruled(&stage, seen, spec.clone()).await;
            assert_eq!(ran.verdict(), Verdict::Aborted, "{spec}");
            assert_eq!(
                stop(&ran.entries).map(|(reason, ..)| reason),
                Some(StopReason::GuardrailChanged),
                "{spec}"
            );
            assert_eq!(reverts(&ran.entries), [RevertOutcome::Restored], "{spec}");
            assert_sound(&stage, &ran, "tighter");
        }
    });
}

#[test]
fn a_guardrail_that_forbids_nothing_of_it_changes_nothing() {
    in_virtual_time(async {
        for spec in [
            json!({"faults": {"denied": ["nodeDrain"]}, "concurrentRuns": 0, "description": "other words"}),
            json!({"halt": true, "namespaceSelector": {"matchLabels": {"team": "another"}}}),
        ] {
            let stage = settled(1).await;
            let ran = ruled(&stage, seen, spec.clone()).await;
            assert_eq!(ran.verdict(), Verdict::Passed, "{spec}: {:?}", stop(&ran.entries));
        }
    });
}

/// Whoever may not see them might be forbidden: refused, before anything else is done.
#[test]
fn guardrails_that_cannot_be_read_or_followed_refuse() {
    in_virtual_time(async {
        for verbs in ["[]", "[list]", "[list, watch]"] {
            let mut objects = firedrill::api::crds::crds();
            objects.extend(house());
            let rules = "[{apiGroups: ['', apps, policy, autoscaling, discovery.k8s.io, coordination.k8s.io], resources: ['*'], verbs: ['*']}";
            let role = format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: ada}}\nrules: {rules}, \
                 {{apiGroups: [firedrill.dev], resources: [guardrails], verbs: {verbs}}}]\n---\n\
                 apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: ada}}\n\
                 roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ada}}\n\
                 subjects: [{{kind: User, apiGroup: rbac.authorization.k8s.io, name: ada}}]"
            );
            objects.extend(manifests(&role));
            let mut stage = settled_with(&objects, 1).await;
            stage.env.kube = stage.cluster.sim().client_as(User::new("ada", &[]));
            let ended = stage.run(stage.request(&experiment(&[SCALE]), 1)).await;
            match ended {
                Ok(ran) => assert_eq!((verbs, ran.verdict()), ("[list, watch]", Verdict::Passed)),
                Err(findings) => {
                    assert_ne!(verbs, "[list, watch]", "{findings:?}");
                    assert!(
                        findings.iter().any(|finding| finding.code.0 == "FD2007"),
                        "{verbs}: {findings:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn a_window_that_closes_lets_nothing_more_be_injected() {
    in_virtual_time(async {
        let stage = settled(1).await;
        // It is open for a minute from now on, to the minute.
        let now = stage.env.clock.now();
        let clock =
            |minutes: i64| (now + Duration::from_secs(60 * minutes as u64)).strftime("%H:%M").to_string();
        let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        let windows = json!([{"days": days, "from": clock(0), "to": clock(2)}]);
        rule(Person::of(&stage).access(), "hours", json!({"timeZone": "UTC", "windows": windows})).await;
        let again = SCALE.replace("hit", "again");
        let steps = [SCALE, "{name: pause, wait: 3m}", &again];
        let ran = stage.run(stage.request(&experiment(&steps), 1)).await.expect("not refused");
        let (reason, by, _) = stop(&ran.entries).expect("it was stopped");
        assert_eq!((ran.verdict(), reason), (Verdict::Aborted, StopReason::GuardrailChanged));
        assert!(by.contains("Guardrail hours") && by.contains("outside its windows"), "{by}");
        // What was in force when it closed was not cut short by that.
        assert_eq!(reverts(&ran.entries), [RevertOutcome::Restored]);
        let intended: Vec<&str> = ran
            .entries
            .iter()
            .filter_map(|entry| match &entry.record {
                Record::InjectIntended { step, .. } => Some(step.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(intended, ["hit"]);
    });
}
