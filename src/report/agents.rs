//! Agents in a journal: placed, ready, taken away. They are no faults, and so in no step.

use std::collections::BTreeMap;

use super::ink::Tone;
use crate::{
    faults,
    journal::{Entry, InjectOutcome, Record, RevertOutcome},
    types::InjectionId,
};

/// Where the agents of a run are.
#[derive(Clone, Debug, Default)]
pub(super) struct Agents(BTreeMap<InjectionId, String>);

impl Agents {
    /// What a record says of agents, often nothing; None if it is about something else.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<Vec<(Tone, String)>> {
        if let Record::ArmingIntended { injections } = &entry.record {
            let node = |injection: &faults::Injection| faults::armed_node(injection).unwrap_or_default();
            let nodes: Vec<(InjectionId, String)> =
                injections.iter().map(|injection| (injection.id.clone(), node(injection))).collect();
            let names: Vec<&str> = nodes.iter().map(|(_, node)| node.as_str()).collect();
            let text = format!("placing agents on {}", names.join(", "));
            self.0.extend(nodes.clone());
            return Some(if nodes.is_empty() { Vec::new() } else { vec![(Tone::Plain, text)] });
        }
        let (Record::Injected { injection, .. }
        | Record::EffectSeen { injection, .. }
        | Record::EffectMissed { injection, .. }
        | Record::Reverted { injection, .. }
        | Record::RevertFailed { injection, .. }) = &entry.record
        else {
            return None;
        };
        let node = self.0.get(injection)?;
        Some(match &entry.record {
            Record::Injected { outcome: InjectOutcome::Done, detail, .. } => {
                vec![(Tone::Good, detail.clone())]
            }
            Record::Injected { detail, .. } => {
                vec![(Tone::Bad, format!("no agent on node {node}: {detail}"))]
            }
            Record::EffectMissed { why, .. } => vec![(Tone::Bad, format!("no agent on node {node}: {why}"))],
            Record::Reverted { outcome: RevertOutcome::Restored, .. } => {
                vec![(Tone::Good, format!("the agent on node {node} is gone"))]
            }
            Record::Reverted { detail, .. } => {
                vec![(Tone::Plain, format!("the agent on node {node}: {detail}"))]
            }
            Record::RevertFailed { error, .. } => {
                vec![(Tone::Bad, format!("the agent on node {node} does not go: {error}"))]
            }
            _ => Vec::new(),
        })
    }
}
