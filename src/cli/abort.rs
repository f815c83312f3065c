//! `firedrill abort`

use std::{collections::BTreeSet, time::Duration};

use anyhow::bail;
use clap::Args;

use super::{Global, cluster_run, connect};
use crate::{
    cluster::{Access, ApiError, Lease, identity},
    controller::{self, RunSeen},
    env::Storage as _,
    journal::{self, Record},
    types::{ExitCode, Phase, RunId, Verdict},
};

#[derive(Args)]
pub(super) struct AbortArgs {
    /// The run, as its timeline and `firedrill runs` name it.
    run: String,
}

/// How long the runner may take to acknowledge: it renews its lease every 2 s.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(20);

pub(super) fn run(global: &Global, args: &AbortArgs) -> anyhow::Result<ExitCode> {
    let run = RunId::parse(&args.run)
        .ok_or_else(|| super::Usage(format!("`{}` is not the name of a run", args.run)))?;
    if let Some(verdict) = over(global, &run) {
        super::say(&format!("run {run} is over: {verdict}; there is nothing to abort"));
        return Ok(ExitCode::Ok);
    }
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        // Of the controller's: the Run is asked, and its controller answers.
        match cluster_run::found(&access, &connection.asked(global), run.as_str()).await {
            Ok(Some(found)) => return in_cluster(&access, &found).await,
            // Who may not look at Runs has none.
            Ok(None) | Err(ApiError::Forbidden(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let by = identity(&access).await?.name;
        let mut asked = None;
        for namespace in namespaces(global, &connection, &run) {
            if Lease::request_abort(&access, &namespace, &run, &by).await? {
                asked = Some(namespace);
                break;
            }
        }
        let Some(namespace) = asked else {
            bail!("no lease names run {run}: it is over, or held in another namespace (-n NAMESPACE); firedrill rollback {run} puts back what it may have left");
        };
        super::say(&format!("asked the runner of {run} to abort (lease of namespace {namespace})"));
        acknowledged(&access, &namespace, &run, &connection.env.clock).await
    })
}

/// Asks the controller to put everything back, and waits until it says that it has seen it.
async fn in_cluster(access: &Access, run: &RunSeen) -> anyhow::Result<ExitCode> {
    if run.over() {
        super::say(&format!("{}; there is nothing to abort", cluster_run::ended(run)));
        return Ok(ExitCode::Ok);
    }
    let by = identity(access).await?.name;
    let abort = |_: &serde_json::Value| serde_json::json!({"abort": true});
    cluster_run::changed_by(access, &run.object, Some((controller::HANDS[0], &by)), abort).await?;
    super::say(&format!("asked the controller to abort {}", run.object.name));
    let give_up = tokio::time::Instant::now() + ACKNOWLEDGED_WITHIN;
    while tokio::time::Instant::now() < give_up {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let seen = match access.get(&run.object).await {
            Ok(found) => RunSeen::read(&found),
            Err(ApiError::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(seen) = seen.filter(|seen| !seen.over()) else {
            super::say(&format!("Run {} is over", run.object.name));
            return Ok(ExitCode::Ok);
        };
        if matches!(seen.phase(), Some(Phase::Reverting | Phase::Recovering | Phase::Stuck)) {
            super::say("it puts everything back now");
            return Ok(ExitCode::Ok);
        }
    }
    super::say("no controller has answered so far; it aborts as soon as there is one");
    Ok(ExitCode::Refused)
}

/// What the run came to, if its journal is here and has its end.
fn over(global: &Global, run: &RunId) -> Option<Verdict> {
    let entries = journal::read(&connect::storage(global).ok()?, run).ok()?;
    match entries.last()?.record {
        Record::Finished { verdict, .. } => Some(verdict),
        _ => None,
    }
}

/// Where the run may hold a lease: what its journal here says, `-n`, the context's namespace.
fn namespaces(global: &Global, connection: &connect::Connection, run: &RunId) -> BTreeSet<String> {
    let mut namespaces: BTreeSet<String> = global.namespace.iter().cloned().collect();
    let entries =
        connect::storage(global).ok().filter(|storage| storage.list().is_ok_and(|runs| runs.contains(run)));
    let entries = entries.and_then(|storage| journal::read(&storage, run).ok()).unwrap_or_default();
    if let Some(Record::RunStarted(header)) = entries.first().map(|entry| &entry.record) {
        namespaces.extend(header.namespaces.iter().cloned());
    }
    if namespaces.is_empty() {
        namespaces.insert(connection.namespace.clone());
    }
    namespaces
}

async fn acknowledged(
    access: &Access,
    namespace: &str,
    run: &RunId,
    clock: &crate::env::Clock,
) -> anyhow::Result<ExitCode> {
    let give_up = tokio::time::Instant::now() + ACKNOWLEDGED_WITHIN;
    while tokio::time::Instant::now() < give_up {
        match Lease::read(access, namespace, clock.now()).await? {
            Some(tenure) if tenure.run == *run => {
                if tenure.acknowledged {
                    super::say(&format!("{} acknowledged: it puts everything back now", tenure.holder));
                    return Ok(ExitCode::Ok);
                }
                if !tenure.fresh {
                    break;
                }
            }
            _ => {
                super::say(&format!("run {run} is over"));
                return Ok(ExitCode::Ok);
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    super::say(&format!(
        "the runner of {run} is dead: its lease has lapsed; firedrill rollback {run} puts everything back"
    ));
    Ok(ExitCode::Refused)
}
