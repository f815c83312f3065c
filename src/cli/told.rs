//! How a run is told: live on standard error, then as a report on standard output and in files.

use std::{
    io::{IsTerminal as _, Stderr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;

use super::{
    Output, TellArgs,
    timeline::{Mode, Timeline},
};
use crate::{
    engine::{EngineError, Outcome},
    env::Env,
    journal::{self, Entry},
    report::{self, Facts, Style},
    types::{ExitCode, RunId},
};

/// The live timeline, shared with the engine.
#[derive(Clone)]
pub(super) struct Told(Arc<Mutex<Timeline<Stderr>>>);

impl Told {
    pub(super) fn new(_args: &TellArgs, style: &Style) -> Self {
        let mode = Mode { progress: std::io::stderr().is_terminal(), style: *style };
        Self(Arc::new(Mutex::new(Timeline::new(std::io::stderr(), mode))))
    }

    pub(super) fn on(&self, entry: &Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).on(entry);
    }

    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).close();
    }
}

/// Writes the report of what a run came to, and says with what to exit.
pub(super) fn end(
    outcome: Result<Outcome, EngineError>,
    env: &Env,
    args: &TellArgs,
    told: &Told,
) -> anyhow::Result<ExitCode> {
    told.close();
    match outcome {
        Ok(outcome) => {
            show(env, &outcome.run, args.output)?;
            for path in &args.report {
                write(env, &outcome.run, path)?;
            }
            Ok(outcome.exit_code())
        }
        Err(EngineError::JournalLost { error, taken_back }) => {
            super::say(&format!("error: the journal cannot be written: {error}"));
            for (injection, words) in &taken_back {
                super::say(&format!("  {injection}: {words}"));
            }
            let left = taken_back.iter().any(|(_, words)| words.starts_with("not taken back"));
            Ok(if left { ExitCode::Residue } else { ExitCode::Inconclusive })
        }
        Err(error @ (EngineError::Left(_) | EngineError::Lost(..))) => {
            super::say(&format!("error: {error}"));
            Ok(ExitCode::Residue)
        }
        Err(error) => Err(error.into()),
    }
}

/// A run's report as text.
pub(super) fn rendered(
    env_storage: &dyn crate::env::Storage,
    run: &RunId,
    output: Output,
    style: &Style,
) -> anyhow::Result<String> {
    let entries = journal::read(env_storage, run)?;
    let facts = Facts::from_entries(&entries)?;
    Ok(match output {
        Output::Text => report::text::render(&facts, style),
        Output::Json => report::json::render(&facts),
        Output::Markdown => report::markdown::render(&facts),
    })
}

fn show(env: &Env, run: &RunId, output: Output) -> anyhow::Result<()> {
    let text = rendered(&*env.storage, run, output, &super::stdout_style())?;
    super::print(&text).map(|_| ())
}

fn write(env: &Env, run: &RunId, path: &Path) -> anyhow::Result<()> {
    let output = match path.extension().and_then(|extension| extension.to_str()) {
        Some("md") => Output::Markdown,
        Some("json") => Output::Json,
        Some("txt") => Output::Text,
        _ => anyhow::bail!("--report {}: the name has to end in .md, .json or .txt", path.display()),
    };
    let text = rendered(&*env.storage, run, output, &Style::default())?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
