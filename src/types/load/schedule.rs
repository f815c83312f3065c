//! When requests are due. Pure: rate, ramp and seed decide.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};

use crate::types::ln;

/// How requests follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrivals {
    /// Evenly spaced.
    #[default]
    Constant,
    /// As independent people come: a Poisson process, by seed.
    Poisson,
}

/// How many requests, and how they begin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Requests a second, once the ramp is over; above zero.
    pub per_second: f64,
    /// How long the rate takes to grow from nothing, in equal steps.
    pub ramp_up: Duration,
    /// How they follow each other.
    pub arrivals: Arrivals,
}

impl Pace {
    /// How many requests are due within `length` on average.
    pub fn due_within(&self, length: Duration) -> f64 {
        let (ramp, length) = (self.ramp_up.as_secs_f64(), length.as_secs_f64());
        if length < ramp {
            self.per_second * length * length / (2.0 * ramp)
        } else {
            self.per_second * (length - ramp / 2.0)
        }
    }

    /// When so many are due on average: the inverse of [`Pace::due_within`], in seconds.
    fn when(&self, due: f64) -> f64 {
        let ramp = self.ramp_up.as_secs_f64();
        if due < self.per_second * ramp / 2.0 {
            // Square roots are exact to the last bit everywhere (IEEE 754).
            (2.0 * ramp * due / self.per_second).sqrt()
        } else {
            due / self.per_second + ramp / 2.0
        }
    }
}

/// The instants at which requests are due, one after the other, without an end.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    rng: ChaCha8Rng,
    /// How many have been due so far, in units of the mean.
    due: f64,
    first: bool,
}

impl Schedule {
    /// The schedule of a seed. The seed matters to [`Arrivals::Poisson`] only.
    pub fn new(pace: Pace, seed: u64) -> Self {
        Self { pace, rng: ChaCha8Rng::seed_from_u64(seed), due: 0.0, first: true }
    }

    /// When the next request is due, since the beginning. Never earlier than the one before it.
    pub fn next_due(&mut self) -> Duration {
        self.due += match self.pace.arrivals {
            // The first at once, unless there is a ramp to climb.
            Arrivals::Constant if self.first => 0.0,
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => -ln(self.unit()),
        };
        self.first = false;
        // Whole nanoseconds are exact in a double for a hundred days.
        Duration::from_nanos((self.pace.when(self.due) * 1e9) as u64)
    }

    /// Uniform in `(0, 1]`.
    fn unit(&mut self) -> f64 {
        ((self.rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_second: f64, ramp: u64, arrivals: Arrivals) -> Pace {
        Pace { per_second, ramp_up: Duration::from_secs(ramp), arrivals }
    }

    fn within(pace: Pace, seed: u64, seconds: u64) -> usize {
        let mut schedule = Schedule::new(pace, seed);
        std::iter::from_fn(|| Some(schedule.next_due()))
            .take_while(|due| *due < Duration::from_secs(seconds))
            .count()
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_for_ever() {
        let mut schedule = Schedule::new(pace(10_000.0, 0, Arrivals::Constant), 0);
        for number in 0..1_000_000_u32 {
            let off = schedule.next_due().abs_diff(Duration::from_micros(100) * number);
            assert!(off < Duration::from_nanos(100), "rounding does not add up: {off:?}");
        }
    }

    #[test]
    fn a_ramp_grows_evenly_and_goes_over_into_the_rate() {
        let pace = pace(100.0, 10, Arrivals::Constant);
        assert!(within(pace, 0, 5).abs_diff(125) <= 1, "half of the ramp is a quarter of its requests");
        assert!(within(pace, 0, 10).abs_diff(500) <= 1);
        assert!(within(pace, 0, 20).abs_diff(1500) <= 1);
        assert!((pace.due_within(Duration::from_secs(20)) - 1500.0).abs() < 1e-9);
        let mut schedule = Schedule::new(pace, 0);
        let dues: Vec<Duration> = (0..2000).map(|_| schedule.next_due()).collect();
        assert!(dues.is_sorted());
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_its_spread_and_follow_the_seed() {
        let pace = pace(1000.0, 0, Arrivals::Poisson);
        let mut schedule = Schedule::new(pace, 7);
        let mut last = Duration::ZERO;
        let gaps: Vec<f64> = (0..100_000)
            .map(|_| {
                let due = schedule.next_due();
                let gap = (due - last).as_secs_f64();
                last = due;
                gap
            })
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 1000.0 - 1.0).abs() < 0.02, "{mean}");
        // Of an exponential the deviation is the mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{variance}");
        assert_eq!(within(pace, 7, 5), within(pace, 7, 5));
        assert_ne!(within(pace, 7, 5), within(pace, 8, 5));
    }
}
