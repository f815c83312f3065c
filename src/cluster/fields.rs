//! Who manages a field: the test behind "only while it is still ours".

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The manager of the field at `path` (in `fieldsV1` spelling: `["f:spec", "f:replicas"]`), as the API
/// server records it. A field moves to whoever changed its value last; None if nobody is recorded.
pub fn owner_of(meta: &ObjectMeta, path: &[&str]) -> Option<String> {
    // With server-side apply several may share a field: whoever applies it would put it back, however late
    // another of them has written something else. Among equals the newest entry is the last writer.
    let entries = meta.managed_fields.iter().flatten();
    let owners = entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| has(&fields.0, path)));
    let applied = |operation: Option<&str>| operation == Some("Apply");
    owners
        .max_by_key(|entry| (applied(entry.operation.as_deref()), entry.time.as_ref().map(|time| time.0)))
        .and_then(|entry| entry.manager.clone())
}

/// Whether `manager` is recorded as managing the field at `path`.
pub fn manages(meta: &ObjectMeta, manager: &str, path: &[&str]) -> bool {
    managers_of(meta, path).iter().any(|other| other == manager)
}

/// Everybody who is recorded as managing the field at `path`.
pub fn managers_of(meta: &ObjectMeta, path: &[&str]) -> Vec<String> {
    let entries = meta.managed_fields.iter().flatten();
    let theirs = entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| has(&fields.0, path)));
    theirs.filter_map(|entry| entry.manager.clone()).collect()
}

fn has(fields: &serde_json::Value, path: &[&str]) -> bool {
    path.iter().try_fold(fields, |fields, key| fields.get(key)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_applies_a_shared_field_owns_it() {
        let entry = |manager: &str, operation: &str, time: &str| {
            serde_json::json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": time,
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}})
        };
        let managed = [
            entry("argocd-controller", "Apply", "2026-01-01T00:00:00Z"),
            entry("kubectl-create", "Update", "2026-01-01T00:00:05Z"),
        ];
        let meta = serde_json::json!({ "managedFields": managed });
        let meta: ObjectMeta = serde_json::from_value(meta).expect("metadata");
        assert_eq!(owner_of(&meta, &["f:spec", "f:replicas"]).as_deref(), Some("argocd-controller"));
    }
}
