//! StatefulSets: pods with names that stay, one after the other.
//!
//! Source: `pkg/controller/statefulset/stateful_set_control.go` and `stateful_set_utils.go`, v1.36
//! (`MaxUnavailableStatefulSet` is on since v1.35). Without ControllerRevisions: a revision is the hash of the template,
//! and the controller itself remembers former templates.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::action::{Action, Decision, Target, event, put_counts};
use super::names;
use super::replicaset::{new_pod, next_available};
use super::views::{Pod, StatefulSet};
use super::volumes::{self, Claims};

const SOURCE: &str = "statefulset-controller";
/// The label by which a pod says which template it was made from.
const REVISION: &str = "controller-revision-hash";

/// Templates that a set has had, by revision.
pub type Templates = BTreeMap<String, Value>;

/// What a sync of a StatefulSet looks at.
pub struct Inputs<'a> {
    /// The set.
    pub set: &'a StatefulSet,
    /// The pods that it controls.
    pub pods: &'a [&'a Pod],
    /// The templates that it has had, the present one among them.
    pub templates: &'a Templates,
    /// The claims of its namespace, if it has templates for any.
    pub claims: &'a Claims,
    /// Whether nothing new may be made in its namespace.
    pub namespace_terminating: bool,
    /// The present time.
    pub now: Timestamp,
}

/// The name of the revision that a set's template is.
#[must_use]
pub fn revision(set: &StatefulSet) -> String {
    format!("{}-{}", set.name(), names::template_hash(&set.spec.template, 0))
}

/// One sync of a StatefulSet.
#[must_use]
pub fn decide(inputs: &Inputs<'_>) -> Decision {
    let Inputs { set, pods, now, .. } = *inputs;
    let mut decision = Decision::default();
    let by_ordinal: BTreeMap<i64, &Pod> =
        pods.iter().filter_map(|pod| Some((ordinal(set, pod)?, *pod))).collect();
    let revision = revision(set);
    if !set.terminating() && !inputs.namespace_terminating {
        decision.actions.extend(next(inputs, &by_ordinal, &revision));
        let (first, end) = ordinals(set);
        let there = |index: i64| (first..end).contains(&index) || by_ordinal.contains_key(&index);
        decision.actions.extend(volumes::given_up(set, inputs.claims, &there));
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
fn next(inputs: &Inputs<'_>, pods: &BTreeMap<i64, &Pod>, revision: &str) -> Vec<Action> {
    let set = inputs.set;
    let parallel = set.spec.pod_management_policy == "Parallel";
    let unavailable = |pod: &Pod| pod.terminating() || !pod.available(set.spec.min_ready_seconds, inputs.now);
    let (first, end) = ordinals(set);
    let mut actions = Vec::new();
    for index in first..end {
        match pods.get(&index) {
            None => actions.extend(create(inputs, index, revision)),
            // A pod that has ended is deleted first; its name is free when it is gone.
            Some(pod) if pod.finished() && !pod.terminating() => actions.extend(delete(set, pod)),
            Some(pod) if !parallel && unavailable(pod) => return actions,
            Some(_) => continue,
        }
        if !parallel {
            return actions;
        }
    }
    let condemned = || pods.iter().filter(|(index, _)| !(first..end).contains(*index)).map(|(_, pod)| *pod);
    let first_unavailable = condemned().find(|pod| unavailable(pod)).map(|pod| pod.uid().to_owned());
    let mut going: Vec<&Pod> = condemned().collect();
    going.reverse();
    for pod in going {
        // One that is down lets those above it go first, unless it is the lowest of them (`processCondemned`).
        let waits = !parallel && unavailable(pod) && first_unavailable.as_deref() != Some(pod.uid());
        if !pod.terminating() && !waits {
            actions.extend(delete(set, pod));
        }
        if !parallel {
            return actions;
        }
    }
    if set.spec.update_strategy.kind == "OnDelete" || !actions.is_empty() {
        return actions;
    }
    update(set, pods, revision, &unavailable)
}

/// The ordinals that a set has: from the first to one beyond the last.
fn ordinals(set: &StatefulSet) -> (i64, i64) {
    let first = set.spec.ordinals.start.max(0);
    (first, first.saturating_add(set.spec.replicas.unwrap_or(1).max(0)))
}

/// Deletes pods of an old template, the highest ordinals first and none below the partition, as many as may be
/// unavailable (`updateStatefulSetAfterInvariantEstablished`).
fn update(
    set: &StatefulSet,
    pods: &BTreeMap<i64, &Pod>,
    revision: &str,
    unavailable: &dyn Fn(&Pod) -> bool,
) -> Vec<Action> {
    let (first, end) = ordinals(set);
    let strategy = &set.spec.update_strategy;
    let down = (first..end).filter(|index| pods.get(index).is_none_or(|pod| unavailable(pod))).count();
    let most = strategy.max_unavailable(end - first).max(1);
    let more = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(down);
    let from = first.saturating_add(strategy.rolling_update.partition.max(0));
    let old = |pod: &&Pod| {
        !pod.terminating() && pod.meta().labels.get(REVISION).map(String::as_str) != Some(revision)
    };
    let replaced = (from..end).rev().filter_map(|index| pods.get(&index).copied()).filter(old).take(more);
    replaced.flat_map(|pod| delete(set, pod)).collect()
}

/// A pod of the template that its ordinal has: below the partition that is the current one, which an update has not
/// reached (`newVersionedStatefulSetPod`).
fn create(inputs: &Inputs<'_>, index: i64, revision: &str) -> Vec<Action> {
    let set = inputs.set;
    let name = format!("{}-{index}", set.name());
    let strategy = &set.spec.update_strategy;
    let below = index < ordinals(set).0.saturating_add(strategy.rolling_update.partition);
    let current = set.status.current_revision.as_str();
    let held = inputs.templates.get(current).filter(|_| below && strategy.kind != "OnDelete");
    let (revision, template) = held.map_or((revision, &set.spec.template), |template| (current, template));
    let Ok(mut pod) = new_pod(set, template, &name) else { return Vec::new() };
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
    let (mut actions, mounted) = volumes::of_pod(set, index, inputs.claims);
    volumes::mount(&mut spec, mounted);
    pod.set_value("spec", &spec);
    let message = format!("create Pod {name} in StatefulSet {} successful", set.name());
    actions.extend([Action::Create(pod), event(&set.object, SOURCE, "SuccessfulCreate", message)]);
    actions
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
        _ if updated == wanted && ready == wanted && set.spec.update_strategy.kind != "OnDelete" => revision,
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
