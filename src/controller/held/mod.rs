//! A game day in the hands of this replica: agreed to, held, and written down, so that another one can go on with it.

mod book;
mod guarded;
mod telling;
mod venue;

pub(super) use telling::{PartTold, notices, tell_declined};

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use self::{book::Book, venue::InCluster};
use super::{
    agreement::{self, Ask},
    begin::{self, No, refused, waited},
    calendar::{Calendar, run_name},
    day::{self, Outing, Planned},
    going_on::goes_on,
    notices::Notice,
    object,
    reconcile::Record as OnRecord,
    request::{self, Frozen, Unreadable},
    seen::RunSeen,
    slots::Slot,
    work::{Case, TOKEN_LIVES, WorkError, on_record, opened, put_back},
};
use crate::{
    api::{API_VERSION, Act, Acts, ConcurrencyPolicy, Experiment, GameDay, NoticeEvent, RunSpec},
    cluster::{Access, ApiError},
    journal::{self, DayHeader, DayRecord, Entry, Record},
    report::{Chapter, Facts, day::kept},
    types::{ExitCode, ObjectRef, RunId, Verdict, counted},
};

/// Begins a game day, and holds it to its end or until it is refused.
pub(super) async fn begin(case: &mut Case) -> Result<(), WorkError> {
    let Some((run, _)) = case.told.clone() else { return Ok(()) };
    let Ok(spec) = run.spec.clone() else { return Ok(()) };
    let header = match agreed(case, &run, &spec).await {
        Ok(header) => header,
        Err(no) => return begin::declined(case, no),
    };
    let name = run.game_day().unwrap_or_default();
    if !object::hold(&case.context.access, &run.object, (object::GAME_DAY, name)).await? {
        // It was deleted before anything was done.
        return Ok(());
    }
    // Of two that were made at the same moment the elder begins.
    let elder = |other: &&RunSeen| {
        let first = (other.created, &other.object.name) < (run.created, &run.object.name);
        other.finalizer && !other.over() && first
    };
    let earlier = others(&case.context.access, &run).await?;
    if let Some(other) = earlier.iter().find(elder) {
        let words = format!("{} still runs", other.object.name);
        return begin::declined(case, No::Declined(Verdict::Refused, "AlreadyRunning", words, Vec::new()));
    }
    let now = case.context.env.clock.now();
    let mut book = Book::begin(case)?;
    book.write(now, DayRecord::Began(Box::new(header.clone())))?;
    let status = day_status(&case.context.access, &run).await?;
    for asked in telling::still_open((&status, &run.object.name), &earlier, now) {
        book.write(now, DayRecord::Asked { asked })?;
    }
    // What was said while it waited was heard by nobody.
    book.note(now, case.answers.notes())?;
    if !case.segments.flushed().await {
        return Err(WorkError::Taken);
    }
    hold(case, (header, book), (now, None)).await
}

/// Goes on with a game day that another owner has left: what is in force goes back first, whatever else there is to
/// say. `dead_pod`: since when that one's pod is deleted.
pub(super) async fn resume(case: &mut Case, dead_pod: Option<Instant>) -> Result<(), WorkError> {
    let ended = match &case.told {
        None => Some(("Deleted", "the Run is gone".to_owned())),
        Some((run, _)) if run.deleted => Some(("Deleted", "it was deleted".to_owned())),
        Some((run, _)) if run.spec.as_ref().is_ok_and(|spec| spec.abort) => {
            Some(("UserAbort", run.aborted()))
        }
        Some(_) => None,
    };
    let begun = case.entries.first().map(|entry| (entry.at, entry.record.clone()));
    if let Some((_, Record::Day(DayRecord::Began(header)))) = &begun
        && let Ok((day, _)) = thawed(header)
    {
        tells(case, &day).await;
    }
    let (residue, parts) = all_back(case, dead_pod, ended.is_some()).await?;
    let Some((at, Record::Day(DayRecord::Began(header)))) = begun else {
        let words = "the journal of the game day does not begin with what is held".to_owned();
        return begin::declined(
            case,
            No::Declined(Verdict::Inconclusive, "JournalDamaged", words, Vec::new()),
        );
    };
    let mut book = Book::resume(case)?;
    let Some((reason, by)) = ended else {
        return hold(case, (*header, book), (at, Some(dead_pod))).await;
    };
    let (reason, message) = (reason.to_owned(), format!("ended by {by}"));
    let code = if residue { ExitCode::Residue } else { ExitCode::Aborted } as u8;
    let now = case.context.env.clock.now();
    book.note(now, case.answers.notes())?;
    book.write(now, DayRecord::Over { verdict: Verdict::Aborted, reason, message, code })?;
    if let Some(notices) = &case.notices {
        let chapter = |run: &RunId| Some(Chapter::Run(Box::new(Facts::from_entries(parts.get(run)?).ok()?)));
        if let Some((facts, _)) = kept(&journal::read(&case.segments, &case.id)?, &mut { chapter }) {
            telling::over(notices, &facts);
        }
        notices.close().await;
    }
    Ok(())
}

