//! The journal of a game day that the controller holds: what binds its experiments together. Each of those has a
//! journal of its own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Environment, Written};
use crate::types::{Finding, RunId, Verdict};

/// What happened on a game day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all_fields = "camelCase")]
pub enum DayRecord {
    /// It began.
    Began(Box<DayHeader>),
    /// Something was asked or measured before it went on.
    Asked {
        /// What, and what came of it.
        asked: Asked,
    },
    /// Somebody has observed something.
    Noted {
        /// In words.
        text: String,
        /// Who, and when.
        written: Written,
    },
    /// A part of it is run from here on, unless it was before.
    Playing {
        /// Its name: of the entry, or `prerequisite NAME`, or `steady before ENTRY`.
        part: String,
        /// The run, whose journal has the rest.
        run: RunId,
    },
    /// A part was refused before there was a journal of it.
    Refused {
        /// Its name.
        part: String,
        /// Why.
        findings: Vec<Finding>,
    },
    /// An entry is not run.
    Skipped {
        /// Its name.
        part: String,
        /// Why.
        why: String,
    },
    /// It is over.
    Over {
        /// What it meant.
        verdict: Verdict,
        /// CamelCase and stable.
        reason: String,
        /// In words.
        message: String,
        /// What a process that ran it alone would exit with.
        code: u8,
    },
}

/// A frozen copy of what is held: files that change later change nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DayHeader {
    /// The version of firedrill.
    pub version: String,
    /// The GameDay.
    pub game_day: Value,
    /// The experiment of each entry, in order.
    pub experiments: Vec<Value>,
    /// What is judged before each of them.
    pub between: Option<Value>,
    /// What is judged before anything begins, by prerequisite.
    pub prerequisites: Vec<(String, Value)>,
    /// Every choice follows from it.
    pub seed: u64,
    /// Who asked for it.
    pub by: String,
    /// Where.
    pub environment: Environment,
    /// The time of its schedule that it is for, in the zone's words; None: by hand.
    pub scheduled: Option<String>,
    /// The hash of what was asked, which approvals are bound to.
    pub hash: String,
    /// Who has agreed.
    pub approvals: Vec<String>,
}

/// Something that had to be so before the game day went on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// What: `prerequisite healthy`, `steady before pod-loss`, `gate zone-loss`.
    pub what: String,
    /// When it was answered.
    pub at: Timestamp,
    /// How long that took, in milliseconds.
    pub took_ms: u64,
    /// Whether it was so.
    pub holds: bool,
    /// What was found, or who said it.
    pub detail: String,
}
