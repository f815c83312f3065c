//! One injection by itself: applied, and seen in force.

use std::time::Duration;

use super::drive::Outcome;
use crate::{
    faults::{self, FaultError, Injection, World},
    types::planted,
};

/// Between two tries of an injection that fails in passing.
const RETRY: Duration = Duration::from_millis(500);
/// Tries of an injection.
pub(super) const TRIES: u32 = 5;

/// Applies an injection, with some patience for what passes.
pub(super) async fn apply(world: World, injection: Injection) -> Outcome {
    let Some(fault) = faults::of(&injection) else {
        let error = FaultError::Data(injection.id.clone(), format!("there is no fault {}", injection.fault));
        return Outcome::Injected(injection.id, Err(error));
    };
    let mut tried = 1;
    loop {
        match fault.inject(&world, &injection).await {
            Err(error) if error.is_transient() && tried < TRIES => {
                tried += 1;
                tokio::time::sleep(RETRY).await;
            }
            result => return Outcome::Injected(injection.id, result),
        }
    }
}

/// Waits until it is seen in force.
pub(super) async fn observe(world: World, injection: Injection) -> Outcome {
    if planted("effect-not-observed") {
        return Outcome::Seen(injection.id, "it was applied".to_owned());
    }
    match faults::of(&injection) {
        Some(fault) => {
            let evidence = fault.observe(&world, &injection).await;
            Outcome::Seen(injection.id, evidence)
        }
        None => std::future::pending().await,
    }
}
