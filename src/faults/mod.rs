//! One file a fault, and the registry that everything else derives from.
//!
//! A fault is data about itself ([`FaultInfo`]), a pure `prepare` that turns targets into injections
//! with everything needed to go back, and three effects: `inject`, `observe`, `revert`. All effects are
//! idempotent: whatever may have happened is treated as having happened and done again.
//! Schema, `explain`, rights checks, crash tests and documentation come from [`FAULTS`].

mod agent_pod;
mod agent_tier;
mod bad_rollout;
mod container_kill;
mod cordon;
mod dependency_cut;
mod embedded;
mod field;
mod hpa_clamp;
mod info;
mod kills;
mod load_pod;
mod network;
mod network_latency;
mod network_loss;
mod network_partition;
mod node_cordon;
mod node_drain;
mod node_scar;
mod node_taint;
mod node_terminate;
mod nodes;
mod owners;
mod peers;
mod pod_evict;
mod pod_kill;
mod pods;
mod process_kill;
mod rollout_restart;
mod scale;
mod shown;
mod template;
mod vacate;
mod zone_outage;

pub use agent_pod::{
    AGENT_RIGHTS, Arm, agent_manifests, agent_pod_of, agents_left, agents_only_by, arm, arm_nodes, armed_node,
};
pub use embedded::embedded_agents;
pub use info::{FaultInfo, Lifetime, LimitKind, Right, TargetKind};
pub use load_pod::{INFO as LOAD_POD, LoadAsk, load_pod};

use std::{collections::BTreeSet, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cluster::{Access, ApiError, Budgets, Mirror, OrderError, Sessions, Snapshot},
    env::LoadWire,
    types::{
        AgentSettings, Epoch, Finding, InjectionId, Length, ObjectRef, RunId,
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
    /// How agents are placed.
    pub agents: &'a AgentSettings,
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
    /// The agents of the run.
    pub agents: Sessions,
    /// Where the addresses of hosts come from.
    pub names: LoadWire,
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
    /// It had ended by itself before it was taken back.
    ExpiredByItself(String),
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
    /// An agent does not play along.
    #[error("{what}: {source}")]
    Agent {
        /// What was tried.
        what: String,
        /// Why that came to nothing.
        source: OrderError,
    },
    /// What has come to light only now speaks against it, at least one thing.
    #[error("{}", .0.iter().map(in_words).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Finding>),
    /// An injection's data does not have the fault's shape: a damaged journal or a forged scar.
    #[error("the undo data of {0} cannot be read: {1}")]
    Data(InjectionId, String),
}

fn in_words(finding: &Finding) -> String {
    let Finding { subject, code, message, remedy, .. } = finding;
    format!("{subject}[{code}]: {message}{}", in_brackets(remedy))
}

fn in_brackets(remedy: &str) -> String {
    if remedy.is_empty() { String::new() } else { format!(" ({remedy})") }
}

impl From<Finding> for FaultError {
    fn from(finding: Finding) -> Self {
        Self::Refused(vec![finding])
    }
}

impl FaultError {
    /// What speaks against it.
    ///
    /// # Errors
    /// It is something else that went wrong.
    pub fn refusals(self) -> Result<Vec<Finding>, Self> {
        match self {
            Self::Refused(findings) => Ok(findings),
            other => Err(other),
        }
    }

    /// An answer of the API server to `what`.
    pub fn api(what: impl Into<String>) -> impl FnOnce(ApiError) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source }
    }

    /// What came of an order for `what`.
    pub fn agent(what: impl Into<String>) -> impl FnOnce(OrderError) -> Self {
        let what = what.into();
        move |source| Self::Agent { what, source }
    }

    /// Whether the API server has said that whoever asked may not.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Api { source: ApiError::Forbidden(_), .. })
    }

    /// In words, where it is clear that this is about `target`.
    pub fn about(&self, target: &ObjectRef) -> String {
        if let Self::Refused(findings) = self
            && let [Finding { subject, message, code, remedy, .. }] = findings.as_slice()
            && *subject == target.to_string()
        {
            return format!("{message}{} [{code}]", in_brackets(remedy));
        }
        self.to_string()
    }

    /// Whether the same may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Api { source, .. } => source.is_transient(),
            Self::Agent { source, .. } => matches!(source, OrderError::Unanswered(..)),
            _ => false,
        }
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

    /// Whether it takes workloads of that resource (`statefulsets`, `statefulsets/scale`), as far as a step may name them:
    /// no role grants it others. Pure.
    fn takes(&self, _resource: &str) -> bool {
        true
    }

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

    /// Whether a fault of the network with these fields could not be seen on the same target while this is in force.
    /// Pure.
    fn hides(&self, _injection: &Injection, _other: &Value) -> bool {
        false
    }

    /// What tells this one's dry run from those of other injections of the same fault into the same namespace. Pure.
    fn asks(&self, _injection: &Injection) -> String {
        String::new()
    }

    /// What a plan should say of this injection that takes reading more than the snapshot has. Refuses nothing.
    fn doubts<'a>(&'a self, _world: &'a World, _injection: &'a Injection) -> BoxFuture<'a, Vec<Finding>> {
        Box::pin(async { Vec::new() })
    }

    /// Whether it shows in nothing but the traffic of others that it meets, which is counted: where none is met over
    /// all its time, it has shown nothing. Pure.
    fn meets(&self) -> bool {
        false
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

    /// Stays with it while it is in force, following what it depends on, and returns, in words, when it has ended by
    /// itself. None where there is nothing to stay for.
    fn attend<'a>(&'a self, _world: &'a World, _injection: &'a Injection) -> Option<BoxFuture<'a, String>> {
        None
    }

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
    &container_kill::FAULT,
    &dependency_cut::DependencyCut,
    &hpa_clamp::HpaClamp,
    &network_latency::FAULT,
    &network_loss::FAULT,
    &network_partition::FAULT,
    &node_cordon::NodeCordon,
    &node_drain::NodeDrain,
    &node_taint::NodeTaint,
    &node_terminate::NodeTerminate,
    &pod_evict::PodEvict,
    &pod_kill::PodKill,
    &process_kill::FAULT,
    &rollout_restart::RolloutRestart,
    &scale::Scale,
    &zone_outage::ZoneOutage,
];

/// What is injected beside the faults that files name: no fault, and yet taken back like one.
pub static BESIDE: &[&dyn Fault] = &[&agent_pod::AgentPod, &load_pod::LoadPod];

/// Everything that may leave something to take back.
pub fn all() -> impl Iterator<Item = &'static dyn Fault> {
    FAULTS.iter().chain(BESIDE).copied()
}

/// What an injection says that it is of.
pub fn of(injection: &Injection) -> Option<&'static dyn Fault> {
    find(&injection.fault)
}

/// The fault called `name` in files or journals.
pub fn find(name: &str) -> Option<&'static dyn Fault> {
    FAULTS.iter().chain(BESIDE).copied().find(|fault| fault.info().name == name)
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
