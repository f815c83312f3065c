//! Records into sentences: what is remarkable, told once, in the order of the journal.

mod samples;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{agents::Agents, facts::same_build, ink::Tone, tally::Tally, words};
use crate::{
    api::{Experiment, ProbeSpec},
    faults::{self, Injection, Lifetime},
    journal::{
        Answer, CheckOutcome, Deployed, Entry, InjectOutcome, Moment, Record, Residue, RevertOutcome,
        SampleState,
    },
    types::{ExitCode, InjectionId, Length, ObjectRef, Verdict},
};

/// Something remarkable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Milliseconds since the start of the run; negative before it.
    pub since_start_ms: i64,
    /// What it means.
    pub tone: Tone,
    /// In words, unescaped: whoever writes it anywhere makes it harmless for there.
    pub text: String,
}

/// Tells a journal as it grows. Many targets of one step make one sentence; whatever is unusual about one
/// of them makes its own.
#[derive(Debug, Default)]
pub struct Narrator {
    start: Option<Timestamp>,
    experiment: Option<Experiment>,
    injections: BTreeMap<InjectionId, Known>,
    tallies: BTreeMap<String, Tally>,
    reverting: BTreeSet<InjectionId>,
    reverted: usize,
    states: BTreeMap<String, SampleState>,
    /// Probes whose alert fires.
    alerts: BTreeSet<String>,
    before: Vec<Deployed>,
    /// What others have brought back themselves.
    brought_back: BTreeSet<InjectionId>,
    agents: Agents,
}

/// What is known of an injection.
#[derive(Debug)]
struct Known {
    step: String,
    target: ObjectRef,
    lasting: bool,
    /// Something that was not there before, and is taken away rather than put back.
    placed: bool,
}

/// How many names a sentence lists.
const NAMES: usize = 3;

/// Whether a fault stays until it is reverted; one that this version does not know is taken to.
pub(super) fn is_lasting(fault: &str) -> bool {
    faults::find(fault).is_none_or(|fault| fault.info().lifetime == Lifetime::Lasting)
}

impl Narrator {
    /// One that has heard nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file, once the first record was told and if it can be decoded.
    pub fn experiment(&self) -> Option<&Experiment> {
        self.experiment.as_ref()
    }

    /// Time of the first record.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// What is remarkable about one more entry: often nothing.
    pub fn tell(&mut self, entry: &Entry) -> Vec<Event> {
        let start = *self.start.get_or_insert(entry.at);
        let told = self.agents.take(entry).unwrap_or_else(|| {
            let mut told = Vec::new();
            self.of_the_run(entry, &mut told);
            self.of_steps(entry, &mut told);
            self.of_faults(entry, &mut told);
            self.of_load_pods(entry, &mut told);
            self.of_probes(entry, &mut told);
            self.of_the_end(entry, &mut told);
            told
        });
        let event =
            |(tone, text)| Event { at: entry.at, since_start_ms: words::millis(start, entry.at), tone, text };
        told.into_iter().map(event).collect()
    }

    fn since(&self, at: Timestamp) -> String {
        words::moment(words::millis(self.start.unwrap_or(at), at))
    }

    fn of_the_run(&mut self, entry: &Entry, told: &mut Vec<(Tone, String)>) {
        match &entry.record {
            Record::RunStarted(header) => {
                self.experiment = Experiment::from_value(&header.experiment).ok();
                let place = &header.environment;
                let place = if place.rehearsal {
                    "in rehearsal".to_owned()
                } else {
                    format!("on cluster {}", place.cluster)
                };
                told.push((Tone::Strong, format!("run {} begins {place}, seed {}", header.run, header.seed)));
            }
            Record::OwnerChanged { holder, by, why, goes_on } => {
                let then = if *goes_on { ", and goes on with it" } else { "" };
                let text = format!("{why}: {holder} owns the run from here on, for {by}{then}");
                told.push((Tone::Warning, text));
            }
            Record::Planned { findings, earliest_abort_ms, calls } => {
                let abort = match earliest_abort_ms {
                    0 => "no probe can abort".to_owned(),
                    length => format!("earliest abort {} after normal is lost", words::length(*length)),
                };
                let calls = words::count(usize::try_from(*calls).unwrap_or(usize::MAX), "API call");
                let text = format!("plan: {abort}; at most {calls}");
                told.push((Tone::Plain, text));
                for finding in findings {
                    let tone = if finding.is_error() { Tone::Bad } else { Tone::Warning };
                    told.push((tone, words::finding(finding)));
                }
            }
            Record::DeployedSeen { moment: Moment::Before, workloads } => self.before.clone_from(workloads),
            Record::DeployedSeen { moment: Moment::After, workloads } => {
                let changed = workloads.iter().filter(|after| {
                    let before = self.before.iter().find(|before| same_workload(before, after));
                    before.is_some_and(|before| differs(before, after))
                });
                told.extend(changed.map(|after| {
                    let before = self.before.iter().find(|before| same_workload(before, after));
                    let workload = &after.workload;
                    match before.filter(|before| same_build(before, after)) {
                        Some(_) => {
                            (Tone::Plain, format!("{workload} was rolled out, and is what it was before"))
                        }
                        None => (Tone::Warning, format!("{workload} is not what it was before the run")),
                    }
                }));
            }
            Record::BaselineStarted {} => {
                let length = self.experiment.as_ref().map(|experiment| experiment.spec.baseline_duration());
                let length = length.map_or(String::new(), |length| format!(", for {}", Length(length)));
                told.push((Tone::Strong, format!("baseline: measuring what normal is{length}")));
            }
            Record::BaselineHeld { stats } => {
                let means =
                    stats.iter().map(|(probe, stats)| format!("{probe} {}", words::number(stats.mean)));
                let means = means.collect::<Vec<_>>().join(", ");
                told.push((
                    Tone::Good,
                    format!("baseline holds: {means}").trim_end_matches([':', ' ']).to_owned(),
                ));
            }
            Record::Rescheduled {} => {
                told.push((Tone::Plain, "every pod is bound to a node again".to_owned()));
            }
            Record::Noted { text, .. } => told.push((Tone::Plain, text.clone())),
            _ => {}
        }
    }

