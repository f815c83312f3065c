//! The fold over a journal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    agents::Agents,
    clocks,
    facts::{
        CheckFacts, DeployedFacts, Facts, FaultWindow, InForce, InjectionFacts, LoadFacts, Note, Outcome,
        Owner, People, Place, PlanFacts, ReportError, Source, StepFacts, StepState, Stop, Told, Violation,
    },
    narrate::{Narrator, differs, is_lasting, same_workload},
    probes::{self, ProbeFacts},
    rehearsed::without_a_cluster,
    words,
};
use crate::{
    api::{Experiment, Step},
    faults::Injection,
    journal::{Deployed, Entry, Header, Moment, Record, Residue, SampleState},
    types::{ExitCode, InjectionId, Phase, Verdict},
};

/// What is said of a run whose journal has no last record.
const NO_END: &str = "the run has no end: its runner died or is still at work";

impl Facts {
    /// Tells a run from its journal.
    ///
    /// # Errors
    /// No entry at all, or a first one that is not `RunStarted`. A file in the journal that this version
    /// cannot decode is no error: the facts that need it are missing, and a note says so.
    pub fn from_entries(entries: &[Entry]) -> Result<Self, ReportError> {
        let first = entries.first().ok_or(ReportError::Empty)?;
        let last = entries.last().ok_or(ReportError::Empty)?;
        let Record::RunStarted(header) = &first.record else { return Err(ReportError::NoHeader) };
        let decoded = Experiment::from_value(&header.experiment);
        let experiment = decoded.as_ref().ok();
        let mut gather = Gather::new(experiment);
        for entry in entries {
            if let Some(said) = gather.agents.take(entry) {
                gather.notes.extend(said.into_iter().map(|(_, text)| Note::of(&text, None, entry.at)));
                continue;
            }
            let _ = gather.of_the_run(entry) || gather.of_loads(entry) || gather.of_faults(entry);
        }
        if header.environment.rehearsal {
            gather.in_rehearsal();
        }
        if let Err(error) = &decoded {
            let text = format!(
                "the file in the journal cannot be decoded, so probes and steps lack their details: {error}"
            );
            gather.notes.insert(0, Note::of(&text, None, first.at));
        }
        let window = gather.window();
        let probes = probes::collect(entries, experiment, window.as_ref());
        let clocks = clocks::clocks(entries, window.as_ref());
        let mut objectives =
            clocks::objectives(experiment, &clocks, gather.measurably_lost(&probes), window.is_some());
        let missed = gather.decided.as_ref().is_some_and(|(_, reason, _)| reason == "DetectionMissed");
        objectives.extend(clocks::detection(experiment, &clocks, missed));
        let mut narrator = Narrator::new();
        Ok(Self {
            run: header.run.clone(),
            experiment: text_at(header, "/metadata/name"),
            hypothesis: text_at(header, "/spec/hypothesis"),
            outcome: gather.outcome(),
            started: first.at,
            ended: gather.finished.then_some(last.at),
            last_seen: last.at,
            place: place(header),
            people: People::of(header, gather.owners.clone()),
            source: Source { file: header.file.clone(), seed: header.seed, version: header.version.clone() },
            limits: header.limits.clone(),
            fault_window: window,
            objectives,
            breakdown: clocks::breakdown(entries, &clocks, &probes, window.as_ref()),
            clocks,
            violations: gather.violations(&probes),
            lanes: probes::lanes(&probes),
            probes,
            deployed: gather.deployed(),
            in_force: gather.in_force(header),
            residue: gather.residue.clone(),
            plan: gather.plan,
            steps: gather.steps,
            loads: gather.loads,
            not_recovered: gather.not_recovered,
            notes: gather.notes,
            timeline: entries.iter().flat_map(|entry| narrator.tell(entry)).collect(),
        })
    }
}

