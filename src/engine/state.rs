//! Where a run is: everything that its records say, folded. Pure.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    injection::InjectionState,
    loads::{self, LoadState},
    steady::{Guard, Judged, Track},
};
use crate::{
    api::{Action, Experiment, ExperimentSpec, Role},
    journal::{
        Answer, CheckOutcome, Entry, Header, InjectOutcome, ProbeStats, Record, Residue, RevertOutcome,
        StopReason, Written,
    },
    types::{InjectionId, ObjectRef, Phase, Verdict},
};

/// A record that cannot come where it came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} of the journal cannot come here: {why}")]
pub struct Illegal {
    /// Which record.
    pub seq: u64,
    /// Why not.
    pub why: String,
}

/// Where a run is.
#[derive(Clone, Debug)]
pub struct State {
    /// Who, where, what.
    pub header: Header,
    /// The experiment, decoded.
    pub spec: ExperimentSpec,
    /// First injection to the end of the method, Guardrails included.
    pub duration_max: Duration,
    /// The probes, by name.
    pub probes: BTreeMap<String, Track>,
    /// The steps, in order.
    pub steps: Vec<StepState>,
    /// Every injection that was ever intended.
    pub injections: BTreeMap<InjectionId, InjectionState>,
    /// The pods that were ever intended to send loads, by load.
    pub load_pods: BTreeMap<String, InjectionState>,
    /// Every load that was ever begun.
    pub loads: BTreeMap<String, LoadState>,
    /// Whether it is known which agents are needed.
    pub armed: bool,
    /// When Baseline began.
    pub baseline_started: Option<Timestamp>,
    /// When it held, and what was measured.
    pub baseline: Option<(Timestamp, BTreeMap<String, ProbeStats>)>,
    /// The first intent: from then on the world may have changed.
    pub first_intent: Option<Timestamp>,
    /// The violations that were written down, first first.
    pub violations: Vec<Violation>,
    /// Why the method ends early, who says so, when.
    pub stop: Option<(StopReason, String, Timestamp)>,
    /// Whether no new step is to start.
    pub held: bool,
    /// What people have observed.
    pub notes: std::collections::BTreeSet<(Written, String)>,
    /// Whether that was said once more when nothing was in force: nobody waits until it is steady again.
    pub impatient: bool,
    /// The verdict with its reason and words.
    pub decided: Option<(Verdict, String, String)>,
    /// When the last step was over.
    pub method_ended: Option<Timestamp>,
    /// When reverting began.
    pub reverting: Option<Timestamp>,
    /// When everything was back, but for this.
    pub all_reverted: Option<(Timestamp, Vec<Residue>)>,
    /// Since when it has been steady again.
    pub recovered: Option<Timestamp>,
    /// The probes that did not hold in time.
    pub not_recovered: Option<Vec<String>>,
    /// Whether every pod was bound to a node again.
    pub rescheduled: bool,
    /// Since when the run has its present owner.
    pub owned_since: Timestamp,
    /// Whether a rollback has taken over: nothing is measured any more.
    pub unattended: bool,
    /// Whether what is deployed was looked at after everything was back.
    pub deployed_after: bool,
    /// Whether the last record is written.
    pub finished: bool,
    next_seq: u64,
}

/// A loss of normal that was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which probe.
    pub probe: String,
    /// Its first sample.
    pub since: Timestamp,
    /// When it was complete.
    pub at: Timestamp,
    /// Whether it was a lack of data.
    pub missing: bool,
}

