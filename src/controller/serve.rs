//! The loop of a replica: watches Runs and Leases, asks `reconcile` about each, and has it done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::Instrument as _;

use super::{
    Context, Settings,
    catalog::{Catalog, Where},
    deeds, object,
    orphans::{self, LookedThrough, Looking, Orphans, looked},
    people::{Answers, Heard},
    reconcile::{AGAIN, Claim, Desired, Here, Stop, brought_to_its_end, desired},
    renewing::{keep, set},
    roster::Roster,
    seen::RunSeen,
    slots::Slots,
    waiting::Waiting,
    work::{Job, work},
};
use crate::{
    api::API_VERSION,
    cluster::{
        Access, Change, LEASE_LABEL, Replica, ReplicaError, Segments, bury, follow, identity, leases_in,
    },
    engine::Outside,
    env::{Clock, Env, Rng},
    journal::StopReason,
    types::{ObjectRef, RunId},
};

/// How often everything is asked about again, whatever was missed.
const TICK: Duration = Duration::from_secs(1);
/// How often the journals are looked through: for those whose Run is gone, and for old ones.
const LOOK_AT_JOURNALS: Duration = Duration::from_secs(60);
/// How long putting everything back may take when the replica is told to end; then others go on with it. Less than
/// the grace period of a pod (30 s).
const DRAINED_WITHIN: Duration = Duration::from_secs(25);
/// How long what still goes on may take to see that it owns nothing any more.
const LOST_WITHIN: Duration = Duration::from_secs(5);

/// Why a controller ends before it is told to.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// It cannot even join.
    #[error("cannot join the replicas in namespace {namespace}: {error}")]
    Join {
        /// The controller's namespace.
        namespace: String,
        /// Why.
        error: ReplicaError,
    },
}

/// How an attendance ended.
enum Ended {
    /// As it was told to.
    Told,
    /// Others hold this replica for dead.
    Fenced,
}

