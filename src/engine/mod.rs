//! The state machine of a run, and the one loop that acts.
