//! The Guardrails while a run goes on: seen anew whenever they change, and asked before each injection. Pure.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    api::{ExperimentSpec, Guardrail},
    cluster::{Key, Snapshot},
    journal::StopReason,
    plan::{Begun, Bounds, Granted, Overruled, overruled},
};

/// Guardrails as they were seen last.
pub(super) struct Guarding {
    granted: Granted,
    /// Held so that a change of it shows.
    seen: Arc<BTreeMap<Key, Arc<Value>>>,
    /// The same, read; Err: one of them cannot be.
    read: Result<Vec<Guardrail>, String>,
}

impl Guarding {
    /// From what the run begins with.
    pub(super) fn new(snapshot: &Snapshot, granted: Granted) -> Self {
        let seen = snapshot.guardrails.clone();
        Self { granted, read: read(&seen), seen }
    }

    /// Takes in what the Guardrails are now. Says whether they have changed.
    pub(super) fn changed(&mut self, snapshot: &Snapshot) -> bool {
        if Arc::ptr_eq(&self.seen, &snapshot.guardrails) {
            return false;
        }
        self.seen = snapshot.guardrails.clone();
        self.read = read(&self.seen);
        true
    }

    /// Why the run may not go on, or, with `at`, may not inject anything then.
    pub(super) fn forbids(
        &self,
        (spec, namespace): (&ExperimentSpec, &str),
        bounds: &Bounds,
        snapshot: &Snapshot,
        at: Option<Timestamp>,
    ) -> Option<(StopReason, String)> {
        let guardrails = match &self.read {
            Ok(guardrails) => guardrails,
            Err(why) => return Some((StopReason::GuardrailChanged, why.clone())),
        };
        let begun = Begun { spec, namespace, bounds, granted: &self.granted };
        overruled(begun, snapshot, guardrails, at).map(|overruled| match overruled {
            Overruled::Halted(by) => (StopReason::Halted, by),
            Overruled::Changed(by) => (StopReason::GuardrailChanged, by),
        })
    }
}

/// One that cannot be read forbids everything.
fn read(seen: &BTreeMap<Key, Arc<Value>>) -> Result<Vec<Guardrail>, String> {
    seen.iter().map(|((_, name), value)| decoded(name, value)).collect()
}

/// One Guardrail; Err: why it cannot be read.
pub(super) fn decoded(name: &str, value: &Value) -> Result<Guardrail, String> {
    Guardrail::from_value(value).map_err(|error| format!("Guardrail {name} cannot be read: {error}"))
}
