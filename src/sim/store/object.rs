//! One stored object: metadata decoded, everything else as raw JSON per top-level field.
//!
//! A pod kept so takes about a sixth of a `serde_json::Value`, and a controller decodes only the field that
//! it needs.

use super::kind::Kind;
use super::status::Status;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `metadata` of an object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name, unique in its kind and namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Prefix from which the server makes a name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generate_name: String,
    /// Namespace; empty for cluster-scoped kinds.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Identity over the object's whole life, given by the store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Version of the last write; 0 means none (in an update: no precondition).
    #[serde(with = "version", skip_serializing_if = "is_zero")]
    pub resource_version: u64,
    /// Raised by one each time the desired state changes; 0 where the kind keeps none.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// When the object was created (whole seconds, as in Kubernetes).
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// When it should be gone; set means that it is being deleted.
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Seconds of grace of the deletion under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub annotations: BTreeMap<String, String>,
    /// Owners.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub owner_references: Vec<OwnerReference>,
    /// Names that have to be removed before the object can go.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub finalizers: Vec<String>,
    /// Who set which field last.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub managed_fields: Vec<ManagedFieldsEntry>,
}

fn null_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// `metadata.ownerReferences[]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// API version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner.
    pub uid: String,
    /// Whether this owner is the managing controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// Whether foreground deletion of the owner waits for this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

/// `metadata.managedFields[]`: the fields that one manager set last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedFieldsEntry {
    /// Name of the manager.
    pub manager: String,
    /// `Update` or `Apply`.
    pub operation: String,
    /// Version of the fields.
    pub api_version: String,
    /// Time of the last change of this entry.
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Always `FieldsV1`.
    pub fields_type: String,
    /// The set of fields, as nested maps with `f:`, `k:` and `.` keys.
    pub fields_v1: Value,
    /// Subresource through which they were set; empty for the main resource.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// Timestamps as Kubernetes writes them: RFC 3339, UTC, whole seconds.
pub mod seconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the timestamp, without fractions of a second.
    ///
    /// # Errors
    /// Only the serializer's own.
    #[allow(clippy::ref_option, reason = "the signature is serde's")]
    pub fn serialize<S: Serializer>(value: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(t) => s.collect_str(&t.strftime("%Y-%m-%dT%H:%M:%SZ")),
            None => s.serialize_none(),
        }
    }

    /// Reads a timestamp; `null` is none.
    ///
    /// # Errors
    /// Text that is not an RFC 3339 timestamp.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.map(|t| t.parse::<Timestamp>().map_err(serde::de::Error::custom)).transpose()
    }
}

/// resourceVersion: a number here, a string on the wire.
mod version {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub fn serialize<S: Serializer>(value: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        match Option::<std::borrow::Cow<'de, str>>::deserialize(d)? {
            None => Ok(0),
            Some(t) if t.is_empty() => Ok(0),
            Some(t) => t.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// An object as stored: kind, metadata, and each other top-level field as raw JSON.
#[derive(Clone)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its metadata.
    pub meta: Meta,
    /// Top-level fields other than apiVersion, kind and metadata, sorted by name.
    fields: Vec<(Box<str>, Arc<RawValue>)>,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} {}/{} @{}",
            self.kind, self.meta.namespace, self.meta.name, self.meta.resource_version
        )
    }
}

