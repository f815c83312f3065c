//! Trace spans of a run, for whoever subscribes to them: run, phase, step, injection, effect, revert. Each has the run's
//! id, so that a line that is logged within one says which run it is about.
//!
//! Run, phase and step are of level info, and so few that they cost nothing. The others are as many as the targets, and
//! of level debug: where nobody wants that, what is left of them is one look at a flag.

use std::collections::BTreeMap;

use tracing::{Span, debug_span, info_span};

use super::{injection::InjectionState, state::State};
use crate::{
    faults::Injection,
    journal::Record,
    types::{Phase, RunId},
};

/// A run in the hands of this process, from its leases to its last record.
pub(super) fn run(run: &RunId) -> Span {
    info_span!("run", %run)
}

/// A try to take an injection back, with the pause before it.
pub(super) fn revert(parent: &Span, run: &RunId, (injection, attempt): (&Injection, u32)) -> Span {
    let Injection { id, fault, target, .. } = injection;
    debug_span!(parent: parent, "revert", %run, injection = %id, fault, %target, attempt)
}

/// The spans that are open while a run is driven.
pub(super) struct Spans {
    run: RunId,
    /// Whatever was entered when the driving began.
    root: Span,
    phase: (Option<Phase>, Span),
    steps: BTreeMap<String, Span>,
    /// Injections that are intended and not applied, counted: to look through all of them at each would be quadratic.
    applying: usize,
}

impl Spans {
    /// Within the span that is current, from where `state` is.
    pub(super) fn new(state: &State) -> Self {
        let (run, root) = (state.header.run.clone(), Span::current());
        let applying = state.injections.values().filter(|injection| injection.injected.is_none()).count();
        let mut spans = Self { run, phase: (None, root.clone()), root, steps: BTreeMap::new(), applying };
        if !spans.root.is_disabled() {
            spans.turn(state);
            let begun = state.spec.method.iter().zip(&state.steps);
            let open = begun.filter(|(_, progress)| progress.started.is_some() && progress.ended.is_none());
            open.for_each(|(step, _)| spans.begin(&step.name));
        }
        spans
    }

    /// Takes in one more record, which `state` has.
    pub(super) fn on(&mut self, state: &State, record: &Record) {
        if self.root.is_disabled() {
            return;
        }
        match record {
            Record::InjectIntended { injections, .. } | Record::ArmingIntended { injections } => {
                self.applying += injections.len();
            }
            Record::LoadPodIntended { .. } => self.applying += 1,
            Record::Injected { .. } => self.applying = self.applying.saturating_sub(1),
            Record::StepStarted { step } => self.begin(step),
            Record::StepEnded { step } => drop(self.steps.remove(step)),
            Record::Finished { .. } => self.steps.clear(),
            _ => {}
        }
        self.turn(state);
    }

    /// What goes on as a whole: the phase, or the run.
    pub(super) fn now(&self) -> &Span {
        &self.phase.1
    }

    /// Applying it, the wait until that it is intended is durable included.
    pub(super) fn injection(&self, state: &State, found: &InjectionState) -> Span {
        let (run, Injection { id, fault, target, .. }) = (&self.run, &found.injection);
        debug_span!(parent: self.around(state, found), "injection", %run, injection = %id, fault, %target)
    }

    /// Looking for its effect.
    pub(super) fn effect(&self, state: &State, found: &InjectionState) -> Span {
        let (run, Injection { id, fault, target, .. }) = (&self.run, &found.injection);
        debug_span!(parent: self.around(state, found), "effect", %run, injection = %id, fault, %target)
    }

    /// A try to take it back.
    pub(super) fn revert(&self, injection: &Injection, attempt: u32) -> Span {
        revert(self.now(), &self.run, (injection, attempt))
    }

    /// The step that an injection is of; of no step: the phase.
    fn around(&self, state: &State, found: &InjectionState) -> &Span {
        let step = found.step.and_then(|index| state.spec.method.get(index));
        step.and_then(|step| self.steps.get(&step.name)).unwrap_or(self.now())
    }

    fn begin(&mut self, step: &str) {
        let run = &self.run;
        self.steps.insert(step.to_owned(), info_span!(parent: &self.root, "step", %run, step));
    }

    /// Another phase has begun, or the same goes on.
    fn turn(&mut self, state: &State) {
        // Stuck is reverting all the same, and comes and goes.
        let phase = state.phase_if(|| self.applying > 0, || false);
        if self.phase.0 == Some(phase) {
            return;
        }
        let run = &self.run;
        let span = match phase {
            Phase::Finished => self.root.clone(),
            phase => info_span!(parent: &self.root, "phase", %run, %phase),
        };
        self.phase = (Some(phase), span);
    }
}
