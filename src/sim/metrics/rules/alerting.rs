//! The states of an alerting rule's alerts (Prometheus: rules/alerting.go, `Eval`).

use std::collections::BTreeMap;

use super::super::series::Labels;
use super::named;

/// An alert that is pending or firing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Active {
    pub firing: bool,
    /// Since when its condition holds, in milliseconds.
    pub since: i64,
    pub value: f64,
    /// Since when it fires only because it is kept firing.
    kept_since: Option<i64>,
}

/// The alerts of one rule, by their labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Alerting {
    alerts: BTreeMap<Labels, Active>,
}

impl Alerting {
    /// One evaluation: what was found, how long it has to hold and how long it is kept firing (milliseconds), when.
    pub fn step(&mut self, found: BTreeMap<Labels, f64>, (hold, keep): (i64, i64), at: i64) {
        self.alerts.retain(|labels, alert| {
            if found.contains_key(labels) {
                alert.kept_since = None;
                return true;
            }
            if !alert.firing || keep == 0 {
                return false;
            }
            at - *alert.kept_since.get_or_insert(at) < keep
        });
        for (labels, value) in found {
            let new = Active { firing: false, since: at, value, kept_since: None };
            self.alerts.entry(labels).or_insert(new).value = value;
        }
        for alert in self.alerts.values_mut() {
            alert.firing |= at - alert.since >= hold;
        }
    }

    /// Those that are pending or firing.
    pub fn active(&self) -> impl Iterator<Item = (&Labels, &Active)> {
        self.alerts.iter()
    }

    /// Of the rule: the worst of its alerts'.
    pub fn state(&self) -> &'static str {
        match (self.alerts.values().any(|alert| alert.firing), self.alerts.is_empty()) {
            (true, _) => "firing",
            (false, false) => "pending",
            (false, true) => "inactive",
        }
    }

    /// `ALERTS` is 1 for each, `ALERTS_FOR_STATE` says since when, in seconds.
    pub fn samples(&self) -> Vec<(Labels, f64)> {
        let mut samples = Vec::new();
        for (labels, alert) in &self.alerts {
            let state = if alert.firing { "firing" } else { "pending" };
            samples.push((named("ALERTS", labels).with("alertstate", state), 1.0));
            samples.push((named("ALERTS_FOR_STATE", labels), (alert.since / 1000) as f64));
        }
        samples
    }
}
