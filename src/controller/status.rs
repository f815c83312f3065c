//! The status of a Run: the only place that writes it, and what it says.
//!
//! At most 32 KiB, however many targets: counts, the first few of what could be many, and texts that are cut.

mod day;
mod writer;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::day::DayTold;
pub(super) use self::writer::Writer;
use super::seen::RunSeen;
use crate::{
    cluster::SegmentSize,
    engine::{self, State},
    journal::{Clocks, Entry, InjectOutcome, Record, Residue},
    types::{Finding, Length, Phase, Verdict, counted},
};

/// The most that a status may take, in bytes of JSON.
pub const MOST: usize = 32 * 1024;
/// How many findings it names, and how long their words may be.
const FINDINGS: (usize, usize) = (16, 300);
/// How many things that are left it names, and how long their words may be.
const RESIDUE: (usize, usize) = (10, 400);
/// How long any other text may be, in bytes.
const WORDS: usize = 500;

/// What is known of a run that is to be told.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    state: Option<State>,
    started: Option<Timestamp>,
    records: u64,
    epoch: u64,
    findings: Vec<Finding>,
    finished: Option<(Timestamp, Verdict, Clocks, Vec<Residue>)>,
    /// What it waits for before it begins, in words.
    waiting: String,
    /// Why it did not begin: when, verdict, reason, words.
    declined: Option<(Timestamp, Verdict, String, String)>,
    /// The hash of what was asked.
    hash: String,
    /// Whether enough have agreed, and who; None: nobody has to.
    approved: Option<(bool, String)>,
    /// Of a game day; the rest is of the part of it that runs.
    day: Option<DayTold>,
}

impl Progress {
    /// Takes one more record in. What cannot come there changes nothing: the engine says so itself.
    pub fn on(&mut self, entry: &Entry) {
        if let Record::Day(record) = &entry.record {
            self.records += 1;
            return self.on_day(entry.at, record);
        }
        self.records = match &self.day {
            Some(_) => self.records + 1,
            None => entry.seq + 1,
        };
        self.epoch = self.epoch.max(entry.epoch.0);
        match (&mut self.state, &entry.record) {
            (None, _) => {
                self.state = State::new(entry).ok();
                self.started.get_or_insert(entry.at);
            }
            (Some(state), _) => {
                // A record that is illegal ends the run with an error of the engine's.
                let _ = engine::transition(state, entry);
            }
        }
        match &entry.record {
            Record::Planned { findings, .. }
            | Record::StepRefused { findings, .. }
            | Record::RoundSkipped { findings, .. } => {
                let room = FINDINGS.0.saturating_sub(self.findings.len());
                self.findings.extend(findings.iter().take(room).cloned());
            }
            Record::Finished { verdict, clocks, residue } => {
                self.finished = Some((entry.at, *verdict, *clocks, residue.clone()));
            }
            Record::OwnerChanged { .. } => self.finished = None,
            _ => {}
        }
    }

    /// It does not begin.
    pub fn decline(
        &mut self,
        at: Timestamp,
        (verdict, reason, words): (Verdict, &str, String),
        findings: Vec<Finding>,
    ) {
        self.findings = findings;
        self.declined = Some((at, verdict, reason.to_owned(), words));
    }

    /// It waits before it begins.
    pub fn wait(&mut self, words: String) {
        self.waiting = words;
    }

    /// What was asked, and who has agreed; it waits for the rest.
    pub fn asks(&mut self, hash: &str, approved: Option<(bool, String)>, words: String) {
        hash.clone_into(&mut self.hash);
        self.approved = approved;
        self.waiting = words;
    }

    /// What it meant, if that is known.
    pub fn verdict(&self) -> Option<Verdict> {
        let declined = self.declined.as_ref().map(|(_, verdict, ..)| *verdict);
        if let Some(day) = &self.day {
            return declined.or_else(|| day.over.as_ref().map(|(_, verdict, ..)| *verdict));
        }
        declined.or_else(|| self.state.as_ref()?.decided.as_ref().map(|(verdict, ..)| *verdict))
    }

    fn clocks(&self) -> Clocks {
        match (&self.finished, &self.state) {
            (Some((_, _, clocks, _)), _) => *clocks,
            (None, Some(state)) => state.clocks(),
            (None, None) => Clocks::default(),
        }
    }

