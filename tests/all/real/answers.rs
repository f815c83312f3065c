//! What the API server answers to the calls that firedrill makes: the embedded one as the real one.
//!
//! `answers.txt` is what the real one said; with the servers of tests/real it is held against them again.

use std::fmt::Write as _;

use kube::Client;
use serde_json::{Value, json};

use crate::{
    kit::{Stage, in_virtual_time, manifests},
    scenarios::{
        bench::{Real, settled},
        blocking,
        row::{Row, row},
        rows::answering,
    },
};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
const NS: &str = "answers";

/// Name, method, path, content type, body. `$UID` and `$POD` are those of a pod of `web`.
fn calls() -> Vec<(&'static str, &'static str, String, &'static str, Value)> {
    let pod = |rest: &str| format!("/api/v1/namespaces/{NS}/pods/{rest}");
    let web = |rest: &str| format!("/apis/apps/v1/namespaces/{NS}/deployments/web{rest}");
    let node = |rest: &str| format!("/api/v1/nodes/{NS}-a0{rest}");
    let lease = |rest: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{NS}/leases{rest}");
    let evict = |name: &str, more: Value| {
        let meta = json!({"name": name, "namespace": NS});
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta, "deleteOptions": more})
    };
    let test = |path: &str, value: Value| json!([{"op": "test", "path": path, "value": value}, {"op": "add", "path": path, "value": value}]);
    let wrong = "00000000-0000-0000-0000-000000000000";
    let all = json!(["All"]);
    let held = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "held", "namespace": NS},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}});
    let mut stale = held.clone();
    stale["metadata"]["resourceVersion"] = json!("1");
    vec![
        ("a pod that is not there", "GET", pod("nobody"), JSON, Value::Null),
        ("a node that is not there", "GET", "/api/v1/nodes/nobody".to_owned(), JSON, Value::Null),
        ("a kind that is not there", "GET", "/apis/example.com/v1/things".to_owned(), JSON, Value::Null),
        ("dry run of an eviction", "POST", pod("$POD/eviction"), JSON, evict("$POD", json!({"dryRun": all}))),
        (
            "dry run of an eviction of another UID",
            "POST",
            pod("$POD/eviction"),
            JSON,
            evict("$POD", json!({"dryRun": all, "preconditions": {"uid": wrong}})),
        ),
        ("eviction of nobody", "POST", pod("nobody/eviction"), JSON, evict("nobody", json!({}))),
        ("eviction under another name", "POST", pod("$POD/eviction"), JSON, evict("nobody", json!({}))),
        ("eviction against a budget", "POST", pod("stuck-0/eviction"), JSON, evict("stuck-0", json!({}))),
        (
            "dry run of an eviction against a budget",
            "POST",
            pod("stuck-0/eviction"),
            JSON,
            evict("stuck-0", json!({"dryRun": all})),
        ),
        ("eviction under two budgets", "POST", pod("twice-0/eviction"), JSON, evict("twice-0", json!({}))),
        (
            "dry run of an eviction under two budgets",
            "POST",
            pod("twice-0/eviction"),
            JSON,
            evict("twice-0", json!({"dryRun": all})),
        ),
        (
            "dry run of a deletion",
            "DELETE",
            pod("$POD"),
            JSON,
            json!({"dryRun": all, "gracePeriodSeconds": 0, "preconditions": {"uid": "$UID"}}),
        ),
        ("deletion of another UID", "DELETE", pod("$POD"), JSON, json!({"preconditions": {"uid": wrong}})),
        ("deletion of nobody", "DELETE", pod("nobody"), JSON, json!({})),
        (
            "deletion with a grace period below zero",
            "DELETE",
            pod("$POD"),
            JSON,
            json!({"dryRun": all, "gracePeriodSeconds": -5}),
        ),
        (
            "a JSON patch of another UID",
            "PATCH",
            node("?dryRun=All"),
            JSON_PATCH,
            test("/metadata/uid", json!(wrong)),
        ),
        (
            "a JSON patch with a test that fails",
            "PATCH",
            node("?dryRun=All"),
            JSON_PATCH,
            test("/spec/unschedulable", json!(true)),
        ),
        (
            "a JSON patch with a test of null",
            "PATCH",
            node("?dryRun=All"),
            JSON_PATCH,
            json!([{"op": "test", "path": "/spec/unschedulable", "value": null}, {"op": "add", "path": "/spec/unschedulable", "value": true}]),
        ),
        (
            "a JSON patch that removes what is not there",
            "PATCH",
            node("?dryRun=All"),
            JSON_PATCH,
            json!([{"op": "remove", "path": "/metadata/labels/nothing"}]),
        ),
        (
            "a JSON patch into a map that is not there",
            "PATCH",
            web("?dryRun=All"),
            JSON_PATCH,
            json!([{"op": "add", "path": "/metadata/finalizers/0", "value": "x"}]),
        ),
        (
            "a JSON patch of nobody",
            "PATCH",
            "/api/v1/nodes/nobody".to_owned(),
            JSON_PATCH,
            test("/spec/unschedulable", json!(true)),
        ),
        (
            "a merge patch with another UID",
            "PATCH",
            node("?dryRun=All"),
            MERGE_PATCH,
            json!({"metadata": {"uid": wrong}}),
        ),
        (
            "a merge patch with an old version",
            "PATCH",
            web("?dryRun=All"),
            MERGE_PATCH,
            json!({"metadata": {"resourceVersion": "1"}, "spec": {"paused": true}}),
        ),
        (
            "a label that is none",
            "PATCH",
            node("?dryRun=All"),
            MERGE_PATCH,
            json!({"metadata": {"labels": {"x": "not a label!"}}}),
        ),
        (
            "dry run of scaling",
            "PATCH",
            web("/scale?dryRun=All&fieldManager=firedrill:x:replicas=2"),
            JSON_PATCH,
            json!([{"op": "test", "path": "/spec/replicas", "value": 2}, {"op": "add", "path": "/spec/replicas", "value": 1}]),
        ),
        (
            "scaling with a test that fails",
            "PATCH",
            web("/scale"),
            JSON_PATCH,
            test("/spec/replicas", json!(9)),
        ),
        (
            "scaling with another UID",
            "PATCH",
            web("/scale"),
            JSON_PATCH,
            json!([{"op": "test", "path": "/metadata/uid", "value": wrong}]),
        ),
        (
            "scaling by merge with another UID",
            "PATCH",
            web("/scale"),
            MERGE_PATCH,
            json!({"metadata": {"uid": wrong}, "spec": {"replicas": 1}}),
        ),
        (
            "scaling below zero",
            "PATCH",
            web("/scale?dryRun=All"),
            MERGE_PATCH,
            json!({"spec": {"replicas": -1}}),
        ),
        (
            "scaling nobody",
            "PATCH",
            web("/scale").replace("web", "nobody"),
            MERGE_PATCH,
            json!({"spec": {"replicas": 1}}),
        ),
        (
            "scale of what was scaled to zero",
            "PATCH",
            web("/scale?dryRun=All"),
            JSON_PATCH,
            json!([{"op": "replace", "path": "/spec/replicas", "value": 0}]),
        ),
        ("a lease", "POST", lease(""), JSON, held.clone()),
        ("the same lease again", "POST", lease(""), JSON, held),
        ("a lease of an old version", "PUT", lease("/held"), JSON, stale),
        (
            "deletion of a lease of another UID",
            "DELETE",
            lease("/held"),
            JSON,
            json!({"preconditions": {"uid": wrong}}),
        ),
        ("deletion of a lease", "DELETE", lease("/held"), JSON, json!({})),
        (
            "a lease in no namespace",
            "POST",
            lease("").replace(NS, "nowhere"),
            JSON,
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x", "namespace": "nowhere"}}),
        ),
    ]
}

