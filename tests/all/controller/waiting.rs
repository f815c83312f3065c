//! Runs that wait: for their time, for others to agree, for room. They say why, take no place, and ask nobody.

use std::time::Duration;

use firedrill::{api, cluster::Write, controller::metrics::Metrics, types::ObjectRef};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    condition,
    days::{day, line, write},
    office::{Office, SCALE},
};
use crate::kit::in_virtual_time;

/// So many seconds from now.
fn later(office: &Office, seconds: u64) -> Timestamp {
    let at = office.stage.env.clock.now() + Duration::from_secs(seconds);
    Timestamp::from_second(at.as_second()).expect("a time")
}

/// Somebody agrees to what a Run asks.
async fn agree(office: &Office, run: &ObjectRef, status: &Value) {
    let time = office.stage.env.clock.now().to_string();
    office.set(run, json!({"approvals": [{"by": "bob", "hash": status["hash"], "time": time}]})).await;
}

async fn ask_for_approval(office: &Office) -> ObjectRef {
    let rule = ObjectRef::namespaced(api::API_VERSION, "Guardrail", "", "platform");
    let body = json!({"apiVersion": api::API_VERSION, "kind": "Guardrail", "metadata": {"name": "platform"},
        "spec": {"approvals": {"required": 1}}});
    office.access.create(&rule, body, Write::default()).await.expect("it is created");
    rule
}

/// How many calls it has made.
fn calls(metrics: &Metrics) -> u64 {
    let text = metrics.render();
    let calls = text.lines().filter(|line| line.starts_with("firedrill_api_requests_total{"));
    calls.map(|line| line.rsplit(' ').next().expect("a number").parse::<u64>().expect("a number")).sum()
}

#[test]
fn one_for_later_says_so_and_begins_at_its_time() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let start = later(&office, 600);
        let run = office.run("trial-1", json!({"startTime": start.to_string()})).await;
        tokio::time::sleep(Duration::from_secs(500)).await;
        let status = office.status(&run).await;
        assert_eq!(
            (&status["phase"], &status["subject"], &status["reason"]),
            (&json!("Pending"), &json!("Experiment/trial"), &json!("Waiting")),
            "{status}"
        );
        assert_eq!(status["message"], format!("begins {start}"));
        assert_eq!((&status["observedGeneration"], office.replicas()), (&json!(1), json!(4)));
        let finalizers = office.get(&run).await.expect("it is there").metadata.finalizers;
        assert_eq!(finalizers, None, "nothing of it is in force: it may go");
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed");
        let begun: Timestamp = status["startTime"].as_str().expect("it began").parse().expect("a time");
        let late = begun.duration_since(start).as_secs();
        assert!((0..=3).contains(&late), "{late}");
    });
}

#[test]
fn one_for_later_collects_approvals_until_then() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        ask_for_approval(&office).await;
        let start = later(&office, 600);
        let run = office.run("trial-1", json!({"startTime": start.to_string(), "requestedBy": "ada"})).await;
        let status = office.says(&run, "phase", "AwaitingApproval").await;
        assert_eq!(condition(&status, "Approved")["status"], "False");
        agree(&office, &run, &status).await;
        let status = office.says(&run, "phase", "Pending").await;
        assert_eq!(status["message"], format!("begins {start}"));
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        assert!(office.stage.env.clock.now() > start);
    });
}

/// A game day deleted while it waits is gone at once, and so is a Run.
#[test]
fn what_waits_holds_nothing_back() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        ask_for_approval(&office).await;
        let run = office.run("trial-1", json!({"requestedBy": "ada"})).await;
        office.says(&run, "phase", "AwaitingApproval").await;
        office.delete(&run).await;
        assert!(office.get(&run).await.is_none());
        office.until("nobody holds it", async || office.held().is_empty()).await;
    });
}

