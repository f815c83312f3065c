//! A Run as the API server has it, read leniently: what it cannot say is as if it were not there.

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::{
    api::{API_VERSION, Run, RunSpec},
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
            status: found.data.get("status").cloned().unwrap_or_default(),
            object,
        })
    }

    /// NAMESPACE/NAME.
    pub fn key(&self) -> String {
        key(&self.object)
    }

    /// Whether its status says that it is over.
    pub fn over(&self) -> bool {
        self.status["phase"].as_str() == Some("Finished")
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

/// NAMESPACE/NAME of a Run.
pub(super) fn key(object: &ObjectRef) -> String {
    format!("{}/{}", object.namespace, object.name)
}

/// What a Run is called in journals, leases and scars: its name, and five characters that follow from its UID,
/// for there may be others of that name.
pub fn run_id(object: &ObjectRef) -> RunId {
    // FNV-1a, 64 bits (Fowler, Noll and Vo).
    let hash = object.uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    RunId::new(&object.name, hash)
}
