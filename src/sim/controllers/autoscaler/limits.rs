//! How fast an autoscaler may act on what the metrics ask for: stabilisation, policies, and the bounds of its spec.
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go` (`normalizeDesiredReplicas…`, `stabilizeRecommendation…`,
//! `convertDesiredReplicasWith…`) and the defaults of `pkg/apis/autoscaling/v2/defaults.go`, v1.36.

use std::time::Duration;

use jiff::Timestamp;

use crate::sim::controllers::views::{AutoscalerSpec, ScalingPolicy, ScalingRules};

/// How long the highest recommendation holds before replicas go (`HorizontalPodAutoscalerDownscaleStabilizationWindow`,
/// config/v1alpha1/defaults.go: 5 minutes).
pub const DOWNSCALE_STABILIZATION: Duration = Duration::from_secs(300);
/// Without `behavior`: to twice as many at once … (`scaleUpLimitFactor`, horizontal.go).
const SCALE_UP_FACTOR: i64 = 2;
/// … or to this many (`scaleUpLimitMinimum`, horizontal.go).
const SCALE_UP_MINIMUM: i64 = 4;
/// The period of the default policies in seconds (v2/defaults.go: Percent 100 and Pods 4 up, Percent 100 down).
const POLICY_PERIOD: i64 = 15;

/// What an autoscaler remembers between syncs.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Recommendations as the metrics gave them, with their times.
    recommendations: Vec<(Timestamp, i64)>,
    /// Replicas added, with the times; kept only with `behavior`.
    added: Vec<(Timestamp, i64)>,
    /// Replicas taken away.
    removed: Vec<(Timestamp, i64)>,
}

/// A reason and a message of a condition.
pub type Said = (&'static str, &'static str);

/// What is to be done, and what the conditions say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// Replicas.
    pub replicas: i64,
    /// Of AbleToScale.
    pub able: Said,
    /// Whether ScalingLimited is True.
    pub limited: bool,
    /// Of ScalingLimited.
    pub limit: Said,
}

const STABLE: Said = ("ReadyForNewScale", "recommended size matches current size");
const HIGHER: Said = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const LOWER: Said = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WITHIN: Said = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FEW: Said = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: Said =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const UP_LIMIT: Said =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Said =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

impl Memory {
    /// Before the first recommendation stands what is there (`recordInitialRecommendation`).
    pub fn begin(&mut self, current: i64, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// Notes a change of scale, for the policies of `behavior` (`storeScaleEvent`).
    pub fn scaled(&mut self, spec: &AutoscalerSpec, (from, to): (i64, i64), now: Timestamp) {
        if spec.behavior.is_none() {
            return;
        }
        let longest = |rules: &ScalingRules, up: bool| {
            policies(rules, up).iter().map(|p| p.period_seconds).max().unwrap_or(POLICY_PERIOD)
        };
        let (events, up) = if to > from { (&mut self.added, true) } else { (&mut self.removed, false) };
        let period = longest(&rules(spec, up), up);
        events.retain(|(at, _)| seconds_between(*at, now) < period as f64);
        events.push((now, (to - from).abs()));
    }

    /// What may be done now of what the metrics ask for.
    pub fn limit(&mut self, spec: &AutoscalerSpec, current: i64, asked: i64, now: Timestamp) -> Limited {
        let bounds = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
        let (stable, able) = if spec.behavior.is_some() {
            self.stabilize_both(spec, current, asked, now)
        } else {
            self.stabilize_down(asked, now)
        };
        let able = if stable == asked { STABLE } else { able };
        let (replicas, limit) = if spec.behavior.is_some() {
            self.at_rates(spec, current, (stable, bounds), now)
        } else {
            at_default_rate(current, stable, bounds)
        };
        Limited { replicas, able, limited: replicas != stable, limit }
    }

    /// The highest recommendation of the window (`stabilizeRecommendation`).
    fn stabilize_down(&mut self, asked: i64, now: Timestamp) -> (i64, Said) {
        self.recommendations
            .retain(|(at, _)| seconds_between(*at, now) <= DOWNSCALE_STABILIZATION.as_secs_f64());
        let highest = self.recommendations.iter().map(|(_, n)| *n).max().unwrap_or(asked).max(asked);
        self.recommendations.push((now, asked));
        (highest, HIGHER)
    }

    /// Neither above the lowest of one window nor below the highest of the other
    /// (`stabilizeRecommendationWithBehaviors`).
    fn stabilize_both(
        &mut self,
        spec: &AutoscalerSpec,
        current: i64,
        asked: i64,
        now: Timestamp,
    ) -> (i64, Said) {
        let window = |up: bool| {
            let default = if up { 0 } else { DOWNSCALE_STABILIZATION.as_secs() as i64 };
            rules(spec, up).stabilization_window_seconds.unwrap_or(default) as f64
        };
        let (up, down) = (window(true), window(false));
        let age = |at: Timestamp| seconds_between(at, now);
        let recent = &self.recommendations;
        let within = |window: f64| recent.iter().filter(move |(at, _)| age(*at) < window).map(|(_, n)| *n);
        let lowest = within(up).min().unwrap_or(asked).min(asked);
        let highest = within(down).max().unwrap_or(asked).max(asked);
        let stable = current.max(lowest).min(highest);
        self.recommendations.retain(|(at, _)| age(*at) <= up || age(*at) <= down);
        self.recommendations.push((now, asked));
        (stable, if asked >= current { LOWER } else { HIGHER })
    }

    /// Policies and bounds (`convertDesiredReplicasWithBehaviorRate`).
    fn at_rates(
        &self,
        spec: &AutoscalerSpec,
        current: i64,
        (wanted, (min, max)): (i64, (i64, i64)),
        now: Timestamp,
    ) -> (i64, Said) {
        if wanted > current {
            let rate = self.scale_up_limit(&rules(spec, true), current, now).max(current);
            let (most, why) = if max > rate { (rate, UP_LIMIT) } else { (max, TOO_MANY) };
            if wanted > most {
                return (most, why);
            }
        } else if wanted < current {
            let rate = self.scale_down_limit(&rules(spec, false), current, now).min(current);
            let (least, why) = if min < rate { (rate, DOWN_LIMIT) } else { (min, TOO_FEW) };
            if wanted < least {
                return (least, why);
            }
        }
        (wanted, WITHIN)
    }

    /// Replicas at the beginning of a policy's period.
    fn before(&self, policy: &ScalingPolicy, current: i64, now: Timestamp) -> i64 {
        let period = policy.period_seconds as f64;
        let sum = |events: &[(Timestamp, i64)]| -> i64 {
            events.iter().filter(|(at, _)| seconds_between(*at, now) < period).map(|(_, n)| n).sum()
        };
        current - sum(&self.added) + sum(&self.removed)
    }

    /// `calculateScaleUpLimitWithScalingRules`.
    fn scale_up_limit(&self, rules: &ScalingRules, current: i64, now: Timestamp) -> i64 {
        let each = policies(rules, true).into_iter().map(|policy| {
            let before = self.before(&policy, current, now);
            match policy.kind.as_str() {
                "Percent" => (before as f64 * (1.0 + policy.value as f64 / 100.0)).ceil() as i64,
                _ => before.saturating_add(policy.value),
            }
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => each.min().unwrap_or(current),
            _ => each.max().unwrap_or(current),
        }
    }

    /// `calculateScaleDownLimitWithBehaviors`.
    fn scale_down_limit(&self, rules: &ScalingRules, current: i64, now: Timestamp) -> i64 {
        let each = policies(rules, false).into_iter().map(|policy| {
            let before = self.before(&policy, current, now);
            match policy.kind.as_str() {
                "Percent" => (before as f64 * (1.0 - policy.value as f64 / 100.0)) as i64,
                _ => before.saturating_sub(policy.value),
            }
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => each.max().unwrap_or(current),
            _ => each.min().unwrap_or(current),
        }
    }
}

/// The rules of one direction, empty where the spec has none.
fn rules(spec: &AutoscalerSpec, up: bool) -> ScalingRules {
    let behavior = spec.behavior.as_ref();
    behavior.and_then(|b| if up { b.scale_up.clone() } else { b.scale_down.clone() }).unwrap_or_default()
}

/// The policies of one direction, or the defaults (v2/defaults.go).
fn policies(rules: &ScalingRules, up: bool) -> Vec<ScalingPolicy> {
    if !rules.policies.is_empty() {
        return rules.policies.clone();
    }
    let policy =
        |kind: &str, value| ScalingPolicy { kind: kind.to_owned(), value, period_seconds: POLICY_PERIOD };
    let mut all = vec![policy("Percent", 100)];
    if up {
        all.insert(0, policy("Pods", 4));
    }
    all
}

/// Bounds, and the one rate that holds without `behavior` (`convertDesiredReplicasWithRules`).
fn at_default_rate(current: i64, wanted: i64, (min, max): (i64, i64)) -> (i64, Said) {
    let rate = (SCALE_UP_FACTOR * current).max(SCALE_UP_MINIMUM);
    let (most, why) = if max > rate { (rate, UP_LIMIT) } else { (max, TOO_MANY) };
    if wanted < min {
        (min, TOO_FEW)
    } else if wanted > most {
        (most, why)
    } else {
        (wanted, WITHIN)
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests;
