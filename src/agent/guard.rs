//! The guard: the agent's first process. It starts the worker, hands SIGTERM on, and when the worker dies says
//! so and looks that nothing is left. When the guard itself dies, the kernel ends the worker.

use std::{
    env, fs,
    io::{self, Read, Write},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    process::{Child, Command, ExitCode, ExitStatus},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::AsFd,
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    low_level::pipe,
};

use super::{
    arguments::{self, Settings},
    clock,
    netlink::rules,
    wire::{End, Report, ReportLine, VERSION, frame},
    worker,
};

/// What the worker has for lifting everything after a SIGTERM.
const PATIENCE: Duration = Duration::from_secs(3);

/// The command `firedrill-agent`.
pub fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--help" | "-h") => return said(arguments::USAGE),
        Some("--version" | "-V") => {
            return said(concat!("firedrill-agent ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        _ => {}
    }
    // As the guard starts it: `worker GUARD ARGUMENTS…`.
    let guard = (arguments.first().is_some_and(|first| first == "worker") && arguments.len() > 1)
        .then(|| arguments.drain(..2).nth(1).and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw));
    let settings = match arguments::parse(&arguments) {
        Ok(settings) => settings,
        Err(wrong) => {
            eprint!("firedrill-agent: {wrong}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match guard {
        Some(guard) => worker::work(settings, guard),
        None => watch(&settings, &arguments).unwrap_or_else(|error| {
            eprintln!("firedrill-agent: {error}");
            ExitCode::FAILURE
        }),
    }
}

fn said(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// A stream that is readable once the signal has come.
pub fn signals(numbers: &[i32]) -> io::Result<UnixStream> {
    let (hear, tell) = UnixStream::pair()?;
    hear.set_nonblocking(true)?;
    for number in numbers {
        pipe::register(*number, tell.try_clone()?)?;
    }
    Ok(hear)
}

fn watch(settings: &Settings, arguments: &[String]) -> io::Result<ExitCode> {
    let began = clock::now();
    let (mut terminate, mut ended) = (signals(&[SIGTERM, SIGINT])?, signals(&[SIGCHLD])?);
    let own = std::process::id().to_string();
    let mut worker = Command::new("/proc/self/exe").args(["worker", &own]).args(arguments).spawn()?;
    let mut kill_at = None;
    let status = loop {
        if let Some(status) = worker.try_wait()? {
            break status;
        }
        let left = kill_at.map(|at: Duration| clock::timespec(at.saturating_sub(clock::now())));
        let mut either = [PollFd::new(&terminate, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        match poll(&mut either, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut heard = [0; 16];
        let _ = ended.read(&mut heard);
        if terminate.read(&mut heard).is_ok_and(|count| count > 0) && kill_at.is_none() {
            kill_at = Some(clock::now() + PATIENCE);
            hand_on(&worker, Signal::TERM);
        } else if kill_at.is_some_and(|at| clock::now() >= at) {
            kill_at = Some(clock::now() + PATIENCE);
            hand_on(&worker, Signal::KILL);
        }
    };
    match status.code() {
        Some(0) => Ok(ExitCode::SUCCESS),
        // It said what is wrong.
        Some(2) => Ok(ExitCode::from(2)),
        _ => {
            mourn(settings, status, (clock::now() - began).as_secs());
            Ok(ExitCode::FAILURE)
        }
    }
}

fn hand_on(worker: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(worker.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The worker died: the kernel has removed its rules and let go of its packets.
fn mourn(settings: &Settings, status: ExitStatus, tick: u64) {
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, code) => format!("exit code {}", code.unwrap_or_default()),
    };
    eprintln!("the worker died ({how}): its rules went with it, and packets pass");
    sweep(&format!("{}{}", rules::PREFIX, settings.run));
    let line = ReportLine {
        version: VERSION,
        run: settings.run.clone(),
        epoch: settings.epoch,
        session: String::new(),
        seq: 0,
        tick,
        report: Report::Ended { why: End::WorkerDied, lifted: Vec::new() },
    };
    // It may have died in the middle of a line.
    let _ = io::stdout().write_all(format!("\n{}", frame::encode(&line)).as_bytes());
}

/// Deletes the run's table wherever it still is, which is nowhere unless the kernel knows no owners of tables.
fn sweep(table: &str) {
    let mut seen = std::collections::BTreeSet::new();
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let path = process.path().join("ns/net");
        let Ok(namespace) = fs::File::open(&path) else { continue };
        let Ok(inode) = rustix::fs::fstat(&namespace).map(|data| data.st_ino) else { continue };
        if !seen.insert(inode) {
            continue;
        }
        let table = table.to_owned();
        // A thread of its own, because it does not come back from where it goes.
        let swept = thread::spawn(move || -> io::Result<bool> {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let there = rules::tables()?.contains(&table);
            if there {
                rules::delete(&table)?;
            }
            Ok(there)
        });
        match swept.join() {
            Ok(Ok(true)) => eprintln!("net:[{inode}]: removed what the worker had left"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => eprintln!("net:[{inode}]: {error}"),
        }
    }
}
