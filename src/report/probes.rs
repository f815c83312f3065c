//! What was measured: each probe with its samples, and what they come to before, during and after the fault.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    facts::{FaultWindow, Lane},
    shift::{Shift, shifts},
    words,
};
use crate::{
    api::{Experiment, ProbeSpec, Role, Signal},
    journal::{Entry, ProbeStats, Record, SampleState},
    probes,
};

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleFact {
    /// When.
    pub at: Timestamp,
    /// Whether there was anything to judge, and what the expression that guarded then said.
    pub state: SampleState,
    /// The number; None: none.
    pub value: Option<f64>,
    /// Whether `expect` held; None: not judged.
    pub expect: Option<bool>,
    /// Whether `during` held; None: not judged.
    pub during: Option<bool>,
    /// Why there was nothing to judge, or what was remarkable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// What the samples of a stretch of time come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Smallest number; None: there was none.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// The last.
    pub last: Option<f64>,
    /// How many samples.
    pub samples: u32,
    /// How many of them were outside.
    pub outside: u32,
    /// How many of them had no data.
    pub missing: u32,
}

/// A probe.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeFacts {
    /// Its name.
    pub name: String,
    /// Its lane; None: other.
    pub signal: Option<Signal>,
    /// `prometheus`, `kubernetes` …; empty when the file does not tell.
    pub kind: String,
    /// The file's own words.
    pub description: String,
    /// What it looks at: the query, or the object.
    pub source: String,
    /// What held in Baseline and for recovery; empty: not judged.
    pub expect: String,
    /// What guarded from the first injection on; empty: not judged.
    pub during: String,
    /// Sampling interval in milliseconds; 0 when the file does not tell.
    pub every_ms: u64,
    /// How long it may be lost, in words.
    pub patience: String,
    /// What it decides; None when the file does not tell.
    pub role: Option<Role>,
    /// What was measured during Baseline, as the judge saw it; None: Baseline was not held.
    pub baseline: Option<ProbeStats>,
    /// Up to the first injection.
    pub before: Option<Spread>,
    /// In the fault window.
    pub fault: Option<Spread>,
    /// Thereafter.
    pub after: Option<Spread>,
    /// How far quantiles moved from Baseline to the fault window, where there are enough samples to tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shifts: Vec<Shift>,
    /// First fault in force to the first sample that was not within `expect`; None: it never left.
    pub left_ms: Option<u64>,
    /// First fault in force to the sample from which `expect` held for good; None: it never left, or
    /// never came back.
    pub back_ms: Option<u64>,
    /// All samples, in order.
    pub samples: Vec<SampleFact>,
}

impl ProbeFacts {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            signal: None,
            kind: String::new(),
            description: String::new(),
            source: String::new(),
            expect: String::new(),
            during: String::new(),
            every_ms: 0,
            patience: String::new(),
            role: None,
            baseline: None,
            before: None,
            fault: None,
            after: None,
            shifts: Vec::new(),
            left_ms: None,
            back_ms: None,
            samples: Vec::new(),
        }
    }

    fn declared(spec: &ProbeSpec) -> Self {
        // Nothing is judged of an Informational probe; others judge by themselves where the file has no `expect`.
        let promise = || {
            let judged = spec.role != Role::Informational;
            probes::find(&spec.kind).filter(|_| judged).and_then(|probe| probe.promise(&spec.params))
        };
        let expect = spec.expect.clone().or_else(promise).unwrap_or_default();
        Self {
            signal: spec.signal,
            kind: spec.kind.clone(),
            description: spec.description.clone(),
            source: words::measured_from(spec),
            during: spec.during.clone().unwrap_or_else(|| expect.clone()),
            expect,
            every_ms: u64::try_from(spec.every.as_millis()).unwrap_or(u64::MAX),
            patience: words::patience_of(spec),
            role: Some(spec.role),
            ..Self::new(&spec.name)
        }
    }

    /// The sample that a violation recorded at `at` was about: the last one up to then.
    pub(super) fn sample_at(&self, at: Timestamp) -> Option<&SampleFact> {
        self.samples.iter().rev().find(|sample| sample.at <= at)
    }

    /// Fills in what depends on when the fault was.
    fn split(&mut self, window: Option<&FaultWindow>) {
        let begin = window.map_or(Timestamp::MAX, |window| window.begin);
        let end = window.and_then(|window| window.end).unwrap_or(Timestamp::MAX);
        self.before = spread(self.samples.iter().filter(|sample| sample.at < begin));
        self.fault = spread(self.samples.iter().filter(|sample| sample.at >= begin && sample.at <= end));
        self.after = spread(self.samples.iter().filter(|sample| sample.at > end && sample.at >= begin));
        let of = |fault: bool| -> Vec<f64> {
            let there = |at: Timestamp| if fault { at >= begin && at <= end } else { at < begin };
            self.samples.iter().filter(|sample| there(sample.at)).filter_map(|sample| sample.value).collect()
        };
        self.shifts = shifts(&of(false), &of(true));
        let Some(in_force) = window.and_then(|window| window.in_force) else { return };
        let since = |sample: &SampleFact| u64::try_from(words::millis(in_force, sample.at)).unwrap_or(0);
        let judged =
            || self.samples.iter().filter(|sample| sample.at >= in_force && sample.expect != Some(true));
        let lost =
            |sample: &&SampleFact| sample.expect == Some(false) || sample.state == SampleState::Missing;
        self.left_ms = judged().find(lost).map(since);
        if self.left_ms.is_some() {
            let last_lost = judged().rfind(lost).map(|sample| sample.at);
            let back =
                self.samples.iter().find(|sample| Some(sample.at) > last_lost && sample.expect == Some(true));
            self.back_ms = back.map(since);
        }
    }
}

