//! The same on real servers; see tests/real.
