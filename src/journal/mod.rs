//! The run in the past tense: records, framing, append, replay.
//!
//! The journal is the run. What may have happened is written down before it happens; a torn tail is
//! dropped, damage in the middle is an error that names the record.

mod clocks;
mod day;
mod deployed;
mod environment;
mod frame;
mod loss;
mod record;
mod writer;
mod written;

pub use crate::probes::Stats as ProbeStats;
pub use clocks::Clocks;
pub use day::{Asked, DayHeader, DayRecord};
pub use deployed::{Deployed, Moment};
pub use environment::Environment;
pub use frame::{Damage, decode, encode, last};
pub use loss::Loss;
pub use record::{
    Answer, CheckOutcome, Entry, Header, InjectOutcome, Record, Residue, RevertOutcome, SampleState,
    StopReason,
};
pub use writer::{JournalError, Writer, read};
pub use written::Written;
