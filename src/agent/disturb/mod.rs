//! What happens to a packet under the faults that are in force on one pod. Pure.
//!
//! Faults compose: delays add up, losses are independent of each other, and each keeps its own state, so that
//! taking one away leaves the others exactly as they were.

pub mod held;
mod latency;
mod loss;
mod select;

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use rand::{SeedableRng, rngs::ChaCha8Rng};

use self::{latency::Latency, loss::Loss, select::Selector};
use super::{netlink::rules::Pick, packet::Packet};
use crate::{
    agent::wire::{Direction, Disturbance, Effect},
    types::InjectionId,
};

/// Names a fault within a pod for as long as it is in force.
pub type Key = u32;

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Pass,
    /// It is lost.
    Lose,
    /// It is late by all of these, each from one fault.
    Delay(Vec<(Key, Duration)>),
}

/// How many packets a fault has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Late because of it.
    pub delayed: u64,
    /// Lost because of it.
    pub lost: u64,
    /// Those that were not of the agent's own measuring, whether anything became of them or not.
    pub others: u64,
}

/// What a fault does to the packets that it selects; one file a kind.
#[derive(Debug)]
enum Effector {
    Latency(Latency),
    Loss(Loss),
    Partition,
}

/// One fault in force.
#[derive(Debug)]
pub struct Fault {
    key: Key,
    selector: Selector,
    effect: Effect,
    effector: Effector,
    met: Met,
}

/// What was there before a fault was set.
#[derive(Debug)]
pub enum Former {
    /// Nothing of that name.
    Nothing,
    /// The same effect on these packets.
    Packets(Selector),
    /// Another effect.
    Whole(Box<Fault>),
}

impl Fault {
    /// The key of what it holds up.
    pub fn key(&self) -> Key {
        self.key
    }
}

/// The faults in force on one pod.
#[derive(Debug, Default)]
pub struct Faults {
    by_name: BTreeMap<InjectionId, Fault>,
    keys: Key,
}

impl Faults {
    /// Puts a fault in force, or replaces it and returns the former. One that does the same to other packets
    /// goes on where it was.
    pub fn set(&mut self, name: &InjectionId, disturbance: &Disturbance, own: &[IpAddr]) -> Former {
        let selector = Selector::new(&disturbance.legs, own);
        if let Some(fault) = self.by_name.get_mut(name).filter(|fault| fault.effect == disturbance.effect) {
            return Former::Packets(std::mem::replace(&mut fault.selector, selector));
        }
        self.keys += 1;
        let rng = ChaCha8Rng::seed_from_u64(u64::from(crc32fast::hash(name.0.as_bytes())));
        let effector = match disturbance.effect {
            Effect::Latency { delay_us, jitter_us, correlation_percent, distribution } => {
                let (delay, jitter) = (Duration::from_micros(delay_us), Duration::from_micros(jitter_us));
                Effector::Latency(Latency::new((delay, jitter), correlation_percent, distribution, rng))
            }
            Effect::Loss { share_percent } => Effector::Loss(Loss::new(share_percent, rng)),
            Effect::Partition => Effector::Partition,
        };
        let effect = disturbance.effect.clone();
        let fault = Fault { key: self.keys, selector, effect, effector, met: Met::default() };
        self.by_name
            .insert(name.clone(), fault)
            .map_or(Former::Nothing, |former| Former::Whole(Box::new(former)))
    }

    /// As it was before [`Faults::set`].
    pub fn restore(&mut self, name: &InjectionId, former: Former) {
        match (former, self.by_name.get_mut(name)) {
            (Former::Packets(selector), Some(fault)) => fault.selector = selector,
            (Former::Whole(former), Some(fault)) => *fault = *former,
            _ => drop(self.by_name.remove(name)),
        }
    }

    /// Takes a fault away: the key of what it holds up, and what it has met.
    pub fn lift(&mut self, name: &InjectionId) -> Option<(Key, Met)> {
        self.by_name.remove(name).map(|fault| (fault.key, fault.met))
    }

    /// What a fault has met so far; nothing if it is not in force.
    pub fn met(&self, name: &InjectionId) -> Met {
        self.by_name.get(name).map_or_else(Met::default, |fault| fault.met)
    }

    /// Whether none is in force.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Names of those in force.
    pub fn names(&self) -> Vec<InjectionId> {
        self.by_name.keys().cloned().collect()
    }

    /// What the kernel has to lead to the queue: at least what any fault selects.
    pub fn picks(&self) -> Vec<Pick> {
        select::union(self.by_name.values().map(|fault| &fault.selector))
    }

    /// What happens to this packet.
    pub fn decide(&mut self, packet: &Packet, direction: Direction) -> Decision {
        if packet.discovery {
            return Decision::Pass;
        }
        let (mut lost, mut delays) = (false, Vec::new());
        for fault in self.by_name.values_mut().filter(|fault| fault.selector.selects(packet, direction)) {
            fault.met.others += u64::from(!fault.selector.is_own(packet, direction));
            // Each sees each packet, whatever the others make of it: what one does depends on no other.
            match &mut fault.effector {
                Effector::Latency(latency) => {
                    fault.met.delayed += 1;
                    delays.push((fault.key, latency.next()));
                }
                Effector::Loss(loss) => {
                    let falls = loss.next();
                    fault.met.lost += u64::from(falls);
                    lost |= falls;
                }
                Effector::Partition => {
                    fault.met.lost += 1;
                    lost = true;
                }
            }
        }
        match (lost, delays.is_empty()) {
            (true, _) => Decision::Lose,
            (false, true) => Decision::Pass,
            (false, false) => Decision::Delay(delays),
        }
    }
}

#[cfg(test)]
mod tests;
