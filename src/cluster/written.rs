//! What we have changed ourselves, and how new that is: what is chosen next must not be chosen from a world in which it
//! has not happened yet.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use kube::core::ObjectMeta;
use tokio::time::Instant;

/// The newest change of ours in a collection.
#[derive(Clone, Debug)]
pub struct Written {
    /// The collection's URL in its namespace, and that of all namespaces: a watch follows the one or the other.
    pub collections: [String; 2],
    /// The resourceVersion that the server answered with.
    pub version: u64,
    /// When it answered.
    pub at: Instant,
}

/// The newest change of ours in each collection.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(Arc<Mutex<BTreeMap<String, Written>>>);

impl Changes {
    pub(super) fn remember(&self, collections: [String; 2], answer: &ObjectMeta) {
        let version = version_of(answer);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&collections[0]).is_none_or(|known| known.version < version) {
            all.insert(collections[0].clone(), Written { collections, version, at: Instant::now() });
        }
    }

    pub(super) fn all(&self) -> Vec<Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// The version of an object as a number: they can be compared (KEP-5504). 0 if it has none, or none that is a number.
pub(super) fn version_of(object: &ObjectMeta) -> u64 {
    object.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}
