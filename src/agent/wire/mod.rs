//! Orders to an agent and its reports: types, frames, and the rules by which an order is taken.
//!
//! Pure: no I/O and no clock, so that the embedded cluster's agents keep the same rules as those on a node.

mod check;
mod desk;
pub mod frame;
mod order;
mod report;

pub use desk::{Act, Desk, Limits, Ticket};
pub use order::{
    Direction, Distribution, Disturbance, Effect, Leg, MEASURED_AT, MEASURED_FROM, Order, OrderLine,
    PortRange, Protocol, Signal,
};
pub use report::{Cgroup, End, Features, Lack, Nfqueue, Process, Refusal, RefusalCode, Report, ReportLine};

/// The version of orders and reports; an agent takes no other.
pub const VERSION: u32 = 2;
