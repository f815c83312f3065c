//! Putting back what a dead or given-up run has left: from its journal, or from scars alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::sync::mpsc;
use tracing::{Instrument as _, Span};

use super::{
    EngineError, Observer, Outcome,
    assess::{blind, world},
    drive::Driver,
    keeper::{Keeper, Outside},
    loading::Loading,
    next::{Command, Patience, next},
    spans::{self, Spans},
    start::conclude,
    state::{State, transition},
    steady::elapsed,
    taking::{Owner, TakeOver, Taken, take},
    unwind,
};
use crate::{
    api::Limits,
    cluster::{Access, ApiError, Identity, Lease, LeaseError, Tenure},
    env::{Clock, Env, Loads, Rng},
    faults::{self, Found, Injection, Signature, World},
    journal::{Entry, Record, Residue, RevertOutcome, Writer},
    plan::{Bounds, Consent},
    types::{Epoch, InjectionId, RunId, Verdict},
};

/// How a rollback is to be done.
#[derive(Clone)]
pub struct Rollback {
    /// Who asks.
    pub by: Identity,
    /// This process.
    pub holder: String,
    /// What takes the run over, for the journal: `rollback`, `takeover`.
    pub why: &'static str,
    /// Whether also of a run whose lease is fresh.
    pub take_over: TakeOver,
    /// How long reverting is tried.
    pub revert_timeout: Duration,
    /// Is told of every record.
    pub observer: Observer,
}

/// Something that is left of a run.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// The run.
    pub run: String,
    /// What was done, and what was there before.
    pub injection: Injection,
    /// Whether a journal here says so; else the object's own scar does.
    pub journaled: bool,
}

/// What a journal says is still to be taken back.
pub fn leftovers(entries: &[Entry]) -> Result<Vec<Leftover>, EngineError> {
    let state = State::replay(entries)?;
    let run = state.header.run.to_string();
    Ok(state
        .pending()
        .map(|found| Leftover { run: run.clone(), injection: found.injection.clone(), journaled: true })
        .collect())
}

/// Takes a run over and puts back everything that its journal says: replay, then the ordinary loop.
pub async fn from_journal(env: &Env, run: &RunId, how: Rollback) -> Result<Outcome, EngineError> {
    from_journal_heard(env, run, how, mpsc::unbounded_channel()).await
}

/// The same while people go on speaking: what they observe is written down with the rest.
pub async fn from_journal_heard(
    env: &Env,
    run: &RunId,
    how: Rollback,
    heard: (mpsc::UnboundedSender<Outside>, mpsc::UnboundedReceiver<Outside>),
) -> Result<Outcome, EngineError> {
    let span = spans::run(run);
    replayed(env, run, how, heard).instrument(span).await
}

