//! `firedrill rehearse --until`: the calendar of a game day in virtual time.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Global, Usage, connect,
    dates::Side,
    game_day::{Outing, Planned},
    next::{self, Change},
    rehearse::{self, RehearseArgs},
    told::{Format, Reports},
};
use crate::{
    api::ConcurrencyPolicy,
    controller::calendar::{Calendar, Occurrence, Skipped, run_name},
    env::Clock,
    report::{DayFacts, Style, Tone},
    types::{ExitCode, counted},
};

/// So many times are held at most: more is a schedule that was not meant.
const MOST: usize = 1_000;

/// A time, and what came of it.
struct Row {
    due: Occurrence,
    outcome: Result<DayFacts, Skipped>,
}

/// Holds every time of a calendar, each on a fresh cluster, or says why it is skipped.
pub(super) fn run(
    (global, args): (&Global, &RehearseArgs),
    planned: Planned<'_>,
    reports: &mut Reports<'_>,
) -> anyhow::Result<ExitCode> {
    let calendar = Calendar::new(&planned.day.spec).map_err(Usage)?;
    let name = &planned.day.metadata.name;
    if !calendar.scheduled() {
        return Err(Usage(format!("{name} has no schedule: it is held by hand")).into());
    }
    let (from, until) = span(args, &calendar)?;
    let seed = args.setting.seed.unwrap_or_else(connect::fresh_seed);
    let dues: Vec<Occurrence> =
        calendar.occurrences_from(from).take_while(|due| due.at < until).take(MOST + 1).collect();
    if dues.len() > MOST {
        return Err(Usage(format!("{name} comes due more than {MOST} times until then")).into());
    }
    let workloads = rehearse::workloads(args, &planned.acts.experiments)?;
    let replaces = planned.day.spec.concurrency_policy == ConcurrencyPolicy::Replace;
    let mut rows: Vec<Row> = Vec::new();
    let mut codes = Vec::new();
    for (number, due) in dues.iter().enumerate() {
        let skipped = due.skipped.clone().or_else(|| running(name, &rows, due.at));
        let outcome = match skipped {
            Some(why) => Err(why),
            None => {
                let next = dues[number + 1..].iter().find(|next| next.skipped.is_none());
                let outing = Outing {
                    planned,
                    calendar: &calendar,
                    findings: Vec::new(),
                    // Other choices each time, and the same again with the same seed.
                    seed: seed.wrapping_add(number as u64),
                    scheduled: Some(due.when()),
                    replaced: next.filter(|_| replaces).map(|next| next.at),
                };
                let held = rehearse::hold((global, args), &workloads, &outing, (due.at, true))?;
                codes.push(held.code);
                reports.add_day(held.day.clone(), held.chapters, true);
                Ok(held.day)
            }
        };
        let row = Row { due: due.clone(), outcome };
        super::say(&row.line(&super::stderr_style()));
        rows.push(row);
    }
    match args.tell.output {
        Format::Text => {
            super::print(&table(&calendar, (name, seed), (from, until), &rows))?;
        }
        Format::Json => {
            let held: Vec<_> = rows.iter().map(Row::json).collect();
            let (from, until) = (from.to_string(), until.to_string());
            let all = json!({"gameDay": name, "from": from, "until": until, "seed": seed, "calendar": held});
            super::print(&serde_json::to_string_pretty(&all)?)?;
        }
        _ => super::say(&table(&calendar, (name, seed), (from, until), &rows)),
    }
    Ok(if codes.is_empty() { ExitCode::Refused } else { ExitCode::worst(codes) })
}

fn span(args: &RehearseArgs, calendar: &Calendar) -> anyhow::Result<(Timestamp, Timestamp)> {
    let zone = calendar.hours().zone();
    let from = args.from.map(|day| day.instant(zone, Side::Begin)).transpose()?;
    let from = from.unwrap_or_else(|| Clock::system().now());
    let until = args.until.map(|day| day.instant(zone, Side::End)).transpose()?.unwrap_or(from);
    if until <= from {
        return Err(
            Usage("--until is not after --from, which is now where nothing is given".to_owned()).into()
        );
    }
    Ok((from, until))
}

/// That the one before still runs; with Replace it has been ended.
fn running(name: &str, rows: &[Row], at: Timestamp) -> Option<Skipped> {
    let last = rows.iter().rev().find_map(|row| Some((row.due.at, row.outcome.as_ref().ok()?.ended)));
    let (due, _) = last.filter(|(_, ended)| *ended > at)?;
    Some(Skipped::Running(run_name(name, due)))
}

impl Row {
    fn json(&self) -> Value {
        let held = self.outcome.as_ref().ok();
        json!({
            "time": self.due.at.to_string(),
            "local": self.due.when(),
            "skipped": self.outcome.as_ref().err().map(ToString::to_string),
            "verdict": held.map(|day| day.verdict.to_string()),
            "exitCode": held.map(|day| day.exit_code),
            "ended": held.map(|day| day.ended.to_string()),
        })
    }

    fn line(&self, style: &Style) -> String {
        let (tone, words) = match &self.outcome {
            Ok(day) => {
                let ms = day.ended.duration_since(day.started).as_millis();
                let took = crate::report::length(u64::try_from(ms).unwrap_or(0));
                let passed = day.experiments.iter().filter(|entry| entry.verdict == "Passed").count();
                let why = if passed == day.experiments.len() {
                    String::new()
                } else {
                    format!(": {}", day.message)
                };
                let tone = if day.exit_code == 0 { Tone::Good } else { Tone::Bad };
                (tone, format!("{} after {took}{why}", day.verdict))
            }
            Err(why) => (Tone::Warning, format!("skipped: {why}")),
        };
        format!("  {}", next::row(&self.due, (tone, &words), style))
    }
}

/// All of it once more, with the changes of clocks, and how it came out.
fn table(
    calendar: &Calendar,
    (name, seed): (&str, u64),
    (from, until): (Timestamp, Timestamp),
    rows: &[Row],
) -> String {
    let style = super::stdout_style();
    let zone = calendar.hours().zone();
    let day = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string();
    let ran = rows.iter().filter(|row| row.outcome.is_ok()).count();
    let passed = rows.iter().filter(|row| matches!(&row.outcome, Ok(day) if day.exit_code == 0)).count();
    let head = format!(
        "{name} from {} until {}, seed {seed}: due {}, held {ran}, passed {passed}, skipped {}",
        day(from),
        day(until),
        counted(rows.len(), "time"),
        rows.len() - ran
    );
    let mut lines = vec![style.paint(Tone::Strong, &head)];
    let mut changes = next::changes(zone, from, until).into_iter().peekable();
    for row in rows {
        while let Some(change) = changes.next_if(|change: &Change| change.at <= row.due.at) {
            lines.push(format!("  {}", style.paint(Tone::Faint, &change.line())));
        }
        lines.push(row.line(&style));
    }
    lines.extend(changes.map(|change| format!("  {}", style.paint(Tone::Faint, &change.line()))));
    let mut last = from;
    for at in rows.iter().filter(|row| row.outcome.is_ok()).map(|row| row.due.at).chain([until]) {
        if let Some(since) = calendar.overdue(last, at) {
            let cadence = next::cadence(calendar.cadence().unwrap_or_default());
            lines.push(format!("  ! overdue from {}: it must have run every {cadence}", day(since)));
        }
        last = at;
    }
    lines.join("\n")
}
