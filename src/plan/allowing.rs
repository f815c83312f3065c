//! What a ServiceAccount has to be allowed for experiments to be run as it within a namespace. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::faults::{self, FaultInfo};

/// A rule of a Role: API group, resource, verbs.
pub type RoleRule = (&'static str, &'static str, Vec<&'static str>);

/// What every run reads there, to know whom it would hit and what becomes of them.
pub(super) const FOLLOWED: [(&str, &str); 8] = [
    ("", "pods"),
    ("policy", "poddisruptionbudgets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("discovery.k8s.io", "endpointslices"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
];

/// What a right on Deployments stands for: a step may name another kind of workload.
const KINDS: [(&str, &[&str]); 2] = [
    ("deployments/scale", &["deployments/scale", "statefulsets/scale", "replicasets/scale"]),
    ("deployments", &["deployments", "statefulsets", "daemonsets"]),
];

/// Whether a fault can be allowed within a namespace: it needs neither a right in the whole cluster nor an agent on the
/// node.
pub fn within_a_namespace(info: &FaultInfo) -> bool {
    !info.agent && info.rights.iter().all(|right| !right.cluster_wide)
}

/// The rules of a Role for these faults, and for everything that a run of them reads and holds.
pub fn role_rules(faults: &[&str]) -> Vec<RoleRule> {
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (group, resource) in FOLLOWED {
        verbs.entry((group, resource)).or_default().extend(["get", "list", "watch"]);
    }
    verbs.entry(("coordination.k8s.io", "leases")).or_default().extend(["get", "create", "update", "delete"]);
    for fault in faults.iter().filter_map(|name| faults::find(name)) {
        for right in fault.info().rights.iter().filter(|right| !right.cluster_wide) {
            let kinds = KINDS.iter().find(|(resource, _)| *resource == right.resource);
            let resources = kinds.map_or(std::slice::from_ref(&right.resource), |(_, kinds)| *kinds);
            for resource in resources {
                verbs.entry((right.group, resource)).or_default().insert(right.verb);
            }
        }
    }
    verbs
        .into_iter()
        .map(|((group, resource), verbs)| (group, resource, verbs.into_iter().collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_what_its_faults_ask_for_and_no_more() {
        let rules = role_rules(&["podKill"]);
        let verbs = |resource: &str| {
            rules.iter().find(|(_, known, _)| *known == resource).map(|(.., verbs)| verbs.clone())
        };
        assert!(verbs("pods").is_some_and(|verbs| verbs.contains(&"delete")));
        assert_eq!(verbs("deployments"), Some(vec!["get", "list", "watch"]));
        assert_eq!((verbs("deployments/scale"), verbs("pods/eviction")), (None, None));
        let rules = role_rules(&["scale"]);
        assert!(rules.iter().any(|(_, resource, _)| *resource == "statefulsets/scale"));
        // Never what opens everything.
        let all: Vec<&str> = faults::FAULTS.iter().map(|fault| fault.info().name).collect();
        for (group, resource, verbs) in role_rules(&all) {
            assert!(group != "*" && resource != "*" && !verbs.contains(&"*"), "{group} {resource}");
            assert!(!resource.starts_with("secrets") && resource != "pods/exec", "{resource}");
        }
    }

    #[test]
    fn what_needs_the_whole_cluster_is_not_within_a_namespace() {
        let within = |name: &str| faults::find(name).is_some_and(|fault| within_a_namespace(fault.info()));
        assert!(within("podKill") && within("scale") && within("hpaClamp"));
        assert!(!within("nodeDrain") && !within("zoneOutage") && !within("networkLatency"));
    }
}
