//! Who asks, and who wrote what is run, is filled in by the API server, where it can.

use serde_json::{Value, json};

use super::ADMISSION;
use crate::{
    api::schema::{GROUP, VERSION},
    controller::{AUTHOR, HANDS},
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
        .chain(HANDS.map(|hand| (stamp_of(hand), handed(hand))))
        .flat_map(|(name, spec)| policy(name, &spec))
        .collect()
}

fn stamp_of(hand: &str) -> &'static str {
    match hand.rsplit_once('/') {
        Some((_, "aborted-by")) => "aborts-stamp",
        Some((_, "held-by")) => "holds-stamp",
        _ => "resumes-stamp",
    }
}

/// When somebody has just done to a Run what an annotation of [`HANDS`] says who did.
pub(super) fn just_done(hand: &str) -> String {
    let (field, is, was) = match hand.rsplit_once('/') {
        Some((_, "aborted-by")) => ("abort", "", "!"),
        Some((_, "held-by")) => ("hold", "", "!"),
        _ => ("hold", "!", ""),
    };
    let old = format!("(oldObject != null && oldObject.spec.?{field}.orValue(false))");
    format!("{is}object.spec.?{field}.orValue(false) && {was}{old}")
}

/// Who aborts, holds or lets go on is written beside it, with whatever they do that.
fn handed(hand: &str) -> Value {
    let runs = json!([{"apiGroups": [GROUP], "apiVersions": [VERSION], "operations": ["CREATE", "UPDATE"],
                       "resources": ["runs"]}]);
    json!({
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": runs},
        "matchConditions": [{"name": "just-done", "expression": just_done(hand)}],
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": format!(
                "Object{{metadata: Object.metadata{{annotations: {{\"{hand}\": request.userInfo.username}}}}}}"
            )},
        }],
    })
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
