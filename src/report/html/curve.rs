//! Samples into lines: as few points as a screen has columns, with every extreme kept, and a gap wherever
//! there is no data.

use std::fmt::Write as _;

use super::scale::{Times, Values};
use crate::{
    journal::SampleState,
    report::{Facts, ProbeFacts, SampleFact},
};

/// Columns of a line: a screen shows hardly more.
const COLUMNS: i64 = 300;
/// Columns of all lines of a page; beyond that each has fewer, so that pages stay small.
const ALL_COLUMNS: i64 = 6000;

/// A measured number at its place.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    ms: i64,
    value: f64,
    outside: bool,
}

/// What is drawn of a probe.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Curve {
    /// Path of the line.
    pub(super) line: String,
    /// Path of the numbers that stand alone, each a point.
    pub(super) lone: String,
    /// Path of the samples that were outside, each a point.
    pub(super) outside: String,
    /// Stretches without data, in milliseconds from the start.
    pub(super) gaps: Vec<(i64, i64)>,
}

/// Draws the samples of a probe.
pub(super) fn draw(facts: &Facts, probe: &ProbeFacts, times: Times, values: Values) -> Curve {
    let (stretches, gaps) = stretches(facts, probe);
    let columns = (ALL_COLUMNS / (facts.probes.len() as i64).max(1)).clamp(60, COLUMNS);
    let total = facts.since_start(facts.last_seen);
    let mut curve = Curve { gaps, ..Curve::default() };
    // What holds until it changes is drawn so.
    let steps = probe.kind == "kubernetes";
    for stretch in stretches {
        let few = thinned(&stretch, total, columns);
        let place = |point: &Point| (times.place(point.ms) as i64, values.place(point.value) as i64);
        for point in few.iter().filter(|point| point.outside) {
            let (x, y) = place(point);
            let _ = write!(curve.outside, "M{x} {y}h0");
        }
        let Some((first, rest)) = few.split_first() else { continue };
        let (mut x, mut y) = place(first);
        if rest.is_empty() {
            let _ = write!(curve.lone, "M{x} {y}h0");
            continue;
        }
        let _ = write!(curve.line, "M{x} {y}");
        for point in rest {
            let (to_x, to_y) = place(point);
            let _ = match (steps, to_x - x, to_y - y) {
                (_, dx, 0) => write!(curve.line, "h{dx}"),
                (_, 0, dy) => write!(curve.line, "v{dy}"),
                (true, dx, dy) => write!(curve.line, "h{dx}v{dy}"),
                (false, dx, dy) => write!(curve.line, "l{dx} {dy}"),
            };
            (x, y) = (to_x, to_y);
        }
    }
    curve
}

/// Stretches of numbers, and between them the gaps: samples without data, and no samples at all for longer
/// than three intervals.
fn stretches(facts: &Facts, probe: &ProbeFacts) -> (Vec<Vec<Point>>, Vec<(i64, i64)>) {
    let every = i64::try_from(probe.every_ms).unwrap_or(i64::MAX);
    let mut stretches = vec![Vec::new()];
    let mut gaps: Vec<(i64, i64)> = Vec::new();
    let mut last: Option<i64> = None;
    let mut missing = false;
    for sample in &probe.samples {
        let ms = facts.since_start(sample.at);
        let Some(point) = point(ms, sample) else {
            if !missing {
                gaps.push((last.unwrap_or(ms), ms.saturating_add(every)));
            }
            if let Some(gap) = gaps.last_mut() {
                gap.1 = ms.saturating_add(every);
            }
            (missing, last) = (true, Some(ms));
            continue;
        };
        let silent = last.filter(|last| every > 0 && ms - last > every.saturating_mul(3));
        if let Some(from) = silent.filter(|_| !missing) {
            gaps.push((from, ms));
        }
        if missing || silent.is_some() {
            if let Some(gap) = gaps.last_mut() {
                gap.1 = ms;
            }
            stretches.push(Vec::new());
        }
        if let Some(stretch) = stretches.last_mut() {
            stretch.push(point);
        }
        (missing, last) = (false, Some(ms));
    }
    stretches.retain(|stretch| !stretch.is_empty());
    (stretches, gaps)
}

