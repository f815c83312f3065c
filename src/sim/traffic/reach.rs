//! Whether a request gets to its pod: what NetworkPolicies let through.
//!
//! Packets that no policy lets through are dropped, not refused: whoever asks waits until its own time-out. A policy
//! works on the next request, whether its connection is new or not; what a pod holds already it answers.

use std::net::{IpAddr, Ipv4Addr};

use super::{Service, Traffic};
use crate::sim::impairment::Path;
use crate::sim::network::Network;
use crate::sim::network_policy::PortNumber;
use crate::sim::store::Object;

/// Where everybody outside of the cluster comes from, the API server's proxy too, as an `ipBlock` sees them: TEST-NET-3
/// of RFC 5737, which no pod has.
pub const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// A port of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicePort {
    /// Its number.
    pub port: u16,
    /// The port of its pods behind it.
    pub behind: u16,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

/// What somebody who connects to a Service by a URL finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A port that speaks as it is spoken to, or a Service whose ports nobody knows.
    Open,
    /// No such port.
    NoPort,
    /// Somebody who does not speak TLS, asked in it.
    Plain,
    /// Somebody who speaks TLS, asked without it.
    Tls,
}

impl Found {
    /// What is found behind these ports by whoever asks for that one, in TLS or not.
    pub fn of(ports: &[ServicePort], asked: u16, tls: bool) -> Self {
        match ports.iter().find(|port| port.port == asked) {
            None if ports.is_empty() => Self::Open,
            None => Self::NoPort,
            Some(port) if port.tls == tls => Self::Open,
            Some(port) if port.tls => Self::Tls,
            Some(_) => Self::Plain,
        }
    }
}

impl Service {
    /// Whether it can be called at that port; none is its first. Calls are said by host and port, not in which
    /// language.
    pub(super) fn has_port(&self, port: Option<u16>) -> bool {
        port.is_none_or(|port| self.ports.is_empty() || self.ports.iter().any(|own| own.port == port))
    }

    /// What a URL with that port, in TLS or not, finds.
    pub(super) fn found(&self, (port, tls): (u16, bool)) -> Found {
        Found::of(&self.ports, port, tls)
    }

    /// The address and port at which pods call it; `None` for one without an address of its own.
    pub(super) fn front(&self, port: Option<u16>) -> Option<(IpAddr, u16)> {
        let first = self.ports.first().map_or(0, |own| own.port);
        Some((self.address?, port.unwrap_or(first)))
    }

    /// The port of its pods behind one of its ports, the first if none is named; 0 while none is known.
    fn pod_port(&self, port: Option<u16>) -> u16 {
        let named = self.ports.iter().find(|own| port.is_none_or(|port| port == own.port));
        named.map_or(port.unwrap_or(0), |own| own.behind)
    }
}

impl Traffic {
    /// The network is this one from `at` on. Until it is told, everybody reaches everybody.
    pub fn set_network(&mut self, network: Network, at: u64) {
        self.advance(at);
        self.network = Some(network);
        self.network_changed();
    }

    /// Whether somebody has told it of the network.
    pub fn has_network(&self) -> bool {
        self.network.is_some()
    }

    /// The UID of the pod at an address.
    pub(super) fn pod_at(&self, address: IpAddr) -> Option<String> {
        self.network.as_ref()?.pod_at(address).map(|pod| pod.uid.clone())
    }

    /// Whether policies keep one pod, by UID, from a port of another.
    pub(super) fn is_denied(&self, from: &str, to: &str, port: PortNumber) -> bool {
        self.network.as_ref().is_some_and(|network| network.check(from, to, port).is_err())
    }

    /// What was known of who reaches whom, and how, is not known any more.
    pub(super) fn network_changed(&mut self) {
        self.verdicts.clear();
        if let Some(journeys) = &mut self.journeys {
            journeys.forget();
        }
    }

    /// An object that the network is made of ([`crate::sim::network::KINDS`]) is so from `at` on, or gone. Whether
    /// there is a network to take note of it.
    pub fn change_network(&mut self, object: &Object, gone: bool, at: u64) -> bool {
        if self.network.is_none() {
            return false;
        }
        self.advance(at);
        if self.network.as_mut().is_some_and(|network| network.apply(object, gone)) {
            self.network_changed();
        }
        true
    }

    /// Whether what a pod, or somebody outside, sends to a Service's port gets to a pod of it.
    pub(super) fn reaches(&mut self, from: Option<(usize, Option<u16>)>, service: usize, to: usize) -> bool {
        let port =
            self.services.get(service).map_or(0, |service| service.pod_port(from.and_then(|from| from.1)));
        self.lets_through(from.map(|from| from.0), to, port)
    }

    /// What lies on the connection from a pod, or somebody outside, through a Service's port to a pod of it.
    pub(super) fn way(
        &mut self,
        from: Option<(usize, Option<u16>)>,
        service: usize,
        to: usize,
    ) -> Option<std::sync::Arc<Path>> {
        // Most clusters know no agent.
        self.journeys.as_ref()?;
        let asked = from.and_then(|from| from.1);
        let port = self.services.get(service).map_or(0, |service| service.pod_port(asked));
        self.path(from.map(|from| from.0), Some((service, asked)), (to, port))
    }

    /// Whether a pod, or somebody outside, gets to that port of a pod.
    pub(super) fn lets_through(&mut self, from: Option<usize>, to: usize, port: u16) -> bool {
        let Some(network) = self.network.as_ref().filter(|network| !network.is_open()) else { return true };
        if let Some(known) = self.verdicts.get(&(from, to, port)) {
            return *known;
        }
        let (pod, asked) = (self.pods[to].uid.as_str(), PortNumber::tcp(port));
        let answer = match from {
            Some(from) => network.check(&self.pods[from].uid, pod, asked),
            None => network.check_from_outside(OUTSIDE, pod, asked),
        };
        if let Err(denied) = &answer {
            tracing::debug!(to = pod, port, ?denied, "not let through");
        }
        self.verdicts.insert((from, to, port), answer.is_ok());
        answer.is_ok()
    }
}
