//! How busy a server was: the time that its places worked, by windows of fixed length. Nothing is sampled; what is
//! asked for was added up when the requests came, and old windows are forgotten on the way.

use std::collections::VecDeque;

/// Length of a window in microseconds: the distance between two scrapes of metrics-server
/// (`--metric-resolution`, 15 s in its manifests). Windows begin at multiples of it since the Unix epoch.
pub const WINDOW_US: u64 = 15_000_000;

/// Work by window.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// Number of the first window held.
    first: u64,
    windows: VecDeque<u64>,
}

impl Busy {
    /// A place works from `start` to `finish`, as is known at `now`. Calls come in the order of `now`.
    pub(super) fn add(&mut self, now: u64, start: u64, finish: u64) {
        // Whoever asks does so for the last complete window.
        let oldest = (now / WINDOW_US).saturating_sub(1);
        while self.first < oldest && self.windows.pop_front().is_some() {
            self.first += 1;
        }
        if self.windows.is_empty() {
            self.first = oldest;
        }
        let mut from = start;
        while from < finish {
            let window = from / WINDOW_US;
            let until = finish.min((window + 1) * WINDOW_US);
            // A start is never before `now`, so its window is held or still to come.
            let place = usize::try_from(window.saturating_sub(self.first)).unwrap_or(usize::MAX);
            if place >= self.windows.len() {
                self.windows.resize(place.saturating_add(1), 0);
            }
            self.windows[place] += until - from;
            from = until;
        }
    }

    /// Time that places worked in a window, summed over places, in microseconds.
    pub(super) fn of(&self, window: u64) -> u64 {
        let place = window.checked_sub(self.first).and_then(|n| usize::try_from(n).ok());
        place.and_then(|n| self.windows.get(n)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_falls_into_the_windows_that_it_covers_and_old_ones_go() {
        let mut busy = Busy::default();
        let w = WINDOW_US;
        busy.add(100 * w, 100 * w, 100 * w + 5);
        busy.add(101 * w - 10, 101 * w - 10, 103 * w + 7);
        assert_eq!([99, 100, 101, 102, 103, 104].map(|n| busy.of(n)), [0, 15, w, w, 7, 0]);
        busy.add(103 * w, 103 * w + 7, 103 * w + 8);
        assert_eq!([100, 101, 102, 103].map(|n| busy.of(n)), [0, 0, w, 8]);
        busy.add(900 * w, 900 * w, 900 * w + 1);
        assert_eq!((busy.of(900), busy.windows.len()), (1, 2));
    }
}