impl Object {
    /// An empty object of a kind.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let meta = Meta { name: name.into(), namespace: namespace.into(), ..Meta::default() };
        Self { kind, meta, fields: Vec::new() }
    }

    /// Takes a JSON object apart.
    ///
    /// # Errors
    /// 400 when it is not an object or its metadata cannot be read.
    pub fn from_value(kind: Kind, value: Value) -> Result<Self, Status> {
        let Value::Object(map) = value else {
            return Err(Status::bad_request("the object provided is unrecognized: it is not a JSON object"));
        };
        let mut object = Self { kind, meta: Meta::default(), fields: Vec::with_capacity(map.len()) };
        for (name, value) in map {
            match name.as_str() {
                "apiVersion" | "kind" => {}
                "metadata" => {
                    object.meta = serde_json::from_value(value).map_err(|e| {
                        let kind = &object.kind.kind;
                        Status::bad_request(format!(
                            "{kind} in version \"{}\" cannot be handled as a {kind}: {e}",
                            object.kind.version
                        ))
                    })?;
                }
                _ if value.is_null() => {}
                _ => object.set_value(&name, &value),
            }
        }
        Ok(object)
    }

    /// The object as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut map = serde_json::Map::new();
        map.insert("apiVersion".into(), self.kind.api_version().into());
        map.insert("kind".into(), self.kind.kind.as_ref().into());
        map.insert("metadata".into(), serde_json::to_value(&self.meta).unwrap_or_default());
        for (name, raw) in &self.fields {
            map.insert(name.to_string(), serde_json::from_str(raw.get()).unwrap_or_default());
        }
        Value::Object(map)
    }

    /// Decodes one top-level field; an absent field is decoded from `{}` so that types with defaults work.
    ///
    /// # Errors
    /// What the field holds does not fit the type.
    pub fn field<T: DeserializeOwned>(&self, name: &str) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.raw(name).unwrap_or("{}"))
    }

    /// The raw JSON of one top-level field.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.position(name).ok().map(|i| self.fields[i].1.get())
    }

    /// Names and raw JSON of all top-level fields other than apiVersion, kind and metadata.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(n, r)| (n.as_ref(), r.get()))
    }

    /// The same as JSON that can be written into other JSON as it is.
    pub fn fields_raw(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.fields.iter().map(|(n, r)| (n.as_ref(), r.as_ref()))
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.fields.binary_search_by(|(n, _)| n.as_ref().cmp(name))
    }

    /// Replaces one top-level field.
    ///
    /// # Errors
    /// A value that cannot be written as JSON (a map whose keys are not strings).
    pub fn set_field<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        let raw = Arc::from(serde_json::value::to_raw_value(value)?);
        self.put(name, raw);
        Ok(())
    }

    /// Replaces one top-level field by a JSON value.
    pub fn set_value(&mut self, name: &str, value: &Value) {
        if let Ok(raw) = serde_json::value::to_raw_value(value) {
            self.put(name, Arc::from(raw));
        }
    }

    fn put(&mut self, name: &str, raw: Arc<RawValue>) {
        match self.position(name) {
            Ok(i) => self.fields[i].1 = raw,
            Err(i) => self.fields.insert(i, (name.into(), raw)),
        }
    }

    /// Removes one top-level field.
    pub fn remove_field(&mut self, name: &str) {
        if let Ok(i) = self.position(name) {
            self.fields.remove(i);
        }
    }

    /// Takes one top-level field over from another object, or removes it when that has none.
    pub fn copy_field(&mut self, name: &str, from: &Object) {
        match from.position(name) {
            Ok(i) => self.put(name, from.fields[i].1.clone()),
            Err(_) => self.remove_field(name),
        }
    }

    /// Whether the named field holds the same in both (text first, then by value).
    #[must_use]
    pub fn same_field(&self, name: &str, other: &Object) -> bool {
        match (self.raw(name), other.raw(name)) {
            (None, None) => true,
            (Some(a), Some(b)) => same_json(a, b),
            _ => false,
        }
    }

    /// Whether everything but metadata and status is the same: what `metadata.generation` counts.
    #[must_use]
    pub fn same_desired(&self, other: &Object) -> bool {
        let names = |o: &Object| {
            o.fields.iter().map(|(n, _)| n.clone()).filter(|n| &**n != "status").collect::<Vec<_>>()
        };
        let mine = names(self);
        mine == names(other) && mine.iter().all(|n| self.same_field(n, other))
    }

    /// The owner that manages this object, if any.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.meta.owner_references.iter().find(|o| o.controller == Some(true))
    }

    /// An owner reference to this object, marking it as the managing controller
    /// (`metav1.NewControllerRef`: controller and blockOwnerDeletion true).
    #[must_use]
    pub fn controller_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.kind.api_version(),
            kind: self.kind.kind.to_string(),
            name: self.meta.name.clone(),
            uid: self.meta.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Whether deletion has begun.
    #[must_use]
    pub fn terminating(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// `NAMESPACE/NAME`, or the name alone.
    #[must_use]
    pub fn key(&self) -> String {
        if self.meta.namespace.is_empty() {
            self.meta.name.clone()
        } else {
            format!("{}/{}", self.meta.namespace, self.meta.name)
        }
    }
}

/// Whether two JSON texts hold the same value.
#[must_use]
pub fn same_json(a: &str, b: &str) -> bool {
    a == b
        || matches!((serde_json::from_str::<Value>(a), serde_json::from_str::<Value>(b)), (Ok(a), Ok(b)) if a == b)
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len() + 3))?;
        map.serialize_entry("kind", &self.kind.kind)?;
        map.serialize_entry("apiVersion", &self.kind.api_version())?;
        map.serialize_entry("metadata", &self.meta)?;
        for (name, raw) in &self.fields {
            map.serialize_entry(name.as_ref(), raw.as_ref())?;
        }
        map.end()
    }
}
