//! Game days that the controller holds.

use firedrill::{
    api,
    cluster::{Segments, Write},
    journal::{self, DayRecord, Record},
    report::{self, Chapter, Facts},
    types::{ObjectRef, RunId},
};
use serde_json::{Value, json};

use super::{
    condition,
    office::{Office, SCALE},
};
use crate::kit::in_virtual_time;

pub fn day(spec: Value) -> Value {
    let mut day = json!({"apiVersion": api::API_VERSION, "kind": "GameDay",
    "metadata": {"name": "weekly", "namespace": "shop"},
    "spec": {"experiments": [
        {"name": "one", "experimentRef": {"name": "trial"}},
        {"name": "two", "experimentRef": {"name": "trial"}},
    ]}});
    let fields = spec.as_object().expect("a map").clone();
    day["spec"].as_object_mut().expect("a map").extend(fields);
    day
}

/// Two experiments, of which the second waits for a go.
pub fn gated() -> Value {
    json!([
        {"name": "one", "experimentRef": {"name": "trial"}},
        {"name": "two", "experimentRef": {"name": "trial"}, "gate": "Manual"},
    ])
}

/// Somebody gives it.
pub async fn go(office: &Office, run: &ObjectRef) {
    let answer = json!([{"name": "two/gate", "action": "Confirm", "by": "bob", "time": "2026-01-01T00:30:00Z", "comment": "go on"}]);
    office.set(run, json!({"steps": answer})).await;
}

pub async fn write(office: &Office, day: Value) -> ObjectRef {
    let object = ObjectRef::namespaced(api::API_VERSION, "GameDay", "shop", "weekly");
    office.access.create(&object, day, Write::default()).await.expect("it is created");
    object
}

/// A Run of it, made by hand.
pub async fn held(office: &Office, more: Value) -> ObjectRef {
    let mut spec = json!({"gameDayRef": {"name": "weekly"}, "seed": 7, "requestedBy": "ada"});
    spec.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    office.make("weekly-1", spec).await
}

pub fn line<'a>(status: &'a Value, name: &str) -> &'a Value {
    let all = status["experiments"].as_array().unwrap_or_else(|| panic!("no experiments in {status}"));
    all.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("no {name} in {status}"))
}

pub async fn records(office: &Office, run: &ObjectRef) -> Vec<DayRecord> {
    let entries = office.journal(run).await.into_iter().map(|entry| entry.record);
    entries
        .map(|record| match record {
            Record::Day(record) => record,
            other => panic!("{other:?} is of no game day"),
        })
        .collect()
}

async fn chapter(office: &Office, run: &RunId) -> Option<Chapter> {
    let bytes = Segments::bytes(&office.access, "firedrill", run).await.expect("it can be read");
    let (entries, _) = journal::decode(&bytes).expect("it is not damaged");
    Some(Chapter::Run(Box::new(Facts::from_entries(&entries).ok()?)))
}