/// Where a step is.
#[derive(Clone, Debug, Default)]
pub struct StepState {
    /// When it began.
    pub started: Option<Timestamp>,
    /// Its injections, round by round: one for a plain fault, more for what is repeated, rolling or followed.
    pub rounds: Vec<Vec<InjectionId>>,
    /// Rounds that could not be carried out.
    pub skipped: usize,
    /// Whom it goes through batch by batch, once chosen.
    pub chosen: Option<Vec<ObjectRef>>,
    /// Since when the check that it waits for has held.
    pub check_since: Option<Timestamp>,
    /// Samples that the check has seen, and whether the last had anything to judge.
    pub check_samples: (u32, bool),
    /// How the check came out.
    pub checked: Option<CheckOutcome>,
    /// What a person has said of it.
    pub answered: Option<Answer>,
    /// Whether it could not be carried out.
    pub refused: bool,
    /// Who wanted it not to begin.
    pub passed_over: Option<String>,
    /// When it was over.
    pub ended: Option<Timestamp>,
}

impl State {
    /// From the first record of a journal.
    pub fn new(entry: &Entry) -> Result<Self, Illegal> {
        let Record::RunStarted(header) = &entry.record else {
            return Err(Illegal { seq: entry.seq, why: "a journal begins with RunStarted".to_owned() });
        };
        let experiment = Experiment::from_value(&header.experiment).map_err(|error| Illegal {
            seq: entry.seq,
            why: format!("its experiment cannot be read: {error}"),
        })?;
        let spec = experiment.spec;
        let duration = header.limits.get("duration").and_then(|text| text.parse().ok());
        Ok(Self {
            duration_max: duration.map_or(spec.limits.duration(), |length: crate::types::Length| length.0),
            probes: spec.steady_state.iter().map(|probe| (probe.name.clone(), Track::default())).collect(),
            steps: vec![StepState::default(); spec.method.len()],
            header: (**header).clone(),
            spec,
            injections: BTreeMap::new(),
            load_pods: BTreeMap::new(),
            loads: BTreeMap::new(),
            armed: false,
            baseline_started: None,
            baseline: None,
            first_intent: None,
            violations: Vec::new(),
            stop: None,
            held: false,
            notes: std::collections::BTreeSet::new(),
            impatient: false,
            decided: None,
            method_ended: None,
            reverting: None,
            all_reverted: None,
            recovered: None,
            not_recovered: None,
            rescheduled: false,
            owned_since: entry.at,
            unattended: false,
            deployed_after: false,
            finished: false,
            next_seq: 1,
        })
    }

    /// Replays a journal.
    pub fn replay(entries: &[Entry]) -> Result<Self, Illegal> {
        let Some((first, rest)) = entries.split_first() else {
            return Err(Illegal { seq: 0, why: "the journal is empty".to_owned() });
        };
        let mut state = Self::new(first)?;
        for entry in rest {
            transition(&mut state, entry)?;
        }
        Ok(state)
    }

    /// How many records have been taken in.
    pub fn written(&self) -> u64 {
        self.next_seq
    }

    /// The injection of that name, be it of a fault or of what sends a load.
    pub fn injection(&self, id: &InjectionId) -> Option<&InjectionState> {
        let pod = || self.load_pods.values().find(|pod| pod.injection.id == *id);
        self.injections.get(id).or_else(pod)
    }

    /// Everything that is still to be taken back, as far as is known.
    pub fn pending(&self) -> impl Iterator<Item = &InjectionState> {
        self.injections.values().chain(self.load_pods.values()).filter(|found| found.pending())
    }

    /// Where it is, in one word.
    pub fn phase(&self) -> Phase {
        let stuck = || self.injections.values().any(|state| state.pending() && state.revert_error.is_some());
        self.phase_if(|| self.injections.values().any(|state| state.injected.is_none()), stuck)
    }

    /// The same by the word of somebody who counts what is being applied, and what cannot be taken back.
    pub(super) fn phase_if(&self, injecting: impl Fn() -> bool, stuck: impl Fn() -> bool) -> Phase {
        if self.finished {
            Phase::Finished
        } else if self.all_reverted.is_some() {
            Phase::Recovering
        } else if (self.stop.is_some() || self.method_ended.is_some()) && self.first_intent.is_some() {
            if stuck() { Phase::Stuck } else { Phase::Reverting }
        } else if self.baseline.is_some() {
            if injecting() { Phase::Injecting } else { Phase::Observing }
        } else if self.baseline_started.is_some() {
            Phase::Baseline
        } else {
            Phase::Pending
        }
    }

