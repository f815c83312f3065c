//! What was measured of a run (format.md, section 4). Pure.

use jiff::Timestamp;

use super::{state::State, steady::elapsed};
use crate::{api::Role, journal::Clocks};

/// The clocks of a run, as far as they can be told.
pub fn measure(state: &State) -> Clocks {
    let millis = |from, to| u64::try_from(elapsed(from, to).as_millis()).unwrap_or(u64::MAX);
    let first_seen = state.first_seen();
    let reverted = state.all_reverted.as_ref().filter(|(_, residue)| residue.is_empty()).map(|(at, _)| *at);
    // Taking the agents away comes after the last fault is lifted, and is none of its time.
    let last = state.faults().filter_map(|fault| fault.reverted.map(|(at, _)| at)).max();
    let reverted =
        reverted.map(|all| last.filter(|_| state.injections.values().any(|one| one.arms())).unwrap_or(all));
    let lifted = state.first_intent.and_then(|_| state.lifted());
    let judged = state.spec.steady_state.iter().filter(|probe| probe.role != Role::Informational);
    let violation = state.violations.first();
    let (alert, detected) = (state.first_alert(), violation.map(|violation| violation.at));
    let detected = detected.into_iter().chain(alert).min();
    let stopped_by_probe = state.stop.is_some() && !state.violations.is_empty();
    Clocks {
        detection_ms: first_seen.zip(detected).map(|(seen, detected)| millis(seen, detected)),
        alert_ms: first_seen.zip(alert).map(|(seen, alert)| millis(seen, alert)),
        abort_ms: violation
            .zip(reverted)
            .filter(|_| stopped_by_probe)
            .map(|(violation, reverted)| millis(violation.at, reverted)),
        revert_ms: state.reverting.zip(reverted).map(|(from, to)| millis(from, to)),
        rto_ms: first_seen.zip(state.recovered).map(|(seen, steady)| millis(seen, steady)),
        recovery_ms: lifted.zip(state.recovered).map(|(lifted, steady)| millis(lifted, steady)),
        rpo_ms: state.recovered.and_then(|since| state.lost_since(since)),
        resolution_ms: judged.map(|probe| u64::try_from(probe.every.as_millis()).unwrap_or(u64::MAX)).max(),
    }
}

impl State {
    /// What has been measured so far.
    pub fn clocks(&self) -> Clocks {
        measure(self)
    }

    /// Since when every `expect` of the hypothesis has held without a break; None while one does not.
    pub fn steady_since(&self) -> Option<Timestamp> {
        let mut since = Timestamp::MIN;
        for probe in self.hypothesis() {
            since = since.max(self.probes.get(&probe.name)?.steady_since?);
        }
        Some(since)
    }

    /// Milliseconds of data that are lost, as the probe of `rpo` says first from then on.
    pub fn lost_since(&self, since: Timestamp) -> Option<u64> {
        let track = self.probes.get(&self.spec.objectives.rpo.as_ref()?.probe)?;
        let (_, seconds) = track.numbers.iter().find(|(at, _)| *at >= since)?;
        // A negative loss is none; what is larger than fits is as large as that.
        Some((seconds.max(0.0) * 1000.0) as u64)
    }

    /// The oldest of the latest samples: up to here everything is known.
    pub fn known_until(&self) -> Option<Timestamp> {
        self.hypothesis()
            .map(|probe| self.probes.get(&probe.name).and_then(|track| track.last))
            .min()
            .flatten()
    }

    /// When the first alert since the first intent fired.
    pub fn first_alert(&self) -> Option<Timestamp> {
        self.probes.values().filter_map(|track| track.alerted).min()
    }
}
