//! The real `kube::Client` over the service, in paused time.

mod evictions;
mod watches;
mod writes;

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

async fn evict(sim: &Sim, name: &str, params: &EvictParams) -> Result<(), kube::core::Status> {
    let api: Api<Pod> = Api::namespaced(sim.client(), "shop");
    api.evict(name, params).await.map(drop).map_err(api_error)
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
async fn what_is_made_by_applying_it_takes_the_right_to_make_it() {
    let sim = sim();
    let rbac = "rbac.authorization.k8s.io/v1";
    sim.apply_manifests(&[
        json!({"apiVersion": rbac, "kind": "Role", "metadata": {"name": "apply", "namespace": "shop"}, "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["create"]}]}),
        json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": {"name": "apply", "namespace": "shop"},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "apply"},
            "subjects": [{"kind": "User", "name": "ada"}]}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "there", "namespace": "shop"}}),
    ])
    .expect("rights");
    let maps: Api<ConfigMap> = Api::namespaced(sim.client_as(User::new("ada", &[])), "shop");
    let apply = async |name: &str| {
        let body =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}});
        maps.patch(name, &PatchParams::apply("ada"), &Patch::Apply(&body)).await.map_err(api_error)
    };
    apply("there").await.expect("it is there");
    apply("mine").await.expect("of that name she may");
    let denied = apply("other").await.expect_err("of another she may not");
    assert_eq!(denied.code, 403);
    assert!(denied.message.contains("cannot create resource \"configmaps\""), "{}", denied.message);
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

/// It is what `kubectl create namespace` sends.
#[tokio::test(start_paused = true)]
async fn protobuf_is_refused_with_the_words_that_do_the_same() {
    let sim = sim();
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    let (code, _, refused) = raw_call(&sim, "POST", "/api/v1/namespaces", &protobuf, "k8s\0").await;
    assert_eq!((code, &refused["reason"]), (415, &json!("UnsupportedMediaType")));
    let said = refused["message"].as_str().expect("words");
    assert!(said.ends_with("--dry-run=client -o yaml | kubectl apply -f -"), "{said}");
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
