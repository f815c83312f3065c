//! What is told of a game day beside the part of it that runs: each experiment, and what it all came to.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Progress, Said, Targets, cut, second};
use crate::{
    engine::State,
    journal::{Clocks, DayRecord, Entry, Residue},
    types::{Finding, Length, Verdict, counted},
};

/// An experiment of it.
#[derive(Clone, Debug, Default)]
struct Line {
    name: String,
    verdict: String,
    reason: String,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    clocks: Clocks,
}

/// A game day as its journal has it, folded.
#[derive(Clone, Debug, Default)]
pub(super) struct DayTold {
    lines: Vec<Line>,
    started: Option<Timestamp>,
    /// The part that runs, or ran last.
    part: Option<String>,
    /// What people are asked.
    question: Option<String>,
    /// No new part is to begin.
    pub held: bool,
    /// First fault, first violation, last revert, last recovery, of the parts before.
    before: [Option<Timestamp>; 4],
    worst: Clocks,
    /// What the parts before have hit.
    pub targets: Targets,
    /// Whether normal was measured before the first change, of the parts before: of any, and of one that it was not.
    steady: Option<bool>,
    pub residue: Vec<Residue>,
    /// When, verdict, reason, words.
    pub over: Option<(Timestamp, Verdict, String, String)>,
}

impl Progress {
    /// Takes in one more record of a game day.
    pub(super) fn on_day(&mut self, at: Timestamp, record: &DayRecord) {
        match record {
            DayRecord::Began(header) => {
                let entries = header.game_day["spec"]["experiments"].as_array().into_iter().flatten();
                let names = entries.filter_map(|entry| entry["name"].as_str());
                let line = |name: &str| Line { name: name.to_owned(), ..Line::default() };
                let lines = names.map(line).collect();
                self.day = Some(DayTold { lines, started: Some(at), ..DayTold::default() });
                self.hash.clone_from(&header.hash);
                let by = header.approvals.join(", ");
                self.approved = (!by.is_empty()).then_some((true, by));
            }
            DayRecord::Refused { part, findings } => {
                self.finds(findings);
                self.line(part, |line| {
                    line.verdict = Verdict::Refused.to_string();
                    line.reason = findings.first().map_or(String::new(), |first| first.code.to_string());
                    line.ended = Some(at);
                });
            }
            DayRecord::Skipped { part, .. } => self.line(part, |line| {
                "Skipped".clone_into(&mut line.verdict);
            }),
            DayRecord::Over { verdict, reason, message, .. } => {
                self.fold();
                if let Some(day) = &mut self.day {
                    day.question = None;
                    day.over = Some((at, *verdict, reason.clone(), message.clone()));
                }
            }
            DayRecord::Asked { .. } => {
                if let Some(day) = &mut self.day {
                    day.question = None;
                }
            }
            DayRecord::Playing { .. } | DayRecord::Noted { .. } => {}
        }
    }

    /// Another part of the game day runs from here on; `entries`: what there is of it already.
    pub fn turn(&mut self, part: &str, entries: &[Entry]) {
        self.fold();
        if let Some(day) = &mut self.day {
            day.part = Some(part.to_owned());
            day.question = None;
        }
        entries.iter().for_each(|entry| self.on(entry));
    }

    /// People are asked.
    pub fn asks_people(&mut self, name: &str, words: String) {
        self.waiting = words;
        if let Some(day) = &mut self.day {
            day.question = Some(name.to_owned());
        }
    }

    /// No new part is to begin, or again one.
    pub fn day_held(&mut self, held: bool) {
        if let Some(day) = &mut self.day {
            day.held = held;
        }
    }

    /// What speaks against it, or is to be known.
    pub fn finds(&mut self, findings: &[Finding]) {
        let room = super::FINDINGS.0.saturating_sub(self.findings.len());
        self.findings.extend(findings.iter().take(room).cloned());
    }

