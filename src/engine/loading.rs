//! Begins and ends loads as the state machine wants them, and writes that down.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    EngineError,
    drive::{Driver, Tasks},
    loads,
    orders::Order,
};
use crate::{
    env::{LoadWire, Loads, Underway},
    faults::{self, LoadAsk},
    journal::{InjectOutcome, Record, StopReason},
    load,
    types::InjectionId,
};

/// A pod of which nothing was heard for so long is held to send no more.
const LOST: Duration = Duration::from_secs(30);

/// The loads of a run: what is still to be begun, by whom, and what is under way.
pub(super) struct Loading {
    pub orders: BTreeMap<String, Order>,
    pub wire: LoadWire,
    pub under_way: Loads,
}

impl Driver {
    /// Begins the loads that are to be under way, and ends those that are to be no longer.
    pub(super) fn load(&mut self, tasks: &mut Tasks) -> Result<(), EngineError> {
        if self.state.loads.is_empty() && self.state.load_pods.is_empty() && self.loading.orders.is_empty() {
            return Ok(());
        }
        let wanted = loads::wanted(&self.state);
        let open = self.state.loads.iter().filter(|(_, load)| load.ended.is_none());
        let over: Vec<String> = open.map(|(name, _)| name.clone()).filter(|n| !wanted.contains(n)).collect();
        for load in over {
            // One that a runner before this one sent has ended with it.
            let under_way = self.loading.under_way.take(&load);
            let unheard = under_way.as_ref().and_then(|load| load.unheard());
            let tally = under_way.map(|load| load.end()).unwrap_or_default();
            self.append(Record::LoadEnded { load: load.clone(), tally: Box::new(tally) })?;
            if let Some((_, why)) = unheard {
                self.in_vain(&load, &why)?;
            }
        }
        let pods = self.state.load_pods.iter().filter(|(name, pod)| pod.pending() && !wanted.contains(*name));
        let pods: Vec<InjectionId> = pods.map(|(_, pod)| pod.injection.id.clone()).collect();
        self.revert(&pods, tasks);
        for name in wanted {
            let load = match self.loading.orders.get(&name) {
                None => {
                    self.lost(&name)?;
                    continue;
                }
                Some(Order::ByPod(_)) => self.by_pod(&name, tasks)?,
                Some(Order::Here(order)) => match self.loading.wire.begin((**order).clone()) {
                    Ok(load) => Some(load),
                    Err(why) => {
                        self.loading.orders.remove(&name);
                        self.in_vain(&name, &why)?;
                        None
                    }
                },
            };
            if let Some(load) = load {
                self.begun(name, load)?;
            }
        }
        Ok(())
    }

    fn begun(&mut self, name: String, load: Arc<dyn Underway>) -> Result<(), EngineError> {
        self.loading.orders.remove(&name);
        self.loading.under_way.add(&name, load);
        let of = self.state.spec.loads().find(|(of, ..)| *of == name);
        let (of_step, what) = of.map(|(_, load, step)| (step.is_some(), load.in_words())).unwrap_or_default();
        self.append(Record::LoadStarted { load: name, of_step, what })
    }

    /// Has a pod made that sends it; the load, once that says that it does.
    fn by_pod(&mut self, name: &str, tasks: &mut Tasks) -> Result<Option<Arc<dyn Underway>>, EngineError> {
        if !self.state.load_pods.contains_key(name) {
            let Some(Order::ByPod(order)) = self.loading.orders.get(name) else { return Ok(None) };
            let header = &self.state.header;
            // What sends for the whole run is there before Baseline.
            let spec = &self.state.spec;
            let rising = spec.load.iter().map(|load| load.ramp_up.0).max().unwrap_or_default();
            let until = self.until().checked_add(rising + spec.baseline_duration() + spec.baseline.within.0);
            let pod = faults::load_pod(LoadAsk {
                nonce: header.run.as_str(),
                until: until.unwrap_or(jiff::Timestamp::MAX),
                ..order.ask(name, (&header.namespace, header.environment.image()))
            });
            self.append(Record::LoadPodIntended { load: name.to_owned(), pod: Box::new(pod) })?;
        }
        let Some(pod) = self.state.load_pods.get(name) else { return Ok(None) };
        let (id, target) = (pod.injection.id.clone(), pod.injection.target.clone());
        match pod.injected {
            None if self.state.stop.is_none() => self.inject(&[id], tasks),
            Some(InjectOutcome::Done) => {
                return Ok(Some(load::from_pod(self.world.access.beside(), target)));
            }
            Some(InjectOutcome::Failed | InjectOutcome::TargetGone) => {
                self.loading.orders.remove(name);
                self.in_vain(name, "its pod does not send")?;
            }
            None => {}
        }
        Ok(None)
    }

    /// Whether nothing has been heard for too long of one that is under way.
    fn lost(&mut self, name: &str) -> Result<(), EngineError> {
        let unheard = self.loading.under_way.get(name).and_then(|load| load.unheard());
        match unheard.filter(|(silent, _)| *silent >= LOST) {
            Some((_, why)) => self.in_vain(name, &why),
            None => Ok(()),
        }
    }

    /// A load that is not sent proves nothing.
    fn in_vain(&mut self, name: &str, why: &str) -> Result<(), EngineError> {
        if self.state.stop.is_some() || self.state.decided.is_some() {
            return Ok(());
        }
        let by = format!("load {name}: {why}");
        self.append(Record::StopRequested { reason: StopReason::NoEffect, by })
    }

    /// Sends nothing more, whatever the journal says.
    pub(super) fn quiet(&mut self) {
        let loads: Vec<String> = self.state.loads.keys().cloned().collect();
        for load in loads.iter().filter_map(|name| self.loading.under_way.take(name)) {
            load.end();
        }
    }
}
