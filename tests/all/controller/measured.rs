//! What the controller tells of itself: its metrics while runs go on.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use firedrill::{
    api::API_VERSION,
    cluster::Write,
    controller::metrics::Metrics,
    sim::{
        apiserver::mischief::{Action, Matcher, Rule, Turn},
        store::Status,
    },
    types::ObjectRef,
};
use serde_json::{Value, json};

use super::office::{Office, SCALE};
use crate::{crash::house::experiment_of, kit::in_virtual_time};

/// What a sample says; NaN if it is not there.
pub fn value(metrics: &Metrics, sample: &str) -> f64 {
    let text = metrics.render();
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.map_or(f64::NAN, |value| value.parse().expect("a number"))
}

fn values<const N: usize>(metrics: &Metrics, names: [&str; N]) -> [f64; N] {
    names.map(|name| value(metrics, &format!("firedrill_{name}")))
}

const IN_FORCE: [&str; 4] = ["runs_in_progress", "runs_in_force", "changes_in_force", "residue"];

#[test]
fn a_run_is_counted_with_what_it_took_and_nothing_stays_in_force() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        let told = replica.metrics.clone();
        office.until("it is ready", async || told.ready()).await;
        assert_eq!(values(&told, IN_FORCE), [0.0; 4]);
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        assert_eq!(values(&told, IN_FORCE), [1.0, 1.0, 1.0, 0.0]);
        let status = office.over(&run).await;
        office.until("it is let go", async || value(&told, "firedrill_runs_in_progress") == 0.0).await;
        assert_eq!(values(&told, IN_FORCE), [0.0; 4]);
        assert_eq!(value(&told, "firedrill_runs_total{verdict=\"Passed\"}"), 1.0);
        // As the Run's own status says it: the deployment heals when it is scaled back.
        let measured = |clock: &str| {
            let said = status["measured"][clock].as_str().expect("it was measured");
            said.parse::<firedrill::types::Length>().expect("a length").0.as_secs_f64()
        };
        for clock in ["rto", "recovery"] {
            let name = format!("firedrill_run_{clock}_seconds");
            assert_eq!(value(&told, &format!("{name}_count")), 1.0, "{name}");
            let sum = value(&told, &format!("{name}_sum"));
            assert!(
                (sum - measured(clock)).abs() < 1e-6,
                "{name}: {sum}, and {} in the status",
                measured(clock)
            );
        }
        assert!(value(&told, "firedrill_api_requests_total{verb=\"patch\",code=\"2xx\"}") >= 2.0);
        assert!(value(&told, "firedrill_api_requests_total{verb=\"watch\",code=\"2xx\"}") >= 1.0);
        replica.ends().await;
    });
}

#[test]
fn who_takes_over_tells_what_is_in_force_and_puts_it_back() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let first = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        first.dies();
        let second = office.replica("b");
        let told = second.metrics.clone();
        // It is in force there for no longer than reverting takes.
        let most = Arc::new(Mutex::new(0.0_f64));
        let watching = tokio::spawn({
            let (told, most) = (told.clone(), most.clone());
            async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let now = value(&told, "firedrill_changes_in_force");
                    let mut most = most.lock().expect("no panic");
                    *most = most.max(now);
                }
            }
        });
        assert_eq!(office.over(&run).await["reason"], "RunnerLost");
        watching.abort();
        assert_eq!(*most.lock().expect("no panic"), 1.0);
        office.until("it is let go", async || value(&told, "firedrill_runs_in_progress") == 0.0).await;
        assert_eq!(values(&told, IN_FORCE), [0.0; 4]);
        assert_eq!(value(&told, "firedrill_runs_total{verdict=\"Aborted\"}"), 1.0);
    });
}

