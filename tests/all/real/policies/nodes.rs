//! What the accounts that may change nodes, and the controller, may do to one.

use serde_json::{Value, json};

use super::Stage;

const NODE: &str = "/api/v1/nodes/stage-node";
const CORDON: &str = "undo.firedrill.dev/cordon.0";
const TAINT: &str = "undo.firedrill.dev/taint.0";
const BREAKER: &str = "system:serviceaccount:stage-ops:breaker";
const CONTROLLER: &str = "system:serviceaccount:firedrill:firedrill";
const NO_SCAR: &str = "no change of a node without a scar";
const NO_LABEL: &str = "no label but firedrill.dev/run";

/// Who, does what, by which change, to which taint (`+drill`, `-team`), and what is said of it.
type Row = (&'static str, &'static str, Value, &'static str, &'static str);

/// One taint by its key, as it is in a node and in a scar.
fn taint(key: &str) -> Value {
    json!({"effect": "NoSchedule", "key": key, "value": "x"})
}

/// What a scar says that undoes a cordon, or that taint.
fn scar(of: &str) -> String {
    let before = match of {
        "" => json!({"unschedulable": false}),
        key => json!({"taint": taint(key)}),
    };
    json!({"run": "act-1", "before": before}).to_string()
}

/// A change of a node: the run that it is of, annotations, whether it is cordoned.
fn change(run: Value, annotations: Value, unschedulable: Value) -> Value {
    json!({"metadata": {"labels": {"firedrill.dev/run": run}, "annotations": annotations},
        "spec": {"unschedulable": unschedulable}})
}

/// The same with one more label or annotation.
fn and(mut change: Value, (map, key, value): (&str, &str, Value)) -> Value {
    change["metadata"][map][key] = value;
    change
}

fn cordoned() -> Value {
    change(json!("act-1"), json!({CORDON: scar("")}), json!(true))
}

fn tainted() -> Value {
    json!({"metadata": {"labels": {"firedrill.dev/run": "act-1"}, "annotations": {TAINT: scar("drill")}}})
}

fn back() -> Value {
    change(Value::Null, json!({CORDON: null}), Value::Null)
}

/// Of a node that nobody has hit.
fn whole() -> Vec<Row> {
    let bare = json!({"spec": {"unschedulable": true}});
    let named = json!({"metadata": {"labels": {"firedrill.dev/run": "act-1"}}});
    let other = change(json!("act-1"), json!({CORDON: scar("drill")}), json!(true));
    vec![
        (BREAKER, "cordons without a scar", bare.clone(), "", NO_SCAR),
        (BREAKER, "changes another label", and(cordoned(), ("labels", "pool", json!("b"))), "", NO_LABEL),
        (
            BREAKER,
            "lets the node be hit",
            and(cordoned(), ("labels", "firedrill.dev/allowed", json!("true"))),
            "",
            NO_LABEL,
        ),
        (
            BREAKER,
            "changes another annotation",
            and(cordoned(), ("annotations", "owner", json!("me"))),
            "",
            "no annotation but",
        ),
        (BREAKER, "takes another's taint away beside", cordoned(), "-team", "no other is taken away"),
        (
            BREAKER,
            "taints beside, and says nothing of it",
            cordoned(),
            "+drill",
            "comes with the scar that names it",
        ),
        (BREAKER, "cordons with a scar of something else", other, "", "cordoned with the scar that says so"),
        (BREAKER, "names a run and leaves no scar", named, "", NO_SCAR),
        (CONTROLLER, "cordons", cordoned(), "", "may only take changes of nodes back"),
        (CONTROLLER, "cordons without a scar", bare, "", "firedrill:"),
        (BREAKER, "cordons with a scar", cordoned(), "", ""),
    ]
}

/// Of a node that is cordoned, and carries the label of the run and its scar.
fn hit() -> Vec<Row> {
    let spec = |unschedulable: Value| json!({"spec": {"unschedulable": unschedulable}});
    let annotations = |all: Value| json!({"metadata": {"annotations": all}});
    vec![
        (BREAKER, "uncordons and leaves the scar", spec(Value::Null), "", NO_SCAR),
        (BREAKER, "takes another's taint away", json!({}), "-team", NO_SCAR),
        (BREAKER, "taints without a new scar", json!({}), "+drill", NO_SCAR),
        (BREAKER, "edits a scar", annotations(json!({CORDON: "{}"})), "", NO_SCAR),
        (BREAKER, "edits an annotation", annotations(json!({"owner": "me"})), "", "no annotation but"),
        (
            BREAKER,
            "gives it to another run",
            and(tainted(), ("labels", "firedrill.dev/run", json!("act-2"))),
            "+drill",
            "another run",
        ),
        (
            BREAKER,
            "takes the run away and leaves a scar",
            and(tainted(), ("labels", "firedrill.dev/run", Value::Null)),
            "+drill",
            "still has a scar",
        ),
        (BREAKER, "taints with a scar that names it", tainted(), "+drill", ""),
        (BREAKER, "takes another's taint away with its own scar", back(), "-team", "no other is taken away"),
        (BREAKER, "takes it back", back(), "", ""),
        (CONTROLLER, "taints while it takes back", back(), "+drill", "may neither taint nor cordon"),
        (CONTROLLER, "takes another's taint away beside", back(), "-team", "no other is taken away"),
        (CONTROLLER, "takes it back", back(), "", ""),
    ]
}

pub async fn judged(stage: &mut Stage<'_>) {
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "stage-node", "labels": {"pool": "a"}, "annotations": {"owner": "infra"}},
        "spec": {"taints": [taint("team")]}});
    stage.asked("", ("POST", "/api/v1/nodes"), &node, true).await.expect("a node");
    for rows in [whole(), hit()] {
        let last = rows.len() - 1;
        for (number, (who, what, mut change, of_taint, says)) in rows.into_iter().enumerate() {
            // Kubernetes' own taints come by themselves: a list that is written has them as they are.
            if !of_taint.is_empty() {
                change["spec"]["taints"] = taints(stage, of_taint).await.into();
            }
            let answer = stage.asked(who, ("PATCH", NODE), &change, number == last).await;
            stage.judge(&format!("{who} {what}"), &answer, says);
        }
    }
}

/// The node's taints with one more, or without one.
async fn taints(stage: &Stage<'_>, change: &str) -> Vec<Value> {
    let now = stage.asked("", ("PATCH", NODE), &json!({}), false).await.expect("the node is there");
    let mut taints = now["spec"]["taints"].as_array().cloned().unwrap_or_default();
    match change.split_at(1) {
        ("+", key) => taints.push(taint(key)),
        (_, key) => taints.retain(|taint| taint["key"] != key),
    }
    taints
}
