//! What a person, a terminal or a service manager says to a run by signals.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{engine::Outside, journal::StopReason};

/// The signals that end a run, caught from the moment that this is made.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    /// None: it was ignored when we were started, as under nohup(1), and stays so.
    hangup: Option<Signal>,
}

impl Signals {
    /// Catches them from here on. Needs a runtime.
    ///
    /// # Errors
    /// The kernel's: then a run could be killed with faults in force, and is not begun.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: (!hangup_is_ignored()).then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
            () = hung_up(&mut self.hangup) => HANGUP,
        }
    }

    /// The first aborts and puts everything back, the second leaves. A closed terminal says so twice (kernel and
    /// shell) and means no harm: it never leaves, and does not count as the first.
    pub(super) async fn tell(mut self, outside_tx: mpsc::UnboundedSender<Outside>) {
        let mut asked = false;
        loop {
            let name = self.next().await;
            let message = if asked && name != HANGUP {
                Outside::Leave
            } else {
                Outside::Stop(StopReason::Signal, name.to_owned())
            };
            if !asked && name != HANGUP {
                super::say(&format!(
                    "{name}: aborting and putting everything back; once more leaves everything as it is"
                ));
            }
            asked |= name != HANGUP;
            if outside_tx.send(message).is_err() {
                return;
            }
        }
    }
}

const HANGUP: &str = "SIGHUP";

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether whoever has started us wants a closed terminal to be ignored. Only Linux says so (proc(5)); elsewhere
/// an abort is the safe answer.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, SignalKind::hangup()).unwrap_or(false)
}

/// What the mask `SigIgn` of proc(5) says of a signal: bit n-1 is signal n.
fn ignores(status: &str, signal: SignalKind) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let bit = u32::try_from(signal.as_raw_value()).ok()?.checked_sub(1)?;
    Some(mask.checked_shr(bit)? & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = |mask: &str| format!("Name:\tfiredrill\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert_eq!(ignores(&status("0000000000000001"), SignalKind::hangup()), Some(true));
        assert_eq!(ignores(&status("0000000000001000"), SignalKind::hangup()), Some(false));
        assert_eq!(ignores(&status("0000000000001000"), SignalKind::pipe()), Some(true));
        assert_eq!(ignores("Name:\tfiredrill\n", SignalKind::hangup()), None);
    }
}
