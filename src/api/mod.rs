//! The public format: text with spans into Experiments, schemas, explanations.
//!
//! [`read`] turns texts into documents and findings; [`schema`] is the one description of the format that
//! the checker, the CRDs ([`crds`]), the editors' schema ([`editors`]) and [`explain`] share.

pub mod check;
pub mod crds;
mod cron;
mod decode;
pub mod editors;
pub mod explain;
mod game_day;
mod guardrail;
mod hours;
mod note;
mod notification;
mod objectives;
pub mod planned;
mod run;
pub mod schema;
mod types;
pub mod yaml;

pub use check::{Document, Read, Source as SourceText, read, read_with};
pub use cron::{Cron, CronError, Due, Shift};
pub use game_day::{
    Act, Acts, Cadence, ConcurrencyPolicy, Confirmation, Consents, Entry, GATE, GameDay, GameDayLimits,
    GameDaySpec, Gate, OnFailure, PREREQUISITES, ParameterValue, Person, Prerequisite,
};
pub use guardrail::{Approvals, Blackout, FaultRules, Guardrail, GuardrailSpec, NodeRules, Window};
pub use hours::{Closed, Hours, is_day};
pub use note::{ActionItem, Observation, OpenAction, open_actions};
pub use notification::{NoticeEvent, Notification, SlackHook, Webhook};
pub use objectives::{Limits, Objectives, Rpo};
pub use run::{Approval, LocalRef, Run, RunSpec, StepAction, StepAnswer, account_of};
pub use types::*;
