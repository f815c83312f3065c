//! The agent's arguments: which run, and its own limits.

use std::time::Duration;

use super::wire::Limits;
use crate::types::{Epoch, Length, RunId};

/// What `--help` says.
pub const USAGE: &str = "\
firedrill-agent --run RUN --epoch N --deadline SECONDS [OPTIONS]

Disturbs the network of pods on this node as one run of firedrill orders it, by lines on standard input.
firedrill starts it in a pod of its own; it is of no use by hand. It needs hostPID and the capabilities
NET_ADMIN, NET_RAW, SYS_ADMIN, SYS_PTRACE, KILL and SYS_NICE.

  --run RUN            whose orders it takes
  --epoch N            of the run's owner when it was started
  --deadline SECONDS   after which it lifts everything and ends
  --ttl DURATION       without an order for so long it lifts everything and ends [10s, at most 60s]
  --max-delay DURATION the longest delay that it makes [1s]
  --max-loss PERCENT   the largest share of packets that it loses, partitions aside [100]

Exit code: 0 ended, and everything is lifted; 1 its worker died, and the kernel lifted everything; 2 usage.
";

/// What the agent was started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its run.
    pub run: RunId,
    /// The epoch of the run's owner.
    pub epoch: Epoch,
    /// Its own limits.
    pub limits: Limits,
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them.
pub fn parse(arguments: &[String]) -> Result<Settings, String> {
    let (mut run, mut epoch, mut deadline) = (None, None, None);
    let (mut ttl, mut delay_max, mut loss_max_percent) =
        (Duration::from_secs(10), Duration::from_secs(1), 100.0);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{name} has no value"))?;
        let wrong = || format!("{name} {value}: not what it takes");
        match name.as_str() {
            "--run" => run = Some(RunId::parse(value).ok_or_else(wrong)?),
            "--epoch" => epoch = Some(Epoch(value.parse().map_err(|_| wrong())?)),
            "--deadline" => deadline = Some(Duration::from_secs(value.parse().map_err(|_| wrong())?)),
            "--ttl" => ttl = length(value).filter(|ttl| *ttl <= Duration::from_secs(60)).ok_or_else(wrong)?,
            "--max-delay" => delay_max = length(value).ok_or_else(wrong)?,
            "--max-loss" => {
                let percent: f64 = value.trim_end_matches('%').parse().map_err(|_| wrong())?;
                loss_max_percent =
                    Some(percent).filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(wrong)?;
            }
            _ => return Err(format!("{name}: no such option")),
        }
    }
    Ok(Settings {
        run: run.ok_or("--run is missing")?,
        epoch: epoch.ok_or("--epoch is missing")?,
        limits: Limits {
            ttl,
            deadline: deadline.ok_or("--deadline is missing")?,
            delay_max,
            loss_max_percent,
        },
    })
}

fn length(text: &str) -> Option<Duration> {
    text.parse::<Length>().ok().filter(|length| !length.is_zero()).map(|length| length.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let limits = read("--run a-bcdfg --epoch 3 --deadline 600").expect("enough").limits;
        let (ttl, delay_max) = (Duration::from_secs(10), Duration::from_secs(1));
        let deadline = Duration::from_secs(600);
        assert_eq!(limits, Limits { ttl, deadline, delay_max, loss_max_percent: 100.0 });
        let limits = read("--run a --epoch 3 --deadline 600 --ttl 1m --max-delay 200ms --max-loss 30%");
        assert_eq!(limits.expect("all").limits.loss_max_percent, 30.0);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("--epoch 3 --deadline 600", "--run is missing"),
            ("--run a --deadline 600", "--epoch is missing"),
            ("--run a --epoch 3", "--deadline is missing"),
            ("--run A/b", "--run A/b"),
            ("--ttl 61s", "--ttl 61s"),
            ("--ttl 0s", "--ttl 0s"),
            ("--max-loss 101", "--max-loss 101"),
            ("--max-loss NaN", "--max-loss NaN"),
            ("--run", "--run has no value"),
            ("--force yes", "--force"),
        ] {
            assert!(read(text).expect_err(text).contains(named), "{text}");
        }
    }
}
