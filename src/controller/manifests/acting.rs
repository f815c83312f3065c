//! That the controller may act as an account, and what it may do meanwhile.
//!
//! Constrained impersonation (KEP-5284; beta and on since Kubernetes 1.36) takes two rights: to act as that account
//! (`impersonate:serviceaccount`), and to do that one thing while acting (`impersonate-on:serviceaccount:VERB`).
//! Neither gives anything without the other, and both together no more than the account has itself. The first is a
//! namespace's to give, by name; the second is the same for all: what runs and faults take, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Opening, rights::rule};
use crate::{
    faults::{FAULTS, LOAD_POD},
    plan::{RoleRule, base_rules, fault_rules, node_rules},
};

/// The role with what the controller may do while it acts as an account that has let it.
pub const ACTING_ROLE: &str = "firedrill:acting";
/// What a verb begins with that may be used while acting.
const ON: &str = "impersonate-on:serviceaccount:";
/// What a run asks for as its account beside: who it is and what it may, whether another is at work, and metrics through
/// the API server's proxy.
const ASKED: [(&str, &str, &[&str]); 4] = [
    ("authentication.k8s.io", "selfsubjectreviews", &["create"]),
    ("authorization.k8s.io", "selfsubjectaccessreviews", &["create"]),
    ("coordination.k8s.io", "leases", &["list"]),
    ("", "services/proxy", &["get", "create"]),
];
/// Which kinds the server knows.
const DISCOVERY: [&str; 5] = ["/api", "/api/*", "/apis", "/apis/*", "/version"];

/// How the controller is let act as an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impersonation {
    /// For whatever the account may do: the verb `impersonate`. Every server has it.
    Legacy,
    /// For what is in [`ACTING_ROLE`], and for nothing else.
    Constrained,
}

/// The rule that lets the controller act as the account, in the account's namespace.
pub(super) fn who(account: &str, how: Impersonation) -> Value {
    let (group, verb) = match how {
        Impersonation::Legacy => ("", "impersonate"),
        Impersonation::Constrained => ("authentication.k8s.io", "impersonate:serviceaccount"),
    };
    let mut who = rule(group, &["serviceaccounts"], &[verb]);
    who["resourceNames"] = json!([account]);
    who
}

/// What the account reads beside, for whoever acts as it.
pub(super) fn reading(opening: &Opening<'_>) -> Vec<Value> {
    let mut rules = opening.reading();
    for rule in &mut rules {
        let verbs = rule["verbs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        rule["verbs"] = verbs.map(|verb| format!("{ON}{verb}")).collect();
    }
    rules
}

/// Everything that runs and faults take, in whichever namespace. A resource has one rule.
pub(super) fn everything() -> Vec<Value> {
    let faults = FAULTS.iter().map(|fault| fault.info()).chain([&LOAD_POD]).flat_map(fault_rules);
    let asked = ASKED.map(|(group, resource, verbs)| -> RoleRule { (group, resource, verbs.to_vec()) });
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for (group, resource, plain) in base_rules().into_iter().chain(node_rules()).chain(faults).chain(asked) {
        let one = verbs.entry((group, resource)).or_default();
        one.extend(plain.iter().map(|verb| format!("{ON}{verb}")));
    }
    let mut rules: Vec<Value> = verbs
        .into_iter()
        .map(|((group, resource), verbs)| {
            let verbs: Vec<&str> = verbs.iter().map(String::as_str).collect();
            rule(group, &[resource], &verbs)
        })
        .collect();
    rules.push(json!({"nonResourceURLs": DISCOVERY, "verbs": [format!("{ON}get")]}));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Group, resource and verb, as the account would be asked for them.
    fn given() -> BTreeSet<(String, String, String)> {
        let texts =
            |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap_or_default() };
        let mut given = BTreeSet::new();
        for rule in everything() {
            for verb in texts(&rule["verbs"]) {
                let verb = verb.strip_prefix(ON).expect("nothing but acting is given").to_owned();
                for (group, resource) in texts(&rule["apiGroups"]).into_iter().zip(texts(&rule["resources"]))
                {
                    given.insert((group, resource, verb.clone()));
                }
            }
        }
        given
    }

    #[test]
    fn while_acting_it_may_do_what_runs_and_faults_take_and_no_more() {
        let given = given();
        let may = |group: &str, resource: &str, verb: &str| {
            given.contains(&(group.to_owned(), resource.to_owned(), verb.to_owned()))
        };
        for (group, resource, verbs) in
            FAULTS.iter().flat_map(|fault| fault_rules(fault.info())).chain(base_rules())
        {
            assert!(verbs.iter().all(|verb| may(group, resource, verb)), "{group} {resource} {verbs:?}");
        }
        assert!(may("", "nodes", "watch") && may("", "pods/log", "get"));
        for (resource, verb) in
            [("secrets", "get"), ("pods/exec", "create"), ("serviceaccounts", "impersonate")]
        {
            assert!(!may("", resource, verb), "{resource} {verb}");
        }
        assert!(
            !may("rbac.authorization.k8s.io", "roles", "create") && !may("apps", "deployments", "create")
        );
    }

    #[test]
    fn each_resource_has_one_rule() {
        let rules = everything();
        let resources: Vec<String> =
            rules.iter().map(|rule| format!("{} {}", rule["apiGroups"], rule["resources"])).collect();
        let once: BTreeSet<&String> = resources.iter().collect();
        assert_eq!(once.len(), resources.len(), "{resources:?}");
    }
}
