//! Packets that are held up until their time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use super::Key;

/// Packets in the order of their time; of one time, in the order in which they came.
#[derive(Debug)]
pub struct Held<T> {
    times: BinaryHeap<Reverse<(Duration, u64)>>,
    packets: BTreeMap<u64, Packet<T>>,
    came: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Packet<T> {
    what: T,
    arrived: Duration,
    due: Duration,
    bytes: usize,
    delays: Vec<(Key, Duration)>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { times: BinaryHeap::new(), packets: BTreeMap::new(), came: 0, bytes: 0 }
    }
}

impl<T> Held<T> {
    /// Holds a packet that takes up so many bytes.
    pub fn push(&mut self, what: T, bytes: usize, arrived: Duration, delays: Vec<(Key, Duration)>) {
        let due = arrived + delays.iter().map(|(_, delay)| *delay).sum::<Duration>();
        self.came += 1;
        self.bytes += bytes;
        self.times.push(Reverse((due, self.came)));
        self.packets.insert(self.came, Packet { what, arrived, due, bytes, delays });
    }

    /// The next packet whose time has come.
    pub fn pop(&mut self, now: Duration) -> Option<T> {
        while let Some(Reverse((due, number))) = self.times.peek().copied() {
            if due > now {
                return None;
            }
            self.times.pop();
            // Otherwise a fault was lifted: the packet has another time, or is gone.
            if self.packets.get(&number).is_some_and(|packet| packet.due == due) {
                let packet = self.packets.remove(&number)?;
                self.bytes -= packet.bytes;
                return Some(packet.what);
            }
        }
        None
    }

    /// When the next packet's time comes, or earlier.
    pub fn next_due(&self) -> Option<Duration> {
        self.times.peek().map(|Reverse((due, _))| *due)
    }

    /// A fault holds nothing up any more; what others hold up stays.
    pub fn release(&mut self, key: Key) {
        for (number, packet) in &mut self.packets {
            let before = packet.delays.len();
            packet.delays.retain(|(other, _)| *other != key);
            if packet.delays.len() < before {
                packet.due = packet.arrived + packet.delays.iter().map(|(_, delay)| *delay).sum::<Duration>();
                self.times.push(Reverse((packet.due, *number)));
            }
        }
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// How many bytes they take up.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn drain(held: &mut Held<u64>, now: Duration) -> Vec<u64> {
        std::iter::from_fn(|| held.pop(now)).collect()
    }

    #[test]
    fn packets_of_one_time_keep_their_order() {
        let mut held = Held::default();
        for number in 0..100 {
            held.push(number, 1, at(5), vec![(1, at(10))]);
        }
        assert!(drain(&mut held, at(14)).is_empty());
        assert_eq!(drain(&mut held, at(15)), (0..100).collect::<Vec<_>>());
        assert_eq!((held.len(), held.bytes(), held.next_due()), (0, 0, None));
    }

    proptest! {
        /// Lifting a fault leaves every packet with exactly what the others ask for, and loses none.
        #[test]
        fn lifting_one_fault_leaves_the_others(
            packets in proptest::collection::vec(
                (0u64..50, proptest::collection::btree_map(1u32..4, 1u64..50, 1..4)), 1..40),
            lifted in 1u32..4, when in 0u64..100,
        ) {
            let mut held = Held::default();
            for (number, (arrived, delays)) in (0..).zip(&packets) {
                let delays = delays.iter().map(|(key, delay)| (*key, at(*delay))).collect();
                held.push(number, 10, at(*arrived), delays);
            }
            let mut gone = drain(&mut held, at(when));
            held.release(lifted);
            let mut left = BTreeMap::new();
            for now in when..200 {
                for number in drain(&mut held, at(now)) {
                    left.insert(number, now);
                    gone.push(number);
                }
            }
            for (number, now) in left {
                let (arrived, delays) = &packets[number as usize];
                let rest: u64 = delays.iter().filter(|(key, _)| **key != lifted).map(|(_, delay)| delay).sum();
                prop_assert_eq!(now, (arrived + rest).max(when));
            }
            gone.sort_unstable();
            prop_assert_eq!(gone, (0..packets.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(held.bytes(), 0);
        }
    }
}
