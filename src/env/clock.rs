//! What time it is, real or virtual.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Start time plus tokio's monotonic clock, so that paused (virtual) time governs both.
///
/// Steps of the wall clock do not move it. [`Clock::slept`] says how far the wall clock has run away
/// since: a laptop that slept, or a clock that was set. What lives on through that [sets](Clock::set) it; all
/// clones go by that.
#[derive(Clone)]
pub struct Clock {
    base: Arc<RwLock<Base>>,
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// What time it was when.
#[derive(Clone, Copy)]
struct Base {
    start: Timestamp,
    origin: Instant,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl Clock {
    /// The machine's clock, read once for the start.
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place where the wall clock comes in")]
        let wall = Timestamp::now;
        Self::based(Base { start: wall(), origin: Instant::now() }, Arc::new(wall))
    }

    /// A clock of its own that begins at `start`, for virtual time; nothing ever sleeps there.
    pub fn starting_at(start: Timestamp) -> Self {
        let origin = Instant::now();
        let wall = move || after(start, origin.elapsed());
        Self::based(Base { start, origin }, Arc::new(wall))
    }

    fn based(base: Base, wall: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self { base: Arc::new(RwLock::new(base)), wall }
    }

    fn base(&self) -> Base {
        *self.base.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, with a wall clock of the caller's making: for trying out machines that sleep.
    pub fn with_wall(mut self, wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.wall = Arc::new(wall);
        self
    }

    /// From this moment on it is `now`, for all clones.
    pub fn set(&self, now: Timestamp) {
        let base = Base { start: now, origin: Instant::now() };
        *self.base.write().unwrap_or_else(PoisonError::into_inner) = base;
    }

    /// A clock of its own that goes on from what this one says, whoever sets this one.
    pub fn apart(&self) -> Self {
        Self::based(self.base(), self.wall.clone())
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let base = self.base();
        after(base.start, base.origin.elapsed())
    }

    /// The instant that [`Clock::now`] reaches at `at`; at once for what is past.
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        let base = self.base();
        base.origin + Duration::try_from(at.duration_since(base.start)).unwrap_or(Duration::ZERO)
    }

    /// Sleeps until `at`.
    pub async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep_until(self.instant_of(at)).await;
    }

    /// How far the wall clock is ahead of the monotonic one since the start: about zero on a machine
    /// that was awake all the time and whose clock nobody has set.
    pub fn slept(&self) -> SignedDuration {
        (self.wall)().duration_since(self.now())
    }
}

/// `start` plus `elapsed`; time stands still at the end of what can be written (year 9999).
fn after(start: Timestamp, elapsed: Duration) -> Timestamp {
    start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn virtual_time_governs_the_clock() {
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().as_millisecond(), 3_600_000);
        assert_eq!(clock.slept(), SignedDuration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_laptop_that_slept_is_noticed() {
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH)
            .with_wall(|| Timestamp::from_second(600).expect("a valid time"));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(clock.slept().as_secs(), 590);
        let (apart, clone) = (clock.apart(), clock.clone());
        clock.set(Timestamp::from_second(500).expect("a valid time"));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!((clone.now().as_second(), clone.slept().as_secs()), (510, 90));
        assert_eq!(apart.now().as_second(), 20);
    }
}
