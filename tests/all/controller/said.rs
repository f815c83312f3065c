//! What people observe and do while a Run waits, goes on or changes hands, and who is told: all of it is on record once,
//! with their own names and times.

use firedrill::{api, cluster::Write, types::ObjectRef};
use serde_json::{Value, json};

use super::{
    days::{day, gated, go, held, write},
    office::{Office, SCALE},
};
use crate::kit::in_virtual_time;

fn note(text: &str) -> Value {
    json!({"by": "ada", "time": "2026-01-01T00:07:00Z", "text": text})
}

/// Who, when, in words: of every note on record.
async fn notes(office: &Office, run: &ObjectRef) -> Vec<[String; 3]> {
    let entries = office.journal(run).await;
    let records = entries.iter().map(|entry| serde_json::to_value(&entry.record).expect("plain data"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let notes = records.filter(|record| record.to_string().contains("the queue"));
    notes
        .map(|note| [text(&note["written"]["by"]), text(&note["written"]["time"]), text(&note["text"])])
        .collect()
}

fn whole(texts: &[&str]) -> Vec<[String; 3]> {
    let one = |text: &&str| ["ada".to_owned(), "2026-01-01T00:07:00Z".to_owned(), format!("ada: {text}")];
    texts.iter().map(one).collect()
}

async fn asks_for_approval(office: &Office) {
    let rule = ObjectRef::namespaced(api::API_VERSION, "Guardrail", "", "platform");
    let body = json!({"apiVersion": api::API_VERSION, "kind": "Guardrail", "metadata": {"name": "platform"},
        "spec": {"approvals": {"required": 1}}});
    office.access.create(&rule, body, Write::default()).await.expect("it is created");
}

async fn agree(office: &Office, run: &ObjectRef) {
    let status = office.says(run, "phase", "AwaitingApproval").await;
    let time = office.stage.env.clock.now().to_string();
    office.set(run, json!({"approvals": [{"by": "bob", "hash": status["hash"], "time": time}]})).await;
}

#[test]
fn what_is_noted_while_a_run_waits_is_on_record() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        asks_for_approval(&office).await;
        let run = office.run("trial-1", json!({"requestedBy": "ada", "startingDeadline": "2h"})).await;
        office.says(&run, "phase", "AwaitingApproval").await;
        office.set(&run, json!({"notes": [note("the queue is long")]})).await;
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        agree(&office, &run).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        assert_eq!(notes(&office, &run).await, whole(&["the queue is long"]));
    });
}

#[test]
fn what_is_noted_while_a_game_day_waits_is_on_record() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        asks_for_approval(&office).await;
        write(&office, day(json!({}))).await;
        let run = held(&office, json!({"startingDeadline": "2h"})).await;
        office.says(&run, "phase", "AwaitingApproval").await;
        office.set(&run, json!({"notes": [note("the queue is long")]})).await;
        agree(&office, &run).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        assert_eq!(notes(&office, &run).await, whole(&["the queue is long"]));
    });
}

#[test]
fn after_a_takeover_what_was_noted_is_not_written_down_again_and_what_came_meanwhile_is() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let first = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        office.set(&run, json!({"notes": [note("the queue is long")]})).await;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        first.dies();
        let both = json!([note("the queue is long"), note("the queue is gone")]);
        office.set(&run, json!({"notes": both})).await;
        let _second = office.replica("b");
        assert_eq!(office.over(&run).await["reason"], "RunnerLost");
        assert_eq!(notes(&office, &run).await, whole(&["the queue is long", "the queue is gone"]));
    });
}

#[test]
fn after_a_takeover_of_a_game_day_each_note_is_on_record_once_and_the_question_stays() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let first = office.replica("a");
        write(&office, day(json!({"experiments": gated()}))).await;
        let run = held(&office, json!({})).await;
        office.shrunk().await;
        office.set(&run, json!({"notes": [note("the queue is long")]})).await;
        office.says(&run, "currentStep", "two/gate").await;
        let both = json!([note("the queue is long"), note("the queue is gone")]);
        office.set(&run, json!({"notes": both})).await;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert_eq!(office.status(&run).await["currentStep"], "two/gate", "a note answers nothing");
        first.dies();
        let _second = office.replica("b");
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        go(&office, &run).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        assert_eq!(notes(&office, &run).await, whole(&["the queue is long", "the queue is gone"]));
    });
}

