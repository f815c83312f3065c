//! One file a fault, and the registry that everything else derives from.
//!
//! A fault is data about itself ([`FaultInfo`]), a pure `prepare` that turns targets into injections
//! with everything needed to go back, and three effects: `inject`, `observe`, `revert`. All effects are
//! idempotent: whatever may have happened is treated as having happened and done again.
//! Schema, `explain`, rights checks, crash tests and documentation come from [`FAULTS`].

mod bad_rollout;
mod cordon;
mod dependency_cut;
mod field;
mod hpa_clamp;
mod info;
mod load_pod;
mod node_cordon;
mod node_drain;
mod node_scar;
mod node_taint;
mod node_terminate;
mod nodes;
mod owners;
mod pod_evict;
mod pod_kill;
mod pods;
mod rollout_restart;
mod scale;
mod template;
mod vacate;
mod zone_outage;

pub use info::{FaultInfo, Lifetime, LimitKind, Right, TargetKind};
pub use load_pod::{LoadAsk, load_pod};

use std::{collections::BTreeSet, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cluster::{Access, ApiError, Budgets, Mirror, Snapshot},
    types::{
        Epoch, Finding, InjectionId, Length, ObjectRef, RunId,
        codes::{guard, hazard},
    },
};

/// One application of a fault to one target, with all that undoes it. Data, never code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Injection {
    /// Its name within the run.
    pub id: InjectionId,
    /// Name of the fault in the registry.
    pub fault: String,
    /// Whom it hits, pinned.
    pub target: ObjectRef,
    /// What is done, resolved: the fault's own shape.
    pub action: Value,
    /// What was there before: the fault's own shape. Null where nothing is undone.
    pub before: Value,
    /// Pods that go with it, pinned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub displaced: Vec<ObjectRef>,
    /// How many replicas the target, a workload, loses.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replicas_lost: u32,
    /// When its effect has to be seen at the latest, counted from the intent.
    pub effect_within: Length,
    /// When it should be undone at the latest, by the API server's clock.
    pub until: Timestamp,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a fault is asked to prepare.
#[derive(Debug)]
pub struct Prepare<'a> {
    /// The step, which names the injections.
    pub step: &'a str,
    /// The fault's fields as in the file.
    pub params: &'a Value,
    /// The chosen targets, pinned.
    pub targets: &'a [ObjectRef],
    /// The world.
    pub snapshot: &'a Snapshot,
    /// Namespaces that have agreed to evictions of their pods, and to nothing else.
    pub bystanders: &'a BTreeSet<String>,
    /// The image of firedrill itself, for what has to run in the cluster.
    pub image: &'a str,
    /// Now, by the API server's clock.
    pub now: Timestamp,
    /// When everything should be undone at the latest.
    pub until: Timestamp,
}

/// What effects may touch.
#[derive(Clone)]
pub struct World {
    /// The API server, fenced.
    pub access: Access,
    /// The cluster, followed.
    pub mirror: Mirror,
    /// Evictions take turns here.
    pub budgets: Budgets,
    /// Who we are, for scars.
    pub signature: Signature,
}

/// What scars say of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The run.
    pub run: RunId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// Who asked.
    pub by: String,
    /// Now, by the API server's clock.
    pub at: Timestamp,
}

/// What an injection did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injected {
    /// Applied; in words.
    Done(String),
    /// Applied, and with it a rollout was begun, which is ours.
    RolledOut {
        /// In words.
        said: String,
        /// [`fingerprint`](crate::cluster::fingerprint) of the pod template as it is stored now.
        template: String,
    },
    /// The target is gone: nothing was applied, and nothing is to be undone.
    TargetGone,
}

/// What a revert found and did, verified by reading the world again; each in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reverted {
    /// As it was before.
    Restored(String),
    /// The target is gone.
    TargetGone,
    /// It had not been changed, or is over by nature.
    NothingToDo(String),
    /// Somebody else has changed it since; left alone, our scar taken away.
    ChangedSince(String),
}

/// Why an effect did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The API server does not play along.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: String,
        /// The answer.
        source: ApiError,
    },
    /// Something that has come to light only now speaks against it.
    #[error("{}[{}]: {}{}", .0.subject, .0.code, .0.message, in_brackets(&.0.remedy))]
    Refused(Box<Finding>),
    /// An injection's data does not have the fault's shape: a damaged journal or a forged scar.
    #[error("the undo data of {0} cannot be read: {1}")]
    Data(InjectionId, String),
}

fn in_brackets(remedy: &str) -> String {
    if remedy.is_empty() { String::new() } else { format!(" ({remedy})") }
}

impl From<Finding> for FaultError {
    fn from(finding: Finding) -> Self {
        Self::Refused(Box::new(finding))
    }
}

impl FaultError {
    /// An answer of the API server to `what`.
    pub fn api(what: impl Into<String>) -> impl FnOnce(ApiError) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source }
    }

    /// Whether the same may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Api { source, .. } if source.is_transient())
    }
}

/// How a fault is found on an object when there is no journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The run that it names.
    pub run: String,
    /// The injection, as the fault's revert takes it.
    pub injection: Injection,
}

/// A kind of disturbance.
pub trait Fault: Send + Sync {
    /// What everything else derives from.
    fn info(&self) -> &'static FaultInfo;

