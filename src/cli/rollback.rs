//! `firedrill rollback`

use std::{
    collections::BTreeSet,
    io::{BufRead as _, IsTerminal as _},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;

use super::{
    Global,
    connect::{self, Connection},
};
use crate::{
    cluster::{Access, LeaseError, identity},
    engine::{self, EngineError, Leftover, Rollback},
    journal,
    report::{Style, Tone},
    types::{ExitCode, Length, RunId},
};

#[derive(Args)]
pub(super) struct RollbackArgs {
    /// The run; without it: everything that any run has left.
    run: Option<String>,

    /// The same as without a run, in words.
    #[arg(long, conflicts_with = "run")]
    all: bool,

    /// Also a run whose lease is fresh: its runner is fenced off.
    #[arg(long)]
    take_over: bool,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// How long reverting is tried before what is left is listed.
    #[arg(long, value_name = "LENGTH", default_value = "10m")]
    revert_timeout: Length,
}

pub(super) fn run(global: &Global, args: &RollbackArgs) -> anyhow::Result<ExitCode> {
    connect::runtime()?.block_on(async {
        let mut connection = connect::connect(global, 0).await?;
        connection.env.storage = Arc::new(connect::storage(global)?);
        let access = Access::new(connection.env.kube.clone());
        let how = Rollback {
            by: identity(&access).await?,
            holder: connect::holder(),
            take_over: args.take_over,
            revert_timeout: args.revert_timeout.0,
            observer: Arc::new(|_| {}),
        };
        let wanted = match &args.run {
            Some(text) => {
                Some(RunId::parse(text).with_context(|| format!("`{text}` is not the name of a run"))?)
            }
            None => None,
        };
        let (found, unseen) = look(&connection, &access, wanted.as_ref(), global).await?;
        let style = super::stderr_style();
        for (fault, error) in &unseen {
            super::say(&format!("cannot look for what {fault} may have left: {error}"));
        }
        if found.is_empty() && !held(&connection, wanted.as_ref()) {
            if !clear(&connection, wanted.as_ref(), global).await {
                super::say("nothing is left");
            }
            return Ok(if unseen.is_empty() { ExitCode::Ok } else { ExitCode::Residue });
        }
        super::say(diff(&found, &style).trim_end());
        if !found.is_empty() && !agreed(args) {
            super::say("nothing was changed");
            return Ok(ExitCode::Refused);
        }
        let left = put_back(&connection, found, wanted.clone(), &how).await?;
        clear(&connection, wanted.as_ref(), global).await;
        Ok(if left || !unseen.is_empty() { ExitCode::Residue } else { ExitCode::Ok })
    })
}

/// What is left, from journals first, then from scars of runs that have none here.
async fn look(
    connection: &Connection,
    access: &Access,
    wanted: Option<&RunId>,
    global: &Global,
) -> anyhow::Result<(Vec<Leftover>, Vec<(&'static str, crate::cluster::ApiError)>)> {
    let storage = &connection.env.storage;
    let here: BTreeSet<RunId> = storage.list()?.into_iter().collect();
    let mut found = Vec::new();
    for run in here.iter().filter(|run| wanted.is_none_or(|wanted| wanted == *run)) {
        match journal::read(&**storage, run) {
            Ok(entries) => found.extend(engine::leftovers(&entries).unwrap_or_default()),
            // A damaged journal does not hide what the objects themselves say.
            Err(error) => super::say(&format!("{error}; going by the scars on the objects")),
        }
    }
    let journaled: BTreeSet<String> = found.iter().map(|leftover: &Leftover| leftover.run.clone()).collect();
    // Everywhere, if that is allowed; else where we are.
    let everywhere = engine::from_scars(access, &[String::new()]).await;
    let (scars, unseen) = if everywhere.1.is_empty() {
        everywhere
    } else {
        let own = global.namespace.clone().unwrap_or_else(|| connection.namespace.clone());
        engine::from_scars(access, &[own]).await
    };
    let mine = scars.into_iter().filter(|scar| wanted.is_none_or(|wanted| scar.run == wanted.as_str()));
    found.extend(mine.filter(|scar| !journaled.contains(&scar.run)));
    Ok((found, unseen))
}

/// Gives back the leases of dead runs of which nothing else is left. Whether there were any.
async fn clear(connection: &Connection, wanted: Option<&RunId>, global: &Global) -> bool {
    let own = global.namespace.clone().unwrap_or_else(|| connection.namespace.clone());
    let mut cleared = engine::clear_lapsed(&connection.env, wanted, &[String::new()]).await;
    if cleared.is_err() {
        cleared = engine::clear_lapsed(&connection.env, wanted, &[own]).await;
    }
    match cleared {
        Ok(runs) => {
            for run in &runs {
                super::say(&format!("run {run}: its runner is gone; its namespace is free again"));
            }
            !runs.is_empty()
        }
        Err(error) => {
            super::say(&format!("cannot look for the leases of dead runs: {error}"));
            false
        }
    }
}

/// A journal without an end wants one, even if nothing is to be put back.
fn held(connection: &Connection, wanted: Option<&RunId>) -> bool {
    let Some(run) = wanted else { return false };
    let entries = journal::read(&*connection.env.storage, run).unwrap_or_default();
    !entries.is_empty()
        && !entries.iter().any(|entry| matches!(entry.record, journal::Record::Finished { .. }))
}

fn diff(found: &[Leftover], style: &Style) -> String {
    let mut text = String::new();
    for leftover in found {
        let injection = &leftover.injection;
        let source = if leftover.journaled { "journal" } else { "scar" };
        text.push_str(&format!(
            "{} {} by run {} ({source})\n",
            style.paint(Tone::Strong, &style.plain(&injection.target.to_string())),
            style.plain(&injection.fault),
            style.plain(&leftover.run)
        ));
        for (sign, tone, value) in [("-", Tone::Bad, &injection.action), ("+", Tone::Good, &injection.before)]
        {
            text.push_str(&format!("    {}\n", style.paint(tone, &format!("{sign} {value}"))));
        }
    }
    text
}

fn agreed(args: &RollbackArgs) -> bool {
    if args.yes || !std::io::stdin().is_terminal() {
        return true;
    }
    super::say("Put this back, as far as it is still as the run left it? [y/N]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// Whether anything is left in the end.
async fn put_back(
    connection: &Connection,
    found: Vec<Leftover>,
    wanted: Option<RunId>,
    how: &Rollback,
) -> anyhow::Result<bool> {
    let journaled: BTreeSet<RunId> = found
        .iter()
        .filter(|leftover| leftover.journaled)
        .filter_map(|leftover| RunId::parse(&leftover.run))
        .collect();
    let known = |run: &RunId| connection.env.storage.list().is_ok_and(|runs| runs.contains(run));
    let runs: BTreeSet<RunId> = journaled.into_iter().chain(wanted.filter(known)).collect();
    let mut left = false;
    for run in runs {
        match engine::from_journal(&connection.env, &run, how.clone()).await {
            Ok(outcome) => {
                for residue in &outcome.residue {
                    super::say(&format!("left: {}: {}; {}", residue.target, residue.what, residue.remedy));
                }
                left |= !outcome.residue.is_empty();
                super::say(&format!(
                    "run {run}: {}",
                    if outcome.residue.is_empty() { "everything is back" } else { "not everything is back" }
                ));
            }
            Err(error) => {
                super::say(&format!("error: {error}"));
                if matches!(error, EngineError::Lease(LeaseError::Held { .. })) {
                    super::say(
                        "    remedy: firedrill abort, if its runner is alive; a dead one's lease lapses 15 s after it was renewed last; --take-over does not wait",
                    );
                }
                left = true;
            }
        }
    }
    let scars: Vec<Leftover> = found.into_iter().filter(|leftover| !leftover.journaled).collect();
    for (leftover, result) in engine::revert_found(&connection.env, scars, how).await? {
        match result {
            Ok((outcome, detail)) => {
                super::say(&format!("{}: {outcome:?}: {detail}", leftover.injection.target))
            }
            Err(residue) => {
                super::say(&format!("left: {}: {}", residue.target, residue.what));
                left = true;
            }
        }
    }
    Ok(left)
}