/// Executes Runs until `shutdown`, then puts back what is in force, or hands it over.
///
/// # Errors
/// [`ControllerError::Join`]: without that it can do nothing.
pub async fn serve(
    env: Env,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ControllerError> {
    let settings = Arc::new(settings);
    // It is set by the API server's: nobody else's clock is to follow.
    let env = Env { kube: settings.metrics.counting(&env.kube), clock: env.clock.apart(), ..env };
    let access = Access::new(env.kube.clone());
    let mut shutdown = std::pin::pin!(shutdown.fuse());
    loop {
        let now = env.clock.now();
        // Each attendance has a name of its own: what was fenced off stays so.
        let nonce = u64::try_from(now.as_nanosecond()).unwrap_or(0) ^ env.rng.stream("replica").word();
        let name =
            RunId::new(&settings.name.to_lowercase(), Rng::new(nonce).stream("name").word()).to_string();
        let joined = Replica::join(&access, (&settings.namespace, &name), &settings.pod, now).await;
        let join = |error| ControllerError::Join { namespace: settings.namespace.clone(), error };
        let replica = joined.map_err(join)?;
        if let Some(right) = replica.server_time() {
            set(&env.clock, right);
        }
        // Where nobody can be asked who this is, the server says so when a Run is made.
        let by = identity(&access).await.map(|identity| identity.name).unwrap_or_default();
        tracing::info!(replica = name, namespace = settings.namespace, "joined");
        let context =
            Context { env: env.clone(), access: access.clone(), settings: settings.clone(), holder: name };
        match Desk::new(context, by).attend(replica, &mut shutdown).await {
            Ended::Told => return Ok(()),
            Ended::Fenced => {
                tracing::warn!("this replica was held for dead; it joins again under another name")
            }
        }
    }
}

/// A run that is worked on here.
struct Working {
    tx: mpsc::UnboundedSender<Outside>,
    answers: Answers,
    heard: Heard,
    stopped: bool,
}

/// Both ends of a way back to the desk.
type Way<T> = (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>);

/// Everything that a replica knows.
struct Desk {
    context: Context,
    runs: BTreeMap<RunId, RunSeen>,
    roster: Roster,
    working: BTreeMap<RunId, Working>,
    /// What has been worked on a moment ago: the watch may not show yet what came of it.
    rested: BTreeMap<RunId, Instant>,
    slots: Slots,
    /// What is told of Runs that nobody has taken up.
    waiting: Waiting,
    tasks: JoinSet<(RunId, bool)>,
    /// Runs that a list which is under way has not shown yet.
    unseen: BTreeSet<RunId>,
    /// Whether all were listed once.
    listed: bool,
    orphans: Orphans,
    /// Journals without an end whose Run is gone, as they are found.
    open: Way<(RunId, ObjectRef)>,
    catalog: Catalog,
    /// What could not be done.
    undone: Way<ObjectRef>,
    draining: bool,
    /// A clock that says what the API server's says.
    right: watch::Receiver<Option<Clock>>,
}

impl Desk {
    /// `by`: who this controller is to the API server.
    fn new(context: Context, by: String) -> Self {
        Self {
            roster: Roster::new(&context.holder),
            catalog: Catalog::new(by, context.settings.metrics.clone()),
            slots: Slots::new(context.settings.at_once),
            waiting: Waiting::default(),
            context,
            runs: BTreeMap::new(),
            working: BTreeMap::new(),
            rested: BTreeMap::new(),
            tasks: JoinSet::new(),
            unseen: BTreeSet::new(),
            listed: false,
            orphans: Orphans::default(),
            open: mpsc::unbounded_channel(),
            undone: mpsc::unbounded_channel(),
            draining: false,
            right: watch::channel(None).1,
        }
    }

    /// Does what there is to be done until it is told to end, or owns nothing any more.
    async fn attend(
        mut self,
        mut replica: Replica,
        shutdown: &mut (impl futures::future::FusedFuture<Output = ()> + Unpin),
    ) -> Ended {
        let access = self.context.access.beside();
        let namespace = self.context.settings.namespace.clone();
        let mut runs = follow(&access, &ObjectRef::namespaced(API_VERSION, "Run", "", ""), "");
        let mut files = Catalog::follow(&access);
        let mut leases = follow(&access, &leases_in(&namespace), LEASE_LABEL);
        let mut journals: Option<Looking> = None;
        let (mut look, mut deadline) = (Instant::now(), None);
        let ended = {
            let (set, right) = watch::channel(None);
            self.right = right;
            let mut keeping = std::pin::pin!(keep(&mut replica, self.context.env.clock.clone(), set));
            loop {
                tokio::select! {
                    biased;
                    () = &mut *shutdown, if !self.draining => {
                        tracing::info!(working = self.working.len(), "ending: everything is put back first");
                        self.draining = true;
                        deadline = Some(Instant::now() + DRAINED_WITHIN);
                    }
                    fenced = &mut keeping => {
                        self.lose(&fenced).await;
                        break Ended::Fenced;
                    }
                    Some(done) = self.tasks.join_next() => self.done(done),
                    Some(change) = leases.next() => self.roster.take(change),
                    Some(change) = runs.next() => self.run(change),
                    Some(change) = files.next() => self.file(change),
                    Some((run, object)) = self.open.1.recv() => self.orphans.left_open(run, object),
                    Some(object) = self.undone.1.recv() => self.catalog.unwritten(&object),
                    found = looked(&mut journals) => {
                        journals = None;
                        self.found(found);
                    }
                    () = tokio::time::sleep(TICK) => {}
                }
                let listed = self.listed && self.roster.listed;
                self.context.settings.metrics.round(listed);
                if listed {
                    self.reconcile();
                    if journals.is_none() && Instant::now() >= look && !self.draining {
                        look = Instant::now() + LOOK_AT_JOURNALS;
                        journals = Some(self.look_through(&access).boxed());
                    }
                }
                if let Some(deadline) = deadline
                    && (self.working.is_empty() || Instant::now() >= deadline)
                {
                    tracing::info!(left = self.working.len(), "ended");
                    break Ended::Told;
                }
            }
        };
        // What could not be put back in time is aborted here and taken up by others: they see that nobody has it.
        self.tasks.shutdown().await;
        if matches!(ended, Ended::Told)
            && let Err(error) = replica.leave().await
        {
            tracing::warn!(%error, "the Lease of this replica could not be given back; it lapses by itself");
        }
        ended
    }

    /// Nothing here is ours any more.
    async fn lose(&mut self, why: &ReplicaError) {
        for working in self.working.values() {
            let _ = working.tx.send(Outside::Lost(why.to_string()));
        }
        let until = Instant::now() + LOST_WITHIN;
        while let Ok(Some(_)) = tokio::time::timeout_at(until, self.tasks.join_next()).await {}
    }

    fn done(&mut self, done: Result<(RunId, bool), tokio::task::JoinError>) {
        match done {
            Ok((run, ended)) => {
                self.working.remove(&run);
                if ended && !self.runs.contains_key(&run) {
                    self.orphans.settle(run.clone());
                }
                self.rested.insert(run, Instant::now());
            }
            Err(error) => {
                tracing::error!(%error, "a task has died; what it worked on is taken up again");
                // Which one is not said: those whose channel is closed have no task.
                self.working.retain(|_, working| !working.tx.is_closed());
            }
        }
    }

    fn run(&mut self, change: Change) {
        match change {
            Change::Listing => self.unseen = self.runs.keys().cloned().collect(),
            Change::Listed => {
                for gone in std::mem::take(&mut self.unseen) {
                    self.gone(&gone);
                }
                self.listed = true;
            }
            Change::Is(object) => {
                if let Some(run) = RunSeen::read(&object) {
                    self.unseen.remove(&run.id);
                    self.hear(&run);
                    self.runs.insert(run.id.clone(), run);
                }
            }
            Change::Gone(object) => {
                if let Some(run) = RunSeen::read(&object) {
                    self.gone(&run.id);
                }
            }
            Change::Broken(why) => tracing::warn!(why, "the watch on Runs broke off; it begins again"),
        }
    }

    /// A Run is gone, whoever took its finalizer away: what it has in force goes back.
    fn gone(&mut self, run: &RunId) {
        self.runs.remove(run);
        if let Some(working) = self.working.get_mut(run).filter(|working| !working.stopped) {
            working.stopped = true;
            let _ = working.tx.send(Outside::Stop(StopReason::Deleted, "the Run is gone".to_owned()));
        }
    }

    /// Hands on what is new in a Run that is worked on here.
    fn hear(&mut self, run: &RunSeen) {
        if let (Some(working), Ok(spec)) = (self.working.get_mut(&run.id), &run.spec) {
            working.answers.seen(run.generation);
            for news in working.heard.news(spec, &run.held(), &working.answers) {
                let _ = working.tx.send(news);
            }
        }
    }

    /// Takes in what a watch says: whoever waits where something has changed reads once more what it waits with.
    fn file(&mut self, change: (&'static str, Change)) {
        let Some(place) = self.catalog.take(change) else { return };
        for (run, working) in &self.working {
            let there =
                |namespace: &String| self.runs.get(run).is_some_and(|run| run.object.namespace == *namespace);
            if matches!(&place, Where::Anywhere) || matches!(&place, Where::In(namespace) if there(namespace))
            {
                working.answers.outdate();
            }
        }
    }

    fn here(&self, run: &RunId) -> Here {
        Here {
            working: self.working.contains_key(run),
            draining: self.draining,
            rested: self.rested.contains_key(run),
            room: self.slots.has_room(),
        }
    }

    fn reconcile(&mut self) {
        if let Some(right) = self.right.borrow().as_ref() {
            set(&self.context.env.clock, right.now());
        }
        let now = self.context.env.clock.now();
        self.rested.retain(|_, since| since.elapsed() < AGAIN);
        let runs: Vec<RunId> = self.runs.keys().cloned().collect();
        for id in runs {
            let Some(run) = self.runs.get(&id) else { continue };
            match desired(run, &self.roster.claim(&id), self.here(&id), now) {
                Desired::Wait(_) => {}
                Desired::Work(over) => self.take_up((id, run.object.clone()), over),
                Desired::Stop(stop) => self.stop(&id, stop),
                Desired::Expire => self.expire(run.object.clone(), id),
            }
        }
        let free = |run: &RunId| self.roster.claim(run) == Claim::Free;
        self.context.settings.metrics.see(self.runs.values(), free, now);
        self.orphans(now);
        self.bury_the_dead();
        // One of them keeps the calendar; two of them would do the same.
        if self.draining || !self.roster.leads() {
            self.catalog.rest();
        } else {
            let free = |run: &RunId| self.roster.claim(run) == Claim::Free && !self.working.contains_key(run);
            let waiting = self.waiting.deeds(&self.runs, free, now);
            for deed in self.catalog.deeds(&self.runs, now).into_iter().chain(waiting) {
                tokio::spawn(deeds::carry_out(self.context.clone(), deed, self.undone.0.clone()));
            }
        }
    }

    /// Journals and claims whose Run is gone: what is in force goes back all the same.
    fn orphans(&mut self, now: Timestamp) {
        let mut gone: BTreeMap<RunId, ObjectRef> = BTreeMap::new();
        for (run, object) in self.roster.claimed().filter(|(run, _)| !self.runs.contains_key(*run)) {
            let Some((namespace, name)) = object.split_once('/') else { continue };
            let mut object = ObjectRef::namespaced(API_VERSION, "Run", namespace, name);
            // One that nobody has: a UID that no object has either.
            "unknown".clone_into(&mut object.uid);
            gone.insert(run.clone(), object);
        }
        gone.extend(self.orphans.open(&self.runs));
        for (run, object) in gone {
            let here = Here { room: true, ..self.here(&run) };
            if let Desired::Work(over) = brought_to_its_end(&self.roster.claim(&run), here) {
                self.take_up((run, object), over);
            }
        }
        let mut needed = orphans::needed(self.runs.values());
        needed.extend(self.roster.claimed().map(|(run, _)| run.clone()));
        needed.extend(self.working.keys().cloned());
        for journal in self.orphans.expired(&needed, now) {
            let (access, namespace) = (self.context.access.clone(), self.context.settings.namespace.clone());
            tokio::spawn(async move {
                if let Err(error) = Segments::delete(&access, &namespace, &journal).await {
                    tracing::warn!(run = %journal.run, %error, "an old journal could not be deleted");
                }
            });
        }
    }

    /// Looks through the journals: for those whose Run is gone, and for old ones.
    fn look_through(&self, access: &Access) -> impl Future<Output = LookedThrough> + Send + use<> {
        let known = self.runs.keys().chain(self.orphans.known()).chain(self.working.keys());
        let known = known.chain(self.roster.claimed().map(|(run, _)| run)).cloned().collect();
        let namespace = self.context.settings.namespace.clone();
        orphans::look(access.clone(), namespace, (known, self.open.0.clone()))
    }

    fn found(&mut self, found: LookedThrough) {
        match found {
            Ok(found) => self.orphans.found(found),
            Err(error) => tracing::warn!(%error, "the journals cannot be listed"),
        }
    }

    /// The Leases of replicas that are dead and have nothing any more.
    fn bury_the_dead(&mut self) {
        for name in self.roster.forget_dead() {
            let (access, namespace) = (self.context.access.clone(), self.context.settings.namespace.clone());
            tokio::spawn(async move {
                if let Err(error) = bury(&access, &namespace, &name).await {
                    tracing::warn!(replica = name, %error, "the Lease of a dead replica could not be deleted");
                }
            });
        }
    }

    fn take_up(&mut self, (id, object): (RunId, ObjectRef), over: Option<String>) {
        let (tx, rx) = mpsc::unbounded_channel();
        let answers = Answers::default();
        let over = over.map(|who| {
            let version = self.roster.version(&who);
            (who, version)
        });
        let working =
            Working { tx: tx.clone(), answers: answers.clone(), heard: Heard::default(), stopped: false };
        self.working.insert(id.clone(), working);
        if let Some(run) = self.runs.get(&id).cloned() {
            self.hear(&run);
        }
        let slot = self.slots.slot();
        // Every line of its log says which run it is about.
        let span = tracing::info_span!("work", run = %id);
        let job = Job { id, object, over, answers, slot, outside: (tx, rx) };
        self.tasks.spawn(work(self.context.clone(), job).instrument(span));
    }

    fn stop(&mut self, id: &RunId, stop: Stop) {
        let Some(working) = self.working.get_mut(id).filter(|working| !working.stopped) else { return };
        working.stopped = true;
        let aborted = || self.runs.get(id).map_or_else(String::new, RunSeen::aborted);
        let (reason, by) = match stop {
            Stop::Abort => (StopReason::UserAbort, aborted()),
            Stop::Deleted => (StopReason::Deleted, "it was deleted".to_owned()),
            Stop::Draining => (StopReason::Signal, "the controller ends".to_owned()),
        };
        let _ = working.tx.send(Outside::Stop(reason, by));
    }

    /// Deletes a Run that has been over for long enough, and its journal.
    fn expire(&mut self, object: ObjectRef, id: RunId) {
        let (tx, _) = mpsc::unbounded_channel();
        let working = Working { tx, answers: Answers::default(), heard: Heard::default(), stopped: true };
        self.working.insert(id.clone(), working);
        let (access, namespace) = (self.context.access.clone(), self.context.settings.namespace.clone());
        self.tasks.spawn(async move {
            let deleted = async {
                orphans::delete_of(&access, &namespace, &id).await?;
                object::delete(&access, &object).await
            };
            if let Err(error) = deleted.await {
                tracing::warn!(run = %id, %error, "a Run that has expired could not be deleted yet");
                tokio::time::sleep(LOOK_AT_JOURNALS).await;
            }
            (id, true)
        });
    }
}
