//! The statuses of Experiments and GameDays. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Item, LOOKED_THROUGH, last::LastRun, schedule::Known};
use crate::{
    api::{OpenAction, open_actions},
    controller::{
        calendar::Occurrence,
        forbidding::Forbidding,
        metrics::GameDayTold,
        seen::RunSeen,
        status::{cut, second},
    },
    types::Finding,
};

/// So many times that are skipped are named.
const SKIPPED: usize = 16;
/// So many action items are kept beyond their Runs.
const ACTIONS: usize = 64;
/// How long words may be, in bytes.
const WORDS: usize = 1000;

pub(super) fn experiment(item: &Item, last: Option<&LastRun>, now: Timestamp) -> Value {
    let mut status = common(item, last);
    let ready = ready(item, ("Valid", String::new()));
    status.insert("conditions".to_owned(), conditions(&item.status, vec![ready], now));
    Value::Object(status)
}

pub(super) fn game_day(
    item: &Item,
    (runs, last): (&[&RunSeen], Option<&LastRun>),
    (known, forbidding): (&Known, &Forbidding),
    now: Timestamp,
) -> Value {
    let mut status = common(item, last);
    let calendar = item.day().map(|(_, calendar)| calendar);
    let reason = match item.day() {
        Some((day, _)) if day.spec.suspend => ("Suspended", "its schedule rests".to_owned()),
        Some((_, calendar)) if calendar.scheduled() => ("Scheduled", String::new()),
        _ => ("ByHand", "it has no schedule".to_owned()),
    };
    let mut said = vec![ready(item, reason)];
    if let Some(calendar) = calendar.filter(|_| item.ready()) {
        let due = calendar.occurrences(now).map(|due| forbidding.held_against(item.namespaces(), due));
        coming(due, &mut status);
        let ran = held(item, last).unwrap_or(item.created);
        if calendar.cadence().is_some() {
            said.push(match calendar.overdue(ran, now) {
                Some(since) => {
                    let words = format!("it must have run again since {}", calendar.when(since));
                    ("Overdue", true, "NotRun", words)
                }
                None if held(item, last).is_none() => ("Overdue", false, "NotDueYet", String::new()),
                None => ("Overdue", false, "RanInTime", String::new()),
            });
        }
    }
    let told = [("lastHeldTime", held(item, last)), ("lastSuccessfulTime", passed(item, last))];
    status.extend(told.into_iter().filter_map(|(name, at)| Some((name.to_owned(), second(at?).into()))));
    if let Some(at) = known.scheduled {
        status.insert("lastScheduleTime".to_owned(), second(at).into());
    }
    if let Some((at, why)) = &known.skipped {
        let skipped = json!({"time": second(*at), "reason": cut(why, 253)});
        status.insert("lastSkipped".to_owned(), skipped);
    }
    let active: Vec<&str> =
        runs.iter().filter(|run| !run.over()).map(|run| run.object.name.as_str()).take(16).collect();
    status.insert("active".to_owned(), json!(active));
    let notes = runs.iter().filter_map(|run| Some((run.object.name.as_str(), run.spec.as_ref().ok()?)));
    let open = open_actions(OpenAction::carried(&item.status), notes);
    if !open.is_empty() {
        let open: Vec<Value> = open.iter().take(ACTIONS).map(OpenAction::to_status).collect();
        status.insert("openActions".to_owned(), open.into());
    }
    status.insert("conditions".to_owned(), conditions(&item.status, said, now));
    Value::Object(status)
}

/// A time that the status says.
fn known(item: &Item, field: &str) -> Option<Timestamp> {
    item.status[field].as_str()?.parse().ok()
}

/// When one was held last: among the Runs that are left, or as is known of those before them.
fn held(item: &Item, last: Option<&LastRun>) -> Option<Timestamp> {
    last.and_then(|last| last.held).max(known(item, "lastHeldTime"))
}

/// When one passed last.
fn passed(item: &Item, last: Option<&LastRun>) -> Option<Timestamp> {
    last.and_then(|last| last.passed).max(known(item, "lastSuccessfulTime"))
}

/// What metrics tell of a game day with that status.
pub(super) fn measured(status: &Value) -> GameDayTold {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    GameDayTold {
        overdue: conditions.any(|one| one["type"] == "Overdue" && one["status"] == "True"),
        verdict: serde_json::from_value(status["lastRun"]["verdict"].clone()).ok(),
        succeeded: status["lastSuccessfulTime"].as_str().and_then(|at| at.parse().ok()),
    }
}

/// The next time that runs, and those before it that do not.
fn coming(dues: impl Iterator<Item = Occurrence>, status: &mut Map<String, Value>) {
    let mut skipped = Vec::new();
    for due in dues.take(LOOKED_THROUGH) {
        let Some(why) = &due.skipped else {
            status.insert("nextScheduleTime".to_owned(), second(due.at).into());
            status.insert("nextRun".to_owned(), due.when().into());
            break;
        };
        if skipped.len() < SKIPPED {
            skipped.push(json!({"time": second(due.at), "reason": cut(&why.to_string(), 253)}));
        }
    }
    if !skipped.is_empty() {
        status.insert("nextSkipped".to_owned(), skipped.into());
    }
}

fn common(item: &Item, last: Option<&LastRun>) -> Map<String, Value> {
    let mut status = Map::new();
    status.insert("observedGeneration".to_owned(), item.generation.into());
    if let Some(checked) = item.checked.as_ref().filter(|checked| !checked.hash.is_empty()) {
        status.insert("hash".to_owned(), checked.hash.clone().into());
    }
    let told = last
        .map(|last| json!({"name": last.name, "verdict": last.verdict, "completionTime": last.completed}));
    // What ran before the Runs that are left is still known.
    let before = Some(&item.status["lastRun"]).filter(|before| before.is_object()).cloned();
    if let Some(last) = told.or(before) {
        status.insert("lastRun".to_owned(), last);
    }
    status
}

/// A condition before it has its time: type, whether it holds, reason, words.
pub(super) type Said = (&'static str, bool, &'static str, String);

fn ready(item: &Item, (reason, words): (&'static str, String)) -> Said {
    if item.ready() {
        return ("Ready", true, reason, words);
    }
    let told = |finding: &Finding| format!("{} {}: {}", finding.code, finding.subject, finding.message);
    let all: Vec<String> = item.findings().iter().filter(|finding| finding.is_error()).map(told).collect();
    ("Ready", false, "Invalid", all.join("; "))
}

/// Since when each holds follows from the status that was there `before`.
pub(super) fn conditions(before: &Value, said: Vec<Said>, now: Timestamp) -> Value {
    let before = before["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let told = said.into_iter().map(|(kind, holds, reason, words)| {
        let status = if holds { "True" } else { "False" };
        let same = before.iter().find(|old| old["type"] == kind && old["status"] == status);
        let since = same.and_then(|old| old["lastTransitionTime"].as_str()).map(str::to_owned);
        json!({"type": kind, "status": status, "reason": reason, "message": cut(&words, WORDS),
               "lastTransitionTime": since.unwrap_or_else(|| second(now))})
    });
    Value::Array(told.collect())
}
