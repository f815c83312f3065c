//! Which runs whose runner is lost can be gone on with. Pure.

use super::{injection::InjectionState, start::judge, state::State};
use crate::{
    api::{OnRunnerLoss, ProbeSpec},
    faults,
    journal::Entry,
};

/// Why a run whose runner is lost is put back rather than gone on with, in words; None: nothing stands in the way.
///
/// What was under way may have happened or not, and what lives with its runner has died with it: neither can be gone
/// on with. Where the run is to end anyway, what was under way counts as having happened, as ever.
pub fn put_back_because(entries: &[Entry]) -> Option<String> {
    let state = match State::replay(entries) {
        Ok(state) => state,
        Err(error) => return Some(error.to_string()),
    };
    if state.spec.on_runner_loss != OnRunnerLoss::Resume {
        return Some("its file does not ask for more".to_owned());
    }
    if state.unattended || state.finished {
        return Some("it is being put back already".to_owned());
    }
    if state.injections.values().any(|found| found.pending() && found.step.is_none()) {
        return Some("its agents end with their runner".to_owned());
    }
    let loaded = state.loads.values().any(|load| load.ended.is_none());
    if loaded || state.load_pods.values().any(InjectionState::pending) {
        return Some("its loads end with their runner".to_owned());
    }
    if state.baseline.is_some()
        && let Some(probe) = state.spec.steady_state.iter().find(|probe| remembers(probe, &state))
    {
        return Some(format!("what probe {} calls before was known to its runner only", probe.name));
    }
    if state.stop.is_some() || state.method_ended.is_some() {
        return None;
    }
    let unknown = state.injections.values().find(|found| found.pending() && found.injected.is_none());
    if let Some(found) = unknown {
        return Some(format!("whether {} has happened is not known", found.injection.id));
    }
    let released = state.injections.values().find(|found| found.pending() && releases(found));
    released.map(|found| format!("{} is a rollout, which nobody has watched", found.injection.id))
}

/// Whether a probe compares with what its runner had seen.
fn remembers(probe: &ProbeSpec, state: &State) -> bool {
    judge(probe, &state.spec.params()).is_some_and(|judge| judge.uses("before"))
}

fn releases(found: &InjectionState) -> bool {
    let fault = faults::find(&found.injection.fault);
    fault.is_some_and(|fault| fault.info().writes.contains(&"spec.template"))
}