fn point(ms: i64, sample: &SampleFact) -> Option<Point> {
    let value = sample.value.filter(|value| value.is_finite() && sample.state != SampleState::Missing)?;
    Some(Point { ms, value, outside: sample.state == SampleState::Outside })
}

/// At most two points a column, the smallest and the largest, in the order in which they were measured.
fn thinned(points: &[Point], total_ms: i64, columns: i64) -> Vec<Point> {
    if points.len() as i64 <= 2 * columns {
        return points.to_vec();
    }
    let column = |point: &Point| point.ms.saturating_mul(columns) / total_ms.max(1);
    let mut thinned = Vec::new();
    for column in points.chunk_by(|one, two| column(one) == column(two)) {
        let outside = column.iter().any(|point| point.outside);
        let low = column.iter().min_by(|one, two| one.value.total_cmp(&two.value));
        let high = column.iter().max_by(|one, two| one.value.total_cmp(&two.value));
        let mut pair: Vec<Point> = low.into_iter().chain(high).copied().collect();
        pair.sort_by_key(|point| point.ms);
        pair.dedup();
        // A sample between the two may be what was outside: one of them says so for it.
        if outside && !pair.iter().any(|point| point.outside) {
            pair.iter_mut().take(1).for_each(|point| point.outside = true);
        }
        thinned.extend(pair);
    }
    thinned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::journals;

    fn facts() -> Facts {
        Facts::from_entries(&journals::no_data()).expect("a journal")
    }

    fn drawn(facts: &Facts, name: &str) -> Curve {
        let probe = facts.probe(name).expect("a probe");
        let values = Values::of(probe.samples.iter().filter_map(|sample| sample.value), &[]);
        draw(facts, probe, Times::new(facts.since_start(facts.last_seen)), values)
    }

    #[test]
    fn missing_samples_are_a_gap_from_the_last_number_to_the_next() {
        let mut facts = facts();
        // The last number at 35 s; missing at 40, 45 and 50 s; nothing thereafter.
        assert_eq!(drawn(&facts, "availability").gaps, [(35_000, 55_000)]);
        let probe = facts.probes.iter_mut().find(|probe| probe.name == "availability").expect("a probe");
        let mut again = probe.samples[0].clone();
        again.at = facts.last_seen;
        probe.samples.push(again);
        let curve = drawn(&facts, "availability");
        assert_eq!(curve.gaps, [(35_000, 170_400)]);
        // One line before the gap, one point after it.
        assert_eq!(curve.line.matches('M').count(), 1);
        assert_eq!(curve.lone.matches('M').count(), 1);
    }

    proptest! {
        #[test]
        fn extremes_and_what_was_outside_survive(
            values in proptest::collection::vec((0.0..1000.0f64, any::<bool>()), 601..3000),
        ) {
            let points: Vec<Point> = (0..).zip(&values)
                .map(|(n, (value, outside))| Point { ms: n * 1000, value: *value, outside: *outside })
                .collect();
            let total = points.len() as i64 * 1000;
            let few = thinned(&points, total, COLUMNS);
            prop_assert!(few.len() as i64 <= 2 * COLUMNS + 2);
            let range = |points: &[Point]| {
                let values = || points.iter().map(|point| point.value);
                (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max))
            };
            prop_assert_eq!(range(&few), range(&points));
            let outside = |points: &[Point]| -> std::collections::BTreeSet<i64> {
                points.iter().filter(|p| p.outside).map(|p| p.ms * COLUMNS / total).collect()
            };
            prop_assert_eq!(outside(&few), outside(&points));
            prop_assert!(few.is_sorted_by_key(|point| point.ms));
        }
    }
}
