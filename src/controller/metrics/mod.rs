//! What the controller counts, for Prometheus, and whether it lives.
//!
//! Fed from three sides: the records of the runs that this replica works on, what its loop sees of all Runs, and
//! the calls that leave its client. docs/observability.md says what each metric means.

mod calls;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

pub use self::text::CONTENT_TYPE;
use self::text::{Page, Times};
use super::seen::RunSeen;
use crate::{
    engine::lasting,
    faults::Injection,
    journal::{Clocks, Entry, Record},
    types::{InjectionId, RunId, Verdict},
};

/// A loop that has not come round for so long hangs; it comes round every second.
const HANGS: Duration = Duration::from_secs(60);

/// The verdicts, each of which is told also when it never was: else its first would be no increase.
const VERDICTS: [Verdict; 6] = [
    Verdict::Passed,
    Verdict::Failed,
    Verdict::Refused,
    Verdict::Inconclusive,
    Verdict::Aborted,
    Verdict::NotSteady,
];

/// A clock of a run's.
type Read = fn(&Clocks) -> Option<u64>;

/// The clocks that are told: name, words, which.
const CLOCKS: [(&str, &str, Read); 5] = [
    (
        "firedrill_run_detection_seconds",
        "From the first fault in force to the first violation or alert.",
        |clocks| clocks.detection_ms,
    ),
    (
        "firedrill_run_rto_seconds",
        "From the first fault in force to steady again for good, faults still in force or not: the time to heal.",
        |clocks| clocks.rto_ms,
    ),
    ("firedrill_run_recovery_seconds", "From the last fault lifted to steady again for good.", |clocks| {
        clocks.recovery_ms
    }),
    (
        "firedrill_run_revert_seconds",
        "From the begin of reverting what a run has in force when it ends to the last verified revert.",
        |clocks| clocks.revert_ms,
    ),
    (
        "firedrill_run_abort_seconds",
        "From the sample that completes a violation to the last verified revert.",
        |clocks| clocks.abort_ms,
    ),
];

/// What is to be told of a game day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GameDayTold {
    /// Whether one should have been held by now and was not.
    pub overdue: bool,
    /// What the last one meant.
    pub verdict: Option<Verdict>,
    /// When the last one that passed was over.
    pub succeeded: Option<Timestamp>,
}

/// What this replica counts; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    /// The runs that are worked on here.
    live: BTreeMap<RunId, Live>,
    ended: BTreeMap<Verdict, u64>,
    times: [Times; CLOCKS.len()],
    /// By verb and class of the answer.
    calls: BTreeMap<(&'static str, &'static str), u64>,
    all: All,
    /// By namespace and name.
    game_days: BTreeMap<(String, String), GameDayTold>,
    /// When the loop came round last, and whether it knew all Runs and replicas.
    round: Option<(Instant, bool)>,
}

/// A run that is worked on here.
#[derive(Debug, Default)]
struct Live {
    /// What may be in force of it.
    in_force: BTreeSet<InjectionId>,
    /// That of it whose revert has failed, and is tried again.
    failing: BTreeSet<InjectionId>,
}

/// What is seen of all Runs, whoever works on them.
#[derive(Clone, Copy, Debug, Default)]
struct All {
    waiting: usize,
    with_residue: usize,
}

/// Kept for as long as a run is worked on.
pub(super) struct Working(Metrics, RunId);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.lock().live.remove(&self.1);
    }
}

impl Live {
    fn on(&mut self, record: &Record) {
        match record {
            Record::InjectIntended { injections, .. } | Record::ArmingIntended { injections } => {
                self.intend(injections);
            }
            Record::LoadPodIntended { pod, .. } => self.intend(std::slice::from_ref(&**pod)),
            Record::Reverted { injection, .. } => {
                self.in_force.remove(injection);
                self.failing.remove(injection);
            }
            Record::RevertFailed { injection, .. } => {
                self.failing.insert(injection.clone());
            }
            Record::Finished { residue, .. } => {
                self.in_force = residue.iter().map(|left| left.injection.clone()).collect();
                self.failing = self.in_force.clone();
            }
            _ => {}
        }
    }

    /// What may have happened counts as having happened.
    fn intend(&mut self, injections: &[Injection]) {
        let lasting = injections.iter().filter(|injection| lasting(injection));
        self.in_force.extend(lasting.map(|injection| injection.id.clone()));
    }
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run is worked on here from now on, until what is handed back is dropped.
    pub(super) fn working(&self, run: &RunId) -> Working {
        self.lock().live.insert(run.clone(), Live::default());
        Working(self.clone(), run.clone())
    }

    /// What is on record of a run that is taken up: what is in force is so from then on here, and what has ended
    /// was counted by whoever ended it.
    pub(super) fn replay(&self, run: &RunId, entries: &[Entry]) {
        let mut registry = self.lock();
        let Some(live) = registry.live.get_mut(run) else { return };
        entries.iter().for_each(|entry| live.on(&entry.record));
    }

    /// One more record of a run that is worked on here.
    pub(super) fn on(&self, run: &RunId, entry: &Entry) {
        let mut registry = self.lock();
        if let Some(live) = registry.live.get_mut(run) {
            live.on(&entry.record);
        }
        if let Record::Finished { verdict, clocks, .. } = &entry.record {
            *registry.ended.entry(*verdict).or_default() += 1;
            for ((_, _, read), times) in CLOCKS.iter().zip(&mut registry.times) {
                if let Some(ms) = read(clocks) {
                    times.took(ms);
                }
            }
        }
    }

