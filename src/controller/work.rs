//! One run in the hands of this replica: claimed, brought to its end as its journal asks, let go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use super::{
    Context, agents,
    begin::{self, No},
    claiming::take,
    events::Events,
    going_on,
    held::{self, PartTold},
    notices::Notices,
    object,
    people::{Answers, observe},
    reconcile::{AGAIN, Course, Record as OnRecord, course},
    seen::{RunSeen, key, run_id},
    slots::Slot,
    status::{About, Progress, Writer},
};
use crate::{
    cluster::{
        self, Acting, ApiError, LeaseError, ReplicaError, SegmentPlace, SegmentTrouble, Segments, client_as,
    },
    engine::{self, EngineError, Outside, Rollback, TakeOver},
    env::{Env, NoAgents, Storage as _},
    journal::{self, DayRecord, Entry, Header, JournalError, Record, StopReason},
    types::{ObjectRef, RunId, Verdict},
};

/// Until then reverting is tried: a controller never gives up.
pub(super) const FOR_EVER: Duration = Duration::from_secs(50 * 365 * 24 * 3600);
/// How long the token of a pod that was deleted may still be good (the authenticator's cache).
pub(super) const TOKEN_LIVES: Duration = Duration::from_secs(11);
/// How long the last words of a Run are tried to be written.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// Why a run was not brought to its end this time; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    /// Another replica has it.
    #[error("another replica has it")]
    Taken,
    /// Its time has come, and there is no room for it here.
    #[error("as many runs are at work here as may be: whoever has room takes it up")]
    Full,
    /// The API server.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The engine. Boxed: its errors are large.
    #[error(transparent)]
    Engine(Box<EngineError>),
}

impl From<ReplicaError> for WorkError {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::Api(error) => Self::Api(error),
            ReplicaError::Taken | ReplicaError::Fenced(_) => Self::Taken,
        }
    }
}

impl From<EngineError> for WorkError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Lost(..) => Self::Taken,
            other => Self::Engine(Box::new(other)),
        }
    }
}

/// A run to be brought to its end.
pub(super) struct Job {
    /// What it is called.
    pub id: RunId,
    /// The Run, with its UID.
    pub object: ObjectRef,
    /// The dead replica that had it, and the version at which its Lease stood still.
    pub over: Option<(String, String)>,
    /// What people say.
    pub answers: Answers,
    /// Its place among those that are carried out here.
    pub slot: Slot,
    /// The way to the engine, both ends.
    pub outside: (mpsc::UnboundedSender<Outside>, mpsc::UnboundedReceiver<Outside>),
}

