//! What the API server is asked: by the faults, by their reverts, and by people with kubectl.

use serde_json::{Value, json};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
/// The namespace that it is asked about.
pub const NS: &str = "answers";

/// Name, method, path, content type, body; nothing is no body, and a text is sent as it stands. `$UID` and `$POD`
/// are those of a pod of `web`.
pub type Call = (&'static str, &'static str, String, &'static str, Value);

/// All of them, in order.
pub fn calls() -> Vec<Call> {
    [ordinary(), deletions(), patches_that_are_none(), objects_that_are_none(), questions_that_are_none()]
        .concat()
}

/// What firedrill does, and what it meets where somebody else was there before.
fn ordinary() -> Vec<Call> {
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
            "a node made schedulable that was",
            "PATCH",
            node(""),
            MERGE_PATCH,
            json!({"spec": {"unschedulable": false}}),
        ),
        (
            "a JSON patch with a test of null where false was written",
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

/// A deletion with a body takes its options from there, and none from the query.
fn deletions() -> Vec<Call> {
    let lease = |rest: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{NS}/leases{rest}");
    let named = |name: &str| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": NS}});
    let gone = || lease("/gone");
    let asked = |query: &str| lease(&format!("/gone?{query}"));
    vec![
        ("a lease to delete", "POST", lease(""), JSON, named("gone")),
        ("dry run of a deletion, in the query", "DELETE", asked("dryRun=All"), JSON, Value::Null),
        ("a dry run of another kind, in the query", "DELETE", asked("dryRun=Some"), JSON, Value::Null),
        ("a dry run of another kind, in the body", "DELETE", gone(), JSON, json!({"dryRun": ["Some"]})),
        ("two dry runs in one", "DELETE", gone(), JSON, json!({"dryRun": ["All", "All"]})),
        ("a policy that is none, in the query", "DELETE", asked("propagationPolicy=Now"), JSON, Value::Null),
        ("a policy that is none, in the body", "DELETE", gone(), JSON, json!({"propagationPolicy": "Now"})),
        (
            "a policy and orphans at once",
            "DELETE",
            gone(),
            JSON,
            json!({"propagationPolicy": "Background", "orphanDependents": true}),
        ),
        (
            "a grace period that is none, in the query",
            "DELETE",
            asked("gracePeriodSeconds=x"),
            JSON,
            Value::Null,
        ),
        (
            "a grace period that is none, in the body",
            "DELETE",
            gone(),
            JSON,
            json!({"gracePeriodSeconds": "x"}),
        ),
        ("deletion with a body that is none", "DELETE", gone(), JSON, json!("{not json")),
        (
            "deletion of another version",
            "DELETE",
            gone(),
            JSON,
            json!({"preconditions": {"resourceVersion": "1"}}),
        ),
        ("the lease is still there", "GET", gone(), JSON, Value::Null),
        ("deletion with a body, dry run in the query", "DELETE", asked("dryRun=All"), JSON, json!({})),
        ("the lease is gone", "GET", gone(), JSON, Value::Null),
    ]
}

/// Patches that cannot be read, or leave nothing that could be stored.
fn patches_that_are_none() -> Vec<Call> {
    const APPLY: &str = "application/apply-patch+yaml";
    const STRATEGIC: &str = "application/strategic-merge-patch+json";
    let node = || format!("/api/v1/nodes/{NS}-a0?dryRun=All");
    let web = |rest: &str| format!("/apis/apps/v1/namespaces/{NS}/deployments/web{rest}");
    let to_node = |what, kind, body| (what, "PATCH", node(), kind, body);
    let to_scale = |what, kind, body| (what, "PATCH", web("/scale?dryRun=All"), kind, body);
    let to_web = |what, kind, body| (what, "PATCH", web("?dryRun=All"), kind, body);
    let one = |operation: Value| json!([operation]);
    vec![
        to_node("a JSON patch that is no JSON", JSON_PATCH, json!("{not json")),
        to_node("a JSON patch that is no list", JSON_PATCH, json!({"op": "add"})),
        to_node("a JSON patch of words", JSON_PATCH, json!(["add"])),
        to_node("a JSON patch of nothing", JSON_PATCH, json!([])),
        to_node("a JSON patch without a body", JSON_PATCH, Value::Null),
        to_node("a JSON patch without an op", JSON_PATCH, one(json!({"path": "/spec/unschedulable"}))),
        to_node(
            "a JSON patch with an op that is none",
            JSON_PATCH,
            one(json!({"op": "put", "path": "/spec/x", "value": 1})),
        ),
        to_node("a JSON patch without a path", JSON_PATCH, one(json!({"op": "add", "value": 1}))),
        to_node(
            "a JSON patch with a path that is none",
            JSON_PATCH,
            one(json!({"op": "add", "path": "spec", "value": 1})),
        ),
        to_node(
            "a JSON patch without a value",
            JSON_PATCH,
            one(json!({"op": "add", "path": "/metadata/labels/x"})),
        ),
        to_node(
            "a JSON patch with a test without a value",
            JSON_PATCH,
            one(json!({"op": "test", "path": "/metadata/name"})),
        ),
        to_node(
            "a JSON patch that replaces what is not there",
            JSON_PATCH,
            one(json!({"op": "replace", "path": "/metadata/labels/x", "value": "y"})),
        ),
        to_node(
            "a JSON patch with a value of another type",
            JSON_PATCH,
            one(json!({"op": "add", "path": "/spec/unschedulable", "value": "yes"})),
        ),
        to_node(
            "a JSON patch of an unknown field",
            JSON_PATCH,
            one(json!({"op": "add", "path": "/spec/nothing", "value": 1})),
        ),
        to_node("a merge patch that is no JSON", MERGE_PATCH, json!("{not json")),
        to_node("a merge patch that is a list", MERGE_PATCH, json!([])),
        to_node("a merge patch without a body", MERGE_PATCH, Value::Null),
        to_node(
            "a merge patch with a value of another type",
            MERGE_PATCH,
            json!({"spec": {"unschedulable": "yes"}}),
        ),
        to_node("a merge patch of another name", MERGE_PATCH, json!({"metadata": {"name": "other"}})),
        to_node("a merge patch of another kind", MERGE_PATCH, json!({"kind": "Pod"})),
        to_node("a strategic merge patch that is no JSON", STRATEGIC, json!("{not json")),
        to_node("a patch of an unknown type", "text/plain", json!({})),
        to_node("a patch of the type of objects", JSON, json!({})),
        to_scale("scaling with a patch that is no JSON", JSON_PATCH, json!("{not json")),
        to_scale("scaling with a patch that is no list", JSON_PATCH, json!({"op": "add"})),
        to_scale("scaling to a word", MERGE_PATCH, json!({"spec": {"replicas": "two"}})),
        to_scale("scaling by an unknown type", "text/plain", json!({})),
        to_web("replicas in words", MERGE_PATCH, json!({"spec": {"replicas": "two"}})),
        to_web("replicas below zero", MERGE_PATCH, json!({"spec": {"replicas": -1}})),
        to_web(
            "another selector",
            MERGE_PATCH,
            json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}}),
        ),
        to_web(
            "apply by nobody",
            APPLY,
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2}}),
        ),
        to_web("apply that is no YAML", APPLY, json!("a: b: c")),
        (
            "a field manager that is too long",
            "PATCH",
            web(&format!("?dryRun=All&fieldManager={}", "x".repeat(129))),
            MERGE_PATCH,
            json!({}),
        ),
        ("a dry run of another kind", "PATCH", web("?dryRun=Some"), MERGE_PATCH, json!({})),
        (
            "an unknown field, strictly",
            "PATCH",
            web("?dryRun=All&fieldValidation=Strict"),
            MERGE_PATCH,
            json!({"spec": {"nothing": 1}}),
        ),
        ("validation of another kind", "PATCH", web("?fieldValidation=Some"), MERGE_PATCH, json!({})),
    ]
}

