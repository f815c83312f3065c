//! The NetworkPolicy: out to everything but the dependency. Pure.
//!
//! A policy can only allow, so "but" is written three times over. Pods of other namespaces: a selector of namespaces.
//! Pods of the dependency's own namespaces that are not the dependency: for a selector that asks for several things at
//! once one peer each that lacks one of them. Everything that is no pod: all addresses except those of the dependency
//! and, as far as they are known, of all pods. Selectors hold for pods that are born later, whatever address they get,
//! and on plugins for which `ipBlock` matches no pod (Cilium); on those for which it does (Calico), the exception
//! keeps it from letting through what the selectors keep out.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};

use crate::{
    faults::peers::{Among, Dependency, Requirement},
    types::Cidr,
};

/// Set on every namespace by the API server (kubernetes v1.22 and later).
const NAMESPACE: &str = "kubernetes.io/metadata.name";
/// Peers that a policy may have at the most: what several selectors mean together multiplies.
const PEERS: usize = 64;
/// Exceptions of one block at the most: plugins make a rule of each, on each node.
const EXCEPTIONS: usize = 256;

/// `spec` of the policy for pods with that label, or None if it would take too many peers.
pub(super) fn spec(
    (label, value): (&str, &str),
    dependency: &Dependency,
    pod_ranges: &[Cidr],
) -> Option<Value> {
    let mut peers = pods(&dependency.pods)?;
    peers.extend(addresses(dependency, pod_ranges));
    // Without a peer a rule would mean everybody.
    let egress = if peers.is_empty() { json!([]) } else { json!([{"to": peers}]) };
    Some(json!({
        "podSelector": {"matchLabels": {label: value}},
        "policyTypes": ["Egress"],
        "egress": egress,
    }))
}

/// All pods but the dependency's.
fn pods(dependency: &[Among]) -> Option<Vec<Value>> {
    let namespaces: BTreeSet<&str> = dependency.iter().map(|among| among.namespace.as_str()).collect();
    if namespaces.is_empty() {
        return Some(vec![json!({"namespaceSelector": {}})]);
    }
    let elsewhere = json!([{"key": NAMESPACE, "operator": "NotIn", "values": namespaces}]);
    let mut peers = vec![json!({"namespaceSelector": {"matchExpressions": elsewhere}})];
    for namespace in namespaces {
        // Each alternative lacks one thing of each selector.
        let mut others: Vec<BTreeSet<Requirement>> = vec![BTreeSet::new()];
        for among in dependency.iter().filter(|among| among.namespace == namespace) {
            let lacking = |other: &BTreeSet<Requirement>| {
                let lack = |one: &Requirement| other.iter().cloned().chain([opposite(one)]).collect();
                among.all_of.iter().map(lack).collect::<Vec<BTreeSet<Requirement>>>()
            };
            others = others.iter().flat_map(lacking).collect();
            others.sort();
            others.dedup();
            if others.len() > PEERS {
                return None;
            }
        }
        peers.extend(others.into_iter().map(|other| {
            let expressions: Vec<Value> = other.iter().map(expression).collect();
            json!({
                "namespaceSelector": {"matchLabels": {NAMESPACE: namespace}},
                "podSelector": {"matchExpressions": expressions},
            })
        }));
    }
    (peers.len() <= PEERS).then_some(peers)
}

/// What holds of a pod exactly if the requirement does not: a label that is not there is not in any list.
fn opposite(one: &Requirement) -> Requirement {
    let operator = match one.operator {
        "In" => "NotIn",
        "NotIn" => "In",
        "Exists" => "DoesNotExist",
        _ => "Exists",
    };
    Requirement { operator, ..one.clone() }
}

fn expression(one: &Requirement) -> Value {
    let mut value = json!({"key": one.key, "operator": one.operator});
    if !one.values.is_empty() {
        value["values"] = json!(one.values);
    }
    value
}

/// All addresses but the dependency's, and but those of pods: selectors speak for them.
fn addresses(dependency: &Dependency, pod_ranges: &[Cidr]) -> Vec<Value> {
    let ranges = together(pod_ranges.to_vec());
    // With nothing but addresses to cut off all pods are allowed, and no range of theirs has to be left out.
    let ranges = if dependency.pods.is_empty() || ranges.len() > EXCEPTIONS { Vec::new() } else { ranges };
    let out = together(dependency.blocks.iter().copied().chain(ranges).collect());
    let mut peers = Vec::new();
    for all in [IpAddr::from([0_u8; 4]), IpAddr::from([0_u16; 8])].map(Cidr::everything) {
        let except: Vec<&Cidr> = out.iter().filter(|one| all.covers(one)).collect();
        if except.contains(&&all) {
            continue;
        }
        peers.push(match except.is_empty() {
            true => json!({"ipBlock": {"cidr": all}}),
            false => json!({"ipBlock": {"cidr": all, "except": except}}),
        });
    }
    peers.extend(dependency.except.iter().map(|hole| json!({"ipBlock": {"cidr": hole}})));
    peers
}

