//! A game day from the journals that the controller kept of it.

use std::collections::BTreeMap;

use super::{DayEntry, DayFacts};
use crate::{
    api::GameDay,
    journal::{Asked, DayHeader, DayRecord, Entry, Header, Record},
    report::{Chapter, Facts},
    types::{RunId, Verdict},
};

/// The game day of a journal, and the chapter of each of its experiments in order; `chapter` reads one of those from
/// its own journal. None: it is the journal of something else.
pub fn kept(
    entries: &[Entry],
    chapter: &mut dyn FnMut(&RunId) -> Option<Chapter>,
) -> Option<(DayFacts, Vec<Chapter>)> {
    let first = entries.first()?;
    let Record::Day(DayRecord::Began(header)) = &first.record else { return None };
    let day = GameDay::from_value(&header.game_day).ok()?;
    let records = || entries.iter().filter_map(|entry| Some((entry.at, day_record(&entry.record)?)));
    let mut chapters = Vec::new();
    for (entry, value) in day.spec.experiments.iter().zip(&header.experiments) {
        let found = records().filter_map(|(at, record)| match record {
            DayRecord::Playing { part, run } if *part == entry.name => chapter(run),
            DayRecord::Refused { part, findings } if *part == entry.name => {
                let header = of_experiment(header, value);
                Some(Chapter::Run(Box::new(Facts::refused(header, findings.clone(), at))))
            }
            DayRecord::Skipped { part, why } if *part == entry.name => {
                Some(Chapter::Skipped { experiment: entry.experiment().to_owned(), why: why.clone() })
            }
            _ => None,
        });
        let missing = || Chapter::Skipped {
            experiment: entry.experiment().to_owned(),
            why: "it was not begun".to_owned(),
        };
        chapters.push(found.last().unwrap_or_else(missing));
    }
    let asked = records().filter_map(|(_, record)| asked(record));
    let mut over = records().filter_map(|(at, record)| match record {
        DayRecord::Over { verdict, reason, message, code } => {
            Some((at, *verdict, reason.clone(), message.clone(), *code))
        }
        _ => None,
    });
    let unfinished = || {
        let last = entries.last().map_or(first.at, |entry| entry.at);
        (last, Verdict::Inconclusive, "Unfinished".to_owned(), "it is not over".to_owned(), 4)
    };
    let (ended, verdict, reason, message, exit_code) = over.next_back().unwrap_or_else(unfinished);
    let pairs = day.spec.experiments.iter().zip(&chapters);
    let facts = DayFacts {
        game_day: day.metadata.name.clone(),
        namespace: day.metadata.namespace.clone().unwrap_or_default(),
        description: day.spec.description.clone(),
        file: format!("gameday/{}", day.metadata.name),
        seed: header.seed,
        place: format!("cluster {}", header.environment.cluster),
        by: header.by.clone(),
        version: header.version.clone(),
        scheduled: header.scheduled.clone(),
        started: first.at,
        ended,
        people: day.spec.people.clone(),
        verdict,
        reason,
        message,
        exit_code,
        experiments: pairs
            .map(|(entry, chapter)| DayEntry::of(&entry.name, entry.experiment(), chapter))
            .collect(),
        asked: asked.collect(),
    };
    Some((facts, chapters))
}

/// What was asked, or what somebody has observed.
fn asked(record: &DayRecord) -> Option<Asked> {
    match record {
        DayRecord::Asked { asked } => Some(asked.clone()),
        DayRecord::Noted { text, written } => Some(Asked {
            what: "note".to_owned(),
            at: written.time,
            took_ms: 0,
            holds: true,
            detail: text.clone(),
        }),
        _ => None,
    }
}

fn day_record(record: &Record) -> Option<&DayRecord> {
    match record {
        Record::Day(record) => Some(record),
        _ => None,
    }
}

/// What an experiment that was refused would have begun with.
fn of_experiment(day: &DayHeader, value: &serde_json::Value) -> Header {
    let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
    Header {
        run: RunId::new(&text("name"), day.seed),
        version: day.version.clone(),
        experiment: value.clone(),
        file: format!("experiment/{}", text("name")),
        seed: day.seed,
        by: day.by.clone(),
        holder: String::new(),
        environment: day.environment.clone(),
        namespace: text("namespace"),
        namespaces: Vec::new(),
        limits: BTreeMap::new(),
        metrics: String::new(),
        server_ahead_ms: 0,
        approvals: 0,
        asked_by: String::new(),
    }
}
