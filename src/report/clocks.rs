//! What was promised against what was measured, and the way back to normal.

use jiff::Timestamp;
use serde::Serialize;

use super::{facts::FaultWindow, probes::ProbeFacts, words};
use crate::{
    api::{Experiment, Role},
    journal::{Clocks, Entry, Record},
};

/// A promise of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    /// As in the file: `rto`, `recoverWithin`.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Promised, in milliseconds; None: measured only, not judged.
    pub promised_ms: Option<u64>,
    /// Measured, in milliseconds; None: not measured.
    pub measured_ms: Option<u64>,
    /// Whether it was met; None: not judged, or nothing to judge by.
    pub met: Option<bool>,
    /// Whether promise and measurement are nearer to each other than the measurement is exact.
    pub close: bool,
}

/// A station on the way from the first fault in force to steady.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Milestone {
    /// `leftNormal`, `detected`, `broughtBack` (of a bad release only), `rescheduled`, `ready`, `steady`.
    pub name: &'static str,
    /// Milliseconds since the first fault was in force; None: not measured, or not reached.
    pub after_ms: Option<u64>,
    /// By what, or why there is nothing.
    pub remark: String,
}

/// The journal's own clocks; of a run without an end what its records give.
pub(super) fn clocks(entries: &[Entry], window: Option<&FaultWindow>) -> Clocks {
    let finished = entries.iter().rev().find_map(|entry| match &entry.record {
        Record::Finished { clocks, .. } => Some(*clocks),
        _ => None,
    });
    if let Some(clocks) = finished {
        return clocks;
    }
    let Some(in_force) = window.and_then(|window| window.in_force) else { return Clocks::default() };
    let begin = window.map_or(in_force, |window| window.begin);
    let alert = entries.iter().find(|entry| entry.at >= begin && fires(entry)).map(|entry| entry.at);
    let detected = first_violation(entries).into_iter().chain(alert).min();
    // What had fired a moment before the fault was seen in force was no slower for it.
    let since = |at: Timestamp| after(in_force, at).unwrap_or(0);
    Clocks { detection_ms: detected.map(since), alert_ms: alert.map(since), ..Clocks::default() }
}

fn fires(entry: &Entry) -> bool {
    matches!(entry.record, Record::Sampled { alerting: true, .. })
}

/// When the first violation was complete.
fn first_violation(entries: &[Entry]) -> Option<Timestamp> {
    entries
        .iter()
        .find(|entry| matches!(entry.record, Record::Violated { missing: false, .. }))
        .map(|entry| entry.at)
}

/// Milliseconds from `from` to `to`; None when `to` is earlier.
fn after(from: Timestamp, to: Timestamp) -> Option<u64> {
    u64::try_from(words::millis(from, to)).ok()
}

/// The judged clocks, and how much was lost if a file promises that. Nothing is judged when nothing was injected.
pub(super) fn objectives(
    experiment: Option<&Experiment>,
    clocks: &Clocks,
    not_recovered: bool,
    injected: bool,
) -> Vec<Objective> {
    let promised = experiment.map(|experiment| &experiment.spec.objectives);
    let millis = |length: std::time::Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let judge = |name, meaning, promised_ms: Option<u64>, measured_ms: Option<u64>| {
        let met = match (promised_ms, measured_ms) {
            (Some(promised), Some(measured)) => Some(measured <= promised),
            (Some(_), None) if not_recovered && injected => Some(false),
            _ => None,
        };
        let close = promised_ms.zip(measured_ms).zip(clocks.resolution_ms);
        let close = close.is_some_and(|((promised, measured), exact)| promised.abs_diff(measured) < exact);
        Objective { name, meaning, promised_ms, measured_ms, met, close }
    };
    let mut all = vec![
        judge(
            "rto",
            "time to heal: first fault in force to steady for good",
            promised.and_then(|promised| promised.rto).map(|length| millis(length.0)),
            clocks.rto_ms,
        ),
        judge(
            "recoverWithin",
            "time to recover: last fault lifted to steady for good",
            promised.map(|promised| millis(promised.recover_within())),
            clocks.recovery_ms,
        ),
    ];
    all.extend(loss(experiment, clocks));
    all
}

/// How much data was lost, if a file promises that.
fn loss(experiment: Option<&Experiment>, clocks: &Clocks) -> Option<Objective> {
    let promised = experiment?.spec.objectives.rpo.as_ref()?;
    let promised_ms = u64::try_from(promised.within.0.as_millis()).unwrap_or(u64::MAX);
    Some(Objective {
        name: "rpo",
        meaning: "data lost when service was back, by the application's own word",
        promised_ms: Some(promised_ms),
        measured_ms: clocks.rpo_ms,
        met: clocks.rpo_ms.map(|lost| lost <= promised_ms),
        close: false,
    })
}

