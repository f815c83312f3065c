//! ReplicaSets: as many pods as asked for, and a status that says how many there are.
//!
//! Source: `pkg/controller/replicaset` and `ActivePodsWithRanks` in `pkg/controller/controller_utils.go`, v1.36.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::action::{Action, Decision, Target, event, put_counts, stamp, template_map};
use super::names;
use super::views::{Pod, ReplicaSet, View, selects};
use crate::sim::apiserver::defaults;
use crate::sim::store::{Kind, Object, Status};

const SOURCE: &str = "replicaset-controller";
/// Creates and deletes of one sync at most (`BurstReplicas` in `replica_set.go`).
const BURST: usize = 500;

/// What a ReplicaSet's next step depends on.
pub struct Inputs<'a> {
    /// The ReplicaSet.
    pub set: &'a ReplicaSet,
    /// Its pods, whatever their state.
    pub pods: &'a [&'a Pod],
    /// Pods of all ReplicaSets of the same Deployment: the ranking counts neighbours among them.
    pub related: &'a [&'a Pod],
    /// No pod can be created in a namespace that goes away.
    pub namespace_terminating: bool,
    /// Seed of pod names.
    pub seed: u64,
    /// How many pods the ReplicaSet has ever been given, from which names follow.
    pub ordinal: u64,
    /// The cluster's time.
    pub now: Timestamp,
}

/// One sync of a ReplicaSet (`syncReplicaSet`).
#[must_use]
pub fn decide(input: &Inputs<'_>) -> Decision {
    let mut decision = Decision::default();
    let selected = |p: &&Pod| input.set.spec.selector.matches(&p.meta().labels);
    for stranger in input.pods.iter().filter(|p| !selected(p) && !p.terminating()) {
        decision.actions.push(release(input.set, stranger));
    }
    let active: Vec<&Pod> = input.pods.iter().copied().filter(|p| p.active() && selected(p)).collect();
    if !input.set.terminating() {
        scale(input, &active, &mut decision);
    }
    let terminating = input.pods.iter().filter(|p| p.terminating() && !p.finished()).count() as i64;
    let status = status(input, &active, terminating);
    if Value::Object(status.clone()) != input.set.object.field::<Value>("status").unwrap_or_default() {
        decision.actions.push(Action::Status(Target::of(&input.set.object), Value::Object(status)));
    }
    if let Some(delay) = next_available(&active, input.set.spec.min_ready_seconds, input.now) {
        decision.again_in(delay);
    }
    decision
}

/// A pod whose labels no longer match is let go and lives on without an owner (`ReleasePod`): how people take a pod out
/// of service to look at it.
fn release(set: &ReplicaSet, pod: &Pod) -> Action {
    let others: Vec<_> = pod.meta().owner_references.iter().filter(|o| o.uid != set.uid()).collect();
    let others = if others.is_empty() { Value::Null } else { json!(others) };
    Action::Merge(Target::of(&pod.object), json!({"metadata": {"ownerReferences": others}}))
}

/// When the next ready pod becomes available.
pub fn next_available(pods: &[&Pod], min_ready_seconds: i64, now: Timestamp) -> Option<Duration> {
    pods.iter()
        .filter(|p| p.ready() && !p.available(min_ready_seconds, now))
        .filter_map(|p| {
            let at = p.ready_since()?.as_millisecond() + min_ready_seconds.saturating_mul(1000);
            Some(Duration::from_millis((at - now.as_millisecond()).max(1) as u64))
        })
        .min()
}

fn scale(input: &Inputs<'_>, active: &[&Pod], decision: &mut Decision) {
    let wanted = usize::try_from(input.set.replicas()).unwrap_or(0);
    if active.len() < wanted {
        if input.namespace_terminating {
            return;
        }
        let owner = &input.set.object;
        for n in 0..(wanted - active.len()).min(BURST) as u64 {
            let name = pod_name(input, input.ordinal + n);
            // A template that the API server accepted always makes a pod.
            if let Ok(pod) = new_pod(input.set, &input.set.spec.template, &name) {
                decision.actions.push(Action::Create(pod));
                decision.actions.push(event(
                    owner,
                    SOURCE,
                    "SuccessfulCreate",
                    format!("Created pod: {name}"),
                ));
            }
        }
    } else if active.len() > wanted {
        let mut ranked = rank(active, input.related);
        let (ready, created) =
            (Ages::new(active, Pod::ready_since), Ages::new(active, |p| Some(p.created())));
        let ages = |p: &Pod| (ready.of(p.ready_since(), input.now), created.of(Some(p.created()), input.now));
        ranked.sort_by(|(a, rank_a), (b, rank_b)| compare((a, *rank_a, ages(a)), (b, *rank_b, ages(b))));
        for (pod, _) in ranked.iter().take((active.len() - wanted).min(BURST)) {
            let message = format!("Deleted pod: {}", pod.name());
            decision.actions.push(Action::Delete(Target::of(&pod.object), None));
            decision.actions.push(event(&input.set.object, SOURCE, "SuccessfulDelete", message));
        }
    }
}

fn pod_name(input: &Inputs<'_>, ordinal: u64) -> String {
    let set = input.set;
    let (seed, ordinal) = (input.seed.to_string(), ordinal.to_string());
    let hash = names::hash(&[&seed, set.namespace(), set.name(), &ordinal]);
    // A name has 63 characters at most (`maxGeneratedNameLength` in apiserver/pkg/storage/names).
    let base: String = set.name().chars().take(57).collect();
    format!("{base}-{}", names::suffix(hash))
}

