//! How a fault goes: once, again and again, or batch after batch. Pure.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    ending::decide,
    injection::InjectionState,
    next::{Command, Progress, earlier, ended, pending, reverted},
    state::State,
    steady::elapsed,
};
use crate::{
    api::{Repeat, Rolling, Step},
    env::Rng,
    faults,
    journal::{InjectOutcome, Record, StopReason},
    types::{InjectionId, Length, ObjectRef, Verdict},
};

/// Where a fault step is.
pub(super) fn fault(state: &State, index: usize, now: Timestamp) -> Progress {
    let (step, progress) = (&state.spec.method[index], &state.steps[index]);
    if progress.refused {
        return no_effect(format!("step {}", step.name));
    }
    match (step.repeat, step.rolling) {
        (Some(repeat), _) => repeated(state, index, repeat, now),
        (_, Some(rolling)) => batches(state, index, rolling, now),
        (None, None) => once(state, index, now),
    }
}

fn once(state: &State, index: usize, now: Timestamp) -> Progress {
    let (step, progress) = (&state.spec.method[index], &state.steps[index]);
    let Some(first) = progress.rounds.first() else { return Progress::Do(Command::Prepare(index)) };
    let all: Vec<InjectionId> = progress.rounds.iter().flatten().cloned().collect();
    let in_force = state.in_force_since(first);
    match applied(state, step, &all, now) {
        Ok(()) => {}
        // What was born later is hit beside what goes on.
        Err(Progress::Do(Command::Inject(ids, until))) if in_force.is_some() && step.background => {
            return Progress::Beside(ids, until);
        }
        Err(progress) => return progress,
    }
    let Some(in_force) = in_force else {
        return no_effect(format!("every target of step {} was gone", step.name));
    };
    if instant(state, first) {
        return ended(step);
    }
    let until = step.duration.and_then(|duration| in_force.checked_add(duration).ok());
    match until {
        Some(until) if now >= until => reverted(state, index, step),
        _ if step.background => Progress::InForce(until),
        Some(until) => Progress::Waiting(Some(until)),
        // `check` refuses a lasting foreground fault without a duration; nothing holds it here.
        None => reverted(state, index, step),
    }
}

/// Round after round; one that cannot be carried out is skipped and counted.
fn repeated(state: &State, index: usize, repeat: Repeat, now: Timestamp) -> Progress {
    let (step, progress) = (&state.spec.method[index], &state.steps[index]);
    if let Some(last) = progress.rounds.last()
        && let Err(progress) = applied(state, step, last, now)
    {
        return match progress {
            Progress::Do(Command::Inject(ids, until)) if step.background => Progress::Beside(ids, until),
            other => other,
        };
    }
    let (begun, started) = (progress.rounds.len() + progress.skipped, progress.started.unwrap_or(now));
    let due = due(state, step, (started, repeat), begun);
    let over = match (repeat.times, repeat.length) {
        (Some(times), _) => begun >= times as usize,
        (None, Some(length)) => elapsed(started, due) >= length.0 && begun > 0,
        (None, None) => begun > 0,
    };
    if over {
        let hit = progress.rounds.iter().any(|round| state.in_force_since(round).is_some());
        return if hit {
            ended(step)
        } else {
            no_effect(format!("every round of step {} was skipped", step.name))
        };
    }
    wait_until(step, due, now).unwrap_or(Progress::Do(Command::Prepare(index)))
}

