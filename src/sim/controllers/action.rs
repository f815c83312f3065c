//! What a controller decides: writes as data, applied by the loop in the parent module.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::views::{Key, Taint};
use crate::sim::apiserver::eviction;
use crate::sim::store::managed::{self, Writer};
use crate::sim::store::{DeleteOptions, Kind, Meta, Object, Status, Store};

/// One write, or one Event about an object.
#[derive(Debug, Clone)]
pub enum Action {
    /// Create the object.
    Create(Object),
    /// Create the object, or make its fields (and labels, annotations) these.
    Apply(Object),
    /// Replace `status`.
    Status(Target, Value),
    /// RFC 7386 merge into `metadata` and other top-level fields.
    Merge(Target, Value),
    /// Set `spec.replicas` through the scale subresource.
    Scale(Target, i64),
    /// Replace `spec.template`, under this manager's name.
    Template(Target, Value, &'static str),
    /// Add and remove taints of a node, by key and effect.
    Taints {
        /// The node.
        node: String,
        /// To be there.
        add: Vec<Taint>,
        /// Not to be there.
        remove: Vec<Taint>,
    },
    /// Delete as the API does, with that grace in seconds (`None`: the pod's own).
    Delete(Target, Option<i64>),
    /// Evict the pod, within its budget.
    Evict(Target),
    /// Record an Event.
    Event(Box<Note>),
}

/// An object that is meant: kind, namespace and name, and the UID that it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its kind.
    pub kind: Kind,
    /// Namespace and name.
    pub key: Key,
    /// UID; an object of the same name with another UID is left alone.
    pub uid: String,
    /// resourceVersion of what the controller has seen.
    pub version: u64,
}

impl Target {
    /// That object.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        let meta = &object.meta;
        Self {
            kind: object.kind.clone(),
            key: Key::new(&meta.namespace, &meta.name),
            uid: meta.uid.clone(),
            version: meta.resource_version,
        }
    }
}

/// The content of an Event.
#[derive(Debug, Clone)]
pub struct Note {
    /// The object that it is about.
    pub about: Arc<Object>,
    /// `Warning` rather than `Normal`.
    pub warning: bool,
    /// One CamelCase word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The component that says so.
    pub source: &'static str,
}

/// What a controller wants, and when it wants to look again although nothing has happened.
#[derive(Debug, Default)]
pub struct Decision {
    /// In this order.
    pub actions: Vec<Action>,
    /// From now.
    pub again: Option<Duration>,
}

impl Decision {
    /// Looks again no later than after `delay`.
    pub fn again_in(&mut self, delay: Duration) {
        self.again = Some(self.again.map_or(delay, |d| d.min(delay)));
    }
}

/// An Event about an object.
#[must_use]
pub fn event(about: &Arc<Object>, source: &'static str, reason: &'static str, message: String) -> Action {
    Action::Event(Box::new(Note { about: about.clone(), warning: false, reason, message, source }))
}

/// A warning Event about an object.
#[must_use]
pub fn warning(about: &Arc<Object>, source: &'static str, reason: &'static str, message: String) -> Action {
    Action::Event(Box::new(Note { about: about.clone(), warning: true, reason, message, source }))
}