/// A run that is being worked on.
pub(super) struct Case {
    pub context: Context,
    pub id: RunId,
    /// The Run, with its UID.
    pub object: ObjectRef,
    pub segments: Segments,
    pub entries: Vec<Entry>,
    /// None: the Run is gone.
    pub told: Option<(RunSeen, Writer)>,
    pub answers: Answers,
    /// Its place among those that are carried out here.
    pub slot: Slot,
    /// Whoever is told of what happens in it.
    pub part: Option<PartTold>,
    /// Whoever is told of it as a whole.
    pub notices: Option<Notices>,
    /// The hash that somebody was told to agree to last.
    pub asked: String,
    /// The entry of a game day that it is; None: it is a Run by itself, or the game day as a whole.
    pub entry: Option<String>,
    /// Why it does not begin, of which nobody has been told yet: verdict, reason, words.
    pub not_begun: Option<(Verdict, &'static str, String)>,
    pub outside: (mpsc::UnboundedSender<Outside>, mpsc::UnboundedReceiver<Outside>),
}

/// Works on a run until it is over, or until it cannot be gone on with here; whether it is over.
pub(super) async fn work(context: Context, job: Job) -> (RunId, bool) {
    let id = job.id.clone();
    let _working = context.settings.metrics.working(&id);
    let done = attempt(context, job).await;
    let over = done.is_ok();
    match done {
        Ok(()) => tracing::info!(run = %id, "done"),
        Err(WorkError::Taken) => tracing::info!(run = %id, "another replica has it"),
        Err(error @ WorkError::Full) => tracing::info!(run = %id, %error, "let go"),
        Err(error) => {
            tracing::warn!(run = %id, %error, "it could not be brought to its end; it is tried again");
            tokio::time::sleep(AGAIN).await;
        }
    }
    (id, over)
}

async fn attempt(context: Context, job: Job) -> Result<(), WorkError> {
    let taken = Instant::now();
    let dead_pod = take(&context, &job).await?;
    let run = object::read(&context.access, &job.object).await?;
    let (segments, entries) = opened(&context, (&job.id, &job.object), &job.outside.0).await?;
    let mut progress = Progress::default();
    entries.iter().for_each(|entry| progress.on(entry));
    context.settings.metrics.replay(&job.id, &entries);
    let course = course(run.as_ref(), on_record(&entries), context.env.clock.now());
    tracing::info!(run = %job.id, ?course, records = entries.len(), "claimed");
    let seed = header(&entries).map(|header| header.seed);
    let told = run.map(|run| {
        let seed = seed.or_else(|| run.spec.as_ref().ok()?.seed).or_else(|| run.status["seed"].as_u64());
        let about = About { holder: context.holder.clone(), seed, journal: segments.size() };
        let writer = Writer::new(&context.access, (run.clone(), job.answers.clone()), progress, about);
        (run, writer)
    });
    let Job { id, object, answers, slot, outside, .. } = job;
    let mut case = Case {
        context,
        id,
        object,
        segments,
        entries,
        told,
        answers,
        slot,
        part: None,
        notices: None,
        asked: String::new(),
        entry: None,
        not_begun: None,
        outside,
    };
    let (silent, of_day) = (course == Course::LetGo, case.of_day());
    match course {
        Course::Start => {
            let begun = match of_day {
                true => Box::pin(held::begin(&mut case)).await,
                false => Box::pin(begin::begin(&mut case)).await,
            };
            if matches!(begun, Err(WorkError::Full)) {
                let (namespace, holder) = (&case.context.settings.namespace, &case.context.holder);
                cluster::unclaim(&case.context.access, namespace, (&case.id, holder)).await?;
            }
            begun?;
        }
        Course::Recover if of_day => Box::pin(held::resume(&mut case, dead_pod.then_some(taken))).await?,
        Course::Recover => Box::pin(taken_up(&mut case, dead_pod.then_some(taken))).await?,
        Course::Decline(verdict, reason, words) => {
            begin::declined(&mut case, No::Declined(verdict, reason, words, Vec::new()))?;
        }
        Course::Conclude | Course::LetGo => {}
    }
    conclude(&mut case, silent).await
}

/// The journal of a run as it is in the cluster, and what is in it.
pub(super) async fn opened(
    context: &Context,
    (id, object): (&RunId, &ObjectRef),
    tx: &mpsc::UnboundedSender<Outside>,
) -> Result<(Segments, Vec<Entry>), WorkError> {
    let place = SegmentPlace {
        namespace: context.settings.namespace.clone(),
        run: id.clone(),
        object: key(object),
        uid: object.uid.clone(),
    };
    let tx = tx.clone();
    let trouble = Arc::new(move |trouble| {
        // Nobody listens any more when the run is over.
        let _ = tx.send(match trouble {
            SegmentTrouble::Late(why) => Outside::Stop(StopReason::JournalLost, why),
            SegmentTrouble::Superseded(why) => Outside::Lost(why),
        });
    });
    let segments = Segments::open(&context.access, &place, trouble).await?;
    let known = segments.list().map_err(JournalError::from)?.contains(id);
    let entries = if known { journal::read(&segments, id)? } else { Vec::new() };
    Ok((segments, entries))
}

/// What is on record of a run.
pub(super) fn on_record(entries: &[Entry]) -> OnRecord {
    match entries.last().map(|entry| &entry.record) {
        None => OnRecord::None,
        Some(Record::Finished { .. } | Record::Day(DayRecord::Over { .. })) => OnRecord::Whole,
        Some(_) => OnRecord::Open,
    }
}

/// Takes up what a dead owner has left: goes on with it, or puts it back.
async fn taken_up(case: &mut Case, dead_pod: Option<Instant>) -> Result<(), WorkError> {
    if going_on::goes_on(case) {
        going_on::go_on(case, dead_pod).await
    } else {
        put_back(case, dead_pod).await
    }
}

/// Puts back what a dead owner has left; `dead_pod`: since when the pod that it was in is deleted, whose token may be
/// good for a moment.
pub(super) async fn put_back(case: &mut Case, dead_pod: Option<Instant>) -> Result<(), WorkError> {
    recover(case).await?;
    if let Some(since) = dead_pod {
        tokio::time::sleep_until(since + TOKEN_LIVES).await;
        look_again(case).await?;
    }
    Ok(())
}

/// What a run has begun with.
pub(super) fn header(entries: &[Entry]) -> Option<&Header> {
    match &entries.first()?.record {
        Record::RunStarted(header) => Some(header),
        _ => None,
    }
}

impl Case {
    /// Whether it is a game day as a whole.
    fn of_day(&self) -> bool {
        matches!(self.entries.first().map(|entry| &entry.record), Some(Record::Day(_)))
            || self.told.as_ref().is_some_and(|(run, _)| run.is_day())
    }

