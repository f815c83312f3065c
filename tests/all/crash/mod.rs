//! The crash matrix: a run killed at every call and torn at every record, then put back.
//!
//! In `cargo test` every fault is killed at some of its calls and records, a fixed stride apart;
//! FIREDRILL_LONG=1 kills it at all of them.

pub mod house;
pub mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use firedrill::{
    cluster::{Access, Identity},
    engine::{self, Rollback, State, TakeOver},
    env::Storage,
    faults::{self, Injection},
    journal::{self, Entry, Record},
    sim::store::{Kind, Selector},
    types::{RunId, Verdict},
};
use serde_json::Value;

use self::{
    house::{experiment, method, settled_for, settles, trial},
    wire::{Death, Process},
};
use crate::kit::{Ran, Stage, in_virtual_time};

const SEED: u64 = 7;

/// Whether everything is to be tried, not a sample.
pub fn long() -> bool {
    std::env::var_os("FIREDRILL_LONG").is_some_and(|value| value != "0")
}

/// All of `all`, or about `sample` of them a fixed stride apart.
pub fn sampled<T>(all: Vec<T>, sample: usize) -> Vec<T> {
    let stride = if long() { 1 } else { all.len().div_ceil(sample).max(1) };
    all.into_iter().step_by(stride).collect()
}

/// Every fault and what is taken back like one, or the one that FIREDRILL_FAULT names.
fn tried() -> impl Iterator<Item = &'static str> {
    let only = std::env::var("FIREDRILL_FAULT").ok();
    let faults = faults::FAULTS.iter().map(|fault| fault.info().name);
    faults.chain([faults::LOAD_POD.name]).filter(move |name| only.as_ref().is_none_or(|only| only == name))
}

/// Somebody who puts back from another machine.
pub fn rollback(take_over: bool) -> Rollback {
    Rollback {
        by: Identity { name: "rescuer".to_owned(), groups: Vec::new() },
        holder: "elsewhere".to_owned(),
        why: "rollback",
        take_over: if take_over { TakeOver::Now } else { TakeOver::Never },
        revert_timeout: Duration::from_secs(300),
        observer: Arc::new(|_| {}),
    }
}

/// What is there when a run has been killed.
struct Wreck {
    stage: Stage,
    process: Process,
    before: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    ran: Option<Ran>,
}

impl Wreck {
    /// Runs `fault` in a process that dies then.
    async fn of(fault: &str, death: Death) -> Self {
        let mut stage = settled_for(fault, SEED).await;
        let (before, pods) = (stage.state(), pods(&stage));
        let process = Process::new(death);
        stage.env.kube = process.client(stage.cluster.sim());
        stage.env.storage = process.disk(&stage.storage);
        let request = stage.request(&trial(fault), SEED);
        let ran = tokio::select! {
            biased;
            () = process.died() => None,
            ran = stage.run(request) => Some(ran.expect("not refused")),
        };
        // Another process, on the same machine as far as the disk goes.
        stage.env.kube = stage.cluster.sim().client();
        stage.env.storage = Arc::new(stage.storage.clone());
        Self { stage, process, before, pods, ran }
    }

    fn run(&self) -> Option<RunId> {
        self.stage.storage.list().expect("lists").into_iter().next()
    }

    /// The machine has died, not only the process: what was not synced is gone.
    fn lose_what_is_not_durable(&self) {
        if let Some(run) = self.run() {
            let mut bytes = self.stage.storage.read(&run).expect("reads");
            bytes.truncate(self.process.durable());
            self.stage.storage.insert(&run, bytes);
        }
    }

    /// Whatever is not as before is named in what of the journal survives the machine.
    fn assert_named(&self, at: &str) {
        let entries = self.run().map_or(Vec::new(), |run| {
            let bytes = self.stage.storage.read(&run).expect("reads");
            journal::decode(&bytes[..self.process.durable()]).expect("whole").0
        });
        let named = named(&entries);
        for (key, value) in changed(&self.before, &self.stage.state()) {
            assert!(covers(&named, &self.stage, &key, value), "{at}: {key} has changed and is not intended");
        }
        let now = pods(&self.stage);
        for (uid, pod) in &self.pods {
            let leaving = now.get(uid).is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null());
            let name = format!("Pod shop/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
            assert!(
                !leaving || covers(&named, &self.stage, &name, pod),
                "{at}: {name} goes and that is not intended"
            );
        }
    }

    /// Puts back with the journal, as `firedrill rollback RUN` does.
    async fn put_back(&self, at: &str) {
        // Torn within its first record a journal says nothing: nothing was begun.
        let begun = |run: &RunId| !self.stage.journal(run).is_empty();
        let Some(run) = self.run().filter(begun) else { return self.put_back_from_scars(at).await };
        let outcome = engine::from_journal(&self.stage.env, &run, rollback(false)).await;
        let outcome = outcome.unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(outcome.residue, Vec::new(), "{at}");
        let state = State::replay(&self.stage.journal(&run)).expect("replays");
        assert!(state.finished, "{at}: the journal has an end");
        assert_eq!(state.pending().count(), 0, "{at}");
    }

