//! Front end: one file a subcommand.