    /// Which expression guards now.
    pub fn guard(&self) -> Guard {
        if self.recovered.is_some() || self.not_recovered.is_some() {
            Guard::Off
        } else if self.first_intent.is_some() {
            Guard::During
        } else if self.baseline_started.is_some() && self.baseline.is_none() {
            Guard::Expect
        } else {
            Guard::Off
        }
    }

    /// The first fault seen in force; without any fault, the first load of a step.
    pub fn first_seen(&self) -> Option<Timestamp> {
        let loaded = || self.step_loads().map(|load| load.started).min();
        self.faults().filter_map(|state| state.seen).min().or_else(loaded)
    }

    fn step_loads(&self) -> impl Iterator<Item = &LoadState> {
        self.loads.values().filter(|load| load.of_step)
    }

    /// From when recovery counts: the last fault lifted, or the last effect of an instant one.
    pub fn lifted(&self) -> Option<Timestamp> {
        let reverted = self.faults().filter_map(|state| match state.reverted {
            Some((at, outcome)) if outcome != RevertOutcome::NothingToDo => Some(at),
            _ => None,
        });
        let instant = self.faults().filter(|state| !state.lasting).filter_map(|state| state.seen);
        let unloaded = self.step_loads().filter_map(|load| load.ended.map(|(at, ..)| at));
        reverted
            .chain(instant)
            .chain(unloaded)
            .max()
            .or_else(|| self.all_reverted.as_ref().map(|(at, _)| *at))
    }

    /// The probes that the hypothesis is made of.
    pub fn hypothesis(&self) -> impl Iterator<Item = &crate::api::ProbeSpec> {
        self.spec.steady_state.iter().filter(|probe| probe.role == Role::Hypothesis)
    }

    /// The step of that name.
    pub fn step_index(&self, name: &str) -> Option<usize> {
        self.spec.method.iter().position(|step| step.name == name)
    }

    /// When the faults of a round were all seen in force; None if one is not, or if every target was gone.
    pub fn in_force_since(&self, ids: &[InjectionId]) -> Option<Timestamp> {
        let mut since = None;
        for id in ids {
            let state = self.injections.get(id)?;
            match (state.injected, state.seen) {
                (Some(InjectOutcome::TargetGone), _) => {}
                (_, Some(seen)) => since = since.max(Some(seen)),
                _ => return None,
            }
        }
        since
    }
}

