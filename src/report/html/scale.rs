//! From numbers and moments to places in a chart, with ticks that people would choose.

/// Height of a chart in its own units.
pub(super) const HEIGHT: f64 = 1000.0;
/// Width of a chart in its own units.
pub(super) const WIDTH: f64 = 2000.0;
/// Beyond that, differences of two numbers are no longer finite.
const HUGE: f64 = 1e300;

/// A vertical axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Values {
    low: f64,
    high: f64,
    /// Whether only whole numbers make sense.
    whole: bool,
}

impl Values {
    /// An axis on which all `measured` and, where they are not far off, `wanted` are seen.
    pub(super) fn of(measured: impl Iterator<Item = f64> + Clone, wanted: &[f64]) -> Self {
        let finite =
            || measured.clone().filter(|value| value.is_finite()).map(|value| value.clamp(-HUGE, HUGE));
        let (mut low, mut high) = match (finite().reduce(f64::min), finite().reduce(f64::max)) {
            (Some(low), Some(high)) => (low, high),
            _ => (0.0, 1.0),
        };
        let reach = if high > low { 3.0 * (high - low) } else { high.abs().max(1.0) };
        let (from, to) = (low, high);
        let near = |value: &&f64| value.is_finite() && **value >= from - reach && **value <= to + reach;
        for value in wanted.iter().filter(near) {
            low = low.min(*value);
            high = high.max(*value);
        }
        let whole = finite().chain(wanted.iter().copied()).all(|value| value.fract() == 0.0);
        let span = high - low;
        let room = match (span > 0.0, whole) {
            (true, _) => span * 0.08,
            // One more or less is nothing to a number so large that it is hardly exact.
            (false, true) if high.abs() < 1e6 => 1.0,
            (false, _) => low.abs().max(0.01) * 0.1,
        };
        let positive = low >= 0.0;
        let from_zero = positive && low < 0.5 * high;
        Self {
            low: if from_zero || (positive && low < room) { 0.0 } else { low - room },
            high: high + room,
            whole,
        }
    }

    /// Units from the top; within the chart whatever the value.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = (value.clamp(-HUGE, HUGE) - self.low) / (self.high - self.low);
        (HEIGHT * (1.0 - share.clamp(0.0, 1.0))).round()
    }

    /// Whether a value lies on the axis.
    pub(super) fn shows(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Three to six round numbers.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let raw = (self.high - self.low) / 4.0;
        let magnitude = 10f64.powf(raw.log10().floor());
        let nice =
            [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|nice| nice * magnitude >= raw).unwrap_or(10.0);
        let step = if self.whole { (nice * magnitude).ceil().max(1.0) } else { nice * magnitude };
        let first = (self.low / step).ceil();
        let ticks = (0..8).map(|number| tidy((first + f64::from(number)) * step));
        ticks.filter(|tick| self.shows(*tick)).collect()
    }
}

/// The horizontal axis: all of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    total_ms: i64,
}

impl Times {
    pub(super) fn new(total_ms: i64) -> Self {
        Self { total_ms: total_ms.max(1) }
    }

    fn share(self, ms: i64) -> f64 {
        (ms as f64 / self.total_ms as f64).clamp(0.0, 1.0)
    }

    /// Units from the left.
    pub(super) fn place(self, ms: i64) -> f64 {
        (WIDTH * self.share(ms)).round()
    }

    /// Per cent from the left, as an attribute.
    pub(super) fn percent(self, ms: i64) -> String {
        percent(100.0 * self.share(ms))
    }

    /// Per cent between two moments, as an attribute; never so little that nothing is seen.
    pub(super) fn width(self, from: i64, to: i64) -> String {
        percent((100.0 * (self.share(to) - self.share(from))).max(0.15))
    }

    /// Whether it is in the right part, where text has to end rather than begin.
    pub(super) fn is_late(self, ms: i64) -> bool {
        self.share(ms) > 0.6
    }

    /// At most seven round moments.
    pub(super) fn ticks(self) -> Vec<i64> {
        const SECONDS: [i64; 18] =
            [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
        let days = (self.total_ms / 6 / 86_400_000).saturating_add(1).saturating_mul(86_400_000);
        let steps = SECONDS.into_iter().map(|seconds| seconds * 1000);
        let step = steps.chain([days]).find(|step| self.total_ms / step <= 6).unwrap_or(i64::MAX);
        (0..=self.total_ms / step).map(|number| number * step).collect()
    }
}

/// A number without what binary fractions leave behind: 0.30000000000000004 is 0.3.
fn tidy(number: f64) -> f64 {
    format!("{number:.12e}").parse().unwrap_or(number)
}

fn percent(value: f64) -> String {
    let text = format!("{value:.2}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axis(measured: &[f64], wanted: &[f64]) -> Values {
        Values::of(measured.iter().copied(), wanted)
    }

    #[test]
    fn ticks_are_those_that_people_would_choose() {
        assert_eq!(axis(&[0.62, 1.0], &[0.95]).ticks(), [0.6, 0.8, 1.0]);
        assert_eq!(axis(&[0.1, 0.35], &[]).ticks(), [0.0, 0.1, 0.2, 0.3]);
        assert_eq!(axis(&[2.0, 4.0], &[2.0]).ticks(), [2.0, 3.0, 4.0]);
        assert_eq!(axis(&[4.0], &[]).ticks(), [3.0, 4.0, 5.0]);
        assert_eq!(axis(&[0.0, 180.0], &[]).ticks(), [0.0, 50.0, 100.0, 150.0]);
        assert_eq!(Times::new(120_400).ticks(), [0, 30, 60, 90, 120].map(|s| s * 1000));
        assert_eq!(Times::new(3_600_000).ticks().len(), 7);
    }

    #[test]
    fn what_is_wanted_far_off_does_not_flatten_what_was_measured() {
        assert!(!axis(&[0.1, 0.2], &[1000.0]).shows(1000.0));
        assert!(axis(&[1.0], &[0.95]).shows(0.95));
    }

    proptest! {
        #[test]
        fn any_numbers_have_an_axis(
            measured in proptest::collection::vec(any::<f64>(), 0..20),
            wanted in proptest::collection::vec(any::<f64>(), 0..3),
            total in any::<i64>(),
            at in any::<i64>(),
        ) {
            let axis = axis(&measured, &wanted);
            for value in measured.iter().filter(|value| value.is_finite()) {
                prop_assert!((0.0..=HEIGHT).contains(&axis.place(*value)), "{axis:?} {value}");
            }
            prop_assert!(axis.ticks().len() <= 8);
            let times = Times::new(total);
            prop_assert!((0.0..=WIDTH).contains(&times.place(at)));
            prop_assert!(times.ticks().len() <= 7);
        }
    }
}
