//! `firedrill check`

use clap::Args;

use super::{FileArgs, Output, input};
use crate::{
    api::check,
    types::{ExitCode, counted},
};

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    files: FileArgs,

    /// text for people, json for machines.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let read = match input::read(&args.files, input::For::Checking) {
        Ok(read) => read,
        Err(error) => {
            super::say(&format!("error: {error:#}"));
            return Ok(ExitCode::Invalid);
        }
    };
    let errors = read.findings.iter().filter(|finding| finding.is_error()).count();
    if args.output == Output::Json {
        super::print(&serde_json::to_string_pretty(&check::json(&read.findings))?)?;
    } else {
        if !read.findings.is_empty() {
            super::print(&input::rendered(&read.texts, &read.findings, &super::stdout_style()))?;
        }
        let warnings = read.findings.len() - errors;
        super::say(&format!(
            "{}, {} accepted, {}, {}",
            counted(read.texts.len(), "file"),
            counted(read.documents.len(), "document"),
            counted(errors, "error"),
            counted(warnings, "warning")
        ));
    }
    Ok(if errors > 0 { ExitCode::Invalid } else { ExitCode::Ok })
}
