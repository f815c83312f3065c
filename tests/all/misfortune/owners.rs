//! Who owns a run: two runs, aborts from elsewhere, takeovers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use firedrill::{
    cluster::{Access, Lease, Tenure},
    engine::{self, EngineError, Start, State},
    env::{Env, MemoryStorage, Storage as _},
    journal::{JournalError, Record, Writer},
    sim::store::{Kind, Selector},
    types::{Epoch, RunId, Verdict, codes::guard},
};
use tokio::sync::mpsc;

use super::{Person, Shared, assert_sound, once};
use crate::{
    crash::{
        house::{experiment, method, settled, settles},
        rollback,
        wire::{Death, Process},
    },
    kit::{Stage, in_virtual_time},
};

/// The evictions of both nodes' pods are asked for once without being done: of the first node's.
const DRY_EVICTIONS: usize = 2;

fn held_long() -> String {
    method("nodeDrain").replace("duration: 5s", "duration: 5m")
}

/// The runs that have a journal.
fn run_of(stage: &Stage) -> RunId {
    stage.storage.list().expect("lists").into_iter().next().expect("a run")
}

#[test]
fn a_second_run_on_one_namespace_is_refused_by_the_name_of_the_first() {
    in_virtual_time(async {
        let stage = settled(2).await;
        let before = stage.state();
        let other = Env { storage: Arc::new(MemoryStorage::default()), ..stage.env.clone() };
        let second = Arc::new(stage.request(&experiment(&[method("scale")]), 3));
        let refused: Shared<Option<Vec<firedrill::types::Finding>>> = Arc::default();
        let result = refused.clone();
        let act = move || {
            let (other, second, result) = (other.clone(), second.clone(), result.clone());
            tokio::spawn(async move {
                let assessment = engine::assess(&other, &second).await.expect("can be assessed");
                *result.lock().expect("ours") = Some(assessment.plan.findings);
            });
        };
        let watch = once(|record| matches!(record, Record::EffectSeen { .. }), act);
        let request = stage.request(&experiment(&[method("nodeDrain")]), 2);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        let findings = refused.lock().expect("ours").take().expect("it was asked");
        let run = run_of(&stage);
        let by_name = findings.iter().any(|finding| {
            finding.is_error() && finding.code == guard::OVERLAP && finding.message.contains(run.as_str())
        });
        assert!(by_name, "{findings:#?}");
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

/// Both have looked before either has begun: the lease decides.
#[test]
fn of_two_runs_that_begin_at_once_one_is_refused() {
    in_virtual_time(async {
        let stage = settled(2).await;
        let before = stage.state();
        let request = stage.request(&experiment(&[method("scale")]), 3);
        let late = engine::assess(&stage.env, &request).await.expect("can be assessed");
        assert!(!late.refused());
        let held: Shared<Option<Result<engine::Outcome, EngineError>>> = Arc::default();
        let start = |request, assessment| {
            let (outside_tx, outside_rx) = mpsc::unbounded_channel();
            let revert_timeout = Duration::from_secs(60);
            Start {
                request,
                id: None,
                assessment,
                revert_timeout,
                outside_rx,
                outside_tx,
                observer: Arc::new(|_| {}),
            }
        };
        let mut other = request;
        other.holder = "another".to_owned();
        let start = Arc::new(Mutex::new(Some(start(other, late))));
        let (result, env) = (held.clone(), stage.env.clone());
        let act = move || {
            let (start, result, env) = (start.clone(), result.clone(), env.clone());
            tokio::spawn(async move {
                let start = start.lock().expect("ours").take().expect("once");
                let outcome = engine::run(&env, start).await;
                *result.lock().expect("ours") = Some(outcome);
            });
        };
        let watch = once(|record| matches!(record, Record::BaselineStarted {}), act);
        let request = stage.request(&experiment(&[method("scale")]), 2);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed);
        let name = ran.outcome.as_ref().expect("ended").run.to_string();
        match held.lock().expect("ours").take().expect("it was tried") {
            Err(EngineError::Lease(error)) => assert!(error.to_string().contains(&name), "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn an_abort_asked_for_on_the_lease_is_acknowledged_and_puts_everything_back() {
    in_virtual_time(async {
        let stage = settled(2).await;
        let before = stage.state();
        let acknowledged = Arc::new(Mutex::new(None));
        let (person, clock, answer) = (Person::of(&stage), stage.env.clock.clone(), acknowledged.clone());
        let act = move || {
            let (person, clock, answer) = (person.clone(), clock.clone(), answer.clone());
            tokio::spawn(async move {
                let access = person.access();
                let held = Lease::read(access, "shop", clock.now()).await.expect("read").expect("held");
                let asked = Lease::request_abort(access, "shop", &held.run, "bob").await.expect("asked");
                assert!(asked);
                let from = clock.now();
                while let Ok(Some(tenure)) = Lease::read(access, "shop", clock.now()).await {
                    if tenure.acknowledged {
                        let took = clock.now().duration_since(from);
                        *answer.lock().expect("ours") = Some((tenure, took));
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        };
        let watch = once(|record| matches!(record, Record::EffectSeen { .. }), act);
        let request = stage.request(&experiment(&[&held_long()]), 2);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Aborted);
        let (tenure, took) = acknowledged.lock().expect("ours").take().expect("acknowledged");
        assert_eq!(tenure.abort.as_deref(), Some("bob"));
        assert!(took.as_secs() <= 3, "{took:?}");
        assert_sound(&stage, &ran, "aborted");
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

/// An abort pre-empts what is in flight: an eviction that waits for its budget for ever.
#[test]
fn an_abort_preempts_an_injection_in_flight() {
    in_virtual_time(async {
        let stage = settled(2).await;
        let before = stage.state();
        // Every eviction hangs until the server gives up on it.
        let rule = firedrill::sim::apiserver::mischief::Rule {
            matcher: firedrill::sim::apiserver::mischief::Matcher::on("create", "pods/eviction"),
            turn: firedrill::sim::apiserver::mischief::Turn::Every,
            action: firedrill::sim::apiserver::mischief::Action::TimeoutBeforeCommit,
        };
        let mischief = stage.cluster.sim().mischief().clone();
        let request = stage.request(&experiment(&[&held_long()]), 2);
        let aborted = Arc::new(Mutex::new(None));
        let (at, clock) = (aborted.clone(), stage.env.clock.clone());
        let watch = move |entry: &firedrill::journal::Entry, tx: &mpsc::UnboundedSender<engine::Outside>| {
            if matches!(entry.record, Record::InjectIntended { .. }) {
                mischief.add(rule.clone());
                let (tx, at, clock) = (tx.clone(), at.clone(), clock.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    *at.lock().expect("ours") = Some(clock.now());
                    let reason = firedrill::journal::StopReason::Signal;
                    tx.send(engine::Outside::Stop(reason, "Ctrl-C".to_owned())).expect("it listens");
                });
            }
        };
        let ran = stage.run_with(request, watch).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Aborted);
        let at = aborted.lock().expect("ours").take().expect("aborted");
        let back = ran.entries.iter().find(|entry| matches!(entry.record, Record::AllReverted { .. }));
        let took = back.expect("reverted").at.duration_since(at);
        assert!(took.as_millis() <= 500, "{took:?}");
        stage.cluster.sim().mischief().clear();
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn a_rollback_of_a_run_that_is_alive_is_refused_with_and_without_its_journal() {
    in_virtual_time(async {
        let stage = settled(2).await;
        let (env, result): (Env, Shared<Vec<String>>) = (stage.env.clone(), Arc::default());
        let told = result.clone();
        let act = move || {
            let (env, told) = (env.clone(), told.clone());
            tokio::spawn(async move {
                let run = env.storage.list().expect("lists").into_iter().next().expect("a run");
                let refused = engine::from_journal(&env, &run, rollback(false)).await;
                told.lock().expect("ours").push(format!("{refused:?}"));
                let access = Access::new(env.kube.clone());
                let (found, _) = engine::from_scars(&access, &[String::new()]).await;
                assert_eq!(found.len(), 2, "two nodes");
                for (_, result) in engine::revert_found(&env, found, &rollback(false)).await.expect("answers")
                {
                    told.lock().expect("ours").push(format!("{result:?}"));
                }
            });
        };
        let watch = once(|record| matches!(record, Record::EffectSeen { .. }), act);
        // The second node's effect is a little later than the first's; both hold for a while.
        let step = held_long().replace("5m", "30s");
        let request = stage.request(&experiment(&[&step]), 2);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        let told = result.lock().expect("ours").clone();
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(told[0].contains("Held"), "{told:#?}");
        assert!(
            told[1..].iter().all(|told| told.starts_with("Err") && told.contains("renewed")),
            "{told:#?}"
        );
        assert_eq!(ran.verdict(), Verdict::Passed, "and the run goes on undisturbed");
        let restored = super::reverts(&ran.entries);
        assert_eq!(restored, [firedrill::journal::RevertOutcome::Restored; 2]);
    });
}

/// Another machine, with the journal as it is now.
fn elsewhere(stage: &Stage) -> (Env, RunId) {
    let (run, storage) = (run_of(stage), MemoryStorage::default());
    storage.insert(&run, stage.storage.read(&run).expect("reads"));
    (Env { storage: Arc::new(storage), kube: stage.cluster.sim().client(), ..stage.env.clone() }, run)
}

async fn take_over(env: &Env, run: &RunId, journal: bool) {
    if journal {
        let outcome = engine::from_journal(env, run, rollback(true)).await.expect("taken over");
        assert_eq!(outcome.residue, Vec::new());
    } else {
        let (found, _) = engine::from_scars(&Access::new(env.kube.clone()), &[String::new()]).await;
        assert!(!found.is_empty());
        for (_, result) in engine::revert_found(env, found, &rollback(true)).await.expect("answers") {
            assert!(result.is_ok(), "{result:?}");
        }
    }
}

/// The old runner hangs in the middle of a drain (a stopped process, a machine that does not answer), is taken
/// over, and comes to again: it changes nothing any more, journal or not.
#[test]
fn a_runner_that_was_taken_over_while_it_hung_changes_nothing_afterwards() {
    for journal in [true, false] {
        let at = format!("with the journal: {journal}");
        in_virtual_time(async {
            let mut stage = settled(2).await;
            let before = stage.state();
            let old = Process::new(Death::Never);
            stage.env.kube = old.client(stage.cluster.sim());
            let run = stage.run(stage.request(&experiment(&[&held_long()]), 2));
            tokio::pin!(run);
            tokio::select! {
                biased;
                _ = &mut run => panic!("{at}: it ends without a takeover"),
                () = old.called("/eviction", DRY_EVICTIONS + 1) => old.hang(),
            }
            // Not polled from here on, and its calls hang as well.
            let (env, name) = elsewhere(&stage);
            take_over(&env, &name, journal).await;
            let calls = old.calls().len();
            old.wake();
            let ended = run.await.expect("not refused");
            assert!(matches!(ended.outcome, Err(EngineError::Lost(..))), "{at}: {:?}", ended.outcome);
            let sent: Vec<String> = old.calls().split_off(calls);
            let changes = sent.iter().filter(|call| !call.starts_with("GET ") && !call.contains("/leases"));
            assert_eq!(changes.count(), 0, "{at}: {sent:#?}");
            assert_eq!(settles(&stage, &before).await, Vec::<String>::new(), "{at}");
        });
    }
}

/// One goes on all the time, and learns of the takeover when it renews its lease: what it sends until then is
/// over before anything is put back.
#[test]
fn a_takeover_waits_until_the_old_runner_can_send_nothing() {
    for journal in [true, false] {
        in_virtual_time(async {
            let mut stage = settled(2).await;
            let before = stage.state();
            let old = Process::new(Death::Never);
            stage.env.kube = old.client(stage.cluster.sim());
            let run = stage.run(stage.request(&experiment(&[&held_long()]), 2));
            tokio::pin!(run);
            tokio::select! {
                biased;
                _ = &mut run => panic!("it ends without a takeover"),
                () = old.called("/eviction", DRY_EVICTIONS + 1) => {}
            }
            let (env, name) = elsewhere(&stage);
            let (ended, ()) = tokio::join!(run, take_over(&env, &name, journal));
            assert!(matches!(ended.expect("not refused").outcome, Err(EngineError::Lost(..))));
            assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
        });
    }
}

/// Cut off from its lease a runner cannot know whether it is still the owner: past its own deadline it sends
/// nothing, and another may put everything back.
#[test]
fn a_runner_that_cannot_renew_its_lease_changes_nothing_past_its_deadline() {
    in_virtual_time(async {
        let mut stage = settled(2).await;
        let before = stage.state();
        let old = Process::new(Death::Never);
        stage.env.kube = old.client(stage.cluster.sim());
        let cut = old.clone();
        let watch =
            once(|record| matches!(record, Record::InjectIntended { .. }), move || cut.lose("/leases"));
        // A little after the deadline the method's time is over, and it would put back.
        let step = held_long().replace("5m", "14s");
        let run = stage.run_with(stage.request(&experiment(&[&step]), 2), move |entry, _| watch(entry));
        tokio::pin!(run);
        tokio::select! {
            biased;
            _ = &mut run => panic!("it ends"),
            () = old.called("/eviction", DRY_EVICTIONS + 4) => {}
        }
        let late = async {
            tokio::time::sleep(Duration::from_secs(11)).await;
            let calls = old.calls().len();
            tokio::time::sleep(Duration::from_secs(60)).await;
            old.calls().split_off(calls)
        };
        let sent = tokio::select! {
            biased;
            sent = late => sent,
            _ = &mut run => panic!("it ends"),
        };
        let changes: Vec<&String> =
            sent.iter().filter(|call| !call.starts_with("GET ") && !call.contains("/leases")).collect();
        assert_eq!(changes, Vec::<&String>::new());
        let (env, name) = elsewhere(&stage);
        take_over(&env, &name, true).await;
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

#[test]
fn a_lower_epoch_cannot_write_into_a_journal() {
    in_virtual_time(async {
        let stage = settled(2).await;
        let ran = stage.run(stage.request(&experiment(&[method("scale")]), 2)).await.expect("not refused");
        let run = &ran.outcome.as_ref().expect("ended").run;
        for epoch in [Epoch(0), Epoch(1)] {
            let resumed = Writer::resume(&stage.storage, run, |_| epoch);
            assert!(matches!(resumed.err(), Some(JournalError::Superseded { .. })), "{epoch}");
        }
        let (writer, entries) = Writer::resume(&stage.storage, run, |_| Epoch(2)).expect("above all before");
        assert_eq!((writer.epoch(), entries), (Epoch(2), ran.entries.clone()));
        State::replay(&stage.journal(run)).expect("replays");
    });
}

/// Whoever has not renewed for as long as the lease is good for has lost it to anybody.
#[test]
fn a_lapsed_lease_can_be_had_and_a_fresh_one_cannot() {
    in_virtual_time(async {
        let stage = settled(2).await;
        let access = || Access::new(stage.cluster.sim().client());
        let tenure = |run: &str| Tenure {
            run: RunId::parse(run).expect("a name"),
            holder: run.to_owned(),
            by: "ada".to_owned(),
            epoch: Epoch(1),
            renewed: stage.env.clock.now(),
            fresh: true,
            abort: None,
            acknowledged: false,
        };
        let first = Lease::acquire(&access(), "shop", tenure("one"), false).await.expect("free");
        assert!(Lease::acquire(&access(), "shop", tenure("two"), false).await.is_err());
        assert!(Lease::acquire(&access(), "shop", tenure("two"), true).await.is_err(), "another run's");
        tokio::time::sleep(Duration::from_secs(16)).await;
        Lease::acquire(&access(), "shop", tenure("two"), false).await.expect("it has lapsed");
        drop(first);
        let leases = stage.cluster.sim().store().list(&Kind::LEASE, Some("shop"), &Selector::everything());
        assert_eq!(leases.len(), 1);
    });
}

/// What tells runs of one seed apart is the moment: with the same seed, at the same moment, another name is found.
#[test]
fn of_two_runs_that_would_have_the_same_name_the_second_takes_another() {
    let run = |storage: &MemoryStorage| {
        in_virtual_time(async {
            let mut stage = settled(5).await;
            stage.storage = storage.clone();
            stage.env.storage = Arc::new(storage.clone());
            let ran =
                stage.run(stage.request(&experiment(&[method("scale")]), 5)).await.expect("not refused");
            ran.outcome.expect("an ordinary end").run
        })
    };
    let storage = MemoryStorage::default();
    let first = run(&storage);
    assert_eq!(run(&MemoryStorage::default()), first, "nothing but the moment and the seed tells them apart");
    assert_ne!(run(&storage), first);
    assert_eq!(storage.list().expect("it can be read").len(), 2);
}