    fn of_steps(&self, entry: &Entry, told: &mut Vec<(Tone, String)>) {
        match &entry.record {
            Record::StepStarted { step } => {
                let what = self
                    .experiment
                    .as_ref()
                    .and_then(|experiment| experiment.spec.step(step))
                    .map(words::step);
                let text = what.map_or_else(|| format!("step {step}"), |what| format!("step {step}: {what}"));
                told.push((Tone::Strong, text));
            }
            Record::LoadStarted { load, what, .. } => {
                told.push((Tone::Strong, format!("load {load} begins: {what}")));
            }
            Record::LoadEnded { load, tally } => {
                let tone = if tally.failed() > 0 { Tone::Warning } else { Tone::Plain };
                told.push((tone, format!("load {load} is over: {}", words::tally(tally))));
            }
            Record::StepRefused { step, findings } => {
                told.push((Tone::Bad, format!("step {step}: refused, nothing was changed by it")));
                told.extend(findings.iter().map(|finding| (Tone::Bad, words::finding(finding))));
            }
            Record::RoundSkipped { step, findings } => {
                told.push((Tone::Warning, format!("step {step}: a round is skipped")));
                told.extend(findings.iter().map(|finding| (Tone::Warning, words::finding(finding))));
            }
            Record::ManualAnswered { step, answer, by, comment } => {
                let (tone, word) = match answer {
                    Answer::Confirmed => (Tone::Good, "done"),
                    Answer::Failed => (Tone::Bad, "not done"),
                    Answer::TimedOut => (Tone::Bad, "not answered in time"),
                };
                let who = if by.is_empty() { String::new() } else { format!(", says {by}") };
                told.push((tone, with(format!("step {step}: {word}{who}"), comment)));
            }
            Record::StepSkipped { step, by, comment } => {
                told.push((Tone::Warning, with(format!("step {step}: skipped, says {by}"), comment)));
            }
            Record::TargetsChosen { step, targets } => {
                let names = words::names(targets.iter(), NAMES);
                told.push((Tone::Plain, format!("{step}: batch after batch through {names}")));
            }
            Record::Checked { step, outcome, detail } => {
                let (tone, word) = match outcome {
                    CheckOutcome::Held => (Tone::Good, "held"),
                    CheckOutcome::Failed => (Tone::Bad, "failed"),
                    CheckOutcome::NoData => (Tone::Bad, "has no data"),
                };
                told.push((tone, with(format!("check {step} {word}"), detail)));
            }
            _ => {}
        }
    }

    fn of_load_pods(&mut self, entry: &Entry, told: &mut Vec<(Tone, String)>) {
        let Record::LoadPodIntended { load, pod } = &entry.record else { return };
        let known =
            Known { step: format!("load {load}"), target: pod.target.clone(), lasting: true, placed: true };
        self.injections.insert(pod.id.clone(), known);
        told.push((Tone::Plain, format!("load {load}: {} is to send it", pod.target)));
    }

