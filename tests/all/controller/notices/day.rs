//! What a game day that the controller holds tells, from before its time to its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

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

/// A game day of one experiment that tells everything, and what it has told.
async fn told_all(office: &Office, name: &str) -> ObjectRef {
    let rule = ObjectRef::namespaced(API_VERSION, "Guardrail", "", "platform");
    let hosts = json!({"apiVersion": API_VERSION, "kind": "Guardrail", "metadata": {"name": "platform"},
        "spec": {"probeHosts": ["*.example.com"]}});
    office.access.create(&rule, hosts, Write::default()).await.expect("it is created");
    let events = ["Started", "ExperimentFinished", "Aborted", "Finished", "Stuck"];
    let object = ObjectRef::namespaced(API_VERSION, "GameDay", "shop", name);
    let day = json!({"apiVersion": API_VERSION, "kind": "GameDay", "metadata": {"name": name, "namespace": "shop"},
    "spec": {
        "experiments": [
            {"name": "one", "experimentRef": {"name": "trial"}},
            {"name": "two", "experimentRef": {"name": "trial"}},
        ],
        "notifications": [{"name": "all", "events": events, "webhook": {"url": "https://hooks.example.com/drills"}}],
    }});
    office.access.create(&object, day, Write::default()).await.expect("it is created");
    let run = office.make("drill-1", json!({"gameDayRef": {"name": name}, "seed": 7})).await;
    office.shrunk().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    run
}

/// Event, experiment, verdict, reason and the experiments so far: of all that was told.
fn said(came: &super::Came) -> Vec<Value> {
    let told = so_far(came).iter().map(|(_, request)| body(request)).collect::<Vec<_>>();
    let of = |one: &Value| {
        json!([one["event"], one["experiment"], one["verdict"], one["reason"], one["experiments"]])
    };
    told.iter().map(of).collect()
}

/// The same is told whether the replica that aborts it has begun it or not.
#[test]
fn an_abort_is_told_by_whoever_has_the_game_day_then() {
    in_virtual_time(async {
        let mut all = Vec::new();
        for dies in [false, true] {
            let (http, came) = world(|_, _| Answer::Status(200));
            let office = Office::open(&[SCALE]).await;
            let env = Env { http, ..office.stage.env.clone() };
            let first = office.replica_over(env.clone(), "a");
            let run = told_all(&office, "drill").await;
            if dies {
                first.dies();
            }
            office.set(&run, json!({"abort": true})).await;
            let _second = office.replica_over(env, "b");
            assert_eq!(office.over(&run).await["verdict"], "Aborted");
            tokio::time::sleep(Duration::from_secs(10)).await;
            all.push(said(&came));
        }
        let events = |told: &[Value]| told.iter().map(|one| one[0].clone()).collect::<Vec<_>>();
        assert_eq!(events(&all[0]), ["Started", "ExperimentFinished", "Aborted", "Finished"]);
        assert_eq!(events(&all[1]), events(&all[0]), "{:?}", all[1]);
        let end = |told: &[Value]| {
            told.iter().skip(2).map(|one| [one[2].clone(), one[3].clone()]).collect::<Vec<_>>()
        };
        assert_eq!(end(&all[1]), end(&all[0]));
        let lines = |told: &[Value]| {
            told[3][4]
                .as_array()
                .expect("its experiments")
                .iter()
                .map(|line| line["name"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&all[1]), lines(&all[0]));
    });
}

/// A client by which no Deployment can be changed while it is shut.
fn broken(office: &Office, shut: &Arc<AtomicBool>) -> kube::Client {
    let (inner, shut) = (office.stage.cluster.sim().client(), shut.clone());
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let changes = request.method() == "PATCH" && request.uri().path().contains("/deployments/");
        let (inner, fails) = (inner.clone(), changes && shut.load(Ordering::Relaxed));
        async move {
            if !fails {
                return inner.send(request).await;
            }
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500,
                "reason": "InternalError", "message": "the disk is full"});
            let answer = http::Response::builder().status(500).header("content-type", "application/json");
            Ok(answer.body(kube::client::Body::from(status.to_string().into_bytes())).expect("an answer"))
        }
    });
    kube::Client::new(service, "default")
}

#[test]
fn what_a_survivor_puts_back_and_cannot_is_told_as_stuck() {
    in_virtual_time(async {
        let (http, came) = world(|_, _| Answer::Status(200));
        let office = Office::open(&[SCALE]).await;
        let env = Env { http, ..office.stage.env.clone() };
        let first = office.replica_over(env.clone(), "a");
        let run = told_all(&office, "drill").await;
        first.dies();
        let shut = Arc::new(AtomicBool::new(true));
        let _second = office.replica_over(Env { kube: broken(&office, &shut), ..env }, "b");
        tokio::time::sleep(Duration::from_secs(300)).await;
        shut.store(false, Ordering::Relaxed);
        assert_eq!(office.over(&run).await["verdict"], "Aborted");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let told: Vec<Value> = said(&came).iter().map(|one| one[0].clone()).collect();
        assert_eq!(told, ["Started", "Stuck", "ExperimentFinished", "Aborted", "Finished"]);
    });
}
