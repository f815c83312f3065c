//! Standard output and standard error, written by a thread of their own: whoever reads them may have stopped,
//! and packets must not wait for that.

use std::{
    io::Write,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use super::wire::{ReportLine, frame};

/// Lines on their way; beyond that they are dropped.
const WAITING: usize = 512;
/// What a reader that is slow has until the agent is gone.
const PATIENCE: Duration = Duration::from_secs(1);

enum Line {
    Report(String),
    Log(String),
}

/// Where reports and the log go. Never waits.
#[derive(Clone, Debug)]
pub struct Outlet(SyncSender<Line>);

/// Tells when everything is written.
#[derive(Debug)]
pub struct Written(Receiver<()>);

impl Outlet {
    /// Starts the thread.
    pub fn open() -> (Self, Written) {
        let (lines_tx, lines_rx) = sync_channel(WAITING);
        let (written_tx, written_rx) = sync_channel(0);
        thread::spawn(move || {
            write(&lines_rx);
            drop(written_tx);
        });
        (Self(lines_tx), Written(written_rx))
    }

    /// A report.
    pub fn say(&self, line: &ReportLine) {
        let _ = self.0.try_send(Line::Report(frame::encode(line)));
    }

    /// A line for people.
    pub fn log(&self, text: String) {
        let _ = self.0.try_send(Line::Log(text));
    }
}

impl Written {
    /// Waits a little for the last lines, after the last outlet is gone.
    pub fn wait(self) {
        let _ = self.0.recv_timeout(PATIENCE);
    }
}

fn write(lines_rx: &Receiver<Line>) {
    for line in lines_rx {
        // Nobody is there to be told that nobody listens.
        let _ = match line {
            Line::Report(text) => {
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
            Line::Log(text) => writeln!(std::io::stderr(), "{text}"),
        };
    }
}
