//! Which outcomes leave what is next as it was. With thousands of injections under way, looking at all of them after each
//! would cost more than the run itself. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::state::State;
use crate::{
    journal::InjectOutcome,
    types::{InjectionId, ObjectRef},
};

/// What was told to be under way by the last command, in groups: until the last of a group is over, the same is next,
/// less what is over already.
#[derive(Default)]
pub(super) struct Awaited {
    group: BTreeMap<InjectionId, usize>,
    /// How many of each group are not over.
    left: Vec<usize>,
}

impl Awaited {
    /// To be put in force: nothing follows a round before the last of it is. Where one has failed, answers are waited for,
    /// and each is asked about.
    pub(super) fn in_force(state: &State, ids: &[InjectionId]) -> Self {
        let (mut awaited, asked) = (Self::default(), ids.iter().collect::<BTreeSet<_>>());
        let failed = |id: &InjectionId| {
            let found = state.injections.get(id);
            found.is_some_and(|found| found.missed || found.injected == Some(InjectOutcome::Failed))
        };
        let rounds = state.steps.iter().flat_map(|step| &step.rounds);
        for round in rounds.filter(|round| !round.iter().any(failed)) {
            awaited.group(round.iter().filter(|id| asked.contains(id)));
        }
        awaited
    }

    /// To be taken back: nothing follows before the last is, but for what was done to the same object before. With that
    /// it goes on at once.
    pub(super) fn back(state: &State, ids: &[InjectionId]) -> Self {
        let mut pending: BTreeMap<&ObjectRef, usize> = BTreeMap::new();
        for found in state.pending() {
            *pending.entry(&found.injection.target).or_default() += 1;
        }
        let alone = |id: &&InjectionId| {
            state.injection(id).and_then(|found| pending.get(&found.injection.target)) == Some(&1)
        };
        let mut awaited = Self::default();
        awaited.group(ids.iter().filter(alone));
        awaited
    }

    fn group<'a>(&mut self, ids: impl Iterator<Item = &'a InjectionId>) {
        let before = self.group.len();
        self.group.extend(ids.map(|id| (id.clone(), self.left.len())));
        self.left.push(self.group.len() - before);
    }

    /// Whether it is one of them, and not over.
    pub(super) fn has(&self, id: &InjectionId) -> bool {
        self.group.contains_key(id)
    }

    /// One is over. Whether others of its group are not.
    pub(super) fn over(&mut self, id: &InjectionId) -> bool {
        let Some(group) = self.group.remove(id) else { return false };
        self.left[group] -= 1;
        self.left[group] > 0
    }
}

#[cfg(test)]
mod tests;
