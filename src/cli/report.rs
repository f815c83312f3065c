//! `firedrill report`

use std::collections::BTreeMap;

use clap::Args;

use super::{Global, connect, follow, told};
use crate::{
    cluster::{Access, ApiError, JournalFound, Segments},
    controller,
    env::{DirStorage, Storage as _},
    journal::{self, DayRecord, Entry, Record},
    report::{self, Chapter, DayFacts, Facts},
    types::{ExitCode, RunId},
};

#[derive(Args)]
pub(super) struct ReportArgs {
    /// The run; `firedrill runs` lists them.
    run: String,

    /// As what.
    #[arg(short, long, value_enum, default_value_t)]
    output: told::Format,

    /// From the journal that the controller keeps in the cluster; the Run's own name will do.
    #[arg(long)]
    controller: bool,

    #[command(flatten)]
    namespace: super::controller::NamespaceArgs,
}

pub(super) fn run(global: &Global, args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let chapters = match args.controller {
        true => kept_there(global, args)?,
        false => {
            let storage = connect::storage(global)?;
            chapters(&storage, &named(&storage, &args.run)?)?
        }
    };
    super::print(&args.output.render(&chapters, &super::stdout_style()))
}

/// What is on record of a run here; of a game day that was exported the day first, and then its experiments.
pub(super) fn chapters(storage: &DirStorage, run: &RunId) -> anyhow::Result<Vec<Chapter>> {
    let entries = journal::read(storage, run)?;
    let mut chapter = |run: &RunId| {
        let facts = Facts::from_entries(&journal::read(storage, run).ok()?).ok()?;
        Some(Chapter::Run(Box::new(facts)))
    };
    match report::day::kept(&entries, &mut chapter) {
        Some((day, chapters)) => Ok([Chapter::Day(Box::new(day))].into_iter().chain(chapters).collect()),
        None => Ok(vec![Chapter::Run(Box::new(Facts::from_entries(&entries)?))]),
    }
}

fn kept_there(global: &Global, args: &ReportArgs) -> anyhow::Result<Vec<Chapter>> {
    let namespace = &args.namespace.controller_namespace;
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        let mut journals = kept(&access, namespace).await?;
        if let Some(own) = &global.namespace {
            journals.retain(|journal| journal.object.starts_with(&format!("{own}/")));
        }
        let run = named_there(&journals, &args.run, namespace).map_err(super::Usage)?;
        let (entries, _) = journal::decode(&Segments::bytes(&access, namespace, &run).await?)?;
        if let Some((day, chapters)) = day_kept(&access, namespace, &entries).await? {
            return Ok([Chapter::Day(Box::new(day))].into_iter().chain(chapters).collect());
        }
        Ok(vec![Chapter::Run(Box::new(Facts::from_entries(&entries)?))])
    })
}

/// The journals in the controller's namespace.
///
/// # Errors
/// The API server's; of what is not allowed, with what to ask for.
pub(super) async fn kept(access: &Access, namespace: &str) -> anyhow::Result<Vec<JournalFound>> {
    match Segments::list(access, namespace).await {
        Err(ApiError::Forbidden(_)) => anyhow::bail!(follow::forbidden(namespace)),
        listed => Ok(listed?),
    }
}

/// The game day that these are the journal of, with the journals of its experiments; None: of something else.
pub(super) async fn day_kept(
    access: &Access,
    namespace: &str,
    entries: &[Entry],
) -> anyhow::Result<Option<(DayFacts, Vec<Chapter>)>> {
    let mut runs = BTreeMap::new();
    for entry in entries {
        if let Record::Day(DayRecord::Playing { run, .. }) = &entry.record {
            let (entries, _) = journal::decode(&Segments::bytes(access, namespace, run).await?)?;
            if let Ok(facts) = Facts::from_entries(&entries) {
                runs.insert(run.clone(), Chapter::Run(Box::new(facts)));
            }
        }
    }
    Ok(report::day::kept(entries, &mut |run| runs.get(run).cloned()))
}

/// A run by its name in journals, by that of its Run, or by the beginning of either.
pub(super) fn named_there(journals: &[JournalFound], text: &str, namespace: &str) -> Result<RunId, String> {
    let names = |journal: &JournalFound, fits: fn(&str, &str) -> bool| {
        let object = journal.object.rsplit_once('/').map_or("", |(_, name)| name);
        fits(journal.run.as_str(), text) || fits(object, text)
    };
    let of = |fits| journals.iter().filter(|journal| names(journal, fits)).collect::<Vec<_>>();
    let mut found = of(|name, text| name == text);
    // Of a game day the name of its Run means all of it, and not one of its parts.
    if found.len() > 1 {
        let whole = |journal: &&&JournalFound| controller::owns(journal);
        found = found.iter().filter(whole).copied().collect();
    }
    if found.is_empty() {
        found = of(|name, text| name.starts_with(text));
    }
    match found[..] {
        [journal] => Ok(journal.run.clone()),
        [] => Err(format!(
            "there is no journal of run {text} in namespace {namespace}; \
             firedrill runs --controller lists those there are"
        )),
        _ => {
            let names: Vec<String> =
                found.iter().map(|journal| format!("{} ({})", journal.run, journal.object)).collect();
            Err(format!("several runs begin with {text}: {}", names.join(", ")))
        }
    }
}

/// A run by its name, or by the beginning of it if that is enough.
pub(super) fn named(storage: &DirStorage, text: &str) -> anyhow::Result<RunId> {
    let usage = |message: String| anyhow::Error::from(super::Usage(message));
    let wanted = RunId::parse(text).ok_or_else(|| usage(format!("`{text}` is not the name of a run")))?;
    let runs = storage.list()?;
    if runs.contains(&wanted) {
        return Ok(wanted);
    }
    let mut close: Vec<&RunId> = runs.iter().filter(|run| run.as_str().starts_with(text)).collect();
    // Of a game day's experiments that were exported with it none is meant by the beginning that they share.
    if close.len() > 1 {
        let is_day = |run: &&&RunId| {
            journal::read(storage, run)
                .is_ok_and(|entries| entries.iter().any(|one| matches!(one.record, Record::Day(_))))
        };
        let days: Vec<&RunId> = close.iter().filter(is_day).copied().collect();
        if days.len() == 1 {
            close = days;
        }
    }
    match close[..] {
        [run] => Ok(run.clone()),
        [] => Err(usage(format!(
            "there is no journal of run {text} here; firedrill runs lists those there are"
        ))),
        _ => Err(usage(format!(
            "several runs begin with {text}: {}",
            close.iter().map(|run| run.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}