    /// EXPERIMENT/STEP, or what people are asked.
    fn current_step(&self) -> Option<String> {
        let state = self.state.as_ref();
        if let Some(day) = &self.day {
            return day.current_step(state);
        }
        let state = state?;
        current_step(state, state.header.experiment["metadata"]["name"].as_str().unwrap_or_default())
    }

    fn phase(&self) -> Phase {
        match &self.state {
            _ if self.declined.is_some() => Phase::Finished,
            _ if self.day.as_ref().is_some_and(|day| day.over.is_some()) => Phase::Finished,
            // Between two parts of a game day.
            Some(state) if self.day.is_some() && state.finished => Phase::Pending,
            Some(state) => state.phase(),
            None if self.approved.as_ref().is_some_and(|(enough, _)| !enough) => Phase::AwaitingApproval,
            None => Phase::Pending,
        }
    }

    /// Reason and words.
    fn why(&self) -> (String, String) {
        if let Some((_, _, reason, words)) = &self.declined {
            return (reason.clone(), words.clone());
        }
        if let Some((_, _, reason, words)) = self.day.as_ref().and_then(|day| day.over.as_ref()) {
            return (reason.clone(), words.clone());
        }
        let Some(state) = self.state.as_ref().filter(|state| self.day.is_none() || !state.finished) else {
            let reason = match self.phase() {
                Phase::AwaitingApproval => "AwaitingApproval",
                _ if self.day.as_ref().is_some_and(|day| day.held) => "Held",
                _ if self.waiting.is_empty() => "Pending",
                _ => "Waiting",
            };
            return (reason.to_owned(), self.waiting.clone());
        };
        match (&state.decided, &state.stop) {
            (Some((_, reason, words)), _) => (reason.clone(), words.clone()),
            (None, Some((reason, by, _))) => (format!("{reason:?}"), by.clone()),
            (None, None) if state.held => ("Held".to_owned(), "no new step starts".to_owned()),
            (None, None) => (state.phase().to_string(), String::new()),
        }
    }

    fn residue(&self) -> Vec<Residue> {
        let own: &[Residue] = match (&self.finished, &self.state) {
            (Some((.., residue)), _) => residue,
            (None, Some(State { all_reverted: Some((_, residue)), .. })) => residue,
            _ => &[],
        };
        let before = self.day.as_ref().map_or(&[][..], |day| &day.residue);
        [before, own].concat()
    }
}

/// Who writes it, and what is known besides the run.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The replica.
    pub holder: String,
    /// The seed.
    pub seed: Option<u64>,
    /// What of the journal is in the cluster.
    pub journal: SegmentSize,
}

/// The whole status; `before` is the one that it follows, for the times of its conditions.
pub fn render(run: &RunSeen, progress: &Progress, about: &About, now: Timestamp) -> Value {
    let (reason, message) = progress.why();
    let mut status = Map::new();
    let mut put = |name: &str, value: Value| {
        let empty = value.is_null() || value.as_str() == Some("");
        if !empty {
            status.insert(name.to_owned(), value);
        }
    };
    put("observedGeneration", json!(run.generation));
    put("subject", json!(run.spec.as_ref().map(|spec| spec.subject()).unwrap_or_default()));
    put("phase", json!(progress.phase()));
    put("verdict", json!(progress.verdict()));
    put("reason", json!(cut(&reason, 64)));
    put("message", json!(cut(&message, WORDS)));
    put("conditions", conditions(&run.status, progress, now));
    put("hash", json!(progress.hash));
    put("seed", json!(about.seed));
    put("runner", json!({"identity": cut(&about.holder, 317), "epoch": progress.epoch}));
    for (name, at) in times(progress) {
        put(name, json!(at.map(second)));
    }
    put("currentStep", json!(progress.current_step()));
    put("experiments", progress.experiments());
    put("measured", measured(progress));
    put("targets", targets(progress));
    put("residue", residue(&progress.residue()));
    let findings: Vec<Value> = progress.findings.iter().take(FINDINGS.0).map(told).collect();
    put("findings", if findings.is_empty() { Value::Null } else { findings.into() });
    let SegmentSize { segments, bytes } = about.journal;
    put("journal", json!({"records": progress.records, "segments": segments, "bytes": bytes}));
    Value::Object(status)
}

