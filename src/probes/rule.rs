//! How kinds that need no `expect` judge by themselves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

/// Where the run is when something is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// When it was measured.
    pub at: Timestamp,
    /// The first intent: from then on the world may have changed. None: Baseline.
    pub intended: Option<Timestamp>,
    /// The first fault seen in force.
    pub in_force: Option<Timestamp>,
    /// The last fault lifted, once everything is back.
    pub lifted: Option<Timestamp>,
    /// The first sample of this probe since `intended` that was an alert.
    pub alerted: Option<Timestamp>,
    /// The last sample of this probe that was one.
    pub alerted_last: Option<Timestamp>,
}

/// What a rule says of one measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opinion {
    /// Whether it is normal; None: there was nothing to judge.
    pub expect: Option<bool>,
    /// Whether it is borne from the first intent on.
    pub during: Option<bool>,
    /// Whether something that was promised may still come, so that the run has to wait for it.
    pub awaited: bool,
    /// Whether somebody is told now that something is wrong.
    pub alerting: bool,
    /// What is remarkable.
    pub note: String,
}

/// Judges the measurements of one probe in one run, in their order.
pub trait Rule: Send {
    /// Judges the next measurement; None: there was nothing to measure.
    fn judge(&mut self, measured: Option<&BTreeMap<&'static str, Value>>, course: &Course) -> Opinion;
}
