//! One file a probe, the expressions they are judged by, and their registry.