/// Whoever the game day's notifications name is told of it from here on.
async fn tells(case: &mut Case, day: &GameDay) {
    if case.notices.is_some() {
        return;
    }
    let spec = case.told.as_ref().and_then(|(run, _)| run.spec.clone().ok()).unwrap_or_default();
    case.notices = notices(&case.context, &case.object, (day, account(&spec, day))).await;
}

/// Puts back what any part of it may have in force: whether something is left, and what is on record of each. `tell`:
/// nobody else will.
async fn all_back(
    case: &Case,
    dead_pod: Option<Instant>,
    tell: bool,
) -> Result<(bool, BTreeMap<RunId, Vec<Entry>>), WorkError> {
    let begun = case.entries.iter().filter_map(|entry| match &entry.record {
        Record::Day(DayRecord::Playing { part, run }) => Some((part.clone(), run.clone())),
        _ => None,
    });
    let (mut failed, mut residue, mut parts) = (None, false, BTreeMap::new());
    for (part, run) in begun.collect::<Vec<_>>() {
        match back(case, (&part, run.clone()), dead_pod, tell).await {
            Ok((left, entries)) => {
                residue |= left;
                parts.insert(run, entries);
            }
            // The others go back all the same; it is tried again.
            Err(error) => {
                tracing::warn!(run = %case.id, part, %error, "it could not be put back yet");
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok((residue, parts)), Err)
}

/// Puts a part back; whether something is left of it, and what is on record.
async fn back(
    case: &Case,
    (part, run): (&str, RunId),
    dead_pod: Option<Instant>,
    tell: bool,
) -> Result<(bool, Vec<Entry>), WorkError> {
    let mut own = part_of(case, run.clone(), None).await?;
    if let Some(since) = dead_pod.filter(|_| own.entries.is_empty()) {
        // Its owner may have begun it a moment ago, for as long as its token is good.
        tokio::time::sleep_until(since + TOKEN_LIVES).await;
        own = part_of(case, run, None).await?;
    }
    if tell {
        own.tell(|progress| progress.turn(part, &own.entries));
    }
    own.part = case.notices.as_ref().map(|notices| PartTold::back(notices, part));
    // What is gone on with is so in its turn, which is now: what comes before it is over.
    let goes_back = on_record(&own.entries) == OnRecord::Open && (tell || !goes_on(&own));
    if goes_back {
        Box::pin(put_back(&mut own, dead_pod)).await?;
        if !own.segments.flushed().await {
            return Err(WorkError::Taken);
        }
    }
    let entries = match own.entries.is_empty() {
        true => Vec::new(),
        false => journal::read(&own.segments, &own.id)?,
    };
    let last = entries.iter().rev().find_map(|entry| match &entry.record {
        Record::Finished { residue, .. } => Some(!residue.is_empty()),
        _ => None,
    });
    if let Some(notices) = case.notices.as_ref().filter(|_| goes_back)
        && let Ok(facts) = Facts::from_entries(&entries)
    {
        telling::part_over(notices, part, &facts);
    }
    Ok((last.unwrap_or(false), entries))
}

/// A part of a game day by itself: its journal, and the way to its engine.
async fn part_of(case: &Case, id: RunId, entry: Option<String>) -> Result<Case, WorkError> {
    let outside = mpsc::unbounded_channel();
    let (segments, entries) = opened(&case.context, (&id, &case.object), &outside.0).await?;
    Ok(Case {
        context: case.context.clone(),
        id,
        object: case.object.clone(),
        segments,
        entries,
        told: case.told.clone(),
        answers: case.answers.clone(),
        slot: Slot::Within,
        part: None,
        notices: None,
        asked: String::new(),
        not_begun: None,
        entry,
        outside,
    })
}

/// Reads what is to be held until it may begin: enough have agreed, its time has come, none of it runs already.
async fn agreed(case: &mut Case, run: &RunSeen, spec: &RunSpec) -> Result<DayHeader, No> {
    let seed = begin::seed(case, run, spec).await?;
    let namespace = run.object.namespace.clone();
    loop {
        let frozen = match request::game_day(&case.context, &namespace, spec).await {
            Ok(frozen) => frozen,
            Err(Unreadable::Refused(findings)) => return Err(refused(findings)),
            Err(Unreadable::Api(error)) => return Err(error.into()),
        };
        tells(case, &frozen.day).await;
        if let Some(no) = unscheduled(run, &frozen.day) {
            return Err(no);
        }
        let terms = agreement::terms(&case.context.access, &namespace).await?;
        let own = frozen.day.spec.approvals;
        let ask = Ask {
            what: json!({
                "gameDay": frozen.value["spec"],
                "experiments": jsons(&frozen.acts.experiments),
                "between": frozen.acts.between.as_ref().map(|act| &act.json),
                "prerequisites": named(&frozen.acts),
                "guardrails": terms.guardrails,
            }),
            authors: frozen.authors.clone(),
            required: terms.required.max(own.map_or(0, |own| own.required)),
            valid_for: own.map_or(agreement::VALID_FOR, |own| own.valid_for.0),
            start: spec.start_time,
            deadline: spec.deadline(run.created),
        };
        let Some(approvals) = agreement::look(case, &ask).await? else { continue };
        let mut others = others(&case.context.access, run).await?;
        // Those that have begun and are not over.
        others.retain(|other| other.finalizer && !other.over());
        match (others.first(), frozen.day.spec.concurrency_policy) {
            (None, _) => return Ok(header(case, (run, spec, seed), frozen, (&ask, approvals))),
            (Some(other), ConcurrencyPolicy::Forbid) => {
                let words = format!("{} still runs", other.object.name);
                return Err(No::Declined(Verdict::Refused, "AlreadyRunning", words, Vec::new()));
            }
            (Some(_), ConcurrencyPolicy::Replace) => {
                for other in &others {
                    object::abort(&case.context.access, &other.object).await?;
                }
                waited(case).await?;
            }
        }
    }
}

/// That the schedule that has made it does not ask for it any more.
fn unscheduled(run: &RunSeen, day: &GameDay) -> Option<No> {
    let start = run.spec.as_ref().ok()?.start_time?;
    if run.object.name != run_name(&day.metadata.name, start) {
        return None;
    }
    let no = |reason, words: &str| Some(No::Declined(Verdict::Refused, reason, words.to_owned(), Vec::new()));
    if day.spec.suspend {
        return no("Suspended", "its schedule rests");
    }
    let next = Calendar::new(&day.spec).ok()?.occurrences_from(start).next().map(|due| due.at);
    if next == Some(start) { None } else { no("NotScheduled", "its schedule has been changed") }
}

/// What the GameDay of a Run says of its past.
async fn day_status(access: &Access, run: &RunSeen) -> Result<Value, ApiError> {
    let name = run.game_day().unwrap_or_default();
    match access.get(&ObjectRef::namespaced(API_VERSION, "GameDay", &run.object.namespace, name)).await {
        Ok(day) => Ok(day.data.get("status").cloned().unwrap_or_default()),
        Err(ApiError::NotFound) => Ok(Value::Null),
        Err(error) => Err(error),
    }
}

/// Other Runs of the same game day.
async fn others(access: &Access, run: &RunSeen) -> Result<Vec<RunSeen>, ApiError> {
    let like = ObjectRef::namespaced(API_VERSION, "Run", &run.object.namespace, "");
    let all = access.list(&like, "").await?;
    let others = all.iter().filter_map(RunSeen::read);
    Ok(others.filter(|other| other.id != run.id && other.game_day() == run.game_day()).collect())
}

/// The account that the Run or the GameDay names; None: each experiment's own.
fn account<'a>(spec: &'a RunSpec, day: &'a GameDay) -> Option<&'a str> {
    spec.service_account_name.as_deref().or(day.spec.service_account_name.as_deref())
}

fn named(acts: &Acts) -> Vec<Value> {
    acts.prerequisites.iter().map(|(name, act)| json!({"name": name, "experiment": act.json})).collect()
}

fn jsons(acts: &[Act]) -> Vec<Value> {
    acts.iter().map(|act| act.json.clone()).collect()
}

fn header(
    case: &Case,
    (run, spec, seed): (&RunSeen, &RunSpec, u64),
    frozen: Frozen,
    (ask, approvals): (&Ask, Vec<String>),
) -> DayHeader {
    let calendar = Calendar::new(&frozen.day.spec).ok();
    let scheduled = calendar.filter(Calendar::scheduled).zip(spec.start_time);
    DayHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        experiments: jsons(&frozen.acts.experiments),
        between: frozen.acts.between.map(|act| act.json),
        prerequisites: frozen.acts.prerequisites.into_iter().map(|(name, act)| (name, act.json)).collect(),
        game_day: frozen.value,
        seed,
        by: if spec.requested_by.is_empty() { run.key() } else { spec.requested_by.clone() },
        environment: case.context.settings.environment.clone(),
        scheduled: scheduled.map(|(calendar, start)| calendar.when(start)),
        hash: agreement::hash(&ask.what),
        approvals,
    }
}

/// What a header holds, decoded.
fn thawed(header: &DayHeader) -> Result<(GameDay, Acts), serde_json::Error> {
    let act = |json: &Value| -> Result<Act, serde_json::Error> {
        let experiment = Experiment::from_value(json)?;
        let source = format!("experiment/{}", experiment.metadata.name);
        Ok(Act { experiment, json: json.clone(), source })
    };
    let named = |(name, json): &(String, Value)| Ok((name.clone(), act(json)?));
    let acts = Acts {
        experiments: header.experiments.iter().map(act).collect::<Result<_, _>>()?,
        between: header.between.as_ref().map(act).transpose()?,
        prerequisites: header.prerequisites.iter().map(named).collect::<Result<_, serde_json::Error>>()?,
    };
    Ok((GameDay::from_value(&header.game_day)?, acts))
}

/// Holds it from here on. `resumed`: somebody else began it, whose pod is deleted since then.
async fn hold(
    case: &mut Case,
    (header, book): (DayHeader, Book),
    (started, resumed): (jiff::Timestamp, Option<Option<Instant>>),
) -> Result<(), WorkError> {
    let read = thawed(&header).map_err(|error| error.to_string());
    let read = read.and_then(|(day, acts)| Ok((Calendar::new(&day.spec)?, day, acts)));
    let (calendar, day, acts) = match read {
        Ok(read) => read,
        Err(error) => {
            let words = format!("what is held cannot be read: {error}");
            return begin::declined(case, No::Declined(Verdict::Refused, "Invalid", words, Vec::new()));
        }
    };
    let file = format!("gameday/{}", day.metadata.name);
    let outing = Outing {
        planned: Planned { day: &day, acts: &acts, file: &file },
        calendar: &calendar,
        seed: header.seed,
        findings: Vec::new(),
        scheduled: header.scheduled.clone(),
        replaced: None,
    };
    tells(case, &day).await;
    let told = case.notices.clone();
    if let Some(notices) = told.as_ref().filter(|_| resumed.is_none()) {
        let words =
            format!("{}, asked for by {}", counted(day.spec.experiments.len(), "experiment"), header.by);
        notices.tell(Notice::new(NoticeEvent::Started, words));
    }
    let (deadline, said) = (day::deadline(&day, started), case.answers.clone());
    let mut venue = InCluster::new(case, book, (&header, &day, &acts), (deadline, resumed.flatten()));
    let held = Box::pin(day::hold(&outing, &mut venue, (started, resumed.is_some()))).await?;
    let mut book = venue.close();
    for (entry, chapter) in day.spec.experiments.iter().zip(&held.chapters) {
        if let Chapter::Skipped { why, .. } = chapter {
            book.write(held.day.ended, DayRecord::Skipped { part: entry.name.clone(), why: why.clone() })?;
        }
    }
    let day::Held { day: facts, code, .. } = held;
    if let Some(notices) = &told {
        telling::over(notices, &facts);
    }
    book.note(facts.ended, said.notes())?;
    let (verdict, reason, message) = (facts.verdict, facts.reason, facts.message);
    tracing::info!(run = %case.id, %verdict, reason, why = message, "the game day is over");
    book.write(facts.ended, DayRecord::Over { verdict, reason, message, code: code as u8 })?;
    if let Some(notices) = &told {
        notices.close().await;
    }
    Ok(())
}
