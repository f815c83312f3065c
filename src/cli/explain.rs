//! `firedrill explain`

use clap::Args;

use crate::{
    api,
    report::{Style, Tone},
    types::{CodeInfo, ExitCode, codes},
};

#[derive(Args)]
pub(super) struct ExplainArgs {
    /// A kind or field (experiment, guardrail.spec.limits), a fault or probe in it, or a code (FD3009).
    #[arg(value_name = "KIND[.FIELD] | CODE")]
    what: String,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let what = args.what.trim();
    let wanted = what.to_uppercase();
    if let Some(info) = codes::all().find(|info| info.code.0 == wanted) {
        return super::print(&code(info, &super::stdout_style()));
    }
    if wanted.strip_prefix("FD").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
        super::say(&format!("error: there is no code {wanted}"));
        return Ok(ExitCode::Invalid);
    }
    match api::explain::explain(what) {
        Ok(text) => super::print(&text),
        Err(message) => {
            super::say(&format!("error: {message}"));
            Ok(ExitCode::Invalid)
        }
    }
}

fn code(info: &CodeInfo, style: &Style) -> String {
    let part =
        |head: &str, text: &str| format!("{}\n    {}\n", style.paint(Tone::Faint, head), style.plain(text));
    format!(
        "{} {}\n\n{}\n{}\n{}",
        style.paint(Tone::Strong, &info.code.0),
        style.paint(Tone::Strong, info.title),
        part("The standard behind it", info.standard),
        part("How it is discovered", info.discovery),
        part("How to resolve it", info.resolution),
    )
}
