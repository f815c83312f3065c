//! Verbs over `kube::Client`: mirror, snapshot, evict, cordon, scale, leases, rights.
