//! The real `kube::Client` over the service, in paused time.

use super::mischief::{Action, Matcher, Rule, Turn};
use super::*;
use crate::sim::{Sim, SimConfig};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{
    Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::{Value, json};
use tokio::time::Instant;

fn sim() -> Sim {
    let sim = Sim::new(&SimConfig { seed: 1, ..SimConfig::default() });
    sim.apply_manifests(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"taints": [{"key": "base", "effect": "NoSchedule"}]}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}),
    ])
    .expect("manifests");
    sim
}

fn deployment(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "web:1"}]}}}})
}

/// A pod on n1, running and ready unless the phase says otherwise.
fn pod(sim: &Sim, name: &str, app: &str, phase: &str) {
    let manifest = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i:1"}]}});
    sim.apply_manifests(&[manifest]).expect("pod");
    let conditions =
        if phase == "Running" { json!([{"type": "Ready", "status": "True"}]) } else { json!([]) };
    set_status(sim, &Kind::POD, name, &json!({"phase": phase, "conditions": conditions}));
}

fn budget(sim: &Sim, name: &str, app: &str, status: &Value) {
    let manifest = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": app}}}});
    sim.apply_manifests(&[manifest]).expect("budget");
    set_status(sim, &Kind::POD_DISRUPTION_BUDGET, name, status);
}

fn set_status(sim: &Sim, kind: &Kind, name: &str, status: &Value) {
    let set = |o: &mut crate::sim::store::Object| {
        o.set_value("status", status);
        Ok(())
    };
    sim.store().modify(kind, "shop", name, set).expect("status");
}

fn api_error(error: kube::Error) -> kube::core::Status {
    match error {
        kube::Error::Api(status) => *status,
        other => panic!("not an answer of the server: {other}"),
    }
}

fn json_patch(operations: Value) -> Patch<Value> {
    Patch::Json(serde_json::from_value(operations).expect("operations"))
}

async fn raw_call(
    sim: &Sim,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, http::HeaderMap, Value) {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Bytes::from(body.to_string())).expect("request");
    let response = sim.server().handle(User::admin(), request).await.expect("answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("body").to_bytes();
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test(start_paused = true)]
async fn objects_are_created_read_listed_replaced_and_deleted() {
    let sim = sim();
    let api: Api<Deployment> = Api::namespaced(sim.client(), "shop");
    let made = api
        .create(&PostParams::default(), &serde_json::from_value(deployment(2)).expect("typed"))
        .await
        .expect("created");
    assert_eq!(made.metadata.generation, Some(1));
    let strategy = made.spec.strategy.as_ref().and_then(|s| s.type_.clone());
    assert_eq!(strategy.as_deref(), Some("RollingUpdate"), "defaults are filled in");
    let again =
        api.create(&PostParams::default(), &serde_json::from_value(deployment(2)).expect("typed")).await;
    assert_eq!(api_error(again.expect_err("taken")).reason, "AlreadyExists");

    let mut changed = made.clone();
    changed.spec.replicas = Some(4);
    let replaced = api.replace("web", &PostParams::default(), &changed).await.expect("replaced");
    assert_eq!(replaced.metadata.generation, Some(2));
    let stale = api_error(api.replace("web", &PostParams::default(), &made).await.expect_err("stale"));
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));
    assert!(stale.message.starts_with(
        "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified"
    ));

    assert_eq!(api.list(&ListParams::default().labels("app=web")).await.expect("list").items.len(), 0);
    assert_eq!(
        api.list(&ListParams::default().fields("metadata.name=web")).await.expect("list").items.len(),
        1
    );
    api.delete("web", &DeleteParams::default()).await.expect("deleted");
    let gone = api_error(api.get("web").await.expect_err("gone"));
    assert_eq!(gone.message, "deployments.apps \"web\" not found");
    assert_eq!((gone.code, gone.reason.as_str()), (404, "NotFound"));
}

