//! A small OpenAPI: enough for kubectl to learn that the server validates fields itself, so that
//! `kubectl apply` works with validation on.

use super::discovery::group_versions;
use super::{ApiBody, json};
use crate::sim::store::{Kind, Status, Store};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json as value};

/// Answers `/openapi/v2`, `/openapi/v3` and `/openapi/v3/…`.
pub(super) fn answer(store: &Store, path: &str) -> Response<ApiBody> {
    if path == "/openapi/v2" {
        let mut paths = Map::new();
        for (group, versions) in group_versions(store) {
            for version in versions {
                paths.extend(group_paths(store, &group, &version, false));
            }
        }
        let document = value!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.3"}, "paths": paths,
            "definitions": {}});
        return json(StatusCode::OK, &document);
    }
    if path == "/openapi/v3" {
        let mut paths = Map::new();
        for (group, versions) in group_versions(store) {
            for version in versions {
                let name = if group.is_empty() {
                    format!("api/{version}")
                } else {
                    format!("apis/{group}/{version}")
                };
                let url = format!("/openapi/v3/{name}");
                paths.insert(name, value!({"serverRelativeURL": url}));
            }
        }
        return json(StatusCode::OK, &value!({"paths": paths}));
    }
    let parts: Vec<&str> = path.trim_start_matches("/openapi/v3/").split('/').collect();
    let (group, version) = match parts.as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return super::failure(&Status::no_resource()),
    };
    let document = value!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.3"},
        "paths": group_paths(store, group, version, true), "components": {"schemas": {}}});
    json(StatusCode::OK, &document)
}

/// The item paths of a group's kinds with the parameters of PATCH, which is where kubectl looks.
fn group_paths(store: &Store, group: &str, version: &str, v3: bool) -> Map<String, Value> {
    let mut kinds = Kind::builtin().to_vec();
    kinds.extend(store.custom_kinds());
    let mut out = Map::new();
    for kind in kinds.iter().filter(|k| k.group == group && k.version == version) {
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let parameter = |name: &str| {
            let text = value!({"type": "string", "uniqueItems": true});
            let mut entry = value!({"name": name, "in": "query"});
            if v3 {
                entry["schema"] = text;
            } else {
                entry["type"] = "string".into();
            }
            entry
        };
        let parameters: Vec<Value> =
            ["dryRun", "fieldManager", "fieldValidation", "force"].map(parameter).to_vec();
        let operation = value!({
            "operationId": format!("patch{}{}", kind.kind, kind.version),
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        });
        out.insert(format!("{root}{scope}/{}/{{name}}", kind.plural), value!({"patch": operation}));
    }
    out
}
