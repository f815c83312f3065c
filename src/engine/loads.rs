//! Loads: which of them are to be under way, and where a load step is. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    ending::decide,
    injection::InjectionState,
    next::{Command, Patience, Progress, ended, reverted},
    state::{Illegal, State},
    steady::Track,
};
use crate::{
    journal::{Entry, Record},
    load::LoadFrom,
    types::Verdict,
};

/// Where a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadState {
    /// When its first requests were sent.
    pub started: Timestamp,
    /// Whether it is a step's.
    pub of_step: bool,
    /// When its last request was sent, how many there were, and how many of them were answered.
    pub ended: Option<(Timestamp, u64, u64)>,
}

/// The loads that are to be sent now. Those of the experiment are part of what normal is: they go on until
/// recovery is judged, also when the method was stopped. Those of steps end with their step, or with the method.
pub(super) fn wanted(state: &State) -> BTreeSet<String> {
    // Nobody measures any more after a takeover, and loads have ended with the runner that sent them.
    if state.unattended || state.finished {
        return BTreeSet::new();
    }
    let stopped = state.stop.is_some() || state.method_ended.is_some();
    let judged = state.recovered.is_some() || state.not_recovered.is_some();
    let over = judged || (stopped && state.first_intent.is_none());
    let whole = state.spec.load.iter().filter(|_| !over).map(|load| load.name.clone());
    let steps = state.spec.loads().filter_map(|(name, _, step)| {
        let progress = &state.steps[state.step_index(&step?.name)?];
        let goes_on = progress.started.is_some() && progress.ended.is_none() && !stopped;
        goes_on.then(|| name.to_owned())
    });
    whole.chain(steps).collect()
}

/// When the experiment's loads have all reached their rate, if they have not yet: Baseline waits for that.
pub(super) fn rising(state: &State, now: Timestamp) -> Option<Timestamp> {
    let reached = state.spec.load.iter().filter_map(|load| {
        let begun = state.loads.get(&load.name)?;
        begun.started.checked_add(load.ramp_up.0).ok()
    });
    reached.max().filter(|reached| now < *reached)
}

/// Whether Baseline waits for a pod that is to send.
pub(super) fn awaited(state: &State) -> bool {
    let mut pods = state.spec.load.iter().filter(|load| load.from == LoadFrom::Pod);
    state.stop.is_none() && pods.any(|load| !state.loads.contains_key(&load.name))
}

/// Waits until the pods that sent loads are gone, or until that is given up. None when there is nothing to wait for.
pub(super) fn pods_going(state: &State, now: Timestamp, patience: Patience) -> Option<Command> {
    let pending: Vec<_> = state.load_pods.iter().filter(|(_, pod)| pod.pending()).collect();
    let over = |(name, pod): &(&String, &InjectionState)| {
        let ended = state.loads.get(*name).and_then(|load| load.ended).map(|(at, ..)| at);
        let stopped = state.stop.as_ref().map(|(.., at)| *at);
        ended.or(stopped).unwrap_or(pod.intended).max(state.owned_since)
    };
    let give_up = pending.iter().map(over).max()?.checked_add(patience.revert).unwrap_or(Timestamp::MAX);
    let ids = pending.iter().map(|(_, pod)| pod.injection.id.clone()).collect();
    (now < give_up).then_some(Command::Revert(ids, Some(give_up)))
}

/// Where a load step is.
pub(super) fn step(state: &State, index: usize, now: Timestamp) -> Progress {
    let step = &state.spec.method[index];
    let Some(load) = state.loads.get(&step.name) else { return Progress::Waiting(None) };
    let until = step.duration.and_then(|duration| load.started.checked_add(duration).ok());
    match until {
        Some(until) if now >= until => reverted(state, index, step),
        _ if step.background => Progress::InForce(until),
        Some(until) => Progress::Waiting(Some(until)),
        // `check` refuses a foreground load without a duration; nothing holds it here.
        None => ended(step),
    }
}

/// A load of which nothing was ever answered has loaded nothing: that proves nothing.
pub(super) fn in_vain(state: &State) -> Option<Command> {
    let of = state.loads.iter().find_map(|(name, load)| match load.ended {
        Some((_, sent, 0)) if sent > 0 => Some((name, sent)),
        _ => None,
    });
    let (name, sent) = of?;
    let message = format!("not one of the {sent} requests of load {name} was answered");
    Some(decide(Verdict::Inconclusive, "NoEffect", message))
}

/// Takes in a record about a load.
pub(super) fn taken_in(state: &mut State, entry: &Entry) -> Result<(), Illegal> {
    let at = entry.at;
    match &entry.record {
        Record::LoadPodIntended { load, pod } => {
            let step = Some(state.step_index(load).unwrap_or_default());
            let new = InjectionState::new((**pod).clone(), (step, state.injections.len()), at);
            state.load_pods.insert(load.clone(), new);
        }
        Record::LoadStarted { load, of_step, .. } => {
            let new = LoadState { started: at, of_step: *of_step, ended: None };
            state.loads.insert(load.clone(), new);
            if *of_step && state.first_intent.is_none() {
                state.first_intent = Some(at);
                state.probes.values_mut().for_each(Track::rearm);
            }
        }
        Record::LoadEnded { load, tally } => match state.loads.get_mut(load) {
            Some(found) => found.ended = Some((at, tally.sent, tally.answered)),
            None => return Err(Illegal { seq: entry.seq, why: format!("load {load} was never begun") }),
        },
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