/// When a round begins. The jitter follows from the run's seed, so that a replay knows it.
fn due(state: &State, step: &Step, (started, repeat): (Timestamp, Repeat), round: usize) -> Timestamp {
    let number = u32::try_from(round).unwrap_or(u32::MAX);
    let late = if round == 0 || repeat.jitter.0.is_zero() {
        Duration::ZERO
    } else {
        let mut stream = Rng::new(state.header.seed).stream(&format!("jitter {} {round}", step.name));
        let most = u64::try_from(repeat.jitter.0.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(stream.below(most.max(1)))
    };
    started.checked_add(repeat.every.0.saturating_mul(number).saturating_add(late)).unwrap_or(Timestamp::MAX)
}

/// Batch after batch: applied, held, lifted, everything holds again, pause.
fn batches(state: &State, index: usize, rolling: Rolling, now: Timestamp) -> Progress {
    let (step, progress) = (&state.spec.method[index], &state.steps[index]);
    let Some(chosen) = &progress.chosen else { return Progress::Do(Command::Prepare(index)) };
    if let Some(last) = progress.rounds.last() {
        if let Err(progress) = applied(state, step, last, now) {
            return progress;
        }
        if let Some(in_force) = state.in_force_since(last) {
            let held = step.duration.and_then(|duration| in_force.checked_add(duration).ok());
            if let Some(waiting) = held.and_then(|held| wait_until(step, held, now)) {
                return waiting;
            }
        }
        let left = pending(state, |of| of == Some(index));
        if !left.is_empty() {
            return Progress::Do(Command::Revert(left, None));
        }
    }
    if untouched(state, index, chosen).is_empty() {
        let hit = progress.rounds.iter().any(|round| state.in_force_since(round).is_some());
        return if hit {
            ended(step)
        } else {
            no_effect(format!("every target of step {} was gone", step.name))
        };
    }
    match progress.rounds.last() {
        None => Progress::Do(Command::Prepare(index)),
        Some(last) => {
            healed(state, (step, last), rolling, now).unwrap_or(Progress::Do(Command::Prepare(index)))
        }
    }
}

/// Waits for everything to hold again after a batch, and for the pause. None when that is over.
fn healed(
    state: &State,
    (step, last): (&Step, &[InjectionId]),
    rolling: Rolling,
    now: Timestamp,
) -> Option<Progress> {
    let ends = last.iter().filter_map(|id| state.injections.get(id)).filter_map(|injection| match injection
        .reverted
    {
        Some((at, _)) => Some(at),
        None => injection.seen,
    });
    let lifted = ends.max()?;
    let known = if state.hypothesis().next().is_none() { Some(now) } else { state.known_until() };
    let steady = state.steady_since().map(|since| since.max(lifted));
    match (steady, known) {
        (Some(steady), Some(known)) if known >= lifted => {
            wait_until(step, steady.checked_add(rolling.pause.0).unwrap_or(Timestamp::MAX), now)
        }
        _ => {
            let within = state.spec.objectives.recover_within();
            let deadline = lifted.checked_add(within).unwrap_or(Timestamp::MAX);
            if let Some(waiting) = wait_until(step, deadline, now) {
                return Some(waiting);
            }
            if state.decided.is_none() {
                let message =
                    format!("a batch of step {} was not healed within {}", step.name, Length(within));
                return Some(Progress::Do(decide(Verdict::Failed, "NotRecovered", message)));
            }
            let by = format!("step {}, between two batches", step.name);
            Some(Progress::Do(Command::record(Record::StopRequested { reason: StopReason::CheckFailed, by })))
        }
    }
}

/// Those of the chosen that no batch has hit yet.
pub(super) fn untouched(state: &State, index: usize, chosen: &[ObjectRef]) -> Vec<ObjectRef> {
    let hit = hit(state, index);
    chosen.iter().filter(|target| !hit.contains(target)).cloned().collect()
}

/// Whom the step has been intended for so far.
pub(super) fn hit(state: &State, index: usize) -> BTreeSet<ObjectRef> {
    let ids = state.steps[index].rounds.iter().flatten();
    ids.filter_map(|id| state.injections.get(id)).flat_map(|found| faults::hit(&found.injection)).collect()
}

/// Waits, in the background if the step is there; None when the time has come.
fn wait_until(step: &Step, until: Timestamp, now: Timestamp) -> Option<Progress> {
    let wait = if step.background { Progress::InForce } else { Progress::Waiting };
    (now < until).then(|| wait(Some(until)))
}

/// Whether these are all in force or gone; otherwise what there is to do about it.
fn applied(state: &State, step: &Step, ids: &[InjectionId], now: Timestamp) -> Result<(), Progress> {
    let mut waiting = None;
    let (mut open, mut unanswered, mut failed) = (Vec::new(), Vec::new(), None);
    for id in ids {
        let Some(injection) = state.injections.get(id) else { continue };
        let deadline =
            injection.intended.checked_add(injection.injection.effect_within.0).unwrap_or(Timestamp::MAX);
        match (injection.injected, injection.seen) {
            (Some(InjectOutcome::TargetGone), _) | (_, Some(_)) => {}
            (Some(InjectOutcome::Failed), None) => failed = failed.or(Some(injection)),
            _ if injection.missed => failed = failed.or(Some(injection)),
            (injected, None) if now >= deadline => {
                let why = match injected {
                    None => "it was still being applied",
                    Some(_) => "it was applied, and nothing showed it",
                };
                let why = format!("{why} after {}", injection.injection.effect_within);
                let record = Record::EffectMissed { injection: id.clone(), why };
                return Err(Progress::Do(Command::record(record)));
            }
            (injected, _) => {
                open.push(id.clone());
                if injected.is_none() {
                    unanswered.push(id.clone());
                }
                waiting = earlier(waiting, Some(deadline));
            }
        }
    }
    if let Some(failed) = failed {
        // Nothing of an instant fault is in force meanwhile: what was begun beside it is answered for, too. What
        // lasts is taken back at once.
        let answered = unanswered.is_empty() || !instant(state, ids);
        return Err(if answered {
            missed_by(step, failed)
        } else {
            Progress::Do(Command::Inject(unanswered, waiting))
        });
    }
    if open.is_empty() { Ok(()) } else { Err(Progress::Do(Command::Inject(open, waiting))) }
}

fn instant(state: &State, ids: &[InjectionId]) -> bool {
    ids.iter().filter_map(|id| state.injections.get(id)).all(|injection| !injection.lasting)
}

fn missed_by(step: &Step, found: &InjectionState) -> Progress {
    let (name, target) = (&step.name, &found.injection.target);
    no_effect(match &found.failure {
        Some(why) => format!("step {name} could not be done to {target}: {why}"),
        None => format!("step {name} was done to {target}, and nothing showed it in time"),
    })
}

fn no_effect(by: String) -> Progress {
    Progress::Do(Command::record(Record::StopRequested { reason: StopReason::NoEffect, by }))
}
