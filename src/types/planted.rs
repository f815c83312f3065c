//! Planted bugs: what shows that the tests see them.
//!
//! A build with `--cfg firedrill_bugs` behaves wrongly in the one way that the environment variable
//! FIREDRILL_BUG names; every other build has none of them. See `tests/planted-bugs.sh`.

/// Whether the bug of this name is to be there.
#[cfg(firedrill_bugs)]
pub fn planted(name: &str) -> bool {
    use std::sync::OnceLock;
    static BUG: OnceLock<Option<String>> = OnceLock::new();
    BUG.get_or_init(|| std::env::var("FIREDRILL_BUG").ok()).as_deref() == Some(name)
}

/// Never, in any build that is used.
#[cfg(not(firedrill_bugs))]
#[inline]
pub const fn planted(_name: &str) -> bool {
    false
}