/// A pod from a template, owned by a workload, with the API server's defaults (`GetPodFromTemplate`).
///
/// # Errors
/// A template that holds no pod's spec.
pub fn new_pod<S, T>(owner: &View<S, T>, template: &Value, name: &str) -> Result<Object, Status> {
    let Some(spec) = template.get("spec").filter(|spec| spec.is_object()) else {
        return Err(Status::bad_request("the template has no spec"));
    };
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": owner.namespace(), "generateName": format!("{}-", owner.name())},
        "spec": spec,
    });
    defaults::complete_pod(&mut pod);
    let mut pod = Object::from_value(Kind::POD, pod)?;
    pod.meta.labels = template_map(template, "labels");
    pod.meta.annotations = template_map(template, "annotations");
    let finalizers = template.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
    pod.meta.finalizers = finalizers.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    pod.meta.owner_references = vec![owner.object.controller_reference()];
    Ok(pod)
}

/// Each pod with the number of active related pods on its node.
fn rank<'a>(active: &[&'a Pod], related: &[&Pod]) -> Vec<(&'a Pod, usize)> {
    let on = |node: &str| related.iter().filter(|p| p.active() && p.spec.node_name == node).count();
    active
        .iter()
        .map(|pod| (*pod, if pod.spec.node_name.is_empty() { 0 } else { on(&pod.spec.node_name) }))
        .collect()
}

/// A pod with its rank, and its age since it was ready and since it was created.
type Candidate<'a> = (&'a Pod, usize, (Age<'a>, Age<'a>));

/// Which of two pods goes first (`ActivePodsWithRanks.Less`); names decide where Kubernetes leaves it open.
fn compare((a, rank_a, age_a): Candidate<'_>, (b, rank_b, age_b): Candidate<'_>) -> Ordering {
    let phase = |p: &Pod| match p.status.phase.as_str() {
        "" | "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    a.spec
        .node_name
        .is_empty()
        .cmp(&b.spec.node_name.is_empty())
        .reverse()
        .then(phase(a).cmp(&phase(b)))
        .then(a.ready().cmp(&b.ready()))
        .then(deletion_cost(a).cmp(&deletion_cost(b)))
        .then(rank_b.cmp(&rank_a))
        .then(age_a.0.cmp(&age_b.0))
        .then(b.restarts().cmp(&a.restarts()))
        .then(age_a.1.cmp(&age_b.1))
        .then_with(|| a.name().cmp(b.name()))
}

/// Younger first, by powers of two; within one power by UID (`logarithmicRankDiff`). None for a pod without that time.
type Age<'a> = Option<(i64, &'a str)>;

/// Ages by one of the times of pods. Kubernetes compares UIDs only where the times differ, which is no order once more
/// than two pods are compared; here pods of the same time share the smallest of their UIDs.
struct Ages<'a>(BTreeMap<Timestamp, &'a str>);

impl<'a> Ages<'a> {
    fn new(pods: &[&'a Pod], time: impl Fn(&Pod) -> Option<Timestamp>) -> Self {
        let mut uids: BTreeMap<Timestamp, &'a str> = BTreeMap::new();
        for pod in pods {
            let Some(at) = time(pod) else { continue };
            let uid = uids.entry(at).or_insert(pod.uid());
            *uid = (*uid).min(pod.uid());
        }
        Self(uids)
    }

    fn of(&self, time: Option<Timestamp>, now: Timestamp) -> Age<'a> {
        let at = time?;
        let age = now.as_nanosecond() - at.as_nanosecond();
        let power = if age > 0 { i64::from(age.ilog2()) } else { -1 };
        Some((power, self.0.get(&at).copied().unwrap_or_default()))
    }
}

/// The annotation `controller.kubernetes.io/pod-deletion-cost`, 0 when absent or not a number.
fn deletion_cost(pod: &Pod) -> i32 {
    pod.meta()
        .annotations
        .get("controller.kubernetes.io/pod-deletion-cost")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn status(input: &Inputs<'_>, active: &[&Pod], terminating: i64) -> Map<String, Value> {
    let set = input.set;
    let labels = template_map(&set.spec.template, "labels");
    let count = |test: &dyn Fn(&Pod) -> bool| active.iter().filter(|p| test(p)).count() as i64;
    let mut status = Map::new();
    // `replicas` has no omitempty, and the terminating count is a pointer: both are there when zero.
    status.insert("replicas".into(), json!(active.len()));
    status.insert("terminatingReplicas".into(), json!(terminating));
    put_counts(
        &mut status,
        &[
            ("fullyLabeledReplicas", count(&|p| selects(&labels, &p.meta().labels))),
            ("readyReplicas", count(&|p| p.ready())),
            ("availableReplicas", count(&|p| p.available(set.spec.min_ready_seconds, input.now))),
            ("observedGeneration", i64::try_from(set.meta().generation).unwrap_or(0)),
        ],
    );
    let conditions: Vec<Value> = set
        .status
        .conditions
        .iter()
        .map(|c| {
            json!({"type": c.kind, "status": c.status, "reason": c.reason, "message": c.message,
               "lastTransitionTime": c.last_transition_time.map(stamp)})
        })
        .collect();
    if !conditions.is_empty() {
        status.insert("conditions".into(), Value::Array(conditions));
    }
    status
}

#[cfg(test)]
mod tests;
