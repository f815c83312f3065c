//! What the network faults of agents have in common: which traffic is meant, and how a disturbance is put in force,
//! seen, kept up with its peers, and taken back.
//!
//! Peers that are sent to make the pod's outgoing packets the ones that are hit, peers that are received from the
//! incoming ones. Ports are those that packets go to. The agent's own address is always among the peers, so that what
//! is seen is a round trip from another pod.

mod doubts;
mod fault;
mod legs;
mod seen;

use std::{convert::Infallible, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use self::fault::Disturb;
pub use self::fault::Disturbing;
use self::seen::observe;
use super::{
    FaultError, Injected, Injection, Prepare, Reverted, Right, World,
    agent_pod::{agent_of, unexpected},
    agent_tier, decode, encode, patiently,
    peers::{Peer, no_hosts, unreadable},
};
use crate::{
    agent::wire::{
        Direction, Disturbance, Effect, MEASURED_AT, MEASURED_FROM, Order, PortRange, Protocol, Report,
    },
    cluster::{ApiError, OrderError},
    types::{Cidr, FieldSchema, Finding, InjectionId, Length, ObjectRef, codes::guard},
};

/// How long one order may take; the first to an agent waits until it is there.
const ANSWER: Duration = Duration::from_secs(5);
/// How often peers are looked at while a fault is in force.
const FOLLOW: Duration = Duration::from_secs(5);
/// Until the effect is seen: the agent of a node that was not armed has to be placed first.
pub(super) const SEEN_WITHIN: Duration = Duration::from_secs(180);

/// Which traffic, as in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Traffic {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Peer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Peer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Ports>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

impl Traffic {
    /// Whether nothing of a pod's connections is left out, however that is said: what gets out nowhere, or is reached
    /// by nobody, has none.
    pub(super) fn everything(&self) -> bool {
        let everybody = |peers: &[Peer]| {
            let whole = peers.iter().filter(|peer| peer.except.is_empty());
            Cidr::hold_everybody(&whole.filter_map(|peer| peer.cidr).collect::<Vec<_>>())
        };
        let unbounded = self.to.is_empty() && self.from.is_empty();
        (unbounded || everybody(&self.to) || everybody(&self.from))
            && self.all_ports()
            && self.protocol.is_none_or(|only| only == Protocol::Tcp)
    }

    /// Whether the ports leave none out.
    fn all_ports(&self) -> bool {
        let mut ranges: Vec<PortRange> = self.ports.iter().filter_map(Ports::range).collect();
        ranges.sort();
        let last = ranges.iter().try_fold(0_u16, |last, range| {
            (range.first <= last.saturating_add(1)).then_some(range.last.max(last))
        });
        self.ports.is_empty() || last == Some(u16::MAX)
    }

    /// Whether a packet with which an agent measures is hit, peers aside: agents are among those of every fault.
    fn hits(&self, direction: Direction, port: Option<u16>, (protocol, only_out): (Protocol, bool)) -> bool {
        let way = match (self.to.is_empty(), self.from.is_empty(), direction) {
            (true, true, Direction::Ingress) => !only_out,
            (true, true, Direction::Egress) => true,
            (no_to, _, Direction::Egress) => !no_to,
            (_, no_from, Direction::Ingress) => !no_from,
        };
        let mut ranges = self.ports.iter().filter_map(Ports::range);
        way && self.protocol.is_none_or(|only| only == protocol)
            && (self.ports.is_empty() || port.is_some_and(|port| ranges.any(|range| range.contains(port))))
    }

    /// The direction whose packets a round trip has to match to show the fault.
    fn measured(&self) -> Direction {
        let incoming = self.to.is_empty() && !self.from.is_empty();
        if incoming { Direction::Ingress } else { Direction::Egress }
    }

    /// The port by which it has to match; none where it is up to the agent.
    fn measured_port(&self) -> Option<u16> {
        self.ports.first().and_then(Ports::range).map(|range| range.first)
    }
}

/// A port or a range of ports, as a number or as `8000-8100`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Ports {
    One(u32),
    Text(String),
}

impl Ports {
    /// None if it is none.
    pub(super) fn range(&self) -> Option<PortRange> {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (first, last) = match self {
            Self::One(number) => {
                let port = u16::try_from(*number).ok().filter(|port| *port > 0)?;
                (port, port)
            }
            Self::Text(text) => match text.split_once('-') {
                Some((first, last)) => (port(first)?, port(last)?),
                None => (port(text)?, port(text)?),
            },
        };
        (first <= last).then_some(PortRange { first, last })
    }
}

