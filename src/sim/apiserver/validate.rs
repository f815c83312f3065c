//! Validation (pkg/apis/*/validation of kubernetes v1.36), as far as clients of the embedded cluster can run
//! into it: metadata, taints, replicas and selectors, budgets, immutable fields.

use crate::sim::store::{Kind, LabelSelector, Selector, StatusCause};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Limits of apimachinery/pkg/api/validation/objectmeta.go and core/validation.
const MAX_ANNOTATIONS: usize = 256 << 10;
const MAX_CONFIG_DATA: usize = 1 << 20;
const MAX_NAME: usize = 253;

/// What is wrong with an object by itself.
pub(super) fn object(kind: &Kind, object: &Value) -> Vec<StatusCause> {
    let mut out = Vec::new();
    metadata(kind, &object["metadata"], &mut out);
    let spec = &object["spec"];
    match (kind.group.as_ref(), kind.plural.as_ref()) {
        ("", "nodes") => taints(&spec["taints"], &mut out),
        ("", "pods") => containers(&spec["containers"], "spec.containers", &mut out),
        ("", "configmaps" | "secrets") => data(object, &mut out),
        ("apps", _) => workload(kind, spec, &mut out),
        ("coordination.k8s.io", _) if spec["leaseDurationSeconds"].as_i64().is_some_and(|of| of <= 0) => {
            let value = compact(&spec["leaseDurationSeconds"]);
            out.push(StatusCause::invalid("spec.leaseDurationSeconds", &value, "must be greater than 0"));
        }
        ("networking.k8s.io", "networkpolicies") => super::network_policy::validate(spec, &mut out),
        ("policy", _) => {
            let set = |f: &str| spec.get(f).is_some_and(|v| !v.is_null());
            if set("minAvailable") && set("maxUnavailable") {
                let why = "minAvailable and maxUnavailable cannot be both set";
                out.push(StatusCause::invalid("spec", &compact(spec), why));
            }
        }
        _ => {}
    }
    out
}

/// What is wrong with a change.
pub(super) fn change(kind: &Kind, old: &Value, new: &Value) -> Vec<StatusCause> {
    let mut out = Vec::new();
    let immutable = |path: &str, out: &mut Vec<StatusCause>| {
        if old.pointer(path) != new.pointer(path) {
            let field = path.trim_start_matches('/').replace('/', ".");
            let value = new.pointer(path).map_or("null".into(), compact);
            out.push(StatusCause::invalid(&field, &value, "field is immutable"));
        }
    };
    match (kind.group.as_ref(), kind.plural.as_ref()) {
        ("apps", _) => immutable("/spec/selector", &mut out),
        ("", "configmaps" | "secrets") if old["immutable"] == true => {
            for field in ["data", "binaryData", "immutable"] {
                if old.get(field) != new.get(field) {
                    out.push(StatusCause::forbidden(field, "field is immutable when `immutable` is set"));
                }
            }
        }
        ("", "pods") => pod_change(old, new, &mut out),
        ("", "services") if old["spec"]["clusterIP"].as_str().is_some_and(|ip| !ip.is_empty()) => {
            immutable("/spec/clusterIP", &mut out);
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings")
            if old["roleRef"] != new["roleRef"] =>
        {
            out.push(StatusCause::invalid("roleRef", &compact(&new["roleRef"]), "cannot change roleRef"));
        }
        _ => {}
    }
    if !old["metadata"]["deletionTimestamp"].is_null() {
        let list = |v: &Value| v["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let had = list(old);
        let added: Vec<Value> = list(new).into_iter().filter(|f| !had.contains(f)).collect();
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                compact(&json!(added))
            );
            out.push(StatusCause::forbidden("metadata.finalizers", &why));
        }
    }
    out
}

