//! What a run meant, where it is, and what a process says of it when it exits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a run meant (design.md, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The hypothesis held, every fault was seen in force, objectives were met.
    Passed,
    /// A violation, a failed check or a missed objective.
    Failed,
    /// Refused before the first change.
    Refused,
    /// No data, or no effect seen.
    Inconclusive,
    /// A person, a signal, a stop condition or a time limit ended it.
    Aborted,
    /// Measured, and outside `expect`, before the first change.
    NotSteady,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "Passed",
            Self::Failed => "Failed",
            Self::Refused => "Refused",
            Self::Inconclusive => "Inconclusive",
            Self::Aborted => "Aborted",
            Self::NotSteady => "NotSteady",
        })
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Written down, not begun.
    Pending,
    /// Somebody else has to agree first (game days; the controller).
    AwaitingApproval,
    /// Measuring what normal is.
    Baseline,
    /// A fault is being applied.
    Injecting,
    /// Faults are in force or a step is waiting; probes are watched.
    Observing,
    /// Faults are being taken back.
    Reverting,
    /// All faults are gone; waiting for the steady state.
    Recovering,
    /// Over.
    Finished,
    /// A revert does not succeed; somebody has to help.
    Stuck,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The exit code of a process that ran experiments (design.md, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Passed; or the command did what it was asked.
    Ok = 0,
    /// Failed; nothing else exits so.
    Failed = 1,
    /// The file or the usage is wrong.
    Invalid = 2,
    /// Refused before the first change; the cluster cannot be reached.
    Refused = 3,
    /// No data, or no effect seen.
    Inconclusive = 4,
    /// Ended by a person, a signal, a stop condition or a limit; everything is back.
    Aborted = 5,
    /// Something could not be put back.
    Residue = 6,
    /// Not steady before the first change.
    NotSteady = 7,
}

impl ExitCode {
    /// The code of one run: residue outranks its verdict.
    pub fn of(verdict: Verdict, residue: bool) -> Self {
        if residue {
            return Self::Residue;
        }
        match verdict {
            Verdict::Passed => Self::Ok,
            Verdict::Failed => Self::Failed,
            Verdict::Refused => Self::Refused,
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::Aborted => Self::Aborted,
            Verdict::NotSteady => Self::NotSteady,
        }
    }

    /// The worst of several runs, by the order 6, 1, 5, 4, 7, 3, 0; an invalid file counts as 3.
    pub fn worst(codes: impl IntoIterator<Item = Self>) -> Self {
        let rank = |code: &Self| match code {
            Self::Residue => 7,
            Self::Failed => 6,
            Self::Aborted => 5,
            Self::Inconclusive => 4,
            Self::NotSteady => 3,
            Self::Refused => 2,
            Self::Invalid => 1,
            Self::Ok => 0,
        };
        codes.into_iter().max_by_key(rank).unwrap_or(Self::Ok)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_follows_the_order_of_the_contract() {
        let order = [
            ExitCode::Residue,
            ExitCode::Failed,
            ExitCode::Aborted,
            ExitCode::Inconclusive,
            ExitCode::NotSteady,
            ExitCode::Refused,
            ExitCode::Ok,
        ];
        for (i, worse) in order.iter().enumerate() {
            for better in &order[i..] {
                assert_eq!(ExitCode::worst([*better, *worse]), *worse);
            }
        }
    }

    #[test]
    fn residue_outranks_every_verdict() {
        assert_eq!(ExitCode::of(Verdict::Passed, true), ExitCode::Residue);
        assert_eq!(ExitCode::of(Verdict::NotSteady, false) as u8, 7);
    }
}
