//! A game day that does not begin is no secret: whoever is told of it hears why, its status and the metrics say so, and
//! it is no occurrence.

use std::time::Duration;

use firedrill::{api::API_VERSION, cluster::Write, env::Env, types::ObjectRef};
use serde_json::{Value, json};

use super::{Answer, Came, body, so_far, world};
use crate::{
    controller::{
        condition,
        measured::value,
        office::{Office, Replica, SCALE},
    },
    kit::in_virtual_time,
};

fn weekly() -> ObjectRef {
    ObjectRef::namespaced(API_VERSION, "GameDay", "shop", "weekly")
}

/// A game day that tells everything to a webhook, with more in its spec.
async fn write(office: &Office, more: Value) {
    let rule = ObjectRef::namespaced(API_VERSION, "Guardrail", "", "platform");
    let hosts = json!({"apiVersion": API_VERSION, "kind": "Guardrail", "metadata": {"name": "platform"},
        "spec": {"probeHosts": ["*.example.com"]}});
    office.access.create(&rule, hosts, Write::default()).await.expect("it is created");
    let mut day = json!({"apiVersion": API_VERSION, "kind": "GameDay",
    "metadata": {"name": "weekly", "namespace": "shop"},
    "spec": {
        "experiments": [{"name": "one", "experimentRef": {"name": "trial"}}],
        "notifications": [{"name": "all", "webhook": {"url": "https://hooks.example.com/drills"}}],
    }});
    let fields = more.as_object().expect("a map").clone();
    day["spec"].as_object_mut().expect("a map").extend(fields);
    office.access.create(&weekly(), day, Write::default()).await.expect("it is created");
}

async fn make(office: &Office, name: &str, more: Value) -> ObjectRef {
    let mut spec = json!({"gameDayRef": {"name": "weekly"}, "seed": 7, "requestedBy": "ada"});
    spec.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    office.make(name, spec).await
}

fn replica(office: &Office) -> (Replica, Came) {
    let (http, came) = world(|_, _| Answer::Status(200));
    (office.replica_over(Env { http, ..office.stage.env.clone() }, "a"), came)
}

/// Event, verdict and reason of each notice.
fn told(came: &Came) -> Vec<[String; 3]> {
    let notices = so_far(came).iter().map(|(_, request)| body(request)).collect::<Vec<_>>();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    notices.iter().map(|one| ["event", "verdict", "reason"].map(|field| text(one, field))).collect()
}

fn last(came: &Came) -> [String; 3] {
    told(came).pop().expect("somebody is told")
}

async fn day(office: &Office) -> Value {
    office.status(&weekly()).await
}

#[test]
fn a_day_that_nobody_agrees_to_is_told_of_seen_and_no_occurrence() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        write(&office, json!({"cadence": "2h"})).await;
        let (replica, came) = replica(&office);
        let run = make(&office, "weekly-1", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        office.until("it is seen", async || day(&office).await["lastRun"]["verdict"] == "Passed").await;
        let passed = day(&office).await;
        assert_eq!(passed["lastHeldTime"], passed["lastRun"]["completionTime"], "{passed}");
        // From now on somebody has to agree, and nobody does.
        office.set(&weekly(), json!({"approvals": {"required": 1}})).await;
        let run = make(&office, "weekly-2", json!({"startingDeadline": "10m"})).await;
        let status = office.over(&run).await;
        assert_eq!((&status["verdict"], &status["reason"]), (&json!("Refused"), &json!("ApprovalMissing")));
        office.until("it is seen", async || day(&office).await["lastRun"]["name"] == "weekly-2").await;
        assert_eq!(last(&came), ["Finished", "Refused", "ApprovalMissing"]);
        let refused = day(&office).await;
        assert_eq!(refused["lastRun"]["verdict"], "Refused", "{refused}");
        for field in ["lastHeldTime", "lastSuccessfulTime"] {
            assert_eq!(refused[field], passed["lastHeldTime"], "{field} of {refused}");
        }
        let metrics = &replica.metrics;
        let of = "namespace=\"shop\",name=\"weekly\"";
        let verdict = |verdict: &str| {
            value(metrics, &format!("firedrill_gameday_last_verdict{{{of},verdict=\"{verdict}\"}}"))
        };
        assert_eq!(verdict("Refused"), 1.0, "what FiredrillGameDayFailed asks for");
        let success = value(metrics, &format!("firedrill_gameday_last_success_timestamp_seconds{{{of}}}"));
        assert!(success > 0.0, "that one passed before is still told");
        // Two hours after the one that was held, however lately one was refused; and the Runs may be gone by then.
        tokio::time::sleep(Duration::from_secs(100 * 60)).await;
        let run = make(&office, "weekly-3", json!({"startingDeadline": "1m"})).await;
        office.over(&run).await;
        for name in ["weekly-1", "weekly-2", "weekly-3"] {
            office.delete(&ObjectRef::namespaced(API_VERSION, "Run", "shop", name)).await;
        }
        assert_eq!(condition(&day(&office).await, "Overdue")["status"], "False");
        tokio::time::sleep(Duration::from_secs(15 * 60)).await;
        let late = day(&office).await;
        assert_eq!(condition(&late, "Overdue")["status"], "True", "{late}");
        assert_eq!(late["lastSuccessfulTime"], passed["lastHeldTime"], "{late}");
    });
}

#[test]
fn a_day_whose_experiment_is_missing_is_told_of_though_it_could_not_be_read() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        write(&office, json!({"experiments": [{"name": "one", "experimentRef": {"name": "nowhere"}}]})).await;
        let (_replica, came) = replica(&office);
        let run = make(&office, "weekly-1", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Refused");
        assert_eq!(told(&came), [["Finished", "Refused", "Refused"].map(str::to_owned)]);
        office.until("it is seen", async || day(&office).await["lastRun"]["verdict"] == "Refused").await;
        assert!(day(&office).await["lastHeldTime"].is_null());
    });
}

#[test]
fn a_day_that_came_due_while_nobody_was_there_is_told_of() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        write(&office, json!({})).await;
        let run = make(&office, "weekly-1", json!({"startTime": "2020-01-01T00:00:00Z"})).await;
        let aborted = make(&office, "weekly-2", json!({"abort": true})).await;
        let (_replica, came) = replica(&office);
        assert_eq!(office.over(&run).await["reason"], "DeadlineExceeded");
        assert_eq!(office.over(&aborted).await["verdict"], "Aborted");
        let mut told = told(&came);
        told.sort();
        let wanted = [
            ["Aborted", "Aborted", "UserAbort"],
            ["Finished", "Aborted", "UserAbort"],
            ["Finished", "Refused", "DeadlineExceeded"],
        ];
        assert_eq!(told, wanted.map(|one| one.map(str::to_owned)));
    });
}

/// A webhook that hangs does not hold up that the Run says so.
#[test]
fn nobody_waits_for_a_webhook_that_hangs_to_hear_that_a_day_is_refused() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        write(&office, json!({"experiments": [{"name": "one", "experimentRef": {"name": "nowhere"}}]})).await;
        let (http, _) = world(|_, _| Answer::Never);
        let _replica = office.replica_over(Env { http, ..office.stage.env.clone() }, "a");
        let run = make(&office, "weekly-1", json!({})).await;
        let asked = office.stage.env.clock.now();
        assert_eq!(office.over(&run).await["verdict"], "Refused");
        assert!(office.stage.env.clock.now().duration_since(asked).as_secs() < 15);
    });
}
