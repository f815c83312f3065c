//! What a fault says about itself.

use crate::types::{Code, FieldSchema};

/// Everything that schema, check, plan, rights and documentation need to know of a fault.
#[derive(Debug)]
pub struct FaultInfo {
    /// As written in files: camelCase.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// An example step, YAML, that `check` accepts.
    pub example: &'static str,
    /// Whether it is over at once or in force until reverted.
    pub lifetime: Lifetime,
    /// What may be its target.
    pub targets: &'static [TargetKind],
    /// What it counts against.
    pub limits: &'static [LimitKind],
    /// The fields of its target that it sets and puts back: two faults that are in force at the same time never
    /// share one of an object, for what either puts back would be the other's doing.
    pub writes: &'static [&'static str],
    /// Whether it takes an agent on the node of each target, and so pods that run on one.
    pub agent: bool,
    /// Its fields.
    pub fields: &'static [FieldSchema],
    /// What it needs to be allowed to do.
    pub rights: &'static [Right],
    /// Codes of hazards that `plan` names whenever it is used.
    pub hazards: &'static [Code],
}

impl FaultInfo {
    /// Whether it takes a zone as a whole: all of its nodes at once, the last one and those that come later too.
    pub fn whole_zone(&self) -> bool {
        self.targets == [TargetKind::Zone]
    }

    /// Whether it ends the machines behind nodes, so that who owns those has to be known.
    pub fn ends_machines(&self) -> bool {
        self.rights.iter().any(|right| right.verb == "delete" && right.resource == "machines")
    }
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Over as soon as it is seen; takes no `duration` and is not reverted.
    Instant,
    /// In force until reverted.
    Lasting,
}

/// What can be aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// `pods`: a label selector.
    Pods,
    /// `workload` as a way to its pods: `count` chooses among them.
    WorkloadPods,
    /// `workload` as a whole: `count` makes no sense.
    Workload,
    /// `nodes`: a label selector, or `zone` alone.
    Nodes,
    /// `nodesRunning`: the nodes that run a workload's pods.
    NodesRunning,
    /// `zone`.
    Zone,
}

/// Which limit a fault uses up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// `limits.pods`.
    Pods,
    /// `limits.degradedPods`.
    DegradedPods,
    /// `limits.nodes`.
    Nodes,
}

/// One verb on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// `get`, `list`, `watch`, `create`, `patch`, `delete`.
    pub verb: &'static str,
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Plural resource, with its subresource after a slash: `pods/eviction`.
    pub resource: &'static str,
    /// Whether it is needed in all namespaces (what a node fault displaces lives anywhere).
    pub cluster_wide: bool,
}
