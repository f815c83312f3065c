//! Deployments: a ReplicaSet per template, and the way from one to the next.
//!
//! Source: `pkg/controller/deployment` (`deployment_controller.go`, `sync.go`, `rolling.go`, `recreate.go`) v1.36.
//! The whole sync is one pure function over the Deployment and its ReplicaSets.

mod conditions;
mod pipeline;
mod revision;
mod rolling;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::action::{Action, Decision, Target, event};
use super::views::{Condition, Deployment, Pod, ReplicaSet, ReplicaSetStatus};
pub use rolling::fenceposts;

const SOURCE: &str = "deployment-controller";
/// Which rollout of its Deployment a ReplicaSet, and the Deployment itself, is at.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// What a Deployment's next step depends on.
pub struct Inputs<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// Its ReplicaSets.
    pub sets: &'a [&'a ReplicaSet],
    /// The pods of those, each with its ReplicaSet's UID as controller.
    pub pods: &'a [&'a Pod],
    /// The cluster's time.
    pub now: Timestamp,
}

/// A ReplicaSet while a sync works on it.
#[derive(Debug, Clone)]
struct Set<'a> {
    /// As stored; `None` for one that this sync creates.
    view: Option<&'a ReplicaSet>,
    name: String,
    replicas: i64,
    status: ReplicaSetStatus,
    created: Timestamp,
    annotations: BTreeMap<String, String>,
    min_ready_seconds: i64,
}

impl<'a> Set<'a> {
    fn of(view: &'a ReplicaSet) -> Self {
        Self {
            view: Some(view),
            name: view.name().to_owned(),
            replicas: view.replicas(),
            status: (*view.status).clone(),
            created: view.created(),
            annotations: view.meta().annotations.clone(),
            min_ready_seconds: view.spec.min_ready_seconds,
        }
    }

    fn uid(&self) -> &str {
        self.view.map_or("", |v| v.uid())
    }
}

/// One sync in progress.
struct Sync<'a> {
    input: &'a Inputs<'a>,
    deployment: &'a Deployment,
    sets: Vec<Set<'a>>,
    /// Index of the ReplicaSet with the present template.
    current: Option<usize>,
    conditions: Vec<Condition>,
    revision: Option<String>,
    events: Vec<Action>,
    deletes: Vec<Action>,
    again: Option<Duration>,
}

/// One sync of a Deployment (`syncDeployment`).
#[must_use]
pub fn decide(input: &Inputs<'_>) -> Decision {
    let deployment = input.deployment;
    let mut sets: Vec<Set<'_>> = input.sets.iter().map(|s| Set::of(s)).collect();
    sets.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
    let mut sync = Sync {
        input,
        deployment,
        sets,
        current: None,
        conditions: deployment.status.conditions.clone(),
        revision: None,
        events: Vec::new(),
        deletes: Vec::new(),
        again: None,
    };
    if deployment.terminating() {
        sync.find_current(false);
        return sync.finish();
    }
    sync.note_pause();
    if deployment.spec.paused || sync.is_scaling() {
        sync.find_current(false);
        sync.scale();
        if deployment.spec.paused {
            sync.forget_old();
        }
    } else if deployment.spec.strategy.kind == "Recreate" {
        sync.recreate();
        sync.note_progress();
        sync.roll_back();
    } else {
        sync.roll();
        sync.note_progress();
        sync.roll_back();
    }
    sync.finish()
}

