//! `firedrill runs`

use clap::Args;
use serde_json::json;

use super::{Global, Output, connect};
use crate::{
    engine,
    env::Storage as _,
    journal::{self, Record},
    report::{Facts, Tone},
    types::{ExitCode, RunId},
};

#[derive(Args)]
pub(super) struct RunsArgs {
    /// text for people, json for machines.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

struct Row {
    run: RunId,
    started: String,
    experiment: String,
    place: String,
    verdict: String,
    residue: String,
}

pub(super) fn run(global: &Global, args: &RunsArgs) -> anyhow::Result<ExitCode> {
    let storage = connect::storage(global)?;
    let mut rows: Vec<Row> = storage.list()?.into_iter().map(|run| row(&storage, run)).collect();
    rows.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.run.cmp(&b.run)));
    if args.output == Output::Json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({"run": row.run, "started": row.started, "experiment": row.experiment, "where": row.place,
                       "verdict": row.verdict, "residue": row.residue})
            })
            .collect();
        return super::print(&serde_json::to_string_pretty(&rows)?);
    }
    if rows.is_empty() {
        super::say("no runs yet; their journals will be kept here by `firedrill run`");
        return Ok(ExitCode::Ok);
    }
    let style = super::stdout_style();
    let width = rows.iter().map(|row| row.run.as_str().len()).max().unwrap_or(3).max(3);
    let mut text = format!("{:width$}  {:20}  {:13}  {:8}  WHERE\n", "RUN", "STARTED", "VERDICT", "RESIDUE");
    for row in rows {
        let tone = match row.verdict.as_str() {
            "Passed" => Tone::Good,
            "Failed" | "unfinished" | "damaged" => Tone::Bad,
            _ => Tone::Warning,
        };
        let verdict = style.paint(tone, &format!("{:13}", row.verdict));
        text.push_str(&format!(
            "{:width$}  {:20}  {verdict}  {:8}  {}\n",
            row.run.as_str(),
            row.started,
            row.residue,
            style.plain(&row.place)
        ));
    }
    super::print(&text)
}

/// One run, as far as its journal can be read: a damaged one is listed as such.
fn row(storage: &crate::env::DirStorage, run: RunId) -> Row {
    let blank = |verdict: &str| Row {
        run: run.clone(),
        started: String::new(),
        experiment: String::new(),
        place: String::new(),
        verdict: verdict.to_owned(),
        residue: "?".to_owned(),
    };
    let Ok(entries) = journal::read(storage, &run) else { return blank("damaged") };
    let Some(Record::RunStarted(header)) = entries.first().map(|entry| &entry.record) else {
        return blank("damaged");
    };
    // Of a run that was taken up again only what came of that counts.
    let finished = entries.iter().rev().find_map(|entry| match &entry.record {
        Record::Finished { verdict, residue, .. } => {
            Some(Some((verdict.to_string(), residue.len().to_string())))
        }
        Record::OwnerChanged { .. } => Some(None),
        _ => None,
    });
    let finished = finished.flatten();
    let (verdict, residue) = finished.unwrap_or_else(|| {
        let word = match Facts::from_entries(&entries) {
            Err(_) => "damaged",
            // Its runner holds the journal as long as it lives.
            Ok(_) if storage.is_held(&run) => "running",
            Ok(_) => "unfinished",
        };
        // Before anybody has looked at the cluster: what the journal says is to be taken back.
        let left = engine::leftovers(&entries).map_or("?".to_owned(), |left| left.len().to_string());
        (word.to_owned(), left)
    });
    let started =
        entries.first().map(|entry| entry.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
    Row {
        experiment: header.experiment["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        place: format!("{}/{}", header.environment.cluster, header.namespace),
        started,
        verdict,
        residue,
        run,
    }
}
