//! Going on without a journal: a disk that takes nothing any more is no reason to leave anything in force.

use tracing::{Instrument as _, Span};

use super::{EngineError, State, applying::TRIES, drive::Driver, spans, unwind};
use crate::{
    env::Storage,
    faults::{Injection, World},
    journal::{self, Entry, JournalError, Record, StopReason},
    types::InjectionId,
};

/// A run whose journal could not be written to its end.
#[derive(Clone, Debug)]
pub struct Unwritten {
    /// Why not.
    pub why: String,
    /// The whole run: what the journal holds, and what it does not.
    pub entries: Vec<Entry>,
}

impl Driver {
    /// The same for a journal that may not be writable any more.
    pub(super) fn note_anyhow(&mut self, record: Record, before: Vec<Entry>) -> Result<(), EngineError> {
        match self.append(record.clone()) {
            Err(EngineError::Journal(why)) => {
                self.go_on_unwritten(&why, before);
                self.append(record)
            }
            other => other,
        }
    }

    fn go_on_unwritten(&mut self, why: &JournalError, before: Vec<Entry>) {
        self.writer.lose();
        self.unwritten = Some(Unwritten { why: why.to_string(), entries: before });
    }

    /// Goes on without a journal: from here on everything is only put back.
    pub(super) fn lose_journal(&mut self, why: &JournalError, before: Vec<Entry>) -> Result<(), EngineError> {
        self.go_on_unwritten(why, before);
        if self.state.stop.is_some() || self.state.unattended {
            return Ok(());
        }
        self.append(Record::StopRequested { reason: StopReason::JournalLost, by: why.to_string() })
    }
}

/// What the journal holds of what has been taken in; a record of which only its durability is in doubt is not
/// among it. Without all of them there are none: half a run is not told.
pub(super) fn held(storage: &dyn Storage, state: &State) -> Vec<Entry> {
    let mut entries = journal::read(storage, &state.header.run).unwrap_or_default();
    entries.truncate(usize::try_from(state.written()).unwrap_or(usize::MAX));
    if entries.len() as u64 == state.written() { entries } else { Vec::new() }
}

/// The last thing to do when the journal cannot be written any more: everything is taken back all the same.
pub(super) async fn take_back_without_journal(
    world: World,
    injections: Vec<Injection>,
) -> Vec<(InjectionId, String)> {
    let reverts = injections.into_iter().map(|injection| {
        let world = world.clone();
        async move {
            let mut attempt = 1;
            let mut injection = injection;
            loop {
                let span = spans::revert(&Span::current(), &world.signature.run, (&injection, attempt));
                let unwound = unwind::revert(world.clone(), injection, attempt).instrument(span).await;
                match unwound.again {
                    Some((again, next)) if next <= TRIES => (injection, attempt) = (again, next),
                    _ => return (unwound.id.clone(), unwound.in_words()),
                }
            }
        }
    });
    futures::future::join_all(reverts).await
}
