//! Work to do at an instant: one heap for all controllers, each key in it at most once, at its earliest instant.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::views::Key;
use crate::sim::store::Kind;

/// Something that a controller has to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Sync a Deployment.
    Deployment(Key),
    /// Sync a ReplicaSet.
    ReplicaSet(Key),
    /// Sync a StatefulSet.
    StatefulSet(Key),
    /// Sync a DaemonSet.
    DaemonSet(Key),
    /// Sync a Service's endpoints.
    Endpoints(Key),
    /// Sync a PodDisruptionBudget.
    Budget(Key),
    /// Sync a HorizontalPodAutoscaler.
    Autoscaler(Key),
    /// Find a node for a pod.
    Schedule(Key),
    /// Step a pod on its node.
    Pod(Key),
    /// Register a node, or find its kubelet stopped.
    Kubelet(String),
    /// Conditions and taints of a node.
    Node(String),
    /// NoExecute taints and a pod; or a pod whose node is gone.
    Evict(Key),
    /// A scan of the cluster autoscaler.
    NodeGroups,
    /// A node that was ordered has started.
    Provision(String),
    /// A machine, or a pool of machines.
    Machine(Kind, Key),
    /// An object whose owners may be gone.
    Dependent(Kind, Key),
    /// An object that waits for its dependents before it goes.
    Owner(Kind, Key),
    /// A namespace: its ServiceAccount, or its end.
    Namespace(String),
    /// An Event that has lived its hour.
    Expire(Key),
}

/// The heap.
#[derive(Debug, Default)]
pub struct Queue {
    due: BTreeSet<(Instant, u64, Work)>,
    keys: BTreeMap<Work, (Instant, u64)>,
    sequence: u64,
}

impl Queue {
    /// Has the work done at `at`, or earlier when it is due earlier already.
    pub fn add(&mut self, work: Work, at: Instant) {
        if let Some(&(earlier, sequence)) = self.keys.get(&work) {
            if earlier <= at {
                return;
            }
            self.due.remove(&(earlier, sequence, work.clone()));
        }
        self.sequence += 1;
        self.keys.insert(work.clone(), (at, self.sequence));
        self.due.insert((at, self.sequence, work));
    }

    /// The first work that is due at `now`, in the order in which it was added.
    pub fn pop(&mut self, now: Instant) -> Option<Work> {
        if self.next()? > now {
            return None;
        }
        let (_, _, work) = self.due.pop_first()?;
        self.keys.remove(&work);
        Some(work)
    }

    /// When the next work is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_earliest_instant_counts_and_equals_keep_their_order() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let (a, b) = (Work::Node("a".into()), Work::Node("b".into()));
        queue.add(b.clone(), now + Duration::from_secs(1));
        queue.add(a.clone(), now + Duration::from_secs(1));
        queue.add(b.clone(), now + Duration::from_secs(5));
        assert_eq!(queue.pop(now), None);
        let later = now + Duration::from_secs(1);
        assert_eq!((queue.pop(later), queue.pop(later), queue.pop(later)), (Some(b), Some(a), None));
        assert_eq!(queue.next(), None);
    }
}
