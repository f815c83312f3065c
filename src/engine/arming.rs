//! Agents: placed before Baseline, and on further nodes as what is followed is born there. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    injection::InjectionState,
    next::{Command, earlier},
    state::State,
};
use crate::{
    api::Action,
    faults::{self, Injection},
    journal::{InjectOutcome, Record, StopReason},
    types::InjectionId,
};

/// Whether any step takes agents.
fn wanted(state: &State) -> bool {
    let takes = |kind: &str| faults::find(kind).is_some_and(|fault| fault.info().agent);
    state.spec.method.iter().any(|step| matches!(&step.action, Action::Fault { kind, .. } if takes(kind)))
}

/// What there is to do before Baseline: arming is no fault, and takes none of its time.
pub(super) fn before_baseline(state: &State, now: Timestamp) -> Option<Command> {
    if state.stop.is_some() || !wanted(state) {
        return None;
    }
    if !state.armed {
        return Some(Command::Arm);
    }
    match late(state, now) {
        Ok((ids, _)) if ids.is_empty() => None,
        Ok((ids, until)) => Some(Command::Inject(ids, until)),
        Err(command) => Some(command),
    }
}

/// Agents that are not ready yet, and until when they have to be.
///
/// # Errors
/// One does not come: what follows from that.
pub(super) fn late(state: &State, now: Timestamp) -> Result<(Vec<InjectionId>, Option<Timestamp>), Command> {
    let (mut open, mut until) = (Vec::new(), None);
    for agent in state.injections.values().filter(|found| found.arms() && found.reverted.is_none()) {
        let injection = &agent.injection;
        let deadline = agent.intended.checked_add(injection.effect_within.0).unwrap_or(Timestamp::MAX);
        match (agent.injected, agent.seen) {
            (_, Some(_)) => {}
            (Some(InjectOutcome::Failed | InjectOutcome::TargetGone), None) => {
                return Err(no_agent(state, injection));
            }
            _ if agent.missed => return Err(no_agent(state, injection)),
            _ if now >= deadline => {
                let why = format!("it was not ready after {}", injection.effect_within);
                return Err(Command::record(Record::EffectMissed { injection: injection.id.clone(), why }));
            }
            _ => {
                open.push(injection.id.clone());
                until = earlier(until, Some(deadline));
            }
        }
    }
    Ok((open, until))
}

fn no_agent(state: &State, injection: &Injection) -> Command {
    let node = faults::armed_node(injection).unwrap_or_default();
    let by = match state.baseline_started {
        None => format!("no agent on node {node}; nothing was disturbed"),
        Some(_) => format!("no agent on node {node}"),
    };
    Command::record(Record::StopRequested { reason: StopReason::NoEffect, by })
}

impl State {
    /// Takes in which agents are intended.
    pub(super) fn arm(&mut self, injections: &[Injection], at: Timestamp) {
        self.armed = true;
        self.intend(None, injections, at);
    }

    /// Takes in what is intended: by a step, or to arm.
    pub(super) fn intend(&mut self, step: Option<usize>, injections: &[Injection], at: Timestamp) {
        for injection in injections {
            let new = InjectionState::new(injection.clone(), (step, self.injections.len()), at);
            self.injections.insert(injection.id.clone(), new);
        }
    }

    /// Every injection that is a fault's.
    pub fn faults(&self) -> impl Iterator<Item = &InjectionState> {
        self.injections.values().filter(|state| !state.arms())
    }

    /// The nodes that have an agent, or are to have one.
    pub fn armed_nodes(&self) -> BTreeSet<String> {
        let arming = self.injections.values().filter(|state| state.arms());
        arming.filter_map(|state| faults::armed_node(&state.injection)).collect()
    }
}
