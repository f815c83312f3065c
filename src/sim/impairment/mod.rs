//! What agents have put on the packets of pods, and what that makes of a connection.
//!
//! A connection has two ends, and each end its own network namespace; what lies on one namespace's packets is found by
//! the addresses and ports that are seen *there*. A pod that calls a Service sends to the Service's address and port:
//! kube-proxy's rules replace them on the node, outside of the pod's namespace, and put them back into what returns
//! (proxy mode `iptables` and `nftables`: PREROUTING and conntrack). The pod that is called sees the caller's own
//! address. A headless Service has no address, so its pods are called directly.
//!
//! Ports are those that a packet is sent to. What answers a connection goes to the port from which it was opened, one
//! of Linux' `ip_local_port_range` (32768 to 60999): [`EPHEMERAL`] stands for all of them.

mod draw;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use draw::{Dice, FIRST_RTO_US, RTO_US};

use crate::agent::wire::{Direction, Distribution, Disturbance, Effect, Leg, Protocol};
use crate::types::{Cidr, InjectionId};

/// The port from which connections are opened.
pub const EPHEMERAL: u16 = 40_000;

/// One disturbance on one pod.
#[derive(Debug, Clone)]
pub struct Held {
    /// UID of the agent's pod.
    pub agent: String,
    /// The agent's address, at which it measures: always among the peers.
    pub address: Option<IpAddr>,
    /// Its name.
    pub injection: InjectionId,
    /// What happens to which packets.
    pub disturbance: Disturbance,
}

/// All of them, by the UID of the pod, in the order in which they were put there.
#[derive(Debug, Default)]
pub struct Impairments {
    pods: BTreeMap<String, Vec<(u64, Held)>>,
    number: u64,
    /// Packets that each has met.
    met: BTreeMap<u64, u64>,
}

/// What became of taking some away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lifted {
    /// There were some.
    pub any: bool,
    /// The pods on which nothing lies any more.
    pub free: Vec<String>,
    /// Packets that they had met, those aside with which agents measure.
    pub met: u64,
}

/// A packet as it is seen in the network namespace of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Sent or received.
    pub direction: Direction,
    /// The other end.
    pub peer: IpAddr,
    /// The port that it goes to; none where the protocol has none.
    pub port: Option<u16>,
    /// Its protocol.
    pub protocol: Protocol,
}

impl Packet {
    /// One of TCP.
    #[must_use]
    pub fn tcp(direction: Direction, peer: IpAddr, port: u16) -> Self {
        Self { direction, peer, port: Some(port), protocol: Protocol::Tcp }
    }
}

/// A delay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delay {
    /// Which disturbance it comes from: one delay may resemble the one before.
    pub of: u64,
    /// On average, in microseconds.
    pub mean_us: f64,
    /// By how much it varies.
    pub jitter_us: f64,
    /// How much it resembles the one before, from 0 to 1.
    pub correlation: f64,
    /// How it varies.
    pub distribution: Distribution,
}

/// What happens to a packet between two ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Hop {
    /// One after another.
    pub delays: Vec<Delay>,
    /// How likely it arrives.
    pub passes: f64,
    /// The disturbances that it meets, but for those whose agent is the other end.
    pub met: Vec<u64>,
}

impl Default for Hop {
    fn default() -> Self {
        Self { delays: Vec::new(), passes: 1.0, met: Vec::new() }
    }
}

impl Hop {
    /// Nothing happens to it.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.delays.is_empty() && self.passes >= 1.0
    }

    /// What it takes on average, in microseconds.
    #[must_use]
    pub fn mean_us(&self) -> f64 {
        self.delays.iter().map(|delay| delay.mean_us).sum()
    }
}

/// What happens to the packets of a connection, to and fro.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Path {
    /// From whoever opens it.
    pub to: Hop,
    /// Back.
    pub fro: Hop,
}

impl Path {
    /// Nothing happens to it.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.to.is_free() && self.fro.is_free()
    }

    /// Whether anything comes back at all.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.to.passes <= 0.0 || self.fro.passes <= 0.0
    }

    /// What a round trip takes on average, in microseconds.
    #[must_use]
    pub fn round_trip_us(&self) -> f64 {
        self.to.mean_us() + self.fro.mean_us()
    }
}

/// A TCP connection to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    /// UID of the pod that opens it; none for whoever is none.
    pub client: Option<&'a str>,
    /// The address that it comes from.
    pub from: IpAddr,
    /// The address and port that it is opened to, as the client knows them.
    pub dialled: (IpAddr, u16),
    /// UID of the pod that it reaches.
    pub server: &'a str,
    /// At this port.
    pub port: u16,
}

