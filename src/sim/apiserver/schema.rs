//! Decoding by the built-in types: wrong types are refused, unknown fields are refused or dropped.
//!
//! The generated types are the schema: what a value loses on its way through its type is an unknown field.

use super::request::Call;
use crate::sim::store::{Kind, KindInfo, Status};
use k8s_openapi::api::{
    apps::v1 as apps, autoscaling::v2 as autoscaling, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, networking::v1 as networking, policy::v1 as policy,
    rbac::v1 as rbac,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What happens to unknown fields (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// They are an error.
    Strict,
    /// They are dropped.
    Lenient,
}

impl Strictness {
    pub(super) fn of(call: &Call) -> Self {
        if call.param("fieldValidation") == "Strict" { Self::Strict } else { Self::Lenient }
    }
}

/// Reads a value as its kind; what comes back holds known fields only. Custom resources come back as they are.
///
/// # Errors
/// 400 for wrong types, and with [`Strictness::Strict`] for unknown fields.
pub(super) fn decode(kind: &Kind, value: Value, strictness: Strictness) -> Result<Value, Status> {
    read_as(kind, value, strictness).map_err(|why| {
        Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: {why}",
            kind.kind, kind.version, kind.kind
        ))
    })
}

/// [`decode`], with only the reason as error.
///
/// # Errors
/// Wrong types, and with [`Strictness::Strict`] unknown fields.
pub(super) fn read_as(kind: &Kind, mut value: Value, strictness: Strictness) -> Result<Value, String> {
    let Some(map) = value.as_object_mut() else { return Err("it is not an object".to_owned()) };
    map.insert("apiVersion".into(), kind.api_version().into());
    map.insert("kind".into(), kind.kind.as_ref().into());
    if !map.get("metadata").is_some_and(Value::is_object) {
        map.insert("metadata".into(), Value::Object(serde_json::Map::new()));
    }
    nulls_to_text(&mut map["metadata"]);
    if kind.is_custom() {
        return Ok(value);
    }
    quantities_to_text(&mut value);
    let known = through_type(kind, &value).map_err(|e| format!("json: {e}"))?;
    let mut unknown = Vec::new();
    keep_known("", &mut value, &known, &mut unknown);
    if strictness == Strictness::Strict && !unknown.is_empty() {
        let list: Vec<String> = unknown.iter().map(|f| format!("unknown field \"{f}\"")).collect();
        return Err(format!("strict decoding error: {}", list.join(", ")));
    }
    Ok(value)
}

fn through_type(kind: &Kind, value: &Value) -> Result<Value, serde_json::Error> {
    fn pass<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, serde_json::Error> {
        serde_json::to_value(serde_json::from_value::<T>(value.clone())?)
    }
    match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "Pod") => pass::<core::Pod>(value),
        ("", "Node") => pass::<core::Node>(value),
        ("", "Namespace") => pass::<core::Namespace>(value),
        ("", "Service") => pass::<core::Service>(value),
        ("", "Endpoints") => pass::<core::Endpoints>(value),
        ("", "Event") => pass::<core::Event>(value),
        ("", "ConfigMap") => pass::<core::ConfigMap>(value),
        ("", "Secret") => pass::<core::Secret>(value),
        ("", "ServiceAccount") => pass::<core::ServiceAccount>(value),
        ("", "PersistentVolumeClaim") => pass::<core::PersistentVolumeClaim>(value),
        ("", "PersistentVolume") => pass::<core::PersistentVolume>(value),
        ("apps", "Deployment") => pass::<apps::Deployment>(value),
        ("apps", "ReplicaSet") => pass::<apps::ReplicaSet>(value),
        ("apps", "StatefulSet") => pass::<apps::StatefulSet>(value),
        ("apps", "DaemonSet") => pass::<apps::DaemonSet>(value),
        ("policy", "PodDisruptionBudget") => pass::<policy::PodDisruptionBudget>(value),
        ("coordination.k8s.io", "Lease") => pass::<coordination::Lease>(value),
        ("discovery.k8s.io", "EndpointSlice") => pass::<discovery::EndpointSlice>(value),
        ("autoscaling", "HorizontalPodAutoscaler") => pass::<autoscaling::HorizontalPodAutoscaler>(value),
        ("networking.k8s.io", "NetworkPolicy") => pass::<networking::NetworkPolicy>(value),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            pass::<apiextensions::CustomResourceDefinition>(value)
        }
        ("rbac.authorization.k8s.io", "Role") => pass::<rbac::Role>(value),
        ("rbac.authorization.k8s.io", "ClusterRole") => pass::<rbac::ClusterRole>(value),
        ("rbac.authorization.k8s.io", "RoleBinding") => pass::<rbac::RoleBinding>(value),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => pass::<rbac::ClusterRoleBinding>(value),
        ("events.k8s.io", "Event") => pass::<events::Event>(value),
        _ => Ok(value.clone()),
    }
}

/// Go reads null into a map of texts as an empty one.
fn nulls_to_text(metadata: &mut Value) {
    for name in ["labels", "annotations"] {
        let texts =
            metadata.get_mut(name).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
        texts.filter(|text| text.is_null()).for_each(|text| *text = "".into());
    }
}

/// Quantities may be written as numbers; they are kept as text.
fn quantities_to_text(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, below) in map.iter_mut() {
                if let ("limits" | "requests" | "capacity" | "allocatable", Value::Object(quantities)) =
                    (name.as_str(), &mut *below)
                {
                    for quantity in quantities.values_mut().filter(|q| q.is_number()) {
                        *quantity = quantity.to_string().into();
                    }
                }
                quantities_to_text(below);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities_to_text),
        _ => {}
    }
}

/// Removes from `value` what `known`, the same value after its way through the type, no longer has. Nothing is
/// taken over from `known`: the types write required fields that nobody gave.
fn keep_known(path: &str, value: &mut Value, known: &Value, unknown: &mut Vec<String>) {
    match (value, known) {
        (Value::Object(map), Value::Object(known)) => map.retain(|name, below| {
            if below.is_null() {
                return false;
            }
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let Some(kept) = known.get(name) else {
                unknown.push(path);
                return false;
            };
            keep_known(&path, below, kept, unknown);
            true
        }),
        (Value::Array(items), Value::Array(known)) => {
            for (i, (item, kept)) in items.iter_mut().zip(known).enumerate() {
                keep_known(&format!("{path}[{i}]"), item, kept, unknown);
            }
        }
        _ => {}
    }
}

/// The kinds that the spec of a CustomResourceDefinition defines, one per served version.
pub(super) fn custom_kinds(spec: &Value) -> Vec<Kind> {
    let names = &spec["names"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let list = |v: &Value| -> Vec<Cow<'static, str>> {
        v.as_array().into_iter().flatten().map(|s| Cow::Owned(text(s))).collect()
    };
    let singular =
        names["singular"].as_str().map_or_else(|| text(&names["kind"]).to_lowercase(), ToString::to_string);
    let served = spec["versions"].as_array().into_iter().flatten().filter(|v| v["served"] == true);
    served
        .map(|version| {
            Kind::custom(KindInfo {
                group: text(&spec["group"]).into(),
                version: text(&version["name"]).into(),
                kind: text(&names["kind"]).into(),
                plural: text(&names["plural"]).into(),
                singular: singular.clone().into(),
                short_names: list(&names["shortNames"]).into(),
                categories: list(&names["categories"]).into(),
                namespaced: spec["scope"] == "Namespaced",
                generation: true,
                status: version["subresources"].get("status").is_some(),
                scale: false,
            })
        })
        .collect()
}
