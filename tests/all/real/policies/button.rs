//! The red button: where it holds, and what whoever may press it may write beside.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Stage, by_name};

/// None starts where one halts.
pub(super) async fn halted(stage: &mut Stage<'_>) {
    let rules = "/apis/firedrill.dev/v1alpha1/guardrails";
    let mut guardrail = json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Guardrail", "metadata": {"name": "stage-door"},
        "spec": {"halt": true, "haltReason": "incident 42", "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "stage-door"},
            "matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}});
    stage.asked("", ("POST", rules), &guardrail, true).await.expect("a Guardrail");
    let path = "/apis/firedrill.dev/v1alpha1/namespaces/stage-door/runs";
    let mut answer = Ok(Value::Null);
    for _ in 0..100 {
        answer = stage.asked("ada", ("POST", path), &by_name(json!({})), false).await;
        if answer.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.judge("ada creates a Run during a halt", &answer, "halted by Guardrail stage-door: incident 42");
    let mut other = by_name(json!({}));
    other["metadata"]["namespace"] = "stage-ops".into();
    stage.creates("", "a Run where nothing is halted", &other, "").await;
    // One that selects something else halts nothing here.
    guardrail["spec"]["namespaceSelector"]["matchExpressions"][0]["operator"] = "Exists".into();
    let patched = stage.asked("", ("PATCH", &format!("{rules}/stage-door")), &guardrail, true).await;
    patched.expect("the Guardrail is changed");
    for _ in 0..100 {
        answer = stage.asked("ada", ("POST", path), &by_name(json!({})), false).await;
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.judge("ada creates a Run that no Guardrail covers", &answer, "");
}

/// Whoever may only halt changes nothing else of a Guardrail.
pub(super) async fn pressed(stage: &mut Stage<'_>) {
    let rules = "/apis/firedrill.dev/v1alpha1/guardrails";
    let own = format!("{rules}/halt");
    let named = |name: &str, spec: Value| json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Guardrail", "metadata": {"name": name}, "spec": spec});
    let opened = json!({"allowProduction": true, "halt": false});
    for (who, name, spec, says) in [
        (
            "gil",
            "stage-new",
            opened.clone(),
            "gil may set halt and haltReason of a Guardrail and nothing else",
        ),
        ("gil", "stage-new", json!({"halt": true, "haltReason": "x"}), ""),
        ("gil", "stage-new", json!({}), ""),
        ("", "stage-new", opened, ""),
        ("hal", "stage-new", json!({"halt": true}), "cannot create resource"),
    ] {
        let answer = stage.asked(who, ("POST", rules), &named(name, spec.clone()), false).await;
        stage.judge(&format!("{who} creates a Guardrail {spec}"), &answer, says);
    }
    // As the chart ships it, with what it holds it by.
    let mut shipped = named("halt", json!({}));
    shipped["metadata"]["labels"] = json!({"app.kubernetes.io/name": "firedrill"});
    stage.asked("", ("POST", rules), &shipped, true).await.expect("a Guardrail");
    let refused = "may set halt and haltReason of a Guardrail and nothing else";
    let spec = |spec: Value| json!({"spec": spec});
    let metadata = |metadata: Value| json!({"metadata": metadata});
    let owner = json!({"apiVersion": "v1", "kind": "Namespace", "name": "stage-door", "uid": "7d3e"});
    for (who, change, says) in [
        ("hal", spec(json!({"halt": true, "haltReason": "incident 42"})), ""),
        ("hal", spec(json!({"halt": false, "haltReason": ""})), ""),
        ("hal", spec(json!({"allowProduction": true})), refused),
        ("hal", spec(json!({"halt": true, "allowProduction": true})), refused),
        ("hal", spec(json!({"environment": ""})), refused),
        ("hal", spec(json!({"probeHosts": ["example.com"]})), refused),
        ("hal", spec(json!({"nodes": {"bystanders": ["default"]}})), refused),
        ("hal", spec(json!({"namespaceSelector": {"matchLabels": {"a": "b"}}})), refused),
        ("hal", metadata(json!({"labels": {"a": "b"}})), refused),
        ("hal", metadata(json!({"finalizers": ["example.com/stays"]})), refused),
        ("hal", metadata(json!({"ownerReferences": [owner]})), refused),
        ("gil", spec(json!({"halt": true})), ""),
        ("gil", spec(json!({"allowProduction": true})), refused),
        ("", spec(json!({"allowProduction": true, "probeHosts": ["example.com"]})), ""),
        ("system:serviceaccount:firedrill:firedrill", spec(json!({"halt": false})), "cannot patch resource"),
    ] {
        let answer = stage.asked(who, ("PATCH", &own), &change, false).await;
        stage.judge(&format!("{who} patches a Guardrail with {change}"), &answer, says);
    }
    // What is open already stays so, and is closed by whoever keeps it.
    let open = spec(
        json!({"allowProduction": true, "windows": [{"days": ["Monday"], "from": "09:00", "to": "17:00"}], "timeZone": "UTC"}),
    );
    stage.asked("", ("PATCH", &own), &open, true).await.expect("an administrator may");
    for (change, says) in [
        (spec(json!({"halt": true})), ""),
        (spec(json!({"allowProduction": null})), refused),
        (spec(json!({"windows": [{"days": ["Sunday"], "from": "09:00", "to": "17:00"}]})), refused),
        (spec(json!({"windows": null, "timeZone": null})), refused),
    ] {
        let answer = stage.asked("hal", ("PATCH", &own), &change, false).await;
        stage.judge(&format!("hal patches one that says more with {change}"), &answer, says);
    }
    // The status is the controller's.
    let told = json!({"status": {"activeRuns": 1, "refusals": 0, "observedGeneration": 1,
        "conditions": [{"type": "Enforced", "status": "True", "reason": "Observed", "message": "",
            "lastTransitionTime": "2026-11-24T10:00:00Z"}]}});
    let status = format!("{own}/status");
    for (who, says) in [("system:serviceaccount:firedrill:firedrill", ""), ("hal", "cannot patch resource")] {
        let answer = stage.asked(who, ("PATCH", &status), &told, false).await;
        stage.judge(&format!("{who} writes a Guardrail's status"), &answer, says);
    }
}

/// Which runs are at work is listed by the one name of their leases, and nothing else is.
pub(super) async fn at_work(stage: &mut Stage<'_>) {
    let controller = stage.real.client_as("system:serviceaccount:firedrill:firedrill");
    let leases = "/apis/coordination.k8s.io/v1/leases";
    for (query, says) in [
        ("?fieldSelector=metadata.name%3Dfiredrill", ""),
        ("?fieldSelector=metadata.name%3Dkube-scheduler", "cannot list resource"),
        ("", "cannot list resource"),
    ] {
        let request = http::Request::get(format!("{leases}{query}")).body(Vec::new()).expect("a request");
        let answer = controller.request::<Value>(request).await.map_err(|error| error.to_string());
        stage.judge(&format!("the controller lists leases{query}"), &answer, says);
    }
}
