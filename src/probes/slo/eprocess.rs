//! A test of the error ratio that may be looked at after every interval, and stopped at any time. Pure.
//!
//! The hypothesis is that, whatever happened before, an interval's ratio of errors is at most `m` in expectation.
//! Against it stands capital: in each interval a share `f` of it is bet on errors, and what was staked is worth
//! `x / m` thereafter, where `x`, between 0 and 1, is the ratio that was measured: the capital is multiplied by
//! `1 - f + f * x / m`. Under the hypothesis that factor is at most 1 in expectation, so the capital is a
//! non-negative supermartingale, and by Ville's inequality it ever grows `1 / alpha`-fold with a probability of at most
//! `alpha`, whenever one looks (A. Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference",
//! Statistical Science, 2023; the bet on a bounded mean: I. Waudby-Smith and A. Ramdas, "Estimating means of bounded
//! random variables by betting", JRSS B, 2024). Only the mean of an interval is assumed: errors may come in bursts.
//!
//! A sum of capitals with different shares is capital of the same kind; so is capital that is put in later. [`AT_ONCE`]
//! of it is put in when the fault begins, for that is when something is to be expected, the rest bit by bit, so that a
//! test that has long been quiet still finds what begins late. After `t` hours `0.9 + 0.1 * t` was put in altogether:
//! the probability of a false alarm by then is at most that times `alpha`, which within the first hour is at most
//! `alpha`.
//!
//! Real errors are not so well behaved that their expectation never rises above its mean: it wanders. No test can tell
//! that from a fault by itself; the bets therefore play against some slack, an expectation of up to `slack * m`, little
//! at once and more later. Less than that is never found; `benches/local.rs` says what is left of false alarms where
//! the expectation wanders.

/// A way of betting.
struct Bet {
    /// How much of its capital it bets in each interval.
    share: f64,
    /// By how much the expectation may exceed the mean.
    slack: f64,
    /// Its capital at the beginning.
    at_once: f64,
    /// What is put in an hour thereafter.
    hourly: f64,
}

/// Chosen by simulation: with 50 requests a second and intervals of one second, a tenfold rise from 0.1 % is found
/// soonest. The third finds what is small and lasts.
const BETS: [Bet; 5] = [
    Bet { share: 0.35, slack: 1.3, at_once: 0.68, hourly: 0.0 },
    Bet { share: 0.8, slack: 1.3, at_once: 0.16, hourly: 0.0 },
    Bet { share: 0.08, slack: 1.6, at_once: 0.06, hourly: 0.0 },
    Bet { share: 0.35, slack: 3.0, at_once: 0.0, hourly: 0.05 },
    Bet { share: 0.8, slack: 3.0, at_once: 0.0, hourly: 0.05 },
];
/// What all of them have at the beginning. In the first hour 0.1 is added.
pub const AT_ONCE: f64 = 0.9;

/// The test, and what has come of it so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// `m`, above 0.
    mean: f64,
    /// `1 / alpha`.
    enough: f64,
    capital: [f64; BETS.len()],
}

impl Test {
    /// Begins: the mean ratio of errors that is allowed, and the probability of a false alarm within an hour. Both are
    /// kept away from 0: less than one error in a million requests is not told from none.
    pub fn new(mean: f64, alpha: f64) -> Self {
        let capital = BETS.map(|bet| bet.at_once);
        Self { mean: mean.clamp(1e-6, 1.0), enough: 1.0 / alpha.clamp(1e-6, 1.0), capital }
    }

    /// Takes in one interval of `hours`: how many requests, and how many of them failed.
    ///
    /// Capital beyond what is enough says nothing more, and is dropped: so a return to normal shows at once.
    pub fn take(&mut self, (errors, total): (f64, f64), hours: f64) {
        if !(total > 0.0 && errors.is_finite() && hours >= 0.0) {
            return;
        }
        let ratio = (errors / total).clamp(0.0, 1.0) / self.mean;
        for (capital, bet) in self.capital.iter_mut().zip(&BETS) {
            let factor = 1.0 - bet.share + bet.share * ratio / bet.slack;
            *capital = (*capital + bet.hourly * hours) * factor;
        }
        let sum = self.evidence();
        if sum > self.enough {
            self.capital = self.capital.map(|capital| capital * self.enough / sum);
        }
    }

    /// The capital that it has come to.
    pub fn evidence(&self) -> f64 {
        self.capital.iter().sum()
    }

    /// How much it takes.
    pub fn enough(&self) -> f64 {
        self.enough
    }

