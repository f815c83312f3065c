//! That the controller may act as an account, and what it may do meanwhile.
//!
//! Constrained impersonation (KEP-5284; beta and on since Kubernetes 1.36) takes two rights: to act as that account
//! (`impersonate:serviceaccount`), and to do that one thing while acting (`impersonate-on:serviceaccount:VERB`).
//! Neither gives anything without the other, and both together no more than the account has itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Opening, rights::rule};
use crate::{
    faults::{self, FAULTS, FaultInfo, LOAD_POD},
    plan::{RoleRule, base_rules, fault_rules},
};

/// What a verb begins with that may be used while acting.
const ON: &str = "impersonate-on:serviceaccount:";

/// How the controller is let act as an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impersonation {
    /// For whatever the account may do: the verb `impersonate`. Every server has it.
    Legacy,
    /// For what runs and the faults that the account was given take, and for nothing else.
    Constrained,
}

/// The rules of the controller's role in the account's namespace.
pub(super) fn within(opening: &Opening<'_>) -> Vec<Value> {
    let (group, verb) = match opening.how {
        Impersonation::Legacy => ("", "impersonate"),
        Impersonation::Constrained => ("authentication.k8s.io", "impersonate:serviceaccount"),
    };
    let mut who = rule(group, &["serviceaccounts"], &[verb]);
    who["resourceNames"] = json!([opening.account]);
    let mut rules = vec![who];
    if opening.how == Impersonation::Constrained {
        let given = opening.faults.iter().filter_map(|name| info(name)).flat_map(fault_rules);
        rules.extend(meanwhile(base_rules().into_iter().chain(given)));
        rules.extend(opening.reading().into_iter().map(|mut rule| {
            let verbs = rule["verbs"].as_array().into_iter().flatten().filter_map(Value::as_str);
            rule["verbs"] = verbs.map(|verb| format!("{ON}{verb}")).collect();
            rule
        }));
    }
    rules
}

/// What a run asks for as its account outside of any namespace: who it is, and what it may do.
pub(super) fn everywhere() -> Vec<Value> {
    let asked = [
        ("authentication.k8s.io", "selfsubjectreviews", vec!["create"]),
        ("authorization.k8s.io", "selfsubjectaccessreviews", vec!["create"]),
    ];
    meanwhile(asked.into_iter()).collect()
}

/// What a run that hits nodes does as its account, in whichever namespace.
pub(super) fn of_nodes() -> Vec<Value> {
    let infos = FAULTS.iter().map(|fault| fault.info());
    let wide = infos.filter(|info| !info.agent && info.rights.iter().any(|right| right.cluster_wide));
    meanwhile(base_rules().into_iter().chain(wide.flat_map(fault_rules))).collect()
}

fn info(name: &str) -> Option<&'static FaultInfo> {
    if name == LOAD_POD.name { Some(&LOAD_POD) } else { faults::find(name).map(|fault| fault.info()) }
}

/// The same rules, for somebody who acts as an account that has them. A resource has one rule.
fn meanwhile(rules: impl Iterator<Item = RoleRule>) -> impl Iterator<Item = Value> {
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for (group, resource, plain) in rules {
        let one = verbs.entry((group, resource)).or_default();
        one.extend(plain.iter().map(|verb| format!("{ON}{verb}")));
    }
    verbs.into_iter().map(|((group, resource), verbs)| {
        let verbs: Vec<&str> = verbs.iter().map(String::as_str).collect();
        rule(group, &[resource], &verbs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(faults: &[&'static str]) -> Opening<'static> {
        let (secrets, reads, how) = (Vec::new(), Vec::new(), Impersonation::Constrained);
        Opening { namespace: "kitchen", account: "drill", faults: faults.to_vec(), secrets, reads, how }
    }

    /// Resource and verb of all rules.
    fn pairs(rules: &[Value]) -> BTreeSet<(String, String)> {
        let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).expect("texts") };
        let of = |rule: &Value| {
            let resource = texts(&rule["resources"]).remove(0);
            texts(&rule["verbs"]).into_iter().map(move |verb| (resource.clone(), verb))
        };
        rules.iter().flat_map(of).collect()
    }

    #[test]
    fn while_acting_it_may_do_what_runs_and_these_faults_take_and_no_more() {
        let rules = within(&opening(&["podKill"]));
        let who = json!({"apiGroups": ["authentication.k8s.io"], "resources": ["serviceaccounts"],
            "resourceNames": ["drill"], "verbs": ["impersonate:serviceaccount"]});
        assert_eq!(rules[0], who);
        let pairs = pairs(&rules[1..]);
        let may = |resource: &str, verb: &str| {
            pairs.contains(&(resource.to_owned(), format!("impersonate-on:serviceaccount:{verb}")))
        };
        assert!(may("pods", "list") && may("pods", "delete") && may("leases", "create"));
        assert!(!may("deployments/scale", "patch") && !may("pods", "create") && !may("secrets", "get"));
        let plain: usize = base_rules().iter().map(|(.., verbs)| verbs.len()).sum();
        assert_eq!(pairs.len(), plain + 1, "deleting pods, beside what every run does");
    }

    #[test]
    fn each_resource_has_one_rule() {
        for rules in [within(&opening(&["podKill", "scale", "loadPod"])), of_nodes()] {
            let resources: Vec<&Value> = rules.iter().map(|rule| &rule["resources"][0]).collect();
            let once: BTreeSet<&str> = resources.iter().filter_map(|one| one.as_str()).collect();
            assert_eq!(once.len(), resources.len(), "{resources:?}");
        }
    }
}
