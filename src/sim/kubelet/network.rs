//! Addresses: a /24 of pods per node, handed out in turn as the CNI plugin host-local does.

use std::collections::{BTreeMap, BTreeSet};

/// The addresses that pods hold, by node.
#[derive(Debug, Default)]
pub struct Addresses {
    nodes: BTreeMap<String, Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    taken: BTreeSet<u8>,
    last: u8,
}

/// `10.X.Y.` of a podCIDR such as `10.244.3.0/24`.
fn prefix(cidr: &str) -> Option<String> {
    let (address, _) = cidr.split_once('/')?;
    let (prefix, _) = address.rsplit_once('.')?;
    Some(format!("{prefix}."))
}

impl Addresses {
    /// The next free address on a node; `None` when all 253 are taken or the node has no podCIDR.
    pub fn take(&mut self, node: &str, cidr: &str) -> Option<String> {
        let prefix = prefix(cidr)?;
        let pool = self.nodes.entry(node.to_owned()).or_default();
        // .0 is the network, .1 the bridge, .255 the broadcast address.
        let next = (pool.last.saturating_add(1)..=254)
            .chain(2..=254)
            .find(|n| *n >= 2 && !pool.taken.contains(n))?;
        pool.taken.insert(next);
        pool.last = next;
        Some(format!("{prefix}{next}"))
    }

    /// Notes an address that a pod holds already.
    pub fn hold(&mut self, node: &str, address: &str) {
        if let Some(last) = address.rsplit('.').next().and_then(|n| n.parse().ok()) {
            self.nodes.entry(node.to_owned()).or_default().taken.insert(last);
        }
    }

    /// Gives an address back.
    pub fn release(&mut self, node: &str, address: &str) {
        if let (Some(pool), Some(last)) =
            (self.nodes.get_mut(node), address.rsplit('.').next().and_then(|n| n.parse().ok()))
        {
            pool.taken.remove(&last);
        }
    }
}

/// The `index`th node's podCIDR, of `10.244.0.0/14` as kubeadm's examples have it.
#[must_use]
pub fn pod_cidr(index: usize) -> String {
    format!("10.{}.{}.0/24", 244 + (index / 256) % 4, index % 256)
}

/// The `index`th node's own address.
#[must_use]
pub fn node_address(index: usize) -> String {
    format!("172.18.{}.{}", (index / 250) % 256, index % 250 + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_handed_out_in_turn_and_reused_last() {
        let mut addresses = Addresses::default();
        assert_eq!(addresses.take("a", "10.244.3.0/24").as_deref(), Some("10.244.3.2"));
        assert_eq!(addresses.take("a", "10.244.3.0/24").as_deref(), Some("10.244.3.3"));
        addresses.release("a", "10.244.3.2");
        assert_eq!(addresses.take("a", "10.244.3.0/24").as_deref(), Some("10.244.3.4"));
        for _ in 0..250 {
            addresses.take("a", "10.244.3.0/24");
        }
        assert_eq!(addresses.take("a", "10.244.3.0/24").as_deref(), Some("10.244.3.2"));
        assert_eq!(addresses.take("a", "10.244.3.0/24"), None);
        assert_eq!(addresses.take("b", "nonsense"), None);
    }
}
