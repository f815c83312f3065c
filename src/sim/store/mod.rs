//! The object store of the embedded cluster: what etcd and the generic registry are to a real API server.
//!
//! Invariants: one global resourceVersion, raised by every write; every change reaches every subscriber of its
//! kind, in order; a write that changes nothing is no write; the lock is never held across an await. Identity
//! (UIDs, generated names) comes from one seeded generator, time from the start time plus tokio's clock.

mod index;
pub mod kind;
pub mod listmap;
pub mod managed;
pub mod object;
pub mod selector;
pub mod status;
pub mod watch;

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

    /// Creates an object: gives it UID, resourceVersion, creation time, generation and, from `generateName`, a
    /// name.
    ///
    /// # Errors
    /// 409 when the name is taken, 404 when the namespace does not exist, 403 when it is terminating, 422
    /// without a name, 400 when resourceVersion is set.
    pub fn create(&self, object: Object) -> Result<Arc<Object>, Status> {
        self.create_with(object, false)
    }

    /// [`Store::create`], or with `dry_run` only its answer.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn create_with(&self, mut object: Object, dry_run: bool) -> Result<Arc<Object>, Status> {
        let now = self.now();
        let mut inner = self.lock();
        inner.complete_name(&mut object)?;
        inner.admit_namespace(&object)?;
        let key = key_of(&object);
        if inner.objects.get(&object.kind).is_some_and(|o| o.contains_key(&key)) {
            return Err(Status::already_exists(&object.kind, &object.meta.name));
        }
        if object.meta.resource_version != 0 {
            return Err(Status::internal("resourceVersion should not be set on objects to be created"));
        }
        let uid = inner.uid();
        let meta = &mut object.meta;
        meta.uid = uid;
        meta.creation_timestamp = Some(whole_seconds(now));
        meta.deletion_timestamp = None;
        meta.deletion_grace_period_seconds = None;
        meta.generation = u64::from(object.kind.generation);
        if dry_run {
            return Ok(Arc::new(object));
        }
        inner.version += 1;
        object.meta.resource_version = inner.version;
        let object = Arc::new(object);
        inner.put(object.clone(), None);
        Ok(object)
    }

    /// Replaces an object. A resourceVersion or UID in it that is not empty is a precondition; identity,
    /// creation time, deletion marks and generation stay the store's. Taking the last finalizer away from a
    /// marked object removes it.
    ///
    /// # Errors
    /// 404 when it does not exist, 409 when a precondition fails.
    pub fn update(&self, object: Object) -> Result<Arc<Object>, Status> {
        self.update_with(object, false)
    }

    /// [`Store::update`], or with `dry_run` only its answer.
    ///
    /// # Errors
    /// As [`Store::update`].
    pub fn update_with(&self, object: Object, dry_run: bool) -> Result<Arc<Object>, Status> {
        self.lock().replace(object, dry_run)
    }

    /// Reads, changes and writes one object without anybody in between.
    ///
    /// # Errors
    /// 404 when it does not exist, or what the closure answers; nothing is written then.
    pub fn modify<F>(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        change: F,
    ) -> Result<Arc<Object>, Status>
    where
        F: FnOnce(&mut Object) -> Result<(), Status>,
    {
        let mut inner = self.lock();
        let current = inner.find(kind, namespace, name)?;
        let mut object = (*current).clone();
        change(&mut object)?;
        inner.replace(object, false)
    }

    /// Deletes an object as the API does: a pod is marked for its grace (unless that is 0), anything with
    /// finalizers and every namespace is marked, the rest is gone at once.
    ///
    /// # Errors
    /// 404 when it does not exist, 409 when a precondition fails.
    pub fn delete(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        let now = self.now();
        let mut inner = self.lock();
        let current = inner.find(kind, namespace, name)?;
        check_preconditions(&current, options)?;
        let mut object = (*current).clone();
        let stays = mark_deleted(&mut object, options, now);
        if options.dry_run {
            return Ok(if stays { Deleted::Marked(Arc::new(object)) } else { Deleted::Gone(current) });
        }
        if !stays {
            return Ok(Deleted::Gone(inner.remove(&current)));
        }
        if object.meta == current.meta && object.same_field("status", &current) {
            return Ok(Deleted::Marked(current));
        }
        inner.version += 1;
        object.meta.resource_version = inner.version;
        let object = Arc::new(object);
        inner.put(object.clone(), Some(current));
        Ok(Deleted::Marked(object))
    }

    /// Removes a namespace that is terminating and empty: what its finalizer `kubernetes` waits for.
    ///
    /// # Errors
    /// 404 when there is none, 409 when it is not terminating or still has finalizers in its metadata.
    pub fn finalize_namespace(&self, name: &str) -> Result<Arc<Object>, Status> {
        let mut inner = self.lock();
        let current = inner.find(&Kind::NAMESPACE, "", name)?;
        if !current.terminating() || !current.meta.finalizers.is_empty() {
            return Err(Status::conflict(&Kind::NAMESPACE, name, "the namespace is not ready to be removed"));
        }
        Ok(inner.remove(&current))
    }
}