    /// What people have observed. None of a part of a game day: what they say is about the day.
    pub(super) fn notes(&self) -> Vec<Outside> {
        if self.id == run_id(&self.object) { self.answers.notes() } else { Vec::new() }
    }

    /// Changes what is told of the run.
    pub(super) fn tell(&self, change: impl FnOnce(&mut Progress)) {
        if let Some((_, writer)) = &self.told {
            writer.tell(change);
        }
    }

    /// Takes in what the engine writes down: status, log, answers that were waiting.
    pub(super) fn observer(&self, acting: &Acting) -> engine::Observer {
        let (writer, acting) = (self.told.as_ref().map(|(_, writer)| writer.clone()), acting.clone());
        let (answers, tx, id) = (self.answers.clone(), self.outside.0.clone(), self.id.clone());
        let (entry_of, part) = (self.entry.clone(), self.part.clone());
        let (hurry, metrics) = (AtomicBool::new(false), self.context.settings.metrics.clone());
        let events = self.told.as_ref().map(|(run, _)| {
            let asked = run.spec.as_ref().map(|spec| spec.requested_by.clone()).unwrap_or_default();
            let by = if asked.is_empty() { run.key() } else { asked };
            Events::new(&self.context.access, &self.context.env.clock, (&run.object, &self.id), &by)
        });
        Arc::new(move |entry: &Entry| {
            log(&id, entry);
            metrics.on(&id, entry);
            if let Some(events) = &events {
                events.on(entry);
            }
            if let Some(part) = &part {
                part.on(entry);
            }
            match &entry.record {
                // Somebody waits for the end of it, and nobody for how it heals.
                Record::StopRequested { reason, .. } if hurries(*reason) => {
                    hurry.store(true, Ordering::Relaxed)
                }
                Record::AllReverted { .. } if hurry.load(Ordering::Relaxed) => {
                    let _ = tx.send(Outside::Leave);
                }
                Record::StepStarted { step } => {
                    if let Some(answer) = answers.of(entry_of.as_deref(), step) {
                        let _ = tx.send(answer);
                    }
                }
                // Rights were withdrawn: what is in force goes back all the same.
                Record::RevertFailed { forbidden: true, .. } => acting.as_controller(),
                _ => {}
            }
            if let Some(writer) = &writer {
                writer.tell(|progress| progress.on(entry));
            }
        })
    }

    /// The world with the rights of an account.
    pub(super) fn world(&self, user: &str, acting: &Acting) -> Env {
        Env {
            kube: client_as(&self.context.env.kube, user, acting, self.agents_in()),
            storage: Arc::new(self.segments.clone()),
            agents: match self.context.settings.agents {
                true => self.context.env.agents.clone(),
                false => Arc::new(NoAgents("the controller places no agents")),
            },
            clock: self.context.env.clock.apart(),
            ..self.context.env.clone()
        }
    }

    /// The namespace of its agents: that of its beginning, if it has begun.
    fn agents_in(&self) -> &str {
        let begun = header(&self.entries).map(|header| &header.environment);
        &begun.unwrap_or(&self.context.settings.environment).agents.namespace
    }

