//! `firedrill rollback`

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, IsTerminal as _},
    sync::Arc,
};

use clap::Args;
use serde_json::Value;

use super::{
    Global,
    connect::{self, Connection},
};
use crate::{
    cluster::{Access, ApiError, Lease, LeaseError, identity},
    engine::{self, EngineError, Leftover, Preview, Rollback, TakeOver},
    env::{DirStorage, Storage as _},
    journal::{self, Entry, Record, RevertOutcome},
    report::{Style, Tone},
    types::{ExitCode, Length, ObjectRef, RunId},
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

    /// The namespace of agents' pods, if it is not the usual one: looked into as well, where not everything may be.
    #[arg(long, value_name = "NAMESPACE", env = "FIREDRILL_AGENT_NAMESPACE")]
    agent_namespace: Option<String>,

    /// How long reverting is tried before what is left is listed.
    #[arg(long, value_name = "LENGTH", default_value = "10m")]
    revert_timeout: Length,
}

pub(super) fn run(global: &Global, args: &RollbackArgs) -> anyhow::Result<ExitCode> {
    let parsed = args.run.as_deref().map(|text| {
        RunId::parse(text).ok_or_else(|| super::Usage(format!("`{text}` is not the name of a run")))
    });
    let wanted = parsed.transpose()?;
    connect::runtime()?.block_on(async {
        let mut connection = connect::connect(global, 0).await?;
        let storage = connect::storage(global)?;
        connection.env.storage = Arc::new(storage.clone());
        let access = Access::new(connection.env.kube.clone());
        let how = Rollback {
            by: identity(&access).await?,
            holder: connect::holder(),
            why: "rollback",
            take_over: if args.take_over { TakeOver::Now } else { TakeOver::Never },
            revert_timeout: args.revert_timeout.0,
            observer: Arc::new(|_| {}),
        };
        let own = connection.asked(global);
        let own: Vec<String> = [Some(own), args.agent_namespace.clone()].into_iter().flatten().collect();
        let all = look(&access, &storage, &own).await?;
        for (fault, error) in &all.unseen {
            super::say(&format!("cannot look for what {fault} may have left: {error}"));
        }
        let unseen = if all.unseen.is_empty() { ExitCode::Ok } else { ExitCode::Residue };
        let (found, others) = all.of(wanted.as_ref());
        if found.leftovers.is_empty() && found.unfinished.is_empty() {
            if clear(&connection, wanted.as_ref(), global).await {
                return Ok(unseen);
            }
            let Some(run) = &wanted else {
                super::say("nothing is left");
                return Ok(unseen);
            };
            let code = nothing_of(run, &connection, &access, &others).await?;
            return Ok(if code == ExitCode::Ok { unseen } else { code });
        }
        let style = super::stderr_style();
        let previews = engine::preview(access.client(), &found.leftovers, &how.by.name).await?;
        super::say(diff(&found.leftovers, &previews, &style).trim_end());
        if !found.leftovers.is_empty() && !agreed(args) {
            super::say("nothing was changed");
            return Ok(ExitCode::Refused);
        }
        let left = put_back(&connection, found, &how).await?;
        clear(&connection, wanted.as_ref(), global).await;
        Ok(if left { ExitCode::Residue } else { unseen })
    })
}

