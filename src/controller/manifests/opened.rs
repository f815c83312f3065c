//! What opens one namespace to an account: the label, its roles, and that the controller may act as it.

use serde_json::{Value, json};

use super::{
    Impersonation, Installed, RBAC, acting,
    rights::{BASE_ROLE, UNDO_ROLE, binding, fault_role, rule},
};

/// What one account of a namespace is given.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The account.
    pub account: &'a str,
    /// The faults that it may have there.
    pub faults: Vec<&'static str>,
    /// Secrets that it may read there, by name: for probes, loads and notices.
    pub secrets: Vec<String>,
    /// What else it may read there, API group and resource: for probes.
    pub reads: Vec<(String, String)>,
    /// How the controller is let act as it.
    pub how: Impersonation,
}

impl Opening<'_> {
    /// What is read beside what every run reads.
    pub(super) fn reading(&self) -> Vec<Value> {
        let mut rules: Vec<Value> = self
            .reads
            .iter()
            .map(|(group, resource)| {
                // A request through the proxy is a read whatever its method.
                let proxied = resource.ends_with("/proxy");
                let verbs: &[&str] = if proxied { &["get", "create"] } else { &["get", "list", "watch"] };
                rule(group, &[resource], verbs)
            })
            .collect();
        if !self.secrets.is_empty() {
            let mut secrets = rule("", &["secrets"], &["get"]);
            secrets["resourceNames"] = json!(self.secrets);
            rules.push(secrets);
        }
        rules
    }
}

/// The label; the account, with a role a fault; and that the controller may act as the account there, and put back
/// what that cannot put back any more. In the order in which they are applied.
pub fn opened(opening: &Opening<'_>, installed: &Installed) -> Vec<Value> {
    let Opening { namespace, account, .. } = *opening;
    let bound = |name: &str, role: (&str, &str), who: (&str, &str)| binding(name, role, who, Some(namespace));
    let own_role = |name: &str, rules: Vec<Value>| {
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "Role",
            "metadata": {"name": name, "namespace": namespace},
            "rules": rules,
        })
    };
    let (own, controller) =
        ((namespace, account), (installed.namespace.as_str(), installed.account.as_str()));
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
        opening.faults.iter().map(|fault| {
            bound(&format!("{account}:fault:{fault}"), ("ClusterRole", &fault_role(fault)), own)
        }),
    );
    let reading = opening.reading();
    let act = format!("firedrill:controller:{account}");
    if !reading.is_empty() {
        let (role, beside) = (format!("{account}:reads"), format!("{act}:reads"));
        objects.extend([own_role(&role, reading), bound(&role, ("Role", &role), own)]);
        objects.extend([
            own_role(&beside, acting::reading(opening)),
            bound(&beside, ("Role", &beside), controller),
        ]);
    }
    objects.extend([
        own_role(&act, vec![acting::who(account, opening.how)]),
        bound(&act, ("Role", &act), controller),
        bound("firedrill:controller:undo", ("ClusterRole", UNDO_ROLE), controller),
    ]);
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(how: Impersonation) -> Opening<'static> {
        let (secrets, reads) = (Vec::new(), Vec::new());
        Opening { namespace: "kitchen", account: "drill", faults: vec!["podKill"], secrets, reads, how }
    }

    /// What the account may read beside, the controller may while it acts as it, and nobody else.
    #[test]
    fn what_is_read_beside_is_given_to_the_account_and_to_who_acts_as_it() {
        let opening = Opening {
            secrets: vec!["slack".to_owned()],
            reads: vec![("batch".to_owned(), "jobs".to_owned())],
            ..opening(Impersonation::Constrained)
        };
        let objects = opened(&opening, &Installed::default());
        let role = |name: &str| {
            let found = objects.iter().find(|one| one["kind"] == "Role" && one["metadata"]["name"] == name);
            found.unwrap_or_else(|| panic!("no role {name}"))["rules"].as_array().expect("rules").clone()
        };
        let jobs = rule("batch", &["jobs"], &["get", "list", "watch"]);
        let slack = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["slack"], "verbs": ["get"]});
        assert_eq!(role("drill:reads"), [jobs, slack]);
        let acting = role("firedrill:controller:drill:reads");
        let of = |resource: &str| acting.iter().find(|rule| rule["resources"] == json!([resource])).cloned();
        let secrets = of("secrets").expect("it is given");
        assert_eq!(secrets["verbs"], json!(["impersonate-on:serviceaccount:get"]));
        assert_eq!(secrets["resourceNames"], json!(["slack"]));
        assert_eq!(of("jobs").expect("it is given")["verbs"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn an_account_gets_what_it_was_given_and_only_the_controller_may_act_as_it() {
        let installed = Installed { namespace: "ops".to_owned(), ..Installed::default() };
        let objects = opened(&opening(Impersonation::Legacy), &installed);
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
        let legacy = json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["drill"],
            "verbs": ["impersonate"]}]);
        assert_eq!(objects[4]["rules"], legacy);
        assert!(
            objects.iter().all(|one| one["kind"] == "Namespace" || one["metadata"]["namespace"] == "kitchen")
        );
    }
}
