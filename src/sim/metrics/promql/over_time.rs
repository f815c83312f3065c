//! Functions over range vectors (Prometheus: promql/functions.go).

use super::aggregate::quantile;
use crate::sim::metrics::series::Sample;

/// A function from the samples of one series in a window to one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeFn {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Changes,
    Resets,
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Last,
    Present,
    Stddev,
    Stdvar,
    Quantile,
}

impl RangeFn {
    /// Whether the result keeps the metric name: only where it is a sample of that very metric.
    pub fn keeps_name(self) -> bool {
        self == RangeFn::Last
    }
}

/// The window `(start, end]` that samples were taken from, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub start: i64,
    pub end: i64,
}

/// The value of a function over one window; `None` where there are too few samples. `samples` holds
/// no staleness markers and is not empty.
pub fn apply(func: RangeFn, samples: &[Sample], window: Window, param: f64) -> Option<f64> {
    let last = samples.last()?;
    Some(match func {
        RangeFn::Rate => extrapolated(samples, window, true)? / seconds(window.end - window.start),
        RangeFn::Increase => extrapolated(samples, window, true)?,
        RangeFn::Delta => extrapolated(samples, window, false)?,
        RangeFn::Irate => instant_delta(samples, true)?,
        RangeFn::Idelta => instant_delta(samples, false)?,
        RangeFn::Changes => pairs(samples, |a, b| a != b && !(a.is_nan() && b.is_nan())),
        RangeFn::Resets => pairs(samples, |a, b| b < a),
        RangeFn::Sum => sum(samples.iter().map(|s| s.v)),
        RangeFn::Avg => mean(samples.iter().map(|s| s.v), samples.len()),
        RangeFn::Min => extreme(samples.iter().map(|s| s.v), |new, best| new < best)?,
        RangeFn::Max => extreme(samples.iter().map(|s| s.v), |new, best| new > best)?,
        RangeFn::Count => samples.len() as f64,
        RangeFn::Last => last.v,
        RangeFn::Present => 1.0,
        RangeFn::Stddev => variance(samples.iter().map(|s| s.v)).sqrt(),
        RangeFn::Stdvar => variance(samples.iter().map(|s| s.v)),
        RangeFn::Quantile => quantile(param, samples.iter().map(|s| s.v).collect()),
    })
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// Difference over the window, corrected for counter resets and extrapolated to the window's ends
/// where the samples come near them (`extrapolatedRate`). A counter is never extrapolated below zero.
fn extrapolated(samples: &[Sample], window: Window, counter: bool) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    if samples.len() < 2 {
        return None;
    }
    let mut result = last.v - first.v;
    if counter {
        for pair in samples.windows(2) {
            if pair[1].v < pair[0].v {
                result += pair[0].v;
            }
        }
    }
    let sampled = seconds(last.t - first.t);
    let between = sampled / (samples.len() - 1) as f64;
    let threshold = between * 1.1;
    let mut to_start = seconds(first.t - window.start);
    if to_start >= threshold {
        to_start = between / 2.0;
    }
    if counter && result > 0.0 && first.v >= 0.0 {
        let to_zero = sampled * (first.v / result);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    let mut to_end = seconds(window.end - last.t);
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    Some(result * ((sampled + to_start + to_end) / sampled))
}

/// Difference of the last two samples, per second for a counter (`instantValue`).
fn instant_delta(samples: &[Sample], rate: bool) -> Option<f64> {
    let [.., previous, last] = samples else { return None };
    if last.t == previous.t {
        return None;
    }
    if !rate {
        return Some(last.v - previous.v);
    }
    let delta = if last.v < previous.v { last.v } else { last.v - previous.v };
    Some(delta / seconds(last.t - previous.t))
}

fn pairs(samples: &[Sample], counts: impl Fn(f64, f64) -> bool) -> f64 {
    samples.windows(2).filter(|p| counts(p[0].v, p[1].v)).count() as f64
}

/// The least or greatest value; a NaN loses to any number.
pub fn extreme(mut values: impl Iterator<Item = f64>, better: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let first = values.next()?;
    Some(values.fold(first, |best, v| if better(v, best) || best.is_nan() { v } else { best }))
}

/// Sum with Neumaier's compensation (`kahanSumInc`), so that the order of series does not matter.
pub fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut rest) = (0.0_f64, 0.0_f64);
    for v in values {
        let t = sum + v;
        if t.is_infinite() {
            rest = 0.0;
        } else if sum.abs() >= v.abs() {
            rest += (sum - t) + v;
        } else {
            rest += (v - t) + sum;
        }
        sum = t;
    }
    if sum.is_infinite() { sum } else { sum + rest }
}

/// Arithmetic mean; falls back to an incremental mean where the sum overflows.
pub fn mean(values: impl Iterator<Item = f64> + Clone, count: usize) -> f64 {
    let total = sum(values.clone());
    if total.is_infinite() && values.clone().all(f64::is_finite) {
        return values.enumerate().fold(0.0, |mean, (i, v)| {
            let n = (i + 1) as f64;
            mean + (v / n - mean / n)
        });
    }
    total / count as f64
}

/// Population variance (Welford).
pub fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for v in values {
        count += 1.0;
        let delta = v - mean;
        mean += delta / count;
        squares += delta * (v - mean);
    }
    squares / count
}
