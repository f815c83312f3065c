//! `firedrill send`: what a pod runs to send a load, and to say how that goes.

use std::{io::Write as _, time::Duration};

use anyhow::anyhow;
use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use super::Usage;
use crate::{
    env::Underway,
    load,
    types::{
        ExitCode,
        load::{SendOrder, SendReport},
    },
};

/// From one line to the next.
const EVERY: Duration = Duration::from_secs(1);

/// What to send.
#[derive(Args, Clone, Debug)]
pub(super) struct SendArgs {
    /// What to send, in JSON.
    #[arg(value_name = "ORDER")]
    order: String,
}

/// Sends until it is told to stop, and prints a line of JSON a second. Exit code 0 however it went.
///
/// # Errors
/// An order that cannot be read, no runtime, or standard output takes nothing.
pub(super) fn run(args: &SendArgs) -> anyhow::Result<ExitCode> {
    let order: SendOrder = serde_json::from_str(&args.order)
        .map_err(|error| Usage(format!("the order cannot be read: {error}")))?;
    let ready = load::ordered(&order, |name| std::env::var(name).ok()).map_err(Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // The first process of a container is not ended by signals that it does not ask for.
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let sending = load::network().begin(ready).map_err(|why| anyhow!(why))?;
        let mut next = Instant::now() + EVERY;
        loop {
            let over = tokio::select! {
                biased;
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                () = tokio::time::sleep_until(next) => false,
            };
            let line = serde_json::to_string(&report(&order, &*sending))?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()?;
            if over {
                sending.end();
                return Ok(ExitCode::Ok);
            }
            next += EVERY;
        }
    })
}

fn report(order: &SendOrder, sending: &dyn Underway) -> SendReport {
    SendReport {
        age_ms: u64::try_from(sending.age().as_millis()).unwrap_or(u64::MAX),
        windows: order.windows.iter().map(|length| (*length, sending.window(length.0))).collect(),
        tally: sending.tally(),
    }
}