/// A share of packets, such as `20%` or `0.5%`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Share(String);

impl Share {
    /// From 0 to 100.
    pub(super) fn percent(&self) -> f64 {
        self.0.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or(0.0)
    }
}

/// What the runner itself reads of the target and of its peers, in the target's namespace.
pub(super) const RIGHTS: [Right; 3] = [
    Right { verb: "get", group: "", resource: "pods", cluster_wide: false },
    Right { verb: "get", group: "", resource: "services", cluster_wide: false },
    Right { verb: "list", group: "discovery.k8s.io", resource: "endpointslices", cluster_wide: false },
];

/// The fields that say which traffic.
pub(super) const TO: FieldSchema =
    field("to", "peersAndHosts", "Peers of outgoing traffic: service, workload, pods, cidr or host.");
/// See [`TO`].
pub(super) const FROM: FieldSchema =
    field("from", "peersAndHosts", "Peers of incoming traffic. Neither to nor from: everybody.");
/// See [`TO`].
pub(super) const PORTS: FieldSchema =
    field("ports", "ports", "Destination ports, and ranges such as 8000-8100. Default: all.");
/// See [`TO`].
pub(super) const PROTOCOL: FieldSchema = field(
    "protocol",
    r#"{"type":"string","enum":["TCP","UDP","ICMP"]}"#,
    "Protocol. Default: all. UDP alone is not supported yet.",
);

pub(super) const fn field(
    name: &'static str,
    schema: &'static str,
    description: &'static str,
) -> FieldSchema {
    FieldSchema { name, description, required: false, default: None, schema }
}

/// What is done, on one pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Action {
    /// The target's node.
    node: String,
    /// The namespace of agents.
    agents: String,
    traffic: Traffic,
    effect: Effect,
}

/// What can be said of the traffic from the file alone, each of the field that it is about.
fn lint(fault: &str, params: &Value) -> Vec<Finding> {
    let refused = |field: String, why: String, remedy: &str| {
        Finding::error(guard::FIELDS, format!("{fault}.{field}"), why).remedy(remedy)
    };
    let mut findings = Vec::new();
    for field in ["to", "from"] {
        let peers = &params[field];
        findings.extend(unreadable(&format!("{fault}.{field}"), peers));
        findings.extend(no_hosts(&format!("{fault}.{field}"), peers));
    }
    // What does not have the shape is the schema's to say.
    let Ok(traffic) = serde_json::from_value::<Traffic>(params.clone()) else { return findings };
    for (number, ports) in traffic.ports.iter().enumerate().filter(|(_, ports)| ports.range().is_none()) {
        let text = serde_json::to_string(ports).unwrap_or_default();
        let why = format!("{text} is no port and no range of ports");
        findings.push(refused(format!("ports[{number}]"), why, "ports are 1 to 65535"));
    }
    if traffic.protocol == Some(Protocol::Udp) {
        let why = "a fault over UDP alone is not supported yet: no round trip shows that it is in force";
        let remedy = "leave out protocol: with all of it UDP is hit too";
        findings.push(refused("protocol".to_owned(), why.to_owned(), remedy));
    }
    if traffic.protocol == Some(Protocol::Icmp) && !traffic.ports.is_empty() {
        let why = "ICMP has no ports".to_owned();
        findings.push(refused("ports".to_owned(), why, "leave out ports, or name another protocol"));
    }
    for (field, peers) in [("to", &traffic.to), ("from", &traffic.from)] {
        for (number, peer) in peers.iter().enumerate() {
            findings.extend(holes(peer).into_iter().map(|(hole, why, remedy)| {
                let hole = hole.map_or_else(String::new, |hole| format!("[{hole}]"));
                refused(format!("{field}[{number}].except{hole}"), why, remedy)
            }));
        }
    }
    findings
}

/// What is wrong with what a peer leaves out: which of it, why, and what helps.
fn holes(peer: &Peer) -> Vec<(Option<usize>, String, &'static str)> {
    let Some(cidr) = peer.cidr else {
        let why = "except leaves addresses out of a cidr, and there is none".to_owned();
        return if peer.except.is_empty() { Vec::new() } else { vec![(None, why, "leave it out")] };
    };
    let mut found = Vec::new();
    for (number, hole) in peer.except.iter().enumerate() {
        if hole.covers(&cidr) {
            let why = format!("except leaves nothing of its cidr, {cidr}");
            found.push((Some(number), why, "leave the peer out"));
        } else if !cidr.covers(hole) {
            let why = format!("{hole} is not in its cidr, {cidr}, so there is nothing to leave out");
            found.push((Some(number), why, "name a part of the cidr, or leave it out"));
        }
    }
    found
}

