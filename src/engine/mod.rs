//! The state machine of a run, and the one loop that acts.
//!
//! `state` folds records into where the run is, `next` says what comes next (both pure), and `drive` alone
//! awaits the world. Resuming is replaying the journal followed by the same loop. The engine names no fault
//! and no probe: both come from their registries.

mod agents;
mod applying;
mod arming;
mod assess;
mod awaited;
mod by_hand;
mod clocks;
mod crowd;
mod deployed;
mod doctor;
mod drive;
mod ending;
#[cfg(test)]
mod fixture;
mod going_on;
mod guarding;
mod injection;
mod judging;
mod keeper;
mod loading;
mod loads;
mod losses;
mod next;
mod noticing;
mod orders;
mod prepare;
mod preview;
mod resumable;
mod rollback;
mod rounds;
mod sampler;
mod spans;
mod start;
mod state;
mod steady;
mod taking;
mod traffic;
mod unseen;
mod unwind;
mod unwritten;

pub use assess::{Assessment, Request, assess};
pub use doctor::{Examined, examine};
pub use going_on::go_on;
pub use injection::{InjectionState, lasting};
pub use keeper::Outside;
pub use loads::LoadState;
pub use next::{Command, Patience, next};
pub use preview::{FieldChange, Preview, preview};
pub use resumable::put_back_because;
pub use rollback::{
    Leftover, Rollback, agents_left, clear_lapsed, close, closes, from_journal, from_journal_heard,
    from_scars, leftovers, revert_found,
};
pub use start::{Outcome, Start, run};
pub use state::{Illegal, State, StepState, Violation, transition};
pub use taking::TakeOver;
pub use unwritten::Unwritten;

use std::sync::Arc;

use crate::{
    cluster::{ApiError, LeaseError},
    journal::{Entry, JournalError},
    types::{InjectionId, RunId},
};

/// Is told of every record as it is written: live timelines.
pub type Observer = Arc<dyn Fn(&Entry) + Send + Sync>;

/// Why a run has no ordinary end.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What the journal says cannot be, or the API server could not be asked. Everything that was in force was
    /// taken back as far as it says.
    #[error("{error}")]
    JournalLost {
        /// Why.
        error: Box<EngineError>,
        /// What became of each injection.
        taken_back: Vec<(InjectionId, String)>,
    },
    /// The journal cannot be written or read; nothing was in force.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal says something that cannot be.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// Somebody else owns the run.
    #[error("run {0} is not ours any more: {1}; whoever took it over puts everything back")]
    Lost(RunId, String),
    /// A second Ctrl-C: left as it was.
    #[error("left run {0} as it was; `firedrill rollback {0}` puts everything back")]
    Left(RunId),
    /// The namespace cannot be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Others have begun at the same moment, and a Guardrail lets only so many be at work. Nothing was changed.
    #[error("{0}")]
    Crowded(String),
    /// The API server.
    #[error(transparent)]
    Api(#[from] ApiError),
}
