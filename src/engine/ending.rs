//! How a run ends: everything taken back, steady again or not, the verdict. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    clocks,
    injection::InjectionState,
    loads,
    next::{Command, Patience, pending},
    state::State,
    steady::elapsed,
    traffic,
};
use crate::{
    api::Action,
    journal::{Record, Residue, StopReason},
    types::{InjectionId, Length, Verdict},
};

/// How long the last try may take, which begins when reverting is given up.
const LAST_TRY: Duration = Duration::from_secs(5);

/// How long faults alone are tried to be taken back before their agents are taken away.
const AGENTS_STAY: Duration = Duration::from_secs(30);

/// Takes back all that is in force, and says what is left. None when that is done.
pub(super) fn unwound(state: &State, now: Timestamp, patience: Patience) -> Option<Command> {
    if state.all_reverted.is_some() {
        return None;
    }
    if state.decided.is_none()
        && let Some((reason, by, _)) = &state.stop
    {
        return Some(stop_verdict(*reason, by));
    }
    if let Some(command) = taking_back(state, now, patience) {
        return Some(command);
    }
    let pending = state.injections.values().filter(|injection| injection.pending());
    let residue = pending.map(|injection| residue(state, injection)).collect();
    Some(Command::record(Record::AllReverted { residue }))
}

fn residue(state: &State, injection: &InjectionState) -> Residue {
    Residue {
        injection: injection.injection.id.clone(),
        target: injection.injection.target.clone(),
        what: injection.revert_error.clone().unwrap_or_else(|| "it was not taken back".to_owned()),
        remedy: format!("firedrill rollback {}", state.header.run),
    }
}

/// What is left of the run at its end: of its faults, and of what sent its loads.
pub(super) fn left(state: &State) -> Vec<Residue> {
    let faults = state.all_reverted.iter().flat_map(|(_, residue)| residue.clone());
    let pods = state.load_pods.values().filter(|pod| pod.pending()).map(|pod| residue(state, pod));
    faults.chain(pods).collect()
}

/// Tries to take back what is in force, until that is given up: then once more, so that what is named as left
/// is what is left at that time.
fn taking_back(state: &State, now: Timestamp, patience: Patience) -> Option<Command> {
    let all = pending(state, |_| true);
    if all.is_empty() {
        return None;
    }
    let Some(since) = state.reverting else {
        return Some(Command::record(Record::RevertStarted { injections: all }));
    };
    let give_up = since.checked_add(patience.revert).unwrap_or(Timestamp::MAX);
    if now < give_up {
        // Agents go last: they take the faults back. One that does not in time goes all the same, and the fault with it.
        let is_fault = |id: &&InjectionId| state.injections.get(*id).is_some_and(|found| !found.arms());
        let faults: Vec<InjectionId> = all.iter().filter(is_fault).cloned().collect();
        let alone = since.checked_add(AGENTS_STAY).unwrap_or(Timestamp::MAX).min(give_up);
        if faults.is_empty() || now >= alone {
            return Some(Command::Revert(all, Some(give_up)));
        }
        return Some(Command::Revert(faults, Some(if faults_alone(state) { give_up } else { alone })));
    }
    let pending = all;
    let last = give_up.checked_add(LAST_TRY).unwrap_or(Timestamp::MAX);
    let tried = |id| state.injections.get(id).and_then(|found| found.tried).is_some_and(|at| at >= give_up);
    (now < last && !pending.iter().all(tried)).then_some(Command::Revert(pending, Some(last)))
}

/// Whether there is no agent to be taken away after them.
fn faults_alone(state: &State) -> bool {
    !state.injections.values().any(|found| found.arms() && found.pending())
}

/// Whether something was named as left: then the run ends. Its faults are in force, so that there is no
/// recovery to wait for, and whoever waits for its end has something to do.
fn given_up(state: &State) -> bool {
    state.all_reverted.as_ref().is_some_and(|(_, residue)| !residue.is_empty())
}

