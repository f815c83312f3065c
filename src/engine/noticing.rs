//! What the world does beside a run: pods that find their nodes, releases that are not ours, Guardrails, namespaces.

use jiff::Timestamp;

use super::{
    EngineError,
    deployed::{self, Releases},
    drive::Driver,
    injection::InjectionState,
    state::State,
};
use crate::{
    cluster::Snapshot,
    faults::{self, Injection},
    journal::{Record, StopReason},
};

impl Driver {
    /// Pods that have found their nodes again, a rollout that is not ours, a namespace that is going away.
    pub(super) fn world_changed(&mut self) -> Result<(), EngineError> {
        if let Some((reason, by)) = self.guardrails_changed() {
            return self.append(Record::StopRequested { reason, by });
        }
        let moves = |found: &InjectionState| {
            faults::of(&found.injection).is_none_or(|fault| !fault.info().agent)
                && faults::degraded(&found.injection).is_empty()
        };
        // Where no pod has left its node none comes back to one.
        let displaced =
            !self.state.rescheduled && self.state.faults().any(|found| found.seen.is_some() && moves(found));
        if displaced && !self.releases.is_empty() {
            let pending = self.state.injections.values().filter(|state| state.pending());
            let in_force: Vec<&Injection> = pending.map(|state| &state.injection).collect();
            let bound = |now: &Snapshot| deployed::all_bound(now, self.releases.keys(), &in_force);
            if self.world.mirror.look(bound) {
                self.append(Record::Rescheduled {})?;
            }
        }
        if self.state.stop.is_some() || self.state.method_ended.is_some() || self.state.first_intent.is_none()
        {
            return Ok(());
        }
        let back = |now: &Snapshot| deployed::brought_back(now, &self.releases, &self.state);
        let back =
            self.world.mirror.look(back).filter(|(injection, _)| !self.taking_back.contains(injection));
        if let Some((injection, revision)) = back {
            self.append(Record::BroughtBack { injection, revision })?;
        }
        let look = |now: &Snapshot| intruder(now, &self.state, &self.releases);
        if let Some((reason, by)) = self.world.mirror.look(look) {
            return self.append(Record::StopRequested { reason, by });
        }
        self.follow()
    }

    /// Why a run that goes on has to end, when the Guardrails have just changed.
    fn guardrails_changed(&mut self) -> Option<(StopReason, String)> {
        let over = self.state.stop.is_some() || self.state.method_ended.is_some();
        let guarding = self.guarding.as_mut().filter(|_| !over)?;
        let snapshot = self.world.mirror.look(|now| guarding.changed(now).then(|| now.clone()))?;
        self.forbidden(&snapshot, None)
    }

    /// Why nothing may be injected, by the Guardrails and the time that it is.
    pub(super) fn forbidden(
        &self,
        snapshot: &Snapshot,
        at: Option<Timestamp>,
    ) -> Option<(StopReason, String)> {
        let asked = (&self.state.spec, self.state.header.namespace.as_str());
        self.guarding.as_ref()?.forbids(asked, &self.bounds, snapshot, at)
    }
}

/// What somebody else does that makes the run prove nothing, or ends it.
fn intruder(snapshot: &Snapshot, state: &State, releases: &Releases) -> Option<(StopReason, String)> {
    for namespace in &state.header.namespaces {
        if snapshot.space(namespace).is_some_and(|space| space.terminating) {
            return Some((
                StopReason::NamespaceTerminating,
                format!("namespace {namespace} is being deleted"),
            ));
        }
    }
    let workload = deployed::rolled_out(snapshot, releases, state)?;
    Some((StopReason::RolloutNoticed, format!("a rollout of {workload} that is not ours has begun")))
}