/// The status of a Run that nobody has taken up, and why: what was known of it before stays.
pub fn waits(run: &RunSeen, words: &str, now: Timestamp) -> Value {
    let mut progress = Progress::default();
    progress.wait(words.to_owned());
    let said = render(run, &progress, &About::default(), now);
    let mut status = run.status.as_object().cloned().unwrap_or_default();
    for name in ["observedGeneration", "subject", "phase", "reason", "message"] {
        status.insert(name.to_owned(), said[name].clone());
    }
    let conditions = |status: &Value| status["conditions"].as_array().cloned().unwrap_or_default();
    let said = conditions(&said);
    let mut all = conditions(&run.status);
    all.retain(|known| said.iter().all(|said| said["type"] != known["type"]));
    all.extend(said);
    status.insert("conditions".to_owned(), all.into());
    Value::Object(status)
}

/// A time to the second, as the API server writes them.
pub(crate) fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn times(progress: &Progress) -> [(&'static str, Option<Timestamp>); 7] {
    if let Some(day) = &progress.day {
        return day.times(progress);
    }
    let state = progress.state.as_ref();
    let finished = progress.finished.as_ref().map(|(at, ..)| *at);
    [
        ("startTime", progress.started),
        ("baselineTime", state.and_then(|state| state.baseline.as_ref().map(|(at, _)| *at))),
        ("injectionTime", state.and_then(State::first_seen)),
        ("violationTime", state.and_then(|state| state.violations.first().map(|violation| violation.at))),
        ("revertedTime", state.and_then(|state| state.all_reverted.as_ref().map(|(at, _)| *at))),
        ("recoveredTime", state.and_then(|state| state.recovered)),
        ("completionTime", finished.or_else(|| progress.declined.as_ref().map(|(at, ..)| *at))),
    ]
}

/// EXPERIMENT/STEP of the last step that has begun and is not over.
fn current_step(state: &State, experiment: &str) -> Option<String> {
    if state.finished || state.stop.is_some() || state.method_ended.is_some() {
        return None;
    }
    let begun = |(step, progress): &(&crate::api::Step, &engine::StepState)| {
        (progress.started.is_some() && progress.ended.is_none()).then(|| step.name.clone())
    };
    let step = state.spec.method.iter().zip(&state.steps).rev().find_map(|pair| begun(&pair))?;
    Some(cut(&format!("{experiment}/{step}"), 127))
}

fn measured(progress: &Progress) -> Value {
    let clocks = match &progress.day {
        Some(day) => day.worst(progress.clocks()),
        None => progress.clocks(),
    };
    let named = [
        ("detection", clocks.detection_ms),
        ("abort", clocks.abort_ms),
        ("revert", clocks.revert_ms),
        ("recovery", clocks.recovery_ms),
        ("rto", clocks.rto_ms),
        ("rpo", clocks.rpo_ms),
    ];
    let known: Map<String, Value> = named
        .into_iter()
        .filter_map(|(name, ms)| Some((name.to_owned(), json!(Length::from_millis(ms?).to_string()))))
        .collect();
    if known.is_empty() { Value::Null } else { Value::Object(known) }
}

/// What was hit, counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    selected: usize,
    in_force: usize,
    reverted: usize,
    /// They were gone before it was their turn.
    skipped: usize,
}

impl Targets {
    fn of(state: &State) -> Self {
        let mut targets = Self::default();
        for found in state.injections.values() {
            targets.selected += 1;
            match found.injected {
                Some(InjectOutcome::TargetGone) => targets.skipped += 1,
                Some(InjectOutcome::Done) if found.pending() => targets.in_force += 1,
                _ => {}
            }
            targets.reverted += usize::from(found.reverted.is_some());
        }
        targets
    }

    fn and(self, more: Self) -> Self {
        Self {
            selected: self.selected + more.selected,
            in_force: self.in_force + more.in_force,
            reverted: self.reverted + more.reverted,
            skipped: self.skipped + more.skipped,
        }
    }
}

/// Of a game day: those of all its parts.
fn targets(progress: &Progress) -> Value {
    let now = progress.state.as_ref().map(Targets::of);
    let before = progress.day.as_ref().map(|day| day.targets);
    match (before, now) {
        (None, None) => Value::Null,
        (before, now) => json!(before.unwrap_or_default().and(now.unwrap_or_default())),
    }
}

