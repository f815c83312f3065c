//! Kubernetes Events: on the Run, and on what it changes. They tell, and nothing waits for them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tokio::sync::{Notify, mpsc};
use tracing::Instrument as _;

use super::object::MANAGER;
use crate::{
    cluster::Access,
    env::Clock,
    faults::{self, Injection},
    journal::{Entry, InjectOutcome, Loss, Record},
    types::{InjectionId, ObjectRef, RunId, Verdict, counted},
};

/// On so many objects that a run changes, and on as many whose pods it takes: more would be noise, and load.
const OBJECTS: usize = 100;
/// The longest note that the API server takes is 1 KiB (core/v1, validation of events); a character may take four bytes.
const WORDS: usize = 250;
/// How long what is told of targets and owners waits for what is done to them: an Event is a write like that, and as many
/// of both at once take twice as long.
const BEHIND: Duration = Duration::from_secs(1);

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
        let event = self.at(clock);
        tokio::spawn(write(access.clone(), event).in_current_span());
    }

    /// As of now. Of what has no namespace they are in `default`, as those of Kubernetes are.
    fn at(&self, clock: &Clock) -> Event {
        let namespace = if self.on.namespace.is_empty() { "default" } else { &self.on.namespace };
        event(self, namespace, Time(clock.now()))
    }
}

async fn write(access: Access, event: Event) {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(access.client().clone(), namespace);
    if let Err(error) = access.read(api.create(&PostParams::default(), &event)).await {
        let on = event.involved_object.name.unwrap_or_default();
        tracing::debug!(on, %error, "an Event could not be written");
    }
}

