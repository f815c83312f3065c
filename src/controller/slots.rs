//! How many runs a replica carries out at once. Whoever waits, for others to agree, for its time or for a namespace,
//! takes no place meanwhile.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of a replica; clones are the same.
#[derive(Clone)]
pub(super) struct Slots(Arc<Semaphore>);

/// Whether a run has a place.
pub(super) enum Slot {
    /// It has, or may ask for one.
    Own(Slots, Option<OwnedSemaphorePermit>),
    /// It is part of what has one.
    Within,
}

impl Slots {
    /// So many.
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))))
    }

    /// Whether one is free.
    pub(super) fn has_room(&self) -> bool {
        self.0.available_permits() > 0
    }

    /// A place for whoever is taken up, if one is free.
    pub(super) fn slot(&self) -> Slot {
        let mut slot = Slot::Own(self.clone(), None);
        slot.take();
        slot
    }
}

impl Slot {
    /// Whether it has a place now: its own, or one that is free.
    pub(super) fn take(&mut self) -> bool {
        match self {
            Self::Own(slots, held) => {
                if held.is_none() {
                    *held = slots.0.clone().try_acquire_owned().ok();
                }
                held.is_some()
            }
            Self::Within => true,
        }
    }

    /// It waits: others may have its place.
    pub(super) fn give_back(&mut self) {
        if let Self::Own(_, held) = self {
            *held = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_takes_no_place() {
        let slots = Slots::new(1);
        let mut first = slots.slot();
        assert!(first.take() && !slots.has_room());
        let mut second = slots.slot();
        assert!(!second.take());
        first.give_back();
        assert!(slots.has_room() && second.take() && !first.take());
        drop(second);
        assert!(first.take() && !slots.has_room());
        let mut within = Slot::Within;
        within.give_back();
        assert!(within.take());
    }
}
