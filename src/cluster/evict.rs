//! Evictions: parallel across budgets, in step with each one, woken by watches.
//!
//! How the server answers is in `facts.md`'s words: a budget without room is 429 with retry-after 0, one
//! that has not been observed 429 with 10, a pod under two budgets a permanent 500; and an eviction whose
//! precondition fails has already taken a slot for two minutes, so one looks first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Access, ApiError, Mirror, Pdb, Pod, Snapshot, snapshot::Key};

/// How long to wait before a call that failed in passing is made again.
const RETRY: Duration = Duration::from_millis(500);
/// How long the watch may take to show what evictions did to their budget before the next is tried anyway.
const BUDGET_SEEN: Duration = Duration::from_secs(2);

/// What became of a pod that was to be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// The server has accepted it.
    Accepted,
    /// It was gone already, or is another pod of the same name by now.
    Gone,
}

/// All evictions of a run go through here, so that they take turns under each budget.
#[derive(Clone)]
pub struct Budgets {
    access: Access,
    mirror: Mirror,
    gates: Arc<Mutex<BTreeMap<Key, Arc<Gate>>>>,
}

/// Evictions under one budget take turns: concurrent ones would conflict on the budget's status, and the server
/// sleeps half a second over each conflict.
type Gate = tokio::sync::Mutex<Spent>;

/// What our evictions have taken of a budget since the watch showed it last, so that the next need not wait for
/// the watch as long as there is room. Where that is wrong the server says so.
#[derive(Default)]
struct Spent {
    of: Option<Arc<Pdb>>,
    evictions: i32,
}

impl Spent {
    /// Whether the watch shows the budget as it was when this was counted.
    fn is_of(&self, now: &Arc<Pdb>) -> bool {
        self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, now))
    }

    /// How many more it allows.
    fn left(&self, now: &Arc<Pdb>) -> i32 {
        if self.is_of(now) { now.allowed - self.evictions } else { now.allowed }
    }

    fn one_more(&mut self, now: &Arc<Pdb>) {
        if !self.is_of(now) {
            *self = Self { of: Some(now.clone()), evictions: 0 };
        }
        self.evictions += 1;
    }
}

impl Budgets {
    /// For one run.
    pub fn new(access: Access, mirror: Mirror) -> Self {
        Self { access, mirror, gates: Arc::default() }
    }

    /// Evicts `pod`, waiting for its budget as long as it takes.
    ///
    /// Cancel-safe: dropped half-way, the eviction may or may not have been accepted.
    ///
    /// # Errors
    /// What waiting does not mend: no right, two budgets, a lost lease.
    pub async fn evict(&self, pod: &Pod, grace: Option<Duration>) -> Result<Evicted, ApiError> {
        let snapshot = self.mirror.snapshot();
        let Some(pdb) = snapshot.pdbs_of(pod).next().cloned() else {
            return self.without_budget(pod, grace).await;
        };
        let gate = self.gate(&pdb);
        let mut spent = gate.lock().await;
        loop {
            let Some(pdb) = self.room(pod, &pdb, &spent).await else {
                return Ok(Evicted::Gone);
            };
            // Look first: a failed precondition would burn a slot of the budget.
            match self.access.get(&pod.object).await {
                Ok(found) if found.metadata.deletion_timestamp.is_some() => return Ok(Evicted::Gone),
                Ok(_) => {}
                Err(ApiError::NotFound) => return Ok(Evicted::Gone),
                Err(error) => {
                    patience(error).await?;
                    continue;
                }
            }
            match self.access.evict(&pod.object, grace, false).await {
                Ok(()) => {
                    spent.one_more(&pdb);
                    return Ok(Evicted::Accepted);
                }
                Err(ApiError::NotFound | ApiError::Conflict(_)) => return Ok(Evicted::Gone),
                Err(ApiError::NoBudget { retry_after, .. }) => self.wait_for_budget(&pdb, retry_after).await,
                Err(error) => patience(error).await?,
            }
        }
    }

