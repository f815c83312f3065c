//! Roles: the controller's, one a fault, and those of people. No Secret, no wildcard, no exec.

use serde_json::{Value, json};

use super::{ACTING_ROLE, HALT_GUARDRAIL, Installed, RBAC, acting};
use crate::{
    api::schema::GROUP,
    controller::DRAIN_GUARDRAIL,
    faults::{FAULTS, FaultInfo, LOAD_POD},
    plan::{RoleRule, base_rules, fault_rules, node_rules, undo_rules},
};

/// What the controller may do in a namespace that is opted in, to put back what the account there cannot.
pub(super) const UNDO_ROLE: &str = "firedrill:undo";
/// The role with what every run reads and holds.
pub(super) const BASE_ROLE: &str = "firedrill:runs";
/// What the controller is called everywhere.
const CONTROLLER: &str = "firedrill:controller";

/// The role with what one fault asks for beside.
pub(super) fn fault_role(fault: &str) -> String {
    format!("firedrill:fault:{fault}")
}

/// The faults that a Run in the cluster can have wherever it is installed, and what sends a load from a pod.
fn faults() -> impl Iterator<Item = &'static FaultInfo> {
    FAULTS.iter().map(|fault| fault.info()).filter(|info| !info.agent).chain([&LOAD_POD])
}

/// Everything but what concerns nodes.
pub(super) fn rights(installed: &Installed) -> Vec<Value> {
    let who = (installed.namespace.as_str(), installed.account.as_str());
    let mut objects = vec![
        cluster_role(CONTROLLER, everywhere()),
        binding(CONTROLLER, ("ClusterRole", CONTROLLER), who, None),
        own(installed),
        binding(CONTROLLER, ("Role", CONTROLLER), who, Some(&installed.namespace)),
        cluster_role(ACTING_ROLE, acting::everything()),
        binding(ACTING_ROLE, ("ClusterRole", ACTING_ROLE), who, None),
        cluster_role(UNDO_ROLE, rules(&undo_rules())),
        cluster_role(BASE_ROLE, rules(&base_rules())),
    ];
    objects.extend(faults().map(|info| cluster_role(&fault_role(info.name), rules(&fault_rules(info)))));
    objects.extend(people());
    objects.push(journals(installed));
    objects
}

/// The controller in the whole cluster: it follows Runs, reads what they name, and says what becomes of them.
fn everywhere() -> Vec<Value> {
    vec![
        rule(GROUP, &["runs"], &["get", "list", "watch", "create", "patch", "delete"]),
        rule(GROUP, &["experiments"], &["get", "list", "watch"]),
        // To make Runs of those that come due; whoever wrote them may run what is in them.
        rule(GROUP, &["gamedays"], &["get", "list", "watch", "run"]),
        rule(
            GROUP,
            &["runs/status", "experiments/status", "gamedays/status", "guardrails/status"],
            &["patch"],
        ),
        rule(GROUP, &["guardrails"], &["list", "watch"]),
        // To keep new Runs out while it is taken away.
        button(DRAIN_GUARDRAIL),
        // Which runs are at work, for Guardrails that bound them: the one name that their leases have.
        json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["firedrill"], "verbs": ["list"]}),
        rule("", &["namespaces"], &["get", "list", "watch"]),
        rule("", &["serviceaccounts"], &["get"]),
        rule("", &["events"], &["create"]),
        // Who asks for its metrics, and whether they may.
        rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
        rule("authorization.k8s.io", &["subjectaccessreviews"], &["create"]),
    ]
}

/// The controller in its own namespace: journals, claims, and the pods of replicas that are dead.
fn own(installed: &Installed) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "Role",
        "metadata": {"name": CONTROLLER, "namespace": installed.namespace},
        "rules": [
            rule("", &["configmaps"], &["get", "list", "create", "delete"]),
            rule("coordination.k8s.io", &["leases"], &["get", "list", "watch", "create", "update", "delete"]),
            rule("", &["pods"], &["delete"]),
        ],
    })
}

/// What lets the controller take back changes of nodes, the policy beside it lets it do no more; and what the accounts
/// that may change them read in the whole cluster, to be bound by whoever administers it.
pub(super) fn nodes(installed: &Installed) -> Vec<Value> {
    let name = "firedrill:undo-nodes";
    vec![
        cluster_role(name, vec![rule("", &["nodes"], &["get", "list", "patch"])]),
        binding(name, ("ClusterRole", name), (&installed.namespace, &installed.account), None),
        cluster_role("firedrill:nodes", rules(&node_rules())),
    ]
}

/// For people, to be bound by whoever administers a namespace or the cluster.
fn people() -> Vec<Value> {
    let read: &[&str] = &["get", "list", "watch"];
    let write: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];
    let all: &[&str] = &["experiments", "gamedays", "runs"];
    vec![
        cluster_role("firedrill:view", vec![rule(GROUP, all, read)]),
        cluster_role(
            "firedrill:experiment",
            vec![rule(GROUP, all, write), rule(GROUP, &["experiments", "gamedays"], &["run"])],
        ),
        cluster_role(
            "firedrill:approve",
            vec![rule(GROUP, all, read), rule(GROUP, &["runs"], &["patch", "approve"])],
        ),
        cluster_role("firedrill:halt", vec![rule(GROUP, &["guardrails"], read), button(HALT_GUARDRAIL)]),
        // For Prometheus' account.
        cluster_role("firedrill:metrics", vec![json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]})]),
    ]
}

/// To press the one Guardrail of that name, and to make it where somebody has deleted it.
fn button(name: &str) -> Value {
    let mut button = rule(GROUP, &["guardrails"], &["create", "patch"]);
    button["resourceNames"] = json!([name]);
    button
}

/// For people who read what runs have come to: their journals are the controller's, in its namespace.
fn journals(installed: &Installed) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "Role",
        "metadata": {"name": "firedrill:journals", "namespace": installed.namespace},
        "rules": [rule("", &["configmaps"], &["get", "list", "watch"])],
    })
}

pub(super) fn rules(rules: &[RoleRule]) -> Vec<Value> {
    rules.iter().map(|(group, resource, verbs)| rule(group, &[resource], verbs)).collect()
}

pub(super) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

pub(super) fn cluster_role(name: &str, rules: Vec<Value>) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

/// Binds the role of that kind and name to a ServiceAccount, NAMESPACE and NAME: within a namespace or, without one,
/// everywhere.
pub(super) fn binding(
    name: &str,
    (kind, role): (&str, &str),
    (space, account): (&str, &str),
    namespace: Option<&str>,
) -> Value {
    let mut object = json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" },
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": space}],
    });
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}
