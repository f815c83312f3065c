//! The only loop that acts: writes down, injects, measures, takes back, as `next` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::{
    EngineError, Observer,
    applying::{apply, observe},
    awaited::Awaited,
    by_hand,
    deployed::{self, Releases},
    guarding::Guarding,
    injection::InjectionState,
    judging::Watched,
    keeper::Outside,
    loading::Loading,
    next::{Command, Patience, next},
    sampler::Measured,
    spans::Spans,
    state::{State, transition},
    unseen, unwind,
    unwritten::Unwritten,
};
use crate::{
    api::Action,
    env::{Clock, Rng},
    faults::{self, FaultError, Injected, World},
    journal::{Entry, InjectOutcome, Moment, Record, RevertOutcome, StopReason, Writer},
    plan::{Bounds, Consent},
    probes::cel::Expression,
    types::{InjectionId, ObjectRef, Verdict, planted},
};

/// How far the wall clock may run ahead of the monotonic one before the machine is held to have slept.
const SLEPT: Duration = Duration::from_secs(5);

/// Something that was under way is over.
pub(super) enum Outcome {
    Injected(InjectionId, Result<Injected, FaultError>),
    Seen(InjectionId, String),
    Lapsed(InjectionId, String),
    Unwound(Box<unwind::Unwound>),
}

impl Outcome {
    fn unwound(unwound: unwind::Unwound) -> Self {
        Self::Unwound(Box::new(unwound))
    }
}

/// Everything that the loop holds while a run goes on.
pub(super) struct Driver {
    pub world: World,
    pub clock: Clock,
    pub rng: Rng,
    pub consent: Consent,
    pub bounds: Bounds,
    pub patience: Patience,
    pub state: State,
    pub writer: Writer,
    pub observer: Observer,
    pub probes: BTreeMap<String, Watched>,
    pub checks: BTreeMap<String, Expression>,
    pub measured_rx: mpsc::UnboundedReceiver<Measured>,
    pub outside_rx: mpsc::UnboundedReceiver<Outside>,
    pub loading: Loading,
    /// Workloads whose rollouts matter, with the release that was there at the start.
    pub releases: Releases,
    pub slept_before: jiff::SignedDuration,
    /// What was born into a followed target and may not be hit.
    pub passed_over: BTreeSet<ObjectRef>,
    /// What this process has begun to take back: what comes back of it is not others' doing.
    pub taking_back: BTreeSet<InjectionId>,
    /// What the journal does not hold any more.
    pub unwritten: Option<Unwritten>,
    /// The Guardrails, where they are followed: a rollback asks none.
    pub guarding: Option<Guarding>,
    /// What a subscriber to traces is shown.
    pub spans: Spans,
}

/// What is under way in this process; lost with it, and begun again from the journal.
#[derive(Default)]
pub(super) struct Tasks {
    injecting: FuturesUnordered<BoxFuture<'static, Outcome>>,
    attending: FuturesUnordered<BoxFuture<'static, Option<Outcome>>>,
    attended: BTreeMap<InjectionId, AbortHandle>,
    reverting: FuturesUnordered<BoxFuture<'static, Outcome>>,
    injections: BTreeSet<InjectionId>,
    reverts: BTreeSet<InjectionId>,
    awaited: Awaited,
    /// How much was written down when it was asked what is next, or since then without changing that.
    asked: u64,
}

impl Tasks {
    /// Whether what is next stays as it was with this outcome. What is applied is looked for at once.
    fn same_is_next(&mut self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Injected(id, Ok(Injected::Done(_))) => self.awaited.has(id),
            Outcome::Injected(id, Ok(Injected::TargetGone)) | Outcome::Seen(id, _) => self.awaited.over(id),
            Outcome::Unwound(unwound) if unwound.again.is_none() => self.awaited.over(&unwound.id),
            _ => false,
        }
    }
}

