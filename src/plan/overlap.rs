//! Two steps that would hold one field of one object at the same time.
//!
//! What is put back is what was there before. With two changes of one field in force, the later one's before is
//! the earlier one's doing: put back in whatever order, the object does not end as it began.

use std::time::Duration;

use super::StepAsk;
use crate::{
    api::{Action, Step},
    faults::{self, FaultInfo, Injection},
    types::{
        Finding, ObjectRef,
        codes::{guard as code, on_node},
    },
};

/// What is in force when a step begins, as far as it can be told beforehand.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) injection: Injection,
    /// How much longer at the most; None: until it is reverted, or the method ends.
    left: Option<Duration>,
}

/// Everything that is held between one step and the next.
#[derive(Debug, Default)]
pub(super) struct InForce(Vec<Held>);

impl InForce {
    /// A step in the background has begun.
    pub(super) fn begin(&mut self, injections: Vec<Injection>, duration: Option<Duration>) {
        self.0.extend(injections.into_iter().map(|injection| Held { injection, left: duration }));
    }

    /// A step is put back.
    pub(super) fn revert(&mut self, step: &str) {
        self.0.retain(|held| held.injection.id.step() != step);
    }

    /// `step` is over: what had no longer to last than it takes at the least is over too.
    pub(super) fn pass(&mut self, step: &Step) {
        let took = at_least(step);
        for held in &mut self.0 {
            held.left = held.left.map(|left| left.saturating_sub(took));
        }
        self.0.retain(|held| held.left != Some(Duration::ZERO));
    }

    pub(super) fn injections(&self) -> Vec<&Injection> {
        self.0.iter().map(|held| &held.injection).collect()
    }
}

/// What passes at the least before the step after this one begins.
fn at_least(step: &Step) -> Duration {
    match &step.action {
        Action::Wait(length) => *length,
        Action::Check(check) => check.hold.0,
        Action::Fault { .. } | Action::Load(_) if !step.background => step.duration.unwrap_or_default(),
        Action::Fault { .. } | Action::Load(_) | Action::Revert(_) | Action::Manual(_) => Duration::ZERO,
    }
}

/// The injection in force that holds a field of `target`, or of what scales it, which `info` writes too.
pub(super) fn holder<'a>(
    ask: &StepAsk<'a>,
    info: &FaultInfo,
    target: &ObjectRef,
) -> Option<(&'a Injection, &'static str)> {
    let snapshot = ask.setting.snapshot;
    let concerns = |injection: &Injection| {
        let workload = snapshot.workload_of(&injection.target);
        injection.target == *target
            || faults::degraded(injection).contains(target)
            || workload.is_some_and(|workload| workload.object == *target)
    };
    ask.in_force.iter().filter(|injection| concerns(injection)).find_map(|injection| {
        let held = faults::find(&injection.fault)?.info().writes;
        let field = info.writes.iter().find(|field| held.contains(field))?;
        Some((*injection, *field))
    })
}

/// That steps of the same run hold what this one would change.
pub(super) fn findings(ask: &StepAsk<'_>, info: &FaultInfo, targets: &[ObjectRef]) -> Vec<Finding> {
    let held = targets.iter().filter_map(|target| {
        let (injection, field) = holder(ask, info, target)?;
        let (first, second) = (injection.id.step(), ask.step);
        let message = format!(
            "step {second} would change its {field} while step {first} holds it, and neither could be put back to what was there before"
        );
        Some(Finding::error(code::SAME_FIELD, target, message).remedy(format!(
            "put `revert: {first}` before {second}, or give {first} a duration that is over by then"
        )))
    });
    held.chain(unseen(ask, info, targets)).collect()
}

/// That what this step does to the network of a pod could not be seen, for another one swallows the round trips.
fn unseen(ask: &StepAsk<'_>, info: &FaultInfo, targets: &[ObjectRef]) -> Vec<Finding> {
    if !info.agent || info.lifetime == faults::Lifetime::Instant {
        return Vec::new();
    }
    let hidden = targets.iter().filter_map(|target| {
        let hides = |injection: &&&Injection| {
            injection.target == *target
                && faults::find(&injection.fault).is_some_and(|fault| fault.hides(injection, ask.params))
        };
        let first = ask.in_force.iter().find(hides)?.id.step();
        let message = format!(
            "step {first} lets no round trip with its agent through then, and this one could not be seen in any"
        );
        Some(
            Finding::error(on_node::UNSEEN, target, message).remedy(format!(
                "put `revert: {first}` before {}, or have the two hit different ports or pods",
                ask.step
            )),
        )
    });
    hidden.collect()
}