#[test]
fn one_that_does_not_begin_is_counted_and_a_violation_is_timed() {
    in_virtual_time(async {
        let text = experiment_of("value >= 4.0", "value >= 3.0", &[SCALE]);
        let office = Office::with(&text).await;
        let told = office.replica("a");
        let run = office.make("trial-1", json!({"experimentRef": {"name": "none"}})).await;
        assert_eq!(office.over(&run).await["verdict"], "Refused");
        let run = office.run("trial-2", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Failed");
        let count =
            |verdict: &str| value(&told.metrics, &format!("firedrill_runs_total{{verdict=\"{verdict}\"}}"));
        assert_eq!([count("Refused"), count("Failed"), count("Passed")], [1.0, 1.0, 0.0]);
        for clock in ["detection", "revert", "abort"] {
            let count = value(&told.metrics, &format!("firedrill_run_{clock}_seconds_count"));
            assert_eq!(count, 1.0, "{clock}");
        }
    });
}

/// How many Runs have ended with each of these verdicts.
fn ended<const N: usize>(metrics: &Metrics, verdicts: [&str; N]) -> [f64; N] {
    verdicts.map(|verdict| value(metrics, &format!("firedrill_runs_total{{verdict=\"{verdict}\"}}")))
}

/// A game day of `trial` twice, the second time after a go, and its Run.
async fn game_day(office: &Office) -> ObjectRef {
    let day = json!({"apiVersion": API_VERSION, "kind": "GameDay",
    "metadata": {"name": "weekly", "namespace": "shop"},
    "spec": {"onFailure": "Continue", "experiments": [
        {"name": "one", "experimentRef": {"name": "trial"}},
        {"name": "two", "experimentRef": {"name": "trial"}, "gate": "Manual"},
    ]}});
    let object = ObjectRef::namespaced(API_VERSION, "GameDay", "shop", "weekly");
    office.access.create(&object, day, Write::default()).await.expect("it is created");
    office.make("weekly-1", json!({"gameDayRef": {"name": "weekly"}, "requestedBy": "ada"})).await
}

async fn go(office: &Office, run: &ObjectRef) -> Value {
    let answer =
        json!([{"name": "two/gate", "action": "Confirm", "by": "bob", "time": "2026-01-01T00:30:00Z"}]);
    office.set(run, json!({"steps": answer})).await;
    office.over(run).await
}

#[test]
fn a_game_day_is_counted_beside_each_of_its_experiments() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let told = office.replica("a").metrics;
        let run = game_day(&office).await;
        office.says(&run, "currentStep", "two/gate").await;
        assert_eq!(ended(&told, ["Passed"]), [1.0], "its first experiment");
        assert_eq!(go(&office, &run).await["verdict"], "Passed");
        assert_eq!(ended(&told, ["Passed", "Refused", "Failed"]), [3.0, 0.0, 0.0]);
    });
}

#[test]
fn a_part_that_is_refused_is_counted_and_so_is_its_day() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let told = office.replica("a").metrics;
        let run = game_day(&office).await;
        office.says(&run, "currentStep", "two/gate").await;
        office
            .delete(&ObjectRef::namespaced(
                "rbac.authorization.k8s.io/v1",
                "RoleBinding",
                "shop",
                "firedrill",
            ))
            .await;
        let status = go(&office, &run).await;
        assert_eq!(status["experiments"][1]["verdict"], "Refused", "{status}");
        let day = status["verdict"].as_str().expect("it has one");
        let verdicts = ["Passed", "Refused", "Inconclusive", "Failed", "Aborted", "NotSteady"];
        let counts = ended(&told, verdicts);
        assert_eq!(counts.iter().sum::<f64>(), 3.0, "{verdicts:?}: {counts:?}, the day {day}");
        assert_eq!(counts[0], 1.0, "{counts:?}");
        assert_eq!(counts[1], if day == "Refused" { 2.0 } else { 1.0 }, "{counts:?}, the day {day}");
    });
}

#[test]
fn what_does_not_begin_is_told_once_however_often_its_status_is_refused() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let mischief = office.stage.cluster.sim().mischief();
        let refused = Status::internal("the quota's webhook does not answer");
        // All but the first, which says its seed.
        for nth in 2..400 {
            let matcher = Matcher { name: "trial-1".to_owned(), ..Matcher::on("patch", "runs/status") };
            mischief.add(Rule { matcher, turn: Turn::Nth(nth), action: Action::Answer(refused.clone()) });
        }
        let told = office.replica("a").metrics;
        let run = office.run("trial-1", json!({"serviceAccountName": "nobody"})).await;
        // Longer than the last words of a Run are tried to be written: it is taken up again.
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!((ended(&told, ["Refused"]), office.told("Run")), ([0.0], Vec::new()));
        mischief.clear();
        assert_eq!(office.over(&run).await["verdict"], "Refused");
        assert_eq!((ended(&told, ["Refused"]), office.events("Run")), ([1.0], vec!["Refused".to_owned()]));
    });
}

#[test]
fn what_cannot_be_put_back_is_told_until_it_is() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let told = office.replica("a").metrics;
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        let mischief = office.stage.cluster.sim().mischief();
        let refused = Status::internal("the quota's webhook does not answer");
        let matcher = Matcher { name: "web".to_owned(), ..Matcher::on("patch", "deployments/scale") };
        mischief.add(Rule { matcher, turn: Turn::Every, action: Action::Answer(refused) });
        office.set(&run, json!({"abort": true})).await;
        office.until("it is stuck", async || value(&told, "firedrill_runs_stuck") == 1.0).await;
        assert_eq!(values(&told, IN_FORCE), [1.0, 1.0, 1.0, 1.0]);
        assert!(value(&told, "firedrill_api_requests_total{verb=\"patch\",code=\"5xx\"}") >= 1.0);
        mischief.clear();
        assert_eq!(office.over(&run).await["verdict"], "Aborted");
        office.until("it is let go", async || value(&told, "firedrill_runs_in_progress") == 0.0).await;
        assert_eq!(values(&told, IN_FORCE), [0.0; 4]);
        assert_eq!(value(&told, "firedrill_runs_stuck"), 0.0);
    });
}
