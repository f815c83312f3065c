//! How many pods each ReplicaSet of a rolling update may have.
//!
//! Source: `rolling.go`, `scale` in `sync.go`, and `util/deployment_util.go`.

use super::{DESIRED, MAX, Set, Sync};
use crate::sim::controllers::views::{Deployment, IntOrPercent};

/// `maxSurge` (rounded up) and `maxUnavailable` (rounded down) in pods; when both come to zero one pod may be
/// unavailable (`ResolveFenceposts`).
#[must_use]
pub fn fenceposts(surge: &IntOrPercent, unavailable: &IntOrPercent, replicas: i64) -> (i64, i64) {
    let surge = surge.of(replicas, true).unwrap_or(0);
    let unavailable = unavailable.of(replicas, false).unwrap_or(0);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn resolved(deployment: &Deployment) -> (i64, i64) {
    if deployment.spec.strategy.kind == "Recreate" {
        return (0, 0);
    }
    let quarter = IntOrPercent::Text("25%".into());
    let rolling = &deployment.spec.strategy.rolling_update;
    let surge = rolling.max_surge.as_ref().unwrap_or(&quarter);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&quarter);
    fenceposts(surge, unavailable, deployment.replicas())
}

impl Sync<'_> {
    /// `MaxSurge`: pods above `replicas`.
    pub(super) fn surge(&self) -> i64 {
        resolved(self.deployment).0
    }

    /// `MaxUnavailable`: pods below `replicas`, at most `replicas`.
    pub(super) fn unavailable(&self) -> i64 {
        match self.deployment.replicas() {
            0 => 0,
            replicas => resolved(self.deployment).1.min(replicas),
        }
    }

    /// A step of a rolling update (`rolloutRolling`).
    pub(super) fn roll(&mut self) {
        self.find_current(true);
        let Some(current) = self.current else { return };
        let wanted = self.new_replicas(current);
        if wanted != self.sets[current].replicas && self.resize(current, wanted) {
            return;
        }
        if self.shrink_old(current) {
            return;
        }
        if self.complete() {
            self.forget_old();
        }
    }

    /// How many pods the current ReplicaSet should have now (`NewRSNewReplicas`, `reconcileNewReplicaSet`).
    pub(super) fn new_replicas(&self, current: usize) -> i64 {
        let (wanted, have) = (self.deployment.replicas(), self.sets[current].replicas);
        if have >= wanted || self.deployment.spec.strategy.kind == "Recreate" {
            return wanted;
        }
        let room = wanted + self.surge() - self.total();
        if room <= 0 { have } else { have + room.min(wanted - have) }
    }

    /// Scales old ReplicaSets down as far as availability allows (`reconcileOldReplicaSets`).
    fn shrink_old(&mut self, current: usize) -> bool {
        let old: Vec<usize> = self.old().into_iter().filter(|i| self.sets[*i].replicas > 0).collect();
        let minimum = self.deployment.replicas() - self.unavailable();
        let new = &self.sets[current];
        let not_yet = new.replicas - new.status.available_replicas;
        let mut room = self.total() - minimum - not_yet;
        if old.is_empty() || room <= 0 {
            return false;
        }
        let mut changed = false;
        // First what is not available anyway (`cleanupUnhealthyReplicas`).
        for &index in &old {
            let set = &self.sets[index];
            let take = room.min(set.replicas - set.status.available_replicas);
            if take > 0 {
                room -= take;
                changed |= self.resize(index, self.sets[index].replicas - take);
            }
        }
        // Then what is, as long as enough stay (`scaleDownOldReplicaSetsForRollingUpdate`).
        let available: i64 =
            self.sets.iter().filter(|s| s.replicas > 0).map(|s| s.status.available_replicas).sum();
        let mut surplus = available - minimum;
        for &index in &old {
            let take = surplus.min(self.sets[index].replicas);
            if take > 0 {
                surplus -= take;
                changed |= self.resize(index, self.sets[index].replicas - take);
            }
        }
        changed
    }

    /// Follows a change of `spec.replicas` (`scale`): all to the only active ReplicaSet, or in proportion.
    pub(super) fn scale(&mut self) {
        let wanted = self.deployment.replicas();
        let active: Vec<usize> = (0..self.sets.len()).filter(|i| self.sets[*i].replicas > 0).collect();
        let only = match active.as_slice() {
            [] => self.current.or_else(|| self.old().last().copied()),
            [one] => Some(*one),
            _ => None,
        };
        if active.len() < 2 {
            if let Some(index) = only {
                self.resize(index, wanted);
            }
        } else if self.current.is_some_and(|i| self.saturated(i)) {
            for index in self.old() {
                if self.sets[index].replicas > 0 {
                    self.resize(index, 0);
                }
            }
        } else if self.deployment.spec.strategy.kind != "Recreate" {
            self.scale_in_proportion(active);
        }
    }

    /// The current ReplicaSet has all that is wanted (`IsSaturated`).
    fn saturated(&self, index: usize) -> bool {
        let (set, wanted) = (&self.sets[index], self.deployment.replicas());
        let desired = set.annotations.get(DESIRED).and_then(|t| t.parse::<i64>().ok());
        set.replicas == wanted && desired == Some(wanted) && set.status.available_replicas == wanted
    }

    fn scale_in_proportion(&mut self, mut active: Vec<usize>) {
        let wanted = self.deployment.replicas();
        let allowed = if wanted > 0 { wanted + self.surge() } else { 0 };
        let to_add = allowed - self.total();
        // Larger first; of equals the newer when adding, the older when removing.
        active.sort_by(|a, b| {
            let (a, b) = (&self.sets[*a], &self.sets[*b]);
            let age = a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name));
            b.replicas.cmp(&a.replicas).then(if to_add > 0 { age.reverse() } else { age })
        });
        let mut added = 0;
        let mut sizes = Vec::new();
        for &index in &active {
            let share = if to_add == 0 { 0 } else { self.proportion(&self.sets[index], to_add, added) };
            sizes.push(self.sets[index].replicas + share);
            added += share;
        }
        if to_add != 0
            && let Some(first) = sizes.first_mut()
        {
            *first = (*first + to_add - added).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            self.resize(index, size);
        }
    }

    /// `GetReplicaSetProportion`.
    fn proportion(&self, set: &Set<'_>, to_add: i64, added: i64) -> i64 {
        if set.replicas == 0 || to_add == added {
            return 0;
        }
        let (fraction, left) = (self.fraction(set), to_add - added);
        if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
    }

    /// `getReplicaSetFraction`: what a ReplicaSet gains or loses when the whole changes size.
    fn fraction(&self, set: &Set<'_>) -> i64 {
        let wanted = self.deployment.replicas();
        if wanted == 0 {
            return -set.replicas;
        }
        let before = set
            .annotations
            .get(MAX)
            .and_then(|t| t.parse::<i64>().ok())
            .filter(|n| *n != 0)
            .unwrap_or(self.deployment.status.replicas);
        if before == 0 {
            return 0;
        }
        // Exact in an f64: both factors are int32. `round` is half away from zero, as integer.RoundToInt32.
        let size = (set.replicas * (wanted + self.surge())) as f64 / before as f64;
        size.round() as i64 - set.replicas
    }
}
