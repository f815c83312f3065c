//! Renewing a replica's Lease, and hearing from the API server what time it is.

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, time::Instant};

use crate::{
    cluster::{RENEWED_EVERY, Replica, ReplicaError},
    env::Clock,
};

/// How far this clock may be off before it is set by the API server's, which is known to the second.
const OFF: SignedDuration = SignedDuration::from_secs(5);

/// Sets a clock that is off. The controller goes by the API server's, as the times of objects do; runs that are in force
/// keep the one that they began with, and their records stay in order.
pub(super) fn set(clock: &Clock, right: Timestamp) {
    let off = right.duration_since(clock.now());
    if off.abs() >= OFF {
        let seconds = off.as_secs();
        tracing::warn!(seconds, "this clock is not the API server's; what begins now goes by that");
        clock.set(right);
    }
}

/// Renews the replica's Lease until it is fenced off, and hears from the API server what time it is.
pub(super) async fn keep(
    replica: &mut Replica,
    clock: Clock,
    right: watch::Sender<Option<Clock>>,
) -> ReplicaError {
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        let asked = Instant::now();
        match replica.renew(clock.now()).await {
            // An answer that takes long says nothing about the time.
            Ok(()) if asked.elapsed() >= RENEWED_EVERY => {}
            Ok(()) => {
                right.send_replace(replica.server_time().map(|now| {
                    let right = clock.apart();
                    right.set(now);
                    right
                }));
            }
            Err(error @ ReplicaError::Fenced(_)) => return error,
            // Others take over when this goes on; what is ours stops by its own leases before that.
            Err(error) => tracing::warn!(%error, "the Lease of this replica could not be renewed"),
        }
    }
}
