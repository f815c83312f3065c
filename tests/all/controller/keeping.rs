//! What is kept: Runs and journals that somebody still needs, and nothing of those whose Run is gone but their record.

use std::{collections::BTreeMap, time::Duration};

use firedrill::{
    cluster::Write,
    controller::{metrics::Metrics, run_id},
    types::ObjectRef,
};
use serde_json::{Value, json};

use super::{
    days::{day, write},
    office::{Office, SCALE},
};
use crate::kit::in_virtual_time;

/// What is left behind.
fn left() -> Value {
    json!({"residue": {"count": 1, "items": [{"kind": "Deployment", "name": "web", "what": "it is scaled"}]}})
}

/// The Runs that have a journal.
async fn kept(office: &Office) -> Vec<String> {
    let mut kept: Vec<String> = office.journals().await.into_iter().map(|journal| journal.object).collect();
    kept.sort();
    kept.dedup();
    kept
}

/// A journal like that of `run`, of another Run that is gone, said to be as large as `bytes`.
async fn another(office: &Office, run: &ObjectRef, (name, bytes): (&str, u64)) {
    let journals = office.journals().await;
    let of = format!("shop/{}", run.name);
    let like = journals.iter().find(|journal| journal.object == of).expect("it has one");
    let gone = ObjectRef { name: name.to_owned(), uid: format!("uid-of-{name}"), ..run.clone() };
    for segment in &like.names {
        let object = ObjectRef::namespaced("v1", "ConfigMap", "firedrill", segment);
        let found = office.access.get(&object).await.expect("it is there");
        let number = segment.rsplit('-').next().expect("a number");
        let segment =
            ObjectRef::namespaced("v1", "ConfigMap", "firedrill", &format!("{}-{number}", run_id(&gone)));
        let metadata = json!({"name": segment.name, "namespace": "firedrill",
            "labels": {"firedrill.dev/journal": run_id(&gone)},
            "annotations": {"firedrill.dev/of-run": format!("shop/{name}"),
                "firedrill.dev/of-run-uid": gone.uid, "firedrill.dev/bytes": bytes.to_string()}});
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": true,
            "data": found.data["data"], "binaryData": found.data["binaryData"]});
        office.access.create(&segment, body, Write::default()).await.expect("it is created");
    }
}

#[test]
fn what_has_left_something_behind_is_kept_with_its_journal() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let replica = office.replica("a");
        let mut runs = BTreeMap::new();
        for (name, spec) in [
            ("left", json!({"ttlAfterFinished": "5m"})),
            ("clean", json!({"ttlAfterFinished": "5m"})),
            ("old", json!({})),
        ] {
            let run = office.run(name, spec).await;
            office.over(&run).await;
            if name == "left" {
                office.ended_so(&run, left()).await;
            }
            runs.insert(name, run);
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(office.get(&runs["left"]).await.is_some(), "its time is over, and something is left of it");
        assert!(office.get(&runs["clean"]).await.is_none());
        assert_eq!(kept(&office).await, ["shop/left", "shop/old"]);
        // More than there is room for: the oldest go, but for what is still needed.
        another(&office, &runs["old"], ("large", 200 << 20)).await;
        another(&office, &runs["old"], ("larger", 60 << 20)).await;
        tokio::time::sleep(Duration::from_secs(180)).await;
        let kept = kept(&office).await;
        assert!(
            kept.contains(&"shop/left".to_owned()),
            "what was there before is in no other place: {kept:?}"
        );
        assert!(!kept.contains(&"shop/old".to_owned()), "{kept:?}");
        replica.ends().await;
    });
}

#[test]
fn of_a_game_days_history_what_has_left_something_behind_stays() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let one = json!([{"name": "one", "experimentRef": {"name": "trial"}}]);
        write(&office, day(json!({"runsHistoryLimit": 2, "experiments": one}))).await;
        let mut runs = Vec::new();
        for number in 0..4 {
            let run =
                office.make(&format!("weekly-{number}"), json!({"gameDayRef": {"name": "weekly"}})).await;
            office.over(&run).await;
            if number == 0 {
                office.ended_so(&run, left()).await;
            }
            runs.push(run);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut there = Vec::new();
        for run in &runs {
            there.push(office.get(run).await.is_some());
        }
        assert_eq!(there, [true, false, false, true], "two are kept, of which one is needed");
    });
}

fn value(metrics: &Metrics, sample: &str) -> u64 {
    let text = metrics.render();
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.map_or(0, |value| value.parse().expect("a number"))
}

#[test]
fn journals_whose_run_is_gone_are_looked_at_and_not_taken_up() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let first = office.replica("a");
        let run = office.run("trial-1", json!({})).await;
        office.over(&run).await;
        first.ends().await;
        for number in 0..40 {
            another(&office, &run, (&format!("gone-{number}"), 1000)).await;
        }
        let second = office.replica("b");
        office.until("it is ready", async || second.metrics.ready()).await;
        tokio::time::sleep(Duration::from_secs(150)).await;
        let made = |verb: &str| {
            value(&second.metrics, &format!("firedrill_api_requests_total{{verb=\"{verb}\",code=\"2xx\"}}"))
        };
        let (created, read) = (made("create"), made("get"));
        assert!(created <= 5, "{created}: no claim for any of them");
        assert!((40..80).contains(&read), "{read}: each is looked at once");
        assert_eq!(office.journals().await.len(), 41, "they are kept");
        let run = office.run("trial-2", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
    });
}