/// Takes in one record, or says why it cannot come here. Total; used live and in replay.
pub fn transition(state: &mut State, entry: &Entry) -> Result<(), Illegal> {
    let illegal = |why: &str| Err(Illegal { seq: entry.seq, why: why.to_owned() });
    if entry.seq != state.next_seq {
        return illegal("it is out of order");
    }
    if state.finished && !matches!(entry.record, Record::OwnerChanged { goes_on: false, .. }) {
        return illegal("the run was finished");
    }
    state.next_seq += 1;
    let at = entry.at;
    match &entry.record {
        Record::RunStarted(_) => return illegal("a run begins once"),
        Record::Day(_) => return illegal("it is of a game day"),
        Record::OwnerChanged { goes_on: false, .. } => taken_over(state, at),
        Record::OwnerChanged { .. } => gone_on_with(state, at),
        Record::Noted { text, written } => state.notes.extend(written.clone().zip(Some(text.clone()))),
        Record::Planned { .. } => {}
        Record::DeployedSeen { moment, .. } => {
            state.deployed_after |= *moment == crate::journal::Moment::After
        }
        Record::BaselineStarted {} => state.baseline_started = Some(at),
        Record::BaselineHeld { stats } => {
            state.baseline = Some((at, stats.clone()));
            state.probes.values_mut().for_each(Track::rearm);
        }
        Record::Sampled { .. } => sampled(state, entry)?,
        Record::StepStarted { .. }
        | Record::InjectIntended { .. }
        | Record::StepRefused { .. }
        | Record::TargetsChosen { .. }
        | Record::RoundSkipped { .. }
        | Record::Checked { .. }
        | Record::ManualAnswered { .. }
        | Record::StepSkipped { .. }
        | Record::StepEnded { .. } => stepped(state, entry)?,
        Record::ArmingIntended { injections } => state.arm(injections, at),
        Record::LoadPodIntended { .. } | Record::LoadStarted { .. } | Record::LoadEnded { .. } => {
            loads::taken_in(state, entry)?
        }
        Record::TemplateWritten { .. }
        | Record::BroughtBack { .. }
        | Record::Injected { .. }
        | Record::EffectSeen { .. }
        | Record::EffectMissed { .. }
        | Record::Reverted { .. }
        | Record::RevertFailed { .. } => affected(state, entry)?,
        Record::RevertStarted { .. } => {
            state.reverting.get_or_insert(at);
        }
        Record::Violated { probe, since, missing } => {
            if let Some(track) = state.probes.get_mut(probe) {
                track.rearm();
            }
            state.violations.push(Violation { probe: probe.clone(), since: *since, at, missing: *missing });
        }
        Record::StopRequested { reason, by } => stopped(state, *reason, by, at),
        Record::HoldChanged { held, .. } => state.held = *held,
        Record::Decided { verdict, reason, message } => {
            // The first decision stands.
            state.decided.get_or_insert((*verdict, reason.clone(), message.clone()));
        }
        Record::MethodEnded {} => state.method_ended = Some(at),
        Record::AllReverted { residue } => state.all_reverted = Some((at, residue.clone())),
        Record::Rescheduled {} => state.rescheduled = true,
        Record::Recovered { since } => state.recovered = Some(*since),
        Record::NotRecovered { probes } => state.not_recovered = Some(probes.clone()),
        Record::Finished { .. } => state.finished = true,
    }
    Ok(())
}

/// What is left is taken up again, also of a run that had given up.
fn taken_over(state: &mut State, at: Timestamp) {
    state.unattended = true;
    state.owned_since = at;
    state.finished = false;
    state.all_reverted = None;
    state.reverting = None;
}

/// What nobody has looked at meanwhile is held neither for nor against it.
fn gone_on_with(state: &mut State, at: Timestamp) {
    state.owned_since = at;
    state.probes.values_mut().for_each(Track::interrupt);
    for step in state.steps.iter_mut().filter(|step| step.ended.is_none()) {
        step.check_since = None;
    }
}

fn stopped(state: &mut State, reason: StopReason, by: &str, at: Timestamp) {
    state.impatient |= state.stop.is_some() && reason == StopReason::Signal;
    state.stop.get_or_insert((reason, by.to_owned(), at));
}

fn sampled(state: &mut State, entry: &Entry) -> Result<(), Illegal> {
    let Record::Sampled { probe, value, expect, during, check, alerting, awaited, .. } = &entry.record else {
        return Ok(());
    };
    let (guard, at) = (state.guard(), entry.at);
    let (Some(spec), Some(track)) = (state.spec.probe(probe), state.probes.get_mut(probe)) else {
        return Err(Illegal { seq: entry.seq, why: format!("there is no probe {probe}") });
    };
    let guard = if spec.role == Role::Informational { Guard::Off } else { guard };
    track.sample(spec, Judged { at, value: *value, expect: *expect, during: *during }, guard);
    track.told(at, (*alerting, *awaited), state.first_intent);
    for (step, progress) in state.spec.method.iter().zip(&mut state.steps) {
        let Action::Check(wanted) = &step.action else { continue };
        let Some(started) = progress.started.filter(|_| progress.ended.is_none() && wanted.probe == *probe)
        else {
            continue;
        };
        if at < started {
            continue;
        }
        progress.check_samples = (progress.check_samples.0 + 1, check.is_some());
        match check {
            Some(true) => {
                progress.check_since.get_or_insert(at);
            }
            _ => progress.check_since = None,
        }
    }
    Ok(())
}

