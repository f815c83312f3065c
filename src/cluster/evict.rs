//! Evictions: parallel across budgets, in step with each one, woken by watches.
//!
//! How the server answers is in `facts.md`'s words: a budget without room is 429 with retry-after 0, one
//! that has not been observed 429 with 10, a pod under two budgets a permanent 500; and an eviction whose
//! precondition fails has already taken a slot for two minutes, so one looks first.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::{Either, join, select};
use tokio::{
    sync::MutexGuard,
    time::{Instant, sleep, timeout},
};

use super::{Access, ApiError, Mirror, Pdb, Pod, Snapshot, snapshot::Key};
use crate::types::{ObjectRef, planted};

/// How long to wait before a call that failed in passing is made again.
const RETRY: Duration = Duration::from_millis(500);
/// How long the watch may take to show what evictions did to their budget before the next is tried anyway.
const BUDGET_SEEN: Duration = Duration::from_secs(2);
/// What the server asks for at the most when it cannot tell the budget's room: registry/core/pod/storage/eviction.go
/// answers 429 with retry-after 10 then.
const NOT_OBSERVED: Duration = Duration::from_secs(10);
/// An eviction without an answer after this is most likely one that the server sleeps over: 500 ms for each conflict
/// with the disruption controller on the budget's status (`EvictionsRetry` there).
const CONFLICT: Duration = Duration::from_millis(60);
/// How long a look at a pod holds; the mirror is asked in any case.
const LOOK_HOLDS: Duration = Duration::from_secs(1);

/// What became of a pod that was to be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// The server has accepted it.
    Accepted,
    /// It was gone already, or is another pod of the same name by now.
    Gone,
}

