//! Which game days are held: one at a time, what is in their way, what counts as held, and what each leaves to be done.

use std::time::Duration;

use firedrill::{api, cluster::Write, journal::DayRecord, types::ObjectRef};
use serde_json::{Value, json};

use super::{
    condition,
    days::{day, line, records, write},
    office::{Office, SCALE},
};
use crate::kit::in_virtual_time;

async fn held(office: &Office, name: &str) -> ObjectRef {
    office.make(name, json!({"gameDayRef": {"name": "weekly"}, "requestedBy": "ada"})).await
}

/// Somebody answers what is asked before `one`.
async fn answer(office: &Office, run: &ObjectRef, action: &str) {
    let answer = json!([{"name": "one/gate", "action": action, "by": "bob", "time": "2026-01-01T00:30:00Z", "comment": "so"}]);
    office.set(run, json!({"steps": answer})).await;
}

/// One experiment, and one after it.
fn gated() -> Value {
    json!([
        {"name": "one", "experimentRef": {"name": "trial"}, "gate": "Manual"},
        {"name": "two", "experimentRef": {"name": "trial"}},
    ])
}

#[test]
fn the_second_of_two_is_refused_while_the_first_still_runs() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        write(&office, day(json!({}))).await;
        let first = held(&office, "weekly-1").await;
        office.shrunk().await;
        let second = held(&office, "weekly-2").await;
        let status = office.over(&second).await;
        assert_eq!(
            (&status["verdict"], &status["reason"], &status["message"]),
            (&json!("Refused"), &json!("AlreadyRunning"), &json!("weekly-1 still runs")),
            "{status}"
        );
        assert_eq!(office.over(&first).await["verdict"], "Passed");
        replica.ends().await;
        // Of two that are begun at the same moment the elder is held.
        let both = [held(&office, "weekly-3").await, held(&office, "weekly-4").await];
        let _replicas = [office.replica("b"), office.replica("c")];
        let mut ended = Vec::new();
        for run in &both {
            let status = office.over(run).await;
            ended.push((status["verdict"].clone(), status["reason"].clone()));
        }
        assert_eq!(ended[0], (json!("Passed"), json!("AllPassed")));
        assert_eq!(ended[1], (json!("Refused"), json!("AlreadyRunning")));
        office.assert_as_before().await;
    });
}

#[test]
fn the_second_of_two_takes_the_place_of_the_first_where_the_file_says_so() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        write(&office, day(json!({"concurrencyPolicy": "Replace"}))).await;
        let first = held(&office, "weekly-1").await;
        office.shrunk().await;
        let second = held(&office, "weekly-2").await;
        let ended = office.over(&first).await;
        assert_eq!(
            (&ended["verdict"], &ended["reason"]),
            (&json!("Aborted"), &json!("UserAbort")),
            "{ended}"
        );
        assert_eq!(condition(&ended, "Restored")["status"], "True", "it is put back first");
        let status = office.over(&second).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        let time = |status: &Value, field: &str| -> jiff::Timestamp {
            status[field].as_str().expect("a time").parse().expect("a time")
        };
        assert!(time(&status, "startTime") >= time(&ended, "completionTime"), "{ended} {status}");
        office.assert_as_before().await;
    });
}

#[test]
fn a_run_that_waits_is_in_no_schedules_way() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let one = json!([{"name": "one", "experimentRef": {"name": "trial"}}]);
        let object = write(
            &office,
            day(json!({"schedule": "*/10 * * * *", "timeZone": "Europe/London", "experiments": one})),
        )
        .await;
        let next_week = office.stage.env.clock.now() + Duration::from_secs(7 * 24 * 3600);
        let start = jiff::Timestamp::from_second(next_week.as_second()).expect("a time").to_string();
        let by_hand = json!({"gameDayRef": {"name": "weekly"}, "startTime": start});
        let by_hand = office.make("weekly-by-hand", by_hand).await;
        office.says(&by_hand, "message", &format!("begins {start}")).await;
        let passed = async || office.status(&object).await["lastRun"]["verdict"] == "Passed";
        office.until("one is held", passed).await;
        let status = office.status(&object).await;
        assert!(status["lastSkipped"].is_null(), "{status}");
    });
}

/// One that was refused, or ended before anything of it was tried, has shown nothing.
#[test]
fn overdue_is_what_was_not_held_whoever_ended_it_before_it_began() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        let object = write(
            &office,
            day(json!({"cadence": "1h", "experiments": gated(), "approvals": {"required": 1}})),
        )
        .await;
        let says = async |holds: &str| {
            let status = office.status(&object).await;
            let mut all = status["conditions"].as_array().into_iter().flatten();
            let overdue = all.find(|one| one["type"] == "Overdue")?;
            (overdue["status"] == holds).then(|| overdue["reason"].clone())
        };
        let overdue = async || says("True").await.is_some();
        office.until("it is looked at", async || says("False").await == Some(json!("NotDueYet"))).await;
        tokio::time::sleep(Duration::from_secs(3610)).await;
        assert_eq!(says("True").await, Some(json!("NotRun")), "{}", office.status(&object).await);
        let sample = "firedrill_gameday_overdue{namespace=\"shop\",name=\"weekly\"} 1";
        assert!(replica.metrics.render().contains(sample));
        // Somebody ends it while it waits for others.
        let run = held(&office, "weekly-1").await;
        office.says(&run, "phase", "AwaitingApproval").await;
        office.set(&run, json!({"abort": true})).await;
        assert_eq!(office.over(&run).await["verdict"], "Aborted");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(overdue().await, "nobody has agreed: {}", office.status(&object).await);
        // And at the gate before the first experiment.
        office.set(&object, json!({"approvals": null})).await;
        let run = held(&office, "weekly-2").await;
        office.says(&run, "currentStep", "one/gate").await;
        office.set(&run, json!({"abort": true})).await;
        assert_eq!(office.over(&run).await["verdict"], "Aborted");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(overdue().await, "nothing was tried: {}", office.status(&object).await);
        let run = held(&office, "weekly-3").await;
        answer(&office, &run, "Confirm").await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        office.until("it is held", async || says("False").await == Some(json!("RanInTime"))).await;
    });
}

