//! Metrics that say nothing: never a pass.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use firedrill::{
    engine,
    env::Clock,
    journal::Record,
    sim::{
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        cluster::PROMETHEUS,
        metrics::{
            http::PrometheusApi,
            scrape::{ScrapeConfig, Scrapes},
            series::{Series, Source},
        },
    },
    types::{
        Verdict,
        codes::{guard, hazard},
    },
};
use futures::FutureExt;
use http::{Request, Response};
use promql_parser::label::Matcher as LabelMatcher;

use super::{assert_sound, once};
use crate::{
    crash::house::{method, settled, settles},
    kit::{Stage, in_virtual_time, shop},
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

/// What Prometheus answers at its own time: one series, with this number.
fn well(at: f64, number: &str) -> String {
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{at},"{number}"]}}]}}}}"#
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
    let backend = move |request: Request<Bytes>| {
        let at = clock.now().as_millisecond() as f64 / 1000.0;
        let is_bad = bad.load(Ordering::Relaxed);
        // How old the data is, is asked beside it: it is fresh, and what it says is bad.
        let of_age = request.uri().query().is_some_and(|query| query.contains("timestamp"));
        async move {
            if is_bad && answer.is_empty() {
                std::future::pending::<()>().await;
            }
            let body = match (is_bad, of_age) {
                (_, true) => well(at, &at.to_string()),
                (true, false) => answer.replace("AT", &at.to_string()),
                (false, false) => well(at, "1"),
            };
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

/// A Prometheus that scrapes one target, and stands still without a word when told to: it goes on answering.
struct Hung {
    scrapes: Mutex<Scrapes>,
    hung: Arc<AtomicBool>,
    clock: Clock,
}

impl Source for Hung {
    fn select(&self, matchers: &[LabelMatcher], from: i64, to: i64) -> Vec<Series> {
        let mut scrapes = self.scrapes.lock().expect("no panic holds it");
        if !self.hung.load(Ordering::Relaxed) {
            scrapes.advance(self.clock.now().as_millisecond());
        }
        scrapes.select(matchers, from, to)
    }
}

/// Puts it in the place of the cluster's own, with a quarter of an hour of `hits` behind it, one a second.
async fn may_hang(stage: &Stage, interval_ms: i64) -> Arc<AtomicBool> {
    let (hung, clock) = (Arc::new(AtomicBool::new(false)), stage.env.clock.clone());
    let now = clock.now().as_millisecond();
    let mut scrapes = Scrapes::new(ScrapeConfig { interval_ms, ..ScrapeConfig::default() }, now);
    let target = scrapes.add_target([("pod", "a")].into_iter().collect(), now);
    let hits = scrapes.register(target, "hits", &[("code", "2\\d\"")], (now, 0.0));
    for second in 1..3600 {
        scrapes.add(hits, now + second * 1000, 1.0);
    }
    let source = Arc::new(Hung { scrapes: Mutex::new(scrapes), hung: hung.clone(), clock: clock.clone() });
    let api = PrometheusApi::new(source.clone(), move || clock.now().as_millisecond());
    let backend = move |request| {
        let api = api.clone();
        async move { api.handle(request).await }.boxed()
    };
    stage.cluster.sim().register_backend(PROMETHEUS.0, PROMETHEUS.1, Arc::new(backend));
    tokio::time::sleep(Duration::from_secs(900)).await;
    // It has scraped up to now, whether anybody asked or not.
    source.select(&[], 0, 0);
    hung
}

/// Each of them goes on giving what it gave before, for minutes.
const QUERIES: [&str; 5] = [
    "sum(up)",
    r#"sum(rate(hits{code=~"2.*\""}[4m])) > bool 0"#,
    "sum(increase(hits[10m])) > bool 0",
    "avg_over_time(sum(up)[3m:10s])",
    "max(hits > bool 0) or vector(1)",
];

fn asking(query: &str, more: &str) -> String {
    let probe = format!("{{query: '{query}'{more}}}");
    text("value > 0.5").replace("{query: sum(up)}", &probe)
}

#[test]
fn a_prometheus_that_stands_still_and_answers_is_no_data() {
    for query in QUERIES {
        for (hangs, interval) in [("when it begins", 5_000), ("when it begins", 15_000), ("before", 5_000)] {
            in_virtual_time(async {
                let at = format!("{query}, hanging {hangs}");
                let stage = settled(3).await;
                let before = stage.state();
                let hung = may_hang(&stage, interval).await;
                let early = hangs == "before";
                if early {
                    hung.store(true, Ordering::Relaxed);
                    // As long as an instant query still finds something.
                    tokio::time::sleep(Duration::from_secs(120)).await;
                }
                let watch = once(
                    |record| matches!(record, Record::InjectIntended { .. }),
                    move || hung.store(true, Ordering::Relaxed),
                );
                let request = stage.request(&asking(query, ""), 3);
                let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
                assert_eq!(ran.verdict(), Verdict::Inconclusive, "{at}");
                let stale = |record: &Record| matches!(record, Record::Sampled { note, .. } if note.contains("stale"));
                assert!(ran.entries.iter().any(|entry| stale(&entry.record)), "{at}");
                let intended = |record: &Record| matches!(record, Record::InjectIntended { .. });
                assert_eq!(ran.entries.iter().any(|entry| intended(&entry.record)), !early, "{at}");
                assert_sound(&stage, &ran, &at);
                assert_eq!(settles(&stage, &before).await, Vec::<String>::new(), "{at}");
            });
        }
    }
}

/// After more than five minutes an instant query finds nothing, and a long range still does.
#[test]
fn what_only_a_long_range_still_sees_is_no_data() {
    in_virtual_time(async {
        let stage = settled(3).await;
        let hung = may_hang(&stage, 5_000).await;
        hung.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(400)).await;
        let ran = stage.run(stage.request(&asking("sum(increase(hits[10m])) > bool 0", ""), 3)).await;
        let ran = ran.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Inconclusive);
        let said = |record: &Record| matches!(record, Record::Sampled { note, .. } if note.contains("no sample for 5m"));
        assert!(ran.entries.iter().any(|entry| said(&entry.record)));
    });
}

