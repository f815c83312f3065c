//! The table of types that the embedded API server reads values by, held against what the real one publishes.
//!
//! `UPDATE_GOLDEN=1 tests/real/scenarios.sh --exact real::types::the_types_are_those_of_the_real_server` writes it anew,
//! for another version of Kubernetes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::scenarios::{bench::Real, blocking};

const TABLE: &str = "src/sim/apiserver/schema/types.txt";

/// The kinds that the embedded cluster serves and that are built in.
const KINDS: &[&str] = &[
    "apiextensions.v1.CustomResourceDefinition",
    "apps.v1.DaemonSet",
    "apps.v1.Deployment",
    "apps.v1.ReplicaSet",
    "apps.v1.StatefulSet",
    "autoscaling.v2.HorizontalPodAutoscaler",
    "coordination.v1.Lease",
    "core.v1.ConfigMap",
    "core.v1.Endpoints",
    "core.v1.Event",
    "core.v1.Namespace",
    "core.v1.Node",
    "core.v1.PersistentVolume",
    "core.v1.PersistentVolumeClaim",
    "core.v1.Pod",
    "core.v1.Secret",
    "core.v1.Service",
    "core.v1.ServiceAccount",
    "discovery.v1.EndpointSlice",
    "events.v1.Event",
    "networking.v1.NetworkPolicy",
    "policy.v1.PodDisruptionBudget",
    "rbac.v1.ClusterRole",
    "rbac.v1.ClusterRoleBinding",
    "rbac.v1.Role",
    "rbac.v1.RoleBinding",
];

/// What a server publishes, and what of it was reached from [`KINDS`].
struct Published {
    /// By the last three parts of their names, which tell the kinds' types apart.
    definitions: BTreeMap<String, Map<String, Value>>,
    reached: BTreeMap<String, String>,
}

fn short(name: &str) -> String {
    let parts: Vec<&str> = name.rsplit('.').take(3).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(".")
}

impl Published {
    fn by(document: &Value) -> Self {
        let definitions = document["definitions"].as_object().expect("an OpenAPI document has definitions");
        let known =
            definitions.iter().filter_map(|(name, value)| Some((short(name), value.as_object()?.clone())));
        Self { definitions: known.collect(), reached: BTreeMap::new() }
    }

    fn reach(&mut self, name: &str) {
        let Some(properties) = self.definitions.get(name).and_then(|found| found.get("properties")).cloned()
        else {
            panic!("{name} has no fields");
        };
        if self.reached.contains_key(name) {
            return;
        }
        // Some types are made of themselves.
        self.reached.insert(name.to_owned(), String::new());
        let fields = properties.as_object().into_iter().flatten();
        let fields: Vec<String> = fields.map(|(field, of)| format!("{field}:{}", self.shape(of))).collect();
        self.reached.insert(name.to_owned(), fields.join(" "));
    }

    fn shape(&mut self, of: &Value) -> String {
        if let Some(reference) = of["$ref"].as_str() {
            let name = short(reference.trim_start_matches("#/definitions/"));
            let named = Value::Object(self.definitions[&name].clone());
            if named.get("properties").is_some() {
                self.reach(&name);
                return name;
            }
            return if name.ends_with(".Quantity") { "quantity".to_owned() } else { self.shape(&named) };
        }
        match (of["type"].as_str().unwrap_or_default(), of["format"].as_str().unwrap_or_default()) {
            ("array", _) => format!("[{}]", self.shape(&of["items"])),
            ("object", _) if of.get("additionalProperties").is_some() => {
                format!("{{{}}}", self.shape(&of["additionalProperties"]))
            }
            ("integer", "") => "int64".to_owned(),
            ("integer", format) => format.to_owned(),
            ("number", _) => "number".to_owned(),
            ("boolean", _) => "bool".to_owned(),
            ("string", "byte") => "bytes".to_owned(),
            ("string", "date-time") => "time".to_owned(),
            ("string", "int-or-string") => "intOrString".to_owned(),
            ("string", _) => "string".to_owned(),
            _ => "any".to_owned(),
        }
    }

    fn table(mut self) -> String {
        KINDS.iter().for_each(|kind| self.reach(kind));
        self.reached
            .iter()
            .map(|(name, fields)| format!("{name} {fields}").trim_end().to_owned() + "\n")
            .collect()
    }
}

#[test]
fn the_types_are_those_of_the_real_server() {
    let Some(real) = Real::from_env("the table of types") else { return };
    blocking(async {
        let ask = http::Request::get("/openapi/v2").header("Accept", "application/json").body(Vec::new());
        let text =
            real.client().request_text(ask.expect("a request")).await.expect("a server says what it serves");
        let table = Published::by(&serde_json::from_str(&text).expect("it is JSON")).table();
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, table).expect("the table can be written");
        } else {
            let kept = std::fs::read_to_string(&file).expect("the table can be read");
            let apart = table.lines().zip(kept.lines()).find(|(real, kept)| real != kept);
            assert_eq!(table.len(), kept.len(), "{apart:?}");
            assert_eq!(apart, None, "UPDATE_GOLDEN=1 writes it anew");
        }
    });
}
