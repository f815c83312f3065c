//! What a measurement means where the run is: the expressions of the file, or the rule of the probe's kind.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    EngineError,
    drive::Driver,
    sampler::{Measured, Sampler},
    state::State,
    steady::{Guard, elapsed},
};
use crate::{
    api::{Action, ProbeSpec, Role},
    journal::{Record, SampleState},
    probes::{self, Course, Judge, Judgement, Opinion, Past, Reading, Rule, Stats},
};

/// A probe at work.
pub(super) struct Watched {
    pub spec: ProbeSpec,
    pub judge: Judge,
    pub sampler: Option<Sampler>,
    /// `object` as it was when Baseline ended, for `before`.
    pub before: Option<Value>,
    pub latest: Option<Value>,
    /// Judges where the file has no `expect`.
    rule: Option<Box<dyn Rule>>,
}

impl Watched {
    pub(super) fn new(spec: ProbeSpec, judge: Judge, sampler: Option<Sampler>) -> Self {
        let rule = probes::find(&spec.kind).and_then(|probe| probe.rule(&spec.params));
        Self { spec, judge, sampler, before: None, latest: None, rule }
    }

    /// Lets the rule of the kind say what the file does not.
    fn complete(&mut self, judgement: &mut Judgement, reading: &Reading, course: &Course) -> Opinion {
        let Some(rule) = &mut self.rule else { return Opinion::default() };
        let measured = match reading {
            Reading::Measured(variables) => Some(variables),
            _ => None,
        };
        let mut opinion = rule.judge(measured, course);
        let (expect, during) = (self.spec.expect.is_none(), self.spec.during.is_none());
        if self.spec.role == Role::Informational {
            opinion.awaited = false;
            return opinion;
        }
        if expect {
            judgement.expect = opinion.expect;
        }
        if expect && during {
            judgement.during = opinion.during;
        } else {
            // What the file asks for has no end that could be waited for.
            opinion.awaited = false;
        }
        if expect && judgement.note.is_empty() {
            judgement.note = std::mem::take(&mut opinion.note);
        }
        opinion
    }
}

impl Driver {
    /// Judges what was measured, and writes it down.
    pub(super) fn measured(&mut self, measured: Measured) -> Result<(), EngineError> {
        let Some(watched) = self.probes.get_mut(&measured.probe) else { return Ok(()) };
        if let Reading::Measured(variables) = &measured.reading {
            watched.latest = variables.get("object").or_else(|| variables.get("objects")).cloned();
        }
        let check =
            active_check(&self.state, &measured.probe, measured.at).and_then(|step| self.checks.get(step));
        let past = past(&self.state, watched);
        let (mut judgement, checked) = watched.judge.judge(&measured.reading, &past, check);
        let course = course(&self.state, &measured.probe, self.clock.now());
        let opinion = watched.complete(&mut judgement, &measured.reading, &course);
        let guarded = match self.state.guard() {
            Guard::During => judgement.during,
            _ => judgement.expect,
        };
        let state = match guarded {
            _ if watched.spec.role == Role::Informational => SampleState::Recorded,
            Some(true) => SampleState::Within,
            Some(false) => SampleState::Outside,
            None => SampleState::Missing,
        };
        self.append(Record::Sampled {
            probe: measured.probe,
            state,
            value: judgement.value,
            expect: judgement.expect,
            during: judgement.during,
            check: checked,
            note: judgement.note,
            alerting: opinion.alerting,
            awaited: opinion.awaited,
        })
    }
}

/// The check step that waits for this probe.
fn active_check<'a>(state: &'a State, probe: &str, at: Timestamp) -> Option<&'a str> {
    let steps = state.spec.method.iter().zip(&state.steps);
    let mut waiting = steps.filter(|(step, progress)| {
        progress.ended.is_none()
            && progress.started.is_some_and(|started| at >= started)
            && matches!(&step.action, Action::Check(check) if check.probe == probe)
    });
    waiting.next().map(|(step, _)| step.name.as_str())
}

/// Where the run is, for the rule of the probe's kind. A sample counts as of when it is written down.
fn course(state: &State, probe: &str, at: Timestamp) -> Course {
    let track = state.probes.get(probe);
    Course {
        at,
        intended: state.first_intent,
        in_force: state.first_seen(),
        lifted: state.all_reverted.as_ref().and_then(|_| state.lifted()),
        alerted: track.and_then(|track| track.alerted),
        alerted_last: track.and_then(|track| track.alerted_last),
    }
}

fn past(state: &State, watched: &Watched) -> Past {
    let name = &watched.spec.name;
    let track = state.probes.get(name);
    let numbers = || track.into_iter().flat_map(|track| &track.numbers);
    let baseline = match &state.baseline {
        Some((_, stats)) => stats.get(name).copied(),
        None if watched.judge.uses("baseline") => Stats::of(numbers().map(|(_, value)| *value)),
        None => None,
    };
    let window = match (watched.spec.window, track.and_then(|track| track.last)) {
        (Some(window), Some(last)) => {
            numbers().filter(|(at, _)| elapsed(*at, last) <= window).map(|(_, value)| *value).collect()
        }
        _ => Vec::new(),
    };
    Past { baseline, window, before: watched.before.clone() }
}