impl Impairments {
    /// Puts a disturbance on a pod, or another in the place of the same injection's. Whether it is the first there.
    pub fn put(&mut self, pod: &str, held: Held) -> bool {
        let all = self.pods.entry(pod.to_owned()).or_default();
        match all
            .iter_mut()
            .find(|(_, other)| (&other.agent, &other.injection) == (&held.agent, &held.injection))
        {
            // Its delays go on to resemble each other.
            Some((_, other)) => *other = held,
            None => {
                self.number += 1;
                all.push((self.number, held));
            }
        }
        all.len() == 1
    }

    /// Takes away those that fit.
    pub fn lift(&mut self, fits: impl Fn(&str, &Held) -> bool) -> Lifted {
        let mut lifted = Lifted::default();
        self.pods.retain(|pod, all| {
            all.retain(|(of, held)| {
                let goes = fits(pod, held);
                if goes {
                    lifted.any = true;
                    lifted.met += self.met.remove(of).unwrap_or(0);
                }
                !goes
            });
            if all.is_empty() {
                lifted.free.push(pod.clone());
            }
            !all.is_empty()
        });
        lifted
    }

    /// A packet has met these.
    pub fn meet(&mut self, met: &[u64]) {
        for of in met {
            *self.met.entry(*of).or_default() += 1;
        }
    }

    /// How many packets those that fit have met so far.
    #[must_use]
    pub fn met(&self, fits: impl Fn(&Held) -> bool) -> u64 {
        let fitting = self.pods.values().flatten().filter(|(_, held)| fits(held));
        fitting.filter_map(|(of, _)| self.met.get(of)).sum()
    }

    /// What lies on a pod.
    pub fn on(&self, pod: &str) -> impl Iterator<Item = &Held> {
        self.pods.get(pod).into_iter().flatten().map(|(_, held)| held)
    }

    /// The pods on which something lies.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.pods.keys().map(String::as_str)
    }

    /// Whether nothing lies on any pod.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// What happens to the packets of a connection.
    #[must_use]
    pub fn path(&self, connection: Connection<'_>) -> Path {
        let Connection { client, from, dialled, server, port } = connection;
        let mut path = Path::default();
        if let Some(client) = client {
            self.add(&mut path.to, client, Packet::tcp(Direction::Egress, dialled.0, dialled.1));
            self.add(&mut path.fro, client, Packet::tcp(Direction::Ingress, dialled.0, EPHEMERAL));
        }
        self.add(&mut path.to, server, Packet::tcp(Direction::Ingress, from, port));
        self.add(&mut path.fro, server, Packet::tcp(Direction::Egress, from, EPHEMERAL));
        path
    }

    /// Adds what happens to a packet on a pod's end.
    pub fn add(&self, hop: &mut Hop, pod: &str, packet: Packet) {
        for (of, held) in self.pods.get(pod).into_iter().flatten() {
            if !held.disturbance.legs.iter().any(|leg| matches(leg, held.address, packet)) {
                continue;
            }
            if held.address != Some(packet.peer) {
                hop.met.push(*of);
            }
            match &held.disturbance.effect {
                Effect::Latency { delay_us, jitter_us, correlation_percent, distribution } => {
                    hop.delays.push(Delay {
                        of: *of,
                        mean_us: *delay_us as f64,
                        jitter_us: *jitter_us as f64,
                        correlation: correlation_percent / 100.0,
                        distribution: *distribution,
                    });
                }
                Effect::Loss { share_percent } => hop.passes *= 1.0 - share_percent / 100.0,
                Effect::Partition => hop.passes = 0.0,
            }
        }
    }
}

/// Whether a packet is one of those that a leg is about.
fn matches(leg: &Leg, agent: Option<IpAddr>, packet: Packet) -> bool {
    let within = |blocks: &[Cidr]| blocks.iter().any(|block| block.contains(packet.peer));
    let peer =
        agent == Some(packet.peer) || ((leg.peers.is_empty() || within(&leg.peers)) && !within(&leg.except));
    let port = leg.ports.is_empty()
        || packet.port.is_some_and(|port| leg.ports.iter().any(|range| range.contains(port)));
    leg.direction == packet.direction
        && peer
        && port
        && leg.protocol.is_none_or(|only| only == packet.protocol)
}

#[cfg(test)]
mod tests;
