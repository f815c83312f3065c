//! Journals whose Run is gone: what is in force of them goes back all the same, what is whole is left alone, and what
//! has been kept for long enough is deleted.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    keeping,
    reconcile::Record as OnRecord,
    seen::{RunSeen, owner, owns},
    work::on_record,
};
use crate::{
    cluster::{Access, ApiError, JournalFound, Segments},
    journal,
    types::{ObjectRef, RunId},
};

/// So many of them are looked at at once: there may be thousands, and whatever is to be done comes before them.
const AT_ONCE: usize = 4;

/// What was found by looking through all journals.
pub(super) struct Found {
    journals: Vec<JournalFound>,
    /// Of those whose Run is gone, those that have their end.
    whole: Vec<RunId>,
}

/// The journals being looked through.
pub(super) type Looking = BoxFuture<'static, LookedThrough>;

/// What was found in all of them.
pub(super) type LookedThrough = Result<Found, ApiError>;

/// Waits for it, if there is anything to wait for.
pub(super) async fn looked(looking: &mut Option<Looking>) -> LookedThrough {
    match looking {
        Some(looking) => looking.await,
        None => std::future::pending().await,
    }
}

/// What is known of journals.
#[derive(Default)]
pub(super) struct Orphans {
    /// All of them, when they were looked through last.
    journals: Vec<JournalFound>,
    /// Runs that are gone, and of which nothing is left to be done.
    settled: BTreeSet<RunId>,
    /// Runs that are gone, and whose journal has no end.
    open: BTreeMap<RunId, ObjectRef>,
}

impl Orphans {
    /// What need not be looked at once more.
    pub(super) fn known(&self) -> impl Iterator<Item = &RunId> {
        self.settled.iter().chain(self.open.keys())
    }

    /// All journals were looked through.
    pub(super) fn found(&mut self, found: Found) {
        self.settled.extend(found.whole);
        self.journals = found.journals;
        let there: BTreeSet<RunId> = self.journals.iter().filter_map(owner).map(|(run, _)| run).collect();
        self.settled.retain(|run| there.contains(run));
    }

    /// One was found that has no end.
    pub(super) fn left_open(&mut self, run: RunId, object: ObjectRef) {
        self.open.insert(run, object);
    }

    /// Nothing is left to be done of one.
    pub(super) fn settle(&mut self, run: RunId) {
        self.open.remove(&run);
        self.settled.insert(run);
    }

    /// Those to be brought to their end. A Run that was there a moment ago is none of them.
    pub(super) fn open(&mut self, runs: &BTreeMap<RunId, RunSeen>) -> Vec<(RunId, ObjectRef)> {
        self.open.retain(|run, _| !runs.contains_key(run));
        self.open.iter().map(|(run, object)| (run.clone(), object.clone())).collect()
    }

    /// The journals to be deleted, which are handed out once.
    pub(super) fn expired(&mut self, needed: &BTreeSet<RunId>, now: Timestamp) -> Vec<JournalFound> {
        keeping::expired(&std::mem::take(&mut self.journals), needed, now)
    }
}

/// Runs whose journals nobody may delete: those that are not over, and those that have left something behind, which is
/// put back from what their journals say.
pub(super) fn needed<'a>(runs: impl Iterator<Item = &'a RunSeen>) -> BTreeSet<RunId> {
    let needed = runs.filter(|run| !run.over() || run.finalizer || run.residue());
    needed.map(|run| run.id.clone()).collect()
}

/// Looks through all journals in a namespace. Of those that are not `known` only the last record is read; `open` hears
/// at once of each that has no end.
///
/// # Errors
/// The API server's.
pub(super) async fn look(
    access: Access,
    namespace: String,
    (known, open): (BTreeSet<RunId>, mpsc::UnboundedSender<(RunId, ObjectRef)>),
) -> Result<Found, ApiError> {
    let mut journals = Segments::list(&access, &namespace).await?;
    // What was written last is what may be in force.
    journals.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.run.cmp(&b.run)));
    let of = |journal: &JournalFound| owner(journal).filter(|(run, _)| !known.contains(run));
    let own = journals.iter().filter(|journal| owns(journal));
    let looked = own.filter_map(|found| Some((found, of(found)?))).map(|(found, (run, object))| {
        let (access, namespace, open) = (&access, &namespace, &open);
        async move {
            match Segments::end(access, namespace, found).await {
                Ok(end) if on_record(journal::last(&end).as_slice()) == OnRecord::Whole => Some(run),
                // One that cannot be read is somebody's to look at: the attempt says what is wrong with it.
                Ok(_) | Err(ApiError::Malformed(_)) => {
                    let _ = open.send((run, object));
                    None
                }
                Err(error) => {
                    tracing::warn!(%run, %error, "whether it has its end cannot be read yet");
                    None
                }
            }
        }
    });
    let looked = looked.collect::<Vec<_>>();
    let whole = futures::stream::iter(looked).buffer_unordered(AT_ONCE);
    let whole: Vec<Option<RunId>> = whole.collect().await;
    Ok(Found { journals, whole: whole.into_iter().flatten().collect() })
}

/// Deletes all journals of a Run.
///
/// # Errors
/// The API server's.
pub(super) async fn delete_of(access: &Access, namespace: &str, run: &RunId) -> Result<(), ApiError> {
    let journals = Segments::list(access, namespace).await?;
    let own = |journal: &&JournalFound| owner(journal).is_some_and(|(of, _)| of == *run);
    for journal in journals.iter().filter(own) {
        Segments::delete(access, namespace, journal).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_behind_is_put_back_from_a_journal_that_is_kept() {
        let seen = |name: &str, status: serde_json::Value| {
            let run = json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Run",
                "metadata": {"name": name, "namespace": "shop", "uid": name},
                "spec": {"experimentRef": {"name": "trial"}}, "status": status});
            RunSeen::read(&serde_json::from_value(run).expect("an object")).expect("a Run")
        };
        let runs = [
            seen("clean", json!({"phase": "Finished", "residue": {"count": 0}})),
            seen("left", json!({"phase": "Finished", "residue": {"count": 2}})),
            seen("going", json!({"phase": "Observing"})),
        ];
        assert_eq!(needed(runs.iter()), BTreeSet::from([runs[1].id.clone(), runs[2].id.clone()]));
    }
}