/// What runs have left.
#[derive(Default)]
struct Left {
    leftovers: Vec<Leftover>,
    /// Runs of which nothing is in force, whose journals here have no end.
    unfinished: Vec<RunId>,
    /// Faults whose marks may not be looked for.
    unseen: Vec<(&'static str, ApiError)>,
}

impl Left {
    /// What the run that is meant has left, and what others have; without a name all are meant.
    fn of(self, wanted: Option<&RunId>) -> (Self, Vec<Leftover>) {
        let Some(run) = wanted else { return (self, Vec::new()) };
        let mine = |leftover: &Leftover| leftover.run == run.as_str();
        let (leftovers, others) = self.leftovers.into_iter().partition(mine);
        let unfinished = self.unfinished.into_iter().filter(|unfinished| unfinished == run).collect();
        (Self { leftovers, unfinished, unseen: self.unseen }, others)
    }
}

/// What is left, from journals first, then from scars of runs that have none here.
async fn look(access: &Access, storage: &DirStorage, own: &[String]) -> anyhow::Result<Left> {
    let mut left = Left::default();
    for run in storage.list()? {
        match journal::read(storage, &run) {
            Ok(entries) => {
                left.leftovers.extend(engine::leftovers(&entries).unwrap_or_default());
                // A runner that is alive comes to its end by itself.
                if engine::closes(&entries) && !storage.is_held(&run) {
                    left.unfinished.push(run);
                }
            }
            // A damaged journal does not hide what the objects themselves say.
            Err(error) => super::say(&format!("{error}; going by the scars on the objects")),
        }
    }
    let journaled: BTreeSet<String> = left.leftovers.iter().map(|leftover| leftover.run.clone()).collect();
    // Everywhere, if that is allowed; else where we are.
    let everywhere = engine::from_scars(access, &[String::new()]).await;
    let (scars, unseen) =
        if everywhere.1.is_empty() { everywhere } else { engine::from_scars(access, own).await };
    left.leftovers.extend(scars.into_iter().filter(|scar| !journaled.contains(&scar.run)));
    left.unseen = unseen;
    Ok(left)
}

/// Nothing is left of the run that was named: because it is over, because it is still alive, or because there
/// is no such run, which must not look like the first.
async fn nothing_of(
    run: &RunId,
    connection: &Connection,
    access: &Access,
    others: &[Leftover],
) -> anyhow::Result<ExitCode> {
    if connection.env.storage.list()?.contains(run) {
        super::say(&format!("nothing is left of run {run}"));
        return Ok(ExitCode::Ok);
    }
    let now = connection.env.clock.now();
    // Without the right to look everywhere: what can be said is said without it.
    let leases = match Lease::all(access, "", now).await {
        Err(ApiError::Forbidden(_)) => Lease::all(access, &connection.namespace, now).await?,
        other => other?,
    };
    if let Some((namespace, tenure)) = leases.into_iter().find(|(_, tenure)| tenure.run == *run) {
        let held = LeaseError::Held { namespace, tenure: Box::new(tenure) };
        super::say(&format!("error: {held}; none of its marks is on any object\n{}", remedy(run)));
        return Ok(ExitCode::Refused);
    }
    super::say(&format!("error: no journal here, no mark on an object and no lease names run {run}"));
    let mut runs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for leftover in others {
        runs.entry(&leftover.run).or_default().push(leftover.injection.target.to_string());
    }
    if runs.is_empty() {
        super::say("    nothing of any other run is left");
    }
    let style = super::stderr_style();
    for (run, targets) in runs {
        super::say(&style.plain(&format!("    left over is: run {run}, on {}", targets.join(", "))));
    }
    Ok(ExitCode::Refused)
}

/// What to do about a run whose lease is fresh.
fn remedy(run: &RunId) -> String {
    format!(
        "    remedy: firedrill abort {run}, if its runner is alive; a dead one's lease lapses 15 s after it was renewed last; --take-over does not wait"
    )
}

/// Gives back the leases of dead runs of which nothing else is left. Whether there were any.
async fn clear(connection: &Connection, wanted: Option<&RunId>, global: &Global) -> bool {
    let own = connection.asked(global);
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

/// What is there now, and what would be written.
fn diff(found: &[Leftover], previews: &[Preview], style: &Style) -> String {
    let mut text = String::new();
    for (leftover, preview) in found.iter().zip(previews) {
        let injection = &leftover.injection;
        let source = if leftover.journaled { "journal" } else { "scar" };
        text.push_str(&format!(
            "{} {} by run {} ({source})\n",
            style.paint(Tone::Strong, &style.plain(&injection.target.to_string())),
            style.plain(&injection.fault),
            style.plain(&leftover.run)
        ));
        let mut line = |tone, line: String| {
            text.push_str(&format!("    {}\n", style.paint(tone, &style.plain(&line))));
        };
        match preview {
            Preview::Changes(changes) => {
                for change in changes {
                    line(Tone::Bad, format!("- {}: {}", change.field, value(&change.now)));
                    line(Tone::Good, format!("+ {}: {}", change.field, value(&change.then)));
                }
            }
            Preview::AsBefore(why) => line(Tone::Faint, format!("nothing to put back: {why}")),
            Preview::Gone => line(Tone::Faint, "it is gone: nothing to put back".to_owned()),
            Preview::LeftAlone(why) => line(Tone::Warning, format!("will be left as it is: {why}")),
            Preview::Unknown(why) => line(Tone::Warning, format!("cannot be looked at now: {why}")),
        }
    }
    text
}

fn value(value: &Value) -> String {
    if value.is_null() { "nothing".to_owned() } else { value.to_string() }
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
async fn put_back(connection: &Connection, found: Left, how: &Rollback) -> anyhow::Result<bool> {
    let (journaled, scars): (Vec<Leftover>, Vec<Leftover>) =
        found.leftovers.into_iter().partition(|leftover| leftover.journaled);
    let runs: BTreeSet<RunId> = journaled.iter().filter_map(|leftover| RunId::parse(&leftover.run)).collect();
    let mut left = false;
    for run in runs {
        let targets: BTreeMap<String, ObjectRef> = journaled
            .iter()
            .filter(|leftover| leftover.run == run.as_str())
            .map(|leftover| (leftover.injection.id.to_string(), leftover.injection.target.clone()))
            .collect();
        left |= by_journal(connection, &run, targets, how).await;
    }
    for run in found.unfinished {
        match engine::close(&connection.env, &run, how) {
            Ok(_) => {
                super::say(&format!("run {run}: nothing of it is in force; its journal has its end now"))
            }
            Err(error) => {
                super::say(&format!(
                    "run {run}: nothing of it is in force, but its journal has no end: {error}"
                ));
            }
        }
    }
    if scars.is_empty() {
        return Ok(left);
    }
    let mut alive = BTreeSet::new();
    for (leftover, result) in engine::revert_found(&connection.env, scars, how).await? {
        match result {
            Ok((outcome, detail)) => {
                super::say(&format!("{}: {}", leftover.injection.target, came_out(outcome, &detail)));
            }
            Err(residue) => {
                super::say(&format!("left: {}: {}; {}", residue.target, residue.what, residue.remedy));
                if residue.remedy.ends_with("--take-over") {
                    alive.extend(RunId::parse(&leftover.run));
                }
                left = true;
            }
        }
    }
    for run in alive {
        super::say(&remedy(&run));
    }
    Ok(left)
}

/// How putting something back came out, for people.
fn came_out(outcome: RevertOutcome, detail: &str) -> String {
    match outcome {
        RevertOutcome::Restored => format!("put back: {detail}"),
        RevertOutcome::TargetGone => "it is gone: nothing to put back".to_owned(),
        RevertOutcome::NothingToDo => format!("nothing to put back: {detail}"),
        RevertOutcome::ChangedSince => format!("left as it is: {detail}"),
        RevertOutcome::ExpiredByItself => format!("it had ended by itself: {detail}"),
    }
}

/// Puts back what the journal of one run says. Whether anything is left.
async fn by_journal(
    connection: &Connection,
    run: &RunId,
    targets: BTreeMap<String, ObjectRef>,
    how: &Rollback,
) -> bool {
    // As it happens: every object by name, also the ones that are left alone.
    let observer = Arc::new(move |entry: &Entry| {
        if let Record::Reverted { injection, outcome, detail, .. } = &entry.record
            && let Some(target) = targets.get(&injection.to_string())
        {
            super::say(&format!("{target}: {}", came_out(*outcome, detail)));
        }
    });
    match engine::from_journal(&connection.env, run, Rollback { observer, ..how.clone() }).await {
        Ok(outcome) => {
            for residue in &outcome.residue {
                super::say(&format!("left: {}: {}; {}", residue.target, residue.what, residue.remedy));
            }
            if let Some(unwritten) = &outcome.unwritten {
                super::say(&format!(
                    "note: the journal of run {run} cannot be written ({}): until there is room, and firedrill rollback {run} is said again, it lists the run as unfinished",
                    unwritten.why
                ));
            }
            let back = outcome.residue.is_empty();
            let words = if back { "nothing of it is in force any more" } else { "not everything is back" };
            super::say(&format!("run {run}: {words}"));
            !back
        }
        Err(error) => {
            super::say(&format!("error: {error}"));
            if matches!(error, EngineError::Lease(LeaseError::Held { .. })) {
                super::say(&remedy(run));
            }
            true
        }
    }
}
