//! `firedrill runs export`: journals out of the cluster, before the controller's retention deletes them.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::bail;
use clap::Args;

use super::{Global, Usage, connect, report::named_there};
use crate::{
    cluster::{Access, JournalFound, Segments},
    env::{DirStorage, Storage as _, StorageError},
    journal::{self, DayRecord, Entry, Record},
    types::{ExitCode, RunId},
};

#[derive(Args)]
pub(super) struct ExportArgs {
    /// The runs, by the names of their Runs or those in journals; of a game day all of its parts.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    runs: Vec<String>,

    /// Everything that is there.
    #[arg(long)]
    all: bool,

    /// From the journals that the controller keeps in the cluster: there are no others to be exported.
    #[arg(long, required = true)]
    controller: bool,

    /// Into this folder, as --state DIR takes it; default: where journals of this machine are.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    namespace: super::controller::NamespaceArgs,
}

pub(super) fn run(global: &Global, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let storage = match &args.output {
        Some(folder) => DirStorage::new(folder),
        None => connect::storage(global)?,
    };
    connect::runtime()?.block_on(async {
        let connection = connect::connect(global, 0).await?;
        let access = Access::new(connection.env.kube.clone());
        let namespace = &args.namespace.controller_namespace;
        let mut journals = Segments::list(&access, namespace).await?;
        if let Some(own) = &global.namespace {
            journals.retain(|journal| journal.object.starts_with(&format!("{own}/")));
        }
        let runs = match args.all {
            true => journals.iter().map(|journal| journal.run.clone()).collect(),
            false => named(&journals, &args.runs, namespace)?,
        };
        let exported = export(&access, namespace, (runs, &storage)).await?;
        let state =
            args.output.as_ref().map_or(String::new(), |folder| format!(" --state {}", folder.display()));
        for run in &exported {
            super::say(&format!("{}: firedrill report {run}{state}", storage.path(run).display()));
        }
        if exported.is_empty() {
            super::say(&format!("there are no journals in namespace {namespace}"));
        }
        Ok(ExitCode::Ok)
    })
}

fn named(journals: &[JournalFound], runs: &[String], namespace: &str) -> anyhow::Result<BTreeSet<RunId>> {
    let named = runs.iter().map(|run| named_there(journals, run, namespace));
    Ok(named.collect::<Result<_, _>>().map_err(Usage)?)
}

/// Writes the journals of these runs, with those of a game day's parts, as a runner on this machine would have; those
/// that are written now or were before. One that goes on is exported as far as it goes, and again further.
async fn export(
    access: &Access,
    namespace: &str,
    (mut left, storage): (BTreeSet<RunId>, &DirStorage),
) -> anyhow::Result<BTreeSet<RunId>> {
    let mut done = BTreeSet::new();
    while let Some(run) = left.pop_first() {
        let bytes = Segments::bytes(access, namespace, &run).await?;
        let (entries, _) = journal::decode(&bytes)?;
        left.extend(parts(&entries).filter(|part| !done.contains(part)));
        keep(storage, &run, &bytes)?;
        done.insert(run);
    }
    Ok(done)
}

/// The parts of a game day that were begun.
fn parts(entries: &[Entry]) -> impl Iterator<Item = RunId> {
    entries.iter().filter_map(|entry| match &entry.record {
        Record::Day(DayRecord::Playing { run, .. }) => Some(run.clone()),
        _ => None,
    })
}

