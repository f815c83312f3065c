//! Scars: what an object that we changed carries, in the same write, to be undone from anywhere.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::types::{Epoch, RunId};

/// The label that names the run whose change an object carries.
pub const RUN_LABEL: &str = "firedrill.dev/run";
/// Annotations under this prefix say how to undo one injection each.
pub const UNDO_PREFIX: &str = "undo.firedrill.dev/";

/// The text of one undo annotation: who, when, until when, what to put back.
///
/// A claim by whoever may write that object: it names no other object, and the fault kind that it names
/// validates it like any input before anything is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scar {
    /// The run.
    pub run: RunId,
    /// The fault kind, whose fields alone may be undone.
    pub fault: String,
    /// The owner's epoch when it was made.
    pub epoch: Epoch,
    /// Who asked for it.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
    /// When it should have been undone at the latest, RFC 3339.
    pub until: String,
    /// The command that undoes it.
    pub undo_with: String,
    /// The before-image of the fault kind's own fields.
    pub before: Value,
}
