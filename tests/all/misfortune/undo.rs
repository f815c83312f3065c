//! What is put back late, twice, without a disk, or not at all.

use std::{sync::Arc, time::Duration};

use firedrill::{
    engine::{self, EngineError, Leftover, Outside, Preview, Start},
    env::Storage as _,
    faults::{FAULTS, Lifetime},
    journal::{self, Entry, Record, StopReason},
    report::Facts,
    sim::store::Kind,
    types::{ObjectRef, RunId, Verdict},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Person, assert_sound, once};
use crate::{
    crash::{
        house::{experiment, method, object, settled, settles},
        rollback,
    },
    kit::{Ran, Stage, in_virtual_time},
};

/// Runs with this patience for reverting.
async fn run_patiently(
    stage: &Stage,
    steps: &[&str],
    revert_timeout: Duration,
    watch: impl Fn(&Entry) + Send + Sync + 'static,
) -> Ran {
    let request = stage.request(&experiment(steps), 9);
    let assessment = engine::assess(&stage.env, &request).await.expect("can be assessed");
    assert!(!assessment.refused());
    let (outside_tx, outside_rx) = mpsc::unbounded_channel();
    let entries: super::Shared<Vec<Entry>> = Arc::default();
    let seen = entries.clone();
    let observer = Arc::new(move |entry: &Entry| {
        seen.lock().expect("ours").push(entry.clone());
        watch(entry);
    });
    let start = Start { request, id: None, assessment, revert_timeout, outside_rx, outside_tx, observer };
    let outcome = engine::run(&stage.env, start).await;
    let entries = entries.lock().expect("ours").clone();
    Ran { outcome, entries }
}

/// The API server is gone from when the effect is seen; until so long after reverting has begun.
fn outage(stage: &Stage, until: Option<Duration>) -> impl Fn(&Entry) + Send + Sync + 'static {
    let gone = stage.cluster.sim().mischief().clone();
    let back = gone.clone();
    let begin = once(|record| matches!(record, Record::EffectSeen { .. }), move || gone.outage(true));
    let act = move || {
        let (Some(until), back) = (until, back.clone()) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(until).await;
            back.outage(false);
        });
    };
    let end = once(|record| matches!(record, Record::RevertStarted { .. }), act);
    move |entry| {
        begin(entry);
        end(entry);
    }
}

fn held(fault: &str, length: &str) -> String {
    method(fault).replace("duration: 5s", &format!("duration: {length}"))
}