fn stepped(state: &mut State, entry: &Entry) -> Result<(), Illegal> {
    let (Record::StepStarted { step }
    | Record::InjectIntended { step, .. }
    | Record::StepRefused { step, .. }
    | Record::TargetsChosen { step, .. }
    | Record::RoundSkipped { step, .. }
    | Record::Checked { step, .. }
    | Record::ManualAnswered { step, .. }
    | Record::StepSkipped { step, .. }
    | Record::StepEnded { step }) = &entry.record
    else {
        return Ok(());
    };
    let Some(index) = state.step_index(step) else {
        return Err(Illegal { seq: entry.seq, why: format!("there is no step {step}") });
    };
    let (at, waits) = (entry.at, super::by_hand::waits(state, index));
    let progress = &mut state.steps[index];
    match &entry.record {
        Record::StepStarted { .. } => progress.started = Some(at),
        Record::StepRefused { .. } => progress.refused = true,
        Record::TargetsChosen { targets, .. } => progress.chosen = Some(targets.clone()),
        Record::RoundSkipped { .. } => progress.skipped += 1,
        Record::Checked { outcome, .. } => progress.checked = Some(*outcome),
        Record::ManualAnswered { answer, .. } => {
            progress.answered.get_or_insert(*answer);
        }
        Record::StepSkipped { .. } if progress.started.is_some() && !waits => {
            return Err(Illegal { seq: entry.seq, why: format!("step {step} had begun") });
        }
        Record::StepSkipped { by, .. } => {
            (progress.ended, progress.passed_over) = (Some(at), Some(by.clone()));
        }
        Record::StepEnded { .. } => progress.ended = Some(at),
        Record::InjectIntended { injections, .. } => {
            progress.rounds.push(injections.iter().map(|injection| injection.id.clone()).collect());
            if state.first_intent.is_none() {
                state.first_intent = Some(at);
                state.probes.values_mut().for_each(Track::rearm);
            }
            state.intend(Some(index), injections, at);
        }
        _ => {}
    }
    Ok(())
}

fn affected(state: &mut State, entry: &Entry) -> Result<(), Illegal> {
    let (Record::TemplateWritten { injection, .. }
    | Record::BroughtBack { injection, .. }
    | Record::Injected { injection, .. }
    | Record::EffectSeen { injection, .. }
    | Record::EffectMissed { injection, .. }
    | Record::Reverted { injection, .. }
    | Record::RevertFailed { injection, .. }) = &entry.record
    else {
        return Ok(());
    };
    let pods = state.load_pods.values_mut();
    let mut found = pods.filter(|pod| pod.injection.id == *injection);
    let Some(found) = state.injections.get_mut(injection).or_else(|| found.next()) else {
        return Err(Illegal { seq: entry.seq, why: format!("injection {injection} was never intended") });
    };
    match &entry.record {
        Record::TemplateWritten { template, .. } => found.wrote = Some(template.clone()),
        Record::BroughtBack { .. } => found.brought_back = true,
        Record::Injected { outcome, detail, .. } => {
            found.injected = Some(*outcome);
            found.failure = (*outcome == InjectOutcome::Failed).then(|| detail.clone());
        }
        Record::EffectSeen { .. } => found.seen = Some(entry.at),
        Record::EffectMissed { .. } => found.missed = true,
        Record::Reverted { outcome, met, .. } => {
            (found.reverted, found.met) = (Some((entry.at, *outcome)), *met);
            found.revert_error = None;
        }
        Record::RevertFailed { error, .. } => {
            (found.revert_error, found.tried) = (Some(error.clone()), Some(entry.at));
        }
        _ => {}
    }
    Ok(())
}