    fn line(&mut self, part: &str, change: impl FnOnce(&mut Line)) {
        let lines = self.day.iter_mut().flat_map(|day| &mut day.lines);
        if let Some(line) = lines.into_iter().find(|line| line.name == part) {
            change(line);
        }
    }

    /// What the part that is over has come to goes into the whole.
    fn fold(&mut self) {
        let (now, clocks, residue) = (self.line_now(), self.clocks(), self.residue_of_part());
        let (marks, steady) = (self.state.as_ref().map(marks), self.state.as_ref().and_then(steady));
        let targets = self.state.as_ref().map(Targets::of).unwrap_or_default();
        if let Some(day) = &mut self.day {
            if let Some((found, now)) =
                now.and_then(|now| Some((day.lines.iter_mut().find(|line| line.name == now.name)?, now)))
            {
                *found = now;
            }
            day.worst = day.worst(clocks);
            day.targets = day.targets.and(targets);
            day.before = merged(day.before, marks.unwrap_or_default());
            day.steady = worse(day.steady, steady);
            day.residue.extend(residue);
        }
        self.state = None;
        self.finished = None;
    }

    fn residue_of_part(&self) -> Vec<Residue> {
        self.finished.as_ref().map(|(.., residue)| residue.clone()).unwrap_or_default()
    }

    /// The line of the part that runs, or ran last.
    fn line_now(&self) -> Option<Line> {
        let part = self.day.as_ref()?.part.clone()?;
        let state = self.state.as_ref()?;
        let decided = state.decided.as_ref();
        Some(Line {
            name: part,
            verdict: decided.map_or(String::new(), |(verdict, ..)| verdict.to_string()),
            reason: decided.map_or(String::new(), |(_, reason, _)| reason.clone()),
            started: state.baseline_started,
            ended: self.finished.as_ref().map(|(at, ..)| *at),
            clocks: self.clocks(),
        })
    }

    /// The experiments of a game day.
    pub(super) fn experiments(&self) -> Value {
        let Some(day) = &self.day else { return Value::Null };
        let now = self.line_now();
        let lines = day.lines.iter().map(|line| {
            let running = now.as_ref().filter(|now| now.name == line.name);
            let phase = match (running, line.verdict.as_str()) {
                (Some(now), _) if now.ended.is_none() => self.state.as_ref().map(State::phase),
                (None, "") => None,
                _ => Some(crate::types::Phase::Finished),
            };
            let told = running.unwrap_or(line).json();
            match phase {
                Some(phase) => with(told, "phase", json!(phase)),
                None => told,
            }
        });
        Value::Array(lines.collect())
    }
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

/// Whether a part was steady before its first change; None: nobody knows yet.
fn steady(state: &State) -> Option<bool> {
    match &state.decided {
        Some((Verdict::NotSteady, ..)) => Some(false),
        _ => state.baseline.is_some().then_some(true),
    }
}

fn worse(before: Option<bool>, now: Option<bool>) -> Option<bool> {
    if before == Some(false) { before } else { now.or(before) }
}

/// First fault, first violation, last revert, last recovery.
fn marks(state: &State) -> [Option<Timestamp>; 4] {
    [
        state.first_seen(),
        state.violations.first().map(|violation| violation.at),
        state.all_reverted.as_ref().map(|(at, _)| *at),
        state.recovered,
    ]
}

fn merged(before: [Option<Timestamp>; 4], now: [Option<Timestamp>; 4]) -> [Option<Timestamp>; 4] {
    [before[0].or(now[0]), before[1].or(now[1]), now[2].or(before[2]), now[3].or(before[3])]
}

impl Line {
    fn json(&self) -> Value {
        let length = |ms: Option<u64>| ms.map(|ms| Length::from_millis(ms).to_string());
        let said = [
            ("verdict", Some(self.verdict.clone())),
            ("reason", Some(cut(&self.reason, 64))),
            ("startTime", self.started.map(second)),
            ("completionTime", self.ended.map(second)),
            ("recovery", length(self.clocks.recovery_ms)),
            ("rto", length(self.clocks.rto_ms)),
        ];
        let mut line = json!({"name": self.name});
        for (name, value) in said {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                line[name] = value.into();
            }
        }
        line
    }
}