fn keep(storage: &DirStorage, run: &RunId, bytes: &[u8]) -> anyhow::Result<()> {
    let there = match storage.read(run) {
        Ok(there) => there,
        Err(StorageError::NoSuchRun(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let Some(new) = bytes.strip_prefix(there.as_slice()) else {
        bail!(
            "{} is another journal of that name, or goes further than the one in the cluster; export into another folder with -o DIR",
            storage.path(run).display()
        );
    };
    let mut log = match storage.append(run) {
        Err(StorageError::NoSuchRun(_)) => storage.create(run)?,
        other => other?,
    };
    log.append(new, true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{
        api::API_VERSION,
        cluster::SegmentPlace,
        controller::run_id,
        journal::{DayHeader, Writer},
        report::{Chapter, Facts, journals},
        sim::{SimConfig, cluster::Cluster},
        types::{Epoch, ObjectRef, Verdict},
    };

    async fn write(access: &Access, run: &RunId, entries: Vec<Entry>) {
        let (object, uid) = ("shop/weekly-1".to_owned(), "u-1".to_owned());
        let place = SegmentPlace { namespace: "firedrill".to_owned(), run: run.clone(), object, uid };
        let segments = Segments::open(access, &place, Arc::new(|_| {})).await.expect("it is new");
        let mut writer = Writer::create(&segments, run, Epoch(1)).expect("it is new");
        for entry in entries {
            writer.append(entry.at, entry.record).expect("it is written");
        }
        assert!(segments.flushed().await);
    }

    fn begun(at: jiff::Timestamp, part: &RunId) -> Vec<Entry> {
        let header = DayHeader {
            version: "1.0.0".to_owned(),
            game_day: json!({"metadata": {"name": "weekly", "namespace": "shop"},
                "spec": {"experiments": [{"name": "one", "experimentRef": {"name": "checkout"}}]}}),
            experiments: vec![json!({"metadata": {"name": "checkout"}})],
            between: None,
            prerequisites: Vec::new(),
            seed: 7,
            by: "ada".to_owned(),
            environment: Default::default(),
            scheduled: None,
            hash: String::new(),
            approvals: Vec::new(),
        };
        let (reason, message) = ("AllPassed".to_owned(), String::new());
        [
            DayRecord::Began(Box::new(header)),
            DayRecord::Playing { part: "one".to_owned(), run: part.clone() },
            DayRecord::Over { verdict: Verdict::Passed, reason, message, code: 0 },
        ]
        .map(|record| Entry { seq: 0, at, epoch: Epoch(1), record: Record::Day(record) })
        .to_vec()
    }

    /// What the controller has kept is reported from a folder as it was from the cluster, the game day with its parts.
    #[tokio::test(start_paused = true)]
    async fn a_game_day_is_reported_from_its_folder_when_the_cluster_has_nothing_of_it_any_more() {
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "firedrill"}});
        let cluster = Cluster::start(&SimConfig::default(), &[space]).expect("it starts");
        let access = Access::new(cluster.sim().client());
        let object = ObjectRef::namespaced(API_VERSION, "Run", "shop", "weekly-1").with_uid("u-1");
        let (day, part) = (run_id(&object), RunId::new("weekly-1-one", 2));
        let played = journals::passed();
        write(&access, &day, begun(played[0].at, &part)).await;
        write(&access, &part, played.clone()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let storage = DirStorage::new(folder.path().join("archive"));
        let journals = Segments::list(&access, "firedrill").await.expect("they are listed");
        let runs = || named(&journals, &["weekly-1".to_owned()], "firedrill").expect("it is there");
        let exported = export(&access, "firedrill", (runs(), &storage)).await.expect("exported");
        assert_eq!(exported, [day.clone(), part.clone()].into());
        // Once more is as good as once.
        export(&access, "firedrill", (runs(), &storage)).await.expect("exported again");
        for journal in &journals {
            Segments::delete(&access, "firedrill", journal).await.expect("it is deleted");
        }
        let chapters = super::super::report::chapters(&storage, &day).expect("it is read");
        let [Chapter::Day(facts), Chapter::Run(one)] = &chapters[..] else { panic!("{chapters:?}") };
        assert_eq!(
            (facts.game_day.as_str(), facts.by.as_str(), facts.verdict),
            ("weekly", "ada", Verdict::Passed)
        );
        let wanted = Facts::from_entries(&played).expect("a run");
        assert_eq!((&one.outcome.verdict, one.steps.len()), (&wanted.outcome.verdict, wanted.steps.len()));
        // What is another journal is not written over.
        let other = DirStorage::new(folder.path().join("other"));
        other.create(&day).expect("it is new").append(b"something else", true).expect("it is written");
        let refused = export(&access, "firedrill", ([day.clone()].into(), &other)).await;
        assert!(refused.is_err());
        assert_eq!(other.read(&day).expect("it is there"), b"something else");
    }
}
