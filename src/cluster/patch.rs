//! JSON patches with their tests: the only kind of patch that changes what it means to change.
//!
//! A merge patch loses concurrent writes to lists and cannot say "only if it is still so"
//! (RFC 6902 can).

use serde::Serialize;
use serde_json::{Value, json};

/// A list of operations, applied whole or not at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct JsonPatch(Vec<Value>);

impl JsonPatch {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fails the whole patch unless the value at `path` is `value`; null also means "not there".
    pub fn test(mut self, path: &str, value: impl Serialize) -> Self {
        self.0.push(json!({"op": "test", "path": path, "value": value}));
        self
    }

    /// Adds or replaces what is at `path`.
    pub fn add(mut self, path: &str, value: impl Serialize) -> Self {
        self.0.push(json!({"op": "add", "path": path, "value": value}));
        self
    }

    /// Removes what is at `path`; fails if nothing is there.
    pub fn remove(mut self, path: &str) -> Self {
        self.0.push(json!({"op": "remove", "path": path}));
        self
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `key` as one segment of a path (RFC 6901).
    pub fn segment(key: &str) -> String {
        key.replace('~', "~0").replace('/', "~1")
    }
}
