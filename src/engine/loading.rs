//! Begins and ends loads as the state machine wants them, and writes that down.

use std::collections::BTreeMap;

use super::{EngineError, drive::Driver, loads};
use crate::{
    env::{LoadOrder, LoadWire, Loads},
    journal::{Record, StopReason},
};

/// The loads of a run: what is still to be begun, by whom, and what is under way.
pub(super) struct Loading {
    pub orders: BTreeMap<String, LoadOrder>,
    pub wire: LoadWire,
    pub under_way: Loads,
}

impl Driver {
    /// Begins the loads that are to be under way, and ends those that are to be no longer.
    pub(super) fn load(&mut self) -> Result<(), EngineError> {
        if self.state.loads.is_empty() && self.loading.orders.is_empty() {
            return Ok(());
        }
        let wanted = loads::wanted(&self.state);
        let open = self.state.loads.iter().filter(|(_, load)| load.ended.is_none());
        let over: Vec<String> = open.map(|(name, _)| name.clone()).filter(|n| !wanted.contains(n)).collect();
        for load in over {
            // One that a runner before this one sent has ended with it.
            let tally = self.loading.under_way.take(&load).map(|load| load.end()).unwrap_or_default();
            self.append(Record::LoadEnded { load, tally: Box::new(tally) })?;
        }
        for name in wanted {
            let Some(order) = self.loading.orders.remove(&name) else { continue };
            match self.loading.wire.begin(order) {
                Ok(load) => {
                    self.loading.under_way.add(&name, load);
                    let of = self.state.spec.loads().find(|(of, ..)| *of == name);
                    let (of_step, what) =
                        of.map(|(_, load, step)| (step.is_some(), load.in_words())).unwrap_or_default();
                    self.append(Record::LoadStarted { load: name, of_step, what })?;
                }
                Err(why) => {
                    let by = format!("load {name}: {why}");
                    self.append(Record::StopRequested { reason: StopReason::NoEffect, by })?;
                }
            }
        }
        Ok(())
    }

    /// Sends nothing more, whatever the journal says.
    pub(super) fn quiet(&mut self) {
        let loads: Vec<String> = self.state.loads.keys().cloned().collect();
        for load in loads.iter().filter_map(|name| self.loading.under_way.take(name)) {
            load.end();
        }
    }
}
