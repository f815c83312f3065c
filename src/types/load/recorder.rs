//! What became of a load's requests.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Histogram;

/// The whole load's latencies are exact to a thousandth.
const FINE: u32 = 11;
/// Those of one second to a thirtieth: there are many of them.
const COARSE: u32 = 6;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With an answer of this status, read to its end.
    Answered(u16),
    /// Not within its time; it counts as having taken just that.
    TimedOut,
    /// There was no connection: refused, unreachable, name not found.
    NotConnected,
    /// The connection broke before the answer was whole.
    Broken,
}

/// What became of all requests so far. `sent + overflowed` is what was due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadTally {
    /// Sent.
    pub sent: u64,
    /// Answered, with whatever status.
    pub answered: u64,
    /// Of those answered, with a status of 400 or more.
    pub refused_by_status: u64,
    /// Without an answer in time.
    pub timed_out: u64,
    /// Without a connection.
    pub not_connected: u64,
    /// Broken off before the answer was whole.
    pub broken: u64,
    /// Due while `maxInFlight` others were waiting: not sent, and an error.
    pub overflowed: u64,
    /// Neither answered nor given up when the load ended.
    pub unfinished: u64,
    /// Latencies from the intended start in microseconds, time-outs included: median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// 99 of 100 are at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// 999 of 1000 are at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_us: Option<u64>,
    /// The longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_us: Option<u64>,
    /// How late requests were sent, 99 of 100 at most: the load's own doing, not the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_late_p99_us: Option<u64>,
}

impl LoadTally {
    /// Whatever did not succeed.
    pub fn failed(&self) -> u64 {
        self.refused_by_status + self.timed_out + self.not_connected + self.broken + self.overflowed
    }
}

/// What became of the requests of the last while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadWindow {
    /// Its length in seconds.
    pub seconds: f64,
    /// Requests that ended in it, overflow included.
    pub ended: u64,
    /// Of those, answered.
    pub answered: u64,
    /// Of those that ended, the ones that failed.
    pub failed: u64,
    /// The most that were waiting at once, as a share of what may; 1 when one overflowed.
    pub saturation: f64,
    /// Their latencies; of one that has waited for longer than the window and still does, its time so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Histogram>,
}

/// One second.
#[derive(Clone, Debug)]
struct Slice {
    second: u64,
    ended: u64,
    answered: u64,
    failed: u64,
    overflowed: u64,
    /// The most at once.
    at_once: u32,
    latency: Histogram,
}

/// Writes down what becomes of a load's requests. Times are microseconds since its beginning, and come in order
/// as far as the sender has them in order.
#[derive(Clone, Debug)]
pub struct Recorder {
    max_in_flight: u32,
    /// How many seconds are kept one by one.
    keep: u64,
    tally: LoadTally,
    latency: Histogram,
    lateness: Histogram,
    slices: VecDeque<Slice>,
    /// How many that were due in a second are still waiting.
    open: BTreeMap<u64, u64>,
    in_flight: u32,
}

const SECOND: u64 = 1_000_000;

impl Recorder {
    /// Of a load that may have so many requests waiting; windows reach `keep` back.
    pub fn new(max_in_flight: u32, keep: Duration) -> Self {
        Self {
            max_in_flight: max_in_flight.max(1),
            keep: keep.as_secs() + 2,
            tally: LoadTally::default(),
            latency: Histogram::new(FINE),
            lateness: Histogram::new(FINE),
            slices: VecDeque::new(),
            open: BTreeMap::new(),
            in_flight: 0,
        }
    }

    /// A request that is due at `due` is to be sent at `now`: whether it may. If not, it has overflowed.
    pub fn send(&mut self, due: u64, now: u64) -> bool {
        if self.in_flight >= self.max_in_flight {
            self.tally.overflowed += 1;
            let slice = self.slice(now);
            slice.ended += 1;
            slice.overflowed += 1;
            return false;
        }
        self.in_flight += 1;
        let at_once = self.in_flight;
        self.tally.sent += 1;
        *self.open.entry(due / SECOND).or_default() += 1;
        let slice = self.slice(now);
        slice.at_once = slice.at_once.max(at_once);
        true
    }

