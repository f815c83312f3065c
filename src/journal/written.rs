//! Who wrote something down: what people say is kept with their name and time, not with those of the runner.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Who wrote something, and when, by their own word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Written {
    /// Who.
    pub by: String,
    /// When.
    pub time: Timestamp,
}
