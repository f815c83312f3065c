//! The injected world: clock, randomness, Kubernetes client, HTTP, storage.
