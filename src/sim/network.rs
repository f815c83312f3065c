//! The pods' network, followed: who they are, where, and what lies between them.
//!
//! What it says of a connection is [`network_policy`](super::network_policy)'s answer over the objects as they
//! have been told to it; a policy works at once, without the second or two that a real plugin takes.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;
use serde_json::Value;

use super::{
    annotations::{self, InvalidAnnotation},
    network_policy::{
        Denied, Destination, Enforcement, PodEnd, Policy, PolicySpec, PortNumber, Protocol, Rules,
    },
    store::{Kind, Object, Selector, Store},
};

/// What the network is made of.
#[derive(Debug, Default)]
pub struct Network {
    /// By namespace and name.
    policies: Vec<Policy>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    nodes: BTreeMap<String, Enforcement>,
    /// By UID.
    pods: BTreeMap<String, PodEnd>,
    /// UID by address.
    addresses: BTreeMap<IpAddr, String>,
}

/// The kinds that it is made of.
pub const KINDS: [Kind; 4] = [Kind::NAMESPACE, Kind::NODE, Kind::POD, Kind::NETWORK_POLICY];

/// What a node's annotation [`annotations::NETWORK_POLICY`] says.
///
/// # Errors
/// It says something else.
pub fn enforcement(of: &BTreeMap<String, String>) -> Result<Enforcement, InvalidAnnotation> {
    let parse = |text: &str| match text {
        "enforced" => Some(Enforcement::Enforced),
        "external-blocks" => Some(Enforcement::ExternalBlocks),
        "ignored" => Some(Enforcement::Ignored),
        _ => None,
    };
    let expected = "enforced, external-blocks or ignored";
    Ok(annotations::read(of, annotations::NETWORK_POLICY, expected, parse)?.unwrap_or_default())
}

impl Network {
    /// The network as a cluster has it now.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        let mut network = Self::default();
        for kind in &KINDS {
            for object in store.list(kind, None, &Selector::everything()) {
                network.apply(&object, false);
            }
        }
        network
    }

    /// Takes note of an object of one of [`KINDS`] as it is now, or that it is gone; others are nothing to it. Whether
    /// a connection may get another answer from now on.
    pub fn apply(&mut self, object: &Object, gone: bool) -> bool {
        match &object.kind {
            kind if *kind == Kind::NAMESPACE => {
                put(&mut self.namespaces, &object.meta.name, (!gone).then(|| object.meta.labels.clone()))
            }
            kind if *kind == Kind::NODE => {
                let stated = enforcement(&object.meta.annotations).unwrap_or_else(|error| {
                    tracing::warn!(object = object.key(), "{error}; the default is taken");
                    Enforcement::default()
                });
                put(&mut self.nodes, &object.meta.name, (!gone).then_some(stated))
            }
            kind if *kind == Kind::POD => self.pod_changed(object, gone),
            kind if *kind == Kind::NETWORK_POLICY => self.policy_changed(object, gone),
            _ => false,
        }
    }

    fn policy_changed(&mut self, object: &Object, gone: bool) -> bool {
        let key = (object.meta.namespace.as_str(), object.meta.name.as_str());
        let at = self.policies.binary_search_by(|policy| policy.key().cmp(&key));
        if gone {
            return at.map(|at| self.policies.remove(at)).is_ok();
        }
        // The API server has validated it; one that does not fit lets nothing through, as its author meant it to.
        let spec: PolicySpec = object.field("spec").unwrap_or_default();
        let policy = Policy::new(key.0, key.1, &spec);
        match at {
            Ok(at) => self.policies[at] = policy,
            Err(at) => self.policies.insert(at, policy),
        }
        true
    }

    fn pod_changed(&mut self, object: &Object, gone: bool) -> bool {
        let uid = &object.meta.uid;
        let pod = (!gone).then(|| pod_end(object));
        let old = self.pods.get(uid);
        if old == pod.as_ref() {
            return false;
        }
        if let Some(address) = old.and_then(|pod| pod.address)
            && self.addresses.get(&address) == Some(uid)
        {
            self.addresses.remove(&address);
        }
        // Pods in their node's network share its address: it is the node's.
        let own = pod.as_ref().filter(|pod| !pod.host_network);
        if let Some(address) = own.and_then(|pod| pod.address) {
            self.addresses.insert(address, uid.clone());
        }
        put(&mut self.pods, uid, pod)
    }

    /// The pod of that UID.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<&PodEnd> {
        self.pods.get(uid)
    }

    /// The pod that has that address.
    #[must_use]
    pub fn pod_at(&self, address: IpAddr) -> Option<&PodEnd> {
        self.pods.get(self.addresses.get(&address)?)
    }

    /// Whether one pod may connect to a port of another, both by UID. One that is not known is outside all
    /// policies.
    ///
    /// # Errors
    /// At which end, and by which policies, it may not.
    pub fn check(&self, from: &str, to: &str, port: PortNumber) -> Result<(), Denied> {
        if self.policies.is_empty() {
            return Ok(());
        }
        let (Some(from), Some(to)) = (self.pod(from), self.pod(to)) else { return Ok(()) };
        self.decide(from, Destination::Pod(to), port)
    }

    /// Whether a pod, by UID, may connect to a port of an address: a pod's own, or outside the cluster.
    ///
    /// # Errors
    /// At which end, and by which policies, it may not.
    pub fn check_address(&self, from: &str, to: IpAddr, port: PortNumber) -> Result<(), Denied> {
        let Some(from) = self.pod(from) else { return Ok(()) };
        let to = self.pod_at(to).map_or(Destination::Address(to), Destination::Pod);
        self.decide(from, to, port)
    }

    /// Whether no connection at all is held up.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.policies.is_empty()
    }

    /// Whether somebody at an address outside of the cluster may connect to a port of a pod, by UID.
    ///
    /// # Errors
    /// By which policies not.
    pub fn check_from_outside(&self, from: IpAddr, to: &str, port: PortNumber) -> Result<(), Denied> {
        let Some(to) = self.pod(to).filter(|_| !self.is_open()) else { return Ok(()) };
        self.rules(|rules| rules.check_from_outside(from, to, port))
    }

    fn decide(&self, from: &PodEnd, to: Destination<'_>, port: PortNumber) -> Result<(), Denied> {
        self.rules(|rules| rules.check(from, to, port))
    }

    fn rules<T>(&self, ask: impl FnOnce(&Rules<'_>) -> T) -> T {
        let rules = Rules {
            policies: &self.policies,
            namespace_labels: &|name| self.namespaces.get(name),
            enforcement: &|node| self.nodes.get(node).copied().unwrap_or_default(),
        };
        ask(&rules)
    }
}