/// A change of a Run, and who made it, as the API server's policy writes it down.
async fn done(office: &Office, run: &ObjectRef, (annotation, by): (&str, &str), spec: Value) {
    let patch = json!({"metadata": {"annotations": {annotation: by}}, "spec": spec});
    let api = office.access.api(run);
    api.patch(&run.name, &Default::default(), &kube::api::Patch::Merge(patch)).await.expect("it is changed");
}

/// By whom each hold, and the abort, is on record.
async fn hands(office: &Office, run: &ObjectRef) -> Vec<String> {
    let entries = office.journal(run).await;
    let records = entries.iter().map(|entry| serde_json::to_value(&entry.record).expect("plain data"));
    let done = records.filter(|record| record["type"] == "HoldChanged" || record["type"] == "StopRequested");
    done.map(|record| record["by"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn who_holds_and_who_aborts_is_on_record_by_name() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        done(&office, &run, ("firedrill.dev/held-by", "ada"), json!({"hold": true})).await;
        office.says(&run, "reason", "Held").await;
        done(&office, &run, ("firedrill.dev/resumed-by", "bob"), json!({"hold": false})).await;
        office.until("it goes on", async || office.status(&run).await["reason"] != "Held").await;
        done(&office, &run, ("firedrill.dev/aborted-by", "cy"), json!({"abort": true})).await;
        let status = office.over(&run).await;
        let wanted = ["ada (spec.hold is true)", "bob (spec.hold is false)", "cy (spec.abort)"];
        assert_eq!(hands(&office, &run).await, wanted);
        assert!(status["message"].as_str().is_some_and(|words| words.contains("cy")), "{status}");
        // Where nobody stamps it, it is on record that it was done.
        let next = office.run("trial-2", json!({})).await;
        office.shrunk().await;
        office.set(&next, json!({"abort": true})).await;
        office.over(&next).await;
        assert_eq!(hands(&office, &next).await, ["spec.abort"]);
    });
}

#[test]
fn the_owner_of_pods_that_are_taken_is_told_by_whom_and_where_to_read_on() {
    in_virtual_time(async {
        let kill = "{name: kill, target: {workload: deployment/web, count: 2}, podKill: {gracePeriod: 0s}}";
        let office = Office::open(&[kill]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({"requestedBy": "ada"})).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        let [told] = &office.told("Deployment")[..] else { panic!("{:?}", office.told("Deployment")) };
        assert_eq!((&told["involvedObject"]["name"], &told["reason"]), (&json!("web"), &json!("LosesPods")));
        let words = told["message"].as_str().expect("words");
        for part in ["2 pods", "step kill", "of ada", "firedrill report --controller trial-1 -n shop"] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(office.events("Pod"), Vec::<String>::new(), "they are gone");
    });
}

#[test]
fn a_run_that_is_refused_says_so_in_an_event() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let run = office.run("trial-1", json!({"serviceAccountName": "nobody"})).await;
        assert_eq!(office.over(&run).await["verdict"], "Refused");
        let [told] = &office.told("Run")[..] else { panic!("{:?}", office.told("Run")) };
        assert_eq!((&told["type"], &told["reason"]), (&json!("Warning"), &json!("Refused")));
        assert!(
            told["message"].as_str().is_some_and(|words| words.contains("no ServiceAccount nobody")),
            "{told}"
        );
    });
}

/// What whoever made the Run has said of it stays, and what says who has applied the file is not the Run's.
#[test]
fn a_run_has_the_labels_of_its_file() {
    in_virtual_time(async {
        let labelled = "metadata: {name: trial, namespace: shop, labels: {team: payments, tier: gold, app.kubernetes.io/instance: argo}}";
        let text = crate::crash::house::experiment(&[SCALE])
            .replace("metadata: {name: trial, namespace: shop}", labelled);
        let office = Office::with(&text).await;
        let _replica = office.replica("a");
        let run = ObjectRef::namespaced(api::API_VERSION, "Run", "shop", "trial-1");
        let body = json!({"apiVersion": api::API_VERSION, "kind": "Run",
            "metadata": {"name": "trial-1", "namespace": "shop", "labels": {"tier": "silver"}},
            "spec": {"experimentRef": {"name": "trial"}}});
        office.access.create(&run, body, Write::default()).await.expect("it is created");
        office.shrunk().await;
        let labels = office.get(&run).await.expect("it is there").metadata.labels.expect("it has some");
        let wanted = [("firedrill.dev/experiment", "trial"), ("team", "payments"), ("tier", "silver")];
        assert_eq!(
            labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>(),
            wanted
        );
    });
}
