//! Bad luck: other people, other runs, a sick API server, rights withdrawn, a laptop that slept.
