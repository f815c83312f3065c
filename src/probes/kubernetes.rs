//! `kubernetes`: what the API server says of an object or a list of them.

use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    Api,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind, Selector},
    discovery::Scope,
    runtime::{WatchStreamExt, watcher},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Judge, Measure, Probe, ProbeInfo, Reading, Variable, VariableType, forbidden, unfit};
use crate::{
    cluster::{ApiError, FixedBackoff},
    types::{FieldSchema, Finding},
};

/// See [`INFO`].
pub struct Kubernetes;

/// An object (by `name`) or a list of objects (by `selector`), judged by CEL.
pub static INFO: ProbeInfo = ProbeInfo {
    name: "kubernetes",
    summary: "An object or a list of objects of the API server, judged by CEL.",
    example: "name: replicas\nkubernetes: {apiVersion: apps/v1, kind: Deployment, name: checkout}\nvalue: object.status.readyReplicas\nexpect: value >= 2\n",
    fields: &[
        FieldSchema {
            name: "apiVersion",
            description: "API version of the object, such as apps/v1.",
            required: true,
            default: None,
            schema: r#"{"type":"string","minLength":1,"maxLength":253,"pattern":"^([a-z0-9.-]+/)?v[a-z0-9]+$"}"#,
        },
        FieldSchema {
            name: "kind",
            description: "Kind of the object, such as Deployment.",
            required: true,
            default: None,
            schema: r#"{"type":"string","minLength":1,"maxLength":63,"pattern":"^[A-Z][A-Za-z0-9]*$"}"#,
        },
        FieldSchema {
            name: "name",
            description: "Name of the one object. Exactly one of name and selector.",
            required: false,
            default: None,
            schema: r#"{"type":"string","minLength":1,"maxLength":253}"#,
        },
        FieldSchema {
            name: "selector",
            description: "Selects a list of objects by label; {} is all of the namespace.",
            required: false,
            default: None,
            schema: "labels",
        },
        FieldSchema {
            name: "namespace",
            description: "Where the object is. Default: the file's namespace.",
            required: false,
            default: None,
            schema: r#"{"type":"string","minLength":1,"maxLength":63}"#,
        },
    ],
    variables: &[
        Variable {
            name: "object",
            kind: VariableType::Any,
            description: "The object, with name. Absent whole numbers of a status are zero.",
        },
        Variable {
            name: "objects",
            kind: VariableType::Any,
            description: "The list of objects, with selector.",
        },
        Variable {
            name: "before",
            kind: VariableType::Any,
            description: "The object (or list) as it was when Baseline ended; the present one until then.",
        },
    ],
    default_value: None,
};

impl Probe for Kubernetes {
    fn info(&self) -> &'static ProbeInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        let given = |name: &str| params.get(name).is_some_and(|value| !value.is_null());
        if given("name") == given("selector") {
            return vec![unfit(
                "kubernetes",
                "exactly one of name and selector has to be given",
                "name one object, or select a list",
            )];
        }
        Vec::new()
    }

    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let params: Params = match serde_json::from_value(params.clone()) {
                Ok(params) => params,
                Err(error) => return Reading::Missing(error.to_string()),
            };
            match read(measure, &params).await {
                Ok(reading) => reading,
                Err(error) => {
                    Reading::Missing(format!("{} {}: {error}", params.kind, params.name.unwrap_or_default()))
                }
            }
        })
    }

    /// Reads once: access reviews say nothing of what whoever acts as somebody may read meanwhile.
    fn doubts<'a>(
        &'a self,
        measure: &'a Measure,
        params: &'a Value,
        _judge: &'a Judge,
    ) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async move {
            let Ok(params) = serde_json::from_value::<Params>(params.clone()) else { return Vec::new() };
            match read(measure, &params).await {
                Err(ApiError::Forbidden(why)) => vec![params.forbidden(measure, &why)],
                _ => Vec::new(),
            }
        })
    }

    fn changes(&self, measure: &Measure, params: &Value) -> Option<BoxStream<'static, ()>> {
        let params: Params = serde_json::from_value(params.clone()).ok()?;
        let (api, config) = (params.api(measure), params.watch()?);
        // What breaks off begins again after a pause; the intervals' measurements go on meanwhile.
        let events = watcher(api, config)
            .backoff(FixedBackoff)
            .filter_map(|event| async move { event.ok().map(|_| ()) });
        Some(events.boxed())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    api_version: String,
    kind: String,
    name: Option<String>,
    selector: Option<LabelSelector>,
    namespace: Option<String>,
}

/// Kinds without a namespace that hypotheses are about; any other kind is looked for in a namespace.
const CLUSTER_SCOPED: [&str; 8] = [
    "Node",
    "Namespace",
    "PersistentVolume",
    "StorageClass",
    "NodePool",
    "NodeClaim",
    "ClusterRole",
    "CustomResourceDefinition",
];