    /// Puts back what the objects themselves say, as on a machine without the journal.
    async fn put_back_from_scars(&self, at: &str) {
        let access = Access::new(self.stage.env.kube.clone());
        let (found, unseen) = engine::from_scars(&access, &[String::new()]).await;
        assert_eq!(unseen, Vec::new(), "{at}");
        let results = engine::revert_found(&self.stage.env, found, &rollback(false)).await;
        for (leftover, result) in results.expect("the API server answers") {
            assert!(result.is_ok(), "{at}: {leftover:?}: {result:?}");
        }
        engine::clear_lapsed(&self.stage.env, None, &[String::new()]).await.expect("clears");
    }

    /// Everything is as before, and nothing stands in the way of the next run.
    async fn assert_back(&self, at: &str) {
        let difference = settles(&self.stage, &self.before).await;
        assert!(difference.is_empty(), "{at}: not as before: {difference:#?}");
        let marks = marks(&self.stage);
        assert!(marks.is_empty(), "{at}: pods still carry marks: {marks:?}");
        let request = self.stage.request(&experiment(&["wait: 1s", method("scale")]), SEED);
        let next = engine::assess(&self.stage.env, &request).await.expect("can be assessed");
        assert!(!next.refused(), "{at}: the next run is refused: {:#?}", next.plan.findings);
    }
}

/// The lease has lapsed.
pub async fn past_the_lease() {
    tokio::time::sleep(Duration::from_secs(20)).await;
}

/// All pods by UID.
pub fn pods(stage: &Stage) -> BTreeMap<String, Value> {
    let pods = stage.cluster.sim().store().list(&Kind::POD, None, &Selector::everything());
    pods.iter().map(|pod| (pod.meta.uid.clone(), pod.to_value())).collect()
}

/// Labels and annotations of ours that pods carry, which no state has.
fn marks(stage: &Stage) -> Vec<String> {
    let ours = |metadata: &Value| {
        let of = |field: &str| metadata[field].as_object().cloned().unwrap_or_default();
        let mut keys = of("labels").into_iter().chain(of("annotations"));
        keys.any(|(key, _)| key.starts_with("firedrill.dev/") || key.starts_with("undo.firedrill.dev/"))
    };
    let marked = pods(stage).into_values().filter(|pod| ours(&pod["metadata"]));
    marked.map(|pod| pod["metadata"].to_string()).collect()
}

/// What a journal says may happen, and to whom.
fn named(entries: &[Entry]) -> BTreeSet<String> {
    let injections = entries.iter().flat_map(|entry| match &entry.record {
        Record::InjectIntended { injections, .. } | Record::ArmingIntended { injections } => {
            injections.as_slice()
        }
        Record::LoadPodIntended { pod, .. } => std::slice::from_ref(&**pod),
        _ => &[],
    });
    let objects =
        injections.flat_map(|injection: &Injection| injection.displaced.iter().chain([&injection.target]));
    objects.map(|object| format!("{} {}/{}", object.kind, object.namespace, object.name)).collect()
}

/// What has changed but for how many are ready.
fn changed<'a>(
    before: &BTreeMap<String, Value>,
    after: &'a BTreeMap<String, Value>,
) -> Vec<(String, &'a Value)> {
    let without = |value: &Value| {
        let mut value = value.clone();
        if let Some(object) = value.as_object_mut() {
            object.remove("readyReplicas");
        }
        value
    };
    after
        .iter()
        .filter(|(key, value)| before.get(*key).map(without) != Some(without(value)))
        .map(|(key, value)| (key.clone(), value))
        .collect()
}

/// Whether an object, or what owns it, is named.
fn covers(named: &BTreeSet<String>, stage: &Stage, key: &str, value: &Value) -> bool {
    if named.contains(key) || named.iter().any(|of| scales(stage, of, key)) {
        return true;
    }
    // What the owner of a machine does about it, and what it brings instead.
    if house::began_as(value).is_some_and(|node| named.contains(&format!("Node /{node}"))) {
        return true;
    }
    let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
    let owners = value["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners.into_iter().any(|owner| {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let key = format!("{} {namespace}/{}", text("kind"), text("name"));
        let owner = stage.cluster.sim().store().kind_of(text("apiVersion"), text("kind"));
        let owner = owner.and_then(|kind| stage.cluster.sim().store().get(&kind, namespace, text("name")));
        covers(named, stage, &key, &owner.map_or(Value::Null, |owner| owner.to_value()))
    })
}

