//! `firedrill report`

use clap::Args;

use super::{Global, connect, told};
use crate::{
    cluster::{Access, JournalFound, Segments},
    env::{MemoryStorage, Storage as _},
    report::Chapter,
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
        true => [kept_there(global, args)?],
        false => {
            let storage = connect::storage(global)?;
            let run = named(&storage, &args.run)?;
            [told::chapter(&storage, &run)?]
        }
    };
    super::print(&args.output.render(&chapters, &super::stdout_style()))
}

/// A run by its name in journals, by that of its Run, or by the beginning of either.
fn kept_there(global: &Global, args: &ReportArgs) -> anyhow::Result<Chapter> {
    let namespace = &args.namespace.controller_namespace;
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        let journals = Segments::list(&access, namespace).await?;
        let own = |journal: &JournalFound| global.namespace.as_ref().is_none_or(|own| journal.object.starts_with(&format!("{own}/")));
        let named = |journal: &JournalFound, whole: bool| {
            let object = journal.object.rsplit_once('/').map_or("", |(_, name)| name);
            [journal.run.as_str(), object].iter().any(|name| if whole { *name == args.run } else { name.starts_with(&args.run) })
        };
        let of = |whole: bool| journals.iter().filter(move |journal| own(journal) && named(journal, whole)).collect::<Vec<_>>();
        let found = Some(of(true)).filter(|exact| !exact.is_empty()).unwrap_or_else(|| of(false));
        let run = match found[..] {
            [journal] => journal.run.clone(),
            [] => return Err(super::Usage(format!("there is no journal of run {} in namespace {namespace}; firedrill runs --controller lists those there are", args.run)).into()),
            _ => {
                let names: Vec<String> = found.iter().map(|journal| format!("{} ({})", journal.run, journal.object)).collect();
                return Err(super::Usage(format!("several runs begin with {}: {}", args.run, names.join(", "))).into());
            }
        };
        let storage = MemoryStorage::default();
        storage.insert(&run, Segments::bytes(&access, namespace, &run).await?);
        told::chapter(&storage, &run)
    })
}

/// A run by its name, or by the beginning of it if that is enough.
pub(super) fn named(storage: &crate::env::DirStorage, text: &str) -> anyhow::Result<RunId> {
    let usage = |message: String| anyhow::Error::from(super::Usage(message));
    let wanted = RunId::parse(text).ok_or_else(|| usage(format!("`{text}` is not the name of a run")))?;
    let runs = storage.list()?;
    if runs.contains(&wanted) {
        return Ok(wanted);
    }
    let close: Vec<&RunId> = runs.iter().filter(|run| run.as_str().starts_with(text)).collect();
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