fn text_at(header: &Header, pointer: &str) -> String {
    header.experiment.pointer(pointer).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

fn place(header: &Header) -> Place {
    let environment = header.environment.clone();
    Place {
        cluster: environment.cluster,
        server: environment.server,
        context: environment.context,
        version: environment.version,
        rehearsal: environment.rehearsal,
        namespace: header.namespace.clone(),
        namespaces: header.namespaces.clone(),
        metrics: header.metrics.clone(),
    }
}

/// What has been read so far.
struct Gather {
    owners: Vec<Owner>,
    plan: Option<PlanFacts>,
    steps: Vec<StepFacts>,
    loads: Vec<LoadFacts>,
    /// Where an injection is: step and place in it.
    places: BTreeMap<InjectionId, (usize, usize)>,
    seen: Vec<(Moment, Vec<Deployed>)>,
    violated: Vec<(Timestamp, String, Timestamp, bool)>,
    stop: Option<Stop>,
    decided: Option<(Verdict, String, String)>,
    finished: bool,
    phase: Phase,
    first_intent: Option<Timestamp>,
    in_force: Option<Timestamp>,
    lifted: Option<Timestamp>,
    method_ended: Option<Timestamp>,
    all_reverted: bool,
    residue: Vec<Residue>,
    not_recovered: Vec<String>,
    notes: Vec<Note>,
    agents: Agents,
}

impl Gather {
    fn new(experiment: Option<&Experiment>) -> Self {
        let method = experiment.map(|experiment| experiment.spec.method.as_slice()).unwrap_or_default();
        Self {
            owners: Vec::new(),
            plan: None,
            steps: method.iter().map(declared).collect(),
            loads: Vec::new(),
            places: BTreeMap::new(),
            seen: Vec::new(),
            violated: Vec::new(),
            stop: None,
            decided: None,
            finished: false,
            phase: Phase::Pending,
            first_intent: None,
            in_force: None,
            lifted: None,
            method_ended: None,
            all_reverted: false,
            residue: Vec::new(),
            not_recovered: Vec::new(),
            notes: Vec::new(),
            agents: Agents::default(),
        }
    }

    /// There is no cluster that a remedy could be about.
    fn in_rehearsal(&mut self) {
        let planned = self.plan.iter_mut().map(|plan| &mut plan.findings);
        for findings in planned.chain(self.steps.iter_mut().map(|step| &mut step.refusals)) {
            without_a_cluster(findings, "the manifests");
        }
    }

    /// Takes what concerns the run as a whole; whether it was that.
    fn of_the_run(&mut self, entry: &Entry) -> bool {
        let at = entry.at;
        match &entry.record {
            Record::OwnerChanged { holder, by, why, .. } => {
                self.owners.push(Owner { at, holder: holder.clone(), by: by.clone(), why: why.clone() });
                // Whoever takes over has not ended it yet.
                self.finished = false;
            }
            Record::Planned { findings, earliest_abort_ms, calls } => {
                let findings = findings.clone();
                self.plan =
                    Some(PlanFacts { findings, earliest_abort_ms: *earliest_abort_ms, calls: *calls });
            }
            Record::DeployedSeen { moment, workloads } => self.seen.push((*moment, workloads.clone())),
            Record::BaselineStarted {} => self.phase = Phase::Baseline,
            Record::BaselineHeld { .. } => self.phase = Phase::Observing,
            Record::Violated { probe, since, missing } => {
                self.violated.push((at, probe.clone(), *since, *missing));
            }
            Record::StopRequested { reason, by } => {
                let why = words::stop_reason(*reason).to_owned();
                self.stop.get_or_insert(Stop { at, why, by: by.clone() });
            }
            Record::Decided { verdict, reason, message } => {
                self.decided.get_or_insert((*verdict, reason.clone(), message.clone()));
            }
            Record::MethodEnded {} => {
                self.method_ended = Some(at);
                self.phase = Phase::Recovering;
            }
            Record::AllReverted { residue } => {
                self.all_reverted = true;
                self.residue.clone_from(residue);
                self.phase = Phase::Recovering;
            }
            Record::NotRecovered { probes } => self.not_recovered.clone_from(probes),
            Record::Recovered { .. } => self.not_recovered.clear(),
            Record::Noted { text, written } => self.notes.push(Note::of(text, written.as_ref(), at)),
            Record::Finished { verdict, residue, .. } => {
                self.finished = true;
                self.phase = Phase::Finished;
                self.residue.clone_from(residue);
                let (reason, message) =
                    self.decided.take().map(|(_, reason, message)| (reason, message)).unwrap_or_default();
                self.decided = Some((*verdict, reason, message));
            }
            _ => return false,
        }
        true
    }

    /// Takes what concerns loads; whether it was that.
    fn of_loads(&mut self, entry: &Entry) -> bool {
        let at = entry.at;
        match &entry.record {
            Record::LoadStarted { load, of_step, what } => {
                if *of_step {
                    self.first_intent.get_or_insert(at);
                }
                self.loads.push(LoadFacts {
                    name: load.clone(),
                    of_step: *of_step,
                    what: what.clone(),
                    started: at,
                    ended: None,
                    tally: None,
                });
            }
            Record::LoadEnded { load, tally } => {
                if let Some(facts) = self.loads.iter_mut().find(|facts| facts.name == *load) {
                    facts.ended = Some(at);
                    facts.tally = Some((**tally).clone());
                    if facts.of_step {
                        self.lifted = self.lifted.max(Some(at));
                    }
                }
            }
            _ => return false,
        }
        true
    }

    /// Takes what concerns steps and faults; whether it was that.
    fn of_faults(&mut self, entry: &Entry) -> bool {
        let at = entry.at;
        match &entry.record {
            Record::StepStarted { step } => {
                let step = self.step(step);
                step.state = StepState::Begun;
                step.started = Some(at);
            }
            Record::StepEnded { step } => {
                let step = self.step(step);
                step.ended = Some(at);
                if step.state != StepState::Refused {
                    step.state = StepState::Ended;
                }
            }
            Record::StepRefused { step, findings } => {
                let step = self.step(step);
                step.state = StepState::Refused;
                step.refusals.clone_from(findings);
            }
            Record::Checked { step, outcome, detail } => {
                self.step(step).check = Some(CheckFacts { at, outcome: *outcome, detail: detail.clone() });
            }
            Record::InjectIntended { step, injections, .. } => self.intended(at, step, injections),
            Record::Injected { injection, outcome, detail } => {
                self.phase = Phase::Observing;
                let told = Told { at, outcome: *outcome, detail: detail.clone() };
                self.with(injection, |facts| facts.injected = Some(told));
            }
            Record::EffectSeen { injection, evidence } => {
                self.in_force.get_or_insert(at);
                self.lifted = self.lifted.max(Some(at));
                let told = Told { at, outcome: true, detail: evidence.clone() };
                self.with(injection, |facts| facts.effect = Some(told));
            }
            Record::BroughtBack { injection, .. } => {
                self.with(injection, |facts| facts.brought_back = Some(at));
            }
            Record::EffectMissed { injection, why } => {
                let told = Told { at, outcome: false, detail: why.clone() };
                self.with(injection, |facts| facts.effect = Some(told));
            }
            Record::RevertStarted { .. } => self.phase = Phase::Reverting,
            Record::Reverted { injection, outcome, detail, met } => {
                self.lifted = self.lifted.max(Some(at).filter(|_| self.places.contains_key(injection)));
                let told = Told { at, outcome: *outcome, detail: detail.clone() };
                self.with(injection, |facts| (facts.reverted, facts.met) = (Some(told), *met));
            }
            Record::RevertFailed { injection, error, attempt, .. } => self.with(injection, |facts| {
                facts.revert_failures = facts.revert_failures.max(*attempt);
                facts.revert_error.clone_from(error);
            }),
            _ => return false,
        }
        true
    }

    /// The step of that name; one that the file does not have is added.
    fn step(&mut self, name: &str) -> &mut StepFacts {
        let place = self.step_place(name);
        &mut self.steps[place]
    }

    fn step_place(&mut self, name: &str) -> usize {
        match self.steps.iter().position(|step| step.name == name) {
            Some(place) => place,
            None => {
                self.steps.push(empty(name));
                self.steps.len() - 1
            }
        }
    }

    fn intended(&mut self, at: Timestamp, step: &str, injections: &[Injection]) {
        self.phase = Phase::Injecting;
        self.first_intent.get_or_insert(at);
        let place = self.step_place(step);
        for injection in injections {
            let facts = InjectionFacts {
                id: injection.id.clone(),
                fault: injection.fault.clone(),
                lasting: is_lasting(&injection.fault),
                target: injection.target.clone(),
                displaced: injection.displaced.clone(),
                action: injection.action.clone(),
                before: injection.before.clone(),
                intended: at,
                injected: None,
                effect: None,
                brought_back: None,
                reverted: None,
                met: None,
                revert_failures: 0,
                revert_error: String::new(),
            };
            self.places.insert(injection.id.clone(), (place, self.steps[place].injections.len()));
            self.steps[place].injections.push(facts);
        }
    }

    fn with(&mut self, id: &InjectionId, change: impl FnOnce(&mut InjectionFacts)) {
        if let Some(&(step, place)) = self.places.get(id) {
            change(&mut self.steps[step].injections[place]);
        }
    }

    fn window(&self) -> Option<FaultWindow> {
        let begin = self.first_intent?;
        let lasting =
            self.steps.iter().flat_map(|step| &step.injections).any(InjectionFacts::may_be_in_force);
        let over = self.finished || self.all_reverted || (self.method_ended.is_some() && !lasting);
        let method = self.method_ended.or(self.stop.as_ref().map(|stop| stop.at));
        let end = self.lifted.max(method).unwrap_or(begin).max(begin);
        // Without a fault, what disturbs is the load.
        let loaded = || self.loads.iter().find(|load| load.of_step).map(|load| load.started);
        let in_force = self.in_force.or_else(loaded);
        Some(FaultWindow { begin, in_force, end: over.then_some(end) })
    }

    fn outcome(&self) -> Outcome {
        let decided = self.decided.clone();
        let verdict = decided.as_ref().map(|(verdict, ..)| *verdict);
        let (reason, mut message) = decided.map(|(_, reason, message)| (reason, message)).unwrap_or_default();
        if !self.finished {
            message = if message.is_empty() { NO_END.to_owned() } else { format!("{message}; {NO_END}") };
        }
        let code = |verdict| ExitCode::of(verdict, !self.residue.is_empty()) as u8;
        Outcome {
            finished: self.finished,
            verdict,
            reason,
            message,
            exit_code: verdict.filter(|_| self.finished).map(code),
            phase: self.phase,
            stop: self.stop.clone(),
        }
    }

    fn violations(&self, probes: &[ProbeFacts]) -> Vec<Violation> {
        let violation = |(at, name, since, missing): &(Timestamp, String, Timestamp, bool)| {
            let probe = probes.iter().find(|probe| probe.name == *name);
            let guarded = self.first_intent.is_some_and(|intent| *at >= intent);
            let expression = probe.map(|probe| if guarded { &probe.during } else { &probe.expect });
            let sample = probe.and_then(|probe| probe.sample_at(*at));
            Violation {
                probe: name.clone(),
                since: *since,
                at: *at,
                value: sample.and_then(|sample| sample.value),
                note: sample.map(|sample| sample.note.clone()).unwrap_or_default(),
                expression: expression.cloned().unwrap_or_default(),
                patience: probe.map(|probe| probe.patience.clone()).unwrap_or_default(),
                missing: *missing,
            }
        };
        self.violated.iter().map(violation).collect()
    }

    /// Whether some probe that did not come back was measured to the end: without data nothing is missed.
    fn measurably_lost(&self, probes: &[ProbeFacts]) -> bool {
        let lost = probes.iter().filter(|probe| self.not_recovered.contains(&probe.name));
        lost.filter_map(|probe| probe.samples.last()).any(|sample| sample.state != SampleState::Missing)
    }

    fn deployed(&self) -> Vec<DeployedFacts> {
        let mut all: Vec<DeployedFacts> = Vec::new();
        for (moment, workloads) in &self.seen {
            for seen in workloads {
                let known = all.iter_mut().find(|facts| {
                    facts.before.iter().chain(&facts.after).any(|other| same_workload(other, seen))
                });
                match (known, moment) {
                    (Some(facts), Moment::Before) => facts.before = Some(seen.clone()),
                    (Some(facts), Moment::After) => facts.after = Some(seen.clone()),
                    (None, Moment::Before) => {
                        all.push(DeployedFacts { before: Some(seen.clone()), after: None, changed: None });
                    }
                    (None, Moment::After) => {
                        all.push(DeployedFacts { before: None, after: Some(seen.clone()), changed: None });
                    }
                }
            }
        }
        for facts in &mut all {
            facts.changed =
                facts.before.as_ref().zip(facts.after.as_ref()).map(|(before, after)| differs(before, after));
        }
        all
    }

    fn in_force(&self, header: &Header) -> Vec<InForce> {
        if self.finished {
            return Vec::new();
        }
        let injections = self.steps.iter().flat_map(|step| &step.injections);
        let open = injections.filter(|injection| injection.may_be_in_force());
        let what = |injection: &InjectionFacts| match (&injection.injected, &injection.effect) {
            (_, Some(effect)) if effect.outcome => {
                format!("{} was seen in force, and no revert is on record", injection.fault)
            }
            (Some(_), _) => format!("{} was injected, and no revert is on record", injection.fault),
            (None, _) => format!("{} was about to be injected: it may or may not have been", injection.fault),
        };
        open.map(|injection| InForce {
            injection: injection.id.clone(),
            target: injection.target.clone(),
            what: what(injection),
            remedy: format!("firedrill rollback {}", header.run),
        })
        .collect()
    }
}

fn empty(name: &str) -> StepFacts {
    StepFacts {
        name: name.to_owned(),
        kind: String::new(),
        what: String::new(),
        description: String::new(),
        state: StepState::NotReached,
        started: None,
        ended: None,
        injections: Vec::new(),
        check: None,
        refusals: Vec::new(),
    }
}

fn declared(step: &Step) -> StepFacts {
    StepFacts {
        kind: words::step_kind(step),
        what: words::step(step),
        description: step.description.clone(),
        ..empty(&step.name)
    }
}
