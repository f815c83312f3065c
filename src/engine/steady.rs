//! The steady state of one probe, folded from its samples. Pure.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

use crate::api::{OnMissing, Patience, ProbeSpec};

/// How many numbers are kept for windows and Baseline.
const NUMBERS_MAX: usize = 4096;

/// Which expression guards now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing is judged.
    Off,
    /// `expect`: in Baseline.
    Expect,
    /// `during`: from the first intent until recovery.
    During,
}

/// One sample, as the fold takes it.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    /// When it was taken.
    pub at: Timestamp,
    /// The number.
    pub value: Option<f64>,
    /// Whether `expect` holds; None: nothing to judge.
    pub expect: Option<bool>,
    /// Whether `during` holds.
    pub during: Option<bool>,
}

/// A loss of normal that has lasted for as long as the file allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its first sample.
    pub since: Timestamp,
    /// The sample that completes it.
    pub at: Timestamp,
    /// Whether it is the lack of data, not a measured one.
    pub missing: bool,
}

/// What is known of one probe.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Since when `expect` has held without a break.
    pub steady_since: Option<Timestamp>,
    /// The last sample.
    pub last: Option<Timestamp>,
    /// How many samples.
    pub count: u32,
    /// The number measured last.
    pub value: Option<f64>,
    /// Numbers with their times, oldest first.
    pub numbers: VecDeque<(Timestamp, f64)>,
    /// The loss that is not yet acted on.
    pub loss: Option<Loss>,
    /// Whether something that was promised may still come.
    pub awaited: bool,
    /// The first sample since the first intent that was an alert.
    pub alerted: Option<Timestamp>,
    /// The last sample that was one.
    pub alerted_last: Option<Timestamp>,
    outside_since: Option<Timestamp>,
    missing_since: Option<Timestamp>,
    recent: VecDeque<bool>,
}

impl Track {
    /// Takes in one sample.
    pub fn sample(&mut self, probe: &ProbeSpec, sample: Judged, guard: Guard) {
        self.last = Some(sample.at);
        self.count += 1;
        self.value = sample.value;
        if let Some(value) = sample.value {
            self.numbers.push_back((sample.at, value));
            if self.numbers.len() > NUMBERS_MAX {
                self.numbers.pop_front();
            }
        }
        match sample.expect {
            Some(true) => {
                self.steady_since.get_or_insert(sample.at);
            }
            _ => self.steady_since = None,
        }
        let guarded = match guard {
            Guard::Off => return,
            Guard::Expect => sample.expect,
            Guard::During => sample.during,
        };
        let outside = match (guarded, probe.on_missing) {
            (Some(holds), _) => !holds,
            (None, OnMissing::Violation) => true,
            (None, OnMissing::Ignore) => return,
            (None, OnMissing::Inconclusive) => {
                let since = *self.missing_since.get_or_insert(sample.at);
                let patience = probe.patience.least(probe.every);
                if elapsed(since, sample.at) >= patience && self.loss.is_none() {
                    self.loss = Some(Loss { since, at: sample.at, missing: true });
                }
                return;
            }
        };
        self.missing_since = None;
        self.outside(probe, sample.at, outside);
    }

    /// Takes in what else a sample at `at` says: an alert, which counts from the first intent on, and whether there
    /// is something to wait for.
    pub fn told(&mut self, at: Timestamp, (alerting, awaited): (bool, bool), intended: Option<Timestamp>) {
        self.awaited = awaited;
        if alerting {
            self.alerted_last = Some(at);
            if intended.is_some_and(|intended| at >= intended) {
                self.alerted.get_or_insert(at);
            }
        }
    }

    fn outside(&mut self, probe: &ProbeSpec, at: Timestamp, outside: bool) {
        if outside {
            self.outside_since.get_or_insert(at);
        } else {
            self.outside_since = None;
        }
        let lost = match probe.patience {
            _ if probe.by_rule() => outside,
            Patience::For(patience) => self.outside_since.is_some_and(|since| elapsed(since, at) >= patience),
            Patience::Samples { outside: wanted, of } => {
                self.recent.push_back(outside);
                while self.recent.len() > of as usize {
                    self.recent.pop_front();
                }
                outside && self.recent.iter().filter(|outside| **outside).count() >= wanted as usize
            }
        };
        if lost && self.loss.is_none() {
            let since = self.outside_since.unwrap_or(at);
            self.loss = Some(Loss { since, at, missing: false });
        }
    }

    /// Another expression guards from here on: what was outside of the former one counts no more.
    pub fn rearm(&mut self) {
        self.loss = None;
        self.outside_since = None;
        self.missing_since = None;
        self.recent.clear();
    }

    /// Nobody has looked for a while: what was unbroken before is so no more.
    pub fn interrupt(&mut self) {
        self.rearm();
        self.steady_since = None;
    }
}

/// From `since` to `at`; zero if that is backwards.
pub fn elapsed(since: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(since)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn probe(extra: serde_json::Value) -> ProbeSpec {
        let mut probe = json!({"name": "p", "prometheus": {"query": "x"}, "expect": "true", "every": "5s"});
        probe.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(probe).expect("a probe")
    }

    /// Samples every 5 s: `+` within, `-` outside, `?` missing. At which second there is a loss.
    fn loss(probe: &ProbeSpec, samples: &str) -> Option<(i64, bool)> {
        let mut track = Track::default();
        for (index, sample) in samples.chars().enumerate() {
            let at = Timestamp::from_second(index as i64 * 5).expect("a time");
            let during = match sample {
                '+' => Some(true),
                '-' => Some(false),
                _ => None,
            };
            track.sample(probe, Judged { at, value: None, expect: during, during }, Guard::During);
        }
        track.loss.map(|loss| (loss.at.as_second(), loss.missing))
    }

    #[test]
    fn for_is_continuous() {
        let probe = probe(json!({"for": "10s"}));
        assert_eq!(loss(&probe, "++--"), None);
        assert_eq!(loss(&probe, "++---"), Some((20, false)));
        assert_eq!(loss(&probe, "--+--+--"), None);
    }

    #[test]
    fn zero_patience_is_the_first_sample() {
        assert_eq!(loss(&probe(json!({"for": "0s"})), "++-"), Some((10, false)));
    }

    #[test]
    fn m_of_n() {
        let probe = probe(json!({"samples": {"outside": 3, "of": 5}}));
        assert_eq!(loss(&probe, "-+-+-"), Some((20, false)));
        assert_eq!(loss(&probe, "--+++-"), None);
    }

    #[test]
    fn missing_is_inconclusive_unless_the_file_says_otherwise() {
        assert_eq!(loss(&probe(json!({"for": "10s"})), "+???"), Some((15, true)));
        assert_eq!(loss(&probe(json!({"for": "10s", "onMissing": "Violation"})), "+???"), Some((15, false)));
        assert_eq!(loss(&probe(json!({"for": "10s", "onMissing": "Ignore"})), "+????????"), None);
    }

    #[test]
    fn a_gap_in_the_data_does_not_heal_an_outage() {
        assert_eq!(loss(&probe(json!({"for": "10s"})), "-?-"), Some((10, false)));
    }
}
