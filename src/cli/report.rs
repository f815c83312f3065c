//! `firedrill report`

use clap::Args;

use super::{Global, connect, told};
use crate::{
    env::Storage as _,
    types::{ExitCode, RunId},
};

#[derive(Args)]
pub(super) struct ReportArgs {
    /// The run; `firedrill runs` lists them.
    run: String,

    /// As what.
    #[arg(short, long, value_enum, default_value_t)]
    output: told::Format,
}

pub(super) fn run(global: &Global, args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let storage = connect::storage(global)?;
    let run = named(&storage, &args.run)?;
    let chapters = [told::chapter(&storage, &run)?];
    super::print(&args.output.render(&chapters, &super::stdout_style()))
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
