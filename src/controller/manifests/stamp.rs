//! Who asks, and who wrote what is run, is filled in by the API server, where it can.

use serde_json::{Value, json};

use super::ADMISSION;
use crate::{
    api::schema::{GROUP, VERSION},
    controller::AUTHOR,
};

/// A Run that does not say who asks for it says its creator; one that names somebody else is refused by the policy over
/// Runs, not mended. Experiments and GameDays say who changed their spec last: nobody approves what they have written.
pub(super) fn stamp() -> Vec<Value> {
    let runs = json!([{"apiGroups": [GROUP], "apiVersions": [VERSION], "operations": ["CREATE"], "resources": ["runs"]}]);
    let asked = json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": runs},
        "matchConditions": [{"name": "says-nobody", "expression": "object.spec.?requestedBy.orValue('') == ''"}],
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": "Object{spec: Object.spec{requestedBy: request.userInfo.username}}"},
        }],
    });
    let files = json!([{"apiGroups": [GROUP], "apiVersions": [VERSION], "operations": ["CREATE", "UPDATE"],
                        "resources": ["experiments", "gamedays"]}]);
    let before = format!("oldObject.metadata.?annotations[?'{AUTHOR}'].orValue('')");
    let written = json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": files},
        "variables": [
            {"name": "same", "expression": "oldObject != null && object.spec == oldObject.spec"},
            {"name": "author", "expression": format!("variables.same ? {before} : request.userInfo.username")},
        ],
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": format!(
                "Object{{metadata: Object.metadata{{annotations: {{\"{AUTHOR}\": variables.author}}}}}}"
            )},
        }],
    });
    [("runs-stamp", asked), ("authors-stamp", written)]
        .into_iter()
        .flat_map(|(name, spec)| policy(name, &spec))
        .collect()
}

/// The policy and its binding.
fn policy(name: &str, spec: &Value) -> [Value; 2] {
    let name = format!("{name}.{GROUP}");
    [
        json!({
            "apiVersion": format!("{ADMISSION}/v1"), "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
            "spec": spec,
        }),
        json!({
            "apiVersion": format!("{ADMISSION}/v1"), "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name},
        }),
    ]
}