#[tokio::test(start_paused = true)]
async fn chunked_lists_hold_one_version() {
    let sim = sim();
    for i in 0..5 {
        pod(&sim, &format!("p{i}"), "web", "Running");
    }
    let api: Api<Pod> = Api::namespaced(sim.client(), "shop");
    let first = api.list(&ListParams::default().limit(2)).await.expect("first page");
    let token = first.metadata.continue_.clone().expect("more to come");
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    pod(&sim, "p9", "web", "Running");
    let rest = api.list(&ListParams::default().continue_token(&token)).await.expect("second page");
    let names: Vec<_> = rest.items.iter().filter_map(|p| p.metadata.name.as_deref()).collect();
    assert_eq!(names, ["p2", "p3", "p4"], "what came later is not in the list");
    sim.store().compact();
    let late = api_error(api.list(&ListParams::default().continue_token(&token)).await.expect_err("too old"));
    assert_eq!((late.code, late.reason.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn taints_by_json_patch_behave_as_tried_on_a_real_server() {
    let sim = sim();
    let api: Api<Node> = Api::all(sim.client());
    let params = PatchParams::default();
    let taint = |key: &str| json!({"key": key, "value": "RUN", "effect": "NoSchedule"});
    let keys = |node: &Node| -> Vec<String> {
        node.spec.clone().unwrap_or_default().taints.unwrap_or_default().into_iter().map(|t| t.key).collect()
    };
    // No list: `test null` passes when absent.
    let fresh = json_patch(
        json!([{"op": "test", "path": "/spec/taints", "value": null}, {"op": "add", "path": "/spec/taints", "value": [taint("fd")]}]),
    );
    assert_eq!(keys(&api.patch("n2", &params, &fresh).await.expect("no list yet")), ["fd"]);
    let refused = api_error(api.patch("n2", &params, &fresh).await.expect_err("there is a list now"));
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert_eq!(refused.message, "the server rejected our request due to an error in our request");
    // List present.
    let append = json_patch(json!([{"op": "add", "path": "/spec/taints/-", "value": taint("fd")}]));
    assert_eq!(keys(&api.patch("n1", &params, &append).await.expect("appended")), ["base", "fd"]);
    assert_eq!(api_error(api.patch("n1", &params, &append).await.expect_err("duplicate")).code, 422);
    // Removal guarded by tests of single members.
    let guarded = |value: &str| {
        json_patch(
            json!([{"op": "test", "path": "/spec/taints/1/key", "value": "fd"}, {"op": "test", "path": "/spec/taints/1/value", "value": value},
            {"op": "remove", "path": "/spec/taints/1"}]),
        )
    };
    assert_eq!(api_error(api.patch("n1", &params, &guarded("OTHER")).await.expect_err("not ours")).code, 422);
    assert_eq!(keys(&api.patch("n1", &params, &guarded("RUN")).await.expect("ours")), ["base"]);
    // Strategic merge replaces the list.
    let strategic = Patch::Strategic(json!({"spec": {"taints": [taint("new")]}}));
    assert_eq!(keys(&api.patch("n1", &params, &strategic).await.expect("replaced")), ["new"]);
    // A cordon that finds another's cordon.
    let cordon = json_patch(
        json!([{"op": "test", "path": "/spec/unschedulable", "value": null}, {"op": "add", "path": "/spec/unschedulable", "value": true}]),
    );
    api.patch("n1", &params, &cordon).await.expect("cordoned");
    assert_eq!(api_error(api.patch("n1", &params, &cordon).await.expect_err("cordoned already")).code, 422);
    // Another object under the same name.
    let other = Patch::Merge(json!({"metadata": {"uid": "other"}}));
    assert_eq!(api_error(api.patch("n1", &params, &other).await.expect_err("uid")).code, 422);
    let stale = Patch::Merge(json!({"metadata": {"resourceVersion": "1"}, "spec": {"unschedulable": false}}));
    assert_eq!(api_error(api.patch("n1", &params, &stale).await.expect_err("version")).code, 409);
    let no_labels = json_patch(json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]));
    assert_eq!(api_error(api.patch("n1", &params, &no_labels).await.expect_err("no labels map")).code, 422);
}

fn managers(meta: &kube::core::ObjectMeta, field: &str) -> Vec<(String, Option<String>)> {
    let entries = meta.managed_fields.clone().unwrap_or_default();
    let has = |fields: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1>| {
        fields.as_ref().is_some_and(|f| f.0["f:spec"].get(field).is_some())
    };
    entries
        .into_iter()
        .filter(|e| has(&e.fields_v1))
        .map(|e| (e.manager.unwrap_or_default(), e.subresource))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn scale_keeps_the_managers_name_and_ignores_metadata() {
    let sim = sim();
    let api: Api<Deployment> = Api::namespaced(sim.client(), "shop");
    let typed = serde_json::from_value(deployment(3)).expect("typed");
    let made = api
        .create(&PostParams { field_manager: Some("kubectl".into()), ..PostParams::default() }, &typed)
        .await
        .expect("created");
    let scar = "firedrill:RUN:replicas=3";
    let patch = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}, "spec": {"replicas": 1}}));
    let scaled = api
        .patch_scale(
            "web",
            &PatchParams { field_manager: Some(scar.into()), ..PatchParams::default() },
            &patch,
        )
        .await
        .expect("scaled");
    assert_eq!(scaled.spec.and_then(|s| s.replicas), Some(1));
    let now = api.get("web").await.expect("read");
    assert!(now.metadata.labels.is_none(), "metadata of the body is not taken");
    assert_eq!(managers(&now.metadata, "f:replicas"), [(scar.to_string(), Some("scale".to_string()))]);
    assert_eq!(now.metadata.generation, Some(2));
    // A write that changes nothing takes over nothing; one that does, does.
    let by = |name: &str| PatchParams { field_manager: Some(name.into()), ..PatchParams::default() };
    let same = Patch::Merge(json!({"spec": {"replicas": 1}}));
    api.patch("web", &by("person"), &same).await.expect("no-op");
    assert_eq!(managers(&api.get("web").await.expect("read").metadata, "f:replicas")[0].0, scar);
    let other = Patch::Merge(json!({"spec": {"replicas": 2}}));
    api.patch("web", &by("person"), &other).await.expect("changed");
    assert_eq!(
        managers(&api.get("web").await.expect("read").metadata, "f:replicas"),
        [("person".to_string(), None)]
    );
    let wrong = Patch::Merge(json!({"metadata": {"uid": "other"}, "spec": {"replicas": 9}}));
    let refused = api_error(api.patch_scale("web", &PatchParams::default(), &wrong).await.expect_err("uid"));
    assert_eq!(refused.code, 409);
    let test = json_patch(
        json!([{"op": "test", "path": "/spec/replicas", "value": 7}, {"op": "replace", "path": "/spec/replicas", "value": 0}]),
    );
    assert_eq!(
        api_error(api.patch_scale("web", &PatchParams::default(), &test).await.expect_err("test")).code,
        422
    );
    assert_eq!(made.metadata.uid, api.get("web").await.expect("read").metadata.uid);
}