/// Every answer on a line: name, status, reason, message.
async fn answers(client: &Client, place: &Row) -> Result<String, String> {
    settled(client, place).await?;
    let pods = crate::scenarios::state::api(client, ("", "v1", "Pod"), NS);
    let of_web = kube::api::ListParams::default().labels("app=web");
    let listed = pods.list(&of_web).await.map_err(|error| error.to_string())?;
    let pod = &listed.items.first().ok_or("web has no pods")?.metadata;
    let (name, uid) = (pod.name.clone().unwrap_or_default(), pod.uid.clone().unwrap_or_default());
    let mut text = String::new();
    for (what, method, path, kind, body) in calls() {
        let filled = |text: &str| text.replace("$POD", &name).replace("$UID", &uid);
        let body = if body.is_null() { Vec::new() } else { filled(&body.to_string()).into_bytes() };
        let request = http::Request::builder().method(method).uri(filled(&path)).header("content-type", kind);
        let request = request.body(kube::client::Body::from(body)).map_err(|error| error.to_string())?;
        let response = client.send(request).await.map_err(|error| format!("{what}: {error}"))?;
        let status = response.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await;
        let bytes = bytes.map_err(|error| format!("{what}: {error}"))?.to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let failed = answer["kind"] == "Status" && answer["status"] == "Failure";
        let word = |field: &str| if failed { answer[field].as_str().unwrap_or_default() } else { "" };
        let message = word("message").replace(&name, "$POD").replace(&uid, "$UID");
        let message = message.split_whitespace().map(without_uid).collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "{what} | {status} | {} | {message}", word("reason"));
    }
    Ok(text)
}

fn place() -> Row {
    row(NS).objects(&answering().iter().map(String::as_str).collect::<Vec<_>>())
}

/// A word, unless it is a UID that is another each time.
fn without_uid(word: &str) -> &str {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let uid = bare.len() == 36 && bare.matches('-').count() == 4 && !bare.starts_with("00000000-");
    if uid { "UID" } else { word }
}

/// Lines that differ.
fn difference(found: &str, golden: &str) -> String {
    let pairs = found.lines().zip(golden.lines()).filter(|(found, golden)| found != golden);
    pairs.fold(String::new(), |text, (found, golden)| format!("{text}\nreal:  {golden}\nfound: {found}"))
}

#[test]
fn the_embedded_server_answers_as_the_real_one() {
    let golden = include_str!("answers.txt");
    let place = place();
    let found = in_virtual_time(async {
        let stage = Stage::new(&manifests(&place.fill(&place.objects)), 7).await;
        answers(&stage.cluster.sim().client(), &place).await.expect("the server is asked")
    });
    assert_eq!(found.lines().count(), golden.lines().count());
    assert_eq!(difference(&found, golden), "");
}

#[test]
fn the_real_server_answers_as_written_down() {
    let Some(real) = Real::from_env("the answers of the API server").filter(|real| !real.has_metrics())
    else {
        return;
    };
    let place = place();
    let found = blocking(async {
        let found = match real.place(&place).await {
            Ok(at) => answers(&at.client, &place).await,
            Err(error) => Err(error),
        };
        // Also of one that failed: nodes that stay are room for the rows that want none.
        real.clear(&place).await;
        found.expect("the server is asked")
    });
    if let Some(file) = std::env::var_os("FIREDRILL_BENCH_ANSWERS") {
        std::fs::write(file, &found).expect("the answers can be written");
        return;
    }
    assert_eq!(difference(&found, include_str!("answers.txt")), "");
}
