//! A clock that jumps under a controller of a real control plane.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use firedrill::{
    api::API_VERSION,
    cluster::{Access, Write},
    controller::{self, RunSeen, Settings, metrics::Metrics},
    env::{Clock, Env},
    journal::Environment,
    types::ObjectRef,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::define;
use crate::scenarios::{
    bench::{Real, create},
    blocking,
    objects::{deployment, place},
    row::{Row, row},
};

const NS: &str = "clock-that-jumps";
/// The controller's own.
const OWN: &str = "clock-office";

fn shop() -> Row {
    row(NS).objects(&[&place(), &deployment("web", 4)])
}

/// What a Run of it takes: who it acts as may do everything, for rights are not what this is about.
fn office() -> Vec<Value> {
    let account = json!({"kind": "ServiceAccount", "name": "firedrill", "namespace": NS});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OWN}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "firedrill", "namespace": NS}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "all", "namespace": NS}, "subjects": [account],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}}),
        json!({"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": "trial", "namespace": NS},
            "spec": {"hypothesis": "The shop heals by itself.", "baseline": {"duration": "1s"},
                "steadyState": [{"name": "ready", "value": "object.status.readyReplicas", "expect": "value >= 4.0",
                    "during": "true", "kubernetes": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}],
                "method": [{"name": "shrink", "target": {"workload": "deployment/web"}, "scale": {"replicas": 1},
                    "duration": "10s"}],
                "objectives": {"recoverWithin": "2m"}, "limits": {"pods": "100%"}}}),
    ]
}

async fn begin(access: &Access, name: &str) -> ObjectRef {
    let run = ObjectRef::namespaced(API_VERSION, "Run", NS, name);
    let body = json!({"apiVersion": API_VERSION, "kind": "Run", "metadata": {"name": name, "namespace": NS},
        "spec": {"experimentRef": {"name": "trial"}}});
    access.create(&run, body, Write::default()).await.expect("the Run is created");
    run
}

/// Waits until it says so of a Run; its status.
async fn until(access: &Access, run: &ObjectRef, holds: impl Fn(&RunSeen) -> bool) -> Value {
    let begun = tokio::time::Instant::now();
    loop {
        let seen = RunSeen::read(&access.get(run).await.expect("it is there")).expect("a Run");
        if holds(&seen) {
            return seen.status;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", seen.status);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn over(access: &Access, run: &ObjectRef) -> Value {
    until(access, run, |seen| seen.over() && !seen.finalizer).await
}

/// While a fault is in force the clock jumps; so the Run ends, and the next one passes with the time that it is.
async fn jump(access: &Access, ahead: &AtomicI64, (name, seconds, verdict): (&str, i64, &str)) {
    let run = begin(access, &format!("{name}-1")).await;
    until(access, &run, |seen| !seen.status["injectionTime"].is_null()).await;
    ahead.fetch_add(seconds, Ordering::Relaxed);
    let status = over(access, &run).await;
    assert_eq!(status["verdict"], verdict, "{name}: {status}");
    let web =
        access.get(&ObjectRef::namespaced("apps/v1", "Deployment", NS, "web")).await.expect("it is there");
    assert_eq!(web.data["spec"]["replicas"], 4, "{name}");
    let next = begin(access, &format!("{name}-2")).await;
    let status = over(access, &next).await;
    assert_eq!(status["verdict"], "Passed", "{name}: {status}");
    let said = status["completionTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let off = Clock::system().now().duration_since(said.expect("it is over"));
    assert!(off.abs() < SignedDuration::from_secs(60), "{name}: off by {off}");
}

#[test]
fn a_clock_that_jumps_leaves_nothing_in_force() {
    let Some(real) = Real::from_env("a clock that jumps").filter(|real| !real.has_metrics()) else { return };
    blocking(async {
        define(&real).await;
        let shop = shop();
        let at = real.place(&shop).await.expect("the shop is ready");
        create(&at.client, &office()).await.expect("the office is accepted");
        let (access, ahead) = (Access::new(at.client.clone()), Arc::new(AtomicI64::new(0)));
        let (right, jumped) = (Clock::system(), ahead.clone());
        let wall = move || right.now() + SignedDuration::from_secs(jumped.load(Ordering::Relaxed));
        let env = Env { clock: Clock::system().with_wall(wall), ..at.env };
        let settings = Settings {
            namespace: OWN.to_owned(),
            pod: String::new(),
            name: "clock".to_owned(),
            source: None,
            environment: Environment { cluster: "bench".to_owned(), ..Environment::default() },
            at_once: 10,
            metrics: Metrics::default(),
            agents: false,
        };
        let (end, ends) = oneshot::channel::<()>();
        let end_of = async {
            let _ = ends.await;
        };
        let serving = tokio::spawn(controller::serve(env, settings, end_of));
        jump(&access, &ahead, ("ahead", 3600, "Aborted")).await;
        jump(&access, &ahead, ("back", -7200, "Passed")).await;
        end.send(()).expect("it listens");
        serving.await.expect("it ends by itself").expect("it has joined");
        real.clear(&shop).await;
        let office = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(real.client());
        office.delete(OWN, &Default::default()).await.expect("the office is closed");
    });
}