    /// Whether there are more errors than allowed.
    pub fn alarms(&self) -> bool {
        // What was cut down to just enough may be a rounding error below.
        self.evidence() >= self.enough * (1.0 - 1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Rng;

    const RATIO: f64 = 0.001;
    const PER_SECOND: f64 = 50.0;

    /// Seeded noise: Poisson counts whose rate wanders by a first-order autoregression of its logarithm.
    struct Noise {
        stream: crate::env::Stream,
        level: f64,
        /// Standard deviation of the logarithm, and its time constant in seconds.
        wander: (f64, f64),
    }

    impl Noise {
        fn new(seed: u64, wander: (f64, f64)) -> Self {
            let mut noise = Self { stream: Rng::new(seed).stream("noise"), level: 0.0, wander };
            noise.level = wander.0 * noise.normal();
            noise
        }

        fn uniform(&mut self) -> f64 {
            ((self.stream.word() >> 11) + 1) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            // Irwin and Hall: near enough to a normal distribution.
            (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
        }

        fn poisson(&mut self, mean: f64) -> f64 {
            let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0.0);
            while product > limit {
                product *= self.uniform();
                count += 1.0;
            }
            count
        }

        /// Errors and requests of one second, with so many times the errors.
        fn second(&mut self, times: f64) -> (f64, f64) {
            let (deviation, constant) = self.wander;
            let kept = (-1.0 / constant).exp();
            self.level = kept * self.level + (1.0 - kept * kept).sqrt() * deviation * self.normal();
            let rate = (self.level - deviation * deviation / 2.0).exp();
            let errors = self.poisson(RATIO * PER_SECOND * rate * times);
            (errors, self.poisson(PER_SECOND).max(errors).max(1.0))
        }
    }

    /// After how many seconds it alarms, if it does within `seconds`.
    fn alarm(noise: &mut Noise, times: f64, seconds: u32) -> Option<u32> {
        let mut test = Test::new(RATIO, 0.01);
        (1..=seconds).find(|_| {
            test.take(noise.second(times), 1.0 / 3600.0);
            test.alarms()
        })
    }

    #[test]
    fn what_is_put_in_is_the_whole() {
        let sum = |of: fn(&Bet) -> f64| BETS.iter().map(of).sum::<f64>();
        assert!((sum(|bet| bet.at_once) - AT_ONCE).abs() < 1e-12);
        assert!((sum(|bet| bet.at_once) + sum(|bet| bet.hourly) - 1.0).abs() < 1e-12, "the bound of an hour");
        assert!(BETS.iter().all(|bet| bet.slack >= 1.0 && (0.0..1.0).contains(&bet.share)));
    }

    #[test]
    fn a_tenfold_rise_is_found_within_ten_seconds_at_the_median() {
        for wander in [(0.0, 1.0), (0.5, 10.0)] {
            let mut noise = Noise::new(7, wander);
            let mut found: Vec<u32> =
                (0..400).map(|_| alarm(&mut noise, 10.0, 600).unwrap_or(u32::MAX)).collect();
            found.sort_unstable();
            let most = if wander.0 > 0.0 { 11 } else { 10 };
            assert!(found[200] <= most, "{wander:?}: {}", found[200]);
        }
    }

    #[test]
    fn false_alarms_are_rare_also_where_noise_wanders() {
        for wander in [(0.0, 1.0), (0.5, 10.0)] {
            let mut noise = Noise::new(11, wander);
            let false_alarms = (0..300).filter(|_| alarm(&mut noise, 1.0, 3600).is_some()).count();
            assert!(false_alarms <= 5, "{wander:?}: {false_alarms} of 300 hours");
        }
    }

    #[test]
    fn an_outage_is_found_at_once_and_its_end_as_well() {
        let mut test = Test::new(RATIO, 0.01);
        test.take((50.0, 50.0), 1.0 / 3600.0);
        assert!(test.alarms(), "{}", test.evidence());
        for _ in 0..100 {
            test.take((25.0, 50.0), 1.0 / 3600.0);
        }
        assert!(test.alarms());
        test.take((0.0, 50.0), 1.0 / 3600.0);
        assert!(!test.alarms(), "one good interval is a return");
    }

    #[test]
    fn intervals_without_requests_say_nothing() {
        let mut test = Test::new(RATIO, 0.01);
        let before = test.clone();
        for nothing in [(0.0, 0.0), (1.0, 0.0), (f64::NAN, 5.0), (0.0, f64::NAN)] {
            test.take(nothing, 0.001);
        }
        assert_eq!(test, before);
    }
}
