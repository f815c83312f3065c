//! How many runs Guardrails let be at work at once: looked at before a run begins, and again once it holds its leases,
//! when each of several that begin together sees the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::EngineError;
use crate::{
    api::Guardrail,
    cluster::{Access, ApiError, Lease},
    env::Clock,
    types::{Finding, ObjectRef, RunId, codes::guard as code, counted},
};

/// How long it is waited for others that have begun at the same moment to give way. Less than a lease is good for.
const GIVES_WAY: Duration = Duration::from_secs(2);
/// How often it is looked meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The Guardrails over a run that bound how many are at work at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd(Vec<(Guardrail, usize)>);

/// A bound that is reached.
struct Full {
    guardrail: String,
    bound: usize,
    /// Who is at work under it.
    runs: Vec<RunId>,
}

impl Full {
    fn words(&self) -> String {
        let names: Vec<String> = self.runs.iter().map(ToString::to_string).collect();
        let (bound, names) = (counted(self.bound, "run"), names.join(", "));
        format!("it allows {bound} at once, and {} at work where it holds: {names}", self.runs.len())
    }
}

impl Crowd {
    /// Of those that cover a run. With 0 none may start, whoever is at work.
    pub(super) fn under(covering: &[&Guardrail]) -> Self {
        let bound = |guardrail: &&Guardrail| {
            let bound = guardrail.spec.concurrent_runs.filter(|bound| *bound > 0)?;
            Some(((*guardrail).clone(), bound as usize))
        };
        Self(covering.iter().filter_map(bound).collect())
    }

    /// What speaks against one run more.
    pub(super) async fn findings(&self, access: &Access, now: Timestamp) -> Vec<Finding> {
        let subject = |guardrail: &str| format!("guardrail/{guardrail}");
        match self.full(access, None, now).await {
            Ok(full) => {
                let finding = |full: Full| {
                    Finding::error(code::CROWDED, subject(&full.guardrail), full.words())
                        .remedy("wait for one of them")
                };
                full.into_iter().map(finding).collect()
            }
            Err(error) => {
                let guardrail = self.0.first().map(|(guardrail, _)| guardrail.metadata.name.as_str());
                let message =
                    format!("it bounds the runs at once, and who is at work cannot be read: {error}");
                vec![
                    Finding::error(
                        code::GUARDRAILS_UNREADABLE,
                        subject(guardrail.unwrap_or_default()),
                        message,
                    )
                    .remedy("ask for the right to list leases called firedrill in all namespaces"),
                ]
            }
        }
    }

    /// Gives the leases back to `run`, which holds them, if it may be at work beside the others.
    ///
    /// Whoever looks last sees all that were let through before, which hold theirs: so never too many are. Of those that
    /// see each other the first by name stays for a moment, and the others give way.
    ///
    /// # Errors
    /// There are too many of them, or that cannot be read: the leases are given back to the cluster.
    pub(super) async fn admits(
        &self,
        access: &Access,
        clock: &Clock,
        (run, leases): (&RunId, Vec<Lease>),
    ) -> Result<Vec<Lease>, EngineError> {
        let access = access.beside();
        let begun = Instant::now();
        let refused = loop {
            let full = match self.full(&access, Some(run), clock.now()).await {
                Ok(full) => full,
                Err(error) => break EngineError::Api(error),
            };
            let Some(one) = full.first() else { return Ok(leases) };
            let before = |full: &Full| full.runs.iter().filter(|other| *other < run).count();
            let first = full.iter().all(|full| before(full) < full.bound);
            if !first || begun.elapsed() >= GIVES_WAY {
                break EngineError::Crowded(format!("guardrail/{}: {}", one.guardrail, one.words()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        for lease in leases {
            // Best effort: what is not given back lapses by itself.
            let _ = lease.release().await;
        }
        Err(refused)
    }

    /// The bounds that are reached by others than `own`.
    async fn full(
        &self,
        access: &Access,
        own: Option<&RunId>,
        now: Timestamp,
    ) -> Result<Vec<Full>, ApiError> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let mut at_work = Lease::at_work(access, now).await?;
        at_work.retain(|run, _| Some(run) != own);
        let spaces: BTreeSet<&String> = at_work.values().flatten().collect();
        let mut labels = BTreeMap::new();
        for space in spaces {
            let found = access.get(&ObjectRef::namespaced("v1", "Namespace", "", space)).await;
            labels.insert(space, found.map(|found| found.metadata.labels.unwrap_or_default()).ok());
        }
        let full = self.0.iter().map(|(guardrail, bound)| {
            // What cannot be told counts as covered.
            let covers = |space: &String| labels[space].as_ref().and_then(|labels| guardrail.covers(labels));
            let covered = |spaces: &BTreeSet<String>| spaces.iter().any(|one| covers(one).unwrap_or(true));
            let runs = at_work.iter().filter(|(_, spaces)| covered(spaces));
            Full {
                guardrail: guardrail.metadata.name.clone(),
                bound: *bound,
                runs: runs.map(|(run, _)| run.clone()).collect(),
            }
        });
        Ok(full.filter(|full| full.runs.len() >= full.bound).collect())
    }
}