/// The same addresses in as few blocks as hold exactly them.
fn together(mut blocks: Vec<Cidr>) -> Vec<Cidr> {
    blocks.sort();
    blocks.dedup();
    let mut out: Vec<Cidr> = Vec::new();
    for block in blocks {
        // Sorted by address and then length: whoever covers it stands before it.
        if out.last().is_some_and(|last| last.covers(&block)) {
            continue;
        }
        out.push(block);
        while let [.., one, other] = out[..]
            && let Some(both) = one.joined(&other)
        {
            out.truncate(out.len() - 2);
            out.push(both);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().expect("a literal of this test")).collect()
    }

    fn label(key: &str, value: &str) -> Requirement {
        Requirement { key: key.to_owned(), operator: "In", values: vec![value.to_owned()] }
    }

    fn among(namespace: &str, all_of: &[Requirement]) -> Among {
        Among { namespace: namespace.to_owned(), all_of: all_of.to_vec() }
    }

    #[test]
    fn blocks_that_lie_side_by_side_become_one() {
        let joined = |texts: &[&str]| together(cidrs(texts)).iter().map(Cidr::to_string).collect::<Vec<_>>();
        assert_eq!(
            joined(&["10.244.1.0/24", "10.244.0.0/24", "10.244.2.0/24"]),
            ["10.244.0.0/23", "10.244.2.0/24"]
        );
        assert_eq!(joined(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"]), ["10.0.0.0/8"]);
        assert_eq!(joined(&["10.244.1.0/24", "10.244.2.0/24"]), ["10.244.1.0/24", "10.244.2.0/24"]);
        assert_eq!(joined(&["::/1", "8000::/1", "10.0.0.1/32"]), ["10.0.0.1/32", "::/0"]);
    }

    #[test]
    fn everything_is_allowed_but_the_dependency() {
        let dependency = Dependency {
            pods: vec![among("data", &[label("app", "db"), label("role", "primary")])],
            blocks: cidrs(&["10.96.0.9/32", "10.244.1.7/32"]),
            ..Dependency::default()
        };
        let made =
            spec(("firedrill.dev/cut", "it"), &dependency, &cidrs(&["10.244.0.0/24", "10.244.1.0/24"]));
        let made = made.expect("few peers");
        assert_eq!(made["podSelector"], json!({"matchLabels": {"firedrill.dev/cut": "it"}}));
        assert_eq!(made["policyTypes"], json!(["Egress"]));
        let data = json!({"matchLabels": {"kubernetes.io/metadata.name": "data"}});
        assert_eq!(
            made["egress"],
            json!([{"to": [
                {"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["data"]}]}},
                {"namespaceSelector": data, "podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}},
                {"namespaceSelector": data, "podSelector": {"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["primary"]}]}},
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.96.0.9/32", "10.244.0.0/23"]}},
                {"ipBlock": {"cidr": "::/0"}},
            ]}])
        );
    }

    #[test]
    fn two_of_one_namespace_are_both_left_out() {
        let dependency = Dependency {
            pods: vec![among("data", &[label("app", "db")]), among("data", &[label("app", "cache")])],
            ..Dependency::default()
        };
        let peers = pods(&dependency.pods).expect("few peers");
        assert_eq!(
            peers[1]["podSelector"],
            json!({"matchExpressions": [
                {"key": "app", "operator": "NotIn", "values": ["cache"]},
                {"key": "app", "operator": "NotIn", "values": ["db"]},
            ]})
        );
        assert_eq!(peers.len(), 2);
        let six: Vec<Requirement> = (0..6).map(|n| label(&format!("l{n}"), "x")).collect();
        let many: Vec<Among> = (0..4)
            .map(|n| {
                among("data", &six.iter().cloned().chain([label("n", &n.to_string())]).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(pods(&many), None, "seven to the fourth are too many");
    }

    #[test]
    fn what_is_outside_is_left_out_by_its_addresses_alone() {
        let dependency = Dependency {
            blocks: cidrs(&["192.0.2.0/24"]),
            except: cidrs(&["192.0.2.7/32"]),
            ..Dependency::default()
        };
        let made = spec(("l", "v"), &dependency, &cidrs(&["10.244.0.0/24"])).expect("few peers");
        assert_eq!(
            made["egress"][0]["to"],
            json!([
                {"namespaceSelector": {}},
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["192.0.2.0/24"]}},
                {"ipBlock": {"cidr": "::/0"}},
                {"ipBlock": {"cidr": "192.0.2.7/32"}},
            ])
        );
        let everything = Dependency { blocks: cidrs(&["0.0.0.0/0", "::/0"]), ..Dependency::default() };
        let made = spec(("l", "v"), &everything, &[]).expect("few peers");
        assert_eq!(made["egress"][0]["to"], json!([{"namespaceSelector": {}}]));
    }
}
