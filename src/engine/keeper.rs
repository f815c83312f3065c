//! Keeping the run's leases, and listening to what people write on them.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tracing::Instrument as _;

use crate::{
    cluster::{Access, Lease, LeaseError, Tenure},
    env::Clock,
    journal::{Answer, StopReason, Written},
};

/// How often a lease is renewed, and so how soon an abort from elsewhere is seen (client-go's retry period).
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// How long giving leases back may hold up the end of a run.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);

/// Something from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outside {
    /// A person says how a manual step went: step, answer, who, their words.
    Answered(String, Answer, String, String),
    /// A person wants a step that has not begun not to begin: step, who, their words.
    Skipped(String, String, String),
    /// Whether new steps are to wait, and who says so.
    Hold(bool, String),
    /// Somebody has observed something, in words. Said again it is the same note.
    Noted(String, Written),
    /// Somebody, or something, wants it to end.
    Stop(StopReason, String),
    /// Somebody wants it to end without waiting for reverts.
    Leave,
    /// The run is somebody else's now: nothing more may be done.
    Lost(String),
}

/// Renews leases until released.
pub struct Keeper {
    release_tx: oneshot::Sender<()>,
    task: JoinHandle<Vec<Lease>>,
}

impl Keeper {
    /// Takes the lease of every namespace, or of none.
    ///
    /// # Errors
    /// The first namespace that cannot be had; what was taken before it is given back.
    pub async fn acquire(
        access: &Access,
        namespaces: &[String],
        tenure: &Tenure,
        take_over: bool,
    ) -> Result<Vec<Lease>, LeaseError> {
        // Never behind what the run itself sends.
        let access = &access.beside();
        let mut leases = Vec::new();
        for namespace in namespaces {
            match Lease::acquire(access, namespace, tenure.clone(), take_over).await {
                Ok(lease) => leases.push(lease),
                Err(error) => {
                    for lease in leases {
                        // Best effort: what is not given back lapses by itself.
                        let _ = lease.release().await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(leases)
    }

    /// Keeps the leases, and tells of aborts and losses.
    pub fn start(leases: Vec<Lease>, clock: Clock, outside_tx: mpsc::UnboundedSender<Outside>) -> Self {
        let (release_tx, release_rx) = oneshot::channel();
        // What it logs says which run it is about.
        let keep = keep(leases, clock, outside_tx, release_rx).in_current_span();
        Self { release_tx, task: tokio::spawn(keep) }
    }

    /// Gives the leases back.
    pub async fn release(self) {
        let _ = self.release_tx.send(());
        let leases = self.task.await.unwrap_or_default();
        let released = futures::future::join_all(leases.into_iter().map(Lease::release));
        match tokio::time::timeout(RELEASED_WITHIN, released).await {
            Ok(results) => {
                for error in results.into_iter().filter_map(Result::err) {
                    tracing::warn!(%error, "a lease could not be given back; it lapses by itself");
                }
            }
            Err(_) => tracing::warn!("the leases could not be given back in time; they lapse by themselves"),
        }
    }
}

async fn keep(
    mut leases: Vec<Lease>,
    clock: Clock,
    outside_tx: mpsc::UnboundedSender<Outside>,
    mut release_rx: oneshot::Receiver<()>,
) -> Vec<Lease> {
    loop {
        tokio::select! {
            biased;
            _ = &mut release_rx => return leases,
            () = tokio::time::sleep(RENEW_EVERY) => {}
        }
        for lease in &mut leases {
            let renewed = tokio::select! {
                biased;
                _ = &mut release_rx => return leases,
                renewed = lease.renew(clock.now()) => renewed,
            };
            match renewed {
                Ok(None) => {}
                Ok(Some(by)) => {
                    let _ = outside_tx.send(Outside::Stop(StopReason::UserAbort, by));
                }
                Err(LeaseError::Lost(namespace)) => {
                    let why = format!("the lease of namespace {namespace} was taken over");
                    let _ = outside_tx.send(Outside::Lost(why));
                }
                // The fence closes by itself if this goes on.
                Err(error) => tracing::warn!(%error, "a lease could not be renewed"),
            }
        }
    }
}
