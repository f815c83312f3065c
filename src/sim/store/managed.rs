//! `managedFields`: who set which field last.
//!
//! A field moves to the last manager that *changed* its value; a write that changes nothing takes over nothing
//! (sigs.k8s.io/structured-merge-diff/merge/update.go). Paths are kept in the spelling of `FieldsV1`: `f:NAME`,
//! `k:{"name":"x"}`, `v:"x"`, and `.` for an element as such.

use super::Kind;
use super::listmap::{ListMerge, atomic_map, list_merge};
use super::object::{ManagedFieldsEntry, Object};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A field's place, outermost step first.
pub type Path = Vec<String>;

/// Who writes: the key of one entry of `managedFields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The `fieldManager` parameter, or the first part of the user agent.
    pub manager: String,
    /// `Update` or `Apply`.
    pub operation: &'static str,
    /// Subresource of the call; empty for the main resource.
    pub subresource: String,
}

impl Writer {
    /// An ordinary write to the main resource.
    #[must_use]
    pub fn update(manager: &str) -> Self {
        Self { manager: manager.into(), operation: "Update", subresource: String::new() }
    }

    /// The same writer through a subresource.
    #[must_use]
    pub fn through(self, subresource: &str) -> Self {
        Self { subresource: subresource.into(), ..self }
    }

    fn owns(&self, entry: &ManagedFieldsEntry) -> bool {
        entry.manager == self.manager
            && entry.operation == self.operation
            && entry.subresource == self.subresource
    }
}

/// Metadata that the server owns, which no manager ever manages.
const SYSTEM: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// All fields of an object with their values, without what the server owns.
#[must_use]
pub fn leaves<'v>(kind: &Kind, object: &'v Value) -> BTreeMap<Path, &'v Value> {
    let mut out = BTreeMap::new();
    let Value::Object(map) = object else { return out };
    for (name, value) in map {
        match (name.as_str(), value) {
            ("apiVersion" | "kind", _) => {}
            ("metadata", Value::Object(meta)) => {
                for (name, value) in meta.iter().filter(|(n, _)| !SYSTEM.contains(&n.as_str())) {
                    collect(kind, name, value, &mut vec!["f:metadata".into(), format!("f:{name}")], &mut out);
                }
            }
            _ => collect(kind, name, value, &mut vec![format!("f:{name}")], &mut out),
        }
    }
    out
}

fn collect<'v>(
    kind: &Kind,
    field: &str,
    value: &'v Value,
    path: &mut Path,
    out: &mut BTreeMap<Path, &'v Value>,
) {
    match value {
        Value::Null => {}
        Value::Object(map) if map.is_empty() && path.len() == 1 => {}
        Value::Object(map) if !map.is_empty() && !atomic_map(field) => {
            note_container(field, path, out);
            for (name, value) in map {
                path.push(format!("f:{name}"));
                collect(kind, name, value, path, out);
                path.pop();
            }
        }
        Value::Array(items) => match list_merge(kind, kind.is_custom(), field) {
            ListMerge::Atomic => {
                out.insert(path.clone(), value);
            }
            ListMerge::Set => {
                note_container(field, path, out);
                for item in items {
                    path.push(format!("v:{item}"));
                    out.insert(path.clone(), item);
                    path.pop();
                }
            }
            ListMerge::Keyed { apply, .. } => {
                note_container(field, path, out);
                for item in items {
                    path.push(key_step(apply, item));
                    path.push(".".into());
                    out.insert(path.clone(), &Value::Null);
                    path.pop();
                    collect(kind, "", item, path, out);
                    path.pop();
                }
            }
        },
        _ => {
            out.insert(path.clone(), value);
        }
    }
}

/// A map or list is a field by itself, `.`, unless it is a struct or list that the empty Go object has already.
fn note_container(field: &str, path: &mut Path, out: &mut BTreeMap<Path, &Value>) {
    let always = ["", "spec", "status", "metadata", "strategy", "updateStrategy", "template", "containers"];
    if !always.contains(&field) {
        path.push(".".into());
        out.insert(path.clone(), &Value::Null);
        path.pop();
    }
}

/// The fields that an applied configuration claims: not maps and lists as such, unlike the elements of its
/// keyed lists.
#[must_use]
pub fn applied(kind: &Kind, config: &Value) -> BTreeSet<Path> {
    let container =
        |p: &Path| matches!(p.as_slice(), [.., field, dot] if dot == "." && field.starts_with("f:"));
    leaves(kind, config).into_keys().filter(|p| !container(p)).collect()
}

