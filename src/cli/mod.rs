//! Front end: one file a subcommand.

pub mod timeline;
