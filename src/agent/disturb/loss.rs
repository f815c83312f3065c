//! Loss: each packet by itself, with one likelihood.

use rand::{RngExt, rngs::ChaCha8Rng};

#[derive(Debug)]
pub struct Loss {
    share: f64,
    rng: ChaCha8Rng,
}

impl Loss {
    pub fn new(share_percent: f64, rng: ChaCha8Rng) -> Self {
        Self { share: share_percent / 100.0, rng }
    }

    /// Whether the next packet is lost.
    pub fn next(&mut self) -> bool {
        self.rng.random::<f64>() < self.share
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_share_is_kept() {
        for percent in [0.5, 10.0, 99.5, 100.0] {
            let mut loss = Loss::new(percent, ChaCha8Rng::seed_from_u64(1));
            let lost = (0..100_000).filter(|_| loss.next()).count() as f64 / 1000.0;
            assert!((lost - percent).abs() < 0.4, "{percent} % became {lost} %");
        }
    }
}
