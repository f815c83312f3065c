//! Agents placed by the controller: their namespace with what lets only them in, the controller's role there, and the
//! roles of the faults that they are for.

use serde_json::{Value, json};

use super::{
    Installed, RBAC,
    rights::{binding, cluster_role, fault_role, rule, rules},
};
use crate::{
    faults::{self, FAULTS},
    plan::fault_rules,
};

/// The controller's role in the agents' namespace.
const ROLE: &str = "firedrill:agents";

/// Nothing where it places none.
pub(super) fn agents(installed: &Installed) -> Vec<Value> {
    let Some(settings) = &installed.agents else { return Vec::new() };
    let user = installed.user();
    let others = installed.agent_users.iter().map(String::as_str);
    let users: Vec<&str> = [user.as_str()].into_iter().chain(others).collect();
    let (namespace, who) =
        (settings.namespace.as_str(), (installed.namespace.as_str(), installed.account.as_str()));
    let mut objects = faults::agent_manifests(settings);
    objects.extend(faults::agents_only_by(settings, &users));
    objects.extend([
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "Role",
            "metadata": {"name": ROLE, "namespace": namespace},
            "rules": own(),
        }),
        binding(ROLE, ("Role", ROLE), who, Some(namespace)),
    ]);
    let infos = FAULTS.iter().map(|fault| fault.info()).filter(|info| info.agent);
    objects.extend(infos.map(|info| cluster_role(&fault_role(info.name), rules(&fault_rules(info)))));
    objects
}

/// What placing agents takes, and to find those that a dead replica has left.
fn own() -> Vec<Value> {
    let mut resources: Vec<&str> = faults::AGENT_RIGHTS.iter().map(|right| right.resource).collect();
    resources.dedup();
    let rule_of = |resource: &&str| {
        let asked = faults::AGENT_RIGHTS.iter().filter(|right| right.resource == *resource);
        let listed = (*resource == "pods").then_some("list");
        let verbs: Vec<&str> = asked.map(|right| right.verb).chain(listed).collect();
        rule("", &[resource], &verbs)
    };
    resources.iter().map(rule_of).collect()
}
