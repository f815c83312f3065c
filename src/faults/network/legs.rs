//! From peers and ports to what an agent understands: blocks of addresses, directions.

use super::{
    super::peers::{Dependency, resolve},
    Traffic,
};
use crate::{
    agent::wire::{Direction, Effect, Leg, PortRange, Protocol},
    faults::{FaultError, World},
    types::{Cidr, Finding, codes::guard, counted},
};

/// The packets that are meant now.
///
/// # Errors
/// A peer that is not there, or that nobody has an address for.
pub(super) async fn of(
    world: &World,
    namespace: &str,
    traffic: &Traffic,
    effect: &Effect,
) -> Result<Vec<Leg>, FaultError> {
    let ports: Vec<PortRange> = traffic.ports.iter().filter_map(super::Ports::range).collect();
    let whole = |direction| Leg {
        direction,
        peers: Vec::new(),
        except: Vec::new(),
        ports: ports.clone(),
        protocol: traffic.protocol,
    };
    if traffic.to.is_empty() && traffic.from.is_empty() {
        // Every round trip passes the way out once, so that `delay` is what it gains.
        let both = [Direction::Egress, Direction::Ingress];
        let ways = if matches!(effect, Effect::Latency { .. }) { &both[..1] } else { &both[..] };
        return Ok(ways.iter().copied().map(whole).collect());
    }
    let (mut legs, mut missing) = (Vec::new(), Vec::new());
    for (direction, peers) in [(Direction::Egress, &traffic.to), (Direction::Ingress, &traffic.from)] {
        if peers.is_empty() {
            continue;
        }
        let found = match resolve(world, namespace, peers).await {
            Ok(found) => found,
            Err(error) => {
                missing.extend(error.refusals()?);
                continue;
            }
        };
        let blocks = blocks(found);
        if blocks.is_empty() {
            let field = if direction == Direction::Egress { "to" } else { "from" };
            let why = "none of its peers has an address now, so nothing would be hit";
            let finding = Finding::error(guard::DEPENDENCY, field, why);
            missing.push(finding.remedy("wait until they run, or name a cidr"));
        }
        legs.extend(blocks.into_iter().map(|(peers, except)| Leg { peers, except, ..whole(direction) }));
    }
    if missing.is_empty() { Ok(legs) } else { Err(FaultError::Refused(missing)) }
}

/// Blocks with the same exceptions together; what has none first.
fn blocks(found: Dependency) -> Vec<(Vec<Cidr>, Vec<Cidr>)> {
    let named: Vec<Cidr> =
        found.ranges.iter().filter(|(_, except)| !except.is_empty()).map(|(cidr, _)| *cidr).collect();
    let plain: Vec<Cidr> = found.blocks.into_iter().filter(|block| !named.contains(block)).collect();
    let plain = (!plain.is_empty()).then_some((plain, Vec::new()));
    let holed = found.ranges.into_iter().filter(|(_, except)| !except.is_empty());
    plain.into_iter().chain(holed.map(|(cidr, except)| (vec![cidr], except))).collect()
}

/// Which traffic, for people.
pub(super) fn in_words(legs: &[Leg]) -> String {
    let way = |leg: &Leg| {
        let way = if leg.direction == Direction::Egress { "what it sends" } else { "what it receives" };
        let blocks: usize = leg.peers.len();
        let to = if leg.direction == Direction::Egress { "to" } else { "from" };
        let peers =
            if blocks == 0 { String::new() } else { format!(" {to} {}", counted(blocks, "address block")) };
        let range = |range: &PortRange| match range.first == range.last {
            true => range.first.to_string(),
            false => format!("{}-{}", range.first, range.last),
        };
        let ports: Vec<String> = leg.ports.iter().map(range).collect();
        let ports = if ports.is_empty() { String::new() } else { format!(", ports {}", ports.join(", ")) };
        let protocol = match leg.protocol {
            None => "",
            Some(Protocol::Tcp) => " over TCP",
            Some(Protocol::Udp) => " over UDP",
            Some(Protocol::Icmp) => " over ICMP",
        };
        format!("{way}{protocol}{peers}{ports}")
    };
    legs.iter().map(way).collect::<Vec<_>>().join(" and ")
}
