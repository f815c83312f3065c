//! Who manages a field: the test behind "only while it is still ours".

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The manager of the field at `path` (in `fieldsV1` spelling: `["f:spec", "f:replicas"]`), as the API
/// server records it. A field moves to whoever changed its value last; None if nobody is recorded.
pub fn owner_of(meta: &ObjectMeta, path: &[&str]) -> Option<String> {
    // With server-side apply several may share a field; the newest entry is the last writer.
    let entries = meta.managed_fields.iter().flatten();
    let owners = entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| has(&fields.0, path)));
    owners.max_by_key(|entry| entry.time.as_ref().map(|time| time.0)).and_then(|entry| entry.manager.clone())
}

/// Whether `manager` is recorded as managing the field at `path`.
pub fn manages(meta: &ObjectMeta, manager: &str, path: &[&str]) -> bool {
    let mut entries = meta.managed_fields.iter().flatten();
    entries.any(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.fields_v1.as_ref().is_some_and(|fields| has(&fields.0, path))
    })
}

fn has(fields: &serde_json::Value, path: &[&str]) -> bool {
    path.iter().try_fold(fields, |fields, key| fields.get(key)).is_some()
}