fn spread<'a>(samples: impl Iterator<Item = &'a SampleFact>) -> Option<Spread> {
    let mut spread = Spread::default();
    let (mut sum, mut values) = (0.0, 0.0);
    for sample in samples {
        spread.samples += 1;
        match sample.state {
            SampleState::Outside => spread.outside += 1,
            SampleState::Missing => spread.missing += 1,
            SampleState::Within | SampleState::Recorded => {}
        }
        if let Some(value) = sample.value.filter(|value| value.is_finite()) {
            spread.min = Some(spread.min.map_or(value, |min| min.min(value)));
            spread.max = Some(spread.max.map_or(value, |max| max.max(value)));
            spread.last = Some(value);
            sum += value;
            values += 1.0;
        }
    }
    spread.mean = (values > 0.0).then(|| sum / values);
    (spread.samples > 0).then_some(spread)
}

/// Every probe that is declared or was sampled: those of the file first, in its order.
pub(super) fn collect(
    entries: &[Entry],
    experiment: Option<&Experiment>,
    window: Option<&FaultWindow>,
) -> Vec<ProbeFacts> {
    let declared = experiment.map(|experiment| experiment.spec.steady_state.as_slice()).unwrap_or_default();
    let mut probes: Vec<ProbeFacts> = declared.iter().map(ProbeFacts::declared).collect();
    let mut places: BTreeMap<String, usize> =
        probes.iter().enumerate().map(|(place, probe)| (probe.name.clone(), place)).collect();
    let mut place_of = |name: &str, probes: &mut Vec<ProbeFacts>| match places.get(name) {
        Some(place) => *place,
        None => {
            probes.push(ProbeFacts::new(name));
            places.insert(name.to_owned(), probes.len() - 1);
            probes.len() - 1
        }
    };
    for entry in entries {
        match &entry.record {
            Record::BaselineHeld { stats } => {
                for (name, stats) in stats {
                    let place = place_of(name, &mut probes);
                    probes[place].baseline = Some(*stats);
                }
            }
            Record::Sampled { probe, state, value, expect, during, note, .. } => {
                let place = place_of(probe, &mut probes);
                probes[place].samples.push(SampleFact {
                    at: entry.at,
                    state: *state,
                    value: *value,
                    expect: *expect,
                    during: *during,
                    note: note.clone(),
                });
            }
            _ => {}
        }
    }
    for probe in &mut probes {
        probe.split(window);
    }
    probes
}

/// The four golden signals, measured or not, and a lane of other probes if there are any.
pub(super) fn lanes(probes: &[ProbeFacts]) -> Vec<Lane> {
    let lane = |signal: Option<Signal>| Lane {
        signal,
        probes: probes
            .iter()
            .filter(|probe| probe.signal == signal)
            .map(|probe| probe.name.clone())
            .collect(),
    };
    let golden = [Signal::Latency, Signal::Traffic, Signal::Errors, Signal::Saturation];
    let mut lanes: Vec<Lane> = golden.into_iter().map(|signal| lane(Some(signal))).collect();
    let other = lane(None);
    if !other.probes.is_empty() {
        lanes.push(other);
    }
    lanes
}
