use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    engine::{Patience, fixture, next, transition},
    journal::{Entry, Record},
    types::{Epoch, load::LoadTally},
};

/// A run of an experiment with a load of its own that grows for 10 s, and a surge of a minute.
struct Run {
    state: State,
    at: Timestamp,
}

impl Run {
    fn new(background: bool) -> Self {
        let experiment = json!({
            "apiVersion": "firedrill.dev/v1alpha1", "kind": "Experiment",
            "metadata": {"name": "surge", "namespace": "shop"},
            "spec": {
                "hypothesis": "It holds.",
                "load": [{"name": "shoppers", "url": "http://checkout.shop.svc/", "requestsPerSecond": 10, "rampUp": "10s"}],
                "steadyState": [{"name": "p99", "load": {"name": "shoppers"}, "expect": "p99 < 1.0"}],
                "method": [{"name": "surge", "load": {"url": "http://checkout.shop.svc/", "requestsPerSecond": 100},
                            "duration": "1m", "background": background}],
            },
        });
        Self { state: fixture::begun(experiment), at: Timestamp::UNIX_EPOCH }
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.at += Duration::from_secs(seconds);
        self
    }

    fn write(&mut self, record: Record) {
        let entry = Entry { seq: self.state.written(), at: self.at, epoch: Epoch(1), record };
        transition(&mut self.state, &entry).expect("a legal record");
    }

    /// What the driver does with loads, and then what comes next.
    fn next(&mut self, answered: u64) -> Command {
        let wanted = wanted(&self.state);
        let open: Vec<String> =
            self.state.loads.iter().filter(|(_, l)| l.ended.is_none()).map(|(n, _)| n.clone()).collect();
        for load in open.into_iter().filter(|name| !wanted.contains(name)) {
            let tally = Box::new(LoadTally { sent: 100, answered, ..LoadTally::default() });
            self.write(Record::LoadEnded { load, tally });
        }
        for load in wanted {
            if !self.state.loads.contains_key(&load) {
                let of_step = load == "surge";
                self.write(Record::LoadStarted { load, of_step, what: String::new() });
            }
        }
        next(&self.state, self.at, Patience { revert: Duration::from_secs(60), unseen: None })
    }

    /// Goes on until there is something to wait for, writing down what comes next.
    fn settle(&mut self, answered: u64) -> Option<Timestamp> {
        loop {
            match self.next(answered) {
                Command::Record(record) => self.write(*record),
                Command::LookAtDeployed => {
                    let moment = crate::journal::Moment::After;
                    self.write(Record::DeployedSeen { moment, workloads: Vec::new() });
                }
                Command::Wait(until) => return until,
                Command::Done => return None,
                other => panic!("{other:?}"),
            }
        }
    }

    fn sample(&mut self, holds: bool) {
        let state =
            if holds { crate::journal::SampleState::Within } else { crate::journal::SampleState::Outside };
        self.write(Record::Sampled {
            probe: "p99".to_owned(),
            state,
            value: Some(0.1),
            expect: Some(holds),
            during: Some(holds),
            check: None,
            alerting: false,
            awaited: false,
            note: String::new(),
        });
    }

    /// Up to where the surge has begun.
    fn surging(background: bool) -> Self {
        let mut run = Self::new(background);
        run.settle(100);
        run.after(10).settle(100);
        for _ in 0..4 {
            run.after(5).sample(true);
        }
        run.settle(100);
        assert!(run.state.baseline.is_some());
        run
    }

    fn under_way(&self) -> Vec<&str> {
        let open = self.state.loads.iter().filter(|(_, load)| load.ended.is_none());
        open.map(|(name, _)| name.as_str()).collect()
    }
}

#[test]
fn baseline_waits_until_the_experiments_loads_have_grown() {
    let mut run = Run::new(false);
    let until = run.settle(100);
    assert_eq!(until, Some(Timestamp::UNIX_EPOCH + Duration::from_secs(10)));
    assert!(run.state.baseline_started.is_none() && run.under_way() == ["shoppers"]);
    run.after(10).settle(100);
    assert!(run.state.baseline_started.is_some());
}

#[test]
fn a_steps_load_disturbs_like_a_fault_and_ends_with_its_step() {
    let mut run = Run::surging(false);
    assert_eq!(run.under_way(), ["shoppers", "surge"]);
    let begun = run.at;
    assert_eq!((run.state.first_intent, run.state.first_seen()), (Some(begun), Some(begun)));
    run.after(59).sample(true);
    run.settle(100);
    assert_eq!(run.under_way().len(), 2);
    run.after(1).settle(100);
    assert_eq!(run.under_way(), ["shoppers"], "recovery is judged under the usual load");
    assert_eq!(run.state.lifted(), Some(run.at));
    for _ in 0..4 {
        run.after(5).sample(true);
    }
    assert_eq!(run.settle(100), None);
    assert!(run.under_way().is_empty() && run.state.finished);
    assert_eq!(run.state.decided.as_ref().map(|d| d.0), Some(Verdict::Passed));
}

#[test]
fn an_abort_ends_a_steps_load_at_once_and_the_experiments_own_when_recovery_is_judged() {
    for background in [false, true] {
        let mut run = Run::surging(background);
        run.after(20);
        let reason = crate::journal::StopReason::Signal;
        run.write(Record::StopRequested { reason, by: "Ctrl-C".to_owned() });
        run.next(100);
        assert_eq!(run.under_way(), ["shoppers"]);
        run.settle(100);
        for _ in 0..4 {
            run.after(5).sample(true);
        }
        assert_eq!(run.settle(100), None);
        assert!(run.under_way().is_empty());
        assert_eq!(run.state.decided.as_ref().map(|d| d.0), Some(Verdict::Aborted));
    }
}

#[test]
fn a_load_that_nobody_answered_proves_nothing() {
    let mut run = Run::surging(true);
    run.after(60).sample(true);
    run.settle(0);
    for _ in 0..4 {
        run.after(5).sample(true);
    }
    assert_eq!(run.settle(0), None);
    let (verdict, reason, message) = run.state.decided.clone().expect("decided");
    assert_eq!((verdict, reason.as_str()), (Verdict::Inconclusive, "NoEffect"), "{message}");
}

#[test]
fn a_takeover_sends_nothing() {
    let mut run = Run::surging(true);
    let (holder, by, why) = ("other".to_owned(), "other".to_owned(), "rollback".to_owned());
    run.write(Record::OwnerChanged { holder, by, why, goes_on: false });
    assert!(wanted(&run.state).is_empty());
    assert_eq!(run.settle(100), None);
    assert!(run.under_way().is_empty());
}