/// A time as Kubernetes writes it: UTC, whole seconds.
#[must_use]
pub fn stamp(time: Timestamp) -> Value {
    Value::String(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Puts integers into a status, leaving zeros out as Go's `omitempty` does.
pub fn put_counts(status: &mut Map<String, Value>, counts: &[(&str, i64)]) {
    for (name, count) in counts.iter().filter(|(_, count)| *count != 0) {
        status.insert((*name).to_owned(), json!(count));
    }
}

/// Applies one action other than an Event.
///
/// # Errors
/// The store's answer when the write is refused.
pub fn apply(store: &Store, action: &Action) -> Result<(), Status> {
    match action {
        Action::Create(object) => store.create(object.clone()).map(drop),
        Action::Apply(object) => apply_object(store, object),
        Action::Status(target, status) if target.kind == Kind::HORIZONTAL_POD_AUTOSCALER => {
            // Whoever reads `managedFields` sees when the controller has looked last.
            let writer = Writer::update("kube-controller-manager").through("status");
            recorded(store, target, writer, |object| {
                object.set_value("status", status);
                Ok(())
            })
        }
        Action::Status(target, status) => change(store, target, |object| {
            // Evictions write the status of budgets too: what they took must not be given back.
            let shared = target.kind == Kind::POD_DISRUPTION_BUDGET;
            if shared && object.meta.resource_version != target.version {
                return Err(Status::modified(&target.kind, &target.key.name));
            }
            object.set_value("status", status);
            Ok(())
        }),
        Action::Merge(target, patch) => change(store, target, |object| merge(object, patch)),
        // Whoever reads `managedFields` sees who scales, as in a real cluster.
        Action::Scale(target, replicas) => {
            let writer = Writer::update("kube-controller-manager").through("scale");
            recorded(store, target, writer, |object| merge(object, &json!({"spec": {"replicas": replicas}})))
        }
        Action::Template(target, template, manager) => {
            recorded(store, target, Writer::update(manager), |object| {
                let mut spec: Map<String, Value> = object.field("spec").unwrap_or_default();
                spec.insert("template".into(), template.clone());
                object.set_value("spec", &Value::Object(spec));
                Ok(())
            })
        }
        Action::Taints { node, add, remove } => store
            .modify(&Kind::NODE, "", node, |object| {
                change_taints(object, add, remove);
                Ok(())
            })
            .map(drop),
        Action::Delete(target, grace) => {
            let options = DeleteOptions {
                grace_period_seconds: *grace,
                uid: Some(target.uid.clone()),
                ..DeleteOptions::default()
            };
            store.delete(&target.kind, &target.key.namespace, &target.key.name, &options).map(drop)
        }
        Action::Evict(target) => {
            let pod = store.get(&target.kind, &target.key.namespace, &target.key.name);
            match pod.filter(|pod| pod.meta.uid == target.uid) {
                Some(pod) => eviction::evict(store, &pod),
                None => Err(Status::not_found(&target.kind, &target.key.name)),
            }
        }
        Action::Event(_) => Ok(()),
    }
}

fn change<F>(store: &Store, target: &Target, change: F) -> Result<(), Status>
where
    F: FnOnce(&mut Object) -> Result<(), Status>,
{
    store
        .modify(&target.kind, &target.key.namespace, &target.key.name, |object| {
            if object.meta.uid != target.uid {
                return Err(Status::not_found(&target.kind, &target.key.name));
            }
            change(object)
        })
        .map(drop)
}

/// A change that `managedFields` tell of.
fn recorded<F>(store: &Store, target: &Target, writer: Writer, edit: F) -> Result<(), Status>
where
    F: FnOnce(&mut Object) -> Result<(), Status>,
{
    let now = store.now();
    change(store, target, |object| {
        let old = object.clone();
        edit(object)?;
        let value = object.to_value();
        managed::record(Some((&old, &old.to_value())), object, &value, &writer, now);
        Ok(())
    })
}

fn apply_object(store: &Store, wanted: &Object) -> Result<(), Status> {
    let meta = &wanted.meta;
    if store.get(&wanted.kind, &meta.namespace, &meta.name).is_none() {
        return store.create(wanted.clone()).map(drop);
    }
    store
        .modify(&wanted.kind, &meta.namespace, &meta.name, |object| {
            object.meta.labels.extend(meta.labels.clone());
            object.meta.annotations.extend(meta.annotations.clone());
            let names: Vec<String> = object.fields().map(|(name, _)| name.to_owned()).collect();
            for name in names.iter().filter(|name| wanted.raw(name).is_none()) {
                object.remove_field(name);
            }
            let fields: Vec<String> = wanted.fields().map(|(name, _)| name.to_owned()).collect();
            for name in fields {
                object.copy_field(&name, wanted);
            }
            Ok(())
        })
        .map(drop)
}

fn merge(object: &mut Object, patch: &Value) -> Result<(), Status> {
    for (name, part) in patch.as_object().into_iter().flatten() {
        if name == "metadata" {
            let mut meta = serde_json::to_value(&object.meta).map_err(Status::internal)?;
            json_patch::merge(&mut meta, part);
            object.meta = serde_json::from_value::<Meta>(meta).map_err(Status::internal)?;
        } else {
            let mut value: Value = object.field(name).map_err(Status::internal)?;
            json_patch::merge(&mut value, part);
            object.set_value(name, &value);
        }
    }
    Ok(())
}

fn change_taints(object: &mut Object, add: &[Taint], remove: &[Taint]) {
    let mut spec: Map<String, Value> = object.field("spec").unwrap_or_default();
    let mut taints: Vec<Value> = spec.get("taints").and_then(Value::as_array).cloned().unwrap_or_default();
    let is = |value: &Value, taint: &Taint| {
        value.get("key").and_then(Value::as_str) == Some(&taint.key)
            && value.get("effect").and_then(Value::as_str) == Some(&taint.effect)
    };
    taints.retain(|value| !remove.iter().any(|taint| is(value, taint)));
    for taint in add {
        if !taints.iter().any(|value| is(value, taint)) {
            let mut value = json!({"key": taint.key, "effect": taint.effect});
            if let Some(at) = taint.time_added {
                value["timeAdded"] = stamp(at);
            }
            taints.push(value);
        }
    }
    if taints.is_empty() {
        spec.remove("taints");
    } else {
        spec.insert("taints".into(), Value::Array(taints));
    }
    object.set_value("spec", &Value::Object(spec));
}

/// `metadata.annotations` or `labels` of a template.
#[must_use]
pub fn template_map(template: &Value, field: &str) -> BTreeMap<String, String> {
    let map = template.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::store::StoreConfig;

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_an_eviction_has_written_meanwhile_is_left_to_the_next_sync() {
        let store = Store::new(&StoreConfig::default());
        store.create(Object::new(Kind::NAMESPACE, "", "n")).unwrap();
        let seen = store.create(Object::new(Kind::POD_DISRUPTION_BUDGET, "n", "web")).unwrap();
        let write = |n: i64| Action::Status(Target::of(&seen), json!({"disruptionsAllowed": n}));
        apply(&store, &write(2)).unwrap();
        let late = apply(&store, &write(1)).unwrap_err();
        assert_eq!(late.code, 409);
        let status: Value =
            store.get(&Kind::POD_DISRUPTION_BUDGET, "n", "web").unwrap().field("status").unwrap();
        assert_eq!(status["disruptionsAllowed"], 2);
    }
}