/// One injection a target; the fields have been looked at.
fn prepare(ask: &Prepare<'_>, fault: &'static str, effect: &Effect) -> Result<Vec<Injection>, Vec<Finding>> {
    let traffic: Traffic = super::params(ask)?;
    let findings = agent_tier::refusals(ask);
    if !findings.is_empty() {
        return Err(findings);
    }
    let of = |(number, target): (usize, &ObjectRef)| Injection {
        id: InjectionId::new(ask.step, number),
        fault: fault.to_owned(),
        target: target.clone(),
        action: encode(&Action {
            node: ask.snapshot.pod(target).map(|pod| pod.node.clone()).unwrap_or_default(),
            agents: ask.agents.namespace.clone(),
            traffic: traffic.clone(),
            effect: effect.clone(),
        }),
        before: Value::Null,
        displaced: Vec::new(),
        replicas_lost: 0,
        effect_within: Length(SEEN_WITHIN),
        until: ask.until,
    };
    Ok(ask.targets.iter().enumerate().map(of).collect())
}

/// A disturbance of one pod, with everything that orders about it say.
struct Hold<'a> {
    world: &'a World,
    injection: &'a Injection,
    action: Action,
    agent: ObjectRef,
}

impl<'a> Hold<'a> {
    fn of(world: &'a World, injection: &'a Injection) -> Result<Self, FaultError> {
        let action: Action = decode(injection, &injection.action)?;
        let agent = agent_of(&world.signature.run, &action.node, &action.agents);
        Ok(Self { world, injection, action, agent })
    }

    /// What is to be in force, with the addresses that its peers have now.
    async fn disturbance(&self) -> Result<Disturbance, FaultError> {
        let (traffic, effect) = (&self.action.traffic, self.action.effect.clone());
        let legs = legs::of(self.world, &self.injection.target.namespace, traffic, &effect).await?;
        Ok(Disturbance { legs, effect })
    }

    /// Puts it in force, or puts it in place of what is.
    async fn apply(&self, disturbance: Disturbance) -> Result<(), FaultError> {
        let left = self.injection.until.duration_since(self.world.signature.at).as_millis();
        let order = Order::Apply {
            injection: self.injection.id.clone(),
            pod: self.injection.target.uid.clone(),
            disturbance,
            within_ms: u64::try_from(left).unwrap_or(0).clamp(1_000, 24 * 60 * 60 * 1_000),
        };
        match self.world.agents.order(&self.agent, order, ANSWER).await {
            Ok(Report::Applied { .. }) => Ok(()),
            Ok(other) => Err(unexpected(&self.agent, &other)),
            Err(error) => Err(FaultError::agent(format!("disturbing {}", self.injection.target))(error)),
        }
    }
}

/// Whether no round trip of the other's comes back in time while this is in force.
fn hides(action: &Action, other: &Traffic) -> bool {
    let lost = match &action.effect {
        Effect::Latency { delay_us, .. } => Duration::from_micros(*delay_us) >= seen::UNDISTURBED,
        Effect::Loss { share_percent } => *share_percent >= 100.0,
        Effect::Partition => true,
    };
    let protocol = other.protocol.unwrap_or(Protocol::Tcp);
    let only_out = matches!(action.effect, Effect::Latency { .. });
    let port = |direction| match protocol {
        Protocol::Icmp => None,
        // There and back one packet goes to a port of the fault's, and the other to one that tells it from others.
        _ if direction == other.measured() => Some(other.measured_port().unwrap_or(MEASURED_AT)),
        _ => Some(MEASURED_FROM),
    };
    let ways = [Direction::Egress, Direction::Ingress];
    lost && ways.into_iter().any(|way| action.traffic.hits(way, port(way), (protocol, only_out)))
}

/// Asks for nothing: there is no dry run of an agent that is not there. Its peers are looked for.
async fn rehearse(world: &World, injection: &Injection) -> Result<(), FaultError> {
    Hold::of(world, injection)?.disturbance().await.map(|_| ())
}

