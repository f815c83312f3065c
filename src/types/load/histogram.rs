//! Counts of lengths of time, each known to a fixed share of itself.

use serde::{Deserialize, Serialize};

/// Lengths beyond this count as this: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// A histogram over microseconds whose buckets are a fixed share of what they hold wide: values below
/// `2^bits` exactly, and from there on `2^(bits - 1)` buckets for each doubling (the layout of G. Tene's
/// HdrHistogram). Histograms of the same precision add up; percentiles must never be averaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Packed", try_from = "Packed")]
pub struct Histogram {
    bits: u32,
    /// Up to the highest bucket that holds anything.
    counts: Vec<u64>,
    count: u64,
    highest: u64,
}

/// A histogram as text: the buckets that hold something, each with how many.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Packed {
    bits: u32,
    highest: u64,
    counts: Vec<(usize, u64)>,
}

impl From<Histogram> for Packed {
    fn from(histogram: Histogram) -> Self {
        let counts = histogram.counts.into_iter().enumerate().filter(|(_, times)| *times > 0).collect();
        Self { bits: histogram.bits, highest: histogram.highest, counts }
    }
}

impl TryFrom<Packed> for Histogram {
    type Error = &'static str;

    /// What comes from elsewhere may say anything: nothing is made larger than what it can mean.
    fn try_from(packed: Packed) -> Result<Self, Self::Error> {
        let mut histogram = Self::new(packed.bits);
        if histogram.bits != packed.bits || packed.highest > LONGEST {
            return Err("no histogram has this precision or this value");
        }
        for (bucket, times) in packed.counts {
            if bucket > histogram.bucket(packed.highest) {
                return Err("a bucket lies above the highest value");
            }
            if bucket >= histogram.counts.len() {
                histogram.counts.resize(bucket + 1, 0);
            }
            histogram.counts[bucket] = histogram.counts[bucket].saturating_add(times);
            histogram.count = histogram.count.saturating_add(times);
        }
        histogram.highest = packed.highest;
        Ok(histogram)
    }
}

impl Histogram {
    /// An empty one, exact to one part in `2^(bits - 1)`; `bits` is from 2 to 16.
    pub fn new(bits: u32) -> Self {
        Self { bits: bits.clamp(2, 16), counts: Vec::new(), count: 0, highest: 0 }
    }

    /// One more value.
    pub fn record(&mut self, micros: u64) {
        self.record_many(micros, 1);
    }

    /// The same value so many times.
    pub fn record_many(&mut self, micros: u64, times: u64) {
        if times == 0 {
            return;
        }
        let micros = micros.min(LONGEST);
        let bucket = self.bucket(micros);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += times;
        self.count += times;
        self.highest = self.highest.max(micros);
    }

    /// Takes in another one of the same precision; one of another precision by its buckets' middles.
    pub fn add(&mut self, other: &Self) {
        let highest = self.highest.max(other.highest);
        if other.bits == self.bits {
            if other.counts.len() > self.counts.len() {
                self.counts.resize(other.counts.len(), 0);
            }
            for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
                *mine += theirs;
            }
            self.count += other.count;
        } else {
            for (bucket, times) in other.counts.iter().enumerate().filter(|(_, times)| **times > 0) {
                self.record_many(other.middle(bucket), *times);
            }
        }
        self.highest = highest;
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value, exactly.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The value at a quantile from 0 to 1 by nearest rank, in microseconds; None for none.
    pub fn quantile(&self, of: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = (self.count as f64 * of.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, times) in self.counts.iter().enumerate() {
            seen += times;
            if seen >= rank {
                return Some(self.middle(bucket).min(self.highest));
            }
        }
        Some(self.highest)
    }

    fn bucket(&self, micros: u64) -> usize {
        let length = u64::BITS - micros.leading_zeros();
        let shift = length.saturating_sub(self.bits);
        let bucket = (u64::from(shift) << (self.bits - 1)) + (micros >> shift);
        usize::try_from(bucket).unwrap_or(usize::MAX)
    }

    /// The middle of what a bucket holds.
    fn middle(&self, bucket: usize) -> u64 {
        let (bucket, half) = (bucket as u64, 1_u64 << (self.bits - 1));
        if bucket < half * 2 {
            return bucket;
        }
        let shift = bucket / half - 1;
        ((bucket - shift * half) << shift) + (1_u64 << shift) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_to_their_precision() {
        for bits in [6, 11] {
            let mut value = 1_u64;
            while value < LONGEST {
                for near in [value.saturating_sub(1), value, value + 1, value + value / 3] {
                    let mut one = Histogram::new(bits);
                    one.record(near);
                    let mut with_more = one.clone();
                    with_more.record(LONGEST);
                    let found = with_more.quantile(0.5).expect("there are two");
                    let off = found.abs_diff(near.min(LONGEST)) as f64;
                    assert!(off <= near as f64 / f64::from(1 << (bits - 1)), "{near}: {found}");
                    assert_eq!(one.quantile(1.0), Some(found.min(near)), "never above the highest");
                }
                value = value * 5 / 3 + 1;
            }
        }
    }

    #[test]
    fn text_says_the_same_and_nothing_is_made_that_it_cannot_mean() {
        let mut some = Histogram::new(6);
        [1, 20, 20, 350_000, LONGEST].into_iter().for_each(|value| some.record(value));
        let text = serde_json::to_string(&some).expect("JSON");
        assert_eq!(serde_json::from_str::<Histogram>(&text).expect("the same"), some);
        for bad in [
            r#"{"bits":6,"highest":10,"counts":[[4000000000,1]]}"#,
            r#"{"bits":60,"highest":10,"counts":[]}"#,
            r#"{"bits":6,"highest":18446744073709551615,"counts":[]}"#,
        ] {
            assert!(serde_json::from_str::<Histogram>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantiles_are_ranks_and_sums_are_those_of_all() {
        let (mut odd, mut even, mut all) = (Histogram::new(11), Histogram::new(11), Histogram::new(11));
        for value in 1..=1000_u64 {
            all.record(value);
            if value % 2 == 0 { even.record(value) } else { odd.record(value) }
        }
        odd.add(&even);
        assert_eq!(odd, all);
        assert_eq!([0.0, 0.5, 0.999, 1.0].map(|q| all.quantile(q)), [1, 500, 999, 1000].map(Some));
        let mut coarse = Histogram::new(6);
        coarse.add(&all);
        assert_eq!((coarse.count(), coarse.highest()), (1000, 1000));
        assert!(coarse.quantile(0.5).expect("some").abs_diff(500) <= 16);
        assert_eq!(Histogram::new(6).quantile(0.5), None);
    }
}
