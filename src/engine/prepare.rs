//! Choosing whom a step hits, when its turn has come.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{EngineError, drive::Driver, losses::intent, rounds};
use crate::{
    api::{Action, Step, Target},
    cluster::{Snapshot, Written},
    faults::{self, Injection},
    journal::Record,
    plan::{self, Round, Setting, StepAsk},
    types::{Finding, ObjectRef, planted},
};

/// How long a watch may lag behind a change of ours before the next step no longer waits for it.
const CATCHES_UP: Duration = Duration::from_secs(5);
/// How soon that is looked at again.
const LOOKS_AGAIN: Duration = Duration::from_millis(20);

/// A part of a step: its number among the steps, and whom it is about; None: chosen anew.
struct Part<'a> {
    index: usize,
    only: Option<&'a [ObjectRef]>,
}

impl Driver {
    /// When to look again: what we have changed ourselves is not seen yet, and a before-image of it would be of a time
    /// before. None: it is seen, or its watch is not to be waited for.
    pub(super) fn catching_up(&self) -> Option<Timestamp> {
        if planted("prepared-from-the-past") {
            return None;
        }
        let late = |written: &Written| written.at.elapsed() < CATCHES_UP && self.world.mirror.lacks(written);
        self.world
            .access
            .written()
            .iter()
            .any(late)
            .then(|| self.clock.now().checked_add(LOOKS_AGAIN).unwrap_or(Timestamp::MAX))
    }

    /// Chooses the step's targets, or the next round's or batch's, and writes down the intent.
    pub(super) fn prepare(&mut self, index: usize) -> Result<(), EngineError> {
        let step = self.state.spec.method[index].clone();
        let snapshot = self.world.mirror.snapshot();
        if let Some((reason, by)) = self.forbidden(&snapshot, Some(self.server_time())) {
            return self.append(Record::StopRequested { reason, by });
        }
        let name = step.name.clone();
        if step.rolling.is_some() {
            return self.next_batch(index, &step, &snapshot);
        }
        let planned = self.planned(&step, &snapshot, &Part { index, only: None });
        self.arm_further(&planned, &snapshot)?;
        let record = match planned {
            Ok(injections) => intent(name, injections, &snapshot),
            Err(findings) if step.repeat.is_some() => Record::RoundSkipped { step: name, findings },
            Err(findings) => Record::StepRefused { step: name, findings },
        };
        self.append(record)
    }

    fn next_batch(&mut self, index: usize, step: &Step, snapshot: &Snapshot) -> Result<(), EngineError> {
        let name = step.name.clone();
        let Some(chosen) = self.state.steps[index].chosen.clone() else {
            let chosen = self.asked(step, snapshot, &Part { index, only: None }, plan::choose);
            return self.append(match chosen {
                Ok(targets) => Record::TargetsChosen { step: name, targets },
                Err(findings) => Record::StepRefused { step: name, findings },
            });
        };
        let left = rounds::untouched(&self.state, index, &chosen);
        let there: Vec<ObjectRef> = left.iter().filter(|target| snapshot.has(target)).cloned().collect();
        if there.len() < left.len() {
            // Replaced or taken away since: whoever came instead was not chosen.
            let hit = rounds::hit(&self.state, index);
            let targets = chosen.iter().filter(|target| hit.contains(target) || there.contains(target));
            let targets = targets.cloned().collect();
            return self.append(Record::TargetsChosen { step: name, targets });
        }
        let size = step.rolling.unwrap_or_default().batch.choose_from(chosen.len());
        let batch = &there[..size.min(there.len())];
        let planned = self.planned(step, snapshot, &Part { index, only: Some(batch) });
        self.arm_further(&planned, snapshot)?;
        let record = match planned {
            Ok(injections) => intent(name, injections, snapshot),
            Err(findings) => Record::StepRefused { step: name, findings },
        };
        self.append(record)
    }

    /// Where agents are needed as things are now. Whom a step hits is chosen when it starts; a node that has none by then
    /// gets one then.
    pub(super) fn arm(&mut self) -> Result<(), EngineError> {
        let snapshot = self.world.mirror.snapshot();
        let mut injections = Vec::new();
        for index in 0..self.state.steps.len() {
            let step = self.state.spec.method[index].clone();
            let part = Part { index, only: None };
            if step.rolling.is_some() {
                let chosen = self.asked(&step, &snapshot, &part, plan::choose).unwrap_or_default();
                let part = Part { index, only: Some(&chosen) };
                injections.extend(self.planned(&step, &snapshot, &part).unwrap_or_default());
            } else {
                injections.extend(self.planned(&step, &snapshot, &part).unwrap_or_default());
            }
        }
        let injections = self.agents_for(&injections, &snapshot);
        self.append(Record::ArmingIntended { injections })
    }

