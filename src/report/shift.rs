//! How far a probe's numbers moved between Baseline and the fault window. Pure.
//!
//! A quantile lies between two of the sorted numbers with a probability that depends on no distribution: how many
//! of `n` numbers are below it is binomial (H. A. David and H. N. Nagaraja, "Order Statistics", 3rd edition, section
//! 7.1; W. J. Conover, "Practical Nonparametric Statistics", section 3.2). With two such intervals of 97.5 % each, the
//! difference lies between the differences of their ends with at least 95 % (Bonferroni). The numbers are taken to be
//! independent: those of a query over a longer window than the sampling interval are not, and say less than it seems.

use serde::Serialize;

/// Of each of the two intervals, the probability of being missed, on one side.
const MISSED: f64 = 0.0125;
/// The quantiles that are compared.
const QUANTILES: [(&str, f64); 2] = [("p50", 0.5), ("p95", 0.95)];

/// How far a quantile moved, with at least 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shift {
    /// `p50`, `p95`.
    pub quantile: &'static str,
    /// In Baseline, by nearest rank.
    pub baseline: f64,
    /// In the fault window.
    pub fault: f64,
    /// At least so much more, or less if negative.
    pub low: f64,
    /// At most.
    pub high: f64,
}

impl Shift {
    /// Whether it moved at all, as far as can be told.
    pub fn moved(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// The quantiles for which there are enough numbers on both sides: 7 each for the median, 86 for p95.
pub fn shifts(baseline: &[f64], fault: &[f64]) -> Vec<Shift> {
    let sorted = |numbers: &[f64]| {
        let mut numbers: Vec<f64> = numbers.iter().copied().filter(|number| number.is_finite()).collect();
        numbers.sort_by(f64::total_cmp);
        numbers
    };
    let (baseline, fault) = (sorted(baseline), sorted(fault));
    let shift = |(quantile, share): (&'static str, f64)| {
        let (before, during) = (interval(&baseline, share)?, interval(&fault, share)?);
        Some(Shift {
            quantile,
            baseline: nearest(&baseline, share)?,
            fault: nearest(&fault, share)?,
            low: during.0 - before.1,
            high: during.1 - before.0,
        })
    };
    QUANTILES.into_iter().filter_map(shift).collect()
}

/// The smallest of the sorted numbers that at least this share is not above.
fn nearest(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The two sorted numbers between which the quantile lies with 97.5 %; None if there are too few.
fn interval(sorted: &[f64], share: f64) -> Option<(f64, f64)> {
    let below = binomial(sorted.len(), share);
    // At most this many numbers are below the quantile but for `MISSED`, and at least that many.
    let low = below.iter().position(|cumulated| *cumulated > MISSED)?.checked_sub(1)?;
    let high = below.iter().position(|cumulated| *cumulated >= 1.0 - MISSED)?;
    Some((*sorted.get(low)?, *sorted.get(high)?))
}

/// The cumulated binomial distribution of `n` trials with this share: the probability of at most 0, 1 … `n`.
fn binomial(n: usize, share: f64) -> Vec<f64> {
    let (hit, miss) = (share.ln(), (1.0 - share).ln());
    let mut logarithm = n as f64 * miss;
    let mut cumulated = 0.0;
    let mut all = Vec::with_capacity(n + 1);
    for k in 0..=n {
        cumulated += logarithm.exp();
        all.push(cumulated);
        logarithm += ((n - k) as f64 / (k + 1) as f64).ln() + hit - miss;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Rng;

    fn numbers(range: std::ops::Range<u32>) -> Vec<f64> {
        range.map(f64::from).collect()
    }

    #[test]
    fn few_numbers_say_nothing() {
        assert!(shifts(&numbers(0..6), &numbers(10..60)).is_empty());
        assert!(shifts(&numbers(0..60), &numbers(10..16)).is_empty());
        assert!(shifts(&[], &[]).is_empty());
        let seven = shifts(&numbers(0..7), &numbers(10..17));
        assert_eq!(seven.len(), 1, "the median only");
        assert_eq!((seven[0].baseline, seven[0].fault, seven[0].low, seven[0].high), (3.0, 13.0, 4.0, 16.0));
        assert_eq!(shifts(&numbers(0..85), &numbers(0..85)).len(), 1);
        assert_eq!(shifts(&numbers(0..86), &numbers(0..86)).len(), 2);
    }

    #[test]
    fn ranks_are_those_of_the_tables() {
        // 95 % intervals of the median in the tables are narrower; these are of 97.5 %: of 20 numbers the 5th and the 16th.
        assert_eq!(interval(&numbers(1..21), 0.5), Some((5.0, 16.0)));
        assert!((binomial(10, 0.5)[5] - 0.623_046_875).abs() < 1e-12);
        assert!((binomial(1000, 0.95)[1000] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_number_does_not_count() {
        let mut with = numbers(0..7);
        with.push(f64::NAN);
        assert_eq!(shifts(&with, &numbers(0..7)), shifts(&numbers(0..7), &numbers(0..7)));
    }

    /// With skewed numbers and a known shift, at most 5 % of the intervals miss it.
    #[test]
    fn the_interval_holds_what_it_promises() {
        let mut stream = Rng::new(7).stream("shift");
        let mut skewed = |add: f64| {
            let uniform = ((stream.word() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
            add - uniform.ln()
        };
        let (mut missed, mut moved) = (0, 0);
        for _ in 0..400 {
            let before: Vec<f64> = (0..30).map(|_| skewed(0.0)).collect();
            let during: Vec<f64> = (0..30).map(|_| skewed(2.0)).collect();
            let shift = shifts(&before, &during)[0];
            assert!(shift.low <= shift.high);
            missed += usize::from(shift.low > 2.0 || shift.high < 2.0);
            moved += usize::from(shift.moved());
        }
        assert!(missed <= 20 && moved >= 380, "{missed} missed, {moved} moved, of 400");
    }
}
