//! The writes: create, replace, delete, each one step under the lock.

use super::deletion::{check_preconditions, mark_deleted};
use super::{
    DeleteOptions, Deleted, Event, EventType, Inner, Key, Kind, Object, Status, StatusCause, Store, key_of,
    whole_seconds,
};
use rand::Rng;
use std::sync::Arc;

impl Store {
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
        if let Some(existing) = inner.objects.get(&object.kind).and_then(|o| o.get(&key)) {
            let mut status = Status::already_exists(&object.kind, &object.meta.name);
            if existing.terminating() {
                status.message.insert_str(0, "object is being deleted: ");
            }
            return Err(status);
        }
        if object.meta.resource_version != 0 && !dry_run {
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
            if *kind == Kind::POD {
                object.meta.deletion_timestamp.get_or_insert(whole_seconds(now));
                object.meta.deletion_grace_period_seconds = Some(0);
            }
            return Ok(Deleted::Gone(inner.remove_as(&current, object)));
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

impl Inner {
    pub(super) fn find(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        let key: Key = (namespace.into(), name.into());
        self.objects.get(kind).and_then(|o| o.get(&key)).cloned().ok_or_else(|| Status::not_found(kind, name))
    }

    pub(super) fn uid(&mut self) -> String {
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

    pub(super) fn remove(&mut self, current: &Arc<Object>) -> Arc<Object> {
        self.remove_as(current, (**current).clone())
    }

    /// Removes an object and shows `last` as its last state.
    fn remove_as(&mut self, current: &Arc<Object>, mut last: Object) -> Arc<Object> {
        let key = key_of(current);
        self.index.remove(current, &key);
        if let Some(objects) = self.objects.get_mut(&current.kind) {
            objects.remove(&key);
        }
        self.version += 1;
        last.meta.resource_version = self.version;
        let last = Arc::new(last);
        let event = Event { kind: EventType::Deleted, object: last.clone(), previous: Some(current.clone()) };
        self.feeds.publish(&current.kind, self.version, event);
        last
    }
}
