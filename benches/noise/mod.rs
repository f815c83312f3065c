//! Seeded noise: errors among requests, whose rate may wander.

use firedrill::env::{Rng, Stream};

/// Poisson counts a second; the logarithm of the error rate is a first-order autoregression.
pub struct Noise {
    stream: Stream,
    level: f64,
    /// Standard deviation of the logarithm, and its time constant in seconds.
    wander: (f64, f64),
}

impl Noise {
    /// By seed, with a standard deviation of the logarithm and a time constant in seconds.
    pub fn new(seed: u64, wander: (f64, f64)) -> Self {
        let mut noise = Self { stream: Rng::new(seed).stream("noise"), level: 0.0, wander };
        noise.level = wander.0 * noise.normal();
        noise
    }

    /// Uniform in `(0, 1]`.
    fn uniform(&mut self) -> f64 {
        ((self.stream.word() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// By Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// By Knuth: for small means.
    fn poisson(&mut self, mean: f64) -> f64 {
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0.0);
        while product > limit {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }

    /// Errors and requests of `seconds`, with so many requests and errors a second on average.
    pub fn interval(&mut self, (requests, errors): (f64, f64), seconds: f64) -> (f64, f64) {
        let (deviation, constant) = self.wander;
        let kept = (-seconds / constant).exp();
        self.level = kept * self.level + (1.0 - kept * kept).sqrt() * deviation * self.normal();
        let rate = (self.level - deviation * deviation / 2.0).exp();
        let errors = self.poisson(errors * rate * seconds);
        (errors, self.poisson(requests * seconds).max(errors).max(1.0))
    }
}
