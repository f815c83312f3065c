//! Answers as tables, for `kubectl get` (pkg/printers/internalversion/printers.go of kubernetes v1.36).

use crate::sim::store::{Kind, Object};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A `meta.k8s.io/v1` Table of objects; rows carry their metadata.
pub(super) fn table(kind: &Kind, objects: &[&Object], now: Timestamp, headed: bool) -> Value {
    let definitions: Vec<Value> = columns(kind).split(',').map(column).collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|o| {
            let metadata = serde_json::to_value(&o.meta).unwrap_or_default();
            let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
            json!({"cells": cells(kind, o, now), "object": partial})
        })
        .collect();
    let version = objects.last().map_or(0, |o| o.meta.resource_version).to_string();
    let definitions = if headed { Value::Array(definitions) } else { Value::Null };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
        "columnDefinitions": definitions, "rows": rows})
}

/// The columns of a kind; `#` marks a number, `*` one that only `-o wide` shows.
fn columns(kind: &Kind) -> &'static str {
    match kind.plural.as_ref() {
        "pods" => "Name,Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*",
        "deployments" => "Name,Ready,Up-to-date,Available,Age,Containers*,Images*,Selector*",
        "replicasets" => "Name,Desired#,Current#,Ready#,Age,Containers*,Images*,Selector*",
        "statefulsets" => "Name,Ready,Age,Containers*,Images*",
        "nodes" => {
            "Name,Status,Roles,Age,Version,Internal-IP*,External-IP*,OS-Image*,Kernel-Version*,Container-Runtime*"
        }
        "poddisruptionbudgets" => "Name,Min Available,Max Unavailable,Allowed Disruptions#,Age",
        "horizontalpodautoscalers" => "Name,Reference,Targets,MinPods,MaxPods#,Replicas#,Age",
        "services" => "Name,Type,Cluster-IP,External-IP,Port(s),Age,Selector*",
        "namespaces" => "Name,Status,Age",
        "events" => "Last Seen,Type,Reason,Object,Message,Name*",
        "leases" => "Name,Holder,Age",
        "configmaps" => "Name,Data#,Age",
        _ => "Name,Age",
    }
}

/// The definition of one column.
fn column(text: &str) -> Value {
    let (name, priority) = text.strip_suffix('*').map_or((text, 0), |name| (name, 1));
    let (name, kind) = name.strip_suffix('#').map_or((name, "string"), |name| (name, "integer"));
    let format = if name == "Name" { "name" } else { "" };
    json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority})
}

fn cells(kind: &Kind, o: &Object, now: Timestamp) -> Value {
    let name = o.meta.name.clone();
    let age =
        o.meta.creation_timestamp.map_or("<unknown>".to_string(), |t| age(now.duration_since(t).as_secs()));
    let spec: Value = o.field("spec").unwrap_or_default();
    let status: Value = o.field("status").unwrap_or_default();
    let count = |v: &Value, k: &str| v[k].as_i64().unwrap_or(0);
    let (containers, images, selector) = template(&spec);
    match kind.plural.as_ref() {
        "pods" => pod(o, &spec, &status, age),
        "deployments" => json!([
            name,
            format!("{}/{}", count(&status, "readyReplicas"), count(&spec, "replicas")),
            count(&status, "updatedReplicas"),
            count(&status, "availableReplicas"),
            age,
            containers,
            images,
            selector
        ]),
        "replicasets" => json!([
            name,
            count(&spec, "replicas"),
            count(&status, "replicas"),
            count(&status, "readyReplicas"),
            age,
            containers,
            images,
            selector
        ]),
        "statefulsets" => {
            json!([
                name,
                format!("{}/{}", count(&status, "readyReplicas"), count(&spec, "replicas")),
                age,
                containers,
                images
            ])
        }
        "nodes" => node(o, &spec, &status, age),
        "poddisruptionbudgets" => {
            json!([
                name,
                plain(&spec["minAvailable"]),
                plain(&spec["maxUnavailable"]),
                count(&status, "disruptionsAllowed"),
                age
            ])
        }
        "horizontalpodautoscalers" => autoscaler(&name, &spec, &status, age),
        "services" => service(&name, &spec, age),
        "namespaces" => json!([name, status["phase"].as_str().unwrap_or("Active"), age]),
        "events" => event(o, now),
        "leases" => json!([name, spec["holderIdentity"].as_str().unwrap_or(""), age]),
        "configmaps" => {
            let data: Value = o.field("data").unwrap_or_default();
            json!([name, data.as_object().map_or(0, serde_json::Map::len), age])
        }
        _ => json!([name, age]),
    }
}

fn autoscaler(name: &str, spec: &Value, status: &Value, age: String) -> Value {
    let target = &spec["scaleTargetRef"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    json!([
        name,
        format!("{}/{}", text(&target["kind"]), text(&target["name"])),
        metrics(spec, status),
        spec["minReplicas"].as_i64().map_or("<unset>".to_owned(), |n| n.to_string()),
        spec["maxReplicas"].as_i64().unwrap_or(0),
        status["currentReplicas"].as_i64().unwrap_or(0),
        age
    ])
}

/// Present and wanted values of an autoscaler's resource metrics (`formatHPAMetrics`).
fn metrics(spec: &Value, status: &Value) -> String {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let current = list(&status["currentMetrics"]);
    let each = list(&spec["metrics"]).into_iter().map(|metric| {
        let name = &metric["resource"]["name"];
        let now = current.iter().find(|c| c["resource"]["name"] == *name).map(|c| &c["resource"]["current"]);
        let target = &metric["resource"]["target"];
        let shown = |field: &str, unit: &str| {
            let one = |v: &Value| v.as_str().map_or_else(|| format!("{v}{unit}"), str::to_owned);
            let is = now.map(|n| &n[field]).filter(|v| !v.is_null()).map_or("<unknown>".to_owned(), one);
            format!("{}: {is}/{}", name.as_str().unwrap_or("<unknown>"), one(&target[field]))
        };
        if target["averageValue"].is_null() {
            shown("averageUtilization", "%")
        } else {
            shown("averageValue", "")
        }
    });
    let all: Vec<String> = each.collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(", ") }
}