    fn of_faults(&mut self, entry: &Entry, told: &mut Vec<(Tone, String)>) {
        match &entry.record {
            Record::InjectIntended { step, injections, .. } => {
                self.intended(entry.at, step, injections, told)
            }
            Record::Injected { injection, outcome, detail } => {
                self.injected(injection, *outcome, detail, told)
            }
            Record::BroughtBack { injection, revision } => {
                self.brought_back.insert(injection.clone());
                let revision =
                    revision.as_ref().map_or_else(String::new, |now| format!(", as revision {now}"));
                let target = self.target_of(injection);
                told.push((
                    Tone::Good,
                    format!("others have brought the former release of {target} back{revision}"),
                ));
            }
            Record::EffectSeen { injection, evidence } => {
                let step = self.step_of(injection);
                let target = self.target_of(injection);
                let Some(tally) = self.tallies.get_mut(&step) else {
                    told.push((Tone::Good, with(format!("seen in force on {target}"), evidence)));
                    return;
                };
                tally.seen += 1;
                tally.last_seen = Some((entry.at, target, evidence.clone()));
                told.extend(tally.all_seen(&step));
            }
            Record::EffectMissed { injection, why } => {
                told.push((Tone::Bad, with(format!("no effect seen on {}", self.target_of(injection)), why)));
                let step = self.step_of(injection);
                if let Some(tally) = self.tallies.get_mut(&step) {
                    tally.missed += 1;
                    told.extend(tally.all_seen(&step));
                }
            }
            Record::RevertStarted { injections } => {
                // Agents, which are not among what is known, speak for themselves.
                let lasting = |id: &&InjectionId| self.injections.get(*id).is_some_and(|known| known.lasting);
                self.reverting = injections.iter().filter(lasting).cloned().collect();
                self.reverted = 0;
                for (step, tally) in self.tallies.iter_mut().filter(|(_, tally)| tally.answered < tally.total)
                {
                    let text = format!("{step}: {} of {} targets when this came", tally.done, tally.total);
                    told.push((Tone::Warning, text));
                    tally.total = tally.answered;
                }
                if self.reverting.is_empty() {
                    return;
                }
                let known = self.reverting.iter().filter_map(|id| self.injections.get(id));
                let targets: Vec<ObjectRef> = known.map(|known| known.target.clone()).collect();
                let whom = words::names(targets.iter(), NAMES);
                told.push((Tone::Strong, format!("putting back {whom}")));
            }
            Record::Reverted { injection, outcome, detail, met } => {
                if *met == Some(0) {
                    let text = format!("{}: no packet of anybody else was met", self.target_of(injection));
                    told.push((Tone::Warning, text));
                }
                self.taken_back(injection, *outcome, detail, told)
            }
            Record::RevertFailed { injection, error, attempt, .. } => {
                let target = self.target_of(injection);
                told.push((Tone::Bad, format!("putting back {target} failed (try {attempt}): {error}")));
            }
            _ => {}
        }
    }

    fn intended(
        &mut self,
        at: Timestamp,
        step: &str,
        injections: &[Injection],
        told: &mut Vec<(Tone, String)>,
    ) {
        for injection in injections {
            let known = Known {
                step: step.to_owned(),
                target: injection.target.clone(),
                lasting: is_lasting(&injection.fault),
                placed: false,
            };
            self.injections.insert(injection.id.clone(), known);
        }
        let tally = self.tallies.entry(step.to_owned()).or_default();
        // Large steps come in several records; what is complete begins anew.
        if tally.answered == tally.total {
            *tally = Tally { intended: Some(at), ..Tally::default() };
        }
        tally.total += injections.len();
        let hit: Vec<ObjectRef> = injections.iter().flat_map(faults::hit).collect();
        let names = words::names(hit.iter(), NAMES);
        let displaced: usize = injections.iter().map(|injection| injection.displaced.len()).sum();
        let displaced = match displaced {
            0 => String::new(),
            n => format!(", which displaces {}", words::count(n, "pod")),
        };
        told.push((Tone::Plain, format!("{step}: hits {names}{displaced}")));
    }

    fn injected(
        &mut self,
        injection: &InjectionId,
        outcome: InjectOutcome,
        detail: &str,
        told: &mut Vec<(Tone, String)>,
    ) {
        let step = self.step_of(injection);
        let target = self.target_of(injection);
        match outcome {
            InjectOutcome::Done => {}
            InjectOutcome::TargetGone => {
                told.push((
                    Tone::Warning,
                    with(format!("{step}: {target} was gone before it was hit"), detail),
                ));
            }
            InjectOutcome::Failed => {
                told.push((Tone::Bad, with(format!("{step}: {target} could not be hit"), detail)));
            }
        }
        let Some(tally) = self.tallies.get_mut(&step) else { return };
        tally.answered += 1;
        tally.done += usize::from(outcome == InjectOutcome::Done);
        if tally.answered != tally.total || tally.done == 0 {
            return;
        }
        let text = match (tally.done, tally.total) {
            (1, 1) => with(format!("{step}: {target}"), detail),
            (done, total) => with(format!("{step}: {done} of {total} targets"), detail),
        };
        told.push((Tone::Plain, text));
        told.extend(tally.all_seen(&step));
    }