fn compact(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Label names: optional DNS prefix, then at most 63 characters, alphanumeric at both ends.
fn qualified_name(name: &str) -> bool {
    let (prefix, name) = name.split_once('/').map_or((None, name), |(p, n)| (Some(p), n));
    prefix.is_none_or(|p| !p.is_empty() && subdomain(p)) && !name.is_empty() && label_value(name)
}

fn label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && edge(value.chars().next())
        && edge(value.chars().last())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn subdomain(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.split('.').all(|part| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            edge(part.chars().next())
                && edge(part.chars().last())
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}

fn metadata(kind: &Kind, meta: &Value, out: &mut Vec<StatusCause>) {
    let name = meta["name"].as_str().unwrap_or_default();
    let rbac = kind.group == "rbac.authorization.k8s.io";
    if !name.is_empty() && !rbac && !subdomain(name) {
        out.push(StatusCause::invalid(
            "metadata.name",
            &quoted(name),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ));
    }
    for (key, value) in meta["labels"].as_object().into_iter().flatten() {
        if !qualified_name(key) {
            let why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                       alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                       '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
            out.push(StatusCause::invalid("metadata.labels", &quoted(key), why));
        }
        let value = value.as_str().unwrap_or_default();
        if value.len() > 63 {
            out.push(StatusCause::invalid(
                "metadata.labels",
                &quoted(value),
                "must be no more than 63 bytes",
            ));
        } else if !label_value(value) {
            let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                       start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
                       for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
            out.push(StatusCause::invalid("metadata.labels", &quoted(value), why));
        }
    }
    let mut size = 0;
    for (key, value) in meta["annotations"].as_object().into_iter().flatten() {
        if !qualified_name(&key.to_lowercase()) {
            out.push(StatusCause::invalid("metadata.annotations", &quoted(key), "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MAX_ANNOTATIONS {
        out.push(too_long("metadata.annotations", MAX_ANNOTATIONS));
    }
}

fn too_long(field: &str, limit: usize) -> StatusCause {
    StatusCause {
        reason: "FieldValueTooLong".into(),
        message: format!("Too long: may not be more than {limit} bytes"),
        field: field.into(),
    }
}

fn taints(taints: &Value, out: &mut Vec<StatusCause>) {
    let mut seen = Vec::new();
    for (i, taint) in taints.as_array().into_iter().flatten().enumerate() {
        // The field's name in ValidateNodeTaints' caller is metadata.taints.
        let at = format!("metadata.taints[{i}]");
        let text = |f: &str| taint[f].as_str().unwrap_or_default();
        if !qualified_name(text("key")) {
            out.push(StatusCause::invalid(
                &format!("{at}.key"),
                &quoted(text("key")),
                "name part must be non-empty",
            ));
        }
        if !label_value(text("value")) {
            out.push(StatusCause::invalid(&format!("{at}.value"), &quoted(text("value")), "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"));
        }
        match text("effect") {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => out.push(StatusCause::required(&format!("{at}.effect"), "")),
            other => out.push(StatusCause {
                reason: "FieldValueNotSupported".into(),
                message: format!("Unsupported value: \"{other}\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""),
                field: format!("{at}.effect"),
            }),
        }
        let identity = (text("key"), text("effect"));
        if seen.contains(&identity) {
            let added = taint.get("timeAdded").map_or("null".into(), compact);
            let shown = format!(
                "{{\"Key\":\"{}\",\"Value\":\"{}\",\"Effect\":\"{}\",\"TimeAdded\":{added}}}: taints must be unique by key and effect pair",
                text("key"),
                text("value"),
                text("effect")
            );
            out.push(StatusCause::duplicate(&at, &shown));
        }
        seen.push(identity);
    }
}

fn containers(containers: &Value, at: &str, out: &mut Vec<StatusCause>) {
    let list = containers.as_array().cloned().unwrap_or_default();
    if list.is_empty() {
        out.push(StatusCause::required(at, ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for (i, container) in list.iter().enumerate() {
        let name = container["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            out.push(StatusCause::required(&format!("{at}[{i}].name"), ""));
        } else if names.contains(&name) {
            out.push(StatusCause::duplicate(&format!("{at}[{i}].name"), &quoted(name)));
        }
        if container["image"].as_str().unwrap_or_default().is_empty() {
            out.push(StatusCause::required(&format!("{at}[{i}].image"), ""));
        }
        names.push(name);
    }
}

fn workload(kind: &Kind, spec: &Value, out: &mut Vec<StatusCause>) {
    if let Some(replicas) = spec["replicas"].as_i64().filter(|r| *r < 0) {
        out.push(StatusCause::invalid(
            "spec.replicas",
            &replicas.to_string(),
            "must be greater than or equal to 0",
        ));
    }
    let selector: LabelSelector = serde_json::from_value(spec["selector"].clone()).unwrap_or_default();
    if selector == LabelSelector::default() {
        out.push(StatusCause::required("spec.selector", ""));
    }
    let labels: BTreeMap<String, String> =
        serde_json::from_value(spec["template"]["metadata"]["labels"].clone()).unwrap_or_default();
    let matches = Selector::from_label_selector(&selector).matches_labels(&labels);
    if selector == LabelSelector::default() || !matches {
        let value = compact(&spec["template"]["metadata"]["labels"]);
        out.push(StatusCause::invalid(
            "spec.template.metadata.labels",
            &value,
            "`selector` does not match template `labels`",
        ));
    }
    containers(&spec["template"]["spec"]["containers"], "spec.template.spec.containers", out);
    let strategy = &spec["strategy"]["rollingUpdate"];
    let zero = |v: &Value| *v == 0 || *v == "0%";
    if kind.plural == "deployments" && zero(&strategy["maxUnavailable"]) && zero(&strategy["maxSurge"]) {
        out.push(StatusCause::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            "0",
            "may not be 0 when `maxSurge` is 0",
        ));
    }
}

fn data(object: &Value, out: &mut Vec<StatusCause>) {
    let size: usize = ["data", "binaryData"]
        .iter()
        .filter_map(|f| object[f].as_object())
        .flatten()
        .map(|(_, v)| v.as_str().map_or(0, str::len))
        .sum();
    if size > MAX_CONFIG_DATA {
        out.push(too_long("[]", MAX_CONFIG_DATA));
    }
}

/// Of a pod's spec only images, the deadline, further tolerations and scheduling gates may change.
fn pod_change(old: &Value, new: &Value, out: &mut Vec<StatusCause>) {
    let bare = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        for field in
            ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "ephemeralContainers"]
        {
            spec[field] = Value::Null;
        }
        spec["initContainers"].as_array().is_none().then(|| spec["initContainers"] = Value::Null);
        spec
    };
    if bare(old) != bare(new) {
        out.push(StatusCause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
             `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}