    /// What can be said of the fields beyond their schema: cross-field rules. Pure.
    fn lint(&self, _params: &Value) -> Vec<Finding> {
        Vec::new()
    }

    /// Targets into injections with all undo data, or the reasons why not. Pure.
    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>>;

    /// Whether it takes pods away, with these fields: a target without any is worth a warning then. Pure.
    fn empties(&self, _params: &Value) -> bool {
        self.info().limits.contains(&LimitKind::Pods)
    }

    /// Whether `pod`, which `injection` hits or takes along, is evicted and so asks its budgets. Pure.
    fn evicts(&self, _injection: &Injection, _pod: &ObjectRef) -> bool {
        !self.info().hazards.contains(&hazard::PDB_BYPASSED)
    }

    /// The pods that stay and are hampered while `injection` is in force: they count against `limits.degradedPods`. Pure.
    fn degrades(&self, _injection: &Injection) -> Vec<ObjectRef> {
        Vec::new()
    }

    /// What a plan should say of this injection, besides what its hazards say of the fault. Pure.
    fn forewarn(&self, _snapshot: &Snapshot, _injection: &Injection) -> Vec<Finding> {
        Vec::new()
    }

    /// Asks the API server whether it would accept each kind of write that `injection` takes, without
    /// doing it (server-side dry run).
    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>>;

    /// Applies it. Idempotent; cancelled at any await it leaves what `revert` copes with.
    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>>;

    /// Returns what was seen, in something that firedrill did not write, once the effect is there. Waits as
    /// long as it takes; the caller bounds it.
    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String>;

    /// Takes it back and verifies that. Idempotent; copes with never injected, half injected, target gone,
    /// changed since. As it stands here it is for instant faults, which are over by nature.
    fn revert<'a>(
        &'a self,
        _world: &'a World,
        _injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(async { Ok(Reverted::NothingToDo("it was over as soon as it was seen".to_owned())) })
    }

    /// Everything of this kind that any run has left in the cluster, from scars alone. Instant faults leave none.
    fn scars<'a>(
        &'a self,
        _access: &'a Access,
        _namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Retries what passes by itself, a bounded number of times with a fixed pause.
async fn patiently<T, F>(tries: u32, mut call: impl FnMut() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut tried = 1;
    loop {
        match call().await {
            Err(error) if error.is_transient() && tried < tries => {
                tried += 1;
                tokio::time::sleep(error.retry_after().unwrap_or(PAUSE).max(PAUSE)).await;
            }
            answer => return answer,
        }
    }
}

/// Between two tries of one call.
const PAUSE: Duration = Duration::from_millis(250);

/// Every fault, by name.
pub static FAULTS: &[&dyn Fault] = &[
    &bad_rollout::BadRollout,
    &dependency_cut::DependencyCut,
    &hpa_clamp::HpaClamp,
    &node_cordon::NodeCordon,
    &node_drain::NodeDrain,
    &node_taint::NodeTaint,
    &node_terminate::NodeTerminate,
    &pod_evict::PodEvict,
    &pod_kill::PodKill,
    &rollout_restart::RolloutRestart,
    &scale::Scale,
    &zone_outage::ZoneOutage,
];

/// What is no fault and yet leaves something that is taken back like one; no file names it as a step.
pub static HELPERS: &[&dyn Fault] = &[&load_pod::LoadPod];

/// What an injection says that it is of: a fault, or one of [`HELPERS`].
pub fn of(injection: &Injection) -> Option<&'static dyn Fault> {
    all().find(|fault| fault.info().name == injection.fault)
}

/// Everything that may leave something to take back.
pub fn all() -> impl Iterator<Item = &'static dyn Fault> {
    FAULTS.iter().chain(HELPERS).copied()
}

/// The fault called `name` in files.
pub fn find(name: &str) -> Option<&'static dyn Fault> {
    FAULTS.iter().copied().find(|fault| fault.info().name == name)
}

/// The pods that an injection hampers and leaves where they are.
pub fn degraded(injection: &Injection) -> Vec<ObjectRef> {
    find(&injection.fault).map_or_else(Vec::new, |fault| fault.degrades(injection))
}

/// Whom an injection is about: the pods that it hampers, or else its target.
pub fn hit(injection: &Injection) -> Vec<ObjectRef> {
    let degraded = degraded(injection);
    if degraded.is_empty() { vec![injection.target.clone()] } else { degraded }
}

/// The fields of a step, decoded; what `check` should have found is a finding here too.
fn params<T: serde::de::DeserializeOwned>(ask: &Prepare<'_>) -> Result<T, Vec<Finding>> {
    serde_json::from_value(ask.params.clone())
        .map_err(|error| vec![Finding::error(guard::FIELDS, format!("step {}", ask.step), error.to_string())])
}

/// An injection's own data, read back.
fn decode<T: serde::de::DeserializeOwned>(injection: &Injection, value: &Value) -> Result<T, FaultError> {
    serde_json::from_value(value.clone())
        .map_err(|error| FaultError::Data(injection.id.clone(), error.to_string()))
}

/// A fault's own data as JSON.
fn encode<T: Serialize>(data: &T) -> Value {
    serde_json::to_value(data).expect("strings, numbers and booleans are JSON")
}