/// Puts it in force.
async fn inject(world: &World, injection: &Injection) -> Result<Injected, FaultError> {
    let hold = Hold::of(world, injection)?;
    let target = &injection.target;
    let pod = match patiently(5, || world.access.get(target)).await {
        Ok(pod) => pod,
        Err(ApiError::NotFound) => return Ok(Injected::TargetGone),
        Err(error) => return Err(FaultError::api(format!("reading {target}"))(error)),
    };
    seen::before(&hold, &pod).await?;
    let disturbance = hold.disturbance().await?;
    let meant = legs::in_words(&disturbance.legs);
    hold.apply(disturbance).await?;
    Ok(Injected::Done(format!("{} of {meant}", in_words(&hold.action.effect))))
}

/// What happens to packets, for people.
fn in_words(effect: &Effect) -> String {
    let micros = |us: u64| Length(Duration::from_micros(us));
    match effect {
        Effect::Latency { delay_us, jitter_us: 0, .. } => format!("a delay of {}", micros(*delay_us)),
        Effect::Latency { delay_us, jitter_us, .. } => {
            format!("a delay of {} ± {}", micros(*delay_us), micros(*jitter_us))
        }
        Effect::Loss { share_percent } => format!("a loss of {share_percent}%"),
        Effect::Partition => "a partition".to_owned(),
    }
}

/// Follows the peers while it is in force, and returns when the agent has taken it back by itself.
async fn attend(world: &World, injection: &Injection) -> String {
    let Ok(hold) = Hold::of(world, injection) else { return std::future::pending().await };
    tokio::select! {
        biased;
        how = world.agents.lapsed(&hold.agent, &injection.id) => how,
        never = keep_up(&hold) => match never {},
    }
}

/// Puts it in force anew whenever its peers have other addresses.
async fn keep_up(hold: &Hold<'_>) -> Infallible {
    let traffic = &hold.action.traffic;
    if traffic.to.iter().chain(&traffic.from).all(|peer| peer.cidr.is_some()) {
        return std::future::pending().await;
    }
    let mut in_force = hold.disturbance().await.ok();
    loop {
        tokio::time::sleep(FOLLOW).await;
        // What cannot be read now stays as it is: the peers that were known are hit.
        let Ok(now) = hold.disturbance().await else { continue };
        if in_force.as_ref() != Some(&now) && hold.apply(now.clone()).await.is_ok() {
            in_force = Some(now);
        }
    }
}

/// Takes it back: by the agent, or with it.
async fn revert(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    let hold = Hold::of(world, injection)?;
    if !world.agents.talks_to(&hold.agent)
        && let Some(how) = world.agents.ending(&hold.agent).await
    {
        return Ok(Reverted::ExpiredByItself(how));
    }
    let order = Order::Lift { injection: injection.id.clone() };
    match world.agents.order(&hold.agent, order, ANSWER).await {
        Ok(Report::Lifted { was, met, .. }) => {
            world.agents.keep_met(&injection.id, met);
            Ok(lifted(&hold, (was, met)).await)
        }
        Ok(other) => Err(unexpected(&hold.agent, &other)),
        Err(OrderError::Ended(how)) => Ok(Reverted::ExpiredByItself(how)),
        Err(OrderError::Unanswered(..)) if world.agents.past_ttl(&hold.agent) => {
            let why = "no order has reached its agent for longer than that keeps anything without one";
            Ok(Reverted::ExpiredByItself(why.to_owned()))
        }
        Err(error) => Err(FaultError::agent(format!("lifting {}", injection.id))(error)),
    }
}

/// How it came out, once the agent has lifted it.
async fn lifted(hold: &Hold<'_>, (was, met): (bool, u64)) -> Reverted {
    if matches!(hold.world.access.get(&hold.injection.target).await, Err(ApiError::NotFound)) {
        return Reverted::TargetGone;
    }
    if !was {
        return Reverted::NothingToDo(format!(
            "the agent held nothing of it any more; {}",
            met_in_words(met)
        ));
    }
    let after = seen::again(hold).await.unwrap_or_else(|| "the agent has lifted it".to_owned());
    Reverted::Restored(format!("{after}; {}", met_in_words(met)))
}

/// How much of the traffic of others was met, for people.
fn met_in_words(met: u64) -> String {
    match met {
        0 => "no packet of anybody else was met".to_owned(),
        1 => "1 packet of others was met".to_owned(),
        _ => format!("{met} packets of others were met"),
    }
}