/// When the first alert fired, if a file promises that or one did; `missed`: none did, and that was the verdict.
pub(super) fn detection(experiment: Option<&Experiment>, clocks: &Clocks, missed: bool) -> Option<Objective> {
    let promised = experiment.and_then(|experiment| experiment.spec.objectives.detect_within);
    let promised_ms = promised.map(|length| u64::try_from(length.0.as_millis()).unwrap_or(u64::MAX));
    let measured_ms = clocks.alert_ms;
    // Nothing to tell where nothing was promised and nothing fired.
    promised_ms.or(measured_ms)?;
    let both = promised_ms.zip(measured_ms);
    let close = both.zip(clocks.resolution_ms);
    Some(Objective {
        name: "detectWithin",
        meaning: "time to detect: first fault in force to the first alert",
        promised_ms,
        measured_ms,
        met: both.map(|(promised, measured)| measured <= promised).or(missed.then_some(false)),
        close: close.is_some_and(|((promised, measured), exact)| promised.abs_diff(measured) < exact),
    })
}

/// The way back to normal. What no record gives says so.
pub(super) fn breakdown(
    entries: &[Entry],
    clocks: &Clocks,
    probes: &[ProbeFacts],
    window: Option<&FaultWindow>,
) -> Vec<Milestone> {
    let Some(in_force) = window.and_then(|window| window.in_force) else { return Vec::new() };
    let hypothesis = || probes.iter().filter(|probe| matches!(probe.role, None | Some(Role::Hypothesis)));
    let sampled = |probe: &ProbeFacts| probe.samples.iter().any(|sample| sample.at >= in_force);
    let first_out = hypothesis().filter_map(|probe| Some((probe.left_ms?, &probe.name))).min();
    let milestone = |name, after_ms, remark: String| Milestone { name, after_ms, remark };
    let left = match first_out {
        Some((ms, probe)) => {
            milestone("leftNormal", Some(ms), format!("first sample of {probe} not within expect"))
        }
        None if !hypothesis().any(sampled) => milestone("leftNormal", None, "no sample since".to_owned()),
        None => milestone("leftNormal", None, "never".to_owned()),
    };
    let detected = match (clocks.detection_ms, clocks.alert_ms) {
        (Some(ms), Some(alert)) if alert <= ms => milestone("detected", Some(ms), "first alert".to_owned()),
        (Some(ms), _) => milestone("detected", Some(ms), "first violation complete".to_owned()),
        (None, _) => milestone("detected", None, "no violation".to_owned()),
    };
    let bound = entries.iter().find(|entry| matches!(entry.record, Record::Rescheduled {}));
    let rescheduled = match bound.and_then(|entry| after(in_force, entry.at)) {
        Some(ms) => milestone("rescheduled", Some(ms), "every pod wanted was bound to a node".to_owned()),
        None => milestone("rescheduled", None, "not reached".to_owned()),
    };
    let objects: Vec<&ProbeFacts> = hypothesis().filter(|probe| probe.kind == "kubernetes").collect();
    let out = objects.iter().any(|probe| probe.left_ms.is_some() && probe.back_ms.is_none());
    let last_back = objects.iter().filter_map(|probe| probe.back_ms).max();
    let blind = !objects.iter().all(|probe| sampled(probe));
    let ready = match (objects.is_empty(), out, last_back) {
        (true, ..) => milestone("ready", None, "not measured (no kubernetes probe)".to_owned()),
        _ if blind => milestone("ready", None, "not measured (no sample since)".to_owned()),
        (_, true, _) => milestone("ready", None, "not reached".to_owned()),
        (_, _, Some(ms)) => {
            milestone("ready", Some(ms), "every kubernetes probe within expect again".to_owned())
        }
        (_, _, None) => milestone("ready", Some(0), "no kubernetes probe left expect".to_owned()),
    };
    let steady = match clocks.rto_ms {
        Some(ms) => milestone("steady", Some(ms), "every probe within expect for good".to_owned()),
        None => milestone("steady", None, "not reached, or not measured".to_owned()),
    };
    let mut milestones = vec![left, detected];
    milestones.extend(brought_back(entries, in_force));
    milestones.extend([rescheduled, ready, steady]);
    milestones
}

/// When others had the former release back; None of a run that has made no release.
fn brought_back(entries: &[Entry], in_force: Timestamp) -> Option<Milestone> {
    let lasting = |entry: &Entry| match &entry.record {
        Record::TemplateWritten { injection, .. } => Some(injection.clone()),
        _ => None,
    };
    let written: Vec<_> = entries.iter().filter_map(lasting).collect();
    let reverted = entries.iter().any(|entry| match &entry.record {
        Record::Reverted { injection, .. } => written.contains(injection),
        _ => false,
    });
    let back = entries.iter().find(|entry| matches!(entry.record, Record::BroughtBack { .. }));
    let name = "broughtBack";
    match back.and_then(|entry| after(in_force, entry.at)) {
        Some(ms) => {
            let remark = "others had brought the former release back".to_owned();
            Some(Milestone { name, after_ms: Some(ms), remark })
        }
        None if reverted => {
            let remark = "not by others: firedrill brought the former release back".to_owned();
            Some(Milestone { name, after_ms: None, remark })
        }
        None => None,
    }
}
