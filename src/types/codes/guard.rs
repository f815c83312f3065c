//! FD2xxx and FD3xxx: rights, consent, environment, targets and limits.

use crate::types::CodeInfo;

/// The family, in order.
pub static CODES: &[CodeInfo] = &[];
