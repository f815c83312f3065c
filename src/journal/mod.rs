//! The run in the past tense: records, framing, append, replay.