#[test]
fn a_game_day_is_one_run_with_a_verdict_for_each_experiment_and_one_report() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        write(
            &office,
            day(json!({"description": "Every week.", "experiments": [
                {"name": "one", "experimentRef": {"name": "trial"}},
                {"name": "two", "experimentRef": {"name": "trial"}, "gate": "Manual", "pauseBefore": "1m"},
            ]})),
        )
        .await;
        let run = held(&office, json!({})).await;
        office.shrunk().await;
        office.says(&run, "phase", "Observing").await;
        let status = office.says(&run, "currentStep", "one/shrink").await;
        assert_eq!((&status["phase"], &status["subject"]), (&json!("Observing"), &json!("GameDay/weekly")));
        assert_eq!(line(&status, "one")["phase"], "Observing", "{status}");
        let status = office.says(&run, "currentStep", "two/gate").await;
        assert_eq!(status["message"], "Go for two?");
        assert_eq!(line(&status, "one")["verdict"], "Passed");
        assert!(line(&status, "one")["rto"].is_string(), "{status}");
        let labels = office.get(&run).await.expect("it is there").metadata.labels;
        assert_eq!(labels.expect("it has one")["firedrill.dev/gameday"], "weekly");
        go(&office, &run).await;
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Passed"), &json!("AllPassed")),
            "{status}"
        );
        assert_eq!(condition(&status, "Succeeded")["status"], "True");
        assert_eq!(condition(&status, "Restored")["status"], "True");
        assert_eq!(line(&status, "two")["verdict"], "Passed");
        office.assert_as_before().await;
        let records = records(&office, &run).await;
        let asked = records.iter().find_map(|record| match record {
            DayRecord::Asked { asked } => Some(asked),
            _ => None,
        });
        assert_eq!(asked.expect("it was asked").detail, "yes, bob: go on");
        let mut chapters = std::collections::BTreeMap::new();
        for record in &records {
            if let DayRecord::Playing { run, .. } = record {
                chapters.insert(run.clone(), chapter(&office, run).await);
            }
        }
        let entries = office.journal(&run).await;
        let (facts, told) =
            report::day::kept(&entries, &mut |run| chapters[run].clone()).expect("it is a game day");
        assert_eq!((facts.experiments.len(), told.len(), facts.exit_code), (2, 2, 0));
        assert!(facts.experiments.iter().all(|entry| entry.verdict == "Passed"), "{facts:?}");
        assert_eq!((facts.by.as_str(), facts.description.as_str()), ("ada", "Every week."));
    });
}

#[test]
fn what_fails_stops_the_rest_unless_the_file_goes_on() {
    in_virtual_time(async {
        let text = crate::crash::house::experiment_of("value >= 4.0", "value >= 3.0", &[SCALE]);
        let office = Office::with(&text).await;
        let _replica = office.replica("a");
        write(&office, day(json!({}))).await;
        let run = held(&office, json!({})).await;
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Failed"), &json!("Violated")),
            "{status}"
        );
        assert_eq!(line(&status, "one")["verdict"], "Failed");
        assert_eq!(line(&status, "two")["verdict"], "Skipped");
        assert!(status["violationTime"].is_string() && status["measured"]["abort"].is_string(), "{status}");
        office.assert_as_before().await;
    });
}

#[test]
fn an_abort_at_a_gate_ends_the_day_and_nothing_is_left() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        write(
            &office,
            day(json!({"experiments": [
                {"name": "one", "experimentRef": {"name": "trial"}, "gate": "Manual"},
            ]})),
        )
        .await;
        let run = held(&office, json!({})).await;
        office.says(&run, "currentStep", "one/gate").await;
        office.set(&run, json!({"abort": true})).await;
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Aborted"), &json!("UserAbort")),
            "{status}"
        );
        assert_eq!(line(&status, "one")["verdict"], "Skipped");
        assert_eq!(office.replicas(), 4);
    });
}

#[test]
fn a_day_deleted_in_force_reverts_first_and_goes_then() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        write(&office, day(json!({}))).await;
        let run = held(&office, json!({})).await;
        office.shrunk().await;
        office.delete(&run).await;
        office.until("it is gone", async || office.get(&run).await.is_none()).await;
        assert_eq!(office.replicas(), 4);
        office.until("nobody holds it", async || office.held().is_empty()).await;
        office.assert_as_before().await;
    });
}

#[test]
fn a_survivor_puts_back_what_is_in_force_and_goes_on_with_the_day() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let first = office.replica("a");
        write(&office, day(json!({"onFailure": "Continue", "experiments": gated()}))).await;
        let run = held(&office, json!({})).await;
        office.shrunk().await;
        first.dies();
        let _second = office.replica("b");
        office.until("it is back", async || office.replicas() == 4).await;
        let status = office.over(&run).await;
        assert_eq!(line(&status, "one")["verdict"], "Aborted", "{status}");
        assert_eq!(line(&status, "two")["verdict"], "Skipped", "an abort ends the day");
        assert_eq!(status["verdict"], "Aborted");
        office.assert_as_before().await;
    });
}

