//! Guardrails over what the controller runs: whom they bound, stop and ask, and what their statuses say.

use std::time::Duration;

use firedrill::{
    api,
    cluster::{Access, Lease, Tenure, Write},
    types::{Epoch, ObjectRef, RunId},
};
use serde_json::{Value, json};

use super::{
    condition,
    days::{day, gated, go, held, line, write},
    office::{Office, SCALE},
};
use crate::kit::in_virtual_time;

const EVICT: &str = "{name: evict, target: {workload: deployment/web, count: 1}, podKill: {gracePeriod: 0s}}";

/// Somebody in charge writes what a Guardrail says.
async fn rule(office: &Office, name: &str, spec: Value) -> ObjectRef {
    let object = ObjectRef::namespaced(api::API_VERSION, "Guardrail", "", name);
    let body = json!({"apiVersion": api::API_VERSION, "kind": "Guardrail", "metadata": {"name": name}, "spec": spec});
    let how = Write { manager: "kubectl", dry_run: false };
    office.access.apply(&object, &body, how).await.expect("somebody in charge may do that");
    object
}

fn of(names: &[&str]) -> Value {
    json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": names}]})
}

/// Somebody else's run is at work in the kitchen.
async fn at_work(office: &Office) -> Lease {
    let kitchen = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kitchen"}});
    let space = ObjectRef::namespaced("v1", "Namespace", "", "kitchen");
    office.access.create(&space, kitchen, Write::default()).await.expect("it is created");
    let tenure = Tenure {
        run: RunId::new("cook", 1),
        holder: "another".to_owned(),
        by: "cook".to_owned(),
        epoch: Epoch(1),
        renewed: office.stage.env.clock.now(),
        fresh: true,
        abort: None,
        acknowledged: false,
    };
    let access = Access::new(office.stage.cluster.sim().client());
    Lease::acquire(&access, "kitchen", tenure, false).await.expect("it is free")
}

/// The account may list no lease but its namespace's: the controller looks.
#[test]
fn a_guardrail_that_bounds_the_runs_lets_one_begin() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        rule(&office, "platform", json!({"concurrentRuns": 1})).await;
        let run = office.run("trial-1", json!({})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
    });
}

#[test]
fn one_run_too_many_waits_and_others_elsewhere_do_not_count() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        rule(&office, "platform", json!({"concurrentRuns": 1, "namespaceSelector": of(&["shop"])})).await;
        let mut lease = at_work(&office).await;
        let first = office.run("trial-1", json!({})).await;
        assert_eq!(office.over(&first).await["verdict"], "Passed", "{}", office.status(&first).await);
        rule(&office, "both", json!({"concurrentRuns": 1, "namespaceSelector": of(&["shop", "kitchen"])}))
            .await;
        lease.renew(office.stage.env.clock.now()).await.expect("it is still its");
        let second = office.run("trial-2", json!({})).await;
        let status = office.says(&second, "reason", "Waiting").await;
        assert!(
            status["message"].as_str().is_some_and(|why| why.contains("it allows 1 run at once")),
            "{status}"
        );
        lease.release().await.expect("it is given back");
        assert_eq!(office.over(&second).await["verdict"], "Passed");
    });
}

/// Halted and let go of again before anybody says go: the day is over.
#[test]
fn a_halt_at_a_gate_ends_the_day_whatever_is_said_afterwards() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        write(&office, day(json!({"experiments": gated()}))).await;
        let run = held(&office, json!({})).await;
        office.says(&run, "currentStep", "two/gate").await;
        rule(&office, "halt", json!({"halt": true, "haltReason": "incident 42"})).await;
        rule(&office, "halt", json!({"halt": false})).await;
        go(&office, &run).await;
        let status = office.over(&run).await;
        let (verdict, reason) = (&status["verdict"], &status["reason"]);
        assert_eq!((verdict, reason), (&json!("Aborted"), &json!("Halted")), "{status}");
        assert!(status["message"].as_str().is_some_and(|why| why.contains("incident 42")), "{status}");
        assert_eq!(line(&status, "one")["verdict"], "Passed");
        assert_eq!(line(&status, "two")["verdict"], "Skipped");
        assert_eq!(office.replicas(), 4);
    });
}

