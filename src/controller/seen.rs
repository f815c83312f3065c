//! A Run as the API server has it, read leniently: what it cannot say is as if it were not there.

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

use super::HANDS;
use crate::{
    api::{API_VERSION, Run, RunSpec},
    cluster::JournalFound,
    types::{ObjectRef, Phase, RunId},
};

/// Held on a Run while there may be something to put back.
pub const FINALIZER: &str = "firedrill.dev/revert";

/// A Run, as it was seen last.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSeen {
    /// The object, with its UID.
    pub object: ObjectRef,
    /// What it is called in journals, leases and scars.
    pub id: RunId,
    /// What it says; Err: why that cannot be read.
    pub spec: Result<RunSpec, String>,
    /// Of its spec, which counts up with every change.
    pub generation: i64,
    /// When it was made.
    pub created: Timestamp,
    /// Whether somebody has deleted it.
    pub deleted: bool,
    /// Whether our finalizer is on it.
    pub finalizer: bool,
    /// Who aborted it, who held it, who let it go on; empty: nobody says.
    pub hands: [String; 3],
    /// Its status, as it is.
    pub status: Value,
}

impl RunSeen {
    /// Reads one; None if it is no object of that kind.
    pub fn read(found: &DynamicObject) -> Option<Self> {
        let metadata = &found.metadata;
        let mut object = ObjectRef::namespaced(
            API_VERSION,
            "Run",
            metadata.namespace.as_deref()?,
            metadata.name.as_deref()?,
        );
        object.uid = metadata.uid.clone()?;
        let value = serde_json::json!({
            "metadata": {"name": object.name, "namespace": object.namespace},
            "spec": found.data.get("spec").cloned().unwrap_or_default(),
        });
        Some(Self {
            id: run_id(&object),
            spec: Run::from_value(&value).map(|run| run.spec).map_err(|error| error.to_string()),
            generation: metadata.generation.unwrap_or(0),
            created: metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0),
            deleted: metadata.deletion_timestamp.is_some(),
            finalizer: metadata.finalizers.iter().flatten().any(|held| held == FINALIZER),
            hands: HANDS.map(|key| {
                metadata
                    .annotations
                    .iter()
                    .flatten()
                    .find(|(own, _)| *own == key)
                    .map(|(_, by)| by.clone())
                    .unwrap_or_default()
            }),
            status: found.data.get("status").cloned().unwrap_or_default(),
            object,
        })
    }

    /// Who has set `spec.abort`, in words.
    pub fn aborted(&self) -> String {
        by(&self.hands[0], "spec.abort")
    }

    /// Who has set `spec.hold`, or taken it back, in words.
    pub fn held(&self) -> String {
        let held = self.spec.as_ref().is_ok_and(|spec| spec.hold);
        by(&self.hands[if held { 1 } else { 2 }], &format!("spec.hold is {held}"))
    }

    /// NAMESPACE/NAME.
    pub fn key(&self) -> String {
        key(&self.object)
    }

    /// Whether it is of a GameDay.
    pub fn is_day(&self) -> bool {
        self.game_day().is_some()
    }

    /// The GameDay that it is of.
    pub fn game_day(&self) -> Option<&str> {
        Some(self.spec.as_ref().ok()?.game_day_ref.as_ref()?.name.as_str())
    }

    /// Whether its status says that it is over.
    pub fn over(&self) -> bool {
        self.status["phase"].as_str() == Some("Finished")
    }

    /// Whether anything of it was tried: a Baseline has begun at least. One that was refused, or ended while it waited,
    /// was not held.
    pub fn began(&self) -> bool {
        let begun = |status: &Value| status["startTime"].is_string();
        match self.status["experiments"].as_array() {
            Some(experiments) => experiments.iter().any(begun),
            None => begun(&self.status) && self.status["verdict"] != "Refused",
        }
    }

    /// When it was over.
    pub fn completed(&self) -> Option<Timestamp> {
        self.status["completionTime"].as_str()?.parse().ok()
    }

    /// Whether something of it could not be put back.
    pub fn residue(&self) -> bool {
        self.status["residue"]["count"].as_u64().unwrap_or(0) > 0
    }

    /// Where its status says that it is.
    pub fn phase(&self) -> Option<Phase> {
        serde_json::from_value(self.status["phase"].clone()).ok()
    }
}

/// The Run that a journal is of, and what that is called: the journals of a game day's parts are its own.
pub(super) fn owner(journal: &JournalFound) -> Option<(RunId, ObjectRef)> {
    let (namespace, name) = journal.object.split_once('/')?;
    let mut object = ObjectRef::namespaced(API_VERSION, "Run", namespace, name);
    object.uid.clone_from(&journal.uid);
    // One without is as it is called.
    let id = if journal.uid.is_empty() { journal.run.clone() } else { run_id(&object) };
    Some((id, object))
}

/// Whether a journal is that of the Run itself, and not of a part of a game day.
pub fn owns(journal: &JournalFound) -> bool {
    owner(journal).is_some_and(|(run, _)| run == journal.run)
}

fn by(who: &str, what: &str) -> String {
    if who.is_empty() { what.to_owned() } else { format!("{who} ({what})") }
}

/// NAMESPACE/NAME of a Run.
pub(super) fn key(object: &ObjectRef) -> String {
    format!("{}/{}", object.namespace, object.name)
}

/// What a Run is called in journals, leases and scars: its name, and five characters that follow from its UID,
/// for there may be others of that name.
pub fn run_id(object: &ObjectRef) -> RunId {
    RunId::new(&object.name, hash(object.uid.bytes()))
}

/// What a part of a game day's Run is called there: after the Run and the part.
pub fn part_id(object: &ObjectRef, part: &str) -> RunId {
    let name = format!("{}-{}", object.name, part.replace(' ', "-"));
    RunId::new(&name, hash(object.uid.bytes().chain(*b"/").chain(part.bytes())))
}

/// FNV-1a, 64 bits (Fowler, Noll and Vo).
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
