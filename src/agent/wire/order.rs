//! Orders: what a runner asks of an agent.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::types::{Cidr, Epoch, InjectionId, RunId};

/// One order with what it is judged by. Fields that this version does not know make it malformed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderLine {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// Whose order it is.
    pub run: RunId,
    /// Of the run's present owner.
    pub epoch: Epoch,
    /// One attach by one runner. It is opened by [`Order::Hello`].
    pub session: String,
    /// Grows with every order of a session.
    pub seq: u64,
    /// The latest tick of the agent that the sender has seen: one that is old says that the order was
    /// delivered late.
    pub tick: u64,
    /// What to do.
    pub order: Order,
}

/// What to do. A pod is named by its UID.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Order {
    /// Opens a session, and is the only order that may quote tick 0. Answered by `Ready`.
    Hello,
    /// Keeps everything in force for the time to live. Not answered.
    Beat,
    /// Finds the pod, looks into its network namespace and changes nothing. Answered by `Entered`.
    Enter {
        /// Which pod.
        pod: String,
    },
    /// Puts a disturbance in force, or replaces the one of this injection on this pod in one go. Answered by
    /// `Applied`.
    Apply {
        /// Its name.
        injection: InjectionId,
        /// Whose network.
        pod: String,
        /// What happens to which packets.
        disturbance: Disturbance,
        /// Lifted by itself so many milliseconds after it was applied or replaced.
        within_ms: u64,
    },
    /// Takes the injection away from every pod on this node. Answered by `Lifted`, as often as it is asked.
    Lift {
        /// Its name.
        injection: InjectionId,
    },
    /// Asks how many packets that are not the agent's own the injection has met on this node. Answered by `Counted`.
    Count {
        /// Its name.
        injection: InjectionId,
    },
    /// Sends a signal to processes, once per injection and pod; asked again it says what was done. Answered by
    /// `Killed`.
    Kill {
        /// Its name.
        injection: InjectionId,
        /// Whose processes.
        pod: String,
        /// Only those of the container with this id (without `containerd://`).
        container: Option<String>,
        /// Only those of this name (the kernel keeps 15 bytes of it).
        process: Option<String>,
        /// Which signal.
        signal: Signal,
    },
    /// Measures round trips from the agent's own network namespace to the pod. Answered by `Measured`.
    Measure {
        /// Which pod, for the report.
        pod: String,
        /// Its address.
        address: IpAddr,
        /// The direction whose packets are to match the fault: `Egress` makes a port of the fault the source
        /// port of the measuring packet, so that the answer is sent to it.
        direction: Direction,
        /// What is sent: a TCP SYN, an ICMP echo, a UDP datagram.
        protocol: Protocol,
        /// A port of the fault; without one, a port on which nothing is expected.
        port: Option<u16>,
        /// How many.
        count: u32,
        /// How long to wait for each.
        timeout_ms: u64,
    },
    /// Lifts everything and ends the agent. Answered by `Ended`.
    Leave,
}

/// What happens to which packets of a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disturbance {
    /// Which packets: those of any of these.
    pub legs: Vec<Leg>,
    /// What happens to them.
    pub effect: Effect,
}

/// Some packets of a pod. The loopback interface and IPv6 neighbour discovery are never among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leg {
    /// Sent or received.
    pub direction: Direction,
    /// The other end is in one of these; empty: anywhere. The agent's own address is always among them, which
    /// is how it measures.
    #[serde(default)]
    pub peers: Vec<Cidr>,
    /// The other end is in none of these.
    #[serde(default)]
    pub except: Vec<Cidr>,
    /// The destination port is in one of these; empty: any, and packets without ports too.
    #[serde(default)]
    pub ports: Vec<PortRange>,
    /// Only this protocol.
    #[serde(default)]
    pub protocol: Option<Protocol>,
}

/// The first of the ports that tell the packets of a measurement apart; nothing is expected to listen on them.
pub const MEASURED_FROM: u16 = 20_480;
/// The port that is measured at where the fault names none; nothing is expected there either.
pub const MEASURED_AT: u16 = MEASURED_FROM - 1;

/// Which way a packet goes, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// Sent by the pod.
    Egress,
    /// Received by the pod.
    Ingress,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6, but for neighbour discovery.
    Icmp,
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortRange {
    /// At least 1.
    pub first: u16,
    /// At least `first`.
    pub last: u16,
}

impl PortRange {
    /// Whether the port is in it.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Effect {
    /// It takes longer. Never by more than `delay` and four times `jitter`.
    Latency {
        /// On average, in microseconds.
        delay_us: u64,
        /// By how much it varies: the standard deviation (Normal, Pareto), or the most (Uniform).
        jitter_us: u64,
        /// How much one packet's delay resembles the last one's, 0 to 100.
        correlation_percent: f64,
        /// How it varies.
        distribution: Distribution,
    },
    /// It is lost with this likelihood, each independently of the others.
    Loss {
        /// Above 0, up to 100.
        share_percent: f64,
    },
    /// It is lost.
    Partition,
}

/// How a delay varies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distribution {
    /// Gaussian.
    #[default]
    Normal,
    /// Anything between `delay - jitter` and `delay + jitter`.
    Uniform,
    /// Mostly a little shorter, sometimes much longer.
    Pareto,
}

/// A signal that ends a process or asks it for something; none that would have to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    /// Ends it at once.
    Kill,
    /// Asks it to end.
    Term,
    /// As a terminal does.
    Int,
    /// With a core dump, where allowed.
    Quit,
    /// Its terminal is gone; many read their settings again.
    Hup,
    /// As a failed assertion.
    Abrt,
    /// As a stray pointer.
    Segv,
    /// The program's own meaning.
    Usr1,
    /// The program's own meaning.
    Usr2,
}