/// What of a new object its creator manages: not what the server sets itself on creation.
#[must_use]
pub fn of_creation(kind: &Kind, mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut().filter(|_| kind.status) {
        map.remove("status");
    }
    let admitted: &[&str] = match kind.plural.as_ref() {
        "pods" => &["tolerations", "serviceAccount", "serviceAccountName", "priority", "preemptionPolicy"],
        "namespaces" => &["finalizers"],
        "services" => &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"],
        _ => &[],
    };
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|name, _| !admitted.contains(&name.as_str()));
    }
    object
}

/// The order in which entries are written (managedfields/internal/managedfields.go).
fn sort(entries: &mut [ManagedFieldsEntry]) {
    entries.sort_by(|a, b| {
        (&a.operation, a.time, &a.manager, &a.subresource).cmp(&(
            &b.operation,
            b.time,
            &b.manager,
            &b.subresource,
        ))
    });
}

/// The step that names an element of a keyed list.
#[must_use]
pub fn key_step(keys: &[(&str, &str)], item: &Value) -> String {
    let mut map = Map::new();
    for (key, default) in keys {
        match item.get(key) {
            Some(v) => map.insert((*key).into(), v.clone()),
            None if default.is_empty() => None,
            None => map.insert((*key).into(), (*default).into()),
        };
    }
    format!("k:{}", Value::Object(map))
}

/// The paths of a `fieldsV1` value.
#[must_use]
pub fn paths(fields: &Value) -> BTreeSet<Path> {
    fn walk(value: &Value, path: &mut Path, out: &mut BTreeSet<Path>) {
        let Value::Object(map) = value else { return };
        if map.is_empty() {
            out.insert(path.clone());
        }
        for (step, below) in map {
            path.push(step.clone());
            walk(below, path, out);
            path.pop();
        }
    }
    let mut out = BTreeSet::new();
    walk(fields, &mut Vec::new(), &mut out);
    out.remove(&Vec::new() as &Path);
    out
}

/// The `fieldsV1` value of a set of paths.
#[must_use]
pub fn fields_v1(paths: &BTreeSet<Path>) -> Value {
    let mut root = Map::new();
    for path in paths {
        let mut at = &mut root;
        for step in path {
            let below = at.entry(step.clone()).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(map) = below else { break };
            at = map;
        }
    }
    Value::Object(root)
}

/// Notes in `new` who changed what since `old` (`None` when the object is being created). `new`'s own
/// `managedFields` are replaced by `old`'s, then brought up to date.
pub fn record(
    old: Option<(&Object, &Value)>,
    new: &mut Object,
    new_value: &Value,
    writer: &Writer,
    now: Timestamp,
) {
    let before = old.map(|(o, v)| leaves(&o.kind, v)).unwrap_or_default();
    let after = leaves(&new.kind, new_value);
    let changed: BTreeSet<Path> =
        after.iter().filter(|(p, v)| before.get(*p) != Some(v)).map(|(p, _)| p.clone()).collect();
    let entries = old.map(|(o, _)| o.meta.managed_fields.clone()).unwrap_or_default();
    if changed.is_empty() && before.len() == after.len() {
        new.meta.managed_fields = entries;
        return;
    }
    let exists = |p: &Path| after.contains_key(p);
    new.meta.managed_fields = assign(new, entries, &changed, &exists, (writer, now));
}

/// Gives `taken` to the writer, takes it from everybody else, and drops what no longer exists.
fn assign(
    object: &Object,
    entries: Vec<ManagedFieldsEntry>,
    taken: &BTreeSet<Path>,
    exists: &dyn Fn(&Path) -> bool,
    (writer, now): (&Writer, Timestamp),
) -> Vec<ManagedFieldsEntry> {
    let mut out = Vec::with_capacity(entries.len() + 1);
    let mut found = false;
    for mut entry in entries {
        let have = paths(&entry.fields_v1);
        let mine = writer.owns(&entry);
        found |= mine;
        let mut keep: BTreeSet<Path> =
            have.iter().filter(|p| exists(p) && (mine || !taken.contains(*p))).cloned().collect();
        if mine {
            keep.extend(taken.iter().cloned());
        }
        if keep.is_empty() {
            continue;
        }
        // Whoever changes the value of a field is given a new time, whether the field was theirs or not
        // (managedfieldsupdater.go in structured-merge-diff's user, apimachinery/pkg/util/managedfields/internal).
        if mine && !taken.is_empty() {
            entry.time = Timestamp::from_second(now.as_second()).ok();
        }
        if keep != have {
            entry.fields_v1 = fields_v1(&keep);
        }
        out.push(entry);
    }
    if !found && !taken.is_empty() {
        out.push(new_entry(object, writer, taken, now));
    }
    sort(&mut out);
    out
}

