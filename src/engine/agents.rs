//! What can be known of agents before a run: the nodes that they would run on, and whether their pods are let in.

use std::sync::Arc;

use crate::{
    cluster::{Access, ApiError, Node, Snapshot},
    faults::{self, FaultError, World},
    plan::Plan,
    types::{
        AgentSettings, Finding, ObjectRef,
        codes::{guard as code, hazard},
    },
};

/// Reads the nodes of a plan's targets that the snapshot does not have: whoever sees namespaces only follows none.
/// Whether there were any.
pub(super) async fn read_nodes(
    access: &Access,
    plan: &Plan,
    snapshot: &mut Snapshot,
    findings: &mut Vec<Finding>,
) -> bool {
    let nodes = plan.agents.iter().flat_map(|agents| &agents.nodes);
    let unknown: Vec<&String> = nodes.filter(|name| snapshot.node(name).is_none()).collect();
    for name in &unknown {
        let object = ObjectRef::node(name);
        match access.get(&object).await {
            Ok(found) => {
                if let Some(node) = Node::of(&found) {
                    let nodes = Arc::make_mut(&mut snapshot.nodes);
                    nodes.insert((String::new(), (*name).clone()), Arc::new(node));
                }
            }
            Err(ApiError::NotFound) => {}
            Err(error) => {
                let why = format!("it cannot be read: {error}");
                findings.push(
                    Finding::warning(hazard::PLATFORM_UNKNOWN, object, why)
                        .remedy("ask for the right to get nodes"),
                );
            }
        }
    }
    !unknown.is_empty()
}

/// Asks the API server whether an agent's pod would be let in.
pub(super) async fn dry_run(world: &World, plan: &Plan, settings: &AgentSettings) -> Vec<Finding> {
    let ask = faults::Arm {
        run: &world.signature.run,
        settings,
        snapshot: &world.mirror.snapshot(),
        until: plan.injections.iter().map(|injection| injection.until).max().unwrap_or_default(),
        armed: &std::collections::BTreeSet::new(),
    };
    // Pods of all nodes are alike, but for the node.
    let Some(first) = faults::arm(&ask, &plan.injections).into_iter().next() else { return Vec::new() };
    let Some(fault) = faults::find(&first.fault) else { return Vec::new() };
    match fault.rehearse(world, &first).await {
        Ok(()) => Vec::new(),
        Err(FaultError::Refused(findings)) => findings,
        Err(error) => vec![Finding::error(code::DRY_RUN, &first.target, error.to_string())],
    }
}
