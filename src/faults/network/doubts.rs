//! What a plan says of traffic that may not be there: peers that are nobody, ports that nobody declares, and Services
//! beside whose address nothing would be hit. Whether any was met is known afterwards.

use std::collections::BTreeSet;

use super::{Action, PortRange, Ports, Protocol};
use crate::{
    faults::{
        Injection, World, decode,
        peers::{Peer, behind_services, declared, resolve},
    },
    types::{Finding, codes::hazard},
};

/// Ports with their protocols.
type Declared = BTreeSet<(u16, String)>;

/// Everything that is doubtful about which traffic is meant.
pub(super) async fn of(world: &World, injection: &Injection) -> Vec<Finding> {
    let Ok(action) = decode::<Action>(injection, &injection.action) else { return Vec::new() };
    let traffic = &action.traffic;
    let namespace = &injection.target.namespace;
    let subject = format!("step {}", injection.id.step());
    let mut findings = Vec::new();
    for peers in [&traffic.to, &traffic.from] {
        let Ok(found) = resolve(world, namespace, peers).await else { continue };
        findings.extend(found.nobody.iter().map(|nobody| {
            Finding::warning(
                hazard::NOBODY_MEANT,
                &subject,
                format!("{nobody}, so nothing of it would be hit"),
            )
            .remedy("wait until it runs, or leave the peer out")
        }));
        let outgoing = std::ptr::eq(peers, &traffic.to);
        if outgoing && !peers.is_empty() && !found.silent {
            findings.extend(undeclared(&action, &subject, (&found.ports, "its peers")));
        }
    }
    if traffic.to.is_empty()
        && !traffic.from.is_empty()
        && let Ok(pod) = world.access.get(&injection.target).await
    {
        // What comes in goes to a port of the target's own.
        let ports = declared(&pod);
        if !ports.is_empty() {
            findings.extend(undeclared(&action, &subject, (&ports, "the target's containers")));
        }
    }
    findings.extend(past_services(world, (namespace, &subject), &traffic.to).await);
    findings
}

/// Ports and a protocol that are named and that nobody has.
fn undeclared(action: &Action, subject: &str, (there, whose): (&Declared, &str)) -> Vec<Finding> {
    let traffic = &action.traffic;
    let protocol = traffic.protocol.map(|only| match only {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Icmp => "ICMP",
    });
    if protocol == Some("ICMP") {
        return Vec::new();
    }
    let spoken = |(_, other): &&(u16, String)| protocol.is_none_or(|only| only == other.as_str());
    let fits = |range: PortRange| there.iter().filter(spoken).any(|(port, _)| range.contains(*port));
    let said = |ports: &Ports| match ports {
        Ports::One(number) => number.to_string(),
        Ports::Text(text) => text.clone(),
    };
    let all: Vec<String> = there.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
    let warning = |what: String| {
        let why = format!("{what} is declared by none of {whose}, which have {}", all.join(", "));
        Finding::warning(hazard::NOBODY_MEANT, subject, why)
            .remedy("name a port that is there; a run in which nothing is met is Inconclusive")
    };
    let over = protocol.map_or_else(String::new, |protocol| format!(" over {protocol}"));
    if traffic.ports.is_empty() {
        let none = !there.iter().any(|port| spoken(&port));
        return protocol
            .filter(|_| none)
            .map(|protocol| warning(format!("a port over {protocol}")))
            .into_iter()
            .collect();
    }
    let missing = traffic.ports.iter().filter(|ports| ports.range().is_some_and(|range| !fits(range)));
    missing.map(|ports| warning(format!("port {}{over}", said(ports)))).collect()
}

/// Services with an address of their own before pods that are meant by themselves: what is sent to the Service goes to
/// that address, seen from the pod that sends it, wherever kube-proxy leads it afterwards.
async fn past_services(world: &World, (namespace, subject): (&str, &str), peers: &[Peer]) -> Vec<Finding> {
    let place = |peer: &Peer| peer.namespace.clone().unwrap_or_else(|| namespace.to_owned());
    let named: BTreeSet<String> = peers
        .iter()
        .filter_map(|peer| Some(format!("{}/{}", place(peer), peer.service.as_deref()?)))
        .collect();
    let mut findings = Vec::new();
    for peer in peers {
        let services = behind_services(&world.access, (&place(peer), peer), &named).await;
        if services.is_empty() {
            continue;
        }
        let (which, first) = (services.join(", "), &services[0]);
        let why = format!(
            "what goes to its peers through the Service {which} is sent to that one's own address, which is not among them"
        );
        findings.push(
            Finding::warning(hazard::PAST_SERVICE, subject, why)
                .remedy(format!("name {{service: {first}}}, unless the pods are dialled themselves")),
        );
    }
    findings
}
