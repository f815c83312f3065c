//! Loads on the embedded cluster: who may be sent to, what is measured, how they end.

use std::time::Duration;

use firedrill::{
    api::Experiment,
    engine::{self, EngineError, Outside},
    journal::{Entry, Record, StopReason},
    types::{Finding, Verdict, load::LoadTally},
};

use crate::kit::{Stage, in_virtual_time, shop};

/// An experiment over the shop.
fn file(load: &str, steady_state: &str, method: &str) -> String {
    format!(
        "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: loaded, namespace: shop}}\nspec:\n  \
         hypothesis: It holds under load.\n{load}  steadyState:\n{steady_state}{method}  objectives: {{recoverWithin: 1m}}\n"
    )
}

const SHOPPERS: &str = "  load:\n  - {name: shoppers, url: 'http://checkout.shop.svc/cart', requestsPerSecond: 50, rampUp: 5s}\n";
const CLIENT: &str = "  - name: client\n    signal: Errors\n    load: {name: shoppers}\n    value: errorRatio\n    \
    expect: errorRatio <= 0.01 && p99 <= 1.0\n    during: errorRatio <= 0.6\n    every: 2s\n    for: 4s\n";
const REPLICAS: &str = "  - name: replicas\n    \
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: checkout}\n    value: object.status.readyReplicas\n    \
    expect: value >= 4\n    during: value >= 1\n";

fn surge(more: &str) -> String {
    format!(
        "  method:\n  - name: surge\n    load: {{url: 'http://checkout.shop.svc/', requestsPerSecond: 100, arrivals: Poisson}}\n    {more}\n"
    )
}

/// Every load of a journal, with what became of it.
fn tallies(entries: &[Entry]) -> Vec<(&str, &LoadTally)> {
    let ended = entries.iter().filter_map(|entry| match &entry.record {
        Record::LoadEnded { load, tally } => Some((load.as_str(), &**tally)),
        _ => None,
    });
    ended.collect()
}

fn place(entries: &[Entry], of: impl Fn(&Record) -> bool) -> usize {
    entries.iter().position(|entry| of(&entry.record)).expect("there is such a record")
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    let errors = findings.iter().filter(|finding| finding.is_error());
    errors.map(|finding| finding.code.0.as_ref()).collect()
}

#[test]
fn a_load_for_the_whole_run_sees_what_its_clients_see() {
    let kill = "  method:\n  - name: lose-half\n    target: {workload: deployment/checkout, count: 50%}\n    \
        podKill: {gracePeriod: 0s}\n  - wait: 20s\n";
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let totals = || stage.cluster.metrics().totals("shop", "checkout").expect("it has traffic").offered;
        let (before, begun) = (totals(), stage.env.clock.now());
        let ran = stage.run(stage.request(&file(SHOPPERS, CLIENT, kill), 7)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Passed, "{:#?}", ran.entries.last());
        let [(name, tally)] = tallies(&ran.entries)[..] else { panic!("one load") };
        assert_eq!(name, "shoppers");
        assert!(
            tally.failed() > 5 && tally.refused_by_status == tally.failed(),
            "half of them died: {tally:?}"
        );
        assert!(tally.answered > 1000 && tally.overflowed == 0 && tally.unfinished < 10, "{tally:?}");
        // The Service's own clients offer 200 a second; what the load sent came on top.
        let took = stage.env.clock.now().duration_since(begun).as_secs_f64();
        let extra = (totals() - before) as f64 - took * 200.0;
        assert!((extra - tally.sent as f64).abs() < 4.0 * (took * 200.0).sqrt(), "{extra} and {tally:?}");
        let baseline = place(&ran.entries, |record| matches!(record, Record::BaselineStarted {}));
        let started = place(&ran.entries, |record| matches!(record, Record::LoadStarted { .. }));
        let recovered = place(&ran.entries, |record| matches!(record, Record::Recovered { .. }));
        let ended = place(&ran.entries, |record| matches!(record, Record::LoadEnded { .. }));
        assert!(started < baseline && recovered < ended, "from before Baseline until recovery is judged");
        let grown = ran.entries[baseline].at.duration_since(ran.entries[started].at);
        assert_eq!(grown.as_secs(), 5, "Baseline waits for the ramp");
    });
}

#[test]
fn a_rehearsed_load_is_the_same_for_the_same_seed() {
    let once = || {
        in_virtual_time(async {
            let stage = Stage::new(&shop(), 7).await;
            let text = file(SHOPPERS, CLIENT, &surge("duration: 20s"));
            let ran = stage.run(stage.request(&text, 9)).await.expect("not refused");
            serde_json::to_string(&ran.entries).expect("JSON")
        })
    };
    assert_eq!(once(), once());
}