fn new_entry(object: &Object, writer: &Writer, set: &BTreeSet<Path>, now: Timestamp) -> ManagedFieldsEntry {
    ManagedFieldsEntry {
        manager: writer.manager.clone(),
        operation: writer.operation.into(),
        api_version: object.kind.api_version(),
        time: Timestamp::from_second(now.as_second()).ok(),
        fields_type: "FieldsV1".into(),
        fields_v1: fields_v1(set),
        subresource: writer.subresource.clone(),
    }
}

/// Sets the entries after a server-side apply: the writer manages exactly `applied`; `forced` is taken from the
/// others; what no longer exists is dropped.
pub fn record_apply(
    old: Option<&Object>,
    new: &mut Object,
    new_value: &Value,
    (applied, forced): (&BTreeSet<Path>, &BTreeSet<Path>),
    (writer, now): (&Writer, Timestamp),
) {
    let after = leaves(&new.kind, new_value);
    let mut out = Vec::new();
    let mut found = false;
    for mut entry in old.map(|o| o.meta.managed_fields.clone()).unwrap_or_default() {
        let have = paths(&entry.fields_v1);
        let set: BTreeSet<Path> = if writer.owns(&entry) {
            found = true;
            applied.clone()
        } else {
            have.iter().filter(|p| after.contains_key(*p) && !forced.contains(*p)).cloned().collect()
        };
        if set != have {
            if writer.owns(&entry) {
                entry.time = Timestamp::from_second(now.as_second()).ok();
            }
            entry.fields_v1 = fields_v1(&set);
        }
        if !set.is_empty() {
            out.push(entry);
        }
    }
    if !found {
        out.push(new_entry(new, writer, applied, now));
    }
    sort(&mut out);
    new.meta.managed_fields = out;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(old: Option<&Value>, new: &Value, manager: &str) -> Value {
        let mut object = Object::from_value(Kind::DEPLOYMENT, new.clone()).expect("object");
        let before = old.map(|v| Object::from_value(Kind::DEPLOYMENT, v.clone()).expect("object"));
        let pair = before.as_ref().zip(old);
        record(pair, &mut object, new, &Writer::update(manager), Timestamp::UNIX_EPOCH);
        object.to_value()
    }

    fn owner(value: &Value, field: &str) -> Vec<String> {
        let entries = value["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let has = |e: &&Value| e["fieldsV1"]["f:spec"].get(field).is_some();
        entries.iter().filter(has).map(|e| e["manager"].as_str().unwrap_or_default().to_string()).collect()
    }

    #[test]
    fn a_field_moves_to_who_changed_it_and_a_no_op_takes_nothing() {
        let first = write(
            None,
            &json!({"metadata": {"name": "a"}, "spec": {"replicas": 3, "paused": true}}),
            "kubectl",
        );
        let mut next = first.clone();
        next["spec"]["replicas"] = 5.into();
        let second = write(Some(&first), &next, "firedrill");
        assert_eq!(owner(&second, "f:replicas"), ["firedrill"]);
        assert_eq!(owner(&second, "f:paused"), ["kubectl"]);
        let third = write(Some(&second), &second, "someone");
        assert_eq!(second["metadata"]["managedFields"], third["metadata"]["managedFields"]);
    }

    #[test]
    fn elements_of_keyed_lists_are_fields_of_their_own() {
        let pod =
            json!({"spec": {"containers": [{"name": "a", "image": "x"}], "tolerations": [{"key": "k"}]}});
        let set: BTreeSet<Path> = leaves(&Kind::POD, &pod).into_keys().collect();
        let fields = fields_v1(&set);
        assert_eq!(
            fields["f:spec"]["f:containers"][r#"k:{"name":"a"}"#],
            json!({".": {}, "f:image": {}, "f:name": {}})
        );
        assert_eq!(fields["f:spec"]["f:tolerations"], json!({}));
        assert_eq!(paths(&fields), set);
    }
}
