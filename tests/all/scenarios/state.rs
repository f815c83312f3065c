//! What has to be as before, read through a client so that it is the same on every bench.

use std::collections::BTreeMap;

use kube::{
    Api,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

/// Group, version, kind; whether it lives in a namespace.
const KINDS: [(&str, &str, &str, bool); 14] = [
    ("", "v1", "Namespace", false),
    ("", "v1", "Node", false),
    ("", "v1", "Service", true),
    ("", "v1", "ServiceAccount", true),
    ("", "v1", "ConfigMap", true),
    ("apps", "v1", "Deployment", true),
    ("apps", "v1", "ReplicaSet", true),
    ("apps", "v1", "StatefulSet", true),
    ("apps", "v1", "DaemonSet", true),
    ("policy", "v1", "PodDisruptionBudget", true),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", true),
    ("rbac.authorization.k8s.io", "v1", "Role", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", true),
    ("firedrill.dev", "v1alpha1", "Guardrail", false),
];

/// Objects of a kind, in a namespace or everywhere.
pub fn api(
    client: &kube::Client,
    (group, version, kind): (&str, &str, &str),
    namespace: &str,
) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

/// The nodes and namespaces of the cluster and what is in these namespaces: everything but pods, their
/// events, endpoints and leases; of workloads their spec and ready count. By kind and name.
pub async fn state_of(
    client: &kube::Client,
    namespaces: &[String],
) -> Result<BTreeMap<String, Value>, String> {
    let mut state = BTreeMap::new();
    for (group, version, kind, namespaced) in KINDS {
        let places = if namespaced { namespaces } else { &[String::new()][..] };
        for namespace in places {
            let objects = api(client, (group, version, kind), namespace);
            let mut listed = objects.list(&ListParams::default()).await;
            // A definition that is new: its storage takes a moment.
            while matches!(&listed, Err(kube::Error::Api(status)) if status.code == 429) {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                listed = objects.list(&ListParams::default()).await;
            }
            let items = match listed {
                Ok(list) => list.items,
                Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
                Err(error) => return Err(format!("listing {kind}: {error}")),
            };
            for object in items {
                let name = object.metadata.name.clone().unwrap_or_default();
                if mine(&object, kind, namespaces) && !of_the_past(&object, kind) {
                    state.insert(format!("{kind} {namespace}/{name}"), reduced(object));
                }
            }
        }
    }
    Ok(state)
}

/// Rows run beside each other: each looks after its own nodes and namespaces.
fn mine(object: &DynamicObject, kind: &str, namespaces: &[String]) -> bool {
    let name = object.metadata.name.clone().unwrap_or_default();
    let row = object.metadata.labels.as_ref().and_then(|labels| labels.get("row"));
    match kind {
        "Namespace" => namespaces.contains(&name),
        "Node" | "Guardrail" => row.is_none_or(|row| namespaces.contains(row)),
        _ => true,
    }
}

/// A ReplicaSet of a former revision: every rollout leaves one, whoever began it.
fn of_the_past(object: &DynamicObject, kind: &str) -> bool {
    kind == "ReplicaSet"
        && object.metadata.owner_references.is_some()
        && object.data.pointer("/spec/replicas").and_then(Value::as_i64) == Some(0)
}

fn reduced(object: DynamicObject) -> Value {
    let mut value = json!({"metadata": object.metadata, "data": object.data});
    if let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        for counted in ["revision", "revision-history"] {
            annotations.remove(&format!("deployment.kubernetes.io/{counted}"));
        }
    }
    let ready = value.pointer("/data/status/readyReplicas").cloned();
    if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        for field in ["resourceVersion", "generation", "managedFields"] {
            metadata.remove(field);
        }
    }
    if let Some(data) = value.pointer_mut("/data").and_then(Value::as_object_mut) {
        data.remove("status");
        data.extend(ready.map(|ready| ("readyReplicas".to_owned(), ready)));
    }
    value
}