#[test]
fn a_load_step_is_judged_like_a_fault_and_leaves_nothing() {
    for (more, sent) in [
        ("duration: 30s", 2_500..3_500),
        ("duration: 30s\n    background: true\n  - wait: 10s", 2_500..3_500),
    ] {
        in_virtual_time(async {
            let stage = Stage::new(&shop(), 7).await;
            let before = stage.state();
            let ran =
                stage.run(stage.request(&file("", REPLICAS, &surge(more)), 7)).await.expect("not refused");
            assert_eq!(ran.verdict(), Verdict::Passed);
            let [("surge", tally)] = tallies(&ran.entries)[..] else { panic!("one load") };
            assert!(sent.contains(&tally.sent), "{tally:?}");
            let ended = place(&ran.entries, |record| matches!(record, Record::LoadEnded { .. }));
            let reverted = place(&ran.entries, |record| matches!(record, Record::AllReverted { .. }));
            assert!(ended < reverted);
            assert_eq!(stage.state(), before);
        });
    }
}

#[test]
fn a_load_that_breaks_its_target_ends_with_the_violation() {
    let probe = "  - name: client\n    load: {name: surge}\n    role: Informational\n  - name: errors\n    \
        prometheus:\n      query: sum(rate(http_requests_total{app=\"checkout\",code=~\"5..\"}[10s])) / \
        sum(rate(http_requests_total{app=\"checkout\"}[10s]))\n    expect: value <= 0.01\n    every: 1s\n    \
        timeout: 1s\n    for: 2s\n";
    let method = "  method:\n  - name: surge\n    load: {url: 'http://checkout.shop.svc/', requestsPerSecond: 50000, maxInFlight: 100000}\n    \
        duration: 5m\n";
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let ran = stage.run(stage.request(&file("", probe, method), 7)).await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Failed);
        let [(_, tally)] = tallies(&ran.entries)[..] else { panic!("one load") };
        let started =
            &ran.entries[place(&ran.entries, |record| matches!(record, Record::LoadStarted { .. }))];
        let violated = &ran.entries[place(&ran.entries, |record| matches!(record, Record::Violated { .. }))];
        let ended = &ran.entries[place(&ran.entries, |record| matches!(record, Record::LoadEnded { .. }))];
        assert!(ended.at.duration_since(started.at).as_secs() < 30, "{} to {}", started.at, ended.at);
        assert_eq!(ended.at, violated.at, "nothing more is sent from the violation on");
        assert!(tally.refused_by_status > 1000, "{tally:?}");
    });
}

#[test]
fn what_does_not_fit_is_counted_in_a_rehearsal_too() {
    let method = "  method:\n  - name: surge\n    load: {url: 'http://checkout.shop.svc/', requestsPerSecond: 1000, maxInFlight: 4}\n    \
        duration: 20s\n  - name: seen\n    check: {probe: replicas}\n";
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let ran = stage.run(stage.request(&file("", REPLICAS, method), 7)).await.expect("not refused");
        let [(_, tally)] = tallies(&ran.entries)[..] else { panic!("one load") };
        assert!(tally.overflowed > 1000, "{tally:?}");
        // The one that is due just as it ends may be among them.
        let due = tally.sent + tally.overflowed;
        assert!((20_000..=20_002).contains(&due), "all that was due: {tally:?}");
    });
}

#[test]
fn who_has_not_agreed_is_not_sent_to() {
    let to = |url: &str| {
        let load = format!("  load:\n  - {{name: shoppers, url: '{url}', requestsPerSecond: 50}}\n");
        file(&load, REPLICAS, "")
    };
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let assessed = async |text: &str, namespace: Option<&str>| {
            let mut request = stage.request(text, 7);
            if let Some(namespace) = namespace {
                request.namespace = namespace.to_owned();
            }
            let found = engine::assess(&stage.env, &request).await;
            found.map_or_else(|findings| findings, |assessment| assessment.plan.findings)
        };
        let fine = assessed(&to("http://checkout.shop.svc/"), None).await;
        assert!(fine.is_empty(), "{fine:?}");
        let elsewhere = assessed(&to("http://prometheus.monitoring.svc:9090/"), None).await;
        assert_eq!(codes(&elsewhere), Vec::<&str>::new());
        assert!(
            elsewhere.iter().any(|finding| finding.code.0 == "FD4031"),
            "named as a hazard: {elsewhere:?}"
        );
        let protected = assessed(&to("http://dns.kube-system.svc/"), None).await;
        assert!(codes(&protected).contains(&"FD2004"), "{protected:?}");
        let unknown = assessed(&to("http://nobody.shop.svc/"), None).await;
        assert_eq!(codes(&unknown), ["FD2031"]);
        let outside = assessed(&to("http://shop.example.com/"), None).await;
        assert_eq!(codes(&outside), ["FD2031"], "a rehearsal sends nothing outside");
        assert!(outside.iter().any(|finding| finding.code.0 == "FD4031"), "{outside:?}");
        let unasked = assessed(&to("http://prometheus.monitoring.svc:9090/"), Some("monitoring")).await;
        assert!(codes(&unasked).contains(&"FD2003"), "the namespace has not consented: {unasked:?}");
    });
}