/// All evictions of a run go through here, so that they keep step with each budget.
#[derive(Clone)]
pub struct Budgets {
    access: Access,
    mirror: Mirror,
    gates: Arc<Mutex<BTreeMap<Key, Arc<Gate>>>>,
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
        let Some(pdb) = self.mirror.look(|snapshot| snapshot.pdbs_of(pod).next().cloned()) else {
            return self.without_budget(pod, grace).await;
        };
        let gate = self.gate(&pdb);
        loop {
            let (shown, turn) = match self.turn(pod, &pdb, &gate).await {
                Ok(Some(turn)) => turn,
                Ok(None) => return Ok(Evicted::Gone),
                Err(error) => {
                    patience(error).await?;
                    continue;
                }
            };
            gate.sent(pod, &shown);
            let mut turn = Some(turn);
            let call = pin!(self.send(pod, grace, &mut turn));
            let again = pin!(self.again(pod, (&pdb, &gate), grace));
            let answer = match select(call, again).await {
                Either::Left((answer, _)) | Either::Right((answer @ Ok(()), _)) => answer,
                Either::Right((Err(_), call)) => call.await,
            };
            gate.answered(pod, &shown, &answer);
            match answer {
                Ok(()) => return Ok(Evicted::Accepted),
                Err(ApiError::NotFound | ApiError::Conflict(_)) => return Ok(Evicted::Gone),
                // The gate knows, and opens when there is room again.
                Err(ApiError::NoBudget { .. }) => {}
                Err(error) => patience(error).await?,
            }
        }
    }

    /// Sends an eviction, and lets others have their turn while the server sleeps over it.
    async fn send(
        &self,
        pod: &Pod,
        grace: Option<Duration>,
        turn: &mut Option<MutexGuard<'_, ()>>,
    ) -> Result<(), ApiError> {
        let mut call = pin!(self.access.evict(&pod.object, grace, false));
        match timeout(CONFLICT, &mut call).await {
            Ok(answer) => answer,
            Err(_) => {
                *turn = None;
                call.await
            }
        }
    }

    /// Asks once more for what the server sleeps over, once those who wait have had their turn: the last ones of a
    /// budget would sleep while nobody is in the way. The first call may find the pod gone then, having taken a slot
    /// in its name, which the controller gives back as soon as it looks: unless a pod of the same name has come.
    async fn again(
        &self,
        pod: &Pod,
        (pdb, gate): (&Pdb, &Gate),
        grace: Option<Duration>,
    ) -> Result<(), ApiError> {
        sleep(CONFLICT).await;
        let renamed = pod.owner.as_ref().is_some_and(|owner| owner.kind == "ReplicaSet");
        if renamed && let Ok(Some((_, turn))) = self.turn(pod, pdb, gate).await {
            return self.send(pod, grace, &mut Some(turn)).await;
        }
        std::future::pending().await
    }

    /// Waits for the pod's turn and for room in its budget, and looks at the pod meanwhile: the precondition of an
    /// eviction that fails would have burnt a slot of the budget. With the budget as the watch shows it then; None
    /// when the pod has gone.
    async fn turn<'a>(
        &self,
        pod: &Pod,
        pdb: &Pdb,
        gate: &'a Gate,
    ) -> Result<Option<(Arc<Pdb>, MutexGuard<'a, ()>)>, ApiError> {
        let next = gate.next.lock().await;
        let looked = Instant::now();
        let (there, turn) = join(self.is_there(pod), gate.turn.lock()).await;
        drop(next);
        let Some(shown) = self.room(pod, pdb, gate).await else { return Ok(None) };
        let there = if looked.elapsed() > LOOK_HOLDS { self.is_there(pod).await? } else { there? };
        Ok(there.then_some((shown, turn)))
    }

    async fn is_there(&self, pod: &Pod) -> Result<bool, ApiError> {
        match self.access.get(&pod.object).await {
            Ok(found) => Ok(found.metadata.deletion_timestamp.is_none()),
            Err(ApiError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn without_budget(&self, pod: &Pod, grace: Option<Duration>) -> Result<Evicted, ApiError> {
        loop {
            match self.access.evict(&pod.object, grace, false).await {
                Ok(()) => return Ok(Evicted::Accepted),
                Err(ApiError::NotFound | ApiError::Conflict(_)) => return Ok(Evicted::Gone),
                Err(ApiError::Terminating) => {
                    // The namespace takes it along; wait for that.
                    self.mirror
                        .wait_for_one(&pod.object, |now| now.pod(&pod.object).is_none().then_some(()))
                        .await;
                    return Ok(Evicted::Gone);
                }
                // A budget that has been made since: waiting is all there is.
                Err(ApiError::NoBudget { retry_after, .. }) => sleep(retry_after.max(RETRY)).await,
                Err(error) => patience(error).await?,
            }
        }
    }

    /// Waits until the budget has room for one more; None when the pod has gone meanwhile.
    async fn room(&self, pod: &Pod, pdb: &Pdb, gate: &Gate) -> Option<Arc<Pdb>> {
        let look = |snapshot: &Snapshot| {
            let Some(now) = snapshot.pod(&pod.object).filter(|pod| !pod.terminating) else {
                return Some(None);
            };
            match snapshot.pdbs.get(&key(pdb)) {
                Some(shown) => {
                    // Pending and finished pods are deleted without asking the budget.
                    let free = now.phase == "Pending" || now.finished();
                    (free || gate.room(pod, (shown, snapshot)) > 0).then(|| Some(shown.clone()))
                }
                None => Some(Some(Arc::new(pdb.clone()))),
            }
        };
        loop {
            // What the watch does not show in time is no longer waited for: time counts as a change, too.
            if let Ok(found) = timeout(BUDGET_SEEN, self.mirror.wait_for(look)).await {
                return found;
            }
        }
    }

    fn gate(&self, pdb: &Pdb) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(key(pdb)).or_default().clone()
    }
}

/// Keeps evictions in step with one budget: they begin one after another, for concurrent ones would conflict on
/// the budget's status, and never more of them than the budget has room for.
#[derive(Default)]
struct Gate {
    /// Of those who wait, one at a time looks at its pod.
    next: tokio::sync::Mutex<()>,
    /// One at a time is with the server, until it answers or sleeps.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

/// What is known of a budget beyond what the watch shows.
#[derive(Default)]
struct Known {
    /// Our evictions that the watch may not have counted yet, by pod.
    taken: BTreeMap<ObjectRef, Taken>,
    /// What the watch showed when the server last said that there is no room, and until when that is believed.
    refused: Option<(Arc<Pdb>, Instant)>,
}

/// A slot of a budget.
struct Taken {
    /// The budget as the watch showed it when the eviction was sent.
    of: Arc<Pdb>,
    /// Until when the watch may take to show it; None while there is no answer.
    until: Option<Instant>,
}

impl Taken {
    /// Whether what the watch shows now does not have it yet. It has when the budget names the pod, or when the
    /// budget has changed since and the pod is on its way out.
    fn hidden(&self, pod: &ObjectRef, shown: &Arc<Pdb>, snapshot: &Snapshot) -> bool {
        let late = self.until.is_some_and(|until| Instant::now() >= until);
        let leaves = || snapshot.pod(pod).is_none_or(|pod| pod.terminating);
        let counted = shown.disrupted.contains(&pod.name) || (!Arc::ptr_eq(&self.of, shown) && leaves());
        !late && !counted
    }
}

impl Gate {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more evictions the budget allows for this pod: what the watch shows less what it does not show yet
    /// of others.
    fn room(&self, pod: &Pod, (shown, snapshot): (&Arc<Pdb>, &Snapshot)) -> i32 {
        let mut known = self.known();
        let refused = known.refused.as_ref();
        let refused = refused.is_some_and(|(of, until)| Arc::ptr_eq(of, shown) && Instant::now() < *until);
        if refused || !shown.observed {
            return 0;
        }
        known.taken.retain(|pod, taken| taken.hidden(pod, shown, snapshot));
        if planted("taken-slots-not-counted") {
            known.taken.clear();
        }
        let taken = known.taken.keys().filter(|other| **other != pod.object).count();
        shown.allowed.saturating_sub(i32::try_from(taken).unwrap_or(i32::MAX))
    }

    fn sent(&self, pod: &Pod, shown: &Arc<Pdb>) {
        self.known().taken.insert(pod.object.clone(), Taken { of: shown.clone(), until: None });
    }

    fn answered(&self, pod: &Pod, shown: &Arc<Pdb>, answer: &Result<(), ApiError>) {
        let mut known = self.known();
        match answer {
            Ok(()) => {
                if let Some(taken) = known.taken.get_mut(&pod.object) {
                    taken.until = Some(Instant::now() + BUDGET_SEEN);
                }
            }
            Err(error) => {
                known.taken.remove(&pod.object);
                if let ApiError::NoBudget { retry_after, .. } = error {
                    // "Not observed yet" asks for 10 s: the controller has to catch up first.
                    let until = Instant::now() + (*retry_after).clamp(BUDGET_SEEN, NOT_OBSERVED);
                    known.refused = Some((shown.clone(), until));
                }
            }
        }
    }
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
