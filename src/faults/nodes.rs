//! What holds of every fault of nodes: each node aimed at gets one injection, unless something speaks against it.

use serde_json::Value;

use super::{Injection, Prepare, node_scar};
use crate::{
    cluster::Node,
    types::{Finding, InjectionId, Length, ObjectRef, codes::guard},
};

/// What is done to one node, with all that undoes it.
pub(super) struct Change {
    /// What is done: the fault's own shape.
    pub action: Value,
    /// What was there before: the fault's own shape.
    pub before: Value,
    /// Pods that go with the node.
    pub displaced: Vec<ObjectRef>,
    /// When its effect has to be seen at the latest.
    pub effect_within: Length,
}

/// One injection of `fault` for each node aimed at, as `change` says, or everything that speaks against them.
pub(super) fn each(
    ask: &Prepare<'_>,
    fault: &str,
    change: impl Fn(&Node) -> Result<Change, Vec<Finding>>,
) -> Result<Vec<Injection>, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut injections = Vec::new();
    for (number, target) in ask.targets.iter().enumerate() {
        let Some(node) = ask.snapshot.node(&target.name) else {
            findings.push(Finding::error(guard::NO_TARGET, target, "it is not there"));
            continue;
        };
        findings.extend(node_scar::refusals(node));
        match change(node) {
            Ok(Change { action, before, displaced, effect_within }) => injections.push(Injection {
                id: InjectionId::new(ask.step, number),
                fault: fault.to_owned(),
                target: target.clone(),
                action,
                before,
                displaced,
                replicas_lost: 0,
                effect_within,
                until: ask.until,
            }),
            Err(more) => findings.extend(more),
        }
    }
    if findings.is_empty() { Ok(injections) } else { Err(findings) }
}
