//! The policies of the agents' namespace, held against the real API server.

use std::collections::BTreeMap;

use firedrill::{
    faults::{self, Arm},
    types::{AgentSettings, Epoch, ObjectRef, RunId},
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::scenarios::{bench::Real, blocking, state::api};

/// A namespace of its own: other tests may use the usual one.
fn settings() -> AgentSettings {
    AgentSettings { namespace: "drill-agents".to_owned(), ..AgentSettings::default() }
}

/// Lets agents into the namespace where they usually are, as the documentation says.
pub async fn let_in(real: &Real) {
    apply(&real.client(), &faults::agent_manifests(&AgentSettings::default())).await;
}

/// Applies objects of the whole cluster or of a namespace; a policy that its server finds fault with fails.
pub async fn apply(client: &kube::Client, objects: &[Value]) {
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let kind = api(client, (group, version, text("/kind")), text("/metadata/namespace"));
        let how = PatchParams::apply("firedrill").force();
        let applied = kind.patch(text("/metadata/name"), &how, &Patch::Apply(object)).await;
        let applied = applied.unwrap_or_else(|error| panic!("{object:#} is refused: {error}"));
        let warnings = applied.data.pointer("/status/typeChecking/expressionWarnings");
        assert!(warnings.is_none(), "{warnings:?}");
    }
}

/// Sends the pod without keeping it; the server's words if it is refused.
async fn taken(client: &kube::Client, pod: &Value, namespace: &str) -> Result<(), String> {
    taken_from(client, "", pod, namespace).await
}

/// The same from somebody who may do everything, as far as rights go.
async fn taken_from(client: &kube::Client, user: &str, pod: &Value, namespace: &str) -> Result<(), String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict");
    let mut request = http::Request::post(path).header("content-type", "application/json");
    if !user.is_empty() {
        request = request.header("impersonate-user", user).header("impersonate-group", "system:masters");
    }
    let request = request.body(serde_json::to_vec(pod).expect("plain data")).expect("a request");
    client.request_text(request).await.map(|_| ()).map_err(|error| error.to_string())
}

/// What is not the agent's pod: where it differs, and in what.
fn others() -> Vec<(&'static str, Value)> {
    let only = "/spec/containers/0";
    let at = |rest: &str| -> &'static str { Box::leak(format!("{only}{rest}").into_boxed_str()) };
    vec![
        (at("/image"), json!("registry.example.com/another:1")),
        (at("/name"), json!("main")),
        (at("/command"), json!(["/bin/sh"])),
        (at("/env"), json!([{"name": "A", "value": "b"}])),
        (at("/args"), json!(["--run", "a", "--epoch", "1"])),
        (at("/args/5"), json!("600s")),
        (at("/args/1"), json!("$(A)")),
        (at("/securityContext/privileged"), json!(true)),
        (at("/securityContext/capabilities/add"), json!(["NET_ADMIN", "SYS_MODULE"])),
        (at("/securityContext/capabilities/drop"), json!([])),
        (at("/securityContext/readOnlyRootFilesystem"), json!(false)),
        (at("/livenessProbe"), json!({"exec": {"command": ["true"]}})),
        (at("/lifecycle"), json!({"preStop": {"exec": {"command": ["true"]}}})),
        ("/spec/volumes", json!([{"name": "host", "hostPath": {"path": "/"}}])),
        ("/spec/hostNetwork", json!(true)),
        ("/spec/hostIPC", json!(true)),
        ("/spec/restartPolicy", json!("Always")),
        ("/spec/activeDeadlineSeconds", Value::Null),
        ("/spec/activeDeadlineSeconds", json!(1_000_000)),
        ("/spec/automountServiceAccountToken", json!(true)),
        ("/spec/initContainers", json!([{"name": "first", "image": "registry.example.com/another:1"}])),
        ("/spec/imagePullSecrets", json!([{"name": "somebodys"}])),
        ("/metadata/name", json!("shell")),
        ("/metadata/labels/firedrill.dev~1run", json!("another")),
    ]
}

fn with(pod: &Value, pointer: &str, value: &Value) -> Value {
    let mut pod = pod.clone();
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let last = last.replace("~1", "/");
    match pod.pointer_mut(parent).expect("its parent is there") {
        Value::Array(items) => items[last.parse::<usize>().expect("a place")] = value.clone(),
        parent if value.is_null() => {
            parent.as_object_mut().expect("an object").remove(&last);
        }
        parent => parent[last] = value.clone(),
    }
    pod
}

/// The pod of an agent.
fn an_agent(settings: &AgentSettings) -> Value {
    let run = RunId::new("policy", 7);
    let ask = Arm {
        run: &run,
        settings,
        snapshot: &firedrill::cluster::Snapshot::default(),
        until: jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(600),
        armed: &std::collections::BTreeSet::new(),
    };
    let armed = faults::arm_nodes(&ask, BTreeMap::from([("n1".to_owned(), Vec::<ObjectRef>::new())]));
    faults::agent_pod_of(&armed[0], &run, Epoch(1)).expect("it arms")
}

#[test]
fn only_those_who_are_named_place_agents_where_that_is_asked_for() {
    let Some(real) = Real::from_env("who may place agents") else { return };
    blocking(async {
        let settings = AgentSettings { namespace: "drill-hands".to_owned(), ..AgentSettings::default() };
        let (client, pod) = (real.client(), an_agent(&settings));
        let controller = "system:serviceaccount:firedrill:firedrill";
        apply(&client, &faults::agent_manifests(&settings)).await;
        apply(&client, &faults::agents_only_by(&settings, &[controller, "ada"])).await;
        let mut refused = Ok(());
        // A policy takes a moment until it holds.
        for _ in 0..100 {
            refused = taken_from(&client, "eve", &pod, &settings.namespace).await;
            if refused.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert!(refused.is_err_and(|said| said.contains("not yours to place")));
        for user in [controller, "ada"] {
            assert_eq!(taken_from(&client, user, &pod, &settings.namespace).await, Ok(()), "{user}");
        }
    });
}

#[test]
fn only_the_agents_pod_is_let_into_its_namespace() {
    let Some(real) = Real::from_env("the policies of the agents' namespace") else { return };
    blocking(async {
        let (client, settings) = (real.client(), settings());
        apply(&client, &faults::agent_manifests(&settings)).await;
        let pod = an_agent(&settings);
        // A policy takes a moment until it holds.
        let mut refused = Ok(());
        for _ in 0..100 {
            refused =
                taken(&client, &with(&pod, "/spec/restartPolicy", &json!("Always")), &settings.namespace)
                    .await;
            if refused.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert!(refused.is_err(), "the policy never holds");
        assert_eq!(taken(&client, &pod, &settings.namespace).await, Ok(()));
        for (pointer, value) in others() {
            let answer = taken(&client, &with(&pod, pointer, &value), &settings.namespace).await;
            let said = answer.expect_err(&format!("{pointer} = {value} is let in"));
            assert!(said.contains("firedrill"), "{pointer} = {value}: {said}");
        }
    });
}
