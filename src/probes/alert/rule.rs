//! What an alert without `expect` has to do. Pure.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::{Course, Opinion, Rule},
    Params,
};

/// Quiet before the first fault, firing in time or not at all, quiet again in time.
pub(super) struct Obligation {
    /// After the first fault was in force; None: never.
    fires_within: Option<Duration>,
    /// After the last fault was lifted.
    clears_within: Duration,
}

impl Obligation {
    pub(super) fn of(params: &Params) -> Self {
        Self {
            fires_within: params.fires_within.map(|length| length.0),
            clears_within: params.clears_within().0,
        }
    }

    /// Whether its time is kept, and whether something is still to come. Nothing is measured at `quiet: None`.
    ///
    /// What was too late stays so: an alert that fires after its time has not fired in time.
    fn kept(&self, within: Duration, firing: Option<bool>, course: &Course) -> (bool, bool) {
        let first = course.alerted.or(firing.filter(|firing| *firing).map(|_| course.at));
        let fires_by = course.in_force.map(|at| later(at, within));
        let clears_by = course.lifted.map(|at| later(at, self.clears_within));
        let passed = |by: Option<Timestamp>| by.is_some_and(|by| course.at > by);
        let in_time = |at: Timestamp| fires_by.is_none_or(|by| at <= by);
        let Some(first) = first else {
            // Before a fault is seen in force there is nothing to tell of; without one the run ends by itself.
            let open = !passed(fires_by);
            return (open, open && fires_by.is_some());
        };
        let last = if firing == Some(true) { Some(course.at) } else { course.alerted_last };
        let cleared = clears_by.is_none_or(|by| last.is_none_or(|last| last <= by));
        let clearing = firing != Some(false) && clears_by.is_some() && !passed(clears_by);
        (in_time(first) && cleared, clearing && in_time(first))
    }
}

/// The end of all time where there is no such time.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl Rule for Obligation {
    fn judge(&mut self, measured: Option<&BTreeMap<&'static str, Value>>, course: &Course) -> Opinion {
        let is = |name: &str| measured.and_then(|variables| variables.get(name)).and_then(Value::as_bool);
        let (firing, pending) = (is("firing"), is("pending"));
        let alerting = firing == Some(true);
        let opinion = Opinion { alerting, ..Opinion::default() };
        let (expect, during, awaited) = match (course.intended, self.fires_within) {
            // What is pending now may fire soon, and would be taken for the fault's doing.
            (None, _) => {
                let quiet = firing.zip(pending).map(|(firing, pending)| !firing && !pending);
                (quiet, quiet, false)
            }
            (Some(_), None) => {
                let quiet = firing.map(|firing| !firing);
                (quiet, quiet, false)
            }
            (Some(_), Some(within)) => {
                let (kept, awaited) = self.kept(within, firing, course);
                // An alert that fires as it should is no lack of health: healing does not wait for it.
                (firing.map(|_| true), firing.map(|_| kept), awaited)
            }
        };
        let note = match (during, firing) {
            (Some(false), Some(true)) => "it fires".to_owned(),
            (Some(false), Some(false)) if course.intended.is_none() => "it is pending".to_owned(),
            (Some(false), Some(false)) if course.alerted.is_some() => "it was late".to_owned(),
            (Some(false), Some(false)) => "it has not fired in time".to_owned(),
            _ => String::new(),
        };
        Opinion { expect, during, awaited, note, ..opinion }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::types::Length;

    const INTENDED: i64 = 100;
    const IN_FORCE: i64 = 102;

    /// Judges samples every 5 s, `f` firing, `p` pending, `.` quiet, `?` nothing; the first fault at 100 s, the last
    /// lifted at `lifted`. Each opinion as `+` or `-` of during, in capitals (`W`, `X`) where it has to be waited for.
    fn opinions(fires: Option<u64>, samples: &str, lifted: i64) -> String {
        let params = Params {
            fires_within: fires.map(Length::from_secs),
            clears_within: Some(Length::from_secs(20)),
            ..Params::default()
        };
        let mut rule = Obligation::of(&params);
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let (mut alerted, mut alerted_last) = (None, None);
        let mut all = String::new();
        for (index, sample) in samples.chars().enumerate() {
            let now = 90 + 5 * index as i64;
            let course = Course {
                at: at(now),
                intended: (now >= INTENDED).then(|| at(INTENDED)),
                in_force: (now >= IN_FORCE).then(|| at(IN_FORCE)),
                lifted: (now >= lifted).then(|| at(lifted)),
                alerted,
                alerted_last,
            };
            let variables: BTreeMap<&'static str, Value> =
                [("firing", json!(sample == 'f')), ("pending", json!(sample == 'p'))].into();
            let opinion = rule.judge((sample != '?').then_some(&variables), &course);
            if opinion.alerting {
                alerted_last = Some(at(now));
                alerted = alerted.or(course.intended.map(|_| at(now)));
            }
            all.push(match (opinion.during, opinion.awaited) {
                (None, false) => '?',
                (None, true) => 'W',
                (Some(true), false) => '+',
                (Some(false), false) => '-',
                (Some(true), true) => 'W',
                (Some(false), true) => 'X',
            });
        }
        all
    }

    #[test]
    fn it_fires_in_time_and_clears_in_time() {
        //  seconds:                      90   100  110  120  130  140
        assert_eq!(opinions(Some(20), "...ppff......", 125), "+++WW++++++++");
        assert_eq!(opinions(Some(20), "...ppffffff..", 125), "+++WW++WWWW++");
    }

    #[test]
    fn what_is_late_stays_late() {
        assert_eq!(opinions(Some(20), "........ff..", 200), "+++WWWW-----", "fired after its time");
        assert_eq!(opinions(Some(20), "............", 200), "+++WWWW-----", "never fired");
        let slow = opinions(Some(20), "...ffffffffff..", 115);
        assert!(slow.starts_with("+++++WWWWW") && slow.ends_with("-----"), "{slow}");
    }

    #[test]
    fn the_fault_is_not_blamed_for_what_was_there_before() {
        assert_eq!(&opinions(Some(20), "f.", 200), "-+");
        assert_eq!(&opinions(Some(20), "p.", 200), "-+", "pending: it is about to fire");
        assert_eq!(&opinions(None, "p.", 200), "-+");
    }

    #[test]
    fn one_that_must_stay_quiet_stays_quiet() {
        assert_eq!(opinions(None, "..pp.f.", 200), "+++++-+");
    }

    #[test]
    fn without_data_it_is_waited_for_until_its_time_has_passed() {
        assert_eq!(opinions(Some(20), "...????????", 200), "+++WWWW????");
    }
}
