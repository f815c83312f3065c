//! Spec, snapshot and seed into a Plan. Pure: no clock, no network, nothing awaited.
//!
//! The same function prepares a step for the plan and for the run: `plan` shows who it would be now, and
//! the run decides again, with the same seed, when the step's turn has come.

mod agents;
mod allowing;
mod bounds;
mod forecast;
mod guard;
mod lifelines;
mod loads;
mod outline;
mod overlap;
mod overruled;
mod select;

pub use agents::PlannedAgents;
pub use allowing::{RoleRule, base_rules, fault_rules, node_rules, undo_rules, within_a_namespace};
pub use bounds::{
    Bounds, Consent, covering, declared_production, guardrail_findings, labelled_production, leased,
    namespaces,
};
pub use forecast::query_window;
use guard::Ground;
pub use guard::protected;
pub use lifelines::Lifeline;
pub use loads::{PlannedLoad, by_pods};
pub use outline::{
    Displaced, EarliestAbort, LatestAbort, Plan, PlannedStep, RightAsked, plan, rights, scope,
};
pub use overruled::{Begun, Granted, Overruled, barred, overruled};
pub use select::{LeftOut, kind_of};
use select::{Together, select};

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    api::Target,
    cluster::Snapshot,
    env::Rng,
    faults::{self, Injection, Prepare},
    types::{AgentSettings, Finding, InjectionId, ObjectRef, codes::guard as code},
};

/// What preparing one step takes.
#[derive(Debug)]
pub struct StepAsk<'a> {
    /// The step's name.
    pub step: &'a str,
    /// Name of the fault.
    pub kind: &'a str,
    /// Its fields.
    pub params: &'a Value,
    /// At what it aims.
    pub target: &'a Target,
    /// Which part of the step.
    pub round: Round<'a>,
    /// Everything that is the same for all steps.
    pub setting: &'a Setting<'a>,
    /// What is in force already: it counts against the limits.
    pub in_force: &'a [&'a Injection],
}

/// A part of a step that goes round after round, or batch after batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round<'a> {
    /// How many injections the step has had: numbers go on from here.
    pub first: usize,
    /// These and no others; None: chosen anew.
    pub only: Option<&'a [ObjectRef]>,
}

/// What is the same for all steps of a run.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The file's namespace.
    pub namespace: &'a str,
    /// The world.
    pub snapshot: &'a Snapshot,
    /// Where choices come from.
    pub rng: Rng,
    /// Who has agreed to what.
    pub consent: &'a Consent,
    /// How far the damage may go.
    pub bounds: &'a Bounds,
    /// The image of firedrill itself, for what has to run in the cluster.
    pub image: &'a str,
    /// How agents are placed.
    pub agents: &'a AgentSettings,
    /// Now, by the API server's clock.
    pub now: Timestamp,
    /// When everything should be undone at the latest.
    pub until: Timestamp,
}

/// Chooses all targets of a step that goes through them batch by batch.
pub fn choose(ask: &StepAsk<'_>) -> Result<Vec<ObjectRef>, Vec<Finding>> {
    match faults::find(ask.kind) {
        Some(fault) => select(ask, fault, Together::No),
        None => prepare(ask).map(|_| Vec::new()),
    }
}

/// What a step that follows its target has to hit besides: as many as its count asks for by now.
pub fn born(ask: &StepAsk<'_>, hit: &BTreeSet<ObjectRef>) -> Result<Vec<ObjectRef>, Vec<Finding>> {
    match faults::find(ask.kind) {
        Some(fault) => select::born(ask, fault.info(), hit),
        None => Ok(Vec::new()),
    }
}

/// Chooses the step's targets and prepares its injections, or says everything that speaks against it.
pub fn prepare(ask: &StepAsk<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
    let Some(fault) = faults::find(ask.kind) else {
        let message = format!("there is no fault {}", ask.kind);
        return Err(vec![Finding::error(code::FIELDS, format!("step {}", ask.step), message)]);
    };
    let setting = ask.setting;
    let targets = match ask.round.only {
        Some(only) => only.to_vec(),
        None => select(ask, fault, Together::Yes)?,
    };
    // Alone: what else would be said of such a target is this run's own doing.
    let overlap = overlap::findings(ask, fault.info(), &targets);
    if !overlap.is_empty() {
        return Err(overlap);
    }
    let mut findings = Ground::of(ask, fault.info()).findings(&targets);
    let request = Prepare {
        step: ask.step,
        params: ask.params,
        targets: &targets,
        snapshot: setting.snapshot,
        bystanders: &setting.consent.bystanders,
        image: setting.image,
        agents: setting.agents,
        now: setting.now,
        until: setting.until,
    };
    let mut injections = match fault.prepare(&request) {
        Ok(injections) => injections,
        Err(more) => {
            findings.extend(more);
            return Err(findings);
        }
    };
    for (number, injection) in injections.iter_mut().enumerate() {
        injection.id = InjectionId::new(ask.step, ask.round.first + number);
    }
    findings.extend(guard::limits(setting, &injections, ask.in_force));
    findings.extend(guard::bystanders(setting, &injections));
    findings.extend(forecast::budgets(setting.snapshot, &injections));
    findings.extend(lifelines::findings(setting, &injections));
    findings.retain(Finding::is_error);
    if findings.is_empty() { Ok(injections) } else { Err(findings) }
}

/// The longest that a run may take, for deadlines: the method, and recovering.
pub fn longest(bounds: &Bounds, recover_within: Duration) -> Duration {
    bounds.duration + recover_within
}
