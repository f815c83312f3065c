//! Which packets a fault selects, and what the kernel has to hand over so that none of them is missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    agent::{
        netlink::rules::Pick,
        packet::{ICMP, ICMPV6, Packet, TCP, UDP},
        wire::{Direction, Leg, PortRange, Protocol},
    },
    types::Cidr,
};

/// Rules of one direction: a packet passes them one after another.
const RULES: usize = 256;

/// The legs of one fault.
#[derive(Debug)]
pub struct Selector {
    legs: Vec<Selected>,
    own: Vec<IpAddr>,
}

#[derive(Debug)]
struct Selected {
    leg: Leg,
    /// The agent's own addresses are peers of every fault: from there it measures.
    own: Vec<IpAddr>,
    /// Peers that are single addresses, which may be many.
    hosts: BTreeSet<IpAddr>,
    blocks: Vec<Cidr>,
}

impl Selector {
    pub fn new(legs: &[Leg], own: &[IpAddr]) -> Self {
        let legs = legs.iter().map(|leg| {
            let single = |block: &&Cidr| **block == Cidr::host(block.address());
            Selected {
                leg: leg.clone(),
                own: own.to_vec(),
                hosts: leg.peers.iter().filter(single).map(Cidr::address).collect(),
                blocks: leg.peers.iter().filter(|block| !single(block)).copied().collect(),
            }
        });
        Self { legs: legs.collect(), own: own.to_vec() }
    }

    /// Whether the packet is one with which the agent itself measures.
    pub fn is_own(&self, packet: &Packet, direction: Direction) -> bool {
        self.own.contains(&peer(packet, direction))
    }

    /// Whether the packet is one of the fault's.
    pub fn selects(&self, packet: &Packet, direction: Direction) -> bool {
        self.legs.iter().any(|leg| leg.selects(packet, direction))
    }
}

impl Selected {
    fn selects(&self, packet: &Packet, direction: Direction) -> bool {
        let leg = &self.leg;
        let peer = peer(packet, direction);
        let in_ports = |port: u16| leg.ports.iter().any(|range| range.contains(port));
        direction == leg.direction
            && leg.protocol.is_none_or(|protocol| numbers(protocol).contains(&packet.protocol))
            && (leg.ports.is_empty() || packet.port.is_some_and(in_ports))
            && (self.own.contains(&peer) || self.is_peer(peer))
    }

    fn is_peer(&self, peer: IpAddr) -> bool {
        let named = self.leg.peers.is_empty()
            || self.hosts.contains(&peer)
            || self.blocks.iter().any(|block| block.contains(peer));
        named && !self.leg.except.iter().any(|block| block.contains(peer))
    }

    fn picks(&self) -> Vec<Pick> {
        let peers: Vec<Option<Cidr>> = if self.leg.peers.is_empty() {
            vec![None]
        } else {
            let own = self.own.iter().map(|address| Cidr::host(*address));
            self.leg.peers.iter().copied().chain(own).map(Some).collect()
        };
        let protocols: Vec<Option<u8>> = match self.leg.protocol {
            None => vec![None],
            Some(protocol) => numbers(protocol).iter().copied().map(Some).collect(),
        };
        let ports: Vec<Option<PortRange>> = match &self.leg.ports[..] {
            [] => vec![None],
            ranges => ranges.iter().copied().map(Some).collect(),
        };
        let mut picks = Vec::new();
        for peer in &peers {
            for protocol in &protocols {
                for ports in &ports {
                    let direction = self.leg.direction;
                    picks.push(Pick { direction, peer: *peer, protocol: *protocol, ports: *ports });
                }
            }
        }
        picks
    }
}

/// The other end.
fn peer(packet: &Packet, direction: Direction) -> IpAddr {
    if direction == Direction::Egress { packet.destination } else { packet.source }
}

fn numbers(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Tcp => &[TCP],
        Protocol::Udp => &[UDP],
        Protocol::Icmp => &[ICMP, ICMPV6],
    }
}

