//! What holds of every fault and every probe, because it holds of the registry.
