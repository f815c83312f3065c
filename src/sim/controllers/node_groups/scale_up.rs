//! Which group grows, and by how many nodes, for pods that find no room. Pure.

use crate::sim::controllers::views::{Node, Pod};
use crate::sim::scheduler::{Candidate, allocatable, choose, requests};

/// What comes of a scan.
pub(in crate::sim::controllers) struct Choice<'a> {
    /// The group, how many nodes, and the pods that those are for.
    pub order: Option<(&'a str, usize, Vec<&'a Pod>)>,
    /// Pods that no group has room for.
    pub hopeless: Vec<&'a Pod>,
}

/// What a group could do.
struct Offer<'a> {
    group: &'a str,
    nodes: usize,
    helped: Vec<&'a Pod>,
    waste: f64,
}

/// The offer that wastes least; `draw` decides among equals, as the expander `random` does after `least-waste`.
/// `candidates` are the nodes that are there or ordered, `groups` the nodes that each could still get.
pub(in crate::sim::controllers) fn decide<'a>(
    pods: &[&'a Pod],
    candidates: &[Candidate<'a>],
    groups: &'a [(String, Vec<Node>)],
    draw: u64,
) -> Choice<'a> {
    let mut room = candidates.to_vec();
    let waiting: Vec<&Pod> = pods.iter().copied().filter(|pod| !put(&mut room, pod)).collect();
    let mut offers: Vec<Offer<'a>> = groups
        .iter()
        .map(|(group, nodes)| offer(group, &waiting, room.clone(), nodes))
        .filter(|offer| offer.nodes > 0)
        .collect();
    let hopeless = waiting.iter().copied().filter(|pod| {
        !offers.iter().any(|offer| offer.helped.iter().any(|helped| helped.uid() == pod.uid()))
    });
    let hopeless = hopeless.collect();
    offers.sort_by(|a, b| a.waste.total_cmp(&b.waste).then(a.group.cmp(b.group)));
    let equals = offers.iter().take_while(|offer| offer.waste <= offers[0].waste).count();
    let order = (equals > 0).then(|| {
        let offer = offers.swap_remove((draw % equals as u64) as usize);
        (offer.group, offer.nodes, offer.helped)
    });
    Choice { order, hopeless }
}

/// How many of the group's nodes take how many of the pods, one node opened after another
/// (`BinpackingNodeEstimator`).
fn offer<'a>(group: &'a str, pods: &[&'a Pod], mut room: Vec<Candidate<'a>>, nodes: &'a [Node]) -> Offer<'a> {
    let mut opened = 0;
    let mut helped = Vec::new();
    for pod in pods {
        if put(&mut room, pod) {
            helped.push(*pod);
            continue;
        }
        let Some(node) = nodes.get(opened) else { continue };
        room.push(Candidate::new(node, std::iter::empty()));
        if put(&mut room, pod) {
            opened += 1;
            helped.push(*pod);
        } else {
            room.pop();
        }
    }
    Offer { group, nodes: opened, waste: waste(&nodes[..opened], &helped), helped }
}

/// Shares of CPU and memory of the new nodes that the pods would leave (`least-waste`).
fn waste(nodes: &[Node], pods: &[&Pod]) -> f64 {
    let (mut cpu, mut memory) = ((0_i64, 0_i64), (0_i64, 0_i64));
    for (has, _) in nodes.iter().map(allocatable) {
        cpu.0 = cpu.0.saturating_add(has.cpu);
        memory.0 = memory.0.saturating_add(has.memory);
    }
    for wants in pods.iter().map(|pod| requests(pod)) {
        cpu.1 = cpu.1.saturating_add(wants.cpu);
        memory.1 = memory.1.saturating_add(wants.memory);
    }
    let left = |(has, wanted): (i64, i64)| has.saturating_sub(wanted) as f64 / has.max(1) as f64;
    left(cpu) + left(memory)
}

/// Puts the pod where the scheduler would; whether there is such a place.
pub(super) fn put<'a>(room: &mut [Candidate<'a>], pod: &'a Pod) -> bool {
    let Ok(name) = choose(pod, room) else { return false };
    let Some(place) = room.iter_mut().find(|candidate| candidate.node.name() == name) else { return false };
    place.take(pod);
    true
}