/// Rules that hand over all that any of these selects. Where they would be too many, coarser ones: what is
/// handed over without need passes at once.
pub fn union<'a>(selectors: impl Iterator<Item = &'a Selector>) -> Vec<Pick> {
    let mut by_direction: BTreeMap<Direction, BTreeSet<Pick>> = BTreeMap::new();
    for leg in selectors.flat_map(|selector| &selector.legs) {
        by_direction.entry(leg.leg.direction).or_default().extend(leg.picks());
    }
    for (direction, picks) in &mut by_direction {
        if picks.len() > RULES {
            *picks = picks.iter().map(|pick| Pick { protocol: None, ports: None, ..pick.clone() }).collect();
        }
        if picks.len() > RULES {
            let everything = Pick { direction: *direction, peer: None, protocol: None, ports: None };
            *picks = BTreeSet::from([everything]);
        }
    }
    by_direction.into_values().flatten().collect()
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::packet::tests::packet;

    /// What the kernel does with a rule.
    fn picked(pick: &Pick, packet: &Packet, direction: Direction) -> bool {
        let peer = if direction == Direction::Egress { packet.destination } else { packet.source };
        pick.direction == direction
            && pick.peer.is_none_or(|block| block.contains(peer))
            && pick.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && pick.ports.is_none_or(|range| packet.port.is_some_and(|port| range.contains(port)))
    }

    pub fn any_packet() -> impl Strategy<Value = Packet> {
        let protocol = prop_oneof![Just(TCP), Just(UDP), Just(ICMP)];
        (0u8..4, 0u8..4, protocol, 0u16..6, any::<bool>()).prop_map(|(from, to, protocol, port, six)| {
            let net = if six { "fd00::" } else { "10.0.0." };
            let bytes = packet(&format!("{net}{from}"), &format!("{net}{to}"), protocol, port);
            Packet::read(&bytes).expect("a packet")
        })
    }

    pub fn any_leg() -> impl Strategy<Value = Leg> {
        let direction = prop_oneof![Just(Direction::Egress), Just(Direction::Ingress)];
        let block = prop_oneof![
            (0u8..4).prop_map(|host| format!("10.0.0.{host}/32")),
            (0u8..4).prop_map(|host| format!("fd00::{host}/127")),
            Just("10.0.0.0/30".to_owned()),
            Just("::/0".to_owned()),
        ];
        let block = block.prop_map(|text| text.parse::<Cidr>().expect("a block"));
        let blocks = proptest::collection::vec(block, 0..3);
        let ports = proptest::collection::vec((1u16..5, 0u16..3), 0..3);
        let protocol = proptest::option::of(prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)]);
        (direction, blocks.clone(), blocks, ports, protocol).prop_map(
            |(direction, peers, except, ports, protocol)| Leg {
                direction,
                peers,
                except,
                ports: ports
                    .into_iter()
                    .map(|(first, more)| PortRange { first, last: first + more })
                    .collect(),
                protocol,
            },
        )
    }

    proptest! {
        #[test]
        fn the_kernel_hands_over_all_that_is_selected(
            legs in proptest::collection::vec(proptest::collection::vec(any_leg(), 1..4), 1..3),
            packets in proptest::collection::vec(any_packet(), 1..30),
        ) {
            let own: IpAddr = "10.0.0.3".parse().expect("an address");
            let selectors: Vec<_> = legs.iter().map(|legs| Selector::new(legs, &[own])).collect();
            let picks = union(selectors.iter());
            for packet in &packets {
                for direction in [Direction::Egress, Direction::Ingress] {
                    if selectors.iter().any(|selector| selector.selects(packet, direction)) {
                        prop_assert!(picks.iter().any(|pick| picked(pick, packet, direction)));
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_selected_is_what_is_written() {
        let leg = Leg {
            direction: Direction::Egress,
            peers: vec!["10.0.0.0/30".parse().expect("a block")],
            except: vec!["10.0.0.2/31".parse().expect("a block")],
            ports: vec![PortRange { first: 80, last: 81 }],
            protocol: Some(Protocol::Tcp),
        };
        let selector = Selector::new(&[leg], &["10.0.0.3".parse().expect("an address")]);
        for (source, destination, protocol, port, selected) in [
            ("10.0.0.9", "10.0.0.1", TCP, 80, true),
            ("10.0.0.9", "10.0.0.1", TCP, 81, true),
            ("10.0.0.9", "10.0.0.1", TCP, 82, false),
            ("10.0.0.9", "10.0.0.1", UDP, 80, false),
            ("10.0.0.9", "10.0.0.2", TCP, 80, false),
            ("10.0.0.9", "10.0.0.4", TCP, 80, false),
            // The agent itself, in spite of what is excepted.
            ("10.0.0.9", "10.0.0.3", TCP, 80, true),
            ("fd00::9", "fd00::1", TCP, 80, false),
        ] {
            let read = Packet::read(&packet(source, destination, protocol, port)).expect("a packet");
            assert_eq!(selector.selects(&read, Direction::Egress), selected, "{destination}:{port}");
            assert!(!selector.selects(&read, Direction::Ingress));
        }
    }

    #[test]
    fn too_many_rules_become_coarser_ones() {
        let host = |n: u32| Cidr::host(IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        let leg = |hosts: u32, ports: u16| Leg {
            direction: Direction::Ingress,
            peers: (0..hosts).map(host).collect(),
            except: Vec::new(),
            ports: (1..=ports).map(|port| PortRange { first: port * 10, last: port * 10 }).collect(),
            protocol: Some(Protocol::Tcp),
        };
        let count = |hosts, ports| union([Selector::new(&[leg(hosts, ports)], &[])].iter()).len();
        assert_eq!((count(64, 4), count(64, 5), count(257, 1)), (256, 64, 1));
    }
}