    /// Goes on with `work`, and writes the status beside it.
    pub(super) async fn telling<T>(&self, work: impl Future<Output = T>) -> T {
        let Some((_, writer)) = &self.told else { return work.await };
        tokio::select! {
            biased;
            done = work => done,
            () = writer.keep(&self.context.env.clock, || self.segments.size()) => std::future::pending().await,
        }
    }
}

/// Whether the end is waited for: a Run or a namespace that is to go, a replica that is to end.
fn hurries(reason: StopReason) -> bool {
    matches!(reason, StopReason::Deleted | StopReason::NamespaceTerminating | StopReason::Signal)
}

fn log(id: &RunId, entry: &Entry) {
    match &entry.record {
        Record::Sampled { .. } => {}
        Record::RunStarted(header) => {
            tracing::info!(run = %id, by = header.by, seed = header.seed, "RunStarted")
        }
        Record::Decided { verdict, reason, message } => {
            tracing::info!(run = %id, %verdict, reason, why = message, "Decided");
        }
        Record::StopRequested { reason, by } => tracing::info!(run = %id, ?reason, by, "StopRequested"),
        Record::RevertFailed { injection, error, attempt, .. } => {
            tracing::warn!(run = %id, %injection, error, attempt, "RevertFailed");
        }
        Record::StepStarted { step } => tracing::info!(run = %id, step, "StepStarted"),
        Record::Finished { verdict, residue, .. } => {
            tracing::info!(run = %id, %verdict, residue = residue.len(), "Finished");
        }
        _ => tracing::debug!(run = %id, seq = entry.seq, "record"),
    }
}

/// Puts back what the journal says: as the account that the run acted as, and as the controller itself when that
/// is gone or may not any more.
async fn recover(case: &mut Case) -> Result<(), WorkError> {
    let access = &case.context.access;
    // Without a header the engine says what is wrong with the journal.
    let by = header(&case.entries).map_or("", |header| &header.by);
    let acting = Acting::default();
    let exists = match cluster::account_of(by) {
        Some((namespace, name)) => cluster::account_uid(access, namespace, name).await?.is_some(),
        None => false,
    };
    if !exists {
        acting.as_controller();
    }
    let env = case.world(by, &acting);
    let how = Rollback {
        by: cluster::identity(access).await?,
        holder: case.context.holder.clone(),
        why: "takeover",
        take_over: TakeOver::OnceLapsed,
        revert_timeout: FOR_EVER,
        observer: case.observer(&acting),
    };
    let mut outside = std::mem::replace(&mut case.outside.1, mpsc::unbounded_channel().1);
    loop {
        let heard = mpsc::unbounded_channel();
        let tx = heard.0.clone();
        case.notes().into_iter().for_each(|note| drop(tx.send(note)));
        let back = case.telling(engine::from_journal_heard(&env, &case.id, how.clone(), heard));
        let back = tokio::select! {
            biased;
            back = back => back,
            never = observe(&mut outside, &tx) => match never {},
        };
        match back {
            Ok(_) => return Ok(()),
            // The account may not even look any more.
            Err(
                EngineError::Api(ApiError::Forbidden(_))
                | EngineError::Lease(LeaseError::Api(ApiError::Forbidden(_))),
            ) if !acting.is_controller() => {
                acting.as_controller();
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Once more when nothing of the dead replica's can come any more: what it has sent last is put back too.
async fn look_again(case: &Case) -> Result<(), WorkError> {
    let Some(header) = header(&case.entries) else { return Ok(()) };
    let access = &case.context.access;
    let (mut found, _) = engine::from_scars(access, &header.namespaces).await;
    found.extend(agents::left(&case.context, case.agents_in()).await);
    found.retain(|leftover| leftover.run == case.id.as_str());
    if found.is_empty() {
        return Ok(());
    }
    tracing::warn!(run = %case.id, count = found.len(), "what the dead replica has sent last is put back");
    let how = Rollback {
        by: cluster::identity(access).await?,
        holder: case.context.holder.clone(),
        why: "takeover",
        take_over: TakeOver::Now,
        revert_timeout: LAST_WORDS,
        observer: Arc::new(|_| {}),
    };
    engine::revert_found(&case.context.env, found, &how).await.map_err(EngineError::from)?;
    Ok(())
}

/// The last of it is durable and told; then the Run may go, and the claim with it.
async fn conclude(case: &mut Case, silent: bool) -> Result<(), WorkError> {
    if !case.segments.flushed().await {
        return Err(WorkError::Taken);
    }
    if let Some((_, writer)) = case.told.as_ref().filter(|_| !silent) {
        last_words(case, writer).await?;
    }
    // Only now: what could not be written is tried again, and told once.
    if let Some((verdict, reason, words)) = case.not_begun.take() {
        begin::tell_declined(case, (verdict, reason, &words));
        if case.of_day() {
            held::tell_declined(case, (verdict, reason, &words)).await;
        }
    }
    let (access, namespace) = (&case.context.access, &case.context.settings.namespace);
    if let Some((run, _)) = &case.told {
        object::let_go(access, &run.object).await?;
    }
    cluster::unclaim(access, namespace, (&case.id, &case.context.holder)).await?;
    Ok(())
}

/// Writes the status for the last time, with some patience.
async fn last_words(case: &Case, writer: &Writer) -> Result<(), ApiError> {
    let begun = Instant::now();
    loop {
        writer.journal(case.segments.size());
        match writer.write(case.context.env.clock.now()).await {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() >= LAST_WORDS => return Err(error),
            Err(error) => tracing::warn!(run = %case.id, %error, "the status could not be written yet"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
