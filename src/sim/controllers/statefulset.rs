//! StatefulSets: pods with names that stay, one after the other.
//!
//! Source: `pkg/controller/statefulset/stateful_set_control.go`, v1.36. Without volume claims, partitions and
//! ControllerRevisions: a revision is the hash of the template.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::action::{Action, Decision, Target, event, put_counts};
use super::names;
use super::replicaset::{new_pod, next_available};
use super::views::{Pod, StatefulSet};

const SOURCE: &str = "statefulset-controller";
/// The label by which a pod says which template it was made from.
const REVISION: &str = "controller-revision-hash";

/// One sync of a StatefulSet.
#[must_use]
pub fn decide(set: &StatefulSet, pods: &[&Pod], namespace_terminating: bool, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    let by_ordinal: BTreeMap<i64, &Pod> =
        pods.iter().filter_map(|pod| Some((ordinal(set, pod)?, *pod))).collect();
    let revision = format!("{}-{}", set.name(), names::template_hash(&set.spec.template, 0));
    let wanted = set.spec.replicas.unwrap_or(1).max(0);
    if !set.terminating() && !namespace_terminating {
        decision.actions.extend(next(set, &by_ordinal, (wanted, &revision), now));
    }
    let status = status(set, &by_ordinal, &revision, now);
    if status != set.object.field::<Value>("status").unwrap_or_default() {
        decision.actions.push(Action::Status(Target::of(&set.object), status));
    }
    if let Some(delay) = next_available(pods, set.spec.min_ready_seconds, now) {
        decision.again_in(delay);
    }
    decision
}

fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i64> {
    pod.name().strip_prefix(set.name())?.strip_prefix('-')?.parse().ok()
}

/// Creates, deletes or replaces: with `OrderedReady` one pod at a time, with `Parallel` all at once.
fn next(
    set: &StatefulSet,
    pods: &BTreeMap<i64, &Pod>,
    (wanted, revision): (i64, &str),
    now: Timestamp,
) -> Vec<Action> {
    let parallel = set.spec.pod_management_policy == "Parallel";
    let mut actions = Vec::new();
    for index in 0..wanted {
        match pods.get(&index) {
            None => {
                actions.extend(create(set, index, revision));
                if !parallel {
                    return actions;
                }
            }
            // A pod that has ended is deleted first; its name is free when it is gone.
            Some(pod) if pod.finished() && !pod.terminating() => {
                actions.extend(delete(set, pod));
                if !parallel {
                    return actions;
                }
            }
            Some(pod)
                if !parallel && (pod.terminating() || !pod.available(set.spec.min_ready_seconds, now)) =>
            {
                return actions;
            }
            Some(_) => {}
        }
    }
    for pod in pods.range(wanted..).rev().map(|(_, pod)| pod) {
        if !pod.terminating() {
            actions.extend(delete(set, pod));
        }
        if !parallel {
            return actions;
        }
    }
    if set.spec.update_strategy.kind == "OnDelete" || !actions.is_empty() {
        return actions;
    }
    // The highest ordinal with an old template, once all above it are healthy.
    for pod in pods.range(..wanted).rev().map(|(_, pod)| pod) {
        if pod.meta().labels.get(REVISION).map(String::as_str) != Some(revision) {
            if !pod.terminating() {
                actions.extend(delete(set, pod));
            }
            return actions;
        }
        if pod.terminating() || !pod.available(set.spec.min_ready_seconds, now) {
            return actions;
        }
    }
    actions
}

fn create(set: &StatefulSet, index: i64, revision: &str) -> Vec<Action> {
    let name = format!("{}-{index}", set.name());
    let Ok(mut pod) = new_pod(set, &set.spec.template, &name) else { return Vec::new() };
    pod.meta.labels.extend([
        ("statefulset.kubernetes.io/pod-name".to_owned(), name.clone()),
        ("apps.kubernetes.io/pod-index".to_owned(), index.to_string()),
        (REVISION.to_owned(), revision.to_owned()),
    ]);
    let mut spec: Value = pod.field("spec").unwrap_or_default();
    spec["hostname"] = json!(name);
    if !set.spec.service_name.is_empty() {
        spec["subdomain"] = json!(set.spec.service_name);
    }
    pod.set_value("spec", &spec);
    let message = format!("create Pod {name} in StatefulSet {} successful", set.name());
    vec![Action::Create(pod), event(&set.object, SOURCE, "SuccessfulCreate", message)]
}

fn delete(set: &StatefulSet, pod: &Pod) -> Vec<Action> {
    let message = format!("delete Pod {} in StatefulSet {} successful", pod.name(), set.name());
    vec![
        Action::Delete(Target::of(&pod.object), None),
        event(&set.object, SOURCE, "SuccessfulDelete", message),
    ]
}

fn status(set: &StatefulSet, pods: &BTreeMap<i64, &Pod>, revision: &str, now: Timestamp) -> Value {
    let count = |test: &dyn Fn(&Pod) -> bool| pods.values().filter(|p| test(p)).count() as i64;
    let of = |pod: &Pod, wanted: &str| {
        !pod.terminating() && pod.meta().labels.get(REVISION).map(String::as_str) == Some(wanted)
    };
    let updated = count(&|p| of(p, revision));
    let ready = count(&|p| p.ready());
    let wanted = set.spec.replicas.unwrap_or(1);
    let current = match set.status.current_revision.as_str() {
        "" => revision,
        // The update is through: the new revision is the current one (`completeRollingUpdate`).
        _ if updated == wanted && ready == wanted => revision,
        old => old,
    };
    let mut status = Map::new();
    status.insert("replicas".into(), json!(pods.len()));
    // Neither has omitempty.
    status
        .insert("availableReplicas".into(), json!(count(&|p| p.available(set.spec.min_ready_seconds, now))));
    put_counts(
        &mut status,
        &[
            ("observedGeneration", i64::try_from(set.meta().generation).unwrap_or(0)),
            ("readyReplicas", ready),
            ("currentReplicas", count(&|p| of(p, current))),
            ("updatedReplicas", updated),
        ],
    );
    status.insert("currentRevision".into(), json!(current));
    status.insert("updateRevision".into(), json!(revision));
    status.insert("collisionCount".into(), json!(0));
    Value::Object(status)
}
