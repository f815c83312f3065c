//! Random numbers for traffic: one stream per service, equal on every platform.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::types::ln;

/// A seeded stream of random numbers.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of that name under a seed. Another stream more or less changes none of the others.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // FNV-1a of the name picks one of ChaCha's 2^64 independent streams.
        let fold = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        rng.set_stream(name.bytes().fold(0xcbf2_9ce4_8422_2325, fold));
        Self(rng)
    }

    /// Uniform in `(0, 1]`.
    pub fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something happens that does so in that share of all cases, from 0 to 1.
    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() <= share
    }

    /// Exponentially distributed with that mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * ln(self.unit())
    }

    /// Normally distributed with mean 0 and deviation 1 (Marsaglia's polar method: of the functions that differ between
    /// platforms it needs the logarithm only).
    pub fn gaussian(&mut self) -> f64 {
        loop {
            let (u, v) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = u * u + v * v;
            if square > 0.0 && square < 1.0 {
                return u * (-2.0 * ln(square) / square).sqrt();
            }
        }
    }

    /// Uniform in `0 .. n`; 0 for an `n` of 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_numbers_have_their_mean_and_streams_differ() {
        let mut stream = Stream::new(7, "shop/checkout");
        let mean = (0..200_000).map(|_| stream.exponential(20.0)).sum::<f64>() / 200_000.0;
        assert!((mean - 20.0).abs() < 0.2, "{mean}");
        let first = |seed, name| Stream::new(seed, name).below(1 << 30);
        assert_eq!(first(7, "a"), first(7, "a"));
        assert_ne!(first(7, "a"), first(7, "b"));
        assert_ne!(first(7, "a"), first(8, "a"));
    }

    #[test]
    fn below_is_uniform() {
        let mut stream = Stream::new(1, "x");
        let mut counts = [0_u32; 7];
        (0..70_000).for_each(|_| counts[stream.below(7)] += 1);
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 500), "{counts:?}");
        assert_eq!(stream.below(0), 0);
    }
}