impl<'a> Sync<'a> {
    /// Indices of the ReplicaSets that are not the current one.
    fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|i| Some(*i) != self.current).collect()
    }

    /// Sum of the replicas asked for.
    fn total(&self) -> i64 {
        self.sets.iter().map(|s| s.replicas).sum()
    }

    /// The number of replicas changed since the ReplicaSets were last scaled (`isScalingEvent`).
    fn is_scaling(&self) -> bool {
        self.sets.iter().filter(|s| s.replicas > 0).any(|s| {
            s.annotations
                .get(DESIRED)
                .and_then(|t| t.parse::<i64>().ok())
                .is_some_and(|n| n != self.deployment.replicas())
        })
    }

    /// Recreate: all old pods are gone before the first new one (`rolloutRecreate`).
    fn recreate(&mut self) {
        self.find_current(false);
        let mut scaled = false;
        for index in self.old() {
            scaled |= self.resize(index, 0);
        }
        let current = self.current.map(|i| self.sets[i].uid().to_owned());
        let old_running = self
            .input
            .pods
            .iter()
            .any(|pod| !pod.finished() && pod.controller().map(|o| o.uid.as_str()) != current.as_deref());
        if scaled || old_running {
            return;
        }
        self.find_current(true);
        if let Some(index) = self.current {
            self.resize(index, self.deployment.replicas());
        }
        if self.complete() {
            self.forget_old();
        }
    }

    /// Asks a ReplicaSet for that many pods; says whether that is a change (`scaleReplicaSet`).
    fn resize(&mut self, index: usize, replicas: i64) -> bool {
        let (desired, max) = (self.deployment.replicas(), self.deployment.replicas() + self.surge());
        let set = &mut self.sets[index];
        let before = set.replicas;
        set.annotations.insert(DESIRED.into(), desired.to_string());
        set.annotations.insert(MAX.into(), max.to_string());
        set.replicas = replicas;
        if before == replicas {
            return false;
        }
        let direction = if replicas > before { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {before} to {replicas}", set.name);
        self.events.push(event(&self.deployment.object, SOURCE, "ScalingReplicaSet", message));
        true
    }

    /// Old ReplicaSets without pods beyond `revisionHistoryLimit` go, oldest first (`cleanupDeployment`).
    fn forget_old(&mut self) {
        let Some(limit) = self.deployment.spec.revision_history_limit else { return };
        let alive: Vec<&ReplicaSet> =
            self.old().into_iter().filter_map(|i| self.sets[i].view).filter(|v| !v.terminating()).collect();
        let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut by_revision = alive;
        by_revision.sort_by_key(|v| revision::number(&v.meta().annotations));
        for view in by_revision.into_iter().take(surplus) {
            let observed =
                u64::try_from(view.status.observed_generation).unwrap_or(0) >= view.meta().generation;
            if view.status.replicas == 0 && view.replicas() == 0 && observed {
                self.deletes.push(Action::Delete(Target::of(&view.object), None));
            }
        }
    }

    /// The writes: ReplicaSets that changed, then the Deployment's revision and status.
    fn finish(mut self) -> Decision {
        let mut actions = Vec::new();
        for set in &self.sets {
            let Some(view) = set.view else {
                actions.extend(revision::new_set(self.deployment, set).map(Action::Create));
                continue;
            };
            let mut patch = json!({});
            if set.replicas != view.replicas() {
                patch["spec"]["replicas"] = json!(set.replicas);
            }
            if set.min_ready_seconds != view.spec.min_ready_seconds {
                patch["spec"]["minReadySeconds"] = json!(set.min_ready_seconds);
            }
            if set.annotations != view.meta().annotations {
                let mut annotations = json!(set.annotations);
                for gone in view.meta().annotations.keys().filter(|k| !set.annotations.contains_key(*k)) {
                    annotations[gone] = Value::Null;
                }
                patch["metadata"]["annotations"] = annotations;
            }
            if patch != json!({}) {
                actions.push(Action::Merge(Target::of(&view.object), patch));
            }
        }
        let target = Target::of(&self.deployment.object);
        if let Some(revision) = &self.revision
            && self.deployment.meta().annotations.get(REVISION) != Some(revision)
        {
            actions.push(Action::Merge(
                target.clone(),
                json!({"metadata": {"annotations": {REVISION: revision}}}),
            ));
        }
        let status = self.status();
        if status != self.deployment.object.field::<Value>("status").unwrap_or_default() {
            actions.push(Action::Status(target, status));
        }
        actions.append(&mut self.deletes);
        actions.append(&mut self.events);
        Decision { actions, again: self.again }
    }
}

#[cfg(test)]
mod tests;
