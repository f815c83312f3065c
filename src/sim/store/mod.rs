//! The object store of the embedded cluster: what etcd and the generic registry are to a real API server.
//!
//! Invariants: one global resourceVersion, raised by every write; every change reaches every subscriber of its
//! kind, in order; a write that changes nothing is no write; the lock is never held across an await. Identity
//! (UIDs, generated names) comes from one seeded generator, time from the start time plus tokio's clock.

pub(in crate::sim) mod deletion;
mod index;
pub mod kind;
pub mod listmap;
pub mod managed;
pub mod object;
pub mod selector;
pub mod status;
pub mod watch;
mod write;

pub use kind::{Kind, KindInfo};
pub use object::{ManagedFieldsEntry, Meta, Object, OwnerReference};
pub use selector::{LabelSelector, Selector};
pub use status::{Status, StatusCause, StatusDetails};
pub use watch::{Event, EventType, Subscription};

use index::Index;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::ChaCha12Rng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use watch::Feeds;

/// How a store begins.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Seed of UIDs and generated names.
    pub seed: u64,
    /// What the cluster's clock shows when the store is made.
    pub start_time: Timestamp,
    /// How long a watch may resume from an old resourceVersion (etcd is compacted every 5 minutes:
    /// `--etcd-compaction-interval` of kube-apiserver).
    pub history: Duration,
    /// How many changes of one kind are kept at most.
    pub history_capacity: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            start_time: Timestamp::UNIX_EPOCH,
            history: Duration::from_secs(300),
            history_capacity: 100_000,
        }
    }
}

/// What a delete asks for (`metav1.DeleteOptions`).
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Grace in seconds; `None` takes the pod's own. Only pods know grace.
    pub grace_period_seconds: Option<i64>,
    /// The object must still have this UID.
    pub uid: Option<String>,
    /// The object must still have this resourceVersion.
    pub resource_version: Option<u64>,
    /// What happens to dependents.
    pub propagation: Propagation,
    /// Answer as if, change nothing.
    pub dry_run: bool,
}

/// `propagationPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents are removed later by the garbage collector.
    #[default]
    Background,
    /// The object stays, with the finalizer `foregroundDeletion`, until its dependents are gone.
    Foreground,
    /// Dependents stay; the garbage collector takes their owner reference away (finalizer `orphan`).
    Orphan,
}

/// What a delete did.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Object>),
    /// The object is marked and stays until its grace or its finalizers are done with.
    Marked(Arc<Object>),
}

impl Deleted {
    /// The object, gone or marked.
    #[must_use]
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Self::Gone(o) | Self::Marked(o) => o,
        }
    }
}

/// The store; clones share the same objects.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    start_time: Timestamp,
    origin: Instant,
}

type Key = (Box<str>, Box<str>);

struct Inner {
    objects: BTreeMap<Kind, BTreeMap<Key, Arc<Object>>>,
    index: Index,
    custom: BTreeMap<(String, String, String), Kind>,
    feeds: Feeds,
    rng: ChaCha12Rng,
    version: u64,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(config: &StoreConfig) -> Self {
        let inner = Inner {
            objects: BTreeMap::new(),
            index: Index::default(),
            custom: BTreeMap::new(),
            feeds: Feeds::new(config.history, config.history_capacity),
            rng: ChaCha12Rng::seed_from_u64(config.seed),
            version: 1,
        };
        Self { inner: Arc::new(Mutex::new(inner)), start_time: config.start_time, origin: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster's time: the start time plus what tokio's clock has run since.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::MAX);
        self.start_time.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    /// The resourceVersion of the latest write.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// One object.
    #[must_use]
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.lock().objects.get(kind)?.get(&(namespace.into(), name.into()) as &Key).cloned()
    }

    /// Objects of a kind, sorted by namespace and name; without a namespace, of all.
    #[must_use]
    pub fn list(&self, kind: &Kind, namespace: Option<&str>, selector: &Selector) -> Vec<Arc<Object>> {
        self.list_with_version(kind, namespace, selector).0
    }

    /// Like [`Store::list`], with the resourceVersion as of which the list holds.
    #[must_use]
    pub fn list_with_version(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        selector: &Selector,
    ) -> (Vec<Arc<Object>>, u64) {
        let inner = self.lock();
        let all = selector.is_everything();
        let mut out = Vec::new();
        if let Some(objects) = inner.objects.get(kind) {
            let first: Key = (namespace.unwrap_or_default().into(), "".into());
            for (key, object) in objects.range(first..) {
                if namespace.is_some_and(|n| n != &*key.0) {
                    break;
                }
                if all || selector.matches(object) {
                    out.push(object.clone());
                }
            }
        }
        (out, inner.version)
    }

    /// The list as it was at an earlier resourceVersion, for the later pages of a chunked list.
    ///
    /// # Errors
    /// 410 when the history no longer goes back that far.
    pub fn list_at(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        selector: &Selector,
        version: u64,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let inner = self.lock();
        let mut objects = inner.objects.get(kind).cloned().unwrap_or_default();
        for event in inner.feeds.since(kind, version)?.into_iter().rev() {
            let key = key_of(&event.object);
            match event.previous {
                Some(previous) => objects.insert(key, previous),
                None => objects.remove(&key),
            };
        }
        objects.retain(|key, object| namespace.is_none_or(|n| n == &*key.0) && selector.matches(object));
        Ok(objects.into_values().collect())
    }

