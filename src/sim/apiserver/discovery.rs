//! What the server says about itself: version, health, groups, resources.

use super::request::Call;
use super::{ApiBody, json, metrics, openapi, raw};
use crate::sim::store::{Kind, Status, Store};
use http::{Response, StatusCode, header};
use serde_json::{Value, json as value};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Resources that are answered, not stored: group, kind, resource.
const REVIEWS: [(&str, &str, &str); 6] = [
    ("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews"),
    ("authentication.k8s.io", "TokenReview", "tokenreviews"),
    ("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews"),
    ("authorization.k8s.io", "LocalSubjectAccessReview", "localsubjectaccessreviews"),
];

/// Answers a path that is no resource.
pub(super) fn answer(store: &Store, call: &Call) -> Result<Response<ApiBody>, Status> {
    let path = call.path.trim_end_matches('/');
    match path {
        "/version" => return Ok(json(StatusCode::OK, &version())),
        "/healthz" | "/livez" | "/readyz" => return Ok(raw(StatusCode::OK, "text/plain", "ok")),
        "/openapi/v2" | "/openapi/v3" => return Ok(openapi::answer(store, path)),
        "/api" | "/apis" => return Ok(groups(store, call, path)),
        _ => {}
    }
    if path.starts_with("/openapi/v3/") {
        return Ok(openapi::answer(store, path));
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let found = match parts.as_slice() {
        ["api", version] => resources(store, "", version),
        ["apis", group] => group_of(store, group),
        ["apis", group, version] => resources(store, group, version),
        _ => None,
    };
    match found {
        Some(answer) => Ok(json(StatusCode::OK, &answer)),
        None if path.starts_with("/api") => Err(Status::no_resource()),
        None => Ok(raw(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n")),
    }
}

/// The version that the embedded cluster behaves like.
fn version() -> Value {
    value!({"major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64"})
}

/// Everything served, sorted by group and version as the server lists them.
fn kinds(store: &Store) -> Vec<Kind> {
    let mut all = Kind::builtin().to_vec();
    all.extend(store.custom_kinds());
    all
}

/// The groups, each with its versions; the core group has the empty name.
pub(super) fn group_versions(store: &Store) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    let all = kinds(store).into_iter().map(|k| (k.group.to_string(), k.version.to_string()));
    let reviews = REVIEWS.iter().map(|(g, _, _)| ((*g).to_string(), "v1".to_string()));
    let measured = (metrics::GROUP.to_string(), metrics::VERSION.to_string());
    for (group, version) in all.chain(reviews).chain([measured]) {
        match out.iter_mut().find(|(g, _)| *g == group) {
            Some((_, versions)) if versions.contains(&version) => {}
            Some((_, versions)) => versions.push(version),
            None => out.push((group, vec![version])),
        }
    }
    out
}

fn groups(store: &Store, call: &Call, path: &str) -> Response<ApiBody> {
    let core = path == "/api";
    let groups = group_versions(store).into_iter().filter(|(g, _)| g.is_empty() == core);
    if call.header(header::ACCEPT).contains("as=APIGroupDiscoveryList")
        && call.header(header::ACCEPT).contains("v=v2")
    {
        let items: Vec<Value> =
            groups.map(|(group, versions)| aggregated(store, &group, &versions)).collect();
        let list = value!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
        let bytes = serde_json::to_vec(&list).unwrap_or_default();
        return raw(StatusCode::OK, AGGREGATED, bytes);
    }
    if core {
        return json(
            StatusCode::OK,
            &value!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]}),
        );
    }
    let groups: Vec<Value> = groups.map(|(group, versions)| describe_group(&group, &versions)).collect();
    json(StatusCode::OK, &value!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}

