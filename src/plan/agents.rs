//! Where a plan's agents would be. Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Setting;
use crate::{
    faults::{self, Injection},
    types::AgentSettings,
};

/// The agents of a plan: one a node with targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedAgents {
    /// The namespace of their pods.
    pub namespace: String,
    /// Their image.
    pub image: String,
    /// The nodes, as it would be now; others where what is followed is born.
    pub nodes: Vec<String>,
}

/// Where agents would be.
pub(super) fn agents(setting: &Setting<'_>, injections: &[Injection]) -> Option<PlannedAgents> {
    let needs =
        |injection: &&Injection| faults::find(&injection.fault).is_some_and(|fault| fault.info().agent);
    let pods =
        injections.iter().filter(needs).filter_map(|injection| setting.snapshot.pod(&injection.target));
    let nodes: BTreeSet<String> = pods.map(|pod| pod.node.clone()).collect();
    let AgentSettings { namespace, image, .. } = setting.agents.clone();
    (!nodes.is_empty()).then(|| PlannedAgents { namespace, image, nodes: nodes.into_iter().collect() })
}