/// Tries come 15.75, 25.75 and 35.75 s after the first: the last but when reverting is given up.
#[test]
fn an_api_server_that_comes_back_just_in_time_is_tried_once_more() {
    in_virtual_time(async {
        let stage = settled(9).await;
        let before = stage.state();
        let watch = outage(&stage, Some(Duration::from_secs(27)));
        let ran = run_patiently(&stage, &[&held("nodeCordon", "5m")], Duration::from_secs(30), watch).await;
        assert_sound(&stage, &ran, "just in time");
        let outcome = ran.outcome.as_ref().expect("an ordinary end");
        assert_eq!(outcome.residue, Vec::new());
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn an_api_server_that_is_gone_for_good_ends_the_run_when_reverting_is_given_up() {
    in_virtual_time(async {
        let mut stage = settled(9).await;
        let before = stage.state();
        let watch = outage(&stage, None);
        // Without data the run stops; nothing can be taken back then.
        let ran = run_patiently(&stage, &[&held("nodeCordon", "5m")], Duration::from_secs(5), watch).await;
        let ended = stage.env.clock.now();
        assert_sound(&stage, &ran, "gone for good");
        let outcome = ran.outcome.as_ref().expect("an ordinary end");
        assert_eq!(outcome.residue.len(), 2, "{:?}", outcome.residue);
        assert_eq!(outcome.verdict, Verdict::Inconclusive);
        let begun = ran.entries.iter().find(|entry| matches!(entry.record, Record::RevertStarted { .. }));
        let took = ended.duration_since(begun.expect("it was tried").at).as_secs();
        assert!((5..=15).contains(&took), "given up after 5 s, over after {took} s");
        stage.cluster.sim().mischief().outage(false);
        stage.env.kube = stage.cluster.sim().client();
        tokio::time::sleep(Duration::from_secs(30)).await;
        let outcome =
            engine::from_journal(&stage.env, &outcome.run, rollback(false)).await.expect("rolls back");
        assert_eq!(outcome.residue, Vec::new());
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

/// Says so twice: first when the effect is seen, then at the first record that `again` is true of.
async fn insisting(stage: &Stage, again: fn(&Record) -> bool) -> Ran {
    let request = stage.request(&experiment(&[&held("scale", "5m")]), 9);
    let watch = move |entry: &Entry, outside_tx: &mpsc::UnboundedSender<Outside>| {
        if matches!(entry.record, Record::EffectSeen { .. }) {
            let _ = outside_tx.send(Outside::Stop(StopReason::Signal, "Ctrl-C".to_owned()));
        }
        if again(&entry.record) {
            let _ = outside_tx.send(Outside::Leave);
        }
    };
    stage.run_with(request, watch).await.expect("not refused")
}

#[test]
fn a_second_signal_when_everything_is_back_only_cuts_the_wait_short() {
    in_virtual_time(async {
        let stage = settled(9).await;
        let before = stage.state();
        let ran = insisting(&stage, |record| matches!(record, Record::AllReverted { .. })).await;
        assert_eq!(ran.verdict(), Verdict::Aborted);
        assert_sound(&stage, &ran, "once more");
        assert_eq!(ran.outcome.as_ref().expect("an ordinary end").exit_code() as u8, 5);
        let waited =
            |record: &Record| matches!(record, Record::Recovered { .. } | Record::NotRecovered { .. });
        assert!(!ran.entries.iter().any(|entry| waited(&entry.record)));
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn a_second_signal_while_something_is_in_force_leaves_it() {
    in_virtual_time(async {
        let stage = settled(9).await;
        let ran = insisting(&stage, |record| matches!(record, Record::EffectSeen { .. })).await;
        assert!(matches!(ran.outcome, Err(EngineError::Left(_))), "{:?}", ran.outcome);
    });
}

fn run_of(stage: &Stage) -> RunId {
    stage.storage.list().expect("lists").pop().expect("a run")
}

/// The runner dies at the first record that this is true of.
async fn killed(stage: &Stage, step: &str, when: fn(&Record) -> bool) -> RunId {
    let died = Arc::new(tokio::sync::Notify::new());
    let tell = died.clone();
    let request = stage.request(&experiment(&[step]), 9);
    let watch = move |entry: &Entry, _: &mpsc::UnboundedSender<Outside>| {
        if when(&entry.record) {
            tell.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = died.notified() => {}
        _ = stage.run_with(request, watch) => panic!("it was to be cut off"),
    }
    run_of(stage)
}

#[test]
fn a_run_that_died_when_everything_was_back_gets_its_end_without_a_call() {
    in_virtual_time(async {
        let stage = settled(9).await;
        let back = |record: &Record| matches!(record, Record::AllReverted { .. });
        let run = killed(&stage, &held("scale", "5s"), back).await;
        assert!(engine::closes(&stage.journal(&run)));
        stage.cluster.sim().mischief().outage(true);
        let outcome = engine::close(&stage.env, &run, &rollback(false)).expect("the journal can be written");
        assert_eq!(outcome.expect("it had no end").verdict, Verdict::Aborted);
        let entries = stage.journal(&run);
        assert!(matches!(entries.last().expect("entries").record, Record::Finished { .. }));
        assert!(!engine::closes(&entries));
        assert!(engine::close(&stage.env, &run, &rollback(false)).expect("readable").is_none());
    });
}

#[test]
fn what_is_in_force_is_not_closed() {
    in_virtual_time(async {
        let stage = settled(9).await;
        let seen = |record: &Record| matches!(record, Record::EffectSeen { .. });
        let run = killed(&stage, &held("scale", "5m"), seen).await;
        let before = stage.journal(&run);
        assert!(!engine::closes(&before));
        assert!(engine::close(&stage.env, &run, &rollback(false)).expect("readable").is_none());
        assert_eq!(stage.journal(&run), before);
    });
}

#[test]
fn a_rollback_on_a_full_disk_puts_back_all_the_same() {
    for fault in ["scale", "nodeDrain", "nodeTaint"] {
        in_virtual_time(async {
            let stage = settled(9).await;
            let before = stage.state();
            let seen = |record: &Record| matches!(record, Record::EffectSeen { .. });
            let run = killed(&stage, &held(fault, "5m"), seen).await;
            stage.storage.limit(0);
            tokio::time::sleep(Duration::from_secs(20)).await;
            let outcome = engine::from_journal(&stage.env, &run, rollback(false)).await.expect("rolls back");
            assert_eq!((outcome.verdict, outcome.residue), (Verdict::Aborted, Vec::new()), "{fault}");
            let unwritten = outcome.unwritten.expect("nothing could be written");
            assert!(unwritten.why.contains("memory:"), "{}", unwritten.why);
            assert_eq!(settles(&stage, &before).await, Vec::<String>::new(), "{fault}");
            // With room again the journal gets its end.
            stage.storage.limit(1 << 20);
            let outcome = engine::from_journal(&stage.env, &run, rollback(false)).await.expect("rolls back");
            assert!(outcome.unwritten.is_none() && outcome.residue.is_empty());
            assert_eq!(settles(&stage, &before).await, Vec::<String>::new(), "{fault}");
        });
    }
}

/// The disk is full in mid-run: the report comes from memory.
#[test]
fn a_run_whose_journal_is_lost_is_reported_whole() {
    in_virtual_time(async {
        let stage = settled(9).await;
        let storage = stage.storage.clone();
        let watch = once(|record| matches!(record, Record::EffectSeen { .. }), move || storage.limit(0));
        let request = stage.request(&experiment(&[&held("scale", "5s")]), 9);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        let outcome = ran.outcome.expect("an end all the same");
        assert_eq!((outcome.verdict, outcome.exit_code() as u8), (Verdict::Inconclusive, 4));
        let unwritten = outcome.unwritten.expect("the journal is not whole");
        assert_eq!(unwritten.entries, ran.entries, "all that was told");
        let facts = Facts::from_entries(&unwritten.entries).expect("a report");
        assert_eq!(facts.outcome.verdict, Some(Verdict::Inconclusive));
        assert!(journal::read(&stage.storage, &outcome.run).expect("readable").len() < ran.entries.len());
    });
}

async fn previewed(stage: &Stage, run: &RunId) -> Vec<(String, Preview)> {
    let leftovers: Vec<Leftover> = engine::leftovers(&stage.journal(run)).expect("a journal");
    let previews = engine::preview(&stage.env.kube, &leftovers, "ada").await.expect("can be looked at");
    let targets = leftovers.iter().map(|leftover| leftover.injection.target.name.clone());
    targets.zip(previews).collect()
}

fn fields(preview: &Preview) -> Vec<(&str, &Value, &Value)> {
    let Preview::Changes(changes) = preview else { panic!("{preview:?}") };
    changes.iter().map(|change| (change.field.as_str(), &change.now, &change.then)).collect()
}

#[test]
fn what_a_rollback_would_do_is_read_from_the_world() {
    in_virtual_time(async {
        let stage = settled(9).await;
        let person = Person::of(&stage);
        let all = |record: &Record| matches!(record, Record::EffectSeen { injection, .. } if injection.0 == "hit.1");
        let run = killed(&stage, &held("nodeCordon", "5m"), all).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let node = |name: &str| object(&stage, &Kind::NODE, "", name);
        let cordoned = [node("n1"), node("n2")];
        let seen = previewed(&stage, &run).await;
        let change = ("spec.unschedulable", &json!(true), &Value::Null);
        assert_eq!(fields(&seen[0].1), [change]);
        assert_eq!(fields(&seen[1].1), [change]);
        for (name, before) in ["n1", "n2"].into_iter().zip(cordoned) {
            let now = node(name);
            assert_eq!(now["spec"], before["spec"], "a look changes nothing");
            assert_eq!(now["metadata"]["annotations"], before["metadata"]["annotations"]);
        }
        person.uncordon("n1").await;
        person.cordon("n1").await;
        person.delete(&ObjectRef::node("n2")).await;
        let seen = previewed(&stage, &run).await;
        assert!(matches!(seen[0].1, Preview::LeftAlone(_)), "{seen:?}");
        assert_eq!(seen[1].1, Preview::Gone);
        engine::from_journal(&stage.env, &run, rollback(false)).await.expect("rolls back");
    });
}

/// For every fault that is taken back; and looking does nothing.
#[test]
fn every_fault_can_be_looked_at_before_it_is_put_back() {
    for fault in FAULTS.iter().map(|fault| fault.info()).filter(|info| info.lifetime == Lifetime::Lasting) {
        in_virtual_time(async {
            let stage = settled(9).await;
            let seen = |record: &Record| matches!(record, Record::EffectSeen { .. });
            let run = killed(&stage, &held(fault.name, "5m"), seen).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            let before = stage.state();
            let looked = previewed(&stage, &run).await;
            assert!(!looked.is_empty(), "{}", fault.name);
            let changed = |(_, preview): &(String, Preview)| matches!(preview, Preview::Changes(_));
            assert!(looked.iter().any(changed), "{}: {looked:?}", fault.name);
            let nobody = |(_, preview): &(String, Preview)| matches!(preview, Preview::Unknown(_));
            assert!(!looked.iter().any(nobody), "{}: {looked:?}", fault.name);
            assert_eq!(stage.state(), before, "{}", fault.name);
        });
    }
}

#[test]
fn what_a_rollback_would_do_to_taints_and_replicas() {
    in_virtual_time(async {
        let stage = settled(9).await;
        let seen = |record: &Record| matches!(record, Record::EffectSeen { .. });
        let run = killed(&stage, &held("nodeTaint", "5m"), seen).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let looked = previewed(&stage, &run).await;
        let change = fields(&looked[0].1)[0];
        assert!(change.0.starts_with("spec.taints[") && change.1["key"] == "example.com/drill", "{change:?}");
        assert_eq!(change.2, &Value::Null);
        engine::from_journal(&stage.env, &run, rollback(false)).await.expect("rolls back");
    });
    in_virtual_time(async {
        let stage = settled(9).await;
        let seen = |record: &Record| matches!(record, Record::EffectSeen { .. });
        let run = killed(&stage, &held("scale", "5m"), seen).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let looked = previewed(&stage, &run).await;
        assert_eq!(fields(&looked[0].1), [("spec.replicas", &json!(1), &json!(4))]);
        Person::of(&stage).scale("web", 4).await;
        let looked = previewed(&stage, &run).await;
        assert!(matches!(looked[0].1, Preview::AsBefore(_)), "{looked:?}");
        Person::of(&stage).scale("web", 7).await;
        let looked = previewed(&stage, &run).await;
        assert!(matches!(&looked[0].1, Preview::LeftAlone(why) if why.contains('7')), "{looked:?}");
    });
}
