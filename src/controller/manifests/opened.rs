//! What opens one namespace to an account: the label, its roles, and that the controller may act as it.

use serde_json::{Value, json};

use super::{
    Installed, RBAC,
    rights::{BASE_ROLE, UNDO_ROLE, binding, fault_role, rule},
};

/// The label; the account, with a role a fault; and that the controller may act as the account there, and put back
/// what that cannot put back any more. In the order in which they are applied.
pub fn opened(namespace: &str, account: &str, faults: &[&str], installed: &Installed) -> Vec<Value> {
    let bound = |name: &str, role: (&str, &str), who: (&str, &str)| binding(name, role, who, Some(namespace));
    let (own, controller) =
        ((namespace, account), (installed.namespace.as_str(), installed.account.as_str()));
    let acting = format!("firedrill:controller:{account}");
    let mut objects = vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"firedrill.dev/allowed": "true"}},
        }),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}}),
        bound(&format!("{account}:runs"), ("ClusterRole", BASE_ROLE), own),
    ];
    objects.extend(
        faults.iter().map(|fault| {
            bound(&format!("{account}:fault:{fault}"), ("ClusterRole", &fault_role(fault)), own)
        }),
    );
    let mut act = rule("", &["serviceaccounts"], &["impersonate"]);
    act["resourceNames"] = json!([account]);
    objects.extend([
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "Role",
            "metadata": {"name": acting, "namespace": namespace},
            "rules": [act],
        }),
        bound(&acting, ("Role", &acting), controller),
        bound("firedrill:controller:undo", ("ClusterRole", UNDO_ROLE), controller),
    ]);
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_gets_what_it_was_given_and_only_the_controller_may_act_as_it() {
        let installed = Installed { namespace: "ops".to_owned(), ..Installed::default() };
        let objects = opened("kitchen", "drill", &["podKill"], &installed);
        let said: Vec<String> = objects
            .iter()
            .map(|one| {
                let role = one.pointer("/roleRef/name").and_then(Value::as_str).unwrap_or_default();
                let who = one.pointer("/subjects/0/namespace").and_then(Value::as_str).unwrap_or_default();
                format!("{} {role} {who}", one["kind"].as_str().unwrap_or_default()).trim().to_owned()
            })
            .collect();
        let expected = [
            "Namespace",
            "ServiceAccount",
            "RoleBinding firedrill:runs kitchen",
            "RoleBinding firedrill:fault:podKill kitchen",
            "Role",
            "RoleBinding firedrill:controller:drill ops",
            "RoleBinding firedrill:undo ops",
        ];
        assert_eq!(said, expected);
        assert_eq!(objects[4]["rules"][0]["resourceNames"], json!(["drill"]));
        assert!(
            objects.iter().all(|one| one["kind"] == "Namespace" || one["metadata"]["namespace"] == "kitchen")
        );
    }
}
