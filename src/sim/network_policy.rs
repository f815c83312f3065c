//! What NetworkPolicies let through: may a connection be made from here to there?
//!
//! Pure. Source: `NetworkPolicySpec` and its parts in `staging/src/k8s.io/api/networking/v1/types.go`, v1.36, and
//! kubernetes.io, "Network Policies". In short: a pod that no policy selects is open; one that is selected for a
//! direction takes (or sends) only what one of *those* policies lets through; both ends have to agree; policies
//! only ever add; a pod reaches itself, and its node reaches it. What answers a connection is never looked at.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

use super::store::{LabelSelector, Selector};
use crate::types::Cidr;

/// What the network plugin of a node makes of NetworkPolicies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Enforcement {
    /// Enforced; `ipBlock` matches pods as well, by their addresses, as with Calico, Antrea and kube-router.
    #[default]
    Enforced,
    /// Enforced, but `ipBlock` matches only what is outside the cluster, as with Cilium.
    ExternalBlocks,
    /// Not enforced, as with Flannel: policies can be created and have no effect.
    Ignored,
}

/// A pod, as far as policies care.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodEnd {
    /// Its UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its node, empty while it has none.
    pub node: String,
    /// In its node's network: then it is the node to all policies, and no policy selects it.
    pub host_network: bool,
    /// Its address, when it has one.
    pub address: Option<IpAddr>,
    /// The named ports of its containers: name and protocol to number.
    pub ports: BTreeMap<(String, Protocol), u16>,
}

/// What is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A pod, after the address of any Service has been replaced by the pod's own.
    Pod(&'a PodEnd),
    /// An address that is no pod's.
    Address(IpAddr),
}

/// A transport protocol that policies know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// The default.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
    /// Stream control.
    Sctp,
}

/// `spec` of a NetworkPolicy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    /// The pods of its namespace that it is for; empty: all of them.
    pub pod_selector: LabelSelector,
    /// `Ingress`, `Egress`; the API server fills it in.
    pub policy_types: Vec<String>,
    /// What may come in.
    pub ingress: Vec<Rule>,
    /// What may go out.
    pub egress: Vec<Rule>,
}

/// One rule: peers and ports, both of which have to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Whom it lets through, `from` or `to`; none: everybody.
    #[serde(alias = "from", alias = "to", deserialize_with = "null_default")]
    pub peers: Vec<Peer>,
    /// On which ports; none: on all.
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<Port>,
}

/// One peer: pods by selectors, or a block of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Peer {
    /// Pods; of the policy's namespace unless `namespace_selector` says which.
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces; all their pods unless `pod_selector` says which.
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses.
    pub ip_block: Option<IpBlock>,
}

/// A block of addresses without some.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IpBlock {
    /// The block.
    pub cidr: Cidr,
    /// What of it is not meant.
    #[serde(default, deserialize_with = "null_default")]
    pub except: Vec<Cidr>,
}

/// One port, or several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number, or its name among the ports of the pod that is connected to; none: all.
    pub port: Option<NameOrNumber>,
    /// The last of a range that begins with `port`.
    pub end_port: Option<u16>,
}

/// `intstr.IntOrString` of a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum NameOrNumber {
    /// A number.
    Number(u16),
    /// A name.
    Name(String),
}

fn null_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// A policy, ready to be asked.
#[derive(Debug, Clone)]
pub struct Policy {
    name: String,
    namespace: String,
    pods: Selector,
    ingress: Option<Vec<Compiled>>,
    egress: Option<Vec<Compiled>>,
}

/// A rule with its selectors made.
#[derive(Debug, Clone)]
struct Compiled {
    peers: Vec<Matching>,
    ports: Vec<Port>,
}

/// A peer with its selectors made.
#[derive(Debug, Clone)]
enum Matching {
    /// Pods; the namespaces' selector unless it is the policy's own.
    Pods(Option<Selector>, Selector),
    Block(IpBlock),
}

impl Policy {
    /// A policy of this namespace and name.
    #[must_use]
    pub fn new(namespace: &str, name: &str, spec: &PolicySpec) -> Self {
        // As the API server's default has it, for a policy that did not come through it.
        let typed = |name: &str, otherwise: bool| {
            if spec.policy_types.is_empty() { otherwise } else { spec.policy_types.iter().any(|t| t == name) }
        };
        let compiled = |rules: &[Rule]| rules.iter().map(Compiled::new).collect();
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            pods: Selector::from_label_selector(&spec.pod_selector),
            ingress: typed("Ingress", true).then(|| compiled(&spec.ingress)),
            egress: typed("Egress", !spec.egress.is_empty()).then(|| compiled(&spec.egress)),
        }
    }

    /// Its namespace and name.
    #[must_use]
    pub fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    fn selects(&self, pod: &PodEnd) -> bool {
        self.namespace == pod.namespace && !pod.host_network && self.pods.matches_labels(&pod.labels)
    }
}

impl Compiled {
    fn new(rule: &Rule) -> Self {
        let peer = |peer: &Peer| match &peer.ip_block {
            Some(block) => Matching::Block(block.clone()),
            None => Matching::Pods(
                peer.namespace_selector.as_ref().map(Selector::from_label_selector),
                peer.pod_selector.as_ref().map_or_else(Selector::everything, Selector::from_label_selector),
            ),
        };
        Self { peers: rule.peers.iter().map(peer).collect(), ports: rule.ports.clone() }
    }
}

