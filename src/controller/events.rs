//! Kubernetes Events: on the Run, and on what it changes. They tell, and nothing waits for them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use super::object::MANAGER;
use crate::{
    cluster::Access,
    env::Clock,
    journal::{Entry, InjectOutcome, Record},
    types::{InjectionId, ObjectRef, RunId, Verdict, counted},
};

/// On so many objects that a run changes: more would be noise, and load.
const OBJECTS: usize = 100;
/// The longest note that the API server takes is 1 KiB (core/v1, validation of events); a character may take four bytes.
const WORDS: usize = 250;

/// An Event before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub on: ObjectRef,
    pub warning: bool,
    pub reason: String,
    pub words: String,
}

impl Told {
    /// Writes it, beside whatever else there is to be done.
    pub(super) fn send(self, access: &Access, clock: &Clock) {
        // Of what has no namespace they are in `default`, as those of Kubernetes are.
        let namespace = if self.on.namespace.is_empty() { "default" } else { &self.on.namespace };
        let api: Api<Event> = Api::namespaced(access.client().clone(), namespace);
        let event = event(&self, namespace, Time(clock.now()));
        let access = access.clone();
        tokio::spawn(async move {
            if let Err(error) = access.read(api.create(&PostParams::default(), &event)).await {
                tracing::debug!(on = %self.on, %error, "an Event could not be written");
            }
        });
    }
}

/// Tells of one run.
#[derive(Clone)]
pub(super) struct Events {
    access: Access,
    clock: Clock,
    run: ObjectRef,
    id: RunId,
    by: String,
    targets: Arc<Mutex<BTreeMap<InjectionId, ObjectRef>>>,
}

impl Events {
    /// About a Run, with the controller's own rights; `by`: who asked for it.
    pub(super) fn new(access: &Access, clock: &Clock, (run, id): (&ObjectRef, &RunId), by: &str) -> Self {
        Self {
            access: access.beside(),
            clock: clock.clone(),
            run: run.clone(),
            id: id.clone(),
            by: by.to_owned(),
            targets: Arc::default(),
        }
    }

    /// Takes in one more record of the run.
    pub(super) fn on(&self, entry: &Entry) {
        for told in self.told(&entry.record) {
            told.send(&self.access, &self.clock);
        }
    }

    fn told(&self, record: &Record) -> Vec<Told> {
        let of_run = |warning, reason: &str, words: String| {
            vec![Told { on: self.run.clone(), warning, reason: reason.to_owned(), words }]
        };
        match record {
            Record::RunStarted(header) => of_run(
                false,
                "Started",
                format!("run {}, acting as {}, seed {}", self.id, header.by, header.seed),
            ),
            Record::BaselineHeld { .. } => of_run(false, "BaselineHeld", "the steady state holds".to_owned()),
            Record::InjectIntended { step, injections } => {
                let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
                let room = OBJECTS.saturating_sub(targets.len());
                let new = injections.iter().take(room);
                targets.extend(new.map(|injection| (injection.id.clone(), injection.target.clone())));
                of_run(false, "Injecting", format!("step {step}: {}", counted(injections.len(), "target")))
            }
            Record::Injected { injection, outcome: InjectOutcome::Done, detail } => {
                let words = format!(
                    "{detail}, by run {} of {}; firedrill report --controller {}",
                    self.id, self.by, self.run.name
                );
                self.of_target(injection, "Disturbed", words)
            }
            Record::Reverted { injection, detail, .. } => {
                self.of_target(injection, "PutBack", format!("{detail}, by run {}", self.id))
            }
            Record::Violated { probe, .. } => {
                of_run(true, "Violated", format!("{probe} is outside what the hypothesis allows"))
            }
            Record::StopRequested { reason, by } => {
                of_run(true, &format!("{reason:?}"), format!("it ends early: {by}"))
            }
            Record::OwnerChanged { holder, goes_on, .. } => {
                let then = if *goes_on { "it goes on" } else { "everything is put back" };
                of_run(true, "TakenOver", format!("by {holder}; {then}"))
            }
            Record::RevertFailed { injection, error, attempt, .. } if *attempt == 1 || *attempt % 10 == 0 => {
                of_run(true, "RevertFailed", format!("{injection}: {error}; tried again"))
            }
            Record::Finished { verdict, residue, .. } => {
                let words = format!("{verdict}, {} left behind", counted(residue.len(), "change"));
                of_run(*verdict != Verdict::Passed || !residue.is_empty(), "Finished", words)
            }
            _ => Vec::new(),
        }
    }

    /// Pods that are killed are gone: of them there is nothing to tell.
    fn of_target(&self, injection: &InjectionId, reason: &str, words: String) -> Vec<Told> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let target = targets.get(injection).filter(|target| target.kind != "Pod");
        let told = |target: &ObjectRef| Told {
            on: target.clone(),
            warning: false,
            reason: reason.to_owned(),
            words,
        };
        target.map(told).into_iter().collect()
    }
}

fn event(told: &Told, namespace: &str, now: Time) -> Event {
    let on = &told.on;
    let words: String = told.words.chars().take(WORDS).collect();
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}.", on.name.chars().take(200).collect::<String>())),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(on.api_version.clone()),
            kind: Some(on.kind.clone()),
            name: Some(on.name.clone()),
            namespace: Some(on.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            uid: Some(on.uid.clone()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        },
        type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(told.reason.clone()),
        message: Some(words),
        source: Some(EventSource { component: Some(MANAGER.to_owned()), host: None }),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        ..Event::default()
    }
}