    fn taken_back(
        &mut self,
        injection: &InjectionId,
        outcome: RevertOutcome,
        detail: &str,
        told: &mut Vec<(Tone, String)>,
    ) {
        let target = self.target_of(injection);
        let grouped = self.reverting.remove(injection);
        self.reverted += usize::from(grouped);
        match outcome {
            RevertOutcome::ChangedSince if self.brought_back.contains(injection) => {
                told.push((Tone::Good, with(format!("{target} has nothing to put back"), detail)));
            }
            RevertOutcome::ChangedSince => {
                let text = format!("{target} left alone: somebody else has changed it since");
                told.push((Tone::Warning, with(text, detail)));
            }
            RevertOutcome::TargetGone => {
                told.push((Tone::Warning, format!("{target} is gone: nothing to put back")))
            }
            // What an instant fault's revert says goes without saying.
            _ if !self.is_lasting(injection) => {}
            _ if !grouped || (self.reverting.is_empty() && self.reverted == 1) => {
                let placed = self.injections.get(injection).is_some_and(|known| known.placed);
                let how = if placed { "is gone again" } else { "is back" };
                told.push((Tone::Good, with(format!("{target} {how}, verified"), detail)));
            }
            _ => {}
        }
        if grouped && self.reverting.is_empty() && self.reverted > 1 {
            told.push((
                Tone::Good,
                format!("{} answered for, verified", words::count(self.reverted, "fault")),
            ));
        }
    }

    fn of_the_end(&mut self, entry: &Entry, told: &mut Vec<(Tone, String)>) {
        match &entry.record {
            Record::StopRequested { reason, by } => {
                told.push((Tone::Bad, with(format!("stopping: {}", words::stop_reason(*reason)), by)));
            }
            Record::Decided { verdict, reason, message } => {
                let tone = if *verdict == Verdict::Passed { Tone::Good } else { Tone::Bad };
                told.push((tone, with(format!("decided: {verdict} ({reason})"), message)));
            }
            Record::HoldChanged { held, by } => {
                let what = if *held { "held: no new step starts" } else { "going on" };
                told.push((Tone::Strong, with(what.to_owned(), by)));
            }
            Record::MethodEnded {} => told.push((Tone::Strong, "the method is over".to_owned())),
            Record::AllReverted { residue } if residue.is_empty() => {
                let hit = self.injections.values().any(|known| known.lasting);
                if hit {
                    told.push((Tone::Good, "everything is back".to_owned()));
                }
            }
            Record::AllReverted { residue } => told.extend(residue.iter().map(left)),
            Record::Finished { verdict, residue, .. } => {
                let code = ExitCode::of(*verdict, !residue.is_empty()) as u8;
                let tone = if code == 0 { Tone::Good } else { Tone::Bad };
                let left = if residue.is_empty() {
                    String::new()
                } else {
                    format!(", {} left behind", words::count(residue.len(), "change"))
                };
                told.push((tone, format!("over: {verdict}{left}, exit code {code}")));
            }
            _ => {}
        }
    }

    fn step_of(&self, injection: &InjectionId) -> String {
        self.injections.get(injection).map_or_else(|| injection.to_string(), |known| known.step.clone())
    }

    fn target_of(&self, injection: &InjectionId) -> String {
        self.injections.get(injection).map_or_else(|| injection.to_string(), |known| known.target.to_string())
    }

    fn is_lasting(&self, injection: &InjectionId) -> bool {
        self.injections.get(injection).is_none_or(|known| known.lasting)
    }

    fn probe(&self, name: &str) -> Option<&ProbeSpec> {
        self.experiment.as_ref().and_then(|experiment| experiment.spec.probe(name))
    }
}

/// A sentence and what there is to add.
pub(super) fn with(text: String, detail: &str) -> String {
    if detail.is_empty() { text } else { format!("{text}: {detail}") }
}

fn left(residue: &Residue) -> (Tone, String) {
    (Tone::Bad, format!("left behind: {}: {}; finish with: {}", residue.target, residue.what, residue.remedy))
}

/// Whether two sightings are of one workload, whatever its identity.
pub(super) fn same_workload(one: &Deployed, two: &Deployed) -> bool {
    let name = |seen: &Deployed| {
        (seen.workload.kind.clone(), seen.workload.namespace.clone(), seen.workload.name.clone())
    };
    name(one) == name(two)
}

/// Whether something else is deployed.
pub(super) fn differs(one: &Deployed, two: &Deployed) -> bool {
    one.revision != two.revision || one.images != two.images || one.commit != two.commit
}
