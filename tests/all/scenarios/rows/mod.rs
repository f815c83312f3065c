//! The table.

mod drain;
mod guard;
mod kill;
mod method;
mod metrics;
mod scale;

pub use self::{drain::drain, guard::guard, kill::kill, method::method, metrics::metrics, scale::scale};

use super::row::Row;

/// The whole table.
pub fn all() -> Vec<Row> {
    [kill(), drain(), scale(), method(), guard(), metrics()].into_iter().flatten().collect()
}
