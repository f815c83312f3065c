//! Latency: how long the next packet takes.
//!
//! Each packet draws from the standard normal distribution, correlated with the last one by an autoregression
//! of the first order, which leaves the spread as it was asked for; the other distributions are reached through
//! the normal one's cumulative function, and so keep their own shape whatever the correlation is.

use std::{f64::consts, time::Duration};

use rand::{RngExt, rngs::ChaCha8Rng};

use crate::agent::wire::Distribution;

/// No packet is later than the delay by more jitters than this.
const MOST: f64 = 4.0;
/// Pareto's shape: the smallest whole number with a variance.
const SHAPE: f64 = 3.0;

#[derive(Debug)]
pub struct Latency {
    delay: Duration,
    jitter: Duration,
    correlation: f64,
    distribution: Distribution,
    rng: ChaCha8Rng,
    last: f64,
}

impl Latency {
    pub fn new(
        (delay, jitter): (Duration, Duration),
        correlation_percent: f64,
        distribution: Distribution,
        mut rng: ChaCha8Rng,
    ) -> Self {
        let last = normal(&mut rng);
        Self { delay, jitter, correlation: correlation_percent / 100.0, distribution, rng, last }
    }

    /// How long the next packet takes.
    pub fn next(&mut self) -> Duration {
        if self.jitter.is_zero() {
            return self.delay;
        }
        let fresh = (1.0 - self.correlation * self.correlation).sqrt();
        self.last = self.correlation * self.last + fresh * normal(&mut self.rng);
        let off = match self.distribution {
            Distribution::Normal => self.last,
            Distribution::Uniform => 2.0 * cumulative(self.last) - 1.0,
            Distribution::Pareto => pareto(cumulative(self.last)),
        };
        let seconds = self.delay.as_secs_f64() + off.clamp(-MOST, MOST) * self.jitter.as_secs_f64();
        Duration::from_secs_f64(seconds.max(0.0))
    }
}

/// From the standard normal distribution (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (radius, angle): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * radius.ln()).sqrt() * (2.0 * consts::PI * angle).cos()
}

/// How likely a standard normal value is at most this (Abramowitz and Stegun 26.2.17, error below 1e-7).
fn cumulative(x: f64) -> f64 {
    const B: [f64; 5] = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = B.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    let tail = (-x * x / 2.0).exp() / (2.0 * consts::PI).sqrt() * series;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The Pareto value at this place of its distribution, moved and stretched to mean 0 and deviation 1.
fn pareto(place: f64) -> f64 {
    let value = (1.0 - place).max(f64::MIN_POSITIVE).powf(-1.0 / SHAPE);
    let mean = SHAPE / (SHAPE - 1.0);
    let deviation = (SHAPE / (SHAPE - 2.0)).sqrt() / (SHAPE - 1.0);
    (value - mean) / deviation
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const DELAY: f64 = 100.0;
    const JITTER: f64 = 20.0;

    fn drawn(distribution: Distribution, correlation: f64) -> Vec<f64> {
        let span = |millis: f64| Duration::from_secs_f64(millis / 1000.0);
        let rng = ChaCha8Rng::seed_from_u64(7);
        let mut latency = Latency::new((span(DELAY), span(JITTER)), correlation, distribution, rng);
        (0..200_000).map(|_| latency.next().as_secs_f64() * 1000.0).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn mean_and_spread_are_as_asked_for() {
        for (distribution, spread) in [
            (Distribution::Normal, JITTER),
            (Distribution::Uniform, JITTER / 3f64.sqrt()),
            // Its tail is cut off at four jitters, which takes a fifth of the deviation.
            (Distribution::Pareto, 0.8 * JITTER),
        ] {
            for correlation in [0.0, 50.0] {
                let values = drawn(distribution, correlation);
                let mean = mean(&values);
                let variance =
                    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
                assert!((mean - DELAY).abs() < 1.2, "{distribution:?}: mean {mean}");
                assert!(
                    (variance.sqrt() / spread - 1.0).abs() < 0.08,
                    "{distribution:?}: {}",
                    variance.sqrt()
                );
                assert!(values.iter().all(|value| (0.0..=DELAY + MOST * JITTER + 1e-6).contains(value)));
            }
        }
    }

    #[test]
    fn neighbours_resemble_each_other_as_asked_for() {
        for correlation in [0.0, 0.25, 0.9] {
            let values = drawn(Distribution::Normal, correlation * 100.0);
            let mean = mean(&values);
            let pairs = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>();
            let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            assert!((pairs / squares - correlation).abs() < 0.02, "{correlation}: {}", pairs / squares);
        }
    }

    #[test]
    fn without_jitter_every_packet_takes_the_same() {
        let rng = ChaCha8Rng::seed_from_u64(7);
        let span = (Duration::from_millis(10), Duration::ZERO);
        let mut latency = Latency::new(span, 0.0, Distribution::Normal, rng);
        assert!((0..100).all(|_| latency.next() == Duration::from_millis(10)));
    }
}
