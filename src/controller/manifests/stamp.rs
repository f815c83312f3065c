//! Who asks is filled in by the API server, where it can.

use serde_json::{Value, json};

use super::ADMISSION;
use crate::api::schema::{GROUP, VERSION};

/// A Run that does not say who asks for it says its creator. One that names somebody else is refused by the policy
/// over Runs, not mended.
pub(super) fn stamp() -> Vec<Value> {
    let name = format!("runs-stamp.{GROUP}");
    let runs = json!([{"apiGroups": [GROUP], "apiVersions": [VERSION], "operations": ["CREATE"], "resources": ["runs"]}]);
    vec![
        json!({
            "apiVersion": format!("{ADMISSION}/v1"), "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": {"resourceRules": runs},
                "matchConditions": [{"name": "says-nobody", "expression": "object.spec.?requestedBy.orValue('') == ''"}],
                "mutations": [{
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": {"expression": "Object{spec: Object.spec{requestedBy: request.userInfo.username}}"},
                }],
            },
        }),
        json!({
            "apiVersion": format!("{ADMISSION}/v1"), "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name},
        }),
    ]
}
