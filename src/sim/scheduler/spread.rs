//! How pods are spread over topology domains.
//!
//! Source: `pkg/scheduler/framework/plugins/podtopologyspread` (`filtering.go`, `scoring.go`, `common.go`), v1.36. A pod
//! without constraints of its own gets the scheduler's (`systemDefaultConstraints` in `plugin.go`): softly over nodes
//! and zones, counting the pods of its owner. Taints do not count by default: a cordoned zone stays a domain, and an
//! empty one holds a hard constraint of the others down.

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, HOSTNAME, Node, Pod, UNSCHEDULABLE, ZONE, selected, siblings, tolerates};
use crate::sim::controllers::views::{Matcher, Taint, TopologySpreadConstraint};
use crate::types::ln;

/// What a node is refused with that would skew the domains too much.
pub(super) const SKEWED: &str = "node(s) didn't match pod topology spread constraints";
const NO_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// Which pods a constraint counts: those of the pod's namespace that its selector matches, and that share the labels
/// of these keys with it.
struct Counted<'a>(Option<&'a Matcher>, &'a [String]);

/// One constraint, with what it counts on each node.
struct Rule<'a> {
    key: &'a str,
    max_skew: i64,
    min_domains: i64,
    honor_affinity: bool,
    honor_taints: bool,
    /// Pods that count, on each of the nodes.
    on_node: Vec<i64>,
    /// Whether the pod itself counts.
    itself: bool,
}

/// The constraints of one pod over the nodes that there are.
pub(super) struct Spread<'a> {
    hard: Vec<(Rule<'a>, BTreeMap<&'a str, i64>)>,
    soft: Vec<Rule<'a>>,
    /// The scheduler's own constraints: a node without their labels is as good as others.
    defaulted: bool,
}

impl<'a> Spread<'a> {
    /// Counts what `pod`'s constraints are about.
    pub(super) fn new(pod: &'a Pod, nodes: &'a [Candidate<'a>]) -> Self {
        let constraints = &pod.spec.topology_spread_constraints;
        let of = |hard: bool| {
            let wanted =
                constraints.iter().filter(move |c| (c.when_unsatisfiable == "DoNotSchedule") == hard);
            wanted.map(|constraint| Rule::of(constraint, pod, nodes)).collect::<Vec<Rule<'a>>>()
        };
        let hard: Vec<Rule<'a>> = of(true);
        let defaulted = constraints.is_empty();
        let soft = if defaulted {
            let siblings: Vec<i64> = nodes.iter().map(|c| siblings(pod, c) as i64).collect();
            [(HOSTNAME, 3), (ZONE, 5)].map(|own| Rule::default_of(own, siblings.clone())).into()
        } else {
            of(false)
        };
        let keys: BTreeSet<&str> = hard.iter().map(|rule| rule.key).collect();
        let hard = hard
            .into_iter()
            .map(|rule| {
                let domains = rule.domains(pod, nodes, &keys);
                (rule, domains)
            })
            .collect();
        Self { hard, soft, defaulted }
    }

    /// Why the node may not take the pod.
    pub(super) fn refusal(&self, node: &Node) -> Option<&'static str> {
        let labels = &node.meta().labels;
        if self.hard.iter().any(|(rule, _)| !labels.contains_key(rule.key)) {
            return Some(NO_LABEL);
        }
        let skewed = self.hard.iter().any(|(rule, domains)| {
            let least = domains.values().copied().min().unwrap_or(0);
            let enough = domains.len() as i64 >= rule.min_domains;
            let here = labels.get(rule.key).and_then(|domain| domains.get(domain.as_str()));
            here.copied().unwrap_or(0) + i64::from(rule.itself) - if enough { least } else { 0 }
                > rule.max_skew
        });
        skewed.then_some(SKEWED)
    }

