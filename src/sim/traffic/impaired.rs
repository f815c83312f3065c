//! What agents put on the packets of pods, and take away again.

use std::net::IpAddr;

use super::journeys::Journeys;
use super::wiring::{ClusterMetrics, micros};
use super::{OUTSIDE, Traffic};
use crate::agent::wire::{Direction, Protocol};
use crate::sim::impairment::{Connection, Dice, EPHEMERAL, Held, Hop, Lifted, Packet};
use crate::sim::kubelet::{Attempt, Paths};
use crate::sim::network::Network;
use crate::sim::network_policy::PortNumber;

/// The port at which pods are scraped (`instance` of their target).
const SCRAPED: u16 = 8080;
/// What a round trip between two pods takes where nothing lies on it, in microseconds: what veth pairs and a bridge do.
const ROUND_TRIP_US: u64 = 200;

/// Round trips that somebody measures.
#[derive(Debug, Clone, Copy)]
pub struct Measurement<'a> {
    /// UID of the pod.
    pub pod: &'a str,
    /// The address from which they are measured.
    pub from: IpAddr,
    /// The direction whose packets have `port` as their destination.
    pub direction: Direction,
    /// What is sent.
    pub protocol: Protocol,
    /// See `direction`.
    pub port: Option<u16>,
    /// How many.
    pub count: u32,
    /// How long each is waited for, in microseconds.
    pub timeout_us: u64,
}

impl Traffic {
    /// Puts a disturbance on a pod at `at`. Whether nothing lay on it before.
    pub fn impair(&mut self, pod: &str, held: Held, at: u64) -> bool {
        self.advance(at);
        let seed = self.seed;
        let journeys = self.journeys.get_or_insert_with(|| Box::new(Journeys::new(seed)));
        let first = journeys.impairments.put(pod, held);
        self.network_changed();
        self.rescrape(pod);
        first
    }

    /// Takes away what fits at `at`.
    pub fn lift(&mut self, fits: impl Fn(&str, &Held) -> bool, at: u64) -> Lifted {
        if self.journeys.as_ref().is_none_or(|journeys| journeys.impairments.is_empty()) {
            return Lifted::default();
        }
        self.advance(at);
        let Some(journeys) = &mut self.journeys else { return Lifted::default() };
        let before: Vec<String> = journeys.impairments.pods().map(str::to_owned).collect();
        let lifted = journeys.impairments.lift(fits);
        self.network_changed();
        before.iter().for_each(|pod| self.rescrape(pod));
        lifted
    }

    /// What lies on a pod.
    pub fn impairments<'a>(&'a self, pod: &'a str) -> impl Iterator<Item = &'a Held> {
        self.journeys.iter().flat_map(move |journeys| journeys.impairments.on(pod))
    }

    /// How many packets what fits has met so far.
    pub fn met(&self, fits: impl Fn(&Held) -> bool) -> u64 {
        self.journeys.as_ref().map_or(0, |journeys| journeys.impairments.met(fits))
    }

    /// How long round trips to a pod take, in microseconds, each; none for one that is not answered in time.
    pub fn measure(&mut self, what: Measurement<'_>, dice: &mut Dice) -> Vec<Option<u64>> {
        // What is measured goes to a port on which nothing is expected, or from the port that the answer is to go to.
        let (mut to, mut fro) = (Hop::default(), Hop::default());
        if let Some(journeys) = &self.journeys {
            let port = |direction| {
                let port = what.port.filter(|_| direction == what.direction).unwrap_or(EPHEMERAL);
                (what.protocol != Protocol::Icmp).then_some(port)
            };
            let add = |hop: &mut Hop, direction| {
                let packet =
                    Packet { direction, peer: what.from, port: port(direction), protocol: what.protocol };
                journeys.impairments.add(hop, what.pod, packet);
            };
            add(&mut to, Direction::Ingress);
            add(&mut fro, Direction::Egress);
        }
        let mut one = |_| {
            let passes = dice.passes(&to) && dice.passes(&fro);
            let took = ROUND_TRIP_US + dice.delay(&to) + dice.delay(&fro);
            (passes && took <= what.timeout_us).then_some(took)
        };
        (0..what.count).map(&mut one).collect()
    }

    /// Whether scrapes get to a pod: not where nothing comes back, or later than a scrape may take (Prometheus'
    /// `scrape_timeout`, which is at most its interval). What is lost is sent again in time.
    fn rescrape(&mut self, pod: &str) {
        let own = self.network.as_ref().and_then(|network| network.pod(pod)?.address);
        let (Some(own), Some(journeys)) = (own, &self.journeys) else { return };
        let dialled = (own, SCRAPED);
        let connection = Connection { client: None, from: OUTSIDE, dialled, server: pod, port: SCRAPED };
        let path = journeys.impairments.path(connection);
        let timeout_us = self.scrapes.config().interval_ms as f64 * 1e3;
        self.set_scraped(pod, !path.is_cut() && path.round_trip_us() < timeout_us);
    }
}

impl ClusterMetrics {
    /// Puts a disturbance on a pod, by UID. Whether nothing lay on it before.
    pub fn impair(&self, pod: &str, held: Held) -> bool {
        let now = micros(&self.store);
        let traffic = &mut self.lock().traffic;
        // From here on it costs to follow who has which address.
        if !traffic.has_network() {
            traffic.set_network(Network::of(&self.store), now);
        }
        traffic.impair(pod, held, now)
    }

    /// Takes away what fits.
    pub fn lift(&self, fits: impl Fn(&str, &Held) -> bool) -> Lifted {
        self.lock().traffic.lift(fits, micros(&self.store))
    }

    /// How many packets what fits has met so far.
    pub fn met(&self, fits: impl Fn(&Held) -> bool) -> u64 {
        let traffic = &mut self.lock().traffic;
        traffic.advance(micros(&self.store));
        traffic.met(fits)
    }

    /// What lies on a pod.
    pub fn impairments(&self, pod: &str) -> Vec<Held> {
        self.lock().traffic.impairments(pod).cloned().collect()
    }

    /// The UID of the pod at an address, as far as anybody has asked about addresses.
    pub fn pod_at(&self, address: IpAddr) -> Option<String> {
        let now = micros(&self.store);
        let traffic = &mut self.lock().traffic;
        if !traffic.has_network() {
            traffic.set_network(Network::of(&self.store), now);
        }
        traffic.pod_at(address)
    }

    /// How long round trips from one pod to another take, in microseconds, each; none for one that is not answered in
    /// time. NetworkPolicies hold for these too.
    pub fn measure(&self, from: &str, what: Measurement<'_>, dice: &mut Dice) -> Vec<Option<u64>> {
        let traffic = &mut self.lock().traffic;
        traffic.advance(micros(&self.store));
        let port = PortNumber::tcp(what.port.unwrap_or(EPHEMERAL));
        if traffic.is_denied(from, what.pod, port) {
            return vec![None; what.count as usize];
        }
        traffic.measure(what, dice)
    }
}

impl Paths for ClusterMetrics {
    fn passes(&self, attempt: Attempt<'_>) -> bool {
        let Some(node) = attempt.node else { return true };
        let timeout_us = u64::try_from(attempt.timeout.as_micros()).unwrap_or(u64::MAX);
        let traffic = &mut self.lock().traffic;
        traffic.advance(micros(&self.store));
        traffic.opens((attempt.pod, attempt.port), node, timeout_us)
    }
}

#[cfg(test)]
mod tests;