fn key_of(object: &Object) -> Key {
    (object.meta.namespace.as_str().into(), object.meta.name.as_str().into())
}

fn whole_seconds(t: Timestamp) -> Timestamp {
    Timestamp::from_second(t.as_second()).unwrap_or(t)
}

fn check_preconditions(current: &Object, options: &DeleteOptions) -> Result<(), Status> {
    let meta = &current.meta;
    // Wording: Preconditions.Check in staging/src/k8s.io/apiserver/pkg/storage/interfaces.go.
    let fail = |what: &str, want: &str, have: &str| {
        let why =
            format!("Precondition failed: {what} in precondition: {want}, {what} in object meta: {have}");
        Err(Status::conflict(&current.kind, &meta.name, &why))
    };
    if let Some(uid) = options.uid.as_deref().filter(|u| *u != meta.uid) {
        return fail("UID", uid, &meta.uid);
    }
    if let Some(version) = options.resource_version.filter(|v| *v != meta.resource_version) {
        return fail("ResourceVersion", &version.to_string(), &meta.resource_version.to_string());
    }
    Ok(())
}

/// Marks an object as being deleted and says whether it stays for now
/// (staging/src/k8s.io/apiserver/pkg/registry/rest/delete.go and pkg/registry/core/pod/strategy.go).
fn mark_deleted(object: &mut Object, options: &DeleteOptions, now: Timestamp) -> bool {
    let finalizer = match options.propagation {
        Propagation::Foreground => Some("foregroundDeletion"),
        Propagation::Orphan => Some("orphan"),
        Propagation::Background => None,
    };
    if let Some(f) = finalizer.filter(|f| !object.meta.finalizers.iter().any(|have| have == f)) {
        object.meta.finalizers.push(f.into());
    }
    let grace = if object.kind == Kind::POD { pod_grace(object, options) } else { 0 };
    let namespace = object.kind == Kind::NAMESPACE;
    let stays = grace > 0 || !object.meta.finalizers.is_empty() || namespace;
    if !stays {
        return false;
    }
    let due = whole_seconds(now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now));
    match (object.meta.deletion_timestamp, object.meta.deletion_grace_period_seconds) {
        // A later delete may shorten the grace, never lengthen it.
        (Some(at), Some(before)) if grace >= before || at <= due => {}
        (already, _) => {
            if already.is_none() && object.meta.generation > 0 {
                object.meta.generation += 1;
            }
            object.meta.deletion_timestamp = Some(due);
            object.meta.deletion_grace_period_seconds = Some(grace);
        }
    }
    if namespace {
        object.meta.deletion_grace_period_seconds = None;
        object.set_value("status", &serde_json::json!({"phase": "Terminating"}));
    }
    true
}

/// Seconds of grace for a pod; 0 for one that never ran or has finished.
fn pod_grace(pod: &Object, options: &DeleteOptions) -> i64 {
    #[derive(serde::Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        node_name: String,
        termination_grace_period_seconds: Option<i64>,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct PodStatus {
        phase: String,
    }
    let spec: Spec = pod.field("spec").unwrap_or_default();
    let status: PodStatus = pod.field("status").unwrap_or_default();
    if spec.node_name.is_empty() || matches!(status.phase.as_str(), "Succeeded" | "Failed") {
        return 0;
    }
    // 30: DefaultTerminationGracePeriodSeconds in pkg/apis/core/types.go.
    options.grace_period_seconds.or(spec.termination_grace_period_seconds).unwrap_or(30).max(0)
}

impl Inner {
    fn find(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        let key: Key = (namespace.into(), name.into());
        self.objects.get(kind).and_then(|o| o.get(&key)).cloned().ok_or_else(|| Status::not_found(kind, name))
    }

