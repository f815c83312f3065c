//! FD5xxx and FD6xxx: what decided a run, and what is left.

use crate::types::CodeInfo;

/// The family, in order.
pub static CODES: &[CodeInfo] = &[];