impl Driver {
    /// Goes on until the run is over.
    ///
    /// # Errors
    /// The run is somebody else's, or was left on request; and damage that nothing can be done about.
    pub(super) async fn run(&mut self) -> Result<(), EngineError> {
        let mut tasks = Tasks::default();
        let mut mirror = self.world.mirror.clone();
        self.hear()?;
        loop {
            if self.state.stop.is_some() && !tasks.injections.is_empty() {
                // An abort pre-empts: what is in flight is dropped, and counts as having happened.
                tasks.injecting = FuturesUnordered::new();
                tasks.injections.clear();
            }
            self.load(&mut tasks)?;
            let patience = Patience { unseen: self.catching_up(), ..self.patience };
            let until = match next(&self.state, self.clock.now(), patience) {
                Command::Done => return Ok(()),
                Command::Record(record) => {
                    self.before_record(&record);
                    self.append(*record)?;
                    continue;
                }
                Command::Prepare(step) => {
                    self.prepare(step)?;
                    continue;
                }
                Command::Arm => {
                    self.arm()?;
                    continue;
                }
                Command::LookAtDeployed => {
                    self.rollout_unseen().await?;
                    self.look_at_deployed(Moment::After)?;
                    continue;
                }
                Command::Inject(ids, until) => {
                    tasks.awaited = Awaited::in_force(&self.state, &ids);
                    self.inject(&ids, &mut tasks);
                    until
                }
                Command::Revert(ids, until) => {
                    tasks.awaited = Awaited::back(&self.state, &ids);
                    self.revert(&ids, &mut tasks);
                    until
                }
                Command::Wait(until) => {
                    tasks.awaited = Awaited::default();
                    until
                }
            };
            // Until something is written down that changes it, or that time has come, the same is next.
            tasks.asked = self.state.written();
            let mut due = false;
            while self.state.written() == tasks.asked && !due {
                tokio::select! {
                    biased;
                    Some(outside) = self.outside_rx.recv(),
                        if tasks.injections.is_empty() || !planted("abort-waits") => self.outside(outside)?,
                    Some(outcome) = tasks.reverting.next() => self.outcome(outcome, &mut tasks)?,
                    Some(outcome) = tasks.injecting.next() => self.outcome(outcome, &mut tasks)?,
                    Some(lapsed) = tasks.attending.next() => if let Some(lapsed) = lapsed {
                        self.outcome(lapsed, &mut tasks)?;
                    },
                    Some(measured) = self.measured_rx.recv() => self.measured(measured)?,
                    () = mirror.changed() => self.world_changed()?,
                    () = sleep_until(&self.clock, until) => due = true,
                }
                self.slept()?;
            }
        }
    }

    /// Takes in what was said before it began, also where nothing is waited for.
    fn hear(&mut self) -> Result<(), EngineError> {
        while let Ok(said) = self.outside_rx.try_recv() {
            self.outside(said)?;
        }
        Ok(())
    }

    /// Writes down what was found out before the loop began.
    pub(super) fn note(&mut self, record: Record) -> Result<(), EngineError> {
        self.append(record)
    }

    /// Writes one record down and takes it in.
    pub(super) fn append(&mut self, record: Record) -> Result<(), EngineError> {
        let entry = self.writer.append(self.clock.now(), record)?;
        self.absorb(&entry)
    }