#[test]
fn a_halt_between_two_experiments_ends_the_day_and_does_not_go_on_with_the_next() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        let entries = json!([
            {"name": "one", "experimentRef": {"name": "trial"}},
            {"name": "two", "experimentRef": {"name": "trial"}, "pauseBefore": "10m"},
            {"name": "three", "experimentRef": {"name": "trial"}},
        ]);
        write(&office, day(json!({"onFailure": "Continue", "experiments": entries}))).await;
        let run = held(&office, json!({})).await;
        office
            .until("the first is over", async || {
                let status = office.status(&run).await;
                status["experiments"].is_array() && line(&status, "one")["verdict"] == "Passed"
            })
            .await;
        let asked = office.stage.env.clock.now();
        rule(&office, "halt", json!({"halt": true})).await;
        let status = office.over(&run).await;
        assert_eq!(
            (&status["verdict"], &status["reason"]),
            (&json!("Aborted"), &json!("Halted")),
            "{status}"
        );
        assert_eq!(line(&status, "three")["verdict"], "Skipped");
        assert!(office.stage.env.clock.now().duration_since(asked).as_secs() <= 5);
    });
}

#[test]
fn a_guardrail_that_comes_to_forbid_what_is_to_come_ends_the_day_and_another_does_not() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        write(&office, day(json!({"onFailure": "Continue", "experiments": gated()}))).await;
        let run = held(&office, json!({})).await;
        office.says(&run, "currentStep", "two/gate").await;
        let harmless = json!({"description": "other words", "faults": {"denied": ["nodeDrain"]}});
        rule(&office, "platform", harmless).await;
        rule(&office, "halt", json!({"halt": true, "namespaceSelector": of(&["kitchen"])})).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(office.status(&run).await["currentStep"], "two/gate");
        rule(&office, "platform", json!({"faults": {"denied": ["scale"]}})).await;
        let status = office.over(&run).await;
        let (verdict, reason) = (&status["verdict"], &status["reason"]);
        assert_eq!((verdict, reason), (&json!("Aborted"), &json!("GuardrailChanged")), "{status}");
        assert!(status["message"].as_str().is_some_and(|why| why.contains("the fault scale")), "{status}");
    });
}

/// What is under way is not forbidden, and what comes after it is.
#[test]
fn an_experiment_at_work_is_left_alone_when_only_the_next_is_forbidden() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let text = crate::crash::house::experiment(&[EVICT]).replace("name: trial", "name: other");
        let other = crate::kit::manifests(&text).remove(0);
        let object = ObjectRef::namespaced(api::API_VERSION, "Experiment", "shop", "other");
        office.access.create(&object, other, Write::default()).await.expect("it is created");
        let _replica = office.replica("a");
        let entries = json!([
            {"name": "one", "experimentRef": {"name": "trial"}},
            {"name": "two", "experimentRef": {"name": "other"}},
        ]);
        write(&office, day(json!({"onFailure": "Continue", "experiments": entries}))).await;
        let run = held(&office, json!({})).await;
        office.shrunk().await;
        rule(&office, "platform", json!({"faults": {"denied": ["podKill"]}})).await;
        let status = office.over(&run).await;
        assert_eq!(line(&status, "one")["verdict"], "Passed", "{status}");
        assert_eq!(line(&status, "two")["verdict"], "Skipped", "{status}");
        assert_eq!((&status["verdict"], &status["reason"]), (&json!("Aborted"), &json!("GuardrailChanged")));
    });
}