    /// Something has ended of which no run's last record tells: a Run or a part of a game day that has not begun, or a
    /// game day as a whole.
    pub(super) fn ended(&self, verdict: Verdict) {
        *self.lock().ended.entry(verdict).or_default() += 1;
    }

    /// What the loop sees of all Runs; `free`: whether nobody has claimed one.
    pub(super) fn see<'a>(
        &self,
        runs: impl Iterator<Item = &'a RunSeen>,
        free: impl Fn(&RunId) -> bool,
        now: Timestamp,
    ) {
        let mut registry = self.lock();
        let mut all = All::default();
        for run in runs {
            let start = run.spec.as_ref().ok().and_then(|spec| spec.start_time);
            let due = !run.deleted && start.is_none_or(|start| start <= now);
            if run.over() {
                all.with_residue += usize::from(run.residue());
            } else if due && !registry.live.contains_key(&run.id) && free(&run.id) {
                all.waiting += 1;
            }
        }
        registry.all = all;
    }

    /// The loop has come round; `listed`: whether it knows all Runs and replicas.
    pub(super) fn round(&self, listed: bool) {
        self.lock().round = Some((Instant::now(), listed));
    }

    /// Whether the loop comes round. Until its first time it is held to be beginning.
    pub fn alive(&self) -> bool {
        self.lock().round.is_none_or(|(at, _)| at.elapsed() < HANGS)
    }

    /// Whether it knows all Runs and replicas, and so does what is to be done.
    pub fn ready(&self) -> bool {
        self.alive() && self.lock().round.is_some_and(|(_, listed)| listed)
    }

    /// What is told of a game day from now on.
    pub fn set_game_day(&self, namespace: &str, name: &str, told: GameDayTold) {
        self.lock().game_days.insert((namespace.to_owned(), name.to_owned()), told);
    }

    /// A game day is not there any more.
    pub fn forget_game_day(&self, namespace: &str, name: &str) {
        self.lock().game_days.remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn called(&self, verb: &'static str, code: &'static str) {
        *self.lock().calls.entry((verb, code)).or_default() += 1;
    }

    /// All of it, in Prometheus' text format.
    pub fn render(&self) -> String {
        let registry = self.lock();
        let mut page = Page::default();
        page.gauge("firedrill_build_info", "1, and the version of firedrill.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        registry.runs(&mut page);
        for ((name, help, _), times) in CLOCKS.iter().zip(&registry.times) {
            page.histogram(name, help, times);
        }
        let mut calls = page.counter(
            "firedrill_api_requests_total",
            "Calls to the API server, by verb (a list is a get) and class of the answer (none: nobody answered).",
        );
        for ((verb, code), count) in &registry.calls {
            calls.sample(&[("verb", verb), ("code", code)], count);
        }
        registry.game_days(&mut page);
        page.text()
    }
}

impl Registry {
    fn runs(&self, page: &mut Page) {
        let mut ended = page.counter("firedrill_runs_total", "Runs that this replica has ended, by verdict.");
        for verdict in VERDICTS {
            let count = self.ended.get(&verdict).copied().unwrap_or_default();
            ended.sample(&[("verdict", &verdict.to_string())], count);
        }
        let live = || self.live.values();
        let sum = |of: fn(&Live) -> usize| live().map(of).sum::<usize>();
        let gauges = [
            ("firedrill_runs_in_progress", "Runs that this replica works on.", self.live.len()),
            (
                "firedrill_runs_in_force",
                "Of these, those with at least one change that is not put back.",
                live().filter(|live| !live.in_force.is_empty()).count(),
            ),
            (
                "firedrill_runs_stuck",
                "Of these, those with a revert that has failed and is tried again.",
                live().filter(|live| !live.failing.is_empty()).count(),
            ),
            (
                "firedrill_runs_waiting",
                "Runs that are due and that no replica has taken up; every replica says the same.",
                self.all.waiting,
            ),
            (
                "firedrill_changes_in_force",
                "Changes of this replica's runs that are not put back, or may not be.",
                sum(|live| live.in_force.len()),
            ),
            (
                "firedrill_residue",
                "Changes of this replica's runs that could not be put back so far.",
                sum(|live| live.failing.len()),
            ),
            (
                "firedrill_finished_runs_with_residue",
                "Runs that are over and have left something behind; every replica says the same.",
                self.all.with_residue,
            ),
        ];
        for (name, help, value) in gauges {
            page.gauge(name, help).sample(&[], value);
        }
    }

    fn game_days(&self, page: &mut Page) {
        let each = || {
            let all = self.game_days.iter();
            all.map(|((namespace, name), told)| ([("namespace", &**namespace), ("name", &**name)], told))
        };
        let mut overdue = page.gauge(
            "firedrill_gameday_overdue",
            "1 if a game day should have been held by now and was not, else 0.",
        );
        for (place, told) in each() {
            overdue.sample(&place, u8::from(told.overdue));
        }
        let mut verdicts =
            page.gauge("firedrill_gameday_last_verdict", "1, and what the last of a game day meant.");
        for ([namespace, name], told) in each() {
            if let Some(verdict) = told.verdict {
                verdicts.sample(&[namespace, name, ("verdict", &verdict.to_string())], 1);
            }
        }
        let mut succeeded = page.gauge(
            "firedrill_gameday_last_success_timestamp_seconds",
            "When the last of a game day that passed was over, in seconds since 1970.",
        );
        for (place, told) in each() {
            if let Some(at) = told.succeeded {
                succeeded.sample(&place, at.as_second());
            }
        }
    }
}

#[cfg(test)]
mod tests;