    fn absorb(&mut self, entry: &Entry) -> Result<(), EngineError> {
        transition(&mut self.state, entry)?;
        self.spans.on(&self.state, &entry.record);
        self.spans.now().in_scope(|| (self.observer)(entry));
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.entries.push(entry.clone());
        }
        Ok(())
    }

    fn before_record(&mut self, record: &Record) {
        match record {
            // From here on `before` is what it is now.
            Record::BaselineHeld { .. } => {
                for watched in self.probes.values_mut() {
                    watched.before.clone_from(&watched.latest);
                }
            }
            // A check looks at once.
            Record::StepStarted { step } => {
                if let Some(Action::Check(check)) = self.state.spec.step(step).map(|step| &step.action)
                    && let Some(sampler) =
                        self.probes.get(&check.probe).and_then(|watched| watched.sampler.as_ref())
                {
                    sampler.measure_now();
                }
            }
            Record::AllReverted { .. } => {
                for sampler in self.probes.values().filter_map(|watched| watched.sampler.as_ref()) {
                    sampler.measure_now();
                }
            }
            _ => {}
        }
    }

    pub(super) fn inject(&mut self, ids: &[InjectionId], tasks: &mut Tasks) {
        for id in ids {
            if tasks.injections.contains(id) {
                continue;
            }
            let Some(found) = self.state.injection(id) else { continue };
            tasks.injections.insert(id.clone());
            let (world, injection) = (self.world.clone(), found.injection.clone());
            let task = if found.injected.is_none() {
                let durable = self.writer.durable();
                let span = self.spans.injection(&self.state, found);
                durable.then(|()| apply(world, injection)).instrument(span).boxed()
            } else {
                observe(world, injection).instrument(self.spans.effect(&self.state, found)).boxed()
            };
            tasks.injecting.push(task);
        }
    }

    pub(super) fn revert(&mut self, ids: &[InjectionId], tasks: &mut Tasks) {
        for id in ids {
            let Some(found) = self.state.injection(id) else { continue };
            if tasks.reverts.insert(id.clone()) {
                self.taking_back.insert(id.clone());
                if let Some(attended) = tasks.attended.remove(id) {
                    attended.abort();
                }
                let (world, injection) = (self.world.clone(), found.injection.clone());
                let span = self.spans.revert(&injection, 1);
                let unwound = unwind::revert(world, injection, 1).instrument(span);
                tasks.reverting.push(unwound.map(Outcome::unwound).boxed());
            }
        }
    }

    /// Before a further try: the last one begins when reverting is given up, not after that.
    fn pause(&self, attempt: u32) -> Duration {
        let give_up = self.state.reverting.and_then(|since| since.checked_add(self.patience.revert).ok());
        let left = give_up.map(|give_up| super::steady::elapsed(self.clock.now(), give_up));
        let pause = unwind::pause(attempt);
        left.filter(|left| !left.is_zero()).map_or(pause, |left| pause.min(left))
    }

    fn outcome(&mut self, outcome: Outcome, tasks: &mut Tasks) -> Result<(), EngineError> {
        let same = tasks.same_is_next(&outcome);
        let applied = match &outcome {
            Outcome::Injected(id, Ok(Injected::Done(_))) if same => Some(id.clone()),
            _ => None,
        };
        self.take_in(outcome, tasks)?;
        if same {
            tasks.asked = self.state.written();
        }
        self.inject(applied.as_slice(), tasks);
        Ok(())
    }

    fn take_in(&mut self, outcome: Outcome, tasks: &mut Tasks) -> Result<(), EngineError> {
        match outcome {
            Outcome::Injected(injection, result) => {
                tasks.injections.remove(&injection);
                let (outcome, detail) = match result {
                    Ok(Injected::Done(detail)) => (InjectOutcome::Done, detail),
                    Ok(Injected::RolledOut { said, template }) => {
                        let injection = injection.clone();
                        self.append(Record::TemplateWritten { injection, template })?;
                        (InjectOutcome::Done, said)
                    }
                    Ok(Injected::TargetGone) => (InjectOutcome::TargetGone, "the target was gone".to_owned()),
                    Err(error) => {
                        let target = self.state.injection(&injection).map(|found| &found.injection.target);
                        (InjectOutcome::Failed, error.about(target.unwrap_or(&ObjectRef::default())))
                    }
                };
                self.append(Record::Injected { injection, outcome, detail })
            }
            Outcome::Seen(injection, evidence) => {
                tasks.injections.remove(&injection);
                self.attend(&injection, tasks);
                self.append(Record::EffectSeen { injection, evidence })
            }
            Outcome::Lapsed(injection, how) => {
                tasks.attended.remove(&injection);
                self.lapsed(injection, how)
            }
            Outcome::Unwound(unwound) => {
                let record = unwound.record();
                match unwound.again {
                    Some((injection, attempt)) => {
                        let (world, pause) = (self.world.clone(), self.pause(attempt));
                        let span = self.spans.revert(&injection, attempt);
                        let task = unwind::revert_after(pause, world, injection, attempt).instrument(span);
                        tasks.reverting.push(task.map(Outcome::unwound).boxed());
                    }
                    None => {
                        tasks.reverts.remove(&unwound.id);
                    }
                }
                self.append(record)
            }
        }
    }

    /// Stays with an injection from now on, where its fault asks for that.
    fn attend(&self, id: &InjectionId, tasks: &mut Tasks) {
        let Some(found) = self.state.injections.get(id) else { return };
        let (world, injection) = (self.world.clone(), found.injection.clone());
        let staying = async move {
            let how = faults::find(&injection.fault)?.attend(&world, &injection)?.await;
            Some(Outcome::Lapsed(injection.id.clone(), how))
        };
        let (staying, handle) = abortable(staying);
        tasks.attended.insert(id.clone(), handle);
        tasks.attending.push(staying.map(|stayed| stayed.ok().flatten()).boxed());
    }

    /// A fault is over that should be in force: what was asked is not what was done.
    fn lapsed(&mut self, injection: InjectionId, detail: String) -> Result<(), EngineError> {
        let pending = self.state.injections.get(&injection).is_some_and(InjectionState::pending);
        if !pending || self.taking_back.contains(&injection) {
            return Ok(());
        }
        let by = format!("injection {injection}, which has ended by itself: {detail}");
        self.append(Record::Reverted {
            injection,
            outcome: RevertOutcome::ExpiredByItself,
            detail,
            met: None,
        })?;
        if self.state.stop.is_some() || self.state.method_ended.is_some() {
            return Ok(());
        }
        self.append(Record::StopRequested { reason: StopReason::NoEffect, by })
    }

    fn outside(&mut self, outside: Outside) -> Result<(), EngineError> {
        match outside {
            Outside::Answered(step, answer, by, comment) => {
                let waits =
                    self.state.step_index(&step).is_some_and(|index| by_hand::waits(&self.state, index));
                // Only what is asked can be answered, and once.
                if !waits || self.state.method_ended.is_some() || self.state.stop.is_some() {
                    return Ok(());
                }
                self.append(Record::ManualAnswered { step, answer, by, comment })
            }
            Outside::Skipped(step, by, comment) => {
                // What waits for somebody's hands has begun, and nothing of it is done.
                let late = |index: usize| {
                    let progress = &self.state.steps[index];
                    let begun = progress.started.is_some() || progress.ended.is_some();
                    begun && !by_hand::waits(&self.state, index)
                };
                let over = self.state.method_ended.is_some() || self.state.stop.is_some();
                if over || self.state.step_index(&step).is_none_or(late) {
                    return Ok(());
                }
                self.append(Record::StepSkipped { step, by, comment })
            }
            Outside::Hold(held, _) if held == self.state.held || self.state.finished => Ok(()),
            Outside::Hold(held, by) => self.append(Record::HoldChanged { held, by }),
            Outside::Noted(text, written) => {
                // Whoever takes a run over hears once more what is on record.
                if self.state.finished || self.state.notes.contains(&(written.clone(), text.clone())) {
                    return Ok(());
                }
                self.append(Record::Noted { text, written: Some(written) })
            }
            Outside::Stop(..) if self.state.stop.is_some() => Ok(()),
            Outside::Stop(reason, by) => self.append(Record::StopRequested { reason, by }),
            // Nothing is left to leave: only the wait until it is steady again is cut short.
            Outside::Leave if self.state.pending().next().is_none() => {
                if self.state.impatient {
                    return Ok(());
                }
                let (reason, by) = (StopReason::Signal, "a second signal, with nothing in force".to_owned());
                self.append(Record::StopRequested { reason, by })
            }
            Outside::Leave => Err(EngineError::Left(self.state.header.run.clone())),
            Outside::Lost(why) => {
                self.world.access.fence().close(why.clone());
                Err(EngineError::Lost(self.state.header.run.clone(), why))
            }
        }
    }

    /// Before a verdict that would be good: whether a rollout has passed unseen.
    async fn rollout_unseen(&mut self) -> Result<(), EngineError> {
        if self.state.decided.is_some() || self.state.stop.is_some() {
            return Ok(());
        }
        let found = unseen::rollout(&self.world.access, &self.releases, &self.state).await;
        let Some(message) = found else { return Ok(()) };
        let (verdict, reason) = (Verdict::Inconclusive, "RolloutNoticed".to_owned());
        self.append(Record::Decided { verdict, reason, message })
    }

    fn look_at_deployed(&mut self, moment: Moment) -> Result<(), EngineError> {
        let concerned: BTreeSet<ObjectRef> = self.releases.keys().cloned().collect();
        let workloads = deployed::look(&self.world.mirror.snapshot(), &concerned);
        self.append(Record::DeployedSeen { moment, workloads })
    }

    /// A gap between the clocks is a runner that was gone.
    fn slept(&mut self) -> Result<(), EngineError> {
        let gap = self.clock.slept() - self.slept_before;
        if gap.as_secs() < SLEPT.as_secs() as i64 || self.state.stop.is_some() {
            return Ok(());
        }
        self.slept_before = self.clock.slept();
        let by = format!("the machine slept for {}s", gap.as_secs());
        self.append(Record::StopRequested { reason: StopReason::RunnerLost, by })
    }
}

async fn sleep_until(clock: &Clock, until: Option<Timestamp>) {
    match until {
        Some(until) => clock.sleep_until(until).await,
        None => std::future::pending().await,
    }
}
