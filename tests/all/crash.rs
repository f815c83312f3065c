//! The crash matrix: a run killed at every await and torn at every record, then put back.