#[test]
fn a_survivor_asks_on_where_the_dead_replica_had_asked() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let first = office.replica("a");
        write(&office, day(json!({"experiments": gated()}))).await;
        let run = held(&office, json!({})).await;
        office.says(&run, "currentStep", "two/gate").await;
        first.dies();
        let _second = office.replica("b");
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        go(&office, &run).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        let both = json!({"selected": 2, "inForce": 0, "reverted": 2, "skipped": 0});
        assert_eq!(status["targets"], both, "those of the part that the dead replica held too");
        let begun = records(&office, &run).await;
        let begun = begun.iter().filter(|record| matches!(record, DayRecord::Playing { .. })).count();
        assert_eq!(begun, 2, "no experiment ran twice");
        office.assert_as_before().await;
    });
}

#[test]
fn it_begins_when_somebody_else_has_agreed_to_what_was_asked() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let object = write(&office, day(json!({"approvals": {"required": 1}}))).await;
        let run = held(&office, json!({"startingDeadline": "2h"})).await;
        let status = office.says(&run, "phase", "AwaitingApproval").await;
        let hash = status["hash"].as_str().expect("a hash").to_owned();
        assert_eq!(condition(&status, "Approved")["status"], "False");
        let time = office.stage.env.clock.now().to_string();
        let by = |who: &str, hash: &str| json!({"by": who, "hash": hash, "time": time});
        office.set(&run, json!({"approvals": [by("ada", &hash), by("bob", "sha256:0")]})).await;
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(
            office.status(&run).await["phase"],
            "AwaitingApproval",
            "who asked, and to something else"
        );
        // Somebody changes the file: what was agreed to is another thing now.
        let patch = kube::api::Patch::Merge(json!({"spec": {"limits": {"duration": "3h"}}}));
        office.access.api(&object).patch("weekly", &Default::default(), &patch).await.expect("it is changed");
        office
            .set(&run, json!({"approvals": [by("ada", &hash), by("bob", "sha256:0"), by("cy", &hash)]}))
            .await;
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let status = office.status(&run).await;
        assert_eq!(status["phase"], "AwaitingApproval", "{status}");
        let new = status["hash"].as_str().expect("a hash").to_owned();
        assert_ne!(new, hash);
        let all = [by("ada", &hash), by("bob", "sha256:0"), by("cy", &hash), by("dora", &new)];
        office.set(&run, json!({"approvals": all})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        assert_eq!(condition(&status, "Approved")["message"], "dora");
    });
}

#[test]
fn without_approval_in_time_it_is_refused() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        write(&office, day(json!({"approvals": {"required": 1}}))).await;
        let run = held(&office, json!({"startingDeadline": "10m"})).await;
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Refused"), &json!("ApprovalMissing")),
            "{status}"
        );
        assert_eq!(office.journals().await, []);
    });
}

/// A Guardrail asks for it, of an experiment by itself.
#[test]
fn a_guardrail_asks_for_approval_of_any_run() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let rule = ObjectRef::namespaced(api::API_VERSION, "Guardrail", "", "platform");
        let body = json!({"apiVersion": api::API_VERSION, "kind": "Guardrail", "metadata": {"name": "platform"},
            "spec": {"approvals": {"required": 2}}});
        office.access.create(&rule, body, Write::default()).await.expect("it is created");
        let run = office.run("trial-1", json!({"requestedBy": "ada"})).await;
        let status = office.says(&run, "phase", "AwaitingApproval").await;
        let time = office.stage.env.clock.now().to_string();
        let by = |who: &str| json!({"by": who, "hash": status["hash"], "time": time});
        office.set(&run, json!({"approvals": [by("bob"), by("cy")]})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        assert_eq!(condition(&status, "Approved")["message"], "bob, cy");
    });
}

