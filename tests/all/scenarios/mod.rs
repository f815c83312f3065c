//! One table of scenarios, for the embedded cluster and for real ones: same end state, same verdict.
//!
//! A row brings its own nodes and namespace, so that rows can run beside each other in one real cluster.
//! Here each has an embedded cluster of its own, in virtual time; `real` plays the same rows elsewhere.

pub mod bench;
pub mod objects;
mod people;
pub mod row;
pub mod rows;
pub mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use firedrill::{
    engine::Request,
    journal::Entry,
    plan::Consent,
    types::{ExitCode, Finding, Verdict},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;

use self::{
    bench::Place,
    row::{Actor, Expect, Judged, Moment, Row},
};
use crate::kit::{self, Ran, in_virtual_time};

/// How long what a run has put back may take to show: the node controller's taints, pods that start.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// Runs `work` in real time.
pub fn blocking<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// The namespaces that a row fills.
pub fn namespaces(row: &Row) -> Vec<String> {
    vec![row.namespace.to_owned(), format!("{}-other", row.namespace)]
}

/// Somebody who does something while a run goes on; in words.
type Acting = JoinHandle<Result<String, String>>;

/// What a row came to.
pub struct Played {
    /// For people.
    pub summary: String,
    /// The run's journal.
    pub entries: Vec<Entry>,
    /// When somebody else began to act during the run, in order.
    pub acted: Vec<Timestamp>,
}

/// What a row came to; everything that is not as it should be, in words.
pub async fn play(place: &Place, row: &Row) -> Result<Played, String> {
    let spaces = namespaces(row);
    let actor = Actor {
        client: place.client.clone(),
        namespace: row.namespace.to_owned(),
        env: place.env.clone(),
        request: None,
    };
    for (_, act) in row.acts.iter().filter(|(moment, _)| *moment == Moment::Before) {
        act(actor.clone()).await?;
        // What the controllers make of it belongs to it: a cordon's taint, a budget's status.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bench::settled(&place.client, row).await?;
    let before = state::state_of(&place.client, &spaces).await?;
    let request = request(place, row);
    let actor = Actor { request: Some(request.clone()), ..actor };
    let acting: Arc<Mutex<Vec<(Timestamp, Acting)>>> = Arc::default();
    let waiting = Mutex::new(row.acts.clone());
    let started = acting.clone();
    let result = kit::run(&place.env, request, move |entry, _| {
        if std::env::var_os("FIREDRILL_BENCH_TRACE").is_some() {
            eprintln!("{}", serde_json::to_string(entry).unwrap_or_default());
        }
        let mut waiting = waiting.lock().expect("no panic holds it");
        waiting.retain(|(moment, act)| {
            let now = matches!(moment, Moment::At(record) if is(entry, record));
            if now {
                let acting = tokio::spawn(act(actor.clone()));
                started.lock().expect("no panic holds it").push((entry.at, acting));
            }
            !now
        });
    })
    .await;
    let handles = std::mem::take(&mut *acting.lock().expect("no panic holds it"));
    let mut wrong = Vec::new();
    let (mut said, mut acted) = (Vec::new(), Vec::new());
    for (at, handle) in handles {
        acted.push(at);
        match handle.await {
            Ok(Ok(words)) => said.push(words),
            Ok(Err(error)) => wrong.push(format!("somebody else could not act: {error}")),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if said.len() != row.acts.iter().filter(|(moment, _)| *moment != Moment::Before).count() {
        wrong.push("the moment for somebody else did not come".to_owned());
    }
    for words in row.said.iter().filter(|words| !said.iter().any(|said| holds(said, words))) {
        wrong.push(format!("nobody said `{words}`, but {said:?}"));
    }
    let summary = judge(row, &result, &mut wrong);
    if let Err(differences) = back(place, row, &before).await {
        wrong.push(differences);
    }
    if wrong.is_empty() {
        let entries = result.map(|ran| ran.entries).unwrap_or_default();
        Ok(Played { summary, entries, acted })
    } else {
        Err(format!("{}: {summary}\n  {}", row.name, wrong.join("\n  ")))
    }
}

fn request(place: &Place, row: &Row) -> Request {
    let (experiment, value) = kit::experiment(&row.fill(&row.experiment));
    let filled = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| row.fill(name)).collect() };
    Request {
        namespace: row.namespace.to_owned(),
        experiment,
        value,
        file: format!("{}.yaml", row.name),
        seed: row.seed,
        environment: place.environment.clone(),
        consent: Consent {
            namespaces: filled(&row.allowed),
            bystanders: filled(&row.bystanders),
            approvals: 0,
            of_nodes: false,
        },
        source: place.source.clone(),
        holder: "scenarios".to_owned(),
        asked_by: String::new(),
    }
}

fn type_of(entry: &Entry) -> String {
    let value = serde_json::to_value(entry).unwrap_or_default();
    value["type"].as_str().unwrap_or_default().to_owned()
}

/// Whether a record is of the type that the first of these words names, and holds the others.
fn is(entry: &Entry, words: &str) -> bool {
    let (kind, others) = words.split_once(' ').unwrap_or((words, ""));
    type_of(entry) == kind && holds(&serde_json::to_string(entry).unwrap_or_default(), others)
}

fn holds(text: &str, words: &str) -> bool {
    words.split_whitespace().all(|word| text.contains(word))
}

/// Compares verdict, exit code, residue and the journal's facts; the summary says what there was.
fn judge(row: &Row, result: &Result<Ran, Vec<Finding>>, wrong: &mut Vec<String>) -> String {
    let (expected, code) = match &row.expect {
        Expect::Ran(verdict) => (verdict.to_string(), ExitCode::of(*verdict, false)),
        Expect::Refused(codes) => {
            (format!("refused {}", codes.join(" ")), ExitCode::of(Verdict::Refused, false))
        }
    };
    let (found, exit) = match result {
        Err(findings) => {
            let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.is_error()).collect();
            let codes: BTreeSet<String> = errors.iter().map(|finding| finding.code.to_string()).collect();
            let codes: Vec<String> = codes.into_iter().collect();
            if expected != format!("refused {}", codes.join(" ")) {
                wrong
                    .extend(errors.iter().map(|finding| format!("{}: {}", finding.subject, finding.message)));
            }
            (format!("refused {}", codes.join(" ")), ExitCode::of(Verdict::Refused, false))
        }
        Ok(Ran { outcome: Err(error), .. }) => (format!("no ordinary end: {error}"), ExitCode::Residue),
        Ok(Ran { outcome: Ok(outcome), .. }) => {
            for residue in &outcome.residue {
                wrong.push(format!("left over on {}: {}", residue.target, residue.what));
            }
            (outcome.verdict.to_string(), ExitCode::of(outcome.verdict, !outcome.residue.is_empty()))
        }
    };
    let entries = result.as_ref().map_or(&[][..], |ran| &ran.entries);
    let lines: Vec<String> =
        entries.iter().map(|entry| serde_json::to_string(entry).unwrap_or_default()).collect();
    if found != expected || exit != code {
        wrong.push(format!("expected {expected} (exit code {})", code as u8));
        let interesting = lines.iter().filter(|line| {
            !["Sampled", "RunStarted", "InjectIntended"].iter().any(|kind| line.contains(kind))
        });
        wrong.extend(interesting.cloned());
    }
    for words in row.journal.iter().filter(|words| !lines.iter().any(|line| holds(line, &row.fill(words)))) {
        wrong.push(format!("no record holds `{words}`"));
        let kind = words.split(' ').next().unwrap_or_default();
        wrong.extend(lines.iter().filter(|line| line.contains(kind)).cloned());
    }
    for words in &row.never {
        let words = row.fill(words);
        wrong.extend(
            lines.iter().filter(|line| holds(line, &words)).map(|line| format!("never `{words}`: {line}")),
        );
    }
    format!("{found}, exit code {}", exit as u8)
}

/// Waits until everything is as before, but for what somebody else has changed.
async fn back(place: &Place, row: &Row, before: &BTreeMap<String, Value>) -> Result<(), String> {
    let give_up = tokio::time::Instant::now() + BACK_WITHIN;
    loop {
        let mut now = state::state_of(&place.client, &namespaces(row)).await?;
        let mut differences = Vec::new();
        for (key, pointer, wanted) in &row.left {
            let found = now.get(&row.fill(key)).and_then(|object| object.pointer(pointer)).cloned();
            let wanted: Value = serde_json::from_str(wanted).expect("the row holds JSON");
            if found.as_ref().unwrap_or(&Value::Null) != &wanted {
                differences.push(format!("{key} {pointer} is {found:?}, not {wanted}"));
            }
        }
        let kept = |key: &String| !row.differs.iter().any(|kind| key.starts_with(&format!("{kind} ")));
        now.retain(|key, _| kept(key));
        let before: BTreeMap<_, _> = before.iter().filter(|(key, _)| kept(key)).collect();
        for key in before.keys().copied().chain(now.keys()).collect::<BTreeSet<_>>() {
            if before.get(key).copied() != now.get(key) {
                differences.push(format!(
                    "{key}:\n    before {:?}\n    now    {:?}",
                    before.get(key),
                    now.get(key)
                ));
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() >= give_up {
            return Err(format!("not as before:\n  {}", differences.join("\n  ")));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Plays rows on embedded clusters, and fails with all that is wrong.
fn embedded(rows: Vec<Row>) {
    let only = std::env::var("FIREDRILL_BENCH_ROWS").ok();
    let mut wrong = Vec::new();
    for row in rows {
        if only.as_ref().is_some_and(|only| !row.name.contains(only.as_str())) {
            continue;
        }
        let result = in_virtual_time(async { play(&bench::embedded(&row).await?, &row).await });
        match result {
            Ok(played) => println!("{:<36} {}", row.name, played.summary),
            Err(error) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn killing_pods() {
    embedded(rows::kill());
}

#[test]
fn evicting_pods() {
    embedded(rows::evict());
}

#[test]
fn draining_nodes() {
    embedded(rows::drain());
}

#[test]
fn cordoning_nodes() {
    embedded(rows::cordon());
}

#[test]
fn tainting_nodes() {
    embedded(rows::taint());
}

#[test]
fn losing_zones() {
    embedded(rows::zone());
}

#[test]
fn ending_machines() {
    embedded(rows::terminate());
}

#[test]
fn scaling_workloads() {
    embedded(rows::scale());
}

#[test]
fn restarting_workloads() {
    embedded(rows::restart());
}

#[test]
fn clamping_autoscalers() {
    embedded(rows::clamp());
}

#[test]
fn cutting_off() {
    embedded(rows::dependency_cut());
}

#[test]
fn disturbing_by_agents() {
    embedded(rows::agents());
}

#[test]
fn disturbing_what_answers() {
    embedded(rows::disturbances());
}

#[test]
fn releasing_what_cannot_run() {
    embedded(rows::release());
}

#[test]
fn going_round_after_round() {
    embedded(rows::rounds());
}

#[test]
fn running_a_method() {
    embedded(rows::method());
}

#[test]
fn loads_that_are_refused() {
    embedded(rows::load());
}

#[test]
fn refusing_early() {
    embedded(rows::guard());
}

#[test]
fn judging_metrics() {
    embedded(rows::metrics());
}

#[test]
fn the_table_is_long_enough_and_its_names_are_unique() {
    let all = rows::all();
    let names: BTreeSet<&str> = all.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), all.len());
    let anywhere = all.iter().filter(|row| matches!(row.judged, Judged::Anywhere | Judged::Alone)).count();
    assert!(anywhere >= 40, "{anywhere} rows run on every control plane");
}

#[test]
fn deleting_the_namespace() {
    embedded(vec![rows::namespace_deleted()]);
}
