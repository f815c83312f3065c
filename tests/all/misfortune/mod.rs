//! Bad luck: other people, other runs, a sick API server, rights withdrawn, a laptop that slept.

mod agents;
mod budgets;
mod by_hand;
mod chance;
mod crowd;
mod effects;
mod errors;
mod guardrails;
mod machines;
mod metrics;
mod outages;
mod owners;
mod people;
mod releases;
mod slow;
mod source;
mod traffic;
mod undo;
mod zones;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use firedrill::{
    cluster::{Access, JsonPatch, Write},
    engine::State,
    journal::{Entry, InjectOutcome, Record, RevertOutcome},
    types::ObjectRef,
};

use crate::kit::{Ran, Stage};

/// Calls `act` at the first record that `when` is true of.
pub fn once(
    when: impl Fn(&Record) -> bool + Send + Sync + 'static,
    act: impl Fn() + Send + Sync + 'static,
) -> impl Fn(&Entry) + Send + Sync + 'static {
    let done = AtomicBool::new(false);
    move |entry| {
        if when(&entry.record) && !done.swap(true, Ordering::Relaxed) {
            act();
        }
    }
}

/// Somebody at a keyboard: another client with a field manager of its own.
#[derive(Clone)]
pub struct Person(Access);

impl Person {
    pub fn of(stage: &Stage) -> Self {
        Self(Access::new(stage.cluster.sim().client()))
    }

    pub fn access(&self) -> &Access {
        &self.0
    }

    pub async fn patch(&self, object: &ObjectRef, sub: Option<&str>, patch: JsonPatch) {
        let how = Write { manager: "kubectl", dry_run: false };
        self.0.patch(object, sub, &patch, how).await.expect("a person may do that");
    }

    pub async fn scale(&self, name: &str, replicas: i32) {
        let deployment = ObjectRef::namespaced("apps/v1", "Deployment", "shop", name);
        self.patch(&deployment, Some("scale"), JsonPatch::new().add("/spec/replicas", replicas)).await;
    }

    pub async fn cordon(&self, name: &str) {
        let patch = JsonPatch::new().add("/spec/unschedulable", true);
        self.patch(&ObjectRef::node(name), None, patch).await;
        // The node's taint follows.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    pub async fn uncordon(&self, name: &str) {
        let patch = JsonPatch::new().remove("/spec/unschedulable");
        self.patch(&ObjectRef::node(name), None, patch).await;
    }

    pub async fn delete(&self, object: &ObjectRef) {
        let deleted = self.0.api(object).delete(&object.name, &kube::api::DeleteParams::default()).await;
        deleted.expect("a person may do that");
    }
}

/// How each injection came back, in the order of the journal.
pub fn reverts(entries: &[Entry]) -> Vec<RevertOutcome> {
    let outcomes = entries.iter().filter_map(|entry| match &entry.record {
        Record::Reverted { outcome, .. } => Some(*outcome),
        _ => None,
    });
    outcomes.collect()
}

/// What holds at the end of every run, whatever has happened to it: a pass has seen every effect, and the
/// journal alone says the same as the run did.
pub fn assert_sound(stage: &Stage, ran: &Ran, at: &str) {
    let Ok(outcome) = &ran.outcome else { return };
    let journal = stage.journal(&outcome.run);
    assert_eq!(journal, ran.entries, "{at}: what was told is what is written");
    let state = State::replay(&journal).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert!(state.finished, "{at}");
    assert_eq!(state.decided.as_ref().map(|(verdict, ..)| *verdict), Some(outcome.verdict), "{at}");
    let residue = state.all_reverted.clone().map(|(_, residue)| residue).unwrap_or_default();
    assert_eq!(residue, outcome.residue, "{at}");
    for (id, injection) in &state.injections {
        let named = residue.iter().any(|residue| residue.injection == *id);
        assert!(!injection.pending() || named, "{at}: {id} is neither back nor named");
        if outcome.verdict == firedrill::types::Verdict::Passed {
            let gone = injection.injected == Some(InjectOutcome::TargetGone);
            assert!(injection.seen.is_some() || gone, "{at}: a pass, and {id} was never seen in force");
            assert!(state.first_seen().is_some(), "{at}: a pass, and nothing was seen in force");
        }
    }
}

/// A place to put something for later.
pub type Shared<T> = Arc<std::sync::Mutex<T>>;
