//! What a load is made of, whoever sends it: when requests are due, and what became of them.
//!
//! Open loop: a request is due when the schedule says so, answered or not whatever came before it, and
//! its latency counts from that instant. A sender that is late, or a server that stalls, thus shows in
//! the latencies of all requests that were due meanwhile (G. Tene's "coordinated omission" does not
//! happen). Nothing here knows a clock: times are since the load's beginning.

mod histogram;
mod order;
mod recorder;
mod schedule;

pub use histogram::Histogram;
pub use order::{SendOrder, SendReport, SentHeader};
pub use recorder::{End, LoadTally, LoadWindow, Recorder};
pub use schedule::{Arrivals, Pace, Schedule};
