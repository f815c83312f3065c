//! The policies over nodes: whoever may change one leaves the scar that undoes it, and the controller takes such
//! changes back and does nothing else.
//!
//! A role says who may patch nodes and not what; this does. Each write is one change with its scar, or takes one such
//! pair away: what a scar does not name stays as it is.

use serde_json::Value;

use super::{
    Installed,
    policies::{Policy, list, quoted},
};
use crate::cluster::{RUN_LABEL, UNDO_PREFIX};

/// Of what a taint is: the API server adds to it when it came.
const SAME_TAINT: &str =
    "x.key == y.key && x.effect == y.effect && x.?value.orValue('') == y.?value.orValue('')";

/// The accounts that may hit nodes leave a scar with every change, and the controller itself takes such changes back.
pub(super) fn policies(installed: &Installed) -> Vec<Value> {
    let accounts = installed.node_accounts.iter().map(|account| format!("system:serviceaccount:{account}"));
    let accounts: Vec<String> = accounts.collect();
    let mut scarred = over("node-scars", &format!("in [{}]", list(accounts.iter().map(String::as_str))));
    scarred.rules.extend(in_pairs());
    scarred.rules.extend(by_scars());
    let mut undo = over("node-undo", &format!("== {}", quoted(&installed.user())));
    undo.rules.extend(only_back());
    undo.rules.extend(by_scars());
    [scarred, undo].into_iter().flat_map(Policy::objects).collect()
}

/// What holds for both: labels and annotations of others are theirs, and so is a node without any of ours.
fn over(name: &'static str, who: &str) -> Policy {
    let mut policy = Policy::over(name, "nodes", &["UPDATE"]);
    policy.over = ("", "v1", "nodes", &["UPDATE"]);
    policy.conditions.push(("who", format!("request.userInfo.username {who}")));
    let map = |of: &str, field: &str| format!("{of}.metadata.?{field}.orValue({{}})");
    let scars = |of: &str| format!("variables.{of}.filter(k, k.startsWith('{UNDO_PREFIX}'))");
    let taints = |of: &str| format!("{of}.spec.?taints.orValue([])");
    let closed = |of: &str| format!("{of}.spec.?unschedulable.orValue(false)");
    let without = |these: &str, those: &str| {
        format!("variables.{these}.filter(x, !variables.{those}.exists(y, {SAME_TAINT}))")
    };
    policy.variables = vec![
        ("l", map("object", "labels")),
        ("ol", map("oldObject", "labels")),
        ("a", map("object", "annotations")),
        ("oa", map("oldObject", "annotations")),
        ("scars", scars("a")),
        ("were", scars("oa")),
        ("come", "variables.scars.filter(k, !(k in variables.were))".to_owned()),
        ("gone", "variables.were.filter(k, !(k in variables.scars))".to_owned()),
        ("t", taints("object")),
        ("ot", taints("oldObject")),
        ("tainted", without("t", "ot")),
        ("untainted", without("ot", "t")),
        ("cordoned", format!("{} && !{}", closed("object"), closed("oldObject"))),
        ("uncordoned", format!("!{} && {}", closed("object"), closed("oldObject"))),
    ];
    let others = |now: &str, before: &str, ours: &str| {
        format!(
            "variables.{now}.all(k, {ours} || (k in variables.{before} && variables.{before}[k] == variables.{now}[k])) \
             && variables.{before}.all(k, {ours} || k in variables.{now})"
        )
    };
    policy.rules.push((
        others("l", "ol", &format!("k == '{RUN_LABEL}'")),
        format!("'of a node no label but {RUN_LABEL} may be changed'"),
    ));
    policy.rules.push((
        others("a", "oa", &format!("k.startsWith('{UNDO_PREFIX}')")),
        format!("'of a node no annotation but {UNDO_PREFIX}* may be changed'"),
    ));
    policy.rules.push((
        ["providerID", "podCIDR", "externalID"]
            .map(|field| format!("object.spec.?{field}.orValue('') == oldObject.spec.?{field}.orValue('')"))
            .join(" && "),
        "'of a node nothing but taints and unschedulable may be changed'".to_owned(),
    ));
    policy.rules.push((
        format!("'{RUN_LABEL}' in variables.l || '{RUN_LABEL}' in variables.ol"),
        "'no change of a node without a scar'".to_owned(),
    ));
    policy
}

/// One change and the scar that names it, or both away again.
fn in_pairs() -> [(String, String); 4] {
    [
        (
            "variables.come.size() + variables.gone.size() == 1".to_owned(),
            "'no change of a node without a scar: each comes with one, or takes its own away'".to_owned(),
        ),
        (
            "variables.scars.all(k, !(k in variables.were) || variables.a[k] == variables.oa[k])".to_owned(),
            "'what a scar says cannot be changed'".to_owned(),
        ),
        (
            format!(
                "!('{RUN_LABEL}' in variables.l) || '{RUN_LABEL}' in variables.ol || variables.come.size() == 1"
            ),
            "'no run is named without a scar'".to_owned(),
        ),
        (
            format!(
                "!('{RUN_LABEL}' in variables.ol) || \
                 ('{RUN_LABEL}' in variables.l ? variables.l['{RUN_LABEL}'] == variables.ol['{RUN_LABEL}'] : variables.scars.size() == 0)"
            ),
            "'the node is another run\\'s, or still has a scar of this one'".to_owned(),
        ),
    ]
}

/// What is done to taints and to unschedulable is what the scar says that comes or goes with it.
fn by_scars() -> [(String, String); 2] {
    // It is text to the policy: it has to be in it, whatever else is.
    let names = |text: &str| {
        format!(
            "{text}.contains('\"key\":\"' + x.key + '\"') && {text}.contains('\"effect\":\"' + x.effect + '\"')"
        )
    };
    [
        (
            "(!variables.cordoned || variables.come.exists(k, variables.a[k].contains('\"unschedulable\":false'))) && \
             (!variables.uncordoned || variables.gone.exists(k, variables.oa[k].contains('\"unschedulable\":false')))"
                .to_owned(),
            "'a node is cordoned with the scar that says so, and uncordoned with it'".to_owned(),
        ),
        (
            format!(
                "variables.tainted.all(x, variables.come.exists(k, {})) && \
                 variables.untainted.all(x, variables.gone.exists(k, {}))",
                names("variables.a[k]"),
                names("variables.oa[k]")
            ),
            "'a taint comes with the scar that names it, and no other is taken away'".to_owned(),
        ),
    ]
}

/// The controller makes nothing new.
fn only_back() -> [(String, String); 2] {
    [
        (
            format!(
                "variables.gone.size() > 0 && variables.come.size() == 0 \
                 && (!('{RUN_LABEL}' in variables.l) || '{RUN_LABEL}' in variables.ol)"
            ),
            "'the controller itself may only take changes of nodes back'".to_owned(),
        ),
        (
            "variables.tainted.size() == 0 && !variables.cordoned".to_owned(),
            "'the controller itself may neither taint nor cordon'".to_owned(),
        ),
    ]
}