    async fn without_budget(&self, pod: &Pod, grace: Option<Duration>) -> Result<Evicted, ApiError> {
        loop {
            match self.access.evict(&pod.object, grace, false).await {
                Ok(()) => return Ok(Evicted::Accepted),
                Err(ApiError::NotFound | ApiError::Conflict(_)) => return Ok(Evicted::Gone),
                Err(ApiError::Terminating) => {
                    // The namespace takes it along; wait for that.
                    self.mirror.wait_for(|snapshot| snapshot.pod(&pod.object).is_none().then_some(())).await;
                    return Ok(Evicted::Gone);
                }
                // A budget that has been made since: waiting is all there is.
                Err(ApiError::NoBudget { retry_after, .. }) => sleep(retry_after.max(RETRY)).await,
                Err(error) => patience(error).await?,
            }
        }
    }

    /// Waits until the budget has room; None when the pod has gone meanwhile.
    async fn room(&self, pod: &Pod, pdb: &Pdb, spent: &Spent) -> Option<Arc<Pdb>> {
        let look = |snapshot: &Snapshot, left: &dyn Fn(&Arc<Pdb>) -> i32| {
            if snapshot.pod(&pod.object).is_none_or(|pod| pod.terminating) {
                return Some(None);
            }
            match snapshot.pdbs.get(&key(pdb)) {
                // Pending and finished pods are deleted without asking the budget.
                Some(now) if (left(now) > 0 && now.observed) || !counted(snapshot.pod(&pod.object)) => {
                    Some(Some(now.clone()))
                }
                Some(_) => None,
                None => Some(Some(Arc::new(pdb.clone()))),
            }
        };
        let room = self.mirror.wait_for(|snapshot| look(snapshot, &|now| spent.left(now)));
        match tokio::time::timeout(BUDGET_SEEN, room).await {
            Ok(found) => found,
            // The watch owes us an answer to what we have taken: what it shows may be all there will be.
            Err(_) => self.mirror.wait_for(|snapshot| look(snapshot, &|now| now.allowed)).await,
        }
    }

    /// Waits until the watch shows the budget anew, so that the next does not ask in vain.
    async fn seen(&self, before: &Arc<Pdb>) {
        let changed = self.mirror.wait_for(|snapshot| {
            let now = snapshot.pdbs.get(&key(before));
            now.is_none_or(|now| !Arc::ptr_eq(now, before)).then_some(())
        });
        let _ = tokio::time::timeout(BUDGET_SEEN, changed).await;
    }

    /// The server says no room: wait for a change of the budget, for as long as it asks to at the least.
    async fn wait_for_budget(&self, before: &Arc<Pdb>, retry_after: Duration) {
        let start = Instant::now();
        self.seen(before).await;
        // "Not observed yet" asks for 10 s: the controller has to catch up first.
        let rest = retry_after.min(Duration::from_secs(10)).saturating_sub(start.elapsed());
        if !rest.is_zero() && !self.mirror.snapshot().pdbs.get(&key(before)).is_some_and(|pdb| pdb.observed) {
            sleep(rest).await;
        }
    }

    fn gate(&self, pdb: &Pdb) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(key(pdb)).or_default().clone()
    }
}

fn counted(pod: Option<&Arc<Pod>>) -> bool {
    pod.is_some_and(|pod| pod.phase != "Pending" && !pod.finished())
}

fn key(pdb: &Pdb) -> Key {
    (pdb.object.namespace.clone(), pdb.object.name.clone())
}

/// Waits out what passes by itself, and hands back what does not.
async fn patience(error: ApiError) -> Result<(), ApiError> {
    // A 500 on eviction is two budgets over one pod: for ever (registry/core/pod/storage/eviction.go).
    let permanent =
        matches!(&error, ApiError::Server { code: 500, message } if message.contains("PodDisruptionBudget"));
    if permanent || !error.is_transient() {
        return Err(error);
    }
    sleep(error.retry_after().unwrap_or(RETRY).max(RETRY)).await;
    Ok(())
}
