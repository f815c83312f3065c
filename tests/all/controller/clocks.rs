//! A clock that jumps under a controller that goes on.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use firedrill::{
    env::{Clock, Env},
    types::ObjectRef,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::office::{Office, Replica, SCALE};
use crate::kit::in_virtual_time;

/// A controller whose wall clock jumps by so many seconds while the fault of a Run is in force, and that Run.
async fn jumped(seconds: i64) -> (Office, Replica, ObjectRef) {
    let office = Office::open(&[SCALE]).await;
    let ahead = Arc::new(AtomicI64::new(0));
    let (right, by) = (office.stage.env.clock.clone(), ahead.clone());
    let wall = move || right.now() + SignedDuration::from_secs(by.load(Ordering::Relaxed));
    let clock = office.stage.env.clock.clone().with_wall(wall);
    let replica = office.replica_over(Env { clock, ..office.stage.env.clone() }, "a");
    let run = office.run("trial-1", json!({})).await;
    office.shrunk().await;
    ahead.store(seconds, Ordering::Relaxed);
    (office, replica, run)
}

fn time(status: &Value, field: &str) -> Timestamp {
    status[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{field}: {status}"))
}

#[test]
fn a_clock_that_jumps_ahead_ends_what_is_in_force_and_nothing_that_begins_later() {
    in_virtual_time(async {
        let (office, replica, run) = jumped(3600).await;
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Aborted"), &json!("RunnerLost")),
            "{status}"
        );
        assert_eq!(office.replicas(), 4);
        let run = office.run("trial-2", json!({})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        let late = office.stage.env.clock.now().duration_since(time(&status, "completionTime"));
        assert!(late.abs() < SignedDuration::from_secs(60), "{late}: {status}");
        replica.ends().await;
        office.assert_as_before().await;
    });
}

#[test]
fn a_clock_that_is_put_back_neither_holds_up_a_run_nor_leaves_anything() {
    in_virtual_time(async {
        let (office, replica, run) = jumped(-3600).await;
        let begun = office.stage.env.clock.now();
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        let took = office.stage.env.clock.now().duration_since(begun);
        assert!(took < SignedDuration::from_mins(5), "{took}");
        let run = office.run("trial-2", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed", "{}", office.status(&run).await);
        replica.ends().await;
        office.assert_as_before().await;
    });
}

/// A game day comes due by the API server's clock, whatever that of the controller's machine says.
async fn is_held_in_time(off: SignedDuration) {
    let office = Office::open(&[SCALE]).await;
    let now = office.stage.env.clock.now();
    let due = (now + SignedDuration::from_mins(6)).to_zoned(jiff::tz::TimeZone::UTC);
    let object = ObjectRef::namespaced("firedrill.dev/v1alpha1", "GameDay", "shop", "once");
    let day = json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "GameDay",
        "metadata": {"name": "once", "namespace": "shop"},
        "spec": {"schedule": format!("{} {} * * *", due.minute(), due.hour()), "timeZone": "Etc/UTC",
            "experiments": [{"name": "trial"}]}});
    office.access.create(&object, day, Default::default()).await.expect("it is created");
    let clock = Clock::starting_at(now + off);
    let replica = office.replica_over(Env { clock, ..office.stage.env.clone() }, "a");
    let held = async || office.status(&object).await["lastRun"]["verdict"] == "Passed";
    office.until("it is held", held).await;
    let waited = office.stage.env.clock.now().duration_since(now);
    let in_time = waited > SignedDuration::from_mins(5) && waited < SignedDuration::from_mins(15);
    assert!(in_time, "{off}: {waited}");
    let status = office.status(&object).await;
    assert!(status["lastSkipped"].is_null(), "{off}: {status}");
    replica.ends().await;
}

#[test]
fn the_calendar_goes_by_the_api_servers_clock() {
    for hours in [-2, 2] {
        in_virtual_time(is_held_in_time(SignedDuration::from_hours(hours)));
    }
}
