//! Taking a run from whoever had it: its leases, then its journal.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

use super::{
    EngineError, Unwritten,
    keeper::{Keeper, Outside},
    state::State,
};
use crate::{
    cluster::{Access, ApiError, Lease, LeaseError, Tenure},
    env::{Env, Storage, StorageError},
    journal::{Entry, JournalError, Writer},
    types::{Epoch, RunId},
};

/// How long the leases of a dead replica's namespaces are waited for before they are taken: they were renewed a moment
/// later than the replica's own, and lapse a moment later.
const LEASES_LAPSE: Duration = Duration::from_secs(5);
/// How often they are looked at meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What is done about a lease that is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// Its owner is alive: the run stays theirs.
    Never,
    /// It is taken, whoever has it: somebody says so.
    Now,
    /// Its owner is known to be dead: it lapses in a moment, or is taken then.
    OnceLapsed,
}

/// Who is to own a run.
pub(super) struct Owner<'a> {
    /// The process.
    pub holder: &'a str,
    /// The person behind it.
    pub by: &'a str,
    /// Whether also of a run whose lease is fresh.
    pub take_over: TakeOver,
}

/// A run that was taken: its journal and its leases, of which nobody has been told yet.
pub(super) struct Taken {
    pub keeper: Keeper,
    pub writer: Writer,
    pub entries: Vec<Entry>,
    pub epoch: Epoch,
    /// Where its journal cannot be written any more.
    pub unwritten: Option<Unwritten>,
}

/// Takes a run from whoever had it.
pub(super) async fn take(
    env: &Env,
    access: &Access,
    (run, owner): (&RunId, Owner<'_>),
    outside_tx: mpsc::UnboundedSender<Outside>,
) -> Result<Taken, EngineError> {
    let begun = Instant::now();
    loop {
        let now = match owner.take_over {
            TakeOver::Never => false,
            TakeOver::Now => true,
            TakeOver::OnceLapsed => begun.elapsed() >= LEASES_LAPSE,
        };
        match attempt(env, access, (run, &owner, now), outside_tx.clone()).await {
            Err(EngineError::Lease(LeaseError::Held { tenure, .. }))
                if owner.take_over == TakeOver::OnceLapsed && tenure.run == *run =>
            {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            other => return other,
        }
    }
}

/// Takes it, if that may be now; `take_over`: also with a lease that is fresh.
async fn attempt(
    env: &Env,
    access: &Access,
    (run, owner, take_over): (&RunId, &Owner<'_>, bool),
    outside_tx: mpsc::UnboundedSender<Outside>,
) -> Result<Taken, EngineError> {
    let entries = crate::journal::read(&*env.storage, run)?;
    let state = State::replay(&entries)?;
    let epoch = Epoch(entries.iter().map(|entry| entry.epoch.0).max().unwrap_or(0) + 1);
    let tenure = Tenure {
        run: run.clone(),
        holder: owner.holder.to_owned(),
        by: owner.by.to_owned(),
        epoch,
        renewed: env.clock.now(),
        fresh: true,
        abort: None,
        acknowledged: false,
    };
    let namespaces = living(access, &state.header.namespaces).await?;
    let fresh = refuse_fresh(access, &namespaces, &tenure, take_over).await?;
    // The journal first: it is held by the runner as long as that lives on this machine.
    let (writer, entries, unwritten) = resume(&*env.storage, run, (epoch, entries))?;
    let leases = Keeper::acquire(access, &namespaces, &tenure, take_over).await?;
    let keeper = Keeper::start(leases, env.clock.clone(), outside_tx);
    if fresh {
        // What the former owner has sent, and may still send, comes first: then it is put back.
        tokio::time::sleep(Lease::LAST_WORD).await;
    }
    Ok(Taken { keeper, writer, entries, epoch, unwritten })
}

/// The journal to go on with; where the disk does not take anything, one that is kept in memory: what is in
/// force does not wait until there is room.
fn resume(
    storage: &dyn Storage,
    run: &RunId,
    (epoch, entries): (Epoch, Vec<Entry>),
) -> Result<(Writer, Vec<Entry>, Option<Unwritten>), JournalError> {
    match Writer::resume(storage, run, |_| epoch) {
        Ok((writer, entries)) => Ok((writer, entries, None)),
        Err(error @ JournalError::Storage(StorageError::Io { .. })) => {
            let unwritten = Unwritten { why: error.to_string(), entries: entries.clone() };
            Ok((Writer::lost(&entries, epoch), entries, Some(unwritten)))
        }
        Err(other) => Err(other),
    }
}

/// Leases live in namespaces; one that is gone or going holds nobody.
async fn living(access: &Access, namespaces: &[String]) -> Result<Vec<String>, ApiError> {
    let mut living = Vec::new();
    for namespace in namespaces {
        match access.get(&crate::types::ObjectRef::namespaced("v1", "Namespace", "", namespace)).await {
            Ok(found) if found.metadata.deletion_timestamp.is_some() => {}
            Err(ApiError::NotFound) => {}
            // Without the right to look it is taken to be there.
            Ok(_) | Err(ApiError::Forbidden(_)) => living.push(namespace.clone()),
            Err(error) => return Err(error),
        }
    }
    Ok(living)
}

/// Whether a fresh lease is to be taken from its owner.
async fn refuse_fresh(
    access: &Access,
    namespaces: &[String],
    wanted: &Tenure,
    take_over: bool,
) -> Result<bool, LeaseError> {
    let mut taken = false;
    for namespace in namespaces {
        if let Some(tenure) = Lease::read(access, namespace, wanted.renewed).await?
            && tenure.fresh
        {
            if !(take_over && tenure.run == wanted.run) {
                return Err(LeaseError::Held { namespace: namespace.clone(), tenure: Box::new(tenure) });
            }
            taken = true;
        }
    }
    Ok(taken)
}
