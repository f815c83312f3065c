//! Whether faults that show in the traffic of others have met any. Pure.
//!
//! An agent sees its own round trips disturbed whatever the file says: they are among what is hit. So a wrong port or
//! peer would be seen in force all the same, and the hypothesis would hold for no better reason than that nothing was
//! done to it. The count is known when a fault is taken back; then, or when its step is over, it is judged.

use super::{
    injection::InjectionState,
    state::{State, StepState},
};
use crate::{
    faults,
    types::{codes::on_node, counted},
};

/// In words, the first of these steps whose faults have met nothing of anybody's on any target; None if there is none.
/// One whose faults are not all taken back is none.
pub(super) fn none_met(state: &State, which: impl Fn(&StepState) -> bool) -> Option<String> {
    let steps = state.spec.method.iter().zip(&state.steps);
    steps.filter(|(_, progress)| which(progress)).find_map(|(step, progress)| {
        let ids = progress.rounds.iter().flatten();
        let hit: Vec<&InjectionState> =
            ids.filter_map(|id| state.injections.get(id)).filter(|found| counts(found)).collect();
        let in_vain = |found: &&InjectionState| found.reverted.is_some() && found.met.unwrap_or(0) == 0;
        (!hit.is_empty() && hit.iter().all(in_vain)).then(|| {
            let code = on_node::NO_TRAFFIC;
            let known = hit.iter().any(|found| found.met.is_some());
            let (name, targets) = (&step.name, counted(hit.len(), "target"));
            match known {
                true => format!(
                    "step {name} met no packet but its agents' own, on {targets}: a wrong port, protocol or peer, or nothing was sent meanwhile [{code}]"
                ),
                false => format!(
                    "whether step {name} met any packet but its agents' own, on {targets}, nobody is left to tell [{code}]"
                ),
            }
        })
    })
}

/// Whether it was in force, and shows in the traffic of others.
fn counts(found: &InjectionState) -> bool {
    found.seen.is_some() && faults::of(&found.injection).is_some_and(|fault| fault.meets())
}
