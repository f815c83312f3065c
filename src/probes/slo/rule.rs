//! What an objective without `expect` comes to: the sequential test. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{Course, Opinion, Rule},
    COUNTERS,
    counters::Counters,
    eprocess::Test,
};

/// Tests the error ratio against the objective's budget in Baseline, and from the first intent on against what the
/// objective or Baseline allows, whichever is more.
pub(super) struct Sequential {
    /// The ratio of errors that the objective allows.
    budget: f64,
    /// Probability of a false alarm within an hour.
    alpha: f64,
    counters: Counters,
    test: Test,
    /// Errors and all requests of Baseline.
    baseline: (f64, f64),
    /// The same since the first intent.
    since: (f64, f64),
    disturbed: bool,
    last: Option<Timestamp>,
}

impl Sequential {
    pub fn new(budget: f64, alpha: f64) -> Self {
        Self {
            budget,
            alpha,
            counters: Counters::default(),
            test: Test::new(budget, alpha),
            baseline: (0.0, 0.0),
            since: (0.0, 0.0),
            disturbed: false,
            last: None,
        }
    }

    /// The fault begins: so does its test.
    fn begin(&mut self) {
        let (errors, total) = self.baseline;
        let before = if total > 0.0 { errors / total } else { 0.0 };
        self.test = Test::new(self.budget.max(before), self.alpha);
        self.disturbed = true;
    }

    fn take(&mut self, (good, total): (f64, f64), at: Timestamp) {
        let errors = (total - good).max(0.0);
        let hours = self.last.map_or(0.0, |last| at.duration_since(last).as_secs_f64() / 3600.0);
        self.test.take((errors, total), hours.max(0.0));
        let sum = if self.disturbed { &mut self.since } else { &mut self.baseline };
        *sum = (sum.0 + errors, sum.1 + total.max(0.0));
    }
}

impl Rule for Sequential {
    fn judge(&mut self, measured: Option<&BTreeMap<&'static str, Value>>, course: &Course) -> Opinion {
        if course.intended.is_some() && !self.disturbed {
            self.begin();
        }
        let Some(counters) = measured.and_then(|variables| variables.get(COUNTERS)) else {
            return Opinion::default();
        };
        if let Some(new) = self.counters.take(counters) {
            self.take(new, course.at);
        }
        self.last = Some(course.at);
        let within = !self.test.alarms();
        let (errors, total) = if self.disturbed { self.since } else { self.baseline };
        let note = if within {
            String::new()
        } else {
            let since = if self.disturbed { "the first fault" } else { "the beginning" };
            format!("{errors:.0} errors in {total:.0} requests since {since}, more than chance allows")
        };
        Opinion { expect: Some(within), during: Some(within), note, ..Opinion::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Judges intervals of a second, each with its errors among 50 requests; the fault begins at `fault`.
    fn judged(errors: &[u32], fault: usize) -> String {
        let mut rule = Sequential::new(0.001, 0.01);
        let (mut good, mut bad) = (0_u32, 0_u32);
        let mut told = String::new();
        for (second, new) in errors.iter().enumerate() {
            (good, bad) = (good + 50 - new, bad + new);
            let at = |second: usize| Timestamp::from_second(second as i64).expect("a time");
            let counters = json!([["ok", good, 1.0, 1.0], ["bad", bad, 0.0, 1.0]]);
            let course = Course {
                at: at(second),
                intended: (second >= fault).then(|| at(fault)),
                ..Course::default()
            };
            let opinion = rule.judge(Some(&BTreeMap::from([(COUNTERS, counters)])), &course);
            assert_eq!(opinion.expect, opinion.during);
            told.push(match opinion.during {
                Some(true) => '+',
                Some(false) => '-',
                None => '?',
            });
        }
        told
    }

    #[test]
    fn a_few_errors_are_chance_and_many_are_not() {
        assert_eq!(judged(&[0, 0, 1, 0, 0, 0, 1, 0], 3), "++++++++");
        assert_eq!(
            judged(&[0, 0, 0, 0, 25, 25, 0, 0], 3),
            "+++++-++",
            "found by the second, and its end at once"
        );
        assert_eq!(judged(&[0, 50, 50], 9), "+--", "so it is not steady");
    }

    #[test]
    fn what_baseline_has_shown_is_allowed_too() {
        let noisy: Vec<u32> = std::iter::repeat_n([1, 0, 0, 0, 0, 0, 0, 0], 8).flatten().collect();
        assert!(judged(&noisy, 40)[40..].chars().all(|judged| judged == '+'));
    }

    #[test]
    fn without_data_there_is_no_opinion() {
        let mut rule = Sequential::new(0.001, 0.01);
        assert_eq!(rule.judge(None, &Course::default()).during, None);
        assert_eq!(rule.judge(Some(&BTreeMap::new()), &Course::default()).during, None);
    }
}
