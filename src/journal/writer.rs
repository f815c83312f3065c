//! Appending and reading back.

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{Damage, Entry, Record, decode, encode};
use crate::{
    env::{Log, Storage, StorageError},
    types::{Epoch, RunId, planted},
};

/// Why a journal cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Where it is kept does not play along.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is there is damaged.
    #[error("journal of run {run}: {damage}")]
    Damaged {
        /// Which run.
        run: RunId,
        /// How.
        damage: Damage,
    },
    /// A record that cannot be written.
    #[error("a record cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// Somebody with a higher epoch has written since.
    #[error("epoch {mine} is not the owner of run {run}: epoch {theirs} is")]
    Superseded {
        /// Which run.
        run: RunId,
        /// Ours.
        mine: Epoch,
        /// The one in the journal.
        theirs: Epoch,
    },
}

/// The open end of a run's journal, held alone.
pub struct Writer {
    log: Box<dyn Log>,
    next: u64,
    epoch: Epoch,
}

/// Where entries go that nothing holds.
struct Nowhere;

impl Log for Nowhere {
    fn append(&mut self, _: &[u8], _: bool) -> Result<(), StorageError> {
        Ok(())
    }

    fn truncate(&mut self, _: u64) -> Result<(), StorageError> {
        Ok(())
    }
}

/// All whole entries of a run's journal; a torn tail is not among them.
///
/// # Errors
/// No journal, or damage in its middle.
pub fn read(storage: &dyn Storage, run: &RunId) -> Result<Vec<Entry>, JournalError> {
    let bytes = storage.read(run)?;
    let (entries, _) = decode(&bytes).map_err(|damage| JournalError::Damaged { run: run.clone(), damage })?;
    Ok(entries)
}

impl Writer {
    /// Begins a journal.
    pub fn create(storage: &dyn Storage, run: &RunId, epoch: Epoch) -> Result<Self, JournalError> {
        Ok(Self { log: storage.create(run)?, next: 0, epoch })
    }

    /// Goes on with a journal as a new owner: its torn tail is cut off, its entries handed back.
    ///
    /// # Errors
    /// [`JournalError::Superseded`] unless `epoch` is above all that have written.
    pub fn resume(
        storage: &dyn Storage,
        run: &RunId,
        epoch: impl FnOnce(Epoch) -> Epoch,
    ) -> Result<(Self, Vec<Entry>), JournalError> {
        // Held alone before it is read: nobody appends in between.
        let mut log = storage.append(run)?;
        let bytes = storage.read(run)?;
        let (entries, length) =
            decode(&bytes).map_err(|damage| JournalError::Damaged { run: run.clone(), damage })?;
        let theirs = entries.iter().map(|entry| entry.epoch).max().unwrap_or(Epoch(0));
        let mine = epoch(theirs);
        if mine <= theirs && !planted("lower-epoch-accepted") {
            return Err(JournalError::Superseded { run: run.clone(), mine, theirs });
        }
        if length < bytes.len() && !planted("torn-tail-not-cut") {
            log.truncate(length as u64)?;
        }
        let next = entries.len() as u64;
        Ok((Self { log, next, epoch: mine }, entries))
    }

    /// Writes one record; what others rely on is durable when this returns.
    pub fn append(&mut self, at: Timestamp, record: Record) -> Result<Entry, JournalError> {
        let durable = must_survive(&record);
        let entry = Entry { seq: self.next, at, epoch: self.epoch, record };
        self.log.append(&encode(&entry)?, durable)?;
        if settles(&entry.record) {
            self.log.hasten();
        }
        self.next += 1;
        Ok(entry)
    }

    /// A writer for entries that cannot be written: it numbers them and keeps nothing.
    ///
    /// `entries`: what there is of the journal.
    pub fn lost(entries: &[Entry], epoch: Epoch) -> Self {
        Self { log: Box::new(Nowhere), next: entries.len() as u64, epoch }
    }

    /// From here on what is appended is numbered and goes nowhere: a run whose journal cannot be written any more
    /// is put back all the same.
    pub fn lose(&mut self) {
        self.log = Box::new(Nowhere);
    }

    /// Resolves when what has been appended so far is where the death of this process cannot reach it: what an
    /// injection waits for. Never, if that cannot be had any more.
    pub fn durable(&self) -> BoxFuture<'static, ()> {
        self.log.durable()
    }

    /// The epoch that it writes with.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// What decides what to undo survives the death of the machine: one durable write a step, not one a target.
/// Samples, notes and the outcome of each target need not: what may have happened is treated as having happened,
/// and to put back once more what is back already does nothing.
fn must_survive(record: &Record) -> bool {
    if planted("intent-not-durable") && matches!(record, Record::InjectIntended { .. }) {
        return false;
    }
    !matches!(
        record,
        Record::Sampled { .. }
            | Record::Noted { .. }
            | Record::StepEnded { .. }
            | Record::RevertStarted { .. }
            | Record::TemplateWritten { .. }
            | Record::BroughtBack { .. }
            | Record::Injected { .. }
            | Record::EffectSeen { .. }
            | Record::Reverted { .. }
            | Record::RevertFailed { .. }
    )
}

/// What tells whether an injection has happened: without it a survivor cannot go on with the run.
fn settles(record: &Record) -> bool {
    matches!(record, Record::Injected { .. } | Record::EffectSeen { .. } | Record::Reverted { .. })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{
        journal::{InjectOutcome, RevertOutcome},
        types::InjectionId,
    };

    /// Counts durable writes.
    struct Counted(Arc<Mutex<u32>>);

    impl Log for Counted {
        fn append(&mut self, _: &[u8], durable: bool) -> Result<(), StorageError> {
            *self.0.lock().expect("one test") += u32::from(durable);
            Ok(())
        }

        fn truncate(&mut self, _: u64) -> Result<(), StorageError> {
            Ok(())
        }
    }

    #[test]
    fn a_step_is_made_durable_once_and_not_for_each_target() {
        let synced = Arc::new(Mutex::new(0));
        let mut writer = Writer { log: Box::new(Counted(synced.clone())), next: 0, epoch: Epoch(1) };
        let mut append = |record| writer.append(Timestamp::UNIX_EPOCH, record).expect("is written");
        append(Record::InjectIntended {
            step: "kill".to_owned(),
            injections: Vec::new(),
            owners: Vec::new(),
        });
        for number in 0..100 {
            let injection = InjectionId::new("kill", number);
            let (done, detail) = (InjectOutcome::Done, String::new());
            append(Record::Injected { injection: injection.clone(), outcome: done, detail });
            append(Record::EffectSeen { injection: injection.clone(), evidence: String::new() });
            let (outcome, detail) = (RevertOutcome::Restored, String::new());
            append(Record::Reverted { injection, outcome, detail, met: None });
        }
        assert_eq!(*synced.lock().expect("one test"), 1, "the intent");
        append(Record::AllReverted { residue: Vec::new() });
        assert_eq!(*synced.lock().expect("one test"), 2, "and that everything is back");
    }
}