#[test]
fn the_plan_says_what_would_be_sent() {
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let request = stage.request(&file(SHOPPERS, CLIENT, &surge("duration: 20s")), 7);
        let Ok(assessment) = engine::assess(&stage.env, &request).await else { panic!("refused") };
        let [whole, step] = &assessment.plan.loads[..] else { panic!("two loads") };
        assert!(whole.whole_run && whole.requests.is_none(), "{whole:?}");
        assert_eq!(whole.what, "GET http://checkout.shop.svc/cart, 50 requests/s, growing over 5s");
        assert_eq!((step.name.as_str(), step.requests), ("surge", Some(2000)));
        assert_eq!(assessment.plan.steps[0].action, "load");
    });
}

#[test]
fn a_service_without_pods_fails_every_request() {
    let mut objects = shop();
    objects.push(serde_json::json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "empty", "namespace": "shop"}, "spec": {"ports": [{"port": 80}]}}));
    let method = "  method:\n  - name: surge\n    load: {url: 'http://empty.shop.svc/', requestsPerSecond: 10}\n    \
        duration: 10s\n";
    in_virtual_time(async {
        let stage = Stage::new(&objects, 7).await;
        let ran = stage.run(stage.request(&file("", REPLICAS, method), 7)).await.expect("not refused");
        let [(_, tally)] = tallies(&ran.entries)[..] else { panic!("one load") };
        // A gateway answers for it with 503: that is an answer, and a failure.
        assert!((100..=101).contains(&tally.sent) && tally.failed() == tally.sent, "{tally:?}");
    });
}

/// Examples that the documentation shows.
#[test]
fn the_examples_of_the_docs_are_accepted() {
    let text = include_str!("../../docs/autoscaling.md");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole: Vec<&str> = blocks.filter(|block| block.contains("kind: Experiment")).collect();
    assert!(whole.len() >= 4, "{}", whole.len());
    for block in whole {
        let (experiment, value) = crate::kit::experiment(block);
        let again = Experiment::from_value(&value).expect("what was accepted can be decoded");
        assert_eq!(again, experiment);
        assert!(experiment.spec.baseline_duration() > Duration::ZERO);
    }
}

/// An hour of surge, which somebody puts an end to.
fn endless() -> String {
    file(SHOPPERS, CLIENT, &surge("duration: 30m"))
}

#[test]
fn ctrl_c_ends_a_steps_load_at_once() {
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let ran = stage.run_with(stage.request(&endless(), 7), |entry, tx| {
            if matches!(&entry.record, Record::LoadStarted { of_step: true, .. }) {
                let stop = Outside::Stop(StopReason::Signal, "Ctrl-C".to_owned());
                tx.send(stop).expect("it listens");
            }
        });
        let ran = ran.await.expect("not refused");
        assert_eq!(ran.verdict(), Verdict::Aborted);
        let at = |of: &dyn Fn(&Record) -> bool| ran.entries[place(&ran.entries, of)].at;
        let stopped = at(&|record| matches!(record, Record::StopRequested { .. }));
        let ended = at(&|record| matches!(record, Record::LoadEnded { load, .. } if load == "surge"));
        assert_eq!(stopped, ended, "an abort pre-empts loads");
        assert!(ran.entries.iter().any(|entry| matches!(entry.record, Record::Recovered { .. })));
    });
}

#[test]
fn a_load_ends_with_its_runner_and_a_rollback_sends_nothing() {
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let before = stage.state();
        // A runner that is told to leave does so only while something is in force.
        let less = "  method:\n  - name: less\n    target: {workload: deployment/checkout}\n    scale: {by: -1}\n    background: true\n";
        let file = endless().replace("  method:\n", less);
        let ran = stage.run_with(stage.request(&file, 7), |entry, tx| {
            if matches!(&entry.record, Record::LoadStarted { of_step: true, .. }) {
                tx.send(Outside::Leave).expect("it listens");
            }
        });
        let ran = ran.await.expect("not refused");
        let Err(EngineError::Left(run)) = &ran.outcome else { panic!("{:?}", ran.outcome) };
        let offered = || stage.cluster.metrics().totals("shop", "checkout").expect("it has traffic").offered;
        let left = offered();
        let outcome = engine::from_journal(&stage.env, run, crate::crash::rollback(true)).await;
        let outcome = outcome.expect("an ordinary end");
        assert_eq!((outcome.verdict, outcome.residue.len()), (Verdict::Aborted, 0));
        tokio::time::sleep(Duration::from_secs(60)).await;
        // Its own 200 a second for whatever that took, and nothing of the 150 more.
        let entries = stage.journal(run);
        let took = stage.env.clock.now().duration_since(ran.entries[ran.entries.len() - 1].at).as_secs_f64();
        let extra = (offered() - left) as f64 - took * 200.0;
        assert!(extra.abs() < 5.0 * (took * 200.0).sqrt(), "{extra} more in {took} s");
        let ended = entries.iter().filter(|entry| matches!(entry.record, Record::LoadEnded { .. })).count();
        assert_eq!(ended, 2, "the journal says of each that it is over");
        assert_eq!(stage.state(), before);
    });
}
