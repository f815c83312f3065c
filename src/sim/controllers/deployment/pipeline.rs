//! A delivery pipeline that takes a release back by itself, for Deployments whose annotation asks for one.
//!
//! Kubernetes itself only says that a rollout does not get on (`ProgressDeadlineExceeded`); undoing it is left to
//! whoever watches that condition, which then does what `kubectl rollout undo` does
//! (`DeploymentRollbacker` in `kubectl/pkg/polymorphichelpers/rollback.go`): the template of the newest former
//! ReplicaSet, without its hash, becomes the Deployment's again.

use std::time::Duration;

use serde_json::Value;

use super::{Sync, revision};
use crate::sim::annotations::{ROLLBACK_AFTER, duration, read};
use crate::sim::controllers::action::{Action, Target, event, warning};

/// Under which name the pipeline writes: that of the command which it calls.
const MANAGER: &str = "kubectl-rollout";
const SOURCE: &str = "delivery-pipeline";

impl Sync<'_> {
    /// Undoes the rollout when it has been stuck for as long as the annotation says.
    pub(super) fn roll_back(&mut self) {
        let annotations = &self.deployment.meta().annotations;
        let after = match read(annotations, ROLLBACK_AFTER, "a duration such as 5s or 1m30s", duration) {
            Ok(Some(after)) => after,
            Ok(None) => return,
            Err(error) => {
                self.events.push(warning(
                    &self.deployment.object,
                    SOURCE,
                    "InvalidAnnotation",
                    error.to_string(),
                ));
                return;
            }
        };
        let stuck = self.progressing().filter(|c| c.reason == "ProgressDeadlineExceeded");
        let Some(since) = stuck.and_then(|c| c.last_transition_time) else { return };
        let due = since.as_millisecond() + i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        let left = due.saturating_sub(self.input.now.as_millisecond());
        if left > 0 {
            self.again = Some(Duration::from_millis(left as u64));
            return;
        }
        let Some((template, former)) = self.former() else { return };
        let target = Target::of(&self.deployment.object);
        let message = format!("Rolled back to revision {former}: progress deadline exceeded");
        self.events.push(Action::Template(target, template, MANAGER));
        self.events.push(event(&self.deployment.object, SOURCE, "RolledBack", message));
    }

    /// The template of the newest revision but the present one, and its number.
    fn former(&self) -> Option<(Value, i64)> {
        let former = self.old().into_iter().filter_map(|index| self.sets[index].view);
        let newest = former.max_by_key(|view| revision::number(&view.meta().annotations))?;
        let mut template = newest.spec.template.clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove("pod-template-hash");
        }
        Some((template, revision::number(&newest.meta().annotations)))
    }
}
