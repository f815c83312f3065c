//! A Deployment's status: counts, and whether it is available and gets on.
//!
//! Source: `progress.go` and `calculateStatus` in `sync.go`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Sync;
use crate::sim::controllers::action::{put_counts, stamp};
use crate::sim::controllers::views::{Condition, condition};

/// Sums over all ReplicaSets.
struct Counts {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
    unavailable: i64,
    terminating: i64,
}

impl Sync<'_> {
    fn counts(&self) -> Counts {
        let sum = |field: &dyn Fn(&super::Set<'_>) -> i64| self.sets.iter().map(field).sum::<i64>();
        let available = sum(&|s| s.status.available_replicas);
        Counts {
            replicas: sum(&|s| s.status.replicas),
            updated: self.current.map_or(0, |i| self.sets[i].status.replicas),
            ready: sum(&|s| s.status.ready_replicas),
            available,
            unavailable: (self.total() - available).max(0),
            terminating: sum(&|s| s.status.terminating_replicas.unwrap_or(0)),
        }
    }

    /// Every replica is of the present template and available (`DeploymentComplete`).
    pub(super) fn complete(&self) -> bool {
        let (counts, wanted) = (self.counts(), self.deployment.replicas());
        counts.updated == wanted && counts.replicas == wanted && counts.available == wanted
    }

    pub(super) fn progressing(&self) -> Option<&Condition> {
        condition(&self.conditions, "Progressing")
    }

    /// `spec.progressDeadlineSeconds` is set; the largest int32 stands for none.
    pub(super) fn has_deadline(&self) -> bool {
        self.deployment.spec.progress_deadline_seconds.is_some_and(|s| s != i64::from(i32::MAX))
    }

    pub(super) fn set_progressing(&mut self, status: &str, reason: &str, message: String) {
        self.set_condition("Progressing", status, (reason, message));
    }

    /// `SetDeploymentCondition`: nothing changes while status and reason stay; the transition time stays while the
    /// status does.
    fn set_condition(&mut self, kind: &str, status: &str, (reason, message): (&str, String)) {
        let old = condition(&self.conditions, kind);
        if old.is_some_and(|c| c.status == status && c.reason == reason) {
            return;
        }
        let since = old.filter(|c| c.status == status).and_then(|c| c.last_transition_time);
        let new = Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since.or(Some(self.input.now)),
            last_update_time: Some(self.input.now),
        };
        self.conditions.retain(|c| c.kind != kind);
        self.conditions.push(new);
    }

    /// A pause stops the clock of the progress deadline (`checkPausedConditions`).
    pub(super) fn note_pause(&mut self) {
        if !self.has_deadline() {
            return;
        }
        let reason = self.progressing().map(|c| c.reason.clone()).unwrap_or_default();
        if reason == "ProgressDeadlineExceeded" {
            return;
        }
        let (paused, noted) = (self.deployment.spec.paused, reason == "DeploymentPaused");
        if paused && !noted {
            self.set_progressing("Unknown", "DeploymentPaused", "Deployment is paused".into());
        } else if !paused && noted {
            self.set_progressing("Unknown", "DeploymentResumed", "Deployment is resumed".into());
        }
    }

    /// Complete, progressing, or stuck for longer than the deadline (`syncRolloutStatus`).
    pub(super) fn note_progress(&mut self) {
        if !self.has_deadline() {
            self.conditions.retain(|c| c.kind != "Progressing");
            return;
        }
        let counts = self.counts();
        let done = self.progressing().is_some_and(|c| c.reason == "NewReplicaSetAvailable");
        if done && counts.replicas == counts.updated {
            return;
        }
        let what = match self.current {
            Some(index) => format!("ReplicaSet {:?}", self.sets[index].name),
            None => format!("Deployment {:?}", self.deployment.name()),
        };
        let old = &self.deployment.status;
        let moved = counts.updated > old.updated_replicas
            || counts.replicas - counts.updated < old.replicas - old.updated_replicas
            || counts.ready > old.ready_replicas
            || counts.available > old.available_replicas;
        if self.complete() {
            self.set_progressing(
                "True",
                "NewReplicaSetAvailable",
                format!("{what} has successfully progressed."),
            );
        } else if moved {
            // The update time moves even when the condition is the same one.
            let since =
                self.progressing().filter(|c| c.status == "True").and_then(|c| c.last_transition_time);
            self.conditions.retain(|c| c.kind != "Progressing");
            self.set_progressing("True", "ReplicaSetUpdated", format!("{what} is progressing."));
            if let (Some(since), Some(last)) = (since, self.conditions.last_mut()) {
                last.last_transition_time = Some(since);
            }
        } else if let Some(left) = self.left_of_deadline() {
            if left < 0 {
                self.set_progressing(
                    "False",
                    "ProgressDeadlineExceeded",
                    format!("{what} has timed out progressing."),
                );
            } else {
                // `requeueStuckDeployment` looks again a second after the deadline.
                self.again = Some(Duration::from_millis(left as u64 + 1000));
            }
        }
    }

    /// Milliseconds until the progress deadline; `None` when it does not run.
    fn left_of_deadline(&self) -> Option<i64> {
        let progressing = self.progressing()?;
        if matches!(progressing.reason.as_str(), "NewReplicaSetAvailable" | "ProgressDeadlineExceeded") {
            return None;
        }
        let seconds = self.deployment.spec.progress_deadline_seconds?;
        let from = progressing.last_update_time?.as_millisecond();
        Some(from + seconds.saturating_mul(1000) - self.input.now.as_millisecond())
    }

    /// `status` as JSON.
    pub(super) fn status(&mut self) -> Value {
        let counts = self.counts();
        let enough = counts.available >= self.deployment.replicas() - self.unavailable();
        if enough {
            let message = "Deployment has minimum availability.".to_owned();
            self.set_condition("Available", "True", ("MinimumReplicasAvailable", message));
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            self.set_condition("Available", "False", ("MinimumReplicasUnavailable", message));
        }
        let mut status = Map::new();
        put_counts(
            &mut status,
            &[
                ("observedGeneration", i64::try_from(self.deployment.meta().generation).unwrap_or(0)),
                ("replicas", counts.replicas),
                ("updatedReplicas", counts.updated),
                ("readyReplicas", counts.ready),
                ("availableReplicas", counts.available),
                ("unavailableReplicas", counts.unavailable),
            ],
        );
        // A pointer in Go, so that zero is there.
        status.insert("terminatingReplicas".into(), json!(counts.terminating));
        if let Some(collisions) = self.deployment.status.collision_count {
            status.insert("collisionCount".into(), json!(collisions));
        }
        let conditions: Vec<Value> = self.conditions.iter().map(|c| json!({
            "type": c.kind, "status": c.status, "reason": c.reason, "message": c.message,
            "lastUpdateTime": c.last_update_time.map(stamp), "lastTransitionTime": c.last_transition_time.map(stamp),
        })).collect();
        status.insert("conditions".into(), Value::Array(conditions));
        Value::Object(status)
    }
}
