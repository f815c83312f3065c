//! What has to be in the cluster beside the controller itself: its rights and everybody's, the policies that hold at
//! the API server, and the Guardrails that somebody may have to press. Pure, and all of it from the registry of faults.
//!
//! The chart's templates are this, with the release's namespace in it.

mod acting;
mod agents;
mod guardrails;
mod nodes;
mod opened;
mod policies;
mod rights;
mod stamp;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

pub use acting::{ACTING_ROLE, Impersonation};
pub use guardrails::HALT_GUARDRAIL;
pub use opened::{Opening, opened};

use super::{ACCOUNT, NAMESPACE};
use crate::types::AgentSettings;

/// The namespace's label that lets Experiments in it hold faults of nodes; the administrators set it.
const NODE_FAULTS: &str = "firedrill.dev/node-faults";
const RBAC: &str = "rbac.authorization.k8s.io";
pub(super) const ADMISSION: &str = "admissionregistration.k8s.io";

/// Where the controller is, and who may change nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its namespace.
    pub namespace: String,
    /// Its ServiceAccount.
    pub account: String,
    /// The accounts, NAMESPACE:NAME, that administrators have bound to faults of nodes. Without one neither the
    /// policy over them nor the controller's own right to take their changes back is there.
    pub node_accounts: Vec<String>,
    /// How it places agents, if it does.
    pub agents: Option<AgentSettings>,
    /// Users who may place agents in that namespace and attach to them, beside the controller.
    pub agent_users: Vec<String>,
}

impl Default for Installed {
    fn default() -> Self {
        Self {
            namespace: NAMESPACE.to_owned(),
            account: ACCOUNT.to_owned(),
            node_accounts: Vec::new(),
            agents: None,
            agent_users: Vec::new(),
        }
    }
}

impl Installed {
    /// The controller as the API server sees it.
    fn user(&self) -> String {
        crate::cluster::account_user(&self.namespace, &self.account)
    }
}

/// What can be asked for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Roles and bindings.
    Rights,
    /// ValidatingAdmissionPolicies and their bindings (Kubernetes 1.30 and later).
    Policies,
    /// The red button and the one of a drain, neither of them pressed. The kind has to be known.
    Guardrails,
    /// What only a cluster needs where faults of nodes may come from the controller.
    Nodes,
    /// The MutatingAdmissionPolicy that fills in who asks (Kubernetes 1.36 and later).
    Stamp,
    /// What only a cluster needs where the controller places agents: their namespace, who gets into it, and roles.
    Agents,
}

/// The objects of a part, in the order in which they are applied.
pub fn manifests(part: Part, installed: &Installed) -> Vec<Value> {
    let mut objects = match part {
        Part::Rights => rights::rights(installed),
        Part::Policies => policies::policies(),
        Part::Guardrails => guardrails::guardrails(),
        Part::Nodes => [rights::nodes(installed), nodes::policies(installed)].concat(),
        Part::Stamp => stamp::stamp(),
        Part::Agents => agents::agents(installed),
    };
    for object in &mut objects {
        object["metadata"]["labels"]["app.kubernetes.io/name"] = json!("firedrill");
    }
    objects
}