/// A value as printed; `N/A` when absent.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "N/A".into(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn template(spec: &Value) -> (String, String, String) {
    let list = |field: &str| {
        let containers = spec["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
        let names: Vec<String> =
            containers.iter().filter_map(|c| c[field].as_str().map(ToString::to_string)).collect();
        names.join(",")
    };
    (list("name"), list("image"), pairs(&spec["selector"]["matchLabels"]))
}

fn pairs(map: &Value) -> String {
    let all: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    if all.is_empty() { "<none>".into() } else { all.join(",") }
}

fn or_none(value: &Value) -> String {
    value.as_str().filter(|s| !s.is_empty()).unwrap_or("<none>").into()
}

fn pod(o: &Object, spec: &Value, status: &Value, age: String) -> Value {
    let total = spec["containers"].as_array().map_or(0, Vec::len);
    let states = status["containerStatuses"].as_array().cloned().unwrap_or_default();
    let ready = states.iter().filter(|c| c["ready"] == true).count();
    let restarts: i64 = states.iter().map(|c| c["restartCount"].as_i64().unwrap_or(0)).sum();
    let mut reason = status["reason"].as_str().or(status["phase"].as_str()).unwrap_or("Unknown").to_string();
    for container in states.iter().rev() {
        let state = &container["state"];
        let waiting = state["waiting"]["reason"].as_str();
        if let Some(why) = waiting.or(state["terminated"]["reason"].as_str()).filter(|w| !w.is_empty()) {
            reason = why.into();
        }
    }
    if o.terminating() {
        reason = if status["reason"] == "NodeLost" { "Unknown".into() } else { "Terminating".into() };
    }
    json!([
        o.meta.name,
        format!("{ready}/{total}"),
        reason,
        restarts.to_string(),
        age,
        or_none(&status["podIP"]),
        or_none(&spec["nodeName"]),
        or_none(&status["nominatedNodeName"]),
        "<none>"
    ])
}

fn node(o: &Object, spec: &Value, status: &Value, age: String) -> Value {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|c| c["type"] == "Ready").map(|c| c["status"] == "True");
    let mut state = match ready {
        Some(true) => "Ready".to_string(),
        Some(false) => "NotReady".to_string(),
        None => "Unknown".to_string(),
    };
    if spec["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let roles: Vec<&str> =
        o.meta.labels.keys().filter_map(|k| k.strip_prefix("node-role.kubernetes.io/")).collect();
    let roles = if roles.is_empty() { "<none>".into() } else { roles.join(",") };
    let address = |kind: &str| {
        let all = status["addresses"].as_array().cloned().unwrap_or_default();
        all.iter().find(|a| a["type"] == kind).map_or("<none>".into(), |a| or_none(&a["address"]))
    };
    let version = status["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default().to_string();
    let info = |field: &str| {
        status["nodeInfo"][field].as_str().filter(|s| !s.is_empty()).unwrap_or("<unknown>").to_string()
    };
    json!([
        o.meta.name,
        state,
        roles,
        age,
        version,
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion")
    ])
}

fn service(name: &str, spec: &Value, age: String) -> Value {
    let ports: Vec<String> = spec["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| format!("{}/{}", p["port"], p["protocol"].as_str().unwrap_or("TCP")))
        .collect();
    let ports = if ports.is_empty() { "<none>".into() } else { ports.join(",") };
    json!([
        name,
        spec["type"].as_str().unwrap_or("ClusterIP"),
        or_none(&spec["clusterIP"]),
        "<none>",
        ports,
        age,
        pairs(&spec["selector"])
    ])
}

fn event(o: &Object, now: Timestamp) -> Value {
    let text = |f: &str| o.raw(f).and_then(|r| serde_json::from_str::<String>(r).ok()).unwrap_or_default();
    let about: Value = o.field("involvedObject").unwrap_or_default();
    let last = text("lastTimestamp").parse::<Timestamp>().ok().or(o.meta.creation_timestamp);
    let seen = last.map_or("<unknown>".into(), |t| age(now.duration_since(t).as_secs()));
    let object = format!(
        "{}/{}",
        about["kind"].as_str().unwrap_or("").to_lowercase(),
        about["name"].as_str().unwrap_or("")
    );
    json!([seen, text("type"), text("reason"), object, text("message"), o.meta.name])
}

/// A duration as kubectl prints ages (`duration.HumanDuration` in apimachinery).
fn age(seconds: i64) -> String {
    let (m, h, d) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        i64::MIN..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 == 0 => format!("{m}m"),
        120..600 => format!("{m}m{}s", seconds % 60),
        600..10_800 => format!("{m}m"),
        10_800..28_800 if m % 60 == 0 => format!("{h}h"),
        10_800..28_800 => format!("{h}h{}m", m % 60),
        28_800..172_800 => format!("{h}h"),
        172_800..691_200 if h % 24 == 0 => format!("{d}d"),
        172_800..691_200 => format!("{d}d{}h", h % 24),
        _ => format!("{d}d"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (121, "2m1s"),
            (600, "10m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (176_400, "2d1h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(super::age(seconds), text);
        }
    }
}
