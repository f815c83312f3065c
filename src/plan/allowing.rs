//! What a ServiceAccount has to be allowed for experiments to be run as it within a namespace. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::faults::{self, FaultInfo, Lifetime};

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

/// Where scars are looked for, and read before anything is taken back.
const SEARCHED: [(&str, &str); 5] = [
    ("", "pods"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("autoscaling", "horizontalpodautoscalers"),
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

/// What every run reads and holds in a namespace, whatever its faults.
pub fn base_rules() -> Vec<RoleRule> {
    gathered(base())
}

/// What every run that hits nodes, or is about a zone, follows in the whole cluster. Which namespaces there are is asked of
/// whoever runs it, and looked up by the controller itself where that does.
pub fn node_rules() -> Vec<RoleRule> {
    let followed = FOLLOWED.into_iter().chain([("", "namespaces"), ("", "nodes")]);
    gathered(followed.flat_map(|(group, resource)| ["list", "watch"].map(|verb| (group, resource, verb))))
}

/// What a fault asks for beside, wherever it asks for it.
pub fn fault_rules(info: &'static FaultInfo) -> Vec<RoleRule> {
    let cluster = info.rights.iter().filter(|right| right.cluster_wide);
    gathered(rights(info).chain(cluster.map(|right| (right.group, right.resource, right.verb))))
}

/// What takes back what the faults within a namespace leave in force, and makes nothing new: for whoever puts back
/// what an account cannot put back any more.
pub fn undo_rules() -> Vec<RoleRule> {
    let lasting = faults::FAULTS
        .iter()
        .map(|fault| fault.info())
        .filter(|info| info.lifetime == Lifetime::Lasting && within_a_namespace(info));
    let undoes = |(_, resource, verb): &Right| !["create", "watch"].contains(verb) && *resource != "pods/log";
    let undone = lasting.chain([&faults::LOAD_POD]).flat_map(rights).filter(undoes);
    let searched = SEARCHED
        .into_iter()
        .flat_map(|(group, resource)| ["get", "list"].map(|verb| (group, resource, verb)));
    gathered(leases().chain(searched).chain(undone))
}

/// API group, resource, verb.
type Right = (&'static str, &'static str, &'static str);

fn base() -> impl Iterator<Item = Right> {
    FOLLOWED.into_iter().flat_map(reading).chain(leases())
}

/// What a run, or what takes it back, holds its namespaces with.
fn leases() -> impl Iterator<Item = Right> {
    ["get", "create", "update", "delete"].map(|verb| ("coordination.k8s.io", "leases", verb)).into_iter()
}

fn reading((group, resource): (&'static str, &'static str)) -> [Right; 3] {
    ["get", "list", "watch"].map(|verb| (group, resource, verb))
}

/// The rights of a fault within a namespace, on every kind of workload that a step may name.
fn rights(info: &'static FaultInfo) -> impl Iterator<Item = Right> {
    let fault = faults::find(info.name);
    info.rights.iter().filter(|right| !right.cluster_wide).flat_map(move |right| {
        let kinds = KINDS.iter().find(|(resource, _)| *resource == right.resource);
        let resources = match kinds {
            Some((_, kinds)) => {
                kinds.iter().filter(|kind| fault.is_none_or(|fault| fault.takes(kind))).collect()
            }
            None => vec![&right.resource],
        };
        resources.into_iter().map(|resource| (right.group, *resource, right.verb))
    })
}

fn gathered(rights: impl Iterator<Item = Right>) -> Vec<RoleRule> {
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (group, resource, verb) in rights {
        verbs.entry((group, resource)).or_default().insert(verb);
    }
    verbs
        .into_iter()
        .map(|((group, resource), verbs)| (group, resource, verbs.into_iter().collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fault: &str) -> Vec<RoleRule> {
        faults::find(fault).map(|fault| fault_rules(fault.info())).unwrap_or_default()
    }

    fn verbs(rules: &[RoleRule], resource: &str) -> Vec<&'static str> {
        rules
            .iter()
            .find(|(_, known, _)| *known == resource)
            .map(|(.., verbs)| verbs.clone())
            .unwrap_or_default()
    }

    #[test]
    fn a_role_has_what_its_fault_asks_for_and_no_more() {
        assert_eq!(of("podKill"), [("", "pods", vec!["delete"])]);
        assert_eq!(verbs(&base_rules(), "deployments"), ["get", "list", "watch"]);
        assert_eq!(verbs(&base_rules(), "pods/eviction"), Vec::<&str>::new());
        assert_eq!(verbs(&of("scale"), "statefulsets/scale"), ["patch"]);
        assert_eq!(verbs(&of("rolloutRestart"), "daemonsets"), ["get", "patch"]);
        assert_eq!(verbs(&of("badRollout"), "daemonsets"), Vec::<&str>::new());
        assert_eq!(verbs(&of("nodeDrain"), "nodes"), ["get", "patch"]);
    }

    #[test]
    fn undoing_makes_nothing_but_the_lease_that_it_is_done_under() {
        let rules = undo_rules();
        let makes = |rule: &&RoleRule| rule.2.contains(&"create");
        assert_eq!(rules.iter().filter(makes).map(|rule| rule.1).collect::<Vec<_>>(), ["leases"]);
        let may = |resource: &str, verb: &str| {
            rules.iter().any(|(_, known, verbs)| *known == resource && verbs.contains(&verb))
        };
        assert!(may("statefulsets/scale", "patch") && may("networkpolicies", "delete"));
        assert!(!may("pods/eviction", "create") && !may("nodes", "patch"));
    }

    #[test]
    fn what_needs_the_whole_cluster_is_not_within_a_namespace() {
        let within = |name: &str| faults::find(name).is_some_and(|fault| within_a_namespace(fault.info()));
        assert!(within("podKill") && within("scale") && within("hpaClamp"));
        assert!(!within("nodeDrain") && !within("zoneOutage") && !within("networkLatency"));
    }
}
