//! What comes next, from where the run is. Pure and total: used live and after replay.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    arming, by_hand,
    ending::{decide, finish, recover, unwound},
    injection::InjectionState,
    loads, rounds,
    state::{State, Violation},
    steady::elapsed,
    traffic,
};
use crate::{
    api::{Action, Check, OnViolation, Role, Step},
    journal::{CheckOutcome, ProbeStats, Record, StopReason},
    types::{InjectionId, Length, ObjectRef, Verdict},
};

/// What the one loop that acts does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Write this down; nothing else has to happen first.
    Record(Box<Record>),
    /// Choose the step's targets and prepare its injections, then write down the intent.
    Prepare(usize),
    /// Find out where agents are needed, and write down the intent to place them.
    Arm,
    /// Apply these, and look for their effect, unless that is under way; look again then.
    Inject(Vec<InjectionId>, Option<Timestamp>),
    /// Take these back, unless that is under way; look again then.
    Revert(Vec<InjectionId>, Option<Timestamp>),
    /// Look at what is deployed.
    LookAtDeployed,
    /// Nothing to do until something happens, or until then.
    Wait(Option<Timestamp>),
    /// The run is over.
    Done,
}

impl Command {
    pub(super) fn record(record: Record) -> Self {
        Self::Record(Box::new(record))
    }
}

/// How long is waited for what is not in the journal.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long reverting is tried before what is left is named as residue. The command line gives up; a controller
    /// never does.
    pub revert: Duration,
    /// Until when no step chooses its targets: what the run has changed itself is not seen yet.
    pub unseen: Option<Timestamp>,
}

/// What comes next at `now`.
pub fn next(state: &State, now: Timestamp, patience: Patience) -> Command {
    if state.finished {
        return Command::Done;
    }
    if state.unattended {
        return unwound(state, now, patience).unwrap_or_else(|| finish(state, now, patience));
    }
    if state.baseline_started.is_none() {
        if let Some(command) = arming::before_baseline(state, now) {
            return command;
        }
        if let Some(reached) = loads::rising(state, now).filter(|_| state.stop.is_none()) {
            return Command::Wait(Some(reached));
        }
        if loads::awaited(state) {
            return Command::Wait(None);
        }
        return Command::record(Record::BaselineStarted {});
    }
    if let Some(record) = losses(state) {
        return record;
    }
    if state.stop.is_some() || state.method_ended.is_some() {
        // Of agents alone nothing has to recover.
        if state.first_intent.is_none() && state.injections.is_empty() {
            return finish(state, now, patience);
        }
        if let Some(command) = unwound(state, now, patience) {
            return command;
        }
        if state.first_intent.is_none() {
            return finish(state, now, patience);
        }
        return recover(state, now).unwrap_or_else(|| finish(state, now, patience));
    }
    if state.baseline.is_none() {
        return baseline(state);
    }
    method(state, now, patience.unseen)
}

/// A loss of normal that is not yet acted on.
fn losses(state: &State) -> Option<Command> {
    let in_baseline = state.baseline.is_none();
    let started = state.baseline_started?;
    for probe in &state.spec.steady_state {
        let Some(loss) = state.probes.get(&probe.name).and_then(|track| track.loss) else { continue };
        if !in_baseline {
            if state.violations.iter().any(|violation| violation.probe == probe.name) {
                continue;
            }
            let record =
                Record::Violated { probe: probe.name.clone(), since: loss.since, missing: loss.missing };
            return Some(Command::record(record));
        }
        // It may take so long to become steady.
        if state.stop.is_none() && elapsed(started, loss.at) >= state.spec.baseline.within.0 {
            return Some(Command::record(before_the_first_change(state, &probe.name, loss.missing)));
        }
    }
    state.violations.iter().find_map(|violation| violated(state, violation))
}

/// What a violation that was written down leads to: the verdict, and the end of the method.
fn violated(state: &State, violation: &Violation) -> Option<Command> {
    let probe = state.spec.probe(&violation.probe)?;
    let (reason, verdict) = match (violation.missing, probe.role) {
        (true, _) => (StopReason::NoData, Verdict::Inconclusive),
        (false, Role::StopCondition) => (StopReason::StopCondition, Verdict::Aborted),
        (false, _) => (StopReason::Violated, Verdict::Failed),
    };
    if state.decided.is_none() {
        let name = &probe.name;
        let message = match reason {
            StopReason::NoData => format!("{name} gave no data"),
            StopReason::StopCondition => format!("{name}, a stop condition, was outside"),
            _ => format!("{name} was outside what the hypothesis allows"),
        };
        return Some(decide(verdict, &format!("{reason:?}"), message));
    }
    let goes_on = reason == StopReason::Violated && probe.on_violation == OnViolation::Continue;
    if goes_on || state.stop.is_some() || state.method_ended.is_some() {
        return None;
    }
    Some(Command::record(Record::StopRequested { reason, by: format!("probe {}", probe.name) }))
}