fn describe_group(group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> =
        versions.iter().map(|v| value!({"groupVersion": format!("{group}/{v}"), "version": v})).collect();
    value!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn group_of(store: &Store, group: &str) -> Option<Value> {
    let (_, versions) = group_versions(store).into_iter().find(|(g, _)| g == group)?;
    let mut answer = describe_group(group, &versions);
    answer["kind"] = "APIGroup".into();
    answer["apiVersion"] = "v1".into();
    Some(answer)
}

/// Subresources of a kind: name, kind answered, group and version of that, verbs.
fn subresources(kind: &Kind) -> Vec<(&'static str, String, &'static str, &'static str, Vec<&'static str>)> {
    let mut out = Vec::new();
    let own = kind.kind.to_string();
    if kind.status {
        out.push(("status", own.clone(), "", "", vec!["get", "patch", "update"]));
    }
    if kind.scale {
        out.push(("scale", "Scale".into(), "autoscaling", "v1", vec!["get", "patch", "update"]));
    }
    match (kind.group.as_ref(), kind.plural.as_ref()) {
        ("", "pods") => {
            out.push(("eviction", "Eviction".into(), "policy", "v1", vec!["create"]));
            out.push(("binding", "Binding".into(), "", "v1", vec!["create"]));
            out.push(("log", own, "", "", vec!["get"]));
        }
        ("", "services") => out.push((
            "proxy",
            "ServiceProxyOptions".into(),
            "",
            "v1",
            vec!["create", "delete", "get", "patch", "update"],
        )),
        ("", "serviceaccounts") => {
            out.push(("token", "TokenRequest".into(), "authentication.k8s.io", "v1", vec!["create"]))
        }
        ("", "namespaces") => out.push(("finalize", own, "", "", vec!["update"])),
        _ => {}
    }
    out
}

fn served(store: &Store, group: &str, version: &str) -> Vec<Kind> {
    kinds(store).into_iter().filter(|k| k.group == group && k.version == version).collect()
}

/// The resources of `metrics.k8s.io`; none of any other group.
fn measured(group: &str, version: &str) -> &'static [(&'static str, &'static str, bool)] {
    if (group, version) == (metrics::GROUP, metrics::VERSION) { &metrics::RESOURCES } else { &[] }
}

fn resources(store: &Store, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for kind in served(store, group, version) {
        list.push(value!({"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": VERBS, "shortNames": kind.short_names, "categories": kind.categories}));
        for (name, answer, group, version, verbs) in subresources(&kind) {
            let mut entry = value!({"name": format!("{}/{name}", kind.plural), "singularName": "",
                "namespaced": kind.namespaced, "kind": answer, "verbs": verbs});
            if !version.is_empty() {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            list.push(entry);
        }
    }
    for (_, kind, plural) in REVIEWS.iter().filter(|(g, _, _)| *g == group && version == "v1") {
        list.push(value!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": *plural == "localsubjectaccessreviews",
            "kind": kind, "verbs": ["create"]}));
    }
    for (kind, plural, namespaced) in measured(group, version) {
        list.push(value!({"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind,
            "verbs": metrics::VERBS}));
    }
    if list.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() { version.to_string() } else { format!("{group}/{version}") };
    Some(
        value!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}

fn aggregated(store: &Store, group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| {
            let mut resources: Vec<Value> =
                served(store, group, version).iter().map(aggregated_resource).collect();
            for (g, kind, plural) in REVIEWS.iter().filter(|(g, _, _)| *g == group && version == "v1") {
                resources.push(
                    value!({"resource": plural, "scope": "Cluster", "singularResource": kind.to_lowercase(),
                    "verbs": ["create"], "responseKind": {"group": g, "version": "v1", "kind": kind}}),
                );
            }
            for (kind, plural, namespaced) in measured(group, version) {
                let scope = if *namespaced { "Namespaced" } else { "Cluster" };
                resources.push(value!({"resource": plural, "scope": scope, "singularResource": "",
                    "verbs": metrics::VERBS,
                    "responseKind": {"group": group, "version": version, "kind": kind}}));
            }
            value!({"version": version, "freshness": "Current", "resources": resources})
        })
        .collect();
    value!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let subs: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|(name, answer, group, version, verbs)| {
            let (group, version) = if version.is_empty() { (kind.group.as_ref(), kind.version.as_ref()) } else { (group, version) };
            value!({"subresource": name, "verbs": verbs, "responseKind": {"group": group, "version": version, "kind": answer}})
        })
        .collect();
    value!({"resource": kind.plural, "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "shortNames": kind.short_names, "categories": kind.categories, "verbs": VERBS,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind}, "subresources": subs})
}
