//! Steps that a person takes. Pure.

use jiff::Timestamp;

use super::{
    ending::decide,
    next::{Command, Progress, ended},
    state::State,
};
use crate::{
    api::{Action, Manual, OnTimeout, OnViolation, Step},
    journal::{Answer, Record, StopReason},
    types::Verdict,
};

/// Who answers in a rehearsal.
const NOBODY: &str = "rehearsal";

/// Whether a step is a manual one that waits for somebody's answer.
pub(super) fn waits(state: &State, index: usize) -> bool {
    let (step, progress) = (&state.spec.method[index], &state.steps[index]);
    let open = progress.started.is_some() && progress.answered.is_none() && progress.ended.is_none();
    open && matches!(step.action, Action::Manual(_))
}

/// Where a manual step is: it waits for an answer, for as long as it may.
pub(super) fn step(state: &State, index: usize, manual: &Manual, now: Timestamp) -> Progress {
    let (step, progress) = (&state.spec.method[index], &state.steps[index]);
    match (progress.answered, manual.on_timeout) {
        (None, _) => {}
        (Some(Answer::Confirmed), _) | (Some(Answer::TimedOut), OnTimeout::Continue) => return ended(step),
        (Some(Answer::Failed), _) => return failed(state, step, "could not be done"),
        (Some(Answer::TimedOut), OnTimeout::Fail) => return failed(state, step, "was not done in time"),
        (Some(Answer::TimedOut), OnTimeout::Abort) => {
            let by = format!("nobody answered step {}", step.name);
            return stop(StopReason::UserAbort, by);
        }
    }
    let rehearsal = state.header.environment.rehearsal;
    let length = if rehearsal { manual.assume } else { manual.timeout };
    let until = progress.started.unwrap_or(now).checked_add(length.0).unwrap_or(Timestamp::MAX);
    if now < until {
        return Progress::Waiting(Some(until));
    }
    let (answer, by) = if rehearsal { (Answer::Confirmed, NOBODY) } else { (Answer::TimedOut, "") };
    Progress::Do(Command::record(Record::ManualAnswered {
        step: step.name.clone(),
        answer,
        by: by.to_owned(),
        comment: String::new(),
    }))
}

fn failed(state: &State, step: &Step, how: &str) -> Progress {
    if state.decided.is_none() {
        let message = format!("step {} {how}", step.name);
        return Progress::Do(decide(Verdict::Failed, "ManualFailed", message));
    }
    if step.on_failure == OnViolation::Continue {
        return ended(step);
    }
    stop(StopReason::CheckFailed, format!("step {}", step.name))
}

fn stop(reason: StopReason, by: String) -> Progress {
    Progress::Do(Command::record(Record::StopRequested { reason, by }))
}