/// Which way a connection goes, seen from the pod that is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Out of the pod.
    Egress,
    /// Into the pod.
    Ingress,
}

/// Why a connection is not let through: the policies that select this end, none of which allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// At which end.
    pub direction: Direction,
    /// `namespace/name` of the policies that isolate it.
    pub policies: Vec<String>,
}

/// What is asked: a port of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortNumber {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number, at the end that is connected to.
    pub number: u16,
}

impl PortNumber {
    /// A port of TCP.
    #[must_use]
    pub fn tcp(number: u16) -> Self {
        Self { protocol: Protocol::Tcp, number }
    }
}

/// All that decides: the policies, the namespaces' labels, and what each node's plugin makes of policies.
pub struct Rules<'a> {
    /// Every policy of the cluster.
    pub policies: &'a [Policy],
    /// Labels of a namespace.
    pub namespace_labels: &'a dyn Fn(&str) -> Option<&'a BTreeMap<String, String>>,
    /// What a node's plugin does.
    pub enforcement: &'a dyn Fn(&str) -> Enforcement,
}

/// The other end as a peer sees it.
#[derive(Clone, Copy)]
struct Other<'a> {
    pod: Option<&'a PodEnd>,
    address: Option<IpAddr>,
}

impl Rules<'_> {
    /// Whether a pod may connect to that port there.
    ///
    /// # Errors
    /// At which end, and by which policies, it may not.
    pub fn check(&self, from: &PodEnd, to: Destination<'_>, port: PortNumber) -> Result<(), Denied> {
        let there = match to {
            Destination::Pod(pod) => Other { pod: Some(pod), address: pod.address },
            Destination::Address(address) => Other { pod: None, address: Some(address) },
        };
        if there.pod.is_some_and(|pod| pod.uid == from.uid) {
            return Ok(());
        }
        let port = (port, there.pod);
        self.side(Direction::Egress, from, there, port)?;
        let Some(pod) = there.pod else { return Ok(()) };
        // The node of a pod always reaches it, or its probes would fail.
        if from.host_network && from.node == pod.node {
            return Ok(());
        }
        self.side(Direction::Ingress, pod, Other { pod: Some(from), address: from.address }, port)
    }

    /// Whether an address that is no pod's may connect to that port of a pod.
    ///
    /// # Errors
    /// By which policies it may not.
    pub fn check_from_outside(&self, from: IpAddr, to: &PodEnd, port: PortNumber) -> Result<(), Denied> {
        self.side(Direction::Ingress, to, Other { pod: None, address: Some(from) }, (port, Some(to)))
    }

    /// Whether the policies for one end let it through.
    fn side(
        &self,
        direction: Direction,
        end: &PodEnd,
        other: Other<'_>,
        port: (PortNumber, Option<&PodEnd>),
    ) -> Result<(), Denied> {
        let enforcement = (self.enforcement)(&end.node);
        if enforcement == Enforcement::Ignored {
            return Ok(());
        }
        let mut isolating = Vec::new();
        for policy in self.policies.iter().filter(|policy| policy.selects(end)) {
            let rules = match direction {
                Direction::Egress => &policy.egress,
                Direction::Ingress => &policy.ingress,
            };
            let Some(rules) = rules else { continue };
            let fits = |rule: &Compiled| {
                self.peers(policy, &rule.peers, other, enforcement) && ports(&rule.ports, port)
            };
            if rules.iter().any(fits) {
                return Ok(());
            }
            isolating.push(format!("{}/{}", policy.namespace, policy.name));
        }
        if isolating.is_empty() { Ok(()) } else { Err(Denied { direction, policies: isolating }) }
    }

    fn peers(&self, policy: &Policy, peers: &[Matching], other: Other<'_>, enforcement: Enforcement) -> bool {
        let of_pods = other.pod.filter(|pod| !pod.host_network);
        let fits = |peer: &Matching| match peer {
            Matching::Pods(namespaces, pods) => of_pods.is_some_and(|pod| {
                let namespace = match namespaces {
                    None => pod.namespace == policy.namespace,
                    Some(selector) => (self.namespace_labels)(&pod.namespace)
                        .is_some_and(|labels| selector.matches_labels(labels)),
                };
                namespace && pods.matches_labels(&pod.labels)
            }),
            Matching::Block(_) if of_pods.is_some() && enforcement == Enforcement::ExternalBlocks => false,
            Matching::Block(block) => other.address.is_some_and(|address| {
                block.cidr.contains(address) && !block.except.iter().any(|except| except.contains(address))
            }),
        };
        peers.is_empty() || peers.iter().any(fits)
    }
}

/// Whether one of the ports is this one; a name is looked up at the pod that is connected to.
fn ports(ports: &[Port], (asked, at): (PortNumber, Option<&PodEnd>)) -> bool {
    let fits = |port: &Port| {
        let number = match &port.port {
            None => return port.protocol == asked.protocol,
            Some(NameOrNumber::Number(number)) => Some(*number),
            Some(NameOrNumber::Name(name)) => {
                at.and_then(|pod| pod.ports.get(&(name.clone(), port.protocol)).copied())
            }
        };
        let range = number.map(|number| number..=port.end_port.unwrap_or(number));
        port.protocol == asked.protocol && range.is_some_and(|range| range.contains(&asked.number))
    };
    ports.is_empty() || ports.iter().any(fits)
}

#[cfg(test)]
mod tests;
