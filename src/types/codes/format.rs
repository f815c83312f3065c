//! FD1xxx: what is wrong with a file.

use crate::types::CodeInfo;

/// The family, in order.
pub static CODES: &[CodeInfo] = &[];
