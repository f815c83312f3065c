//! Server-side apply: merge by the types' list keys, conflicts by `managedFields`
//! (sigs.k8s.io/structured-merge-diff/merge/update.go).

use super::rbac::{self, Attributes};
use super::request::{Call, Target};
use super::write::{Writing, retry, text};
use super::{ApiBody, ApiServer, schema};
use crate::sim::store::listmap::{ListMerge, atomic_map, list_merge};
use crate::sim::store::managed::{self, Path, Writer, key_step};
use crate::sim::store::{Kind, Object, Status, StatusCause, StatusDetails};
use http::{Response, StatusCode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl ApiServer {
    pub(super) fn apply(
        &self,
        call: &Call,
        target: &Target,
        writing: &Writing<'_>,
        mut config: Value,
    ) -> Result<Response<ApiBody>, Status> {
        let kind = writing.kind;
        if config["metadata"].get("managedFields").is_some_and(|m| !m.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        config = schema::decode(kind, config, schema::Strictness::of(call))?;
        if let Some(meta) = config["metadata"].as_object_mut() {
            meta.entry("name").or_insert_with(|| target.name.as_str().into());
            meta.remove("creationTimestamp");
        }
        let writer = Writer { operation: "Apply", ..writing.writer.clone() };
        let force = call.flag("force");
        let mut code = StatusCode::OK;
        let written = retry(|| match self.store.get(kind, target.store_namespace(), &target.name) {
            Some(old) => {
                let given = text(&config, "resourceVersion");
                if !given.is_empty() && given != old.meta.resource_version.to_string() {
                    return Err(Status::modified(kind, &target.name));
                }
                self.apply_to(writing, &writer, &old, (&config, force))
            }
            None if target.subresource.is_empty() => {
                // What is made by it takes the right to make it beside (handlers/patch.go, withAuthorization).
                let create = Attributes::of(target, "create");
                if !rbac::allowed(&self.store, &call.user, &create) {
                    return Err(rbac::denied(&call.user, &create));
                }
                code = StatusCode::CREATED;
                let writing =
                    Writing { kind, writer: writer.clone(), dry_run: writing.dry_run, subresource: "" };
                self.insert(&writing, config.clone(), target.store_namespace())
            }
            None => Err(Status::not_found(kind, &target.name)),
        })?;
        Ok(self.shown(call, kind, &written, code))
    }

    fn apply_to(
        &self,
        writing: &Writing<'_>,
        writer: &Writer,
        old: &Arc<Object>,
        (config, force): (&Value, bool),
    ) -> Result<Arc<Object>, Status> {
        let kind = writing.kind;
        let live = old.to_value();
        let wanted = managed::leaves(kind, config);
        let applied = managed::applied(kind, config);
        let conflicts = conflicts(old, &managed::leaves(kind, &live), &wanted, writer);
        if !conflicts.is_empty() && !force {
            return Err(conflict(&conflicts));
        }
        let mut new = live.clone();
        merge(kind, "", &mut new, config);
        for path in abandoned(old, &applied, writer) {
            remove(&mut new, &path);
        }
        new["metadata"]["resourceVersion"] = old.meta.resource_version.to_string().into();
        let mut object = self.prepared(writing, old, &live, new)?;
        let value = object.to_value();
        let forced: BTreeSet<Path> = conflicts.into_iter().map(|(_, _, path)| path).collect();
        managed::record_apply(
            Some(old),
            &mut object,
            &value,
            (&applied, &forced),
            (writer, self.store.now()),
        );
        self.commit(writing, object)
    }
}

/// Manager, version of its entry, field.
type Conflict = (String, String, Path);

/// Fields that would change and that others manage.
fn conflicts(
    old: &Object,
    live: &BTreeMap<Path, &Value>,
    wanted: &BTreeMap<Path, &Value>,
    writer: &Writer,
) -> Vec<Conflict> {
    let mut out = Vec::new();
    for entry in &old.meta.managed_fields {
        if entry.manager == writer.manager
            && entry.operation == "Apply"
            && entry.subresource == writer.subresource
        {
            continue;
        }
        for path in managed::paths(&entry.fields_v1) {
            let differs = wanted.get(&path).is_some_and(|v| live.get(&path).is_some_and(|l| l != v));
            if differs {
                let mut by = format!("\"{}\"", entry.manager);
                if !entry.subresource.is_empty() {
                    by = format!("{by} with subresource \"{}\"", entry.subresource);
                }
                out.push((by, entry.api_version.clone(), path));
            }
        }
    }
    out
}

/// 409 with a cause for each field (managedfields/internal/conflict.go).
fn conflict(conflicts: &[Conflict]) -> Status {
    let field = |path: &Path| {
        let steps = path.iter().map(|s| match s.split_at_checked(2) {
            Some(("f:", name)) => format!(".{name}"),
            Some(("k:", key)) => format!(
                "[{}]",
                key.trim_matches(['{', '}'])
                    .replace("\":", "\"=")
                    .trim_start_matches('"')
                    .replacen("\"=", "=", 1)
            ),
            _ => String::new(),
        });
        steps.collect::<String>()
    };
    let causes: Vec<StatusCause> = conflicts
        .iter()
        .map(|(by, version, path)| StatusCause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {by} using {version}"),
            field: field(path),
        })
        .collect();
    let list: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.message, c.field)).collect();
    let message = if let [one] = list.as_slice() {
        format!("Apply failed with 1 conflict: {one}")
    } else {
        format!("Apply failed with {} conflicts: {}", list.len(), list.join("\n"))
    };
    let mut status = Status::failure(409, "Conflict", message);
    status.details = Some(Box::new(StatusDetails { causes, ..StatusDetails::default() }));
    status
}