/// Whether `named` is an autoscaler, and what it scales is `key`.
fn scales(stage: &Stage, named: &str, key: &str) -> bool {
    let Some((namespace, name)) =
        named.strip_prefix("HorizontalPodAutoscaler ").and_then(|of| of.split_once('/'))
    else {
        return false;
    };
    let hpa = house::object(stage, &Kind::HORIZONTAL_POD_AUTOSCALER, namespace, name);
    let text = |field: &str| hpa["spec"]["scaleTargetRef"][field].as_str().unwrap_or_default().to_owned();
    key == format!("{} {namespace}/{}", text("kind"), text("name"))
}

/// Whether a call may change anything but a lease: reviews are questions.
fn hits(call: &str) -> bool {
    !["GET ", "POST /apis/authentication", "POST /apis/authorization"]
        .iter()
        .any(|start| call.starts_with(start))
        && !call.contains("/leases")
}

/// What an undisturbed run of `fault` calls and writes down.
fn undisturbed(fault: &str) -> (Vec<String>, usize) {
    in_virtual_time(async {
        let wreck = Wreck::of(fault, Death::Never).await;
        assert_eq!(wreck.ran.as_ref().map(Ran::verdict), Some(Verdict::Passed), "{fault}");
        wreck.assert_back(fault).await;
        (wreck.process.calls(), wreck.process.records())
    })
}

/// The calls at which a run of `fault` is killed: before each, and after each that may have an effect.
fn calls(fault: &str) -> Vec<Death> {
    let (calls, _) = undisturbed(fault);
    let numbered = calls.iter().enumerate().map(|(index, call)| (index + 1, call));
    let mut others = Vec::new();
    let mut effects = Vec::new();
    for (number, call) in numbered {
        if hits(call) {
            effects.extend([Death::BeforeCall(number), Death::AfterCall(number)]);
        } else {
            others.push(Death::BeforeCall(number));
            if !call.starts_with("GET ") {
                others.push(Death::AfterCall(number));
            }
        }
    }
    // What may have an effect is what it is about; the others are all alike.
    let mut deaths = sampled(effects, 32);
    deaths.extend(sampled(others, 5));
    deaths
}

fn killed_at_calls(fault: &str, journal_lost: bool) {
    for death in calls(fault) {
        let at = format!("{fault} killed {death:?}, journal lost: {journal_lost}");
        in_virtual_time(async {
            let wreck = Wreck::of(fault, death).await;
            assert!(wreck.ran.is_none(), "{at}: it is dead");
            wreck.assert_named(&at);
            past_the_lease().await;
            if journal_lost {
                wreck.put_back_from_scars(&at).await;
            } else {
                wreck.put_back(&at).await;
            }
            wreck.assert_back(&at).await;
        });
    }
}

#[test]
fn a_run_killed_at_any_call_is_put_back_from_its_journal() {
    for fault in tried() {
        killed_at_calls(fault, false);
    }
}

#[test]
fn a_run_killed_at_any_call_is_put_back_from_scars_alone() {
    for fault in tried() {
        killed_at_calls(fault, true);
    }
}

#[test]
fn a_journal_torn_at_any_record_puts_everything_back() {
    for fault in tried() {
        let (_, records) = undisturbed(fault);
        let deaths = (1..=records).flat_map(|n| [Death::AfterRecord(n), Death::WithinRecord(n)]);
        for (turn, death) in sampled(deaths.collect(), 14).into_iter().enumerate() {
            let machine = turn % 2 == 0;
            let at = format!("{fault} killed {death:?}, machine lost: {machine}");
            in_virtual_time(async {
                let wreck = Wreck::of(fault, death).await;
                wreck.assert_named(&at);
                if machine {
                    wreck.lose_what_is_not_durable();
                }
                past_the_lease().await;
                wreck.put_back(&at).await;
                wreck.assert_back(&at).await;
            });
        }
    }
}

/// A rescuer may die as well: whoever comes next goes on.
#[test]
fn a_rollback_killed_at_any_call_is_taken_up_by_the_next() {
    let fault = "nodeDrain";
    let (calls, _) = undisturbed(fault);
    let first_write = calls.iter().rposition(|call| call.contains("/eviction")).expect("it evicts") + 1;
    for number in sampled((1..=30).collect(), 8) {
        let at = format!("rollback killed at call {number}");
        in_virtual_time(async {
            let mut wreck = Wreck::of(fault, Death::AfterCall(first_write)).await;
            past_the_lease().await;
            let run = wreck.run().expect("it has a journal");
            let rescuer = Process::new(Death::AfterCall(number));
            wreck.stage.env.kube = rescuer.client(wreck.stage.cluster.sim());
            tokio::select! {
                biased;
                () = rescuer.died() => {}
                outcome = engine::from_journal(&wreck.stage.env, &run, rollback(false)) => {
                    outcome.expect("an ordinary end");
                }
            }
            wreck.stage.env.kube = wreck.stage.cluster.sim().client();
            past_the_lease().await;
            wreck.put_back(&at).await;
            wreck.assert_back(&at).await;
        });
    }
}