async fn replayed(
    env: &Env,
    run: &RunId,
    how: Rollback,
    (outside_tx, outside_rx): (mpsc::UnboundedSender<Outside>, mpsc::UnboundedReceiver<Outside>),
) -> Result<Outcome, EngineError> {
    let access = Access::new(env.kube.clone());
    let owner = Owner { holder: &how.holder, by: &how.by.name, take_over: how.take_over };
    let Taken { keeper, writer, entries, epoch, unwritten } =
        take(env, &access, (run, owner), outside_tx).await?;
    let state = State::replay(&entries)?;
    let (holder, by, why) = (how.holder, how.by.name.clone(), how.why.to_owned());
    let change = Record::OwnerChanged { holder, by, why, goes_on: false };
    let driver = blind_driver(
        env,
        access,
        (state, writer, epoch),
        (outside_rx, how.by, how.revert_timeout),
        how.observer,
    );
    let result = match driver.await {
        Ok(mut driver) => {
            driver.unwritten = unwritten;
            match driver.note_anyhow(change, entries) {
                Ok(()) => conclude(driver, &*env.storage).await,
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error.into()),
    };
    keeper.release().await;
    result
}

/// Writes the end of a run's journal that has none, although nothing of it is in force: its runner was gone
/// before it had come to that. None if something is in force, or if it has its end.
///
/// # Errors
/// The journal's; [`crate::env::StorageError::Busy`] while the runner lives.
pub fn close(env: &Env, run: &RunId, how: &Rollback) -> Result<Option<Outcome>, EngineError> {
    let state = State::replay(&crate::journal::read(&*env.storage, run)?)?;
    if !open(&state) {
        return Ok(None);
    }
    let (mut writer, entries) = Writer::resume(&*env.storage, run, |theirs| Epoch(theirs.0 + 1))?;
    let mut state = State::replay(&entries)?;
    if !open(&state) {
        return Ok(None);
    }
    let (holder, by) = (how.holder.clone(), how.by.name.clone());
    let mut record = Record::OwnerChanged { holder, by, why: how.why.to_owned(), goes_on: false };
    loop {
        let entry = writer.append(env.clock.now(), record)?;
        transition(&mut state, &entry)?;
        (how.observer)(&entry);
        match next(&state, env.clock.now(), Patience { revert: how.revert_timeout, unseen: None }) {
            Command::Record(next) => record = *next,
            _ => break,
        }
    }
    let verdict = state.decided.map_or(Verdict::Inconclusive, |(verdict, ..)| verdict);
    Ok(Some(Outcome { run: run.clone(), verdict, residue: Vec::new(), unwritten: None }))
}

/// Without an end, and with nothing to put back.
fn open(state: &State) -> bool {
    !state.finished && state.pending().next().is_none()
}

/// Whether a journal has neither an end nor anything that is to be put back: [`close`] gives it its end.
pub fn closes(entries: &[Entry]) -> bool {
    State::replay(entries).is_ok_and(|state| open(&state))
}

async fn blind_driver(
    env: &Env,
    access: Access,
    (state, writer, epoch): (State, Writer, Epoch),
    (outside_rx, by, revert_timeout): (mpsc::UnboundedReceiver<Outside>, Identity, Duration),
    observer: Observer,
) -> Result<Driver, ApiError> {
    let mirror = blind(&access).await?;
    let signature = Signature { run: state.header.run.clone(), epoch, by: by.name, at: env.clock.now() };
    Ok(Driver {
        world: world(env, access, mirror, signature),
        clock: env.clock.clone(),
        rng: Rng::new(state.header.seed),
        consent: Consent::default(),
        bounds: Bounds::new(&Limits::default(), &[]),
        patience: Patience { revert: revert_timeout, unseen: None },
        spans: Spans::new(&state),
        state,
        writer,
        observer,
        probes: BTreeMap::new(),
        checks: BTreeMap::new(),
        measured_rx: mpsc::unbounded_channel().1,
        outside_rx,
        loading: Loading { orders: BTreeMap::new(), wire: env.load.clone(), under_way: Loads::default() },
        releases: BTreeMap::new(),
        slept_before: env.clock.slept(),
        passed_over: BTreeSet::new(),
        taking_back: BTreeSet::new(),
        unwritten: None,
        guarding: None,
    })
}

/// Everything that any run has left in these namespaces and on nodes, from scars alone. What we may not
/// look at is said, not hidden.
pub async fn from_scars(
    access: &Access,
    namespaces: &[String],
) -> (Vec<Leftover>, Vec<(&'static str, ApiError)>) {
    let (mut found, mut unseen) = (Vec::new(), Vec::new());
    for fault in faults::all() {
        match fault.scars(access, namespaces).await {
            Ok(scars) => found.extend(scars),
            Err(error) => unseen.push((fault.info().name, error)),
        }
    }
    (found.into_iter().map(scarred).collect(), unseen)
}

/// Agents that runs have left in a namespace.
///
/// # Errors
/// The API server's.
pub async fn agents_left(access: &Access, namespace: &str) -> Result<Vec<Leftover>, ApiError> {
    Ok(faults::agents_left(access, namespace).await?.into_iter().map(scarred).collect())
}

fn scarred(Found { run, injection }: Found) -> Leftover {
    Leftover { run, injection, journaled: false }
}

/// Clears the lapsed leases of dead runs (of `run`, or of all) that have left nothing else: until then every
/// new run in their namespaces is refused. For a rollback without the run's journal, which ends with it.
///
/// # Errors
/// The API server's; what could not be cleared refuses as before.
pub async fn clear_lapsed(
    env: &Env,
    run: Option<&RunId>,
    namespaces: &[String],
) -> Result<Vec<RunId>, ApiError> {
    let access = Access::new(env.kube.clone());
    let (left, _) = from_scars(&access, namespaces).await;
    let done = |theirs: &RunId| {
        run.is_none_or(|run| run == theirs) && !left.iter().any(|leftover| leftover.run == theirs.as_str())
    };
    let mut cleared = Vec::new();
    for namespace in namespaces {
        cleared.extend(Lease::clear_lapsed(&access, namespace, env.clock.now(), done).await?);
    }
    Ok(cleared)
}

/// Who still owns the runs that these scars name, as far as may be seen: a lease needs not be where its run's
/// scars are.
async fn owners(
    access: &Access,
    env: &Env,
    leftovers: &[Leftover],
) -> Result<Vec<(String, Tenure)>, ApiError> {
    let now = env.clock.now();
    let mut held = match Lease::all(access, "", now).await {
        Err(ApiError::Forbidden(_)) => {
            let targets = leftovers.iter().map(|leftover| leftover.injection.target.namespace.as_str());
            let namespaces: BTreeSet<&str> = targets.filter(|name| !name.is_empty()).collect();
            let mut held = Vec::new();
            for namespace in namespaces {
                held.extend(Lease::all(access, namespace, now).await?);
            }
            held
        }
        other => other?,
    };
    held.retain(|(_, tenure)| tenure.fresh && leftovers.iter().any(|left| left.run == tenure.run.as_str()));
    Ok(held)
}

/// Takes the leases of runs that are alive, and waits until what their owners may still send is over.
async fn take_over(
    access: &Access,
    env: &Env,
    held: Vec<(String, Tenure)>,
    how: &Rollback,
) -> Result<Vec<Keeper>, LeaseError> {
    let mut keepers = Vec::new();
    for (namespace, tenure) in held {
        let wanted = Tenure {
            holder: how.holder.clone(),
            by: how.by.name.clone(),
            epoch: Epoch(tenure.epoch.0 + 1),
            renewed: env.clock.now(),
            ..tenure
        };
        let leases = Keeper::acquire(access, &[namespace], &wanted, true).await?;
        // Nobody listens: a lease that is lost closes the fence all the same.
        keepers.push(Keeper::start(leases, env.clock.clone(), mpsc::unbounded_channel().0));
    }
    if !keepers.is_empty() {
        tokio::time::sleep(Lease::LAST_WORD).await;
    }
    Ok(keepers)
}

/// Puts back what a scar says, with the caller's own rights; of a run whose lease is fresh only with
/// `take_over`, which fences its runner off first.
///
/// # Errors
/// The API server's, and a lease that cannot be taken over; nothing was put back then.
pub async fn revert_found(
    env: &Env,
    leftovers: Vec<Leftover>,
    how: &Rollback,
) -> Result<Vec<(Leftover, Result<(RevertOutcome, String), Residue>)>, LeaseError> {
    let access = Access::new(env.kube.clone());
    let mirror = blind(&access).await?;
    let mut held = owners(&access, env, &leftovers).await?;
    let keepers = if how.take_over != TakeOver::Never {
        take_over(&access, env, std::mem::take(&mut held), how).await?
    } else {
        Vec::new()
    };
    // For all of them together: whoever waits for the end waits for that of the last.
    let give_up = env.clock.now().checked_add(how.revert_timeout).unwrap_or(jiff::Timestamp::MAX);
    let mut results = Vec::new();
    for leftover in leftovers {
        let Some(run) = RunId::parse(&leftover.run) else { continue };
        if let Some((namespace, tenure)) = held.iter().find(|(_, tenure)| tenure.run == run) {
            let alive = LeaseError::Held { namespace: namespace.clone(), tenure: Box::new(tenure.clone()) };
            let mut residue = residue_of(&leftover, alive.to_string());
            residue.remedy.push_str(" --take-over");
            results.push((leftover, Err(residue)));
            continue;
        }
        let signature = Signature { run, epoch: Epoch(0), by: how.by.name.clone(), at: env.clock.now() };
        let world = world(env, access.clone(), mirror.clone(), signature);
        let result = insist(world, &leftover, (&env.clock, give_up)).await;
        results.push((leftover, result));
    }
    for keeper in keepers {
        keeper.release().await;
    }
    Ok(results)
}

/// Tries until it is put back, or until `give_up`; once in any case, and once more then.
async fn insist(
    world: World,
    leftover: &Leftover,
    (clock, give_up): (&Clock, jiff::Timestamp),
) -> Result<(RevertOutcome, String), Residue> {
    let (mut injection, mut attempt, mut pause) = (leftover.injection.clone(), 1, Duration::ZERO);
    loop {
        let span = spans::revert(&Span::current(), &world.signature.run, (&injection, attempt));
        let unwound = unwind::revert_after(pause, world.clone(), injection, attempt);
        let unwound = unwound.instrument(span).await;
        match (unwound.record(), unwound.again) {
            (Record::Reverted { outcome, detail, .. }, _) => return Ok((outcome, detail)),
            (_, Some((again, next))) if clock.now() < give_up => {
                (injection, attempt) = (again, next);
                pause = unwind::pause(next).min(elapsed(clock.now(), give_up));
            }
            (record, _) => return Err(residue(leftover, record)),
        }
    }
}

fn residue(leftover: &Leftover, record: Record) -> Residue {
    let what = match record {
        Record::RevertFailed { error, .. } => error,
        _ => "it was not taken back".to_owned(),
    };
    residue_of(leftover, what)
}

fn residue_of(leftover: &Leftover, what: String) -> Residue {
    Residue {
        injection: InjectionId(leftover.injection.id.0.clone()),
        target: leftover.injection.target.clone(),
        what,
        remedy: format!("firedrill rollback {}", leftover.run),
    }
}
