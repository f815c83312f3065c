//! What a GameDay's schedule asks for now. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{Deed, Item, LOOKED_THROUGH};
use crate::{
    api::API_VERSION,
    controller::{
        calendar::{Calendar, Decision, Finished, Past, Skipped, run_name, surplus},
        object::{self, GAME_DAY},
        seen::RunSeen,
        status::second,
    },
    types::{Length, ObjectRef},
};

/// What there is to be done, and what is known of times that came due.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub deeds: Vec<Deed>,
    /// Runs beyond those that are kept.
    pub surplus: Vec<ObjectRef>,
    pub past: Known,
    /// What is to be told of a time that is skipped.
    pub skipped: Option<String>,
}

/// Times that were dealt with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    /// The last one that a Run was made for.
    pub scheduled: Option<Timestamp>,
    /// All that are known to have had one.
    pub made: Vec<Timestamp>,
    /// The last one that was skipped, and why.
    pub skipped: Option<(Timestamp, String)>,
}

/// What `item` asks for, `asked` for approvals by Guardrails or not; `skipped`: what was skipped of it a moment ago,
/// whether its status says so or not.
pub(super) fn of(
    (item, asked, skipped): (&Item, bool, Option<&(Timestamp, String)>),
    runs: &[&RunSeen],
    (by, now): (&str, Timestamp),
) -> Said {
    let calendar = item.day().map(|(_, calendar)| match asked {
        true => calendar.clone().asking(),
        false => calendar.clone(),
    });
    let ahead = calendar.as_ref().and_then(Calendar::ahead);
    let mut said = Said { past: known(item, (runs, ahead), now), ..Said::default() };
    said.past.skipped = said.past.skipped.max(skipped.cloned());
    let day = item.day().filter(|_| item.ready()).map(|(day, _)| day);
    let Some((day, calendar)) = day.zip(calendar) else { return said };
    let skipped = said.past.skipped.as_ref().map(|(at, _)| *at);
    let made = said.past.made.iter().copied();
    let past = Past {
        handled: made.filter(|at| *at <= now).chain(skipped).chain([item.created]).max().unwrap_or(now),
        made: said.past.scheduled.filter(|at| *at > now),
        // One that waits for others, or for its time, is in nobody's way.
        active: runs
            .iter()
            .filter(|run| run.finalizer && !run.over())
            .map(|run| run.object.name.clone())
            .collect(),
    };
    match calendar.decide(&past, now) {
        Decision::Wait(_) => {}
        Decision::Start { at, .. } => {
            let name = run_name(&day.metadata.name, at);
            let run = ObjectRef::namespaced(API_VERSION, "Run", &item.object.namespace, &name);
            let mut labels = object::inherited(&item.labels);
            labels.insert(GAME_DAY.to_owned(), day.metadata.name.clone());
            let body = json!({
                "apiVersion": API_VERSION,
                "kind": "Run",
                "metadata": {"name": name, "namespace": item.object.namespace, "labels": labels},
                "spec": {
                    "gameDayRef": {"name": day.metadata.name},
                    "startTime": second(at),
                    "startingDeadline": Length(day.spec.starting_deadline()).to_string(),
                    "requestedBy": by,
                },
            });
            said.deeds.push(Deed::Make(run, body));
        }
        Decision::Skip { at, why } => {
            // That it rests is somebody's wish, and no news each time.
            said.skipped = (why != Skipped::Suspended).then(|| format!("{}: {why}", calendar.when(at)));
            said.past.skipped = Some((at, why.to_string()));
        }
    }
    let finished = runs.iter().filter(|run| run.over() && !run.finalizer);
    let finished: Vec<Finished> = finished
        .filter_map(|run| {
            Some(Finished { name: run.object.name.clone(), at: run.completed()?, residue: run.residue() })
        })
        .collect();
    for name in surplus(&finished, day.spec.runs_history_limit()) {
        let run = runs.iter().find(|run| run.object.name == name && !run.deleted);
        said.surplus.extend(run.map(|run| run.object.clone()));
    }
    said
}

/// The notifications that are to know by now of the next time that is held, and that time.
pub(super) fn upcoming(item: &Item, now: Timestamp) -> Vec<(String, Timestamp)> {
    let Some((day, calendar)) = item.day().filter(|_| item.ready()) else { return Vec::new() };
    if day.spec.notifications.is_empty() {
        return Vec::new();
    }
    let longest = day.leads().map(|(_, lead)| lead).max().unwrap_or_default();
    let near = now.checked_add(longest).unwrap_or(Timestamp::MAX);
    // The next one that is held alone: what comes after it is announced in its turn.
    let mut soon = calendar.occurrences(now).take_while(|next| next.at <= near).take(LOOKED_THROUGH);
    let Some(next) = soon.find(|next| next.skipped.is_none()) else { return Vec::new() };
    let left = Duration::try_from(next.at.duration_since(now)).unwrap_or_default();
    let due = day.leads().filter(|(_, lead)| left <= *lead);
    due.map(|(name, _)| (name.to_owned(), next.at)).collect()
}

/// What the status says, and what Runs there are.
fn known(item: &Item, (runs, ahead): (&[&RunSeen], Option<Duration>), now: Timestamp) -> Known {
    // Whoever may make Runs may name one like that of a time that is far off: it hides none of those before it.
    let until = now.checked_add(ahead.unwrap_or_default()).unwrap_or(Timestamp::MAX);
    let near = |at: &Timestamp| *at <= until;
    let time = |value: &serde_json::Value| value.as_str()?.parse::<Timestamp>().ok();
    let skipped = &item.status["lastSkipped"];
    let made = runs.iter().filter_map(|run| {
        let start = run.spec.as_ref().ok()?.start_time?;
        (run.object.name == run_name(&item.object.name, start)).then_some(start)
    });
    let before = time(&item.status["lastScheduleTime"]);
    let made: Vec<Timestamp> = made.chain(before).filter(near).collect();
    Known {
        scheduled: made.iter().copied().max(),
        made,
        skipped: time(&skipped["time"])
            .map(|at| (at, skipped["reason"].as_str().unwrap_or_default().to_owned())),
    }
}
