//! How long a packet takes, and whether it arrives: drawn by seed, the same on every platform.

use std::collections::BTreeMap;

use super::{Delay, Hop};
use crate::agent::wire::Distribution;
use crate::sim::traffic::random::Stream;

/// When what was sent over a connection is sent again, if no answer has come: Linux' `TCP_RTO_MIN` above the round trip
/// (net/ipv4/tcp_input.c, `__tcp_set_rto`), doubled each time (RFC 6298, 5.5).
pub const RTO_US: f64 = 200_000.0;
/// The same for what opens a connection, of which no round trip is known yet (RFC 6298, 2.1; `TCP_TIMEOUT_INIT`).
pub const FIRST_RTO_US: f64 = 1_000_000.0;
/// Never longer apart (`TCP_RTO_MAX`).
const RTO_MAX_US: f64 = 120_000_000.0;
/// Nothing varies by more than so many times its jitter.
const MOST: f64 = 4.0;

/// What the draws come from.
pub struct Dice {
    stream: Stream,
    /// The last score of each delay that resembles its last, in units of its jitter.
    last: BTreeMap<u64, f64>,
}

impl std::fmt::Debug for Dice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dice")
    }
}

impl Dice {
    /// Those of that name under a seed.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Self {
        Self { stream: Stream::new(seed, name), last: BTreeMap::new() }
    }

    /// How long a packet takes that arrives, in microseconds.
    pub fn delay(&mut self, hop: &Hop) -> u64 {
        let all: f64 = hop.delays.iter().map(|delay| self.one(delay)).sum();
        all.round() as u64
    }

    /// Whether a packet arrives.
    pub fn passes(&mut self, hop: &Hop) -> bool {
        hop.passes >= 1.0 || (hop.passes > 0.0 && self.stream.chance(hop.passes))
    }

    /// When a segment arrives that is sent again until it does, in microseconds after it was first sent; `None` if not
    /// by `patience`.
    pub fn arrives(&mut self, hop: &Hop, rto_us: f64, patience: u64) -> Option<u64> {
        if hop.passes <= 0.0 {
            return None;
        }
        let (mut sent, mut rto) = (0.0, rto_us);
        while !self.passes(hop) {
            sent += rto;
            rto = (rto * 2.0).min(RTO_MAX_US);
            if sent > patience as f64 {
                return None;
            }
        }
        Some(sent.round() as u64 + self.delay(hop))
    }

    fn one(&mut self, delay: &Delay) -> f64 {
        if delay.jitter_us <= 0.0 {
            return delay.mean_us;
        }
        let fresh = match delay.distribution {
            Distribution::Normal => self.stream.gaussian(),
            Distribution::Uniform => 2.0 * self.stream.unit() - 1.0,
            Distribution::Pareto => pareto(self.stream.unit()),
        };
        let rho = delay.correlation;
        let last = self.last.get(&delay.of).copied().filter(|_| rho > 0.0);
        // An autoregression of first order keeps the spread, whatever the correlation.
        let score = last.map_or(fresh, |last| rho * last + (1.0 - rho * rho).sqrt() * fresh);
        let score = score.clamp(-MOST, MOST);
        if rho > 0.0 {
            self.last.insert(delay.of, score);
        }
        (delay.mean_us + delay.jitter_us * score).max(0.0)
    }
}

/// A score of mean 0 and deviation 1 from a number in `(0, 1]`: Pareto's distribution of shape 3, as netem's table.
fn pareto(unit: f64) -> f64 {
    // 1 / ∛unit has mean 3/2 and variance 3/4.
    (1.0 / cube_root(unit) - 1.5) / 0.75_f64.sqrt()
}

/// By basic arithmetic only, for the same bits everywhere.
fn cube_root(x: f64) -> f64 {
    // Newton's method from above, for x in (0, 1].
    let mut root: f64 = 1.0;
    for _ in 0..80 {
        let next = (2.0 * root + x / (root * root)) / 3.0;
        if next >= root {
            break;
        }
        root = next;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(jitter_us: f64, correlation: f64, distribution: Distribution) -> Hop {
        let delay = Delay { of: 1, mean_us: 100_000.0, jitter_us, correlation, distribution };
        Hop { delays: vec![delay], ..Hop::default() }
    }

    /// Mean, deviation, least, most, and how much one resembles the last.
    fn figures(hop: &Hop) -> [f64; 5] {
        let mut dice = Dice::new(7, "test");
        let all: Vec<f64> = (0..100_000).map(|_| dice.delay(hop) as f64 / 1e3).collect();
        let n = all.len() as f64;
        let mean = all.iter().sum::<f64>() / n;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let together = all.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>() / n;
        let fold = |f: fn(f64, f64) -> f64, from| all.iter().copied().fold(from, f);
        let resembles = if variance > 0.0 { together / variance } else { 0.0 };
        [mean, variance.sqrt(), fold(f64::min, f64::MAX), fold(f64::max, 0.0), resembles]
    }

    #[test]
    fn delays_vary_as_asked() {
        let [mean, deviation, ..] = figures(&hop(0.0, 0.0, Distribution::Normal));
        assert_eq!((mean, deviation), (100.0, 0.0));
        let [mean, deviation, least, most, resembles] = figures(&hop(10_000.0, 0.0, Distribution::Normal));
        assert!((mean - 100.0).abs() < 0.2 && (deviation - 10.0).abs() < 0.2, "{mean} {deviation}");
        assert!(least >= 60.0 && most <= 140.0 && resembles.abs() < 0.02, "{least} {most} {resembles}");
        let [mean, deviation, least, most, _] = figures(&hop(10_000.0, 0.0, Distribution::Uniform));
        assert!((mean - 100.0).abs() < 0.2 && (deviation - 5.77).abs() < 0.1, "{mean} {deviation}");
        assert!((90.0..90.1).contains(&least) && (109.9..=110.0).contains(&most), "{least} {most}");
        let [mean, _, least, most, _] = figures(&hop(10_000.0, 0.0, Distribution::Pareto));
        assert!((mean - 100.0).abs() < 1.0, "{mean}");
        assert!((94.2..94.3).contains(&least) && most <= 140.0, "{least} {most}");
        let [_, deviation, .., resembles] = figures(&hop(10_000.0, 0.8, Distribution::Normal));
        assert!((resembles - 0.8).abs() < 0.02 && (deviation - 10.0).abs() < 0.4, "{resembles} {deviation}");
    }

    #[test]
    fn what_is_lost_is_sent_again_at_intervals_that_double() {
        let hop = Hop { passes: 0.5, ..Hop::default() };
        let mut dice = Dice::new(1, "test");
        let mut counts = BTreeMap::new();
        for _ in 0..40_000 {
            *counts.entry(dice.arrives(&hop, RTO_US, 1_000_000)).or_insert(0_u32) += 1;
        }
        // Sent at 0, 200, 600 ms; not at 1,400.
        let expected = [(None, 5_000), (Some(0), 20_000), (Some(200_000), 10_000), (Some(600_000), 5_000)];
        for (arrives, count) in expected {
            assert!(counts[&arrives].abs_diff(count) < 400, "{counts:?}");
        }
        assert_eq!(counts.len(), 4);
        let cut = Hop { passes: 0.0, ..Hop::default() };
        assert_eq!(dice.arrives(&cut, RTO_US, u64::MAX), None);
    }

    #[test]
    fn cube_roots_are_cube_roots() {
        for x in [1.0, 0.5, 0.125, 1e-3, 1e-9, 1.1e-16] {
            let root = cube_root(x);
            assert!((root * root * root / x - 1.0).abs() < 1e-12, "{x}: {root}");
        }
    }
}
