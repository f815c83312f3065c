//! `firedrill connect`: what a pod runs to find out what it can reach.

use std::{io::Write as _, time::Duration};

use clap::Args;
use futures::future::join_all;
use tokio::{net::TcpStream, time::Instant};

use crate::types::{Attempt, ExitCode, Length};

/// What to connect to, and how often.
#[derive(Args, Clone, Debug)]
pub(super) struct ConnectArgs {
    /// HOST:PORT, as often as there is something to connect to.
    #[arg(required = true, value_name = "HOST:PORT")]
    addresses: Vec<String>,

    /// From one round of attempts to the next.
    #[arg(long, value_name = "LENGTH", default_value = "1s")]
    every: Length,

    /// How long one attempt may take, the name's resolution included.
    #[arg(long, value_name = "LENGTH", default_value = "1s")]
    timeout: Length,

    /// How many rounds; default: until it is ended.
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,
}

/// Tries until it is told to stop, or for so many rounds. Exit code 0 however the attempts came out.
///
/// # Errors
/// No runtime, or standard output takes nothing.
pub(super) fn run(args: &ConnectArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Instant::now();
        for round in 0..args.rounds.unwrap_or(u64::MAX) {
            let tries = args.addresses.iter().map(|address| attempt(round, address, args.timeout.0));
            let attempts = join_all(tries).await;
            let mut out = std::io::stdout().lock();
            for attempt in attempts {
                writeln!(out, "{}", serde_json::to_string(&attempt)?)?;
            }
            out.flush()?;
            drop(out);
            let next = args.every.0.saturating_mul(u32::try_from(round + 1).unwrap_or(u32::MAX));
            tokio::time::sleep_until(begun + next).await;
        }
        Ok(ExitCode::Ok)
    })
}

async fn attempt(round: u64, address: &str, timeout: Duration) -> Attempt {
    let error = match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(_)) => String::new(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {}", Length(timeout)),
    };
    Attempt { round, address: address.to_owned(), connected: error.is_empty(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_attempt_says_whether_the_connection_was_opened() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let second = Duration::from_secs(5);
        let open = attempt(3, &address, second).await;
        assert_eq!(
            open,
            Attempt { round: 3, address: address.clone(), connected: true, error: String::new() }
        );
        drop(listener);
        let refused = attempt(4, &address, second).await;
        assert!(!refused.connected && !refused.error.is_empty(), "{refused:?}");
        assert!(!attempt(5, "no.such.host.invalid:80", second).await.connected);
    }
}