#[test]
fn a_gate_that_is_skipped_skips_that_experiment_and_no_other() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        write(&office, day(json!({"experiments": gated()}))).await;
        let run = held(&office, "weekly-1").await;
        office.says(&run, "currentStep", "one/gate").await;
        answer(&office, &run, "Skip").await;
        let status = office.over(&run).await;
        assert_eq!(line(&status, "one")["verdict"], "Skipped", "{status}");
        assert_eq!(line(&status, "two")["verdict"], "Passed", "the file stops at what fails");
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Inconclusive"), &json!("ExperimentSkipped")),
            "nothing that was skipped makes a pass"
        );
        let asked = records(&office, &run).await.into_iter().find_map(|record| match record {
            DayRecord::Asked { asked } => Some(asked),
            _ => None,
        });
        let asked = asked.expect("it was asked");
        assert_eq!((asked.holds, asked.detail.as_str()), (false, "skipped, bob: so"));
        // No go is another thing: it stops the day where the file says so.
        let run = held(&office, "weekly-2").await;
        answer(&office, &run, "Fail").await;
        let status = office.over(&run).await;
        assert_eq!((&status["verdict"], &status["reason"]), (&json!("Aborted"), &json!("NoGo")), "{status}");
        assert_eq!(line(&status, "two")["verdict"], "Skipped");
        office.assert_as_before().await;
    });
}

/// What a Run was told of action items when it began.
async fn told(office: &Office, run: &ObjectRef) -> Vec<String> {
    let items = records(office, run).await.into_iter().filter_map(|record| match record {
        DayRecord::Asked { asked } if asked.what == "action item" => Some(asked.detail),
        _ => None,
    });
    items.collect()
}

#[test]
fn what_is_left_to_be_done_is_seen_again_though_the_run_that_says_so_is_gone() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let one = json!([{"name": "one", "experimentRef": {"name": "trial"}}]);
        let object = write(&office, day(json!({"experiments": one, "runsHistoryLimit": 1}))).await;
        let note = |action: Value| {
            let time = office.stage.env.clock.now().to_string();
            json!({"by": "ada", "time": time, "text": "raise the pool's limit", "action": action})
        };
        let first = held(&office, "weekly-1").await;
        office.set(&first, json!({"notes": [note(json!({"owner": "bob", "due": "2026-12-15"}))]})).await;
        office.over(&first).await;
        let words = ["raise the pool's limit (bob, due 2026-12-15), noted in weekly-1"];
        let second = held(&office, "weekly-2").await;
        office.over(&second).await;
        assert_eq!(told(&office, &second).await, words);
        office.until("one is kept", async || office.get(&first).await.is_none()).await;
        // Somebody deletes the other as well.
        office.delete(&second).await;
        office.until("it is gone", async || office.get(&second).await.is_none()).await;
        let status = office.status(&object).await;
        assert_eq!(status["openActions"][0]["owner"], "bob", "{status}");
        let third = held(&office, "weekly-3").await;
        office.over(&third).await;
        assert_eq!(told(&office, &third).await, words);
        office.set(&third, json!({"notes": [note(json!({"done": true}))]})).await;
        office.until("it is done", async || office.status(&object).await["openActions"].is_null()).await;
        let fourth = held(&office, "weekly-4").await;
        office.over(&fourth).await;
        assert_eq!(told(&office, &fourth).await, Vec::<String>::new());
    });
}

/// A schedule that is due in hours that are closed, and in ones that are not: who has to agree hears of those in time.
#[test]
fn what_is_skipped_hides_no_later_time_from_who_has_to_agree() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let now = office.stage.env.clock.now().to_zoned(jiff::tz::TimeZone::UTC);
        // Every hour; open for two hours, from three hours on.
        let hour = |ahead: i8| format!("{:02}:00", (now.hour() + ahead) % 24);
        let spec = json!({"schedule": "0 * * * *", "timeZone": "Etc/UTC", "limits": {"duration": "30m"},
            "windows": [{"days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
                "from": hour(3), "to": hour(5)}],
            "approvals": {"required": 1, "requestBefore": "6h"}});
        let object = ObjectRef::namespaced(api::API_VERSION, "GameDay", "shop", "weekly");
        office.access.create(&object, day(spec), Write::default()).await.expect("it is created");
        let made =
            async || office.status(&object).await["active"].as_array().is_some_and(|all| all.len() == 2);
        office.until("both of its open times have their Runs", made).await;
        let waited = office.stage.env.clock.now().duration_since(now.timestamp());
        assert!(waited.as_secs() < 120, "{waited}");
        // What is closed before them is told when it comes all the same.
        let skipped = async || office.status(&object).await["lastSkipped"].is_object();
        tokio::time::sleep(Duration::from_secs(3700)).await;
        assert!(skipped().await, "{}", office.status(&object).await);
    });
}
