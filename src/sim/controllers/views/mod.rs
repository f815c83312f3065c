//! Lean views of the objects that controllers, scheduler and kubelets decide on: only the fields they read, decoded
//! once per change. Writes go to the raw object, so that a view never loses a field that it does not know.
//!
//! Every field here is the Kubernetes field of the same name; its meaning and unit are Kubernetes' own.
#![allow(missing_docs, reason = "each field is the Kubernetes field of the same name")]

mod autoscaler;
mod node;
mod pod;
mod workload;

pub use autoscaler::*;
pub use node::*;
pub use pod::*;
pub use workload::*;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::sim::store::{LabelSelector, Meta, Object, OwnerReference, Selector};

/// An object with its spec and status decoded.
#[derive(Debug)]
pub struct View<S, T> {
    /// The object as stored.
    pub object: Arc<Object>,
    /// Its `spec`.
    pub spec: Arc<S>,
    /// Its `status`.
    pub status: Arc<T>,
}

impl<S, T> Clone for View<S, T> {
    fn clone(&self) -> Self {
        Self { object: self.object.clone(), spec: self.spec.clone(), status: self.status.clone() }
    }
}

impl<S: DeserializeOwned, T: DeserializeOwned> View<S, T> {
    /// Decodes an object.
    ///
    /// # Errors
    /// A field that does not fit Kubernetes' type.
    pub fn new(object: Arc<Object>) -> Result<Self, serde_json::Error> {
        let (spec, status) = (Arc::new(field(&object, "spec")?), Arc::new(field(&object, "status")?));
        Ok(Self { object, spec, status })
    }

    /// Decodes the next state of an object, keeping what has not changed.
    ///
    /// # Errors
    /// As [`View::new`].
    pub fn next(&self, object: Arc<Object>) -> Result<Self, serde_json::Error> {
        let same = |name: &str| object.raw(name) == self.object.raw(name);
        let spec = if same("spec") { self.spec.clone() } else { Arc::new(field(&object, "spec")?) };
        let status = if same("status") { self.status.clone() } else { Arc::new(field(&object, "status")?) };
        Ok(Self { object, spec, status })
    }
}

impl<S, T> View<S, T> {
    /// Its metadata.
    pub fn meta(&self) -> &Meta {
        &self.object.meta
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.object.meta.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.object.meta.namespace
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        &self.object.meta.uid
    }

    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key::new(self.namespace(), self.name())
    }

    /// The owner that manages it (`metav1.GetControllerOf`).
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.object.controller()
    }

    /// True once deletion has begun.
    pub fn terminating(&self) -> bool {
        self.object.terminating()
    }

    /// When it was created, in whole seconds.
    pub fn created(&self) -> Timestamp {
        self.object.meta.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Decodes one top-level field; `null`s, which Go's decoder reads as absent, are dropped on the second try.
fn field<T: DeserializeOwned>(object: &Object, name: &str) -> Result<T, serde_json::Error> {
    object.field(name).or_else(|_| {
        let mut value: Value = object.field(name)?;
        drop_nulls(&mut value);
        serde_json::from_value(value)
    })
}

/// Removes `null` members from objects, at every depth.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Namespace and name of an object; the namespace is empty for cluster-scoped ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    /// A key from its two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// A compiled `metav1.LabelSelector`.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// The pairs that every match carries.
    pub pairs: BTreeMap<String, String>,
    selector: Selector,
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let selector = LabelSelector::deserialize(deserializer)?;
        Ok(Self { selector: Selector::from_label_selector(&selector), pairs: selector.match_labels })
    }
}

impl Matcher {
    /// Whether labels are selected; an empty selector selects everything.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.matches_labels(labels)
    }
}

/// The part of a status that many kinds share.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NoStatus {}

/// A condition of any kind of object.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: Option<Timestamp>,
    pub last_update_time: Option<Timestamp>,
}

/// The condition of that type, if it is there.
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// `intstr.IntOrString`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum IntOrPercent {
    Int(i64),
    Text(String),
}

impl IntOrPercent {
    /// The share of `total` (`intstr.GetScaledValueFromIntOrPercent`); `None` for text that is no percentage.
    pub fn of(&self, total: i64, round_up: bool) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Text(text) => {
                let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
                let product = percent.checked_mul(total)?;
                Some(if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) })
            }
        }
    }
}

/// Whether `labels` hold every pair of `wanted`.
pub fn selects(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
}
