//! Metrics that say nothing: never a pass.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use firedrill::{
    journal::Record,
    sim::{
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        cluster::PROMETHEUS,
    },
    types::Verdict,
};
use futures::FutureExt;
use http::Response;

use super::{assert_sound, once};
use crate::{
    crash::house::{method, settled, settles},
    kit::{Stage, in_virtual_time},
};

const EXPERIMENT: &str = "apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: trial, namespace: shop}
spec:
  hypothesis: It goes on.
  steadyState:
  - name: served
    prometheus: {query: sum(up)}
    expect: EXPECT
    every: 5s
    for: 10s
  baseline: {duration: 10s}
  objectives: {recoverWithin: 2m}
  limits: {pods: 100%, nodes: 50%, duration: 10m}
  method:
  - STEP
  - wait: 1m
";

/// What Prometheus answers when all is well, at its own time.
fn well(at: f64) -> String {
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{at},"1"]}}]}}}}"#
    )
}

/// What it answers in each misfortune.
const ANSWERS: [(&str, &str); 8] = [
    ("empty", r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#),
    (
        "NaN",
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[AT,"NaN"]}]}}"#,
    ),
    (
        "infinite",
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[AT,"+Inf"]}]}}"#,
    ),
    (
        "two series",
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[AT,"1"]},{"metric":{"a":"2"},"value":[AT,"1"]}]}}"#,
    ),
    ("an error", r#"{"status":"error","errorType":"execution","error":"query timed out"}"#),
    ("a login page", "<html>please log in</html>"),
    ("a matrix", r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#),
    ("never", ""),
];

/// Serves the good answer, and the bad one while `bad` is on.
fn serve(stage: &Stage, answer: &'static str, bad: &Arc<AtomicBool>) {
    let (bad, clock) = (bad.clone(), stage.env.clock.clone());
    let backend = move |_| {
        let at = clock.now().as_millisecond() as f64 / 1000.0;
        let is_bad = bad.load(Ordering::Relaxed);
        async move {
            if is_bad && answer.is_empty() {
                std::future::pending::<()>().await;
            }
            let body = if is_bad { answer.replace("AT", &at.to_string()) } else { well(at) };
            Response::new(Bytes::from(body))
        }
        .boxed()
    };
    stage.cluster.sim().register_backend(PROMETHEUS.0, PROMETHEUS.1, Arc::new(backend));
}

/// Both a strict expectation and one that any number would meet: no data is no data.
fn text(expect: &str) -> String {
    EXPERIMENT.replace("STEP", method("scale")).replace("EXPECT", expect)
}

#[test]
fn metrics_that_say_nothing_during_the_run_make_it_inconclusive() {
    for (what, answer) in ANSWERS {
        in_virtual_time(async {
            let stage = settled(3).await;
            let before = stage.state();
            let bad = Arc::new(AtomicBool::new(false));
            serve(&stage, answer, &bad);
            let watch = once(
                |record| matches!(record, Record::InjectIntended { .. }),
                move || bad.store(true, Ordering::Relaxed),
            );
            let request = stage.request(&text("value >= 1.0"), 3);
            let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Inconclusive, "{what}");
            assert_sound(&stage, &ran, what);
            assert_eq!(settles(&stage, &before).await, Vec::<String>::new(), "{what}");
        });
    }
}

#[test]
fn metrics_that_say_nothing_from_the_start_change_nothing() {
    for (what, answer) in ANSWERS {
        in_virtual_time(async {
            let stage = settled(3).await;
            let before = stage.state();
            serve(&stage, answer, &Arc::new(AtomicBool::new(true)));
            let ran = stage.run(stage.request(&text("value <= 1.0"), 3)).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Inconclusive, "{what}");
            assert_sound(&stage, &ran, what);
            let intended = |record: &Record| matches!(record, Record::InjectIntended { .. });
            assert!(!ran.entries.iter().any(|entry| intended(&entry.record)), "{what}");
            assert_eq!(stage.state(), before, "{what}");
        });
    }
}

#[test]
fn a_metric_source_that_cannot_be_reached_makes_it_inconclusive() {
    in_virtual_time(async {
        let stage = settled(3).await;
        let before = stage.state();
        serve(&stage, "", &Arc::new(AtomicBool::new(false)));
        let mischief = stage.cluster.sim().mischief().clone();
        let act = move || {
            let matcher = Matcher { resource: "services".to_owned(), ..Matcher::default() };
            mischief.add(Rule { matcher, turn: Turn::Every, action: Action::DropBeforeCommit });
        };
        let watch = once(|record| matches!(record, Record::EffectSeen { .. }), act);
        let request = stage.request(&text("value >= 1.0"), 3);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
        assert_eq!(settles(&stage, &before).await, Vec::<String>::new());
    });
}

/// Bounded: no longer than `for` and one interval after the data ended.
#[test]
fn a_lack_of_data_stops_the_run_in_time() {
    in_virtual_time(async {
        let stage = settled(3).await;
        let bad = Arc::new(AtomicBool::new(false));
        serve(&stage, ANSWERS[0].1, &bad);
        let watch = once(
            |record| matches!(record, Record::InjectIntended { .. }),
            move || bad.store(true, Ordering::Relaxed),
        );
        let request = stage.request(&text("value >= 1.0"), 3);
        let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
        let at = |wanted: fn(&Record) -> bool| {
            ran.entries.iter().find(|entry| wanted(&entry.record)).expect("there").at
        };
        let from = at(|record| matches!(record, Record::InjectIntended { .. }));
        let to = at(|record| matches!(record, Record::StopRequested { .. }));
        let took = Duration::try_from(to.duration_since(from)).expect("forward");
        assert!(took <= Duration::from_secs(21), "{took:?}");
    });
}