impl Params {
    fn scope(&self) -> Scope {
        if CLUSTER_SCOPED.contains(&self.kind.as_str()) { Scope::Cluster } else { Scope::Namespaced }
    }

    fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &self.kind))
    }

    /// None: it is in no namespace.
    fn place<'a>(&'a self, measure: &'a Measure) -> Option<&'a str> {
        let namespace = self.namespace.as_deref().unwrap_or(&measure.namespace);
        (self.scope() == Scope::Namespaced).then_some(namespace)
    }

    fn api(&self, measure: &Measure) -> Api<DynamicObject> {
        let client = measure.access.client().clone();
        match self.place(measure) {
            None => Api::all_with(client, &self.resource()),
            Some(namespace) => Api::namespaced_with(client, namespace, &self.resource()),
        }
    }

    fn forbidden(&self, measure: &Measure, why: &str) -> Finding {
        let ApiResource { group, plural, .. } = self.resource();
        let name = if group.is_empty() { plural } else { format!("{plural}.{group}") };
        forbidden(&name, self.place(measure), why)
    }

    fn labels(&self) -> Option<String> {
        let selector = Selector::try_from(self.selector.clone()?).ok()?;
        Some(selector.to_string())
    }

    fn watch(&self) -> Option<watcher::Config> {
        match &self.name {
            Some(name) => Some(watcher::Config::default().fields(&format!("metadata.name={name}"))),
            None => self.labels().map(|labels| watcher::Config::default().labels(&labels)),
        }
    }
}

async fn read(measure: &Measure, params: &Params) -> Result<Reading, ApiError> {
    let api = params.api(measure);
    if let Some(name) = &params.name {
        return match measure.access.read(api.get(name)).await {
            Ok(object) => Ok(Reading::Measured([("object", whole(object, params)?)].into())),
            Err(ApiError::NotFound) => Ok(Reading::Absent(format!("{} {name} is not there", params.kind))),
            Err(error) => Err(error),
        };
    }
    let Some(labels) = params.labels() else {
        return Ok(Reading::Missing("the selector cannot be read".to_owned()));
    };
    let list = measure.access.read(api.list(&ListParams::default().labels(&labels))).await?;
    let objects: Result<Vec<Value>, ApiError> =
        list.items.into_iter().map(|object| whole(object, params)).collect();
    Ok(Reading::Measured([("objects", Value::Array(objects?))].into()))
}

/// The object with what the API server leaves out at zero written out: otherwise the worst outage
/// (`readyReplicas` at 0) could not be measured.
fn whole(object: DynamicObject, params: &Params) -> Result<Value, ApiError> {
    let mut object = serde_json::to_value(object).map_err(|error| ApiError::Malformed(error.to_string()))?;
    object["apiVersion"] = json!(params.api_version);
    object["kind"] = json!(params.kind);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    // Fields marked omitempty in the API's Go types (k8s.io/api: apps/v1, autoscaling/v2, batch/v1, core/v1).
    let (at, fields, zero): (&str, &[&str], Value) = match params.kind.as_str() {
        "Deployment" => (
            "status",
            &["replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "unavailableReplicas"],
            json!(0),
        ),
        "ReplicaSet" => {
            ("status", &["replicas", "readyReplicas", "availableReplicas", "fullyLabeledReplicas"], json!(0))
        }
        "StatefulSet" => (
            "status",
            &["replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas"],
            json!(0),
        ),
        "DaemonSet" => {
            ("status", &["updatedNumberScheduled", "numberAvailable", "numberUnavailable"], json!(0))
        }
        "HorizontalPodAutoscaler" => ("status", &["currentReplicas", "desiredReplicas"], json!(0)),
        "Job" => ("status", &["active", "succeeded", "failed"], json!(0)),
        "Node" => ("spec", &["unschedulable"], json!(false)),
        _ => return Ok(object),
    };
    if !object[at].is_object() {
        object[at] = json!({});
    }
    for field in fields {
        if object[at].get(field).is_none() {
            object[at][field] = zero.clone();
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_outage_is_measured() {
        let params: Params =
            serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}))
                .expect("params");
        let object = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {"replicas": 3}}))
            .expect("an object");
        let object = whole(object, &params).expect("JSON");
        assert_eq!(object["status"]["readyReplicas"], 0);
        assert_eq!(object["spec"]["replicas"], 3);
    }

    #[test]
    fn exactly_one_of_name_and_selector() {
        for (params, findings) in [
            (json!({"name": "a"}), 0),
            (json!({"selector": {}}), 0),
            (json!({}), 1),
            (json!({"name": "a", "selector": {}}), 1),
        ] {
            assert_eq!(Kubernetes.lint(&params).len(), findings, "{params}");
        }
    }
}