#[tokio::test(start_paused = true)]
async fn server_side_apply_conflicts_unless_forced_and_gives_up_fields() {
    let sim = sim();
    let api: Api<Deployment> = Api::namespaced(sim.client(), "shop");
    let mut config = deployment(3);
    config["metadata"]["labels"] = json!({"team": "a"});
    api.patch("web", &PatchParams::apply("gitops"), &Patch::Apply(&config)).await.expect("created by apply");
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    api.patch(
        "web",
        &PatchParams { field_manager: Some("firedrill".into()), ..PatchParams::default() },
        &scale,
    )
    .await
    .expect("scaled");
    let conflict = api_error(
        api.patch("web", &PatchParams::apply("gitops"), &Patch::Apply(&config)).await.expect_err("conflict"),
    );
    assert_eq!(conflict.code, 409);
    assert_eq!(
        conflict.message,
        "Apply failed with 1 conflict: conflict with \"firedrill\" using apps/v1: .spec.replicas"
    );
    config["metadata"].as_object_mut().expect("map").remove("labels");
    let forced = api
        .patch("web", &PatchParams::apply("gitops").force(), &Patch::Apply(&config))
        .await
        .expect("forced");
    assert_eq!(forced.spec.replicas, Some(3));
    let part = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": {"a": "b"}}});
    api.patch("web", &PatchParams::apply("annotator"), &Patch::Apply(&part))
        .await
        .expect("a part of an object conflicts with nothing");
    assert_eq!(managers(&forced.metadata, "f:replicas")[0].0, "gitops");
    assert!(forced.metadata.labels.unwrap_or_default().is_empty(), "a field that is no longer applied goes");
}