#[test]
fn max_age_is_the_files_to_say_and_fresh_data_is_never_refused() {
    for (query, interval, hangs, more, verdict) in [
        ("sum(up)", 5_000, true, ", maxAge: 10m", Verdict::Passed),
        ("sum(up)", 30_000, true, ", maxAge: 20s", Verdict::Inconclusive),
        ("sum(up)", 30_000, false, "", Verdict::Passed),
        ("sum(up)", 60_000, false, "", Verdict::Passed),
        ("sum(increase(hits[10m])) > bool 0", 60_000, false, "", Verdict::Passed),
        (r#"sum(rate(errors{code="500"}[1m])) or vector(1)"#, 5_000, false, "", Verdict::Passed),
        ("sum(hits) - sum(hits offset 10m)", 5_000, false, "", Verdict::Passed),
    ] {
        in_virtual_time(async {
            let stage = settled(3).await;
            let hung = may_hang(&stage, interval).await;
            let watch = once(
                |record| matches!(record, Record::InjectIntended { .. }),
                move || hung.store(hangs, Ordering::Relaxed),
            );
            let request = stage.request(&asking(query, more), 3);
            let ran = stage.run_with(request, move |entry, _| watch(entry)).await.expect("not refused");
            assert_eq!(ran.verdict(), verdict, "{query}, every {interval} ms{more}");
        });
    }
}

/// Between two bounds a quantile is a guess, and beyond the last it is never seen.
#[test]
fn a_histogram_without_a_bucket_near_its_threshold_is_named_beforehand() {
    let assessed = |expect: &'static str| {
        in_virtual_time(async move {
            let stage = Stage::new(&shop(), 4).await;
            let text = include_str!("../../../experiments/checkout-survives-pod-loss.yaml");
            let text = text
                .replace("expect: value <= 0.5", expect)
                .replace("during: value <= 1.0", "during: \"true\"");
            let found = engine::assess(&stage.env, &stage.request(&text, 4)).await;
            let findings = found.map_or_else(|findings| findings, |assessment| assessment.plan.findings);
            findings.into_iter().filter(|finding| finding.subject == "probe p99").collect::<Vec<_>>()
        })
    };
    assert_eq!(assessed("expect: value <= 0.5"), []);
    let guess = assessed("expect: value <= 0.35");
    assert!(guess.len() == 1 && guess[0].code == hazard::NO_BUCKET && !guess[0].is_error(), "{guess:?}");
    let never = assessed("expect: value <= 20.0");
    assert!(never.len() == 1 && never[0].code == guard::NEVER_OUTSIDE && never[0].is_error(), "{never:?}");
}
