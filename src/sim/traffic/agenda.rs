//! What is due when: the earliest first, and what is due at the same instant in the order in which it was put in.
//!
//! An hour of traffic puts in millions. What is ordered is one number each, and what it stands for lies still: a third of
//! the time of a heap that moves and compares all of it.

use std::collections::BinaryHeap;

/// Bits of a key that say where its event lies: 2^28 at once fill 15 GB. Before them is the order of putting in (36 bits:
/// two years of 1,000 events a second), and before that the instant (64).
const SLOT_BITS: u32 = 28;

/// Events by the instant that they are due at, in microseconds.
pub(super) struct Agenda<T> {
    /// Keys, inverted: the heap gives the largest first.
    due: BinaryHeap<u128>,
    events: Vec<T>,
    /// Places in `events` that are free.
    free: Vec<u32>,
    put: u64,
}

impl<T: Copy> Agenda<T> {
    pub(super) fn new() -> Self {
        Self { due: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), put: 0 }
    }

    /// Puts in what is due at `at`.
    pub(super) fn put(&mut self, at: u64, event: T) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.events[slot as usize] = event;
                slot
            }
            None => {
                self.events.push(event);
                (self.events.len() - 1) as u32
            }
        };
        self.put += 1;
        self.due.push(!(u128::from(at) << 64 | u128::from(self.put << SLOT_BITS | u64::from(slot))));
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.due.peek().map(|key| (!*key >> 64) as u64)
    }

    /// Takes out the next if it is due by `until`, with its instant.
    pub(super) fn take(&mut self, until: u64) -> Option<(u64, T)> {
        let at = self.next().filter(|at| *at <= until)?;
        let slot = (!self.due.pop()? & ((1 << SLOT_BITS) - 1)) as u32;
        self.free.push(slot);
        Some((at, self.events[slot as usize]))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_come_by_their_instant_and_then_as_they_were_put_in(
            instants in prop::collection::vec((0_u64..20, any::<bool>()), 0..200),
        ) {
            let (mut agenda, mut sorted) = (Agenda::new(), Vec::new());
            for (number, (at, take)) in instants.into_iter().enumerate() {
                agenda.put(at, number);
                sorted.push((at, number));
                if take {
                    sorted.sort_unstable();
                    prop_assert_eq!(agenda.next(), Some(sorted[0].0));
                    prop_assert_eq!(agenda.take(9), (sorted[0].0 <= 9).then(|| sorted.remove(0)));
                }
            }
            sorted.sort_unstable();
            let rest: Vec<(u64, usize)> = std::iter::from_fn(|| agenda.take(u64::MAX)).collect();
            prop_assert_eq!(rest, sorted);
            prop_assert_eq!(agenda.len(), 0);
        }
    }
}