/// The game day says nothing of approvals: a Guardrail does, and people have a day for it.
#[test]
fn a_guardrail_that_asks_for_approvals_has_runs_made_ahead_of_their_time() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        rule(&office, "platform", json!({"approvals": {"required": 1}, "namespaceSelector": of(&["shop"])}))
            .await;
        let _replica = office.replica("a");
        let start = office.stage.env.clock.now();
        let due = start + Duration::from_secs(2 * 3600);
        let schedule = due.strftime("%M %H * * *").to_string();
        let object = write(&office, day(json!({"schedule": schedule, "timeZone": "UTC"}))).await;
        office
            .until("it is ready", async || office.status(&object).await["nextScheduleTime"].is_string())
            .await;
        let next: jiff::Timestamp =
            office.status(&object).await["nextScheduleTime"].as_str().expect("one").parse().expect("a time");
        let name = format!("weekly-{}", next.as_second() / 60);
        let run = ObjectRef::namespaced(api::API_VERSION, "Run", "shop", &name);
        office.until("it is made", async || office.get(&run).await.is_some()).await;
        assert!(office.stage.env.clock.now() < next - Duration::from_secs(3600));
        let status = office.says(&run, "phase", "AwaitingApproval").await;
        let time = office.stage.env.clock.now().to_string();
        office.set(&run, json!({"approvals": [{"by": "bob", "hash": status["hash"], "time": time}]})).await;
        let status = office.says(&run, "phase", "Pending").await;
        assert!(status["message"].as_str().is_some_and(|words| words.starts_with("begins ")), "{status}");
    });
}

/// What somebody has agreed to counts for so long, and then can be agreed to once more.
#[test]
fn an_approval_that_has_run_out_can_be_given_again() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replica = office.replica("a");
        write(&office, day(json!({"approvals": {"required": 1, "validFor": "10m"}}))).await;
        let later = (office.stage.env.clock.now() + Duration::from_secs(1800)).to_string();
        let run = held(&office, json!({"startTime": later})).await;
        let status = office.says(&run, "phase", "AwaitingApproval").await;
        let by =
            |time: jiff::Timestamp| json!({"by": "bob", "hash": status["hash"], "time": time.to_string()});
        let first = office.stage.env.clock.now();
        office.set(&run, json!({"approvals": [by(first)]})).await;
        office.says(&run, "phase", "Pending").await;
        tokio::time::sleep(Duration::from_secs(900)).await;
        assert_eq!(office.status(&run).await["phase"], "AwaitingApproval");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let second = office.stage.env.clock.now();
        office.set(&run, json!({"approvals": [by(first), by(second)]})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Passed", "{status}");
        assert_eq!(condition(&status, "Approved")["message"], "bob");
    });
}

#[test]
fn the_status_of_a_guardrail_says_what_is_at_work_under_it_and_what_was_refused() {
    in_virtual_time(async {
        let office = Office::open(&[SCALE]).await;
        let _replicas = [office.replica("a"), office.replica("b")];
        let shop = rule(&office, "shop", json!({"namespaceSelector": of(&["shop"])})).await;
        let other = rule(&office, "other", json!({"namespaceSelector": of(&["kitchen"])})).await;
        let says = async |object: &ObjectRef, active: i32, refusals: i32| {
            office
                .until("its status says so", async || {
                    let status = office.status(object).await;
                    status["activeRuns"] == active && status["refusals"] == refusals
                })
                .await;
            office.status(object).await
        };
        let status = says(&shop, 0, 0).await;
        let enforced = condition(&status, "Enforced");
        assert_eq!((&enforced["status"], &enforced["reason"]), (&json!("True"), &json!("Observed")));
        assert_eq!(status["observedGeneration"], 1, "{status}");
        let run = office.run("trial-1", json!({})).await;
        office.shrunk().await;
        says(&shop, 1, 0).await;
        assert_eq!(office.over(&run).await["verdict"], "Passed");
        says(&shop, 0, 0).await;
        rule(&office, "shop", json!({"namespaceSelector": of(&["shop"]), "faults": {"denied": ["scale"]}}))
            .await;
        let run = office.run("trial-2", json!({})).await;
        assert_eq!(office.over(&run).await["verdict"], "Refused");
        assert_eq!(says(&shop, 0, 1).await["observedGeneration"], 2);
        // Nothing is written that says the same.
        let version = async || office.get(&shop).await.expect("it is there").metadata.resource_version;
        let written = version().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(version().await, written);
        says(&other, 0, 0).await;
    });
}