    /// Agents on nodes that have none yet, before the faults that need them are intended.
    fn arm_further(
        &mut self,
        planned: &Result<Vec<Injection>, Vec<Finding>>,
        snapshot: &Snapshot,
    ) -> Result<(), EngineError> {
        let injections =
            planned.as_ref().map_or_else(|_| Vec::new(), |injections| self.agents_for(injections, snapshot));
        if injections.is_empty() { Ok(()) } else { self.append(Record::ArmingIntended { injections }) }
    }

    fn agents_for(&self, injections: &[Injection], snapshot: &Snapshot) -> Vec<Injection> {
        let ask = faults::Arm {
            run: &self.state.header.run,
            settings: &self.state.header.environment.agents,
            snapshot,
            until: self.until(),
            armed: &self.state.armed_nodes(),
        };
        faults::arm(&ask, injections)
    }

    fn planned(
        &self,
        step: &Step,
        snapshot: &Snapshot,
        part: &Part<'_>,
    ) -> Result<Vec<Injection>, Vec<Finding>> {
        self.asked(step, snapshot, part, plan::prepare)
    }

    /// Puts the question to the plan, with everything that is in force.
    fn asked<T>(
        &self,
        step: &Step,
        snapshot: &Snapshot,
        part: &Part<'_>,
        question: impl Fn(&StepAsk<'_>) -> Result<T, Vec<Finding>>,
    ) -> Result<T, Vec<Finding>> {
        let Action::Fault { kind, params } = &step.action else { return Err(Vec::new()) };
        let pending = self.state.injections.values().filter(|state| state.pending());
        let in_force: Vec<&Injection> = pending.map(|state| &state.injection).collect();
        let target: Target = step.target.clone().unwrap_or_default();
        question(&StepAsk {
            step: &step.name,
            kind,
            params,
            target: &target,
            round: Round {
                first: self.state.steps[part.index].rounds.iter().map(Vec::len).sum(),
                only: part.only,
            },
            setting: &Setting {
                namespace: &self.state.header.namespace,
                snapshot,
                rng: self.rng,
                consent: &self.consent,
                bounds: &self.bounds,
                image: self.state.header.environment.image(),
                agents: &self.state.header.environment.agents,
                now: self.server_time(),
                until: self.until(),
            },
            in_force: &in_force,
        })
    }

    /// Now, by the API server's clock.
    fn server_time(&self) -> Timestamp {
        let ahead = jiff::SignedDuration::from_millis(self.state.header.server_ahead_ms);
        self.clock.now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }

    /// When everything should be undone at the latest, by the API server's clock.
    pub(super) fn until(&self) -> Timestamp {
        let longest = plan::longest(&self.bounds, self.state.spec.objectives.recover_within());
        self.server_time().checked_add(longest).unwrap_or(Timestamp::MAX)
    }

    /// What was born since into what a step follows gets the fault too.
    pub(super) fn follow(&mut self) -> Result<(), EngineError> {
        for index in 0..self.state.steps.len() {
            let step = &self.state.spec.method[index];
            if step.target.as_ref().is_none_or(|target| target.follow != Some(true)) {
                continue;
            }
            let progress = &self.state.steps[index];
            let in_force = progress.ended.is_none()
                && progress.rounds.first().is_some_and(|ids| self.state.in_force_since(ids).is_some());
            if !in_force {
                continue;
            }
            let step = step.clone();
            let snapshot = self.world.mirror.snapshot();
            let hit: BTreeSet<ObjectRef> = rounds::hit(&self.state, index);
            let born = self.asked(&step, &snapshot, &Part { index, only: None }, |ask| plan::born(ask, &hit));
            let born: Vec<ObjectRef> = born
                .unwrap_or_default()
                .into_iter()
                .filter(|target| !self.passed_over.contains(target))
                .collect();
            if born.is_empty() {
                continue;
            }
            if let Some((reason, by)) = self.forbidden(&snapshot, Some(self.server_time())) {
                return self.append(Record::StopRequested { reason, by });
            }
            let planned = self.planned(&step, &snapshot, &Part { index, only: Some(&born) });
            self.arm_further(&planned, &snapshot)?;
            match planned {
                Ok(injections) => self.append(intent(step.name, injections, &snapshot))?,
                Err(findings) => {
                    self.passed_over.extend(born);
                    let why = findings.first().map(ToString::to_string).unwrap_or_default();
                    let text = format!("step {}: what was born since is left alone: {why}", step.name);
                    self.append(Record::Noted { text, written: None })?;
                }
            }
        }
        Ok(())
    }
}