/// Fields that this manager applied before and no longer does, and that nobody else manages.
fn abandoned(old: &Object, applied: &BTreeSet<Path>, writer: &Writer) -> Vec<Path> {
    let (mut mine, mut others) = (BTreeSet::new(), BTreeSet::new());
    for entry in &old.meta.managed_fields {
        let own = entry.manager == writer.manager
            && entry.operation == "Apply"
            && entry.subresource == writer.subresource;
        if own { &mut mine } else { &mut others }.extend(managed::paths(&entry.fields_v1));
    }
    // Deepest first, so that an element goes after what it held.
    let mut gone: Vec<Path> =
        mine.into_iter().filter(|p| !applied.contains(p) && !others.contains(p)).collect();
    gone.sort_by_key(|p| std::cmp::Reverse(p.len()));
    gone
}

fn remove(value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    let last = rest.is_empty() || rest == ["."];
    match (step.split_at_checked(2), value) {
        (Some(("f:", name)), Value::Object(map)) => {
            if last {
                map.remove(name);
            } else if let Some(below) = map.get_mut(name) {
                remove(below, rest);
            }
        }
        (Some(("k:", key)), Value::Array(items)) => {
            let Ok(Value::Object(keys)) = serde_json::from_str::<Value>(key) else { return };
            let is = |i: &Value| keys.iter().all(|(k, v)| i.get(k).is_none_or(|have| have == v));
            if last {
                items.retain(|i| !is(i));
            } else if let Some(item) = items.iter_mut().find(|i| is(i)) {
                // The keys name the element: they go with it, not before.
                if !matches!(rest, [one] if one.strip_prefix("f:").is_some_and(|f| keys.contains_key(f))) {
                    remove(item, rest);
                }
            }
        }
        (Some(("v:", text)), Value::Array(items)) => {
            let gone = serde_json::from_str::<Value>(text).unwrap_or_default();
            items.retain(|i| *i != gone);
        }
        _ => {}
    }
}

/// Merges an applied configuration into the live object.
fn merge(kind: &Kind, field: &str, live: &mut Value, config: &Value) {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if !atomic_map(field) => {
            for (name, value) in config.iter().filter(|(_, v)| !v.is_null()) {
                match live.get_mut(name) {
                    Some(have) => merge(kind, name, have, value),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(live), Value::Array(config)) => match list_merge(kind, kind.is_custom(), field) {
            ListMerge::Atomic => live.clone_from(config),
            ListMerge::Set => {
                for item in config {
                    if !live.contains(item) {
                        live.push(item.clone());
                    }
                }
            }
            ListMerge::Keyed { apply, .. } => {
                for item in config {
                    let id = key_step(apply, item);
                    match live.iter_mut().find(|l| key_step(apply, l) == id) {
                        Some(have) => merge(kind, "", have, item),
                        None => live.push(item.clone()),
                    }
                }
            }
        },
        (live, config) => live.clone_from(config),
    }
}