#[test]
fn what_comes_due_becomes_one_run_and_the_status_says_what_is_next() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replicas = [office.replica("a"), office.replica("b")];
        let object = write(&office, day(json!({
            "schedule": "*/15 * * * *", "timeZone": "Europe/London", "runsHistoryLimit": 2, "cadence": "1h",
            "experiments": [{"name": "one", "experimentRef": {"name": "trial"}}],
        }))).await;
        let status = async || office.status(&object).await;
        office.until("it is ready", async || status().await["conditions"][0]["status"] == "True").await;
        let first = status().await;
        assert_eq!(first["conditions"][0]["reason"], "Scheduled", "{first}");
        assert!(first["nextRun"].as_str().is_some_and(|next| next.ends_with("GMT")), "{first}");
        let due: jiff::Timestamp = first["nextScheduleTime"].as_str().expect("one").parse().expect("a time");
        let name = format!("weekly-{}", due.as_second() / 60);
        let run = ObjectRef::namespaced(api::API_VERSION, "Run", "shop", &name);
        office.until("it is made", async || office.get(&run).await.is_some()).await;
        let now = office.stage.env.clock.now();
        assert!(now >= due && now.duration_since(due).as_secs() <= 2, "{now}");
        office.until("it is over", async || status().await["lastRun"]["name"] == name.as_str()).await;
        let later = status().await;
        assert_eq!(later["lastRun"]["verdict"], "Passed", "{later}");
        assert_eq!(later["lastScheduleTime"], first["nextScheduleTime"]);
        // More of them, of which the first is then one too many.
        tokio::time::sleep(std::time::Duration::from_secs(3 * 3600)).await;
        assert!(office.get(&run).await.is_none(), "two are kept");
        assert!(office.journals().await.len() >= 6, "their journals stay");
        let overdue = status().await;
        let overdue =
            overdue["conditions"].as_array().expect("conditions").iter().find(|one| one["type"] == "Overdue");
        assert_eq!(overdue.expect("it has a cadence")["status"], "False");
    });
}

#[test]
fn what_was_due_while_nobody_was_there_is_missed_and_said() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let object = write(
            &office,
            day(json!({
                "schedule": "30 * * * *", "timeZone": "Europe/London", "startingDeadline": "10m",
            })),
        )
        .await;
        tokio::time::sleep(std::time::Duration::from_secs(5 * 3600 + 45 * 60)).await;
        let _replica = office.replica("a");
        let status = async || office.status(&object).await;
        office.until("it is said", async || status().await["lastSkipped"].is_object()).await;
        let said = status().await;
        let why = said["lastSkipped"]["reason"].as_str().expect("a reason");
        assert!(why.starts_with("missed"), "{said}");
        assert_eq!(office.events("GameDay"), ["Skipped"]);
        assert_eq!(said["active"], json!([]));
    });
}

#[test]
fn what_check_finds_is_in_the_condition_and_nothing_is_made_of_it() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let object = write(
            &office,
            day(json!({
                "schedule": "* * * * *", "timeZone": "Europe/London",
                "experiments": [{"name": "one", "experimentRef": {"name": "another"}}],
            })),
        )
        .await;
        let status = async || office.status(&object).await;
        office.until("it is judged", async || status().await["conditions"][0]["status"] == "False").await;
        let said = status().await;
        let words = said["conditions"][0]["message"].as_str().expect("words");
        assert!(words.contains("another") && words.contains("FD"), "{said}");
        tokio::time::sleep(std::time::Duration::from_secs(180)).await;
        assert_eq!(status().await["active"], json!([]));
        let trial = ObjectRef::namespaced(api::API_VERSION, "Experiment", "shop", "trial");
        let own = office.status(&trial).await;
        assert_eq!(
            (&own["conditions"][0]["status"], &own["conditions"][0]["reason"]),
            (&json!("True"), &json!("Valid"))
        );
    });
}