/// Writes Events one after another, behind what they tell of; to its end when nobody tells any more.
async fn write_behind(access: Access, mut told: mpsc::UnboundedReceiver<Event>, hurry: Arc<Notify>) {
    while let Some(first) = told.recv().await {
        let _ = tokio::time::timeout(BEHIND, hurry.notified()).await;
        let mut next = Some(first);
        while let Some(event) = next {
            write(access.clone(), event).await;
            next = told.try_recv().ok();
        }
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
    /// Those on all but the Run.
    behind: mpsc::UnboundedSender<Event>,
    /// Everything is back: nothing is left to wait for.
    hurry: Arc<Notify>,
    /// How many owners of pods were told.
    bereft: Arc<Mutex<usize>>,
}

impl Events {
    /// About a Run, with the controller's own rights; `by`: who asked for it.
    pub(super) fn new(access: &Access, clock: &Clock, (run, id): (&ObjectRef, &RunId), by: &str) -> Self {
        let (behind, told) = mpsc::unbounded_channel();
        let hurry = Arc::<Notify>::default();
        tokio::spawn(write_behind(access.beside(), told, hurry.clone()).in_current_span());
        Self {
            access: access.beside(),
            clock: clock.clone(),
            run: run.clone(),
            id: id.clone(),
            by: by.to_owned(),
            targets: Arc::default(),
            behind,
            hurry,
            bereft: Arc::default(),
        }
    }

    /// Takes in one more record of the run.
    pub(super) fn on(&self, entry: &Entry) {
        for told in self.told(&entry.record) {
            match told.on == self.run {
                true => told.send(&self.access, &self.clock),
                // Who writes them lives as long as this.
                false => drop(self.behind.send(told.at(&self.clock))),
            }
        }
        if matches!(entry.record, Record::AllReverted { .. }) {
            self.hurry.notify_one();
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
            Record::InjectIntended { step, injections, owners } => {
                self.follow(injections);
                let words = format!("step {step}: {}", counted(injections.len(), "target"));
                let mut told = of_run(false, "Injecting", words);
                told.extend(self.of_owners(step, owners));
                told
            }
            Record::Injected { injection, outcome: InjectOutcome::Done, detail } => {
                let words = format!("{detail}, {}", self.signed());
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

    /// Who did it, and how to see what it was for.
    fn signed(&self) -> String {
        let ObjectRef { name, namespace, .. } = &self.run;
        format!("by run {} of {}; firedrill report --controller {name} -n {namespace}", self.id, self.by)
    }

    /// Remembers whom to tell of: a pod that is taken away is gone, and whoever made it is told.
    fn follow(&self, injections: &[Injection]) {
        let stays = |injection: &&Injection| {
            let agent = || faults::find(&injection.fault).is_some_and(|fault| fault.info().agent);
            injection.target.kind != "Pod" || agent()
        };
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OBJECTS.saturating_sub(targets.len());
        let new = injections.iter().filter(stays).take(room);
        targets.extend(new.map(|injection| (injection.id.clone(), injection.target.clone())));
    }

    /// Those whose pods are taken, as soon as that is certain enough to be undone: an abort may spare some of them.
    fn of_owners(&self, step: &str, owners: &[Loss]) -> Vec<Told> {
        let mut bereft = self.bereft.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OBJECTS.saturating_sub(*bereft);
        let told = owners.iter().take(room).map(|Loss { owner, pods }| Told {
            on: owner.clone(),
            warning: false,
            reason: "LosesPods".to_owned(),
            words: format!("{} at step {step}, {}", counted(*pods as usize, "pod"), self.signed()),
        });
        let told: Vec<Told> = told.collect();
        *bereft += told.len();
        told
    }

    fn of_target(&self, injection: &InjectionId, reason: &str, words: String) -> Vec<Told> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let target = targets.get(injection);
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
            api_version: Some(on.api_version.clone()).filter(|version| !version.is_empty()),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        journal::RevertOutcome,
        sim::{SimConfig, cluster::Cluster},
        types::{Epoch, Length},
    };

    fn injection(number: usize, fault: &str, target: ObjectRef) -> Injection {
        Injection {
            id: InjectionId::new("hit", number),
            fault: fault.to_owned(),
            target,
            action: json!({}),
            before: json!({}),
            displaced: Vec::new(),
            replicas_lost: 0,
            effect_within: Length::default(),
            until: jiff::Timestamp::MAX,
        }
    }

    fn events() -> Events {
        events_in(&Cluster::start(&SimConfig::default(), &[]).expect("it starts"))
    }

    fn events_in(cluster: &Cluster) -> Events {
        let run = ObjectRef::namespaced("firedrill.dev/v1alpha1", "Run", "shop", "trial-1").with_uid("u-1");
        let id = RunId::new("trial-1", 1);
        let clock = Clock::starting_at(cluster.now());
        Events::new(&Access::new(cluster.sim().client()), &clock, (&run, &id), "ada")
    }

    fn intended(injections: Vec<Injection>, owners: Vec<Loss>) -> Record {
        Record::InjectIntended { step: "hit".to_owned(), injections, owners }
    }

    /// Thousands of targets are no reason to tell thousands of objects.
    #[tokio::test]
    async fn so_many_are_told_and_no_more() {
        let events = events();
        let workload =
            |number| ObjectRef::namespaced("apps/v1", "Deployment", "shop", &format!("web-{number}"));
        let scaled = (0..6000).map(|number| injection(number, "scale", workload(number))).collect();
        let owners =
            |from| (from..from + 80).map(|number| Loss { owner: workload(number), pods: 3 }).collect();
        assert_eq!(events.told(&intended(scaled, owners(0))).len(), 1 + 80);
        assert_eq!(events.told(&intended(Vec::new(), owners(80))).len(), 1 + 20);
        assert_eq!(events.told(&intended(Vec::new(), owners(160))).len(), 1);
        let done = |number| Record::Injected {
            injection: InjectionId::new("hit", number),
            outcome: InjectOutcome::Done,
            detail: "4 -> 1".to_owned(),
        };
        let told = (0..6000).map(|number| events.told(&done(number)).len()).sum::<usize>();
        assert_eq!(told, OBJECTS);
    }

    /// Of a hundred targets at once nobody waits for the Events: they come when everything is back.
    #[tokio::test(start_paused = true)]
    async fn what_is_told_of_targets_comes_after_what_is_done_to_them() {
        let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let cluster = Cluster::start(&SimConfig::default(), &[shop]).expect("it starts");
        let events = events_in(&cluster);
        let written = || {
            let (objects, _) = cluster.sim().store().list_and_subscribe_everything();
            let events = objects.iter().filter(|object| object.kind.kind.as_ref() == "Event");
            events.filter(|event| event.to_value()["source"]["component"] == MANAGER).count()
        };
        let on = |record| events.on(&Entry { seq: 0, at: jiff::Timestamp::MIN, epoch: Epoch(1), record });
        let nodes =
            (0..100).map(|number| injection(number, "nodeCordon", ObjectRef::node(&format!("n{number}"))));
        on(intended(nodes.collect(), Vec::new()));
        let reverted = |number| Record::Reverted {
            injection: InjectionId::new("hit", number),
            outcome: RevertOutcome::Restored,
            detail: "open again".to_owned(),
            met: None,
        };
        (0..100).for_each(|number| on(reverted(number)));
        tokio::time::sleep(BEHIND / 2).await;
        assert_eq!(written(), 1, "that of the Run");
        on(Record::AllReverted { residue: Vec::new() });
        tokio::time::sleep(BEHIND / 4).await;
        assert!(written() > 1, "they have begun to come");
        tokio::time::sleep(BEHIND).await;
        assert_eq!(written(), 101);
        // And without that word, in a moment.
        on(reverted(0));
        tokio::time::sleep(BEHIND * 2).await;
        assert_eq!(written(), 102);
    }

    /// A pod that runs on is told of what is done to it; one that is taken away is gone.
    #[tokio::test]
    async fn a_pod_is_told_of_what_it_lives_through() {
        let events = events();
        let pod = |name| ObjectRef::pod("shop", name);
        let (slow, killed) = (injection(0, "networkLatency", pod("a")), injection(1, "podKill", pod("b")));
        events.told(&intended(vec![slow, killed], Vec::new()));
        let done = |number| {
            let (injection, detail) = (InjectionId::new("hit", number), "done".to_owned());
            events.told(&Record::Injected { injection, outcome: InjectOutcome::Done, detail })
        };
        let told = done(0);
        assert_eq!((told.len(), told[0].on.name.as_str(), told[0].reason.as_str()), (1, "a", "Disturbed"));
        assert_eq!(done(1), []);
    }
}