async fn evict(sim: &Sim, name: &str, params: &EvictParams) -> Result<(), kube::core::Status> {
    let api: Api<Pod> = Api::namespaced(sim.client(), "shop");
    api.evict(name, params).await.map(drop).map_err(api_error)
}

#[tokio::test(start_paused = true)]
async fn evictions_answer_as_the_real_server_does() {
    let sim = sim();
    for name in ["a", "b", "c"] {
        pod(&sim, name, "web", "Running");
    }
    let healthy = |allowed: i64| json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 3, "desiredHealthy": 3 - allowed});
    budget(&sim, "web", "web", &healthy(1));
    let dry = EvictParams {
        post_options: PostParams { dry_run: true, ..PostParams::default() },
        ..EvictParams::default()
    };
    for name in ["a", "b", "c"] {
        evict(&sim, name, &dry).await.expect("a dry run does not add up");
    }
    evict(&sim, "a", &EvictParams::default()).await.expect("one is allowed");
    let object = sim.store().get(&Kind::POD_DISRUPTION_BUDGET, "shop", "web").expect("budget");
    let status: Value = object.field("status").expect("status");
    assert_eq!(status["disruptionsAllowed"], 0);
    assert!(status["disruptedPods"]["a"].is_string());
    let gone = sim.store().get(&Kind::POD, "shop", "a").expect("still in its grace");
    assert!(gone.terminating() && gone.raw("status").is_some_and(|s| s.contains("DisruptionTarget")));

    set_status(
        &sim,
        &Kind::POD_DISRUPTION_BUDGET,
        "web",
        &json!({"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2}),
    );
    let body = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"b","namespace":"shop"}}"#;
    let uri = "/api/v1/namespaces/shop/pods/b/eviction";
    let (code, headers, answer) = raw_call(&sim, "POST", uri, &[], body).await;
    assert_eq!(code, 429);
    assert!(headers.get("retry-after").is_none(), "0 seconds are not written");
    assert_eq!(answer["message"], "Cannot evict pod as it would violate the pod's disruption budget.");
    assert_eq!(
        answer["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget web needs 2 healthy pods and has 2 currently"}])
    );

    set_status(
        &sim,
        &Kind::POD_DISRUPTION_BUDGET,
        "web",
        &json!({"observedGeneration": 0, "disruptionsAllowed": 1}),
    );
    let (code, headers, answer) = raw_call(&sim, "POST", uri, &[], body).await;
    assert_eq!((code, headers["retry-after"].to_str().expect("text")), (429, "10"));
    assert_eq!(answer["details"]["retryAfterSeconds"], 10);

    budget(&sim, "second", "web", &healthy(1));
    let double = evict(&sim, "b", &EvictParams::default()).await.expect_err("two budgets");
    assert_eq!(double.code, 500);
    assert!(double.message.contains("more than one PodDisruptionBudget"));
    evict(&sim, "a", &EvictParams::default()).await.expect("a terminating pod asks no budget");
    pod(&sim, "waiting", "web", "Pending");
    evict(&sim, "waiting", &EvictParams::default()).await.expect("nor does a pending one");
}