    /// What the soft constraints cost on each of the nodes that fit, in their order: less is better, and a node that
    /// lacks a label of the constraints is the last choice.
    pub(super) fn costs(&self, pod: &Pod, fitting: &[usize], nodes: &'a [Candidate<'a>]) -> Vec<i64> {
        let keys: BTreeSet<&str> = match self.defaulted {
            true => BTreeSet::new(),
            false => self.soft.iter().map(|rule| rule.key).collect(),
        };
        let labels = |index: usize| &nodes[index].node.meta().labels;
        let labelled = |index: usize| keys.iter().all(|key| labels(index).contains_key(*key));
        let mut costs: Vec<Option<f64>> =
            fitting.iter().map(|index| labelled(*index).then_some(0.0)).collect();
        let open = costs.iter().flatten().count();
        for rule in &self.soft {
            // Of the nodes' own names each is a domain by itself.
            let by_node = rule.key == HOSTNAME;
            let domains = if by_node { BTreeMap::new() } else { rule.domains(pod, nodes, &keys) };
            let placed = fitting.iter().zip(&mut costs).filter_map(|(index, cost)| {
                Some((*index, labels(*index).get(rule.key)?.as_str(), cost.as_mut()?))
            });
            let placed: Vec<(usize, &str, &mut f64)> = placed.collect();
            let distinct = || placed.iter().map(|(_, domain, _)| *domain).collect::<BTreeSet<&str>>().len();
            let size = if by_node { open } else { distinct() };
            // `topologyNormalizingWeight`.
            let weight = ln(size as f64 + 2.0);
            for (index, domain, cost) in placed {
                let count =
                    if by_node { rule.on_node[index] } else { domains.get(domain).copied().unwrap_or(0) };
                *cost += count as f64 * weight + (rule.max_skew - 1) as f64;
            }
        }
        costs.into_iter().map(|cost| cost.map_or(i64::MAX, |cost| cost.round() as i64)).collect()
    }
}

impl<'a> Rule<'a> {
    fn of(constraint: &'a TopologySpreadConstraint, pod: &'a Pod, nodes: &'a [Candidate<'a>]) -> Self {
        let counted = Counted(constraint.label_selector.as_ref(), &constraint.match_label_keys);
        Self {
            key: &constraint.topology_key,
            max_skew: constraint.max_skew,
            min_domains: constraint.min_domains.unwrap_or(1),
            honor_affinity: constraint.node_affinity_policy != "Ignore",
            honor_taints: constraint.node_taints_policy == "Honor",
            on_node: nodes.iter().map(|c| counted.on(pod, c)).collect(),
            itself: counted.matches(pod, pod),
        }
    }

    /// One of the scheduler's own, with the pods of the owner on each node.
    fn default_of((key, max_skew): (&'a str, i64), on_node: Vec<i64>) -> Self {
        Self {
            key,
            max_skew,
            min_domains: 1,
            honor_affinity: true,
            honor_taints: false,
            on_node,
            itself: true,
        }
    }

    /// Pods by domain, over the nodes that count and that have all of `keys`.
    fn domains(
        &self,
        pod: &Pod,
        nodes: &'a [Candidate<'a>],
        keys: &BTreeSet<&str>,
    ) -> BTreeMap<&'a str, i64> {
        let mut domains = BTreeMap::new();
        for (candidate, pods) in nodes.iter().zip(&self.on_node) {
            let node = candidate.node;
            let labels = &node.meta().labels;
            let counts = keys.iter().all(|key| labels.contains_key(*key))
                && (!self.honor_affinity || selected(pod, node))
                && (!self.honor_taints || tolerated(pod, node));
            if let Some(domain) = labels.get(self.key).filter(|_| counts) {
                *domains.entry(domain.as_str()).or_default() += pods;
            }
        }
        domains
    }
}

impl Counted<'_> {
    fn on(&self, pod: &Pod, candidate: &Candidate<'_>) -> i64 {
        let there = candidate.pods.iter().filter(|other| {
            !other.terminating() && other.namespace() == pod.namespace() && self.matches(pod, other)
        });
        there.count() as i64
    }

    fn matches(&self, pod: &Pod, other: &Pod) -> bool {
        let Self(selector, keys) = self;
        let (own, labels) = (&pod.meta().labels, &other.meta().labels);
        selector.is_some_and(|selector| selector.matches(labels))
            && keys.iter().all(|key| own.get(key).is_none() || own.get(key) == labels.get(key))
    }
}

/// Whether the pod tolerates all that keeps pods off the node, its cordon included.
fn tolerated(pod: &Pod, node: &Node) -> bool {
    let cordon = Taint { key: UNSCHEDULABLE.into(), effect: "NoSchedule".into(), ..Taint::default() };
    let cordon = node.spec.unschedulable.then_some(&cordon);
    let taints = node.spec.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
    taints.chain(cordon).all(|taint| tolerates(&pod.spec.tolerations, taint))
}
