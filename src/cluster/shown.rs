//! A node as a watch shows it, in the form of a read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use kube::core::DynamicObject;
use serde_json::json;

use super::Node;

impl Node {
    /// What a read of this version would say of what faults of nodes look at: labels, annotations of ours and whether
    /// there are any, taints, and `spec.unschedulable` with those who manage it. What is decided from it holds for this
    /// version only, so that a patch has to test that.
    pub fn as_read(&self) -> DynamicObject {
        let managed = self.unschedulable_managers.iter().map(|manager| ManagedFieldsEntry {
            manager: Some(manager.clone()),
            fields_v1: Some(FieldsV1(json!({"f:spec": {"f:unschedulable": {}}}))),
            ..ManagedFieldsEntry::default()
        });
        let metadata = ObjectMeta {
            name: Some(self.object.name.clone()),
            uid: Some(self.object.uid.clone()),
            resource_version: Some(self.version.to_string()),
            labels: Some(self.labels.clone()).filter(|labels| !labels.is_empty()),
            annotations: self.annotated.then(|| self.undo.clone()),
            managed_fields: Some(managed.collect()),
            ..ObjectMeta::default()
        };
        let mut spec = json!({});
        if self.unschedulable {
            spec["unschedulable"] = json!(true);
        }
        if !self.taints.is_empty() {
            spec["taints"] = json!(self.taints);
        }
        DynamicObject { types: None, metadata, data: json!({ "spec": spec }) }
    }
}