/// What a reason to stop means, when nothing was decided before.
fn stop_verdict(reason: StopReason, by: &str) -> Command {
    let (verdict, code) = match reason {
        StopReason::Violated => (Verdict::Failed, "Violated"),
        StopReason::CheckFailed => (Verdict::Failed, "CheckFailed"),
        StopReason::StopCondition => (Verdict::Aborted, "StopCondition"),
        StopReason::Signal => (Verdict::Aborted, "Signal"),
        StopReason::UserAbort => (Verdict::Aborted, "UserAbort"),
        StopReason::DurationExceeded => (Verdict::Aborted, "DurationExceeded"),
        StopReason::RunnerLost => (Verdict::Aborted, "RunnerLost"),
        StopReason::AccountGone => (Verdict::Aborted, "AccountGone"),
        StopReason::Deleted => (Verdict::Aborted, "Deleted"),
        StopReason::Halted => (Verdict::Aborted, "Halted"),
        StopReason::GuardrailChanged => (Verdict::Aborted, "GuardrailChanged"),
        StopReason::NamespaceTerminating => (Verdict::Aborted, "NamespaceTerminating"),
        StopReason::NoData => (Verdict::Inconclusive, "NoData"),
        StopReason::NoEffect => (Verdict::Inconclusive, "NoEffect"),
        StopReason::NoTraffic => (Verdict::Inconclusive, "NoTraffic"),
        StopReason::RolloutNoticed => (Verdict::Inconclusive, "RolloutNoticed"),
        StopReason::JournalLost => (Verdict::Inconclusive, "JournalLost"),
        StopReason::Internal => (Verdict::Inconclusive, "Internal"),
    };
    decide(verdict, code, by.to_owned())
}

/// Waits until the steady state is back, or until that takes too long. None when it is known.
pub(super) fn recover(state: &State, now: Timestamp) -> Option<Command> {
    if given_up(state) || state.impatient {
        return None;
    }
    if state.recovered.is_some() || state.not_recovered.is_some() {
        return (!state.deployed_after).then_some(Command::LookAtDeployed);
    }
    let lifted = state.lifted()?;
    let stable = state.spec.stable_for();
    let within = state.spec.objectives.recover_within();
    let known = if state.hypothesis().next().is_none() { Some(now) } else { state.known_until() };
    if let (Some(since), Some(known)) = (state.steady_since(), known)
        && known >= lifted
        && elapsed(since.max(lifted), known) >= stable
    {
        if let Some(wait) = awaiting(state, now).or_else(|| untold(state, since, now)) {
            return Some(wait);
        }
        return Some(Command::record(Record::Recovered {
            since: since.max(state.first_seen().unwrap_or(lifted).min(lifted)),
        }));
    }
    let deadline = lifted.checked_add(within + stable).unwrap_or(Timestamp::MAX);
    if now < deadline {
        return Some(Command::Wait(Some(deadline)));
    }
    let outside = state.hypothesis().filter(|probe| {
        state
            .probes
            .get(&probe.name)
            .and_then(|track| track.steady_since)
            .is_none_or(|since| elapsed(lifted, since) > within)
    });
    Some(Command::record(Record::NotRecovered { probes: outside.map(|probe| probe.name.clone()).collect() }))
}

/// Waits for what was promised and may still come: an alert that has to fire, or to clear. None when there is no
/// such thing, or when it can change nothing any more.
fn awaiting(state: &State, now: Timestamp) -> Option<Command> {
    if state.decided.is_some() || state.stop.is_some() {
        return None;
    }
    let promised = state.spec.objectives.detect_within.zip(state.first_seen());
    let until = promised.and_then(|(within, seen)| seen.checked_add(within.0).ok());
    if let Some(until) = until.filter(|until| *until > now && state.first_alert().is_none()) {
        return Some(Command::Wait(Some(until)));
    }
    let awaited =
        |probe: &crate::api::ProbeSpec| state.probes.get(&probe.name).is_some_and(|track| track.awaited);
    // Its next sample says whether it still is.
    state.hypothesis().any(awaited).then_some(Command::Wait(None))
}

/// That not everything was tried that the hypothesis is about; None if it was. Waits and what people do may be left out.
fn passed_over(state: &State) -> Option<String> {
    let mut steps = state.spec.method.iter().zip(&state.steps);
    let tried = |action: &Action| matches!(action, Action::Fault { .. } | Action::Check(_) | Action::Load(_));
    steps.find_map(|(step, progress)| {
        let by = progress.passed_over.as_ref().filter(|_| tried(&step.action))?;
        Some(format!("step {} was skipped by {by}, so that not everything was tried", step.name))
    })
}