fn residue(left: &[Residue]) -> Value {
    let items: Vec<Value> = left
        .iter()
        .take(RESIDUE.0)
        .map(|left| {
            json!({"apiVersion": left.target.api_version, "kind": left.target.kind,
                   "namespace": left.target.namespace, "name": cut(&left.target.name, 253),
                   "what": cut(&format!("{}; {}", left.what, left.remedy), RESIDUE.1)})
        })
        .collect();
    json!({"count": left.len(), "items": items})
}

/// A condition before it has its time: type, status, reason, words.
type Said = (&'static str, Option<bool>, String, String);

fn said(progress: &Progress) -> Vec<Said> {
    let words = |kind, holds, reason: &str, words: String| (kind, holds, reason.to_owned(), words);
    let approved = progress.approved.as_ref().map(|(enough, who)| {
        let reason = if *enough { "ByOthers" } else { "Awaited" };
        words("Approved", Some(*enough), reason, who.clone())
    });
    if let Some(day) = &progress.day {
        return day.said(progress).into_iter().chain(approved).collect();
    }
    let Some(state) = progress.state.as_ref().filter(|_| progress.declined.is_none()) else {
        let (reason, message) = progress.why();
        let over = progress.declined.is_some();
        let holds = over.then_some(false);
        let accepted = words("Accepted", holds, &reason, message.clone());
        return [accepted]
            .into_iter()
            .chain(approved)
            .chain([words("Succeeded", holds, &reason, message)])
            .collect();
    };
    let Targets { selected, in_force, reverted, .. } = Targets::of(state);
    let left = progress.residue().len();
    let steady = match (&state.baseline, progress.verdict()) {
        (Some(_), _) => words("Steady", Some(true), "BaselineHeld", String::new()),
        (None, Some(Verdict::NotSteady)) => words("Steady", Some(false), "NotSteady", progress.why().1),
        _ => words("Steady", None, "Measuring", String::new()),
    };
    let in_force = match (in_force, left) {
        (0, 0) if reverted > 0 && reverted == selected => {
            words("FaultsInForce", Some(false), "AllReverted", String::new())
        }
        (0, 0) => words("FaultsInForce", Some(false), "NoneInForce", String::new()),
        (count, left) => words("FaultsInForce", Some(true), "InForce", counted(count.max(left), "fault")),
    };
    let restored = match (&state.all_reverted, left) {
        (_, 1..) => {
            words("Restored", Some(false), "Residue", format!("{} left behind", counted(left, "change")))
        }
        (Some(_), 0) => words("Restored", Some(true), "Verified", String::new()),
        (None, 0) if state.first_intent.is_none() && state.finished => {
            words("Restored", Some(true), "NothingChanged", String::new())
        }
        (None, 0) if state.first_intent.is_none() => words("Restored", None, "NothingChanged", String::new()),
        (None, 0) => words("Restored", Some(false), "NotYet", String::new()),
    };
    let (reason, message) = progress.why();
    let passed = match progress.verdict() {
        Some(Verdict::Passed) if left == 0 => state.finished.then_some(true),
        Some(_) => Some(false),
        None => None,
    };
    let accepted = words("Accepted", Some(true), "PlanValid", counted(selected, "target"));
    let succeeded = words("Succeeded", passed, &reason, message);
    [accepted].into_iter().chain(approved).chain([steady, in_force, restored, succeeded]).collect()
}

/// The conditions; the time of one that says the same as before is that of before.
fn conditions(before: &Value, progress: &Progress, now: Timestamp) -> Value {
    let before = before["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let told = said(progress).into_iter().map(|(kind, holds, reason, message)| {
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = before.iter().find(|old| old["type"] == kind && old["status"] == status);
        let since = same.and_then(|old| old["lastTransitionTime"].as_str()).map(str::to_owned);
        json!({"type": kind, "status": status, "reason": cut(&reason, 64), "message": cut(&message, WORDS),
               "lastTransitionTime": since.unwrap_or_else(|| second(now))})
    });
    Value::Array(told.collect())
}

fn told(finding: &Finding) -> Value {
    let words = format!("{}: {}", finding.subject, finding.message);
    json!({"code": finding.code, "message": cut(&words, FINDINGS.1), "remedy": cut(&finding.remedy, FINDINGS.1)})
}

/// At most so many bytes of a text, whole characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests;