    /// The objects of a kind whose managing controller has this UID, sorted by namespace and name.
    #[must_use]
    pub fn controlled_by(&self, kind: &Kind, uid: &str) -> Vec<Arc<Object>> {
        let inner = self.lock();
        let Some(objects) = inner.objects.get(kind) else { return Vec::new() };
        inner.index.controlled(kind, uid).filter_map(|key| objects.get(key).cloned()).collect()
    }

    /// The pods bound to a node, sorted by namespace and name.
    #[must_use]
    pub fn pods_on(&self, node: &str) -> Vec<Arc<Object>> {
        let inner = self.lock();
        let Some(objects) = inner.objects.get(&Kind::POD) else { return Vec::new() };
        inner.index.on_node(node).filter_map(|key| objects.get(key).cloned()).collect()
    }

    /// The pod of a UID, looked for among all.
    #[must_use]
    pub fn pod_by_uid(&self, uid: &str) -> Option<Arc<Object>> {
        let inner = self.lock();
        inner.objects.get(&Kind::POD)?.values().find(|pod| pod.meta.uid == uid).cloned()
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: &Kind) -> usize {
        self.lock().objects.get(kind).map_or(0, BTreeMap::len)
    }

    /// Every change of a kind from now on.
    #[must_use]
    pub fn subscribe(&self, kind: &Kind) -> Subscription {
        self.lock().feeds.subscribe(kind)
    }

    /// All objects of a kind and every change after them, with no gap between.
    #[must_use]
    pub fn list_and_subscribe(&self, kind: &Kind) -> (Vec<Arc<Object>>, Subscription) {
        let mut inner = self.lock();
        let objects = inner.objects.get(kind).map(|o| o.values().cloned().collect()).unwrap_or_default();
        (objects, inner.feeds.subscribe(kind))
    }

    /// All objects of every kind and every change after them, in the order of the writes: for observers that
    /// follow the whole cluster.
    #[must_use]
    pub fn list_and_subscribe_everything(&self) -> (Vec<Arc<Object>>, Subscription) {
        let mut inner = self.lock();
        let objects = inner.objects.values().flat_map(|o| o.values().cloned()).collect();
        (objects, inner.feeds.subscribe_everything())
    }

    /// Every change of a kind after a resourceVersion: those known already, then those to come.
    ///
    /// # Errors
    /// 410 when the history no longer goes back that far.
    pub fn resume(&self, kind: &Kind, version: u64) -> Result<(Vec<Event>, Subscription), Status> {
        self.lock().feeds.resume(kind, version)
    }

    /// Drops all history, so that a watch that resumes from before gets 410.
    pub fn compact(&self) {
        let mut inner = self.lock();
        let version = inner.version;
        inner.feeds.compact(version);
    }

    /// A new UID.
    #[must_use]
    pub fn new_uid(&self) -> String {
        self.lock().uid()
    }

    /// A random number from the store's generator.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.lock().rng.next_u64()
    }

    /// The served kind of a group, version and resource name.
    #[must_use]
    pub fn kind_by_resource(&self, group: &str, version: &str, plural: &str) -> Option<Kind> {
        let builtin =
            Kind::builtin().iter().find(|k| k.group == group && k.version == version && k.plural == plural);
        builtin.cloned().or_else(|| {
            self.custom_kinds()
                .into_iter()
                .find(|k| k.group == group && k.version == version && k.plural == plural)
        })
    }

    /// The served kind of an `apiVersion` and `kind`.
    #[must_use]
    pub fn kind_of(&self, api_version: &str, kind: &str) -> Option<Kind> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let is = |k: &&Kind| k.group == group && k.version == version && k.kind == kind;
        Kind::builtin().iter().find(is).cloned().or_else(|| self.custom_kinds().iter().find(is).cloned())
    }

    /// The kinds that CustomResourceDefinitions have added, one per served version.
    #[must_use]
    pub fn custom_kinds(&self) -> Vec<Kind> {
        self.lock().custom.values().cloned().collect()
    }

    /// Serves a custom kind from now on.
    pub fn serve_custom(&self, kind: Kind) {
        let key = (kind.group.to_string(), kind.plural.to_string(), kind.version.to_string());
        self.lock().custom.insert(key, kind);
    }

    /// Stops serving a custom resource and drops its objects.
    pub fn drop_custom(&self, group: &str, plural: &str) {
        let mut inner = self.lock();
        let gone: Vec<Kind> =
            inner.custom.values().filter(|k| k.group == group && k.plural == plural).cloned().collect();
        for kind in gone {
            let objects: Vec<_> =
                inner.objects.get(&kind).map(|o| o.values().cloned().collect()).unwrap_or_default();
            for object in objects {
                inner.remove(&object);
            }
            inner.custom.remove(&(kind.group.to_string(), kind.plural.to_string(), kind.version.to_string()));
        }
    }
}

fn key_of(object: &Object) -> Key {
    (object.meta.namespace.as_str().into(), object.meta.name.as_str().into())
}

fn whole_seconds(t: Timestamp) -> Timestamp {
    Timestamp::from_second(t.as_second()).unwrap_or(t)
}

#[cfg(test)]
mod tests;