/// Waits until the probe of `rpo` says how much is lost now that service is back. None when it has, or does not in time.
fn untold(state: &State, since: Timestamp, now: Timestamp) -> Option<Command> {
    let rpo = state.spec.objectives.rpo.as_ref().filter(|_| state.first_seen().is_some())?;
    let probe = state.spec.probe(&rpo.probe)?;
    if state.lost_since(since).is_some() {
        return None;
    }
    let longest = state.spec.stable_for() + (probe.every + probe.timeout) * 2;
    let until = since.checked_add(longest).ok().filter(|until| *until > now)?;
    Some(Command::Wait(Some(until)))
}

/// What is wrong with how much was lost; None if that is as promised, or nothing was.
fn lost(state: &State, rpo_ms: Option<u64>) -> Option<Command> {
    let rpo = state.spec.objectives.rpo.as_ref().filter(|_| state.first_seen().is_some())?;
    let Some(lost) = rpo_ms else {
        let message = format!("{} did not say how much was lost when service was back", rpo.probe);
        return Some(decide(Verdict::Inconclusive, "NoData", message));
    };
    let (lost, promised) = (Length::from_millis(lost), rpo.within);
    (lost > promised).then(|| {
        let message = format!("{lost} of data were lost, and at most {promised} was promised");
        decide(Verdict::Failed, "RpoMissed", message)
    })
}

/// Why detection was not as promised; None if it was, or if nothing was.
fn undetected(state: &State, alert_ms: Option<u64>) -> Option<String> {
    let promised = state.spec.objectives.detect_within.filter(|_| state.first_seen().is_some())?;
    match alert_ms.map(Length::from_millis) {
        None => Some(format!("no alert fired, and one was promised within {promised}")),
        Some(took) if took > promised => {
            Some(format!("it took {took} until an alert fired, and {promised} was promised"))
        }
        Some(_) => None,
    }
}

/// The verdict, and the last record.
pub(super) fn finish(state: &State, now: Timestamp, patience: Patience) -> Command {
    if let Some(command) = loads::pods_going(state, now, patience) {
        return command;
    }
    let (clocks, residue) = (clocks::measure(state), left(state));
    let Some((verdict, ..)) = &state.decided else {
        if let Some((reason, by, _)) = &state.stop {
            return stop_verdict(*reason, by);
        }
        if state.unattended {
            return decide(
                Verdict::Aborted,
                "RunnerLost",
                "its runner was gone; rolled back from the journal".to_owned(),
            );
        }
        if given_up(state) {
            let message = "not everything could be put back, so nobody can say whether it heals".to_owned();
            return decide(Verdict::Inconclusive, "NotPutBack", message);
        }
        if let Some(probes) = state.not_recovered.as_ref() {
            return decide(
                Verdict::Failed,
                "NotRecovered",
                format!("{} did not hold again in time", probes.join(", ")),
            );
        }
        if let (Some(promised), Some(rto)) = (state.spec.objectives.rto, clocks.rto_ms)
            && Duration::from_millis(rto) > promised.0
        {
            let message =
                format!("it took {} to heal, and {promised} was promised", Length::from_millis(rto));
            return decide(Verdict::Failed, "RtoMissed", message);
        }
        if let Some(command) = lost(state, clocks.rpo_ms) {
            return command;
        }
        if let Some(message) = passed_over(state) {
            return decide(Verdict::Inconclusive, "StepSkipped", message);
        }
        if let Some(message) = traffic::none_met(state, |_| true) {
            return decide(Verdict::Inconclusive, "NoTraffic", message);
        }
        if let Some(message) = undetected(state, clocks.alert_ms) {
            return decide(Verdict::Failed, "DetectionMissed", message);
        }
        if let Some(command) = loads::in_vain(state) {
            return command;
        }
        return decide(Verdict::Passed, "HypothesisHeld", "the hypothesis held".to_owned());
    };
    Command::record(Record::Finished { verdict: *verdict, clocks, residue })
}

/// The verdict is known from here on.
pub(super) fn decide(verdict: Verdict, reason: &str, message: String) -> Command {
    Command::record(Record::Decided { verdict, reason: reason.to_owned(), message })
}