/// Baseline is lost: nothing was changed yet.
fn before_the_first_change(state: &State, probe: &str, missing: bool) -> Record {
    let (reason, verdict, code, message) = if missing {
        (
            StopReason::NoData,
            Verdict::Inconclusive,
            "NoData",
            format!("{probe} gave no data before the first change"),
        )
    } else {
        (
            StopReason::Violated,
            Verdict::NotSteady,
            "NotSteady",
            format!("{probe} was outside expect before the first change"),
        )
    };
    if state.decided.is_none() {
        return Record::Decided { verdict, reason: code.to_owned(), message };
    }
    Record::StopRequested { reason, by: format!("probe {probe}") }
}

/// Waits for every judged probe to have been within `expect` for as long as Baseline lasts.
fn baseline(state: &State) -> Command {
    let mut since = state.baseline_started.unwrap_or(Timestamp::MIN);
    let mut until = Timestamp::MAX;
    for probe in state.spec.steady_state.iter().filter(|probe| probe.role != Role::Informational) {
        let Some(track) = state.probes.get(&probe.name) else { continue };
        match (track.steady_since, track.last) {
            (Some(steady), Some(last)) if track.count >= 2 => {
                since = since.max(steady);
                until = until.min(last);
            }
            _ => return Command::Wait(None),
        }
    }
    if elapsed(since, until) < state.spec.baseline_duration() {
        return Command::Wait(None);
    }
    let stats: BTreeMap<String, ProbeStats> = state
        .probes
        .iter()
        .filter_map(|(name, track)| {
            let numbers = track.numbers.iter().filter(|(at, _)| *at >= since).map(|(_, value)| *value);
            Some((name.clone(), ProbeStats::of(numbers)?))
        })
        .collect();
    Command::record(Record::BaselineHeld { stats })
}

/// The steps in their order, and the background ones whose time is up.
fn method(state: &State, now: Timestamp, unseen: Option<Timestamp>) -> Command {
    if let Some(first) = state.first_intent
        && elapsed(first, now) >= state.duration_max
    {
        let by = format!("limits.duration, {}", Length(state.duration_max));
        return Command::record(Record::StopRequested { reason: StopReason::DurationExceeded, by });
    }
    if let Some(by) = traffic::none_met(state, |step| step.ended.is_some()) {
        return Command::record(Record::StopRequested { reason: StopReason::NoTraffic, by });
    }
    let mut wake = state.first_intent.and_then(|first| first.checked_add(state.duration_max).ok());
    // What is being applied in the background holds up nothing after it.
    let mut beside = match arming::late(state, now) {
        Ok((ids, until)) => {
            wake = earlier(wake, until);
            ids
        }
        Err(command) => return command,
    };
    for index in 0..state.steps.len() {
        match sighted(state, index, step(state, index, now), unseen) {
            Progress::Over => {}
            Progress::InForce(until) => wake = earlier(wake, until),
            Progress::Waiting(until) => return applying(beside, earlier(wake, until)),
            Progress::Beside(ids, until) => {
                beside.extend(ids);
                wake = earlier(wake, until);
            }
            Progress::Do(Command::Inject(ids, until)) => {
                beside.extend(ids);
                return applying(beside, earlier(wake, until));
            }
            Progress::Do(Command::Revert(ids, until)) => return Command::Revert(ids, earlier(wake, until)),
            Progress::Do(command) => return command,
        }
    }
    let background = state.steps.iter().zip(&state.spec.method).any(|(progress, step)| {
        let ends = step.duration.is_some() || step.repeat.is_some();
        progress.ended.is_none() && ends && progress.started.is_some()
    });
    if background { applying(beside, wake) } else { Command::record(Record::MethodEnded {}) }
}

/// The same, unless it is to be prepared and the world cannot be seen yet as the run has left it. What is in force stays
/// so, and holds up nothing.
fn sighted(state: &State, index: usize, progress: Progress, unseen: Option<Timestamp>) -> Progress {
    let in_force = state.spec.method[index].background && !state.steps[index].rounds.is_empty();
    match (progress, unseen) {
        (Progress::Do(Command::Prepare(_)), Some(_)) if in_force => Progress::InForce(unseen),
        (Progress::Do(Command::Prepare(_)), Some(_)) => Progress::Waiting(unseen),
        (progress, _) => progress,
    }
}

fn applying(ids: Vec<InjectionId>, until: Option<Timestamp>) -> Command {
    if ids.is_empty() { Command::Wait(until) } else { Command::Inject(ids, until) }
}

/// How far a step is, seen from those after it.
pub(super) enum Progress {
    /// Nothing more to do.
    Over,
    /// In the background: the next may begin.
    InForce(Option<Timestamp>),
    /// In the background, with more being applied.
    Beside(Vec<InjectionId>, Option<Timestamp>),
    /// The next may not begin before something happens.
    Waiting(Option<Timestamp>),
    /// Something is to be done first.
    Do(Command),
}