#[tokio::test(start_paused = true)]
async fn an_eviction_with_a_failed_precondition_has_taken_its_slot() {
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    budget(
        &sim,
        "web",
        "web",
        &json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1}),
    );
    // Not by `Api::evict`: kube-core 5.0 spells the field `delete_options`, which a server drops in silence.
    let uri = "/api/v1/namespaces/shop/pods/a/eviction";
    let body = |options: Value| json!({"metadata": {"name": "a"}, "deleteOptions": options}).to_string();
    let dry = body(json!({"preconditions": {"uid": "other"}, "dryRun": ["All"]}));
    assert_eq!(raw_call(&sim, "POST", uri, &[], &dry).await.0, 409);
    let allowed = |sim: &Sim| {
        let object = sim.store().get(&Kind::POD_DISRUPTION_BUDGET, "shop", "web").expect("budget");
        object.field::<Value>("status").expect("status")["disruptionsAllowed"].clone()
    };
    assert_eq!(allowed(&sim), 1, "a dry run burns no budget");
    let (code, _, refused) =
        raw_call(&sim, "POST", uri, &[], &body(json!({"preconditions": {"uid": "other"}}))).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    assert_eq!(allowed(&sim), 0, "the slot is taken before the precondition is looked at");
    assert!(!sim.store().get(&Kind::POD, "shop", "a").expect("pod").terminating());
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_leaves_nothing() {
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    let before = sim.store().version();
    let client = sim.client();
    let (pods, nodes): (Api<Pod>, Api<Node>) =
        (Api::namespaced(client.clone(), "shop"), Api::all(client.clone()));
    let deployments: Api<Deployment> = Api::namespaced(client, "shop");
    let post = PostParams { dry_run: true, ..PostParams::default() };
    let made = deployments
        .create(&post, &serde_json::from_value(deployment(1)).expect("typed"))
        .await
        .expect("created, as if");
    assert!(made.metadata.uid.is_some());
    let patched = nodes
        .patch(
            "n1",
            &PatchParams { dry_run: true, ..PatchParams::default() },
            &Patch::Merge(json!({"spec": {"unschedulable": true}})),
        )
        .await;
    assert_eq!(patched.expect("patched, as if").spec.and_then(|s| s.unschedulable), Some(true));
    pods.delete("a", &DeleteParams { dry_run: true, ..DeleteParams::default() })
        .await
        .expect("deleted, as if");
    let invalid = nodes
        .patch(
            "n1",
            &PatchParams { dry_run: true, ..PatchParams::default() },
            &Patch::Merge(json!({"spec": {"taints": [{"key": "a", "effect": "no"}]}})),
        )
        .await;
    assert_eq!(api_error(invalid.expect_err("validated all the same")).code, 422);
    assert_eq!(sim.store().version(), before);
}