/// Objects that cannot be read, or not where they are sent.
fn objects_that_are_none() -> Vec<Call> {
    let leases = |rest: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{NS}/leases{rest}");
    let pods = |rest: &str| format!("/api/v1/namespaces/{NS}/pods{rest}");
    let lease =
        |meta: Value| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta});
    let posted = |what, body| (what, "POST", leases("?dryRun=All"), JSON, body);
    let mut of_pods = lease(json!({"name": "x"}));
    of_pods["kind"] = json!("Pod");
    let mut older = lease(json!({"name": "x"}));
    older["apiVersion"] = json!("coordination.k8s.io/v1beta1");
    let mut wordy = lease(json!({"name": "x"}));
    wordy["spec"] = json!({"leaseDurationSeconds": "long"});
    let mut zero = lease(json!({"name": "x"}));
    zero["spec"] = json!({"leaseDurationSeconds": 0});
    vec![
        posted("an object that is no JSON", json!("{not json")),
        posted("an object that is a list", json!([])),
        posted("an object without a body", Value::Null),
        posted("an object of no kind", json!({})),
        posted("an object of another kind", of_pods),
        posted("an object of another version", older),
        posted("an object without a name", lease(json!({}))),
        posted("an object with a name that is none", lease(json!({"name": "Not A Name"}))),
        posted("an object of another namespace", lease(json!({"name": "x", "namespace": "other"}))),
        posted("an object with a value of another type", wordy),
        posted("an object with a value out of range", zero),
        posted("an object with a version", lease(json!({"name": "x", "resourceVersion": "1"}))),
        (
            "an object of an unknown type",
            "POST",
            leases("?dryRun=All"),
            "text/plain",
            lease(json!({"name": "x"})),
        ),
        (
            "an object in place of nobody",
            "PUT",
            leases("/nobody?dryRun=All"),
            JSON,
            lease(json!({"name": "nobody", "resourceVersion": "1"})),
        ),
        (
            "an object in place of another",
            "PUT",
            leases("/nobody?dryRun=All"),
            JSON,
            lease(json!({"name": "x"})),
        ),
        (
            "a pod of no containers",
            "POST",
            pods("?dryRun=All"),
            JSON,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}}),
        ),
        ("an eviction that is none", "POST", pods("/$POD/eviction?dryRun=All"), JSON, json!("{not json")),
        (
            "an eviction of another kind",
            "POST",
            pods("/$POD/eviction?dryRun=All"),
            JSON,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "$POD"}}),
        ),
    ]
}

