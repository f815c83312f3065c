//! Taking one injection back, as often as it takes, with bounded pauses.

use std::time::Duration;

use crate::{
    faults::{self, FaultError, Injection, Reverted, World},
    journal::{Record, RevertOutcome},
    types::InjectionId,
};

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long one try may take.
const TRY_MAX: Duration = Duration::from_secs(60);

/// What one try came to.
pub(super) struct Unwound {
    /// Which injection.
    pub id: InjectionId,
    /// How many packets of others it had met, where somebody has counted.
    met: Option<u64>,
    result: Result<Reverted, Failed>,
    attempt: u32,
    /// The next try, if this one failed.
    pub again: Option<(Injection, u32)>,
}

/// Why a try came to nothing.
struct Failed {
    why: String,
    /// Whether that is for want of a right.
    forbidden: bool,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, forbidden: false }
    }
}

/// How long to wait before this try: 250 ms before the second, doubling to 10 s.
pub(super) fn pause(attempt: u32) -> Duration {
    match attempt.checked_sub(2) {
        None => Duration::ZERO,
        Some(doubled) => Duration::from_millis(250).saturating_mul(1 << doubled.min(10)).min(PAUSE_MAX),
    }
}

/// Tries to take `injection` back, after a pause if it is not the first try.
pub(super) async fn revert(world: World, injection: Injection, attempt: u32) -> Unwound {
    revert_after(pause(attempt), world, injection, attempt).await
}

/// The same after a pause of the caller's.
pub(super) async fn revert_after(
    pause: Duration,
    world: World,
    injection: Injection,
    attempt: u32,
) -> Unwound {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let id = injection.id.clone();
    world.access.settled(&injection.target).await;
    let agents = world.agents.clone();
    let result = match faults::of(&injection) {
        Some(fault) => match tokio::time::timeout(TRY_MAX, fault.revert(&world, &injection)).await {
            Ok(Ok(reverted)) => Ok(reverted),
            Ok(Err(FaultError::Data(_, why))) => Err(format!("its undo data cannot be read: {why}").into()),
            Ok(Err(error)) => Err(Failed { why: error.to_string(), forbidden: error.is_forbidden() }),
            Err(_) => Err(format!("no result within {}s", TRY_MAX.as_secs()).into()),
        },
        None => Err(format!("this version knows no fault {}", injection.fault).into()),
    };
    let met = agents.met(&id);
    let again = result.is_err().then_some((injection, attempt.saturating_add(1)));
    Unwound { id, met, result, attempt, again }
}

impl Unwound {
    /// As it is written down.
    pub(super) fn record(&self) -> Record {
        let injection = self.id.clone();
        match &self.result {
            Ok(reverted) => {
                let (outcome, detail) = outcome(reverted);
                Record::Reverted { injection, outcome, detail, met: self.met }
            }
            Err(Failed { why, forbidden }) => Record::RevertFailed {
                injection,
                error: why.clone(),
                forbidden: *forbidden,
                attempt: self.attempt,
            },
        }
    }

    /// How it came out, in words; Err: it did not, and why.
    pub(super) fn outcome(&self) -> Result<(RevertOutcome, String), String> {
        self.result.as_ref().map(outcome).map_err(|failed| failed.why.clone())
    }

    /// For people, where nothing can be written down.
    pub(super) fn in_words(&self) -> String {
        match &self.result {
            Ok(reverted) => format!("{:?}: {}", outcome(reverted).0, outcome(reverted).1),
            Err(failed) => format!("not taken back: {}", failed.why),
        }
    }
}

/// A revert's result as the journal says it.
pub(super) fn outcome(reverted: &Reverted) -> (RevertOutcome, String) {
    match reverted {
        Reverted::Restored(detail) => (RevertOutcome::Restored, detail.clone()),
        Reverted::TargetGone => (RevertOutcome::TargetGone, "the target is gone".to_owned()),
        Reverted::NothingToDo(detail) => (RevertOutcome::NothingToDo, detail.clone()),
        Reverted::ChangedSince(detail) => (RevertOutcome::ChangedSince, detail.clone()),
        Reverted::ExpiredByItself(detail) => (RevertOutcome::ExpiredByItself, detail.clone()),
    }
}