#[tokio::test(start_paused = true)]
async fn watches_follow_selectors_and_end_when_history_is_gone() {
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    let api: Api<Pod> = Api::namespaced(sim.client(), "shop");
    let version =
        api.list(&ListParams::default()).await.expect("list").metadata.resource_version.expect("version");
    let params = WatchParams::default().labels("app=web").timeout(100);
    let mut stream = api.watch(&params, &version).await.expect("watch").boxed();
    let relabel = |app: &str| Patch::Merge(json!({"metadata": {"labels": {"app": app}}}));
    api.patch("a", &PatchParams::default(), &relabel("other")).await.expect("relabelled");
    api.patch("a", &PatchParams::default(), &relabel("web")).await.expect("relabelled");
    assert!(matches!(stream.try_next().await, Ok(Some(WatchEvent::Deleted(_)))), "it no longer matches");
    assert!(matches!(stream.try_next().await, Ok(Some(WatchEvent::Added(_)))), "it matches again");
    let started = Instant::now();
    assert!(matches!(stream.try_next().await, Ok(Some(WatchEvent::Bookmark(_)))));
    assert!(matches!(stream.try_next().await, Ok(None)), "the watch times out");
    assert_eq!(started.elapsed().as_secs(), 99, "after its 100 s, counted from its start");
    sim.store().compact();
    let mut late = api.watch(&params, &version).await.expect("200").boxed();
    let Ok(Some(WatchEvent::Error(error))) = late.try_next().await else { panic!("an error in the stream") };
    assert_eq!((error.code, error.reason.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn the_runtime_watcher_recovers_from_gone_and_outage() {
    use kube::runtime::{WatchStreamExt, watcher};
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    let api: Api<Pod> = Api::namespaced(sim.client(), "shop");
    sim.mischief().add(Rule {
        matcher: Matcher::on("watch", "pods"),
        turn: Turn::First(1),
        action: Action::WatchGone,
    });
    let mut stream = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
    let name = |p: Result<Option<Pod>, watcher::Error>| p.ok().flatten().and_then(|p| p.metadata.name);
    assert_eq!(name(stream.try_next().await).as_deref(), Some("a"));
    sim.mischief().outage(true);
    let other = sim.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        other.mischief().outage(false);
        pod(&other, "b", "web", "Running");
    });
    let mut seen = Vec::new();
    while !seen.contains(&"b".to_string()) {
        seen.extend(name(stream.try_next().await));
    }
    assert!(sim.mischief().calls()[&("list".to_string(), "pods".to_string())] >= 2, "it had to list again");
}

#[tokio::test(start_paused = true)]
async fn rights_are_checked_and_reviewed() {
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    let rbac = "rbac.authorization.k8s.io/v1";
    sim.apply_manifests(&[
        json!({"apiVersion": rbac, "kind": "Role", "metadata": {"name": "evict", "namespace": "shop"}, "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods/eviction"], "resourceNames": ["a"], "verbs": ["create"]}]}),
        json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": {"name": "evict", "namespace": "shop"},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "evict"},
            "subjects": [{"kind": "ServiceAccount", "name": "breaker", "namespace": "shop"}]}),
    ])
    .expect("rights");
    let client = sim.client_as(User::new("system:serviceaccount:shop:breaker", &[]));
    let pods: Api<Pod> = Api::namespaced(client.clone(), "shop");
    assert_eq!(pods.list(&ListParams::default()).await.expect("may list").items.len(), 1);
    pods.evict("a", &EvictParams::default()).await.expect("may evict");
    let denied = api_error(pods.delete("a", &DeleteParams::default()).await.expect_err("may not delete"));
    assert_eq!(denied.code, 403);
    assert_eq!(
        denied.message,
        "pods \"a\" is forbidden: User \"system:serviceaccount:shop:breaker\" cannot delete resource \"pods\" in API group \"\" in the namespace \"shop\""
    );
    let nodes: Api<Node> = Api::all(client.clone());
    assert!(
        api_error(nodes.list(&ListParams::default()).await.expect_err("no"))
            .message
            .ends_with("at the cluster scope")
    );
    use k8s_openapi::api::authorization::v1::{
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
    };
    let ask = async |verb: &str, name: &str| {
        let attributes = ResourceAttributes {
            namespace: Some("shop".into()),
            verb: Some(verb.into()),
            resource: Some("pods".into()),
            subresource: Some("eviction".into()),
            name: Some(name.into()),
            ..ResourceAttributes::default()
        };
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
        api.create(&PostParams::default(), &review).await.expect("answered").status.expect("status").allowed
    };
    assert!(ask("create", "a").await);
    assert!(!ask("create", "b").await, "only that pod");
    let headers = [("impersonate-user", "system:serviceaccount:shop:breaker")];
    let (code, _, answer) =
        raw_call(&sim, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &headers, "{}").await;
    assert_eq!(
        (code, &answer["status"]["userInfo"]["username"]),
        (201, &json!("system:serviceaccount:shop:breaker"))
    );
}

#[tokio::test(start_paused = true)]
async fn mischief_hits_the_calls_that_it_names() {
    let sim = sim();
    let api: Api<Node> = Api::all(sim.client());
    let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    let on = |turn, action| sim.mischief().add(Rule { matcher: Matcher::on("patch", "nodes"), turn, action });
    on(Turn::Nth(1), Action::Answer(Status::too_many_requests("slow down", 1)));
    on(Turn::Nth(2), Action::DropAfterCommit);
    let refused = api_error(api.patch("n1", &PatchParams::default(), &cordon).await.expect_err("refused"));
    assert_eq!((refused.code, refused.details.and_then(|d| d.retry_after_seconds.into())), (429, Some(1)));
    assert!(
        api.get("n1").await.expect("read").spec.unwrap_or_default().unschedulable.is_none(),
        "nothing happened"
    );
    let lost = api.patch("n1", &PatchParams::default(), &cordon).await.expect_err("lost");
    assert!(matches!(lost, kube::Error::Service(_)), "a broken connection: {lost}");
    assert_eq!(
        api.get("n1").await.expect("read").spec.and_then(|s| s.unschedulable),
        Some(true),
        "it happened all the same"
    );
    on(Turn::Nth(1), Action::TimeoutAfterCommit);
    let started = Instant::now();
    let late = api_error(api.patch("n2", &PatchParams::default(), &cordon).await.expect_err("late"));
    assert_eq!((late.code, started.elapsed().as_secs()), (504, 60));
    assert_eq!(sim.mischief().calls()[&("patch".to_string(), "nodes".to_string())], 3);
    sim.mischief().outage(true);
    assert!(matches!(api.get("n1").await.expect_err("out"), kube::Error::Service(_)));
}