/// What is in force goes back before anything that comes earlier in the day is waited for once more.
#[test]
fn a_survivor_puts_back_first_whatever_comes_before_it_in_the_day() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let first = office.replica("a");
        write(
            &office,
            day(json!({"experiments": [
                {"name": "one", "experimentRef": {"name": "trial"}, "gate": "Manual", "pauseBefore": "10m", "onFailure": "Continue"},
                {"name": "two", "experimentRef": {"name": "trial"}},
            ]})),
        )
        .await;
        let run = held(&office, json!({"startingDeadline": "1h"})).await;
        office.until("it is asked", async || office.status(&run).await["currentStep"] == "one/gate").await;
        let no = json!([{"name": "one/gate", "action": "Fail", "by": "bob", "time": "2026-01-01T00:30:00Z"}]);
        office.set(&run, json!({"steps": no})).await;
        office.shrunk().await;
        first.dies();
        let died = office.stage.env.clock.now();
        let _second = office.replica("b");
        office.until("it is back", async || office.replicas() == 4).await;
        let took = office.stage.env.clock.now().duration_since(died);
        assert!(took.as_secs() <= 60, "{took}");
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], line(&status, "two")["verdict"].as_str()),
            (&json!("Aborted"), Some("Aborted"))
        );
        office.assert_as_before().await;
    });
}

/// People speak while it waits for others to agree, and are heard when it begins.
#[test]
fn what_is_said_while_a_run_waits_holds_when_it_begins() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let rule = ObjectRef::namespaced(api::API_VERSION, "Guardrail", "", "platform");
        let body = json!({"apiVersion": api::API_VERSION, "kind": "Guardrail", "metadata": {"name": "platform"},
            "spec": {"approvals": {"required": 1}}});
        office.access.create(&rule, body, Write::default()).await.expect("it is created");
        let agreed = async |run: &ObjectRef| {
            let status = office.says(run, "phase", "AwaitingApproval").await;
            let time = office.stage.env.clock.now().to_string();
            office
                .set(run, json!({"approvals": [{"by": "bob", "hash": status["hash"], "time": time}]}))
                .await;
        };
        let skipped = office.run("trial-1", json!({"requestedBy": "ada"})).await;
        office.says(&skipped, "phase", "AwaitingApproval").await;
        let skip =
            json!([{"name": "trial/shrink", "action": "Skip", "by": "cy", "time": "2026-01-01T00:00:00Z"}]);
        office.set(&skipped, json!({"steps": skip})).await;
        agreed(&skipped).await;
        assert_eq!(office.over(&skipped).await["reason"], "StepSkipped");
        let stayed = office.run("trial-2", json!({"requestedBy": "ada"})).await;
        office.says(&stayed, "phase", "AwaitingApproval").await;
        office.set(&stayed, json!({"hold": true})).await;
        agreed(&stayed).await;
        office.says(&stayed, "reason", "Held").await;
        tokio::time::sleep(std::time::Duration::from_secs(120)).await;
        assert_eq!(office.replicas(), 4, "nothing is injected");
        office.set(&stayed, json!({"hold": false})).await;
        assert_eq!(office.over(&stayed).await["verdict"], "Passed");
    });
}

#[test]
fn a_run_that_is_called_like_a_far_time_hides_none_before_it() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let far: jiff::Timestamp = "9999-01-01T00:00:00Z".parse().expect("a time");
        let object = write(
            &office,
            day(json!({"schedule": "*/10 * * * *", "timeZone": "Europe/London",
                "experiments": [{"name": "one", "experimentRef": {"name": "trial"}}]})),
        )
        .await;
        let start = json!({"gameDayRef": {"name": "weekly"}, "startTime": far.to_string()});
        office.make(&format!("weekly-{}", far.as_second() / 60), start).await;
        office
            .until("one is made", async || office.status(&object).await["lastScheduleTime"].is_string())
            .await;
        let made = office.status(&object).await;
        assert!(made["lastScheduleTime"].as_str().is_some_and(|at| at.starts_with("2026")), "{made}");
    });
}
