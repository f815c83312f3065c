//! A runner that is killed: the program itself, and whoever comes after it.
#![allow(clippy::disallowed_methods, reason = "real time is measured")]

use std::{
    path::Path,
    process::{Child, Command, Output},
    time::Duration,
};

use firedrill::{
    env::DirStorage,
    env::Storage as _,
    journal::{self, Entry, Record},
    types::RunId,
};
use jiff::Timestamp;

use crate::scenarios::row::Row;

/// How long a run may take until its fault is seen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than an agent keeps anything without a beat, and than a run holds its leases.
const SILENCE: Duration = Duration::from_secs(20);

fn firedrill(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firedrill"));
    let kubeconfig = std::env::var_os("FIREDRILL_BENCH_KUBECONFIG").unwrap_or_default();
    command.arg("--kubeconfig").arg(kubeconfig).arg("--state").arg(state);
    command
}

/// The only run of a state directory.
fn run_of(state: &Path) -> Option<RunId> {
    DirStorage::new(state).list().ok()?.into_iter().next()
}

fn entries(state: &Path) -> Vec<Entry> {
    run_of(state).and_then(|run| journal::read(&DirStorage::new(state), &run).ok()).unwrap_or_default()
}

fn in_force(entries: &[Entry]) -> bool {
    let step = |entry: &Entry| match &entry.record {
        Record::EffectSeen { injection, .. } => injection.step() == super::STEP,
        _ => false,
    };
    entries.iter().any(step)
}

/// Runs the row's file, kills the runner once the fault is seen, and puts back what it has left, some time later. When
/// it was killed, and the journal in the end.
pub async fn is_killed(row: &Row) -> Result<(Timestamp, Vec<Entry>), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (file, state) = (folder.path().join("experiment.yaml"), folder.path().join("state"));
    std::fs::write(&file, row.fill(&row.experiment)).map_err(|error| error.to_string())?;
    let log = std::fs::File::create(folder.path().join("log")).map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let mut command = firedrill(&state);
    command.arg("run").arg(&file).args(["--yes", "--seed", "7"]).stdout(log).stderr(errors);
    let mut runner = command.spawn().map_err(|error| error.to_string())?;
    let seen = until_seen(&state, &mut runner).await;
    let killed = Timestamp::now();
    let _ = runner.kill();
    let _ = runner.wait();
    let said = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    seen.map_err(|why| format!("{why}:\n{said}"))?;
    tokio::time::sleep(SILENCE).await;
    let mut rollback = firedrill(&state);
    // By its name: without one it is whatever any run has left, of those beside this one as well.
    let run = run_of(&state).ok_or("there is no journal")?;
    rollback.args(["rollback", run.as_str(), "--yes", "--take-over"]);
    let output = tokio::task::spawn_blocking(move || rollback.output()).await;
    let output: Output = output.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("the rollback failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok((killed, entries(&state)))
}

async fn until_seen(state: &Path, runner: &mut Child) -> Result<(), String> {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    while !in_force(&entries(state)) {
        if let Ok(Some(status)) = runner.try_wait() {
            return Err(format!("the runner has ended, {status}"));
        }
        if tokio::time::Instant::now() >= give_up {
            return Err("no effect was seen".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
