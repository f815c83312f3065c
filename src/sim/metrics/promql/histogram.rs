//! `histogram_quantile` over classic histograms (Prometheus: promql/quantile.go).

use std::collections::BTreeMap;

use super::Element;
use crate::sim::metrics::series::Labels;

/// Relative difference of neighbouring buckets that is taken for rounding (`smallDeltaTolerance`).
const SMALL_DELTA: f64 = 1e-12;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    upper: f64,
    count: f64,
}

/// The quantile of each histogram in a vector of buckets. Elements without a numeric `le` are ignored.
pub fn histogram_quantile(q: f64, vector: Vec<Element>) -> Vec<Element> {
    let mut histograms: BTreeMap<Labels, Vec<Bucket>> = BTreeMap::new();
    for e in vector {
        let Some(upper) = parse_bound(e.labels.get("le")) else { continue };
        let rest = e.labels.filtered(|n| n != "le");
        histograms.entry(rest).or_default().push(Bucket { upper, count: e.value });
    }
    let quantiles = histograms.into_iter();
    quantiles
        .map(|(labels, buckets)| Element {
            labels: labels.without_name(),
            value: bucket_quantile(q, buckets),
        })
        .collect()
}

/// Go's spelling of floats covers "+Inf", "Inf" and the like; Rust parses the same ones.
fn parse_bound(le: &str) -> Option<f64> {
    le.parse::<f64>().ok()
}

fn bucket_quantile(q: f64, mut buckets: Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    if buckets.last().is_none_or(|b| b.upper != f64::INFINITY) {
        return f64::NAN;
    }
    let buckets = monotonic(coalesce(buckets));
    let observations = buckets.last().map_or(0.0, |b| b.count);
    if buckets.len() < 2 || observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    interpolate(q * observations, &buckets)
}

/// Linear interpolation within the bucket that holds the rank; the last finite bound for the bucket
/// without an upper one. There are at least two buckets.
fn interpolate(rank: f64, buckets: &[Bucket]) -> f64 {
    let last = buckets.len() - 1;
    let found = buckets[..last].partition_point(|b| b.count < rank || b.count.is_nan());
    if found == last {
        return buckets[last - 1].upper;
    }
    let bucket = buckets[found];
    if found == 0 && bucket.upper <= 0.0 {
        return bucket.upper;
    }
    let (start, below) = match found.checked_sub(1) {
        Some(i) => (buckets[i].upper, buckets[i].count),
        None => (0.0, 0.0),
    };
    start + (bucket.upper - start) * ((rank - below) / (bucket.count - below))
}

/// Buckets with one upper bound (spelled differently) are one bucket.
fn coalesce(buckets: Vec<Bucket>) -> Vec<Bucket> {
    let mut out: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for b in buckets {
        match out.last_mut().filter(|last| last.upper == b.upper) {
            Some(last) => last.count += b.count,
            None => out.push(b),
        }
    }
    out
}

/// Scrapes are not atomic and sums round: a count that falls is lifted to the one before it, and a
/// difference within rounding is none (`ensureMonotonicAndIgnoreSmallDeltas`).
fn monotonic(mut buckets: Vec<Bucket>) -> Vec<Bucket> {
    let Some(mut previous) = buckets.first().map(|b| b.count) else { return buckets };
    for b in buckets.iter_mut().skip(1) {
        if b.count == previous {
            continue;
        }
        if b.count < previous || nearly_equal(previous, b.count) {
            b.count = previous;
            continue;
        }
        previous = b.count;
    }
    buckets
}

/// Prometheus: util/almost, `Equal`.
fn nearly_equal(a: f64, b: f64) -> bool {
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}