    /// A request that was due at `due` is handed to a connection at `now`.
    pub fn left(&mut self, due: u64, now: u64) {
        self.lateness.record(now.saturating_sub(due));
    }

    /// A request that was due at `due` has ended at `now`.
    pub fn end(&mut self, due: u64, now: u64, end: End) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(open) = self.open.get_mut(&(due / SECOND)) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&(due / SECOND));
            }
        }
        let failed = match end {
            End::Answered(status) => {
                self.tally.answered += 1;
                self.tally.refused_by_status += u64::from(status >= 400);
                status >= 400
            }
            End::TimedOut => {
                self.tally.timed_out += 1;
                true
            }
            End::NotConnected => {
                self.tally.not_connected += 1;
                true
            }
            End::Broken => {
                self.tally.broken += 1;
                true
            }
        };
        // A refusal comes quickly and says nothing of how long an answer takes.
        let latency = matches!(end, End::Answered(_) | End::TimedOut).then(|| now.saturating_sub(due));
        if let Some(latency) = latency {
            self.latency.record(latency);
        }
        let slice = self.slice(now);
        slice.ended += 1;
        slice.answered += u64::from(matches!(end, End::Answered(_)));
        slice.failed += u64::from(failed);
        if let Some(latency) = latency {
            slice.latency.record(latency);
        }
    }

    /// The slice of an instant; of one before the last, the last.
    fn slice(&mut self, now: u64) -> &mut Slice {
        let second = now / SECOND;
        if self.slices.back().is_none_or(|last| last.second < second) {
            // Who waits through a silent second is waiting in the next one too.
            let slice = Slice {
                second,
                ended: 0,
                answered: 0,
                failed: 0,
                overflowed: 0,
                at_once: self.in_flight,
                latency: Histogram::new(COARSE),
            };
            self.slices.push_back(slice);
            while self.slices.front().is_some_and(|first| first.second + self.keep < second) {
                self.slices.pop_front();
            }
        }
        let last = self.slices.len() - 1;
        &mut self.slices[last]
    }

    /// What was recorded of how late requests were sent.
    pub fn lateness(&self) -> &Histogram {
        &self.lateness
    }

    /// All latencies so far.
    pub fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// What became of all requests so far.
    pub fn tally(&self) -> LoadTally {
        LoadTally {
            unfinished: u64::from(self.in_flight),
            p50_us: self.latency.quantile(0.5),
            p99_us: self.latency.quantile(0.99),
            p999_us: self.latency.quantile(0.999),
            longest_us: Some(self.latency.highest()).filter(|_| self.latency.count() > 0),
            sent_late_p99_us: self.lateness.quantile(0.99),
            ..self.tally.clone()
        }
    }

    /// What became of the requests of the last `length`, in whole seconds and the one that has begun.
    pub fn window(&self, now: u64, length: Duration) -> LoadWindow {
        let length = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        let first = now.saturating_sub(length) / SECOND;
        let mut window = LoadWindow {
            seconds: (now - (first * SECOND).min(now)) as f64 / SECOND as f64,
            ..LoadWindow::default()
        };
        let mut latency = Histogram::new(COARSE);
        let mut at_once = self.in_flight;
        for slice in self.slices.iter().filter(|slice| slice.second >= first) {
            window.answered += slice.answered;
            window.failed += slice.failed + slice.overflowed;
            window.ended += slice.ended;
            at_once = at_once.max(slice.at_once);
            if slice.overflowed > 0 {
                at_once = self.max_in_flight;
            }
            latency.add(&slice.latency);
        }
        for (second, waiting) in self.open.range(..first) {
            latency.record_many(now.saturating_sub((second + 1) * SECOND), *waiting);
        }
        window.saturation = f64::from(at_once) / f64::from(self.max_in_flight);
        window.latency = Some(latency).filter(|latency| latency.count() > 0);
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    /// Sends one and ends it so much later.
    fn one(recorder: &mut Recorder, due: u64, takes: u64, end: End) {
        assert!(recorder.send(due, due));
        recorder.end(due, due + takes, end);
    }

    #[test]
    fn every_end_is_counted_where_it_belongs() {
        let mut recorder = Recorder::new(10, Duration::from_secs(60));
        one(&mut recorder, 0, 10 * MS, End::Answered(200));
        one(&mut recorder, MS, 20 * MS, End::Answered(404));
        one(&mut recorder, 2 * MS, 500 * MS, End::TimedOut);
        one(&mut recorder, 600 * MS, MS, End::NotConnected);
        one(&mut recorder, 601 * MS, MS, End::Broken);
        let window = recorder.window(SECOND, Duration::from_secs(1));
        assert_eq!((window.ended, window.answered, window.failed), (5, 2, 4));
        assert_eq!(window.latency.map(|latency| latency.count()), Some(3), "what says how long it takes");
        let tally = recorder.tally();
        assert_eq!((tally.sent, tally.answered, tally.refused_by_status), (5, 2, 1));
        assert_eq!((tally.timed_out, tally.not_connected, tally.broken), (1, 1, 1));
        assert_eq!((tally.failed(), tally.unfinished, tally.longest_us), (4, 0, Some(500 * MS)));
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_full_is_full() {
        let mut recorder = Recorder::new(2, Duration::from_secs(60));
        assert!(recorder.send(0, 0) && recorder.send(1, 1));
        assert!(!recorder.send(2, 2), "the third does not fit");
        recorder.end(0, 10, End::Answered(200));
        assert!(recorder.send(20, 20), "there is room again");
        let window = recorder.window(SECOND / 2, Duration::from_secs(1));
        assert_eq!((window.ended, window.failed), (2, 1));
        assert!((window.saturation - 1.0).abs() < 1e-9);
        assert_eq!((recorder.tally().overflowed, recorder.tally().unfinished), (1, 2));
        // Two seconds later nothing overflows any more, and two are still waiting.
        recorder.end(20, 30, End::Answered(200));
        let later = recorder.window(5 * SECOND, Duration::from_secs(1));
        assert!((later.saturation - 0.5).abs() < 1e-9, "{later:?}");
    }

    #[test]
    fn who_waits_for_longer_than_the_window_shows_in_it() {
        let mut recorder = Recorder::new(100, Duration::from_secs(60));
        one(&mut recorder, 0, 10 * MS, End::Answered(200));
        for due in 1..50 {
            recorder.send(due * 10 * MS, due * 10 * MS);
        }
        let window = recorder.window(8 * SECOND, Duration::from_secs(2));
        assert_eq!(window.ended, 0);
        let waited = window.latency.and_then(|latency| latency.quantile(0.5)).expect("they wait");
        assert!((6_800 * MS..7_200 * MS).contains(&waited), "{waited}");
    }

    #[test]
    fn latency_counts_from_when_a_request_was_due() {
        let mut recorder = Recorder::new(100, Duration::from_secs(60));
        recorder.send(0, 300 * MS);
        recorder.left(0, 300 * MS);
        recorder.end(0, 310 * MS, End::Answered(200));
        assert_eq!(recorder.tally().longest_us, Some(310 * MS), "sent late is answered late");
        assert_eq!(recorder.lateness().highest(), 300 * MS);
    }

    #[test]
    fn old_seconds_are_forgotten_and_the_sum_is_not() {
        let mut recorder = Recorder::new(100, Duration::from_secs(10));
        for second in 0..1000 {
            one(&mut recorder, second * SECOND, 5 * MS, End::Answered(200));
        }
        assert!(recorder.slices.len() <= 14, "{}", recorder.slices.len());
        assert_eq!(recorder.tally().answered, 1000);
        let window = recorder.window(1000 * SECOND, Duration::from_secs(10));
        assert_eq!((window.answered, window.seconds), (10, 10.0));
    }
}