    fn uid(&mut self) -> String {
        let (a, b) = (self.rng.next_u64(), self.rng.next_u64());
        // A random UUID: version 4, variant 10.
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            ((b >> 48) & 0x3fff) | 0x8000,
            b & 0xffff_ffff_ffff
        )
    }

    /// Fills in a generated name: five characters of the alphabet of apimachinery/pkg/util/rand.
    fn complete_name(&mut self, object: &mut Object) -> Result<(), Status> {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        if object.meta.name.is_empty() && !object.meta.generate_name.is_empty() {
            let mut name: String = object.meta.generate_name.chars().take(58).collect();
            for _ in 0..5 {
                let at = self.rng.next_u64() % ALPHABET.len() as u64;
                name.push(char::from(ALPHABET[usize::try_from(at).unwrap_or_default()]));
            }
            object.meta.name = name;
        }
        if object.meta.name.is_empty() {
            let cause = StatusCause::required("metadata.name", "name or generateName is required");
            return Err(Status::invalid(&object.kind, "", vec![cause]));
        }
        Ok(())
    }

    /// The admission plugin NamespaceLifecycle: the namespace must be there and not terminating.
    fn admit_namespace(&self, object: &Object) -> Result<(), Status> {
        if !object.kind.namespaced {
            return Ok(());
        }
        let name = &object.meta.namespace;
        let namespace = self.find(&Kind::NAMESPACE, "", name)?;
        if !namespace.terminating() {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let mut status = Status::forbidden(&object.kind, &object.meta.name, &why);
        if let Some(details) = &mut status.details {
            let message = format!("namespace {name} is being terminated");
            details.causes = vec![StatusCause {
                reason: "NamespaceTerminating".into(),
                message,
                field: "metadata.namespace".into(),
            }];
        }
        Err(status)
    }

    fn replace(&mut self, mut object: Object, dry_run: bool) -> Result<Arc<Object>, Status> {
        let current = self.find(&object.kind, &object.meta.namespace, &object.meta.name)?;
        let (kind, name) = (&object.kind, &object.meta.name);
        if !object.meta.uid.is_empty() && object.meta.uid != current.meta.uid {
            let why = format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                object.meta.uid, current.meta.uid
            );
            return Err(Status::conflict(kind, name, &why));
        }
        if object.meta.resource_version != 0 && object.meta.resource_version != current.meta.resource_version
        {
            return Err(Status::modified(kind, name));
        }
        let (meta, old) = (&mut object.meta, &current.meta);
        meta.uid.clone_from(&old.uid);
        meta.creation_timestamp = old.creation_timestamp;
        meta.generate_name.clone_from(&old.generate_name);
        meta.deletion_timestamp = old.deletion_timestamp;
        meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
        meta.resource_version = old.resource_version;
        meta.generation = old.generation;
        let same_desired = object.same_desired(&current);
        if object.kind.generation && !same_desired {
            object.meta.generation += 1;
        }
        if same_desired && object.meta == current.meta && object.same_field("status", &current) {
            return Ok(current);
        }
        if dry_run {
            return Ok(Arc::new(object));
        }
        let grace = object.meta.deletion_grace_period_seconds.unwrap_or(0);
        let lost_last_finalizer = object.meta.finalizers.is_empty() && !current.meta.finalizers.is_empty();
        if object.terminating() && lost_last_finalizer && grace == 0 && object.kind != Kind::NAMESPACE {
            return Ok(self.remove(&current));
        }
        self.version += 1;
        object.meta.resource_version = self.version;
        let object = Arc::new(object);
        self.put(object.clone(), Some(current));
        Ok(object)
    }

    fn put(&mut self, object: Arc<Object>, previous: Option<Arc<Object>>) {
        let key = key_of(&object);
        if let Some(old) = &previous {
            self.index.remove(old, &key);
        }
        self.index.insert(&object, &key);
        self.objects.entry(object.kind.clone()).or_default().insert(key, object.clone());
        let kind = if previous.is_some() { EventType::Modified } else { EventType::Added };
        let (served, version) = (object.kind.clone(), object.meta.resource_version);
        self.feeds.publish(&served, version, Event { kind, object, previous });
    }

    fn remove(&mut self, current: &Arc<Object>) -> Arc<Object> {
        let key = key_of(current);
        self.index.remove(current, &key);
        if let Some(objects) = self.objects.get_mut(&current.kind) {
            objects.remove(&key);
        }
        self.version += 1;
        let mut last = (**current).clone();
        last.meta.resource_version = self.version;
        let last = Arc::new(last);
        let event = Event { kind: EventType::Deleted, object: last.clone(), previous: Some(current.clone()) };
        self.feeds.publish(&current.kind, self.version, event);
        last
    }
}

#[cfg(test)]
mod tests;