impl DayTold {
    /// The longest of each clock.
    pub(super) fn worst(&self, now: Clocks) -> Clocks {
        let worst = &self.worst;
        Clocks {
            detection_ms: worst.detection_ms.max(now.detection_ms),
            abort_ms: worst.abort_ms.max(now.abort_ms),
            revert_ms: worst.revert_ms.max(now.revert_ms),
            recovery_ms: worst.recovery_ms.max(now.recovery_ms),
            rto_ms: worst.rto_ms.max(now.rto_ms),
            rpo_ms: worst.rpo_ms.max(now.rpo_ms),
            ..now
        }
    }

    pub(super) fn times(&self, progress: &Progress) -> [(&'static str, Option<Timestamp>); 7] {
        let now = progress.state.as_ref().map(marks).unwrap_or_default();
        let [injected, violated, reverted, recovered] = merged(self.before, now);
        let declined = progress.declined.as_ref().map(|(at, ..)| *at);
        [
            ("startTime", self.started),
            (
                "baselineTime",
                progress.state.as_ref().and_then(|state| state.baseline.as_ref().map(|(at, _)| *at)),
            ),
            ("injectionTime", injected),
            ("violationTime", violated),
            ("revertedTime", reverted),
            ("recoveredTime", recovered),
            ("completionTime", self.over.as_ref().map(|(at, ..)| *at).or(declined)),
        ]
    }

    pub(super) fn current_step(&self, state: Option<&State>) -> Option<String> {
        if self.over.is_some() {
            return None;
        }
        if let Some(question) = &self.question {
            return Some(cut(question, 127));
        }
        let (part, state) = (self.part.as_ref()?, state?);
        if state.finished {
            return None;
        }
        super::current_step(state, part).or_else(|| Some(cut(part, 127)))
    }

    pub(super) fn said(&self, progress: &Progress) -> Vec<Said> {
        let words = |kind, holds, reason: &str, words: String| (kind, holds, reason.to_owned(), words);
        let (reason, message) = progress.why();
        let refused = progress.declined.is_some() || matches!(&self.over, Some((_, Verdict::Refused, ..)));
        let accepted = match refused {
            true => words("Accepted", Some(false), &reason, message.clone()),
            false => words("Accepted", Some(true), "PlanValid", counted(self.lines.len(), "experiment")),
        };
        let in_force = progress.state.as_ref().map_or(0, |state| Targets::of(state).in_force);
        let left = progress.residue().len();
        let steady = match worse(self.steady, progress.state.as_ref().and_then(steady)) {
            Some(true) => words("Steady", Some(true), "BaselineHeld", String::new()),
            Some(false) => words("Steady", Some(false), "NotSteady", message.clone()),
            None => words("Steady", None, "Measuring", String::new()),
        };
        let faults = match in_force.max(left) {
            0 => words("FaultsInForce", Some(false), "NoneInForce", String::new()),
            count => words("FaultsInForce", Some(true), "InForce", counted(count, "fault")),
        };
        let restored = match (in_force, left) {
            (_, 1..) => {
                words("Restored", Some(false), "Residue", format!("{} left behind", counted(left, "change")))
            }
            (0, 0) if self.over.is_some() => words("Restored", Some(true), "Verified", String::new()),
            (0, 0) => words("Restored", None, "NoneInForce", String::new()),
            (_, 0) => words("Restored", Some(false), "NotYet", String::new()),
        };
        let succeeded = match (&self.over, refused) {
            (_, true) => Some(false),
            (Some((_, verdict, ..)), _) => Some(*verdict == Verdict::Passed && left == 0),
            (None, _) => None,
        };
        vec![accepted, steady, faults, restored, words("Succeeded", succeeded, &reason, message)]
    }
}