fn step(state: &State, index: usize, now: Timestamp) -> Progress {
    let (step, progress) = (&state.spec.method[index], &state.steps[index]);
    if progress.ended.is_some() {
        return Progress::Over;
    }
    let Some(started) = progress.started else {
        if state.held {
            return Progress::Waiting(None);
        }
        return Progress::Do(Command::record(Record::StepStarted { step: step.name.clone() }));
    };
    match &step.action {
        Action::Wait(length) => match started.checked_add(*length) {
            Ok(until) if now < until => Progress::Waiting(Some(until)),
            _ => ended(step),
        },
        Action::Revert(of) => match state.step_index(of) {
            Some(of) => reverted(state, of, step),
            None => ended(step),
        },
        Action::Check(check) => check_step(state, index, check, now),
        Action::Manual(manual) => by_hand::step(state, index, manual, now),
        Action::Load(_) => loads::step(state, index, now),
        Action::Fault { .. } => rounds::fault(state, index, now),
    }
}

pub(super) fn ended(step: &Step) -> Progress {
    Progress::Do(Command::record(Record::StepEnded { step: step.name.clone() }))
}

/// A step's faults have to be back before it, or the `revert` step that names it, is over.
pub(super) fn reverted(state: &State, of: usize, over: &Step) -> Progress {
    let pending = pending(state, |injection_step| injection_step == Some(of));
    if !pending.is_empty() {
        return Progress::Do(Command::Revert(pending, None));
    }
    if state.steps[of].ended.is_none() && state.spec.method[of].name != over.name {
        return ended(&state.spec.method[of]);
    }
    ended(over)
}

/// What is to be taken back of these steps: of each object the newest change first.
pub(super) fn pending(state: &State, of: impl Fn(Option<usize>) -> bool) -> Vec<InjectionId> {
    let all: Vec<&InjectionState> = state.injections.values().filter(|found| found.pending()).collect();
    let mut newest: BTreeMap<&ObjectRef, usize> = BTreeMap::new();
    for found in &all {
        let order = newest.entry(&found.injection.target).or_default();
        *order = found.order.max(*order);
    }
    let mine =
        |found: &&InjectionState| of(found.step) && newest.get(&found.injection.target) == Some(&found.order);
    all.into_iter().filter(mine).map(|found| found.injection.id.clone()).collect()
}

fn check_step(state: &State, index: usize, check: &Check, now: Timestamp) -> Progress {
    let (step, progress) = (&state.spec.method[index], &state.steps[index]);
    let started = progress.started.unwrap_or(now);
    let known = state.probes.get(&check.probe).and_then(|track| track.last);
    let outcome = match progress.checked {
        Some(CheckOutcome::Held) => return ended(step),
        Some(CheckOutcome::Failed) => return check_failed(state, step),
        Some(CheckOutcome::NoData) => {
            let by = format!("check {}", step.name);
            return Progress::Do(Command::record(Record::StopRequested { reason: StopReason::NoData, by }));
        }
        None => {
            let held = progress
                .check_since
                .zip(known)
                .is_some_and(|(since, last)| elapsed(since, last) >= check.hold.0);
            let every =
                state.spec.probe(&check.probe).map_or(Duration::ZERO, |probe| probe.every + probe.timeout);
            let begun = progress
                .check_since
                .is_some_and(|since| elapsed(started, since) <= check.within.0.max(every));
            // With `within: 0s` the first sample decides, which takes as long as it takes.
            let late = elapsed(started, now) >= check.within.0.max(every) && !begun;
            let decided_now = check.within.is_zero() && progress.check_samples.0 > 0;
            match progress.check_samples {
                _ if held => CheckOutcome::Held,
                (_, true) if late || (decided_now && progress.check_since.is_none()) => CheckOutcome::Failed,
                (_, false) if late => CheckOutcome::NoData,
                _ => {
                    let deadline = started.checked_add(check.within.0.max(every)).ok();
                    return Progress::Waiting(deadline.filter(|deadline| *deadline > now));
                }
            }
        }
    };
    let detail = match outcome {
        CheckOutcome::Held => format!("held after {}", rounded(elapsed(started, now))),
        CheckOutcome::Failed => format!("did not hold within {}", check.within),
        CheckOutcome::NoData => "there was no data to judge".to_owned(),
    };
    Progress::Do(Command::record(Record::Checked { step: step.name.clone(), outcome, detail }))
}

fn check_failed(state: &State, step: &Step) -> Progress {
    if state.decided.is_none() {
        return Progress::Do(decide(
            Verdict::Failed,
            "CheckFailed",
            format!("check {} did not hold", step.name),
        ));
    }
    if step.on_failure == OnViolation::Continue {
        return ended(step);
    }
    let by = format!("check {}", step.name);
    Progress::Do(Command::record(Record::StopRequested { reason: StopReason::CheckFailed, by }))
}

/// To the millisecond: more than that nobody wants to read.
fn rounded(length: Duration) -> Length {
    Length::from_millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn earlier(one: Option<Timestamp>, two: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(two).min()
}
