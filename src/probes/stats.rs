//! What a series of numbers comes to.

use serde::{Deserialize, Serialize};

/// Summary of the numbers of a window, as `baseline` and `window` give them to expressions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median: the nearest rank, so always a number that was measured.
    pub p50: f64,
    /// 95th of a hundred, by nearest rank.
    pub p95: f64,
    /// 99th of a hundred, by nearest rank.
    pub p99: f64,
    /// The first.
    pub first: f64,
    /// The last.
    pub last: f64,
    /// How many.
    pub count: u32,
}

impl Stats {
    /// Of these numbers in their order; None of none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let numbers: Vec<f64> = numbers.into_iter().collect();
        let (first, last) = (*numbers.first()?, *numbers.last()?);
        let mut sorted = numbers.clone();
        sorted.sort_by(f64::total_cmp);
        // Nearest rank: the smallest number that at least this share is not above (Hyndman and Fan, type 1).
        let rank =
            |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
        Some(Self {
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            mean: numbers.iter().sum::<f64>() / numbers.len() as f64,
            p50: rank(0.5),
            p95: rank(0.95),
            p99: rank(0.99),
            first,
            last,
            count: u32::try_from(numbers.len()).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let stats = Stats::of((1..=100).rev().map(f64::from)).expect("numbers");
        assert_eq!((stats.p50, stats.p95, stats.p99), (50.0, 95.0, 99.0));
        assert_eq!(
            (stats.first, stats.last, stats.min, stats.max, stats.count),
            (100.0, 1.0, 1.0, 100.0, 100)
        );
        assert_eq!(stats.mean, 50.5);
        assert_eq!(Stats::of([]), None);
        assert_eq!(Stats::of([3.0]).map(|stats| stats.p99), Some(3.0));
    }
}
