//! `firedrill runs`

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Global, Output, connect, report};
use crate::{
    cluster::{Access, Segments},
    engine,
    env::{MemoryStorage, Storage},
    journal::{self, DayHeader, DayRecord, Entry, Record},
    report::{Facts, NARROWEST, Style, Tone, wrap},
    types::{ExitCode, RunId},
};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    command: Option<RunsCommand>,

    /// text for people, json for machines.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Those whose journals the controller keeps in the cluster.
    #[arg(long)]
    controller: bool,

    #[command(flatten)]
    namespace: super::controller::NamespaceArgs,
}

#[derive(Subcommand)]
enum RunsCommand {
    /// Copy journals out of the cluster, for `firedrill report` to read when the controller's are deleted.
    Export(super::export::ExportArgs),
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
    if let Some(RunsCommand::Export(args)) = &args.command {
        return super::export::run(global, args);
    }
    let mut rows = match args.controller {
        true => kept_there(global, &args.namespace.controller_namespace)?,
        false => {
            let storage = connect::storage(global)?;
            storage.list()?.into_iter().map(|run| row(&storage, run)).collect()
        }
    };
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
        super::say(match args.controller {
            true => "no runs yet; the controller keeps a journal of each Run",
            false => "no runs yet; their journals will be kept here by `firedrill run`",
        });
        return Ok(ExitCode::Ok);
    }
    super::print(&table(&rows, &super::stdout_style(), std::io::stdout().is_terminal()))
}

/// A line a run; on a terminal that is too narrow for that, two.
fn table(rows: &[Row], style: &Style, terminal: bool) -> String {
    let width = rows.iter().map(|row| row.run.as_str().len()).max().unwrap_or(3).max(3);
    let place = rows.iter().map(|row| row.place.chars().count()).max().unwrap_or(0);
    // In a pipe a run is a line, whatever the width.
    let one = !terminal || width + 49 + place <= style.width;
    let mut text = match one {
        true => format!("{:width$}  {:20}  {:13}  {:8}  WHERE\n", "RUN", "STARTED", "VERDICT", "RESIDUE"),
        false => "RUN\n  VERDICT, RESIDUE\n    STARTED WHERE\n".to_owned(),
    };
    for row in rows {
        let tone = match row.verdict.as_str() {
            "Passed" => Tone::Good,
            "Failed" | "unfinished" | "damaged" => Tone::Bad,
            _ => Tone::Warning,
        };
        let (run, started, place) = (row.run.as_str(), &row.started, style.plain(&row.place));
        if one {
            let verdict = style.paint(tone, &format!("{:13}", row.verdict));
            let residue = &row.residue;
            text.push_str(&format!("{run:width$}  {started:20}  {verdict}  {residue:8}  {place}\n"));
            continue;
        }
        let verdict = style.paint(tone, &row.verdict);
        text.push_str(&format!("{run}\n  {verdict}, {}", row.residue));
        let room = style.width.max(NARROWEST).saturating_sub(4);
        let rest = wrap(&format!("{started} {place}"), room).join("\n    ");
        text.push_str(&format!("\n    {rest}\n"));
    }
    text
}

/// The runs whose journals are in the cluster.
fn kept_there(global: &Global, namespace: &str) -> anyhow::Result<Vec<Row>> {
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        let journals = report::kept(&access, namespace).await?;
        let mut rows = Vec::new();
        for journal in journals {
            let bytes = Segments::bytes(&access, namespace, &journal.run).await?;
            let storage = MemoryStorage::default();
            storage.insert(&journal.run, bytes);
            rows.push(told(&storage, journal.run, || true));
        }
        Ok(rows)
    })
}

/// One run, whose runner holds the journal as long as it lives.
fn row(storage: &crate::env::DirStorage, run: RunId) -> Row {
    told(storage, run.clone(), || storage.is_held(&run))
}

/// One run, as far as its journal can be read: a damaged one is listed as such.
fn told(storage: &dyn Storage, run: RunId, lives: impl Fn() -> bool) -> Row {
    let blank = |verdict: &str| Row {
        run: run.clone(),
        started: String::new(),
        experiment: String::new(),
        place: String::new(),
        verdict: verdict.to_owned(),
        residue: "?".to_owned(),
    };
    let Ok(entries) = journal::read(storage, &run) else { return blank("damaged") };
    let header = match entries.first().map(|entry| &entry.record) {
        Some(Record::RunStarted(header)) => header,
        Some(Record::Day(DayRecord::Began(day))) => {
            return Row { residue: "0".to_owned(), ..of_day(blank, day, &entries) };
        }
        _ => return blank("damaged"),
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
            Ok(_) if lives() => "running",
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

/// A game day; what its parts have left is in their own lines.
fn of_day(blank: impl Fn(&str) -> Row, day: &DayHeader, entries: &[Entry]) -> Row {
    let over = entries.iter().rev().find_map(|entry| match &entry.record {
        Record::Day(DayRecord::Over { verdict, .. }) => Some(verdict.to_string()),
        _ => None,
    });
    let text = |field: &str| day.game_day["metadata"][field].as_str().unwrap_or_default().to_owned();
    let started = entries.first().map(|entry| entry.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    Row {
        started: started.unwrap_or_default(),
        experiment: text("name"),
        place: format!("{}/{}", day.environment.cluster, text("namespace")),
        ..blank(&over.unwrap_or_else(|| "unfinished".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_a_line_in_a_pipe_and_two_on_a_narrow_terminal() {
        let row = Row {
            run: RunId::new("checkout-survives-pod-loss", 7),
            started: "2026-11-23T10:00:00Z".to_owned(),
            experiment: "checkout-survives-pod-loss".to_owned(),
            place: "a-cluster-with-a-long-name/shop".to_owned(),
            verdict: "Passed".to_owned(),
            residue: "0".to_owned(),
        };
        let rows = [row];
        let narrow = Style { width: 40, ..Style::default() };
        assert_eq!(table(&rows, &narrow, false).lines().count(), 2);
        let told = table(&rows, &narrow, true);
        assert!(told.lines().all(|line| line.chars().count() <= 40), "{told}");
        assert!(told.contains("Passed, 0") && told.contains("a-cluster-with-a-long-name/shop"), "{told}");
        let wide = Style { width: 200, ..Style::default() };
        assert_eq!(table(&rows, &wide, true), table(&rows, &narrow, false));
    }
}