/// Puts a value or takes it away; whether that changed anything.
fn put<T: PartialEq>(map: &mut BTreeMap<String, T>, key: &str, value: Option<T>) -> bool {
    if map.get(key) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => drop(map.insert(key.to_owned(), value)),
        None => drop(map.remove(key)),
    }
    true
}

/// What of a pod's spec matters to the network.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    host_network: bool,
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    ports: Vec<ContainerPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    name: String,
    protocol: Protocol,
    container_port: u16,
}

fn pod_end(object: &Object) -> PodEnd {
    let spec: Spec = object.field("spec").unwrap_or_default();
    let status: Value = object.field("status").unwrap_or_default();
    let finished = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
    // A finished pod has given its address back.
    let address = status["podIP"].as_str().filter(|_| !finished).and_then(|text| text.parse().ok());
    let ports = spec.containers.into_iter().flat_map(|container| container.ports);
    let named = ports.filter(|port| !port.name.is_empty());
    PodEnd {
        uid: object.meta.uid.clone(),
        namespace: object.meta.namespace.clone(),
        labels: object.meta.labels.clone(),
        node: spec.node_name,
        host_network: spec.host_network,
        address,
        ports: named.map(|port| ((port.name, port.protocol), port.container_port)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sim::{Sim, SimConfig, store::DeleteOptions};

    fn sim() -> Sim {
        let sim = Sim::new(&SimConfig::default());
        let pod = |name: &str, node: &str, address: &str| {
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
                "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i:1", "ports": [{"name": "web", "containerPort": 8080}]}]},
                "address": address})
        };
        let mut manifests = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2",
                "annotations": {annotations::NETWORK_POLICY: "ignored"}}}),
        ];
        let pods = [("api", "n1", "10.1.0.2"), ("db", "n2", "10.1.1.2")];
        manifests.extend(pods.map(|(name, node, address)| {
            let mut pod = pod(name, node, address);
            pod.as_object_mut().expect("a literal").remove("address");
            pod
        }));
        sim.apply_manifests(&manifests).expect("manifests");
        for (name, _, address) in pods {
            let status = json!({"phase": "Running", "podIP": address});
            let set = |pod: &mut Object| {
                pod.set_value("status", &status);
                Ok(())
            };
            sim.store().modify(&Kind::POD, "shop", name, set).expect("status");
        }
        sim
    }

    fn policy(selected: &str, types: &str) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "shop"},
            "spec": {"podSelector": {"matchLabels": {"app": selected}}, "policyTypes": [types]}})
    }

    #[test]
    fn objects_as_they_come_and_go_decide() {
        let sim = sim();
        let uid = |name: &str| sim.store().get(&Kind::POD, "shop", name).expect("a pod").meta.uid.clone();
        let (api, db) = (uid("api"), uid("db"));
        let mut network = Network::of(sim.store());
        let port = PortNumber::tcp(5432);
        assert_eq!(network.check(&api, &db, port), Ok(()));
        sim.apply_manifests(&[policy("api", "Egress")]).expect("a policy");
        let made = sim.store().get(&Kind::NETWORK_POLICY, "shop", "p").expect("the policy");
        assert!(network.apply(&made, false), "that may change answers");
        let denied = network.check(&api, &db, port).expect_err("isolated");
        assert_eq!(denied.policies, ["shop/p"]);
        assert!(network.check_address(&api, "10.1.1.2".parse().expect("an address"), port).is_err());
        assert!(network.check_address(&api, "192.0.2.1".parse().expect("an address"), port).is_err());
        assert_eq!(network.check(&db, &api, port), Ok(()));
        let pod = sim.store().get(&Kind::POD, "shop", "api").expect("a pod");
        assert!(!network.apply(&pod, false), "nothing new");
        sim.store().delete(&Kind::NETWORK_POLICY, "shop", "p", &DeleteOptions::default()).expect("deleted");
        assert!(network.apply(&made, true));
        assert_eq!(network.check(&api, &db, port), Ok(()));
        assert!(network.apply(&pod, true));
        assert_eq!(network.pod_at("10.1.0.2".parse().expect("an address")), None);
    }

    #[test]
    fn a_node_whose_plugin_ignores_policies_enforces_none_for_its_pods() {
        let sim = sim();
        let uid = |name: &str| sim.store().get(&Kind::POD, "shop", name).expect("a pod").meta.uid.clone();
        // db is on n2, which ignores; what db may take and send is nobody's concern.
        sim.apply_manifests(&[policy("db", "Ingress")]).expect("a policy");
        assert_eq!(Network::of(sim.store()).check(&uid("api"), &uid("db"), PortNumber::tcp(1)), Ok(()));
        let wrong = BTreeMap::from([(annotations::NETWORK_POLICY.to_owned(), "perhaps".to_owned())]);
        assert!(enforcement(&wrong).is_err());
    }
}