/// Reads that cannot be answered.
fn questions_that_are_none() -> Vec<Call> {
    let pods = |rest: &str| format!("/api/v1/namespaces/{NS}/pods{rest}");
    let read = |what, rest| (what, "GET", pods(rest), JSON, Value::Null);
    vec![
        read("a label selector that is none", "?labelSelector=a+b"),
        read("a field selector that is none", "?fieldSelector=spec.nodeName"),
        read("a field selector of an unknown field", "?fieldSelector=spec.nothing%3Dx"),
        read("a limit that is none", "?limit=x"),
        read("a version that is none", "?resourceVersion=x"),
        read("a watch from a version that is none", "?watch=1&resourceVersion=x"),
        read("a list from a token that is none", "?limit=1&continue=x"),
        read("a version match without a version", "?resourceVersionMatch=Exact"),
        read("a subresource that is not there", "/$POD/nothing"),
        ("a list that is written", "PUT", pods(""), JSON, json!({})),
        ("a list that is patched", "PATCH", pods(""), MERGE_PATCH, json!({})),
        ("an object that is posted to", "POST", pods("/$POD"), JSON, json!({})),
        ("a version that is not there", "GET", "/apis/apps/v9/deployments".to_owned(), JSON, Value::Null),
        ("a path that is not there", "GET", "/nothing".to_owned(), JSON, Value::Null),
    ]
}
