//! What a game day that the controller holds tells, from before its time to its end.

use std::time::Duration;

use firedrill::{api::API_VERSION, cluster::Write, env::Env, types::ObjectRef};
use serde_json::{Value, json};

use super::{Answer, body, so_far, world};
use crate::{
    controller::office::{Office, SCALE},
    kit::in_virtual_time,
};

#[test]
fn a_game_day_is_told_from_before_its_time_to_its_end() {
    in_virtual_time(async {
        let (http, came) = world(|_, _| Answer::Status(200));
        let office = Office::open(&[SCALE]).await;
        let rule = ObjectRef::namespaced(API_VERSION, "Guardrail", "", "platform");
        let hosts = json!({"apiVersion": API_VERSION, "kind": "Guardrail", "metadata": {"name": "platform"},
            "spec": {"probeHosts": ["*.example.com"]}});
        office.access.create(&rule, hosts, Write::default()).await.expect("it is created");
        let events = [
            "Upcoming",
            "ApprovalRequested",
            "Started",
            "ExperimentFinished",
            "ManualStep",
            "Violated",
            "Aborted",
            "Finished",
            "Stuck",
        ];
        let object = ObjectRef::namespaced(API_VERSION, "GameDay", "shop", "nightly");
        let day = json!({"apiVersion": API_VERSION, "kind": "GameDay", "metadata": {"name": "nightly", "namespace": "shop"},
        "spec": {
            "schedule": "0 2 * * *", "timeZone": "Europe/London", "approvals": {"required": 1, "requestBefore": "10m"},
            "experiments": [
                {"name": "one", "experimentRef": {"name": "trial"}},
                {"name": "two", "experimentRef": {"name": "trial"}, "gate": "Manual"},
            ],
            "notifications": [{"name": "all", "events": events, "lead": "5m",
                "webhook": {"url": "https://hooks.example.com/drills"}}],
        }});
        office.access.create(&object, day, Write::default()).await.expect("it is created");
        let _replica = office.replica_over(Env { http, ..office.stage.env.clone() }, "a");
        // From midnight to a quarter of an hour before its time.
        tokio::time::sleep(Duration::from_secs(105 * 60)).await;
        assert_eq!(so_far(&came).len(), 0);
        let due: jiff::Timestamp = "2026-01-01T02:00:00Z".parse().expect("a time");
        let mut run =
            ObjectRef::namespaced(API_VERSION, "Run", "shop", &format!("nightly-{}", due.as_second() / 60));
        office
            .until("it is asked for", async || office.status(&run).await["phase"] == "AwaitingApproval")
            .await;
        run.uid = office.get(&run).await.expect("it is there").metadata.uid.expect("it has one");
        let hash = office.status(&run).await["hash"].clone();
        let now = office.stage.env.clock.now().to_string();
        office.set(&run, json!({"approvals": [{"by": "bob", "hash": hash, "time": now}]})).await;
        office.says(&run, "currentStep", "two/gate").await;
        let go = json!([{"name": "two/gate", "action": "Confirm", "by": "bob", "time": now}]);
        office.set(&run, json!({"steps": go})).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        let told: Vec<Value> = so_far(&came).iter().map(|(_, request)| body(request)).collect();
        let told: Vec<&str> = told.iter().filter_map(|one| one["event"].as_str()).collect();
        let wanted = [
            "ApprovalRequested",
            "Upcoming",
            "Started",
            "ExperimentFinished",
            "ManualStep",
            "ExperimentFinished",
            "Finished",
        ];
        assert_eq!(told, wanted);
    });
}
