//! The catalogue of codes: for each the standard behind it, how it is discovered, how to resolve it.

pub mod format;
pub mod guard;
pub mod hazard;
pub mod on_node;
pub mod outcome;

use super::CodeInfo;

/// Every code, in order.
pub fn all() -> impl Iterator<Item = &'static CodeInfo> {
    [format::CODES, guard::CODES, on_node::CODES, hazard::CODES, outcome::CODES].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_sorted_and_complete() {
        let codes: Vec<_> = all().collect();
        for pair in codes.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} before {}", pair[0].code, pair[1].code);
        }
        for info in codes {
            assert_eq!(info.code.0.len(), 6, "{}", info.code);
            for text in [info.title, info.standard, info.discovery, info.resolution] {
                assert!(text.len() > 10, "{} says too little", info.code);
            }
        }
    }
}