#[tokio::test(start_paused = true)]
async fn custom_resources_live_as_long_as_their_definition() {
    let sim = sim();
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "guardrails.firedrill.dev"}, "spec": {"group": "firedrill.dev", "scope": "Cluster",
        "names": {"kind": "Guardrail", "plural": "guardrails"},
        "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let uri = "/apis/firedrill.dev/v1alpha1/guardrails";
    assert_eq!(raw_call(&sim, "GET", uri, &[], "").await.0, 404, "not installed");
    sim.apply_manifests(&[definition, json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Guardrail", "metadata": {"name": "all"}, "spec": {"halt": true}})])
        .expect("applied");
    let (code, _, list) = raw_call(&sim, "GET", uri, &[], "").await;
    assert_eq!(
        (code, &list["kind"], &list["items"][0]["spec"]["halt"]),
        (200, &json!("GuardrailList"), &json!(true))
    );
    let put =
        raw_call(&sim, "PUT", &format!("{uri}/all"), &[], r#"{"metadata":{"name":"all"},"spec":{}}"#).await;
    assert_eq!(put.0, 422, "a custom resource is replaced with its resourceVersion only");
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/guardrails.firedrill.dev";
    assert_eq!(raw_call(&sim, "DELETE", definitions, &[], "").await.0, 200);
    assert_eq!(raw_call(&sim, "GET", uri, &[], "").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_dropped_or_refused_as_asked() {
    let sim = sim();
    let body = r#"{"metadata":{"name":"m"},"data":{"a":"b"},"dta":{}}"#;
    let uri = "/api/v1/namespaces/shop/configmaps";
    let (code, _, answer) = raw_call(&sim, "POST", &format!("{uri}?fieldValidation=Strict"), &[], body).await;
    assert_eq!(code, 400);
    assert_eq!(
        answer["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dta\""
    );
    let (code, _, made) = raw_call(&sim, "POST", uri, &[], body).await;
    assert_eq!((code, made.get("dta")), (201, None));
    let api: Api<ConfigMap> = Api::namespaced(sim.client(), "shop");
    assert_eq!(api.get("m").await.expect("read").data.expect("data")["a"], "b");
}

#[tokio::test(start_paused = true)]
async fn a_service_is_reached_through_the_proxy() {
    let sim = sim();
    let uri = "/api/v1/namespaces/shop/services/http:prom:9090/proxy/api/v1/query?query=up%20%3D%3D%201";
    assert_eq!(raw_call(&sim, "GET", uri, &[], "").await.0, 404);
    sim.apply_manifests(&[json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "prom", "namespace": "shop"}, "spec": {"ports": [{"port": 9090}]}})])
        .expect("service");
    assert_eq!(raw_call(&sim, "GET", uri, &[], "").await.0, 404, "nobody has written its endpoints yet");
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [],
        "metadata": {"name": "prom-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "prom"}}});
    sim.apply_manifests(&[slice]).expect("slice");
    assert_eq!(raw_call(&sim, "GET", uri, &[], "").await.0, 503);
    let echo = |request: Request<Bytes>| -> BoxFuture<'static, Response<Bytes>> {
        let text = json!(request.uri().to_string()).to_string();
        Box::pin(async move { Response::new(Bytes::from(text)) })
    };
    sim.register_backend("shop", "prom", std::sync::Arc::new(echo));
    assert_eq!(raw_call(&sim, "GET", uri, &[], "").await.2, "/api/v1/query?query=up%20%3D%3D%201");
}

#[tokio::test(start_paused = true)]
async fn tables_and_metadata_are_served_on_request() {
    let sim = sim();
    pod(&sim, "a", "web", "Running");
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let (_, _, table) = raw_call(&sim, "GET", "/api/v1/namespaces/shop/pods", &accept, "").await;
    assert_eq!(
        (&table["kind"], &table["rows"][0]["cells"][0], &table["rows"][0]["cells"][2]),
        (&json!("Table"), &json!("a"), &json!("Running"))
    );
    let api: Api<Pod> = Api::namespaced(sim.client(), "shop");
    let list = api.list_metadata(&ListParams::default()).await.expect("metadata");
    assert_eq!(list.items[0].metadata.labels.as_ref().expect("labels")["app"], "web");
}

#[tokio::test(start_paused = true)]
async fn an_event_is_one_object_in_two_versions() {
    let sim = sim();
    let new = "/apis/events.k8s.io/v1/namespaces/shop/events";
    let body = r#"{"metadata":{"name":"e"},"eventTime":"2026-01-01T00:00:00.000000Z","action":"Kill","reason":"Fault","type":"Normal",
        "note":"hello","regarding":{"kind":"Pod","name":"a","namespace":"shop"},"reportingController":"firedrill","reportingInstance":"x"}"#;
    assert_eq!(raw_call(&sim, "POST", new, &[], body).await.0, 201);
    let core = "/api/v1/namespaces/shop/events?fieldSelector=involvedObject.name%3Da";
    let (_, _, list) = raw_call(&sim, "GET", core, &[], "").await;
    assert_eq!(
        (&list["items"][0]["message"], &list["items"][0]["reportingComponent"]),
        (&json!("hello"), &json!("firedrill"))
    );
    let merge = [("content-type", "application/merge-patch+json")];
    let (code, _, patched) =
        raw_call(&sim, "PATCH", &format!("{new}/e"), &merge, r#"{"note":"again"}"#).await;
    assert_eq!(
        (code, &patched["note"], &patched["apiVersion"]),
        (200, &json!("again"), &json!("events.k8s.io/v1"))
    );
    assert_eq!(sim.store().count(&Kind::EVENT), 1);
}

/// What a busy minute leaves behind: objects and calls, byte for byte.
async fn trace(seed: u64) -> String {
    let sim = Sim::new(&SimConfig { seed, ..SimConfig::default() });
    sim.mischief().record();
    let namespaces: Api<Namespace> = Api::all(sim.client());
    namespaces
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "shop"}})).expect("typed"),
        )
        .await
        .expect("namespace");
    let tasks = (0..8).map(|i| {
        let api: Api<ConfigMap> = Api::namespaced(sim.client(), "shop");
        async move {
            let map: ConfigMap =
                serde_json::from_value(json!({"metadata": {"generateName": "m-"}})).expect("typed");
            let made = api.create(&PostParams::default(), &map).await.expect("created");
            tokio::time::sleep(Duration::from_millis(700 * i)).await;
            let name = made.metadata.name.expect("name");
            api.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"data": {"i": i.to_string()}})))
                .await
                .expect("patched");
        }
    });
    futures::future::join_all(tasks).await;
    let maps = sim.store().list(&Kind::CONFIG_MAP, None, &crate::sim::store::Selector::everything());
    let objects: Vec<String> = maps.iter().map(|o| o.to_value().to_string()).collect();
    format!("{:?} {objects:?}", sim.mischief().recorded())
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_trace() {
    let first = trace(3).await;
    for _ in 1..20 {
        assert_eq!(trace(3).await, first);
    }
    assert_ne!(trace(4).await, first);
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_typed_and_a_stale_namespace_is_refused() {
    let sim = sim();
    budget(&sim, "web", "web", &json!({"observedGeneration": 1, "disruptionsAllowed": 1}));
    let api: Api<PodDisruptionBudget> = Api::namespaced(sim.client(), "shop");
    assert_eq!(api.get("web").await.expect("read").status.expect("status").disruptions_allowed, Some(1));
    let api: Api<Deployment> = Api::namespaced(sim.client(), "nowhere");
    let mut body = deployment(1);
    body["metadata"]["namespace"] = "nowhere".into();
    let error = api_error(
        api.create(&PostParams::default(), &serde_json::from_value(body).expect("typed"))
            .await
            .expect_err("no namespace"),
    );
    assert_eq!((error.code, error.message.as_str()), (404, "namespaces \"nowhere\" not found"));
}