#[test]
fn whoever_waits_takes_no_place_and_asks_nobody() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        write(&office, day(json!({"approvals": {"required": 1}}))).await;
        let mut waiting = Vec::new();
        for number in 0..12 {
            let spec =
                json!({"gameDayRef": {"name": "weekly"}, "requestedBy": "ada", "startingDeadline": "5h"});
            waiting.push(office.make(&format!("weekly-{number}"), spec).await);
        }
        for run in &waiting {
            office.says(run, "phase", "AwaitingApproval").await;
        }
        let run = office.run("trial-1", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed", "ten runs at once, and twelve wait");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = calls(&replica.metrics);
        tokio::time::sleep(Duration::from_secs(600)).await;
        let made = calls(&replica.metrics) - before;
        // The replica's own Lease alone is renewed 300 times; each of them reads what it waits with once or twice.
        assert!(made < 600, "{made} calls in ten minutes in which nothing happens");
        // What is agreed to is read again before it is begun, and when it changes.
        let days = ObjectRef::namespaced(api::API_VERSION, "GameDay", "shop", "weekly");
        let hash = office.status(&waiting[3]).await["hash"].clone();
        office.set(&days, json!({"limits": {"duration": "3h"}})).await;
        let changed = async || office.status(&waiting[3]).await["hash"] != hash;
        office.until("it asks for something else", changed).await;
        let asked = office.stage.env.clock.now();
        ask_for_two(&office).await;
        let two = async || {
            office.status(&waiting[3]).await["message"].as_str().is_some_and(|words| words.starts_with("2 "))
        };
        office.until("two have to agree", two).await;
        assert!(office.stage.env.clock.now().duration_since(asked).as_secs() <= 10);
    });
}

/// A Guardrail comes to ask for one more.
async fn ask_for_two(office: &Office) {
    let rule = ask_for_approval(office).await;
    office.set(&rule, json!({"approvals": {"required": 2}})).await;
}

#[test]
fn what_nobody_has_room_for_says_so_and_begins_when_there_is_some() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica_of(office.stage.env.clone(), ("a", 1));
        write(&office, day(json!({}))).await;
        let first = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        // One that is due now, and one whose time comes while there is no room.
        let second = office.run("trial-2", json!({})).await;
        let start = later(&office, 30).to_string();
        let third =
            office.make("weekly-1", json!({"gameDayRef": {"name": "weekly"}, "startTime": start})).await;
        office.says(&third, "message", &format!("begins {start}")).await;
        for (run, subject) in [(&second, "Experiment/trial"), (&third, "GameDay/weekly")] {
            let why = "every replica has as many runs at work as it may (--at-once)";
            let status = office.says(run, "message", why).await;
            assert_eq!(
                (&status["phase"], &status["subject"]),
                (&json!("Pending"), &json!(subject)),
                "{status}"
            );
        }
        assert_eq!(office.replicas(), 1, "the first is in force");
        for run in [&first, &second, &third] {
            assert_eq!(office.over(run).await["verdict"], "Passed");
        }
        assert_eq!(line(&office.status(&third).await, "two")["verdict"], "Passed");
        office.assert_as_before().await;
    });
}

#[test]
fn a_status_is_about_the_generation_that_was_seen_last() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let note = |text: &str| json!({"by": "ada", "time": "2026-01-01T00:00:00Z", "text": text});
        let seen = async |run: &ObjectRef, generation: i64| {
            office
                .until("it is seen", async || office.status(run).await["observedGeneration"] == generation)
                .await;
        };
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        office.set(&run, json!({"notes": [note("the queue is long")]})).await;
        seen(&run, 2).await;
        assert_eq!(office.status(&run).await["phase"], "Observing");
        assert_eq!(office.over(&run).await["observedGeneration"], 2);
        ask_for_approval(&office).await;
        let run = office.run("trial-2", json!({"requestedBy": "ada"})).await;
        office.says(&run, "phase", "AwaitingApproval").await;
        office.set(&run, json!({"notes": [note("nobody is there")]})).await;
        seen(&run, 2).await;
        assert_eq!(office.status(&run).await["phase"], "AwaitingApproval");
    });
}
