//! The journal of a run as ConfigMaps: immutable, numbered, created once and never updated.
//!
//! Creating the next number is the compare-and-swap: of two owners one finds it taken, and whoever cannot
//! record can start nothing (an injection waits until its intent is durable). They live in the controller's
//! own namespace, and survive both the target's namespace and our CRDs.

mod pack;
mod upload;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use super::{Access, ApiError, replica::OF_RUN};
use crate::{
    env::{Log, Storage, StorageError},
    types::RunId,
};

/// On every segment: whose journal it is.
const JOURNAL: &str = "firedrill.dev/journal";
/// On every segment: the UID of that Run.
const UID: &str = "firedrill.dev/of-run-uid";
/// On every segment: bytes that it takes in the cluster, about.
const BYTES: &str = "firedrill.dev/bytes";

/// What is wrong with writing a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentTrouble {
    /// The API server has not taken anything for a while; it is tried again all the time.
    Late(String),
    /// Another owner of the run has written: this one is none any more, and nothing more is written.
    Superseded(String),
}

/// Is told of trouble, once of each kind.
pub type OnTrouble = Arc<dyn Fn(SegmentTrouble) + Send + Sync>;

/// Whose journal it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPlace {
    /// The controller's namespace.
    pub namespace: String,
    /// The run.
    pub run: RunId,
    /// The Run, NAMESPACE/NAME.
    pub object: String,
    /// Its UID.
    pub uid: String,
}

/// How much of a journal is in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentSize {
    /// ConfigMaps.
    pub segments: u64,
    /// Bytes in them, compressed.
    pub bytes: u64,
}

/// A journal in the cluster, from its segments' metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFound {
    /// The run.
    pub run: RunId,
    /// The Run, NAMESPACE/NAME.
    pub object: String,
    /// Its UID.
    pub uid: String,
    /// When its last segment was made.
    pub last: Timestamp,
    /// Names of its segments, in order.
    pub names: Vec<String>,
    /// Bytes in them, about.
    pub bytes: u64,
}

/// The journal of one run. Uploading ends when the last clone is dropped.
#[derive(Clone)]
pub struct Segments {
    shared: Arc<Shared>,
    run: RunId,
    _upload: Arc<Upload>,
}

struct Upload(AbortHandle);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to upload.
    work: Notify,
    /// Something has been uploaded.
    done: Notify,
}

#[derive(Default)]
struct State {
    /// Whether there is a journal.
    exists: bool,
    bytes: Vec<u8>,
    /// How many of them are in the cluster.
    stored: usize,
    /// Up to where it is not to wait.
    urgent: usize,
    /// Since when something waits.
    since: Option<Instant>,
    /// When something was appended that is not to wait for long.
    hastened: Option<Instant>,
    /// The number of the next segment.
    next: u64,
    size: SegmentSize,
    superseded: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Segments {
    /// The journal of a run as it is now, to be read or gone on with. `on_trouble` is told when it cannot be
    /// written.
    ///
    /// # Errors
    /// The API server's, and segments that are not as they were written.
    pub async fn open(
        access: &Access,
        place: &SegmentPlace,
        on_trouble: OnTrouble,
    ) -> Result<Self, ApiError> {
        let shared = Arc::new(Shared::default());
        *shared.lock() = read(access, &place.namespace, &place.run).await?;
        let task = upload::upload(shared.clone(), access.clone(), place.clone(), on_trouble);
        let upload = Arc::new(Upload(tokio::spawn(task).abort_handle()));
        Ok(Self { shared, run: place.run.clone(), _upload: upload })
    }

    /// All bytes of a journal; empty if there is none.
    ///
    /// # Errors
    /// As [`Segments::open`].
    pub async fn bytes(access: &Access, namespace: &str, run: &RunId) -> Result<Vec<u8>, ApiError> {
        Ok(read(access, namespace, run).await?.bytes)
    }

    /// The bytes in the last segment of a journal, which may begin in the midst of a record; none if it is gone.
    ///
    /// # Errors
    /// As [`Segments::open`].
    pub async fn end(access: &Access, namespace: &str, journal: &JournalFound) -> Result<Vec<u8>, ApiError> {
        let Some(name) = journal.names.last() else { return Ok(Vec::new()) };
        match access.read(api(access, namespace).get(name)).await {
            Ok(segment) => pack::unpacked(&segment),
            Err(ApiError::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What is new of a journal since `seen`; `seen` is brought up to date. For whoever follows a run.
    ///
    /// # Errors
    /// As [`Segments::open`].
    pub async fn more(
        access: &Access,
        (namespace, run): (&str, &RunId),
        seen: &mut (u64, Vec<u8>),
    ) -> Result<bool, ApiError> {
        let name = pack::name(run, seen.0);
        match access.read(api(access, namespace).get(&name)).await {
            Ok(found) => {
                pack::append(&found, &mut seen.1)?;
                seen.0 += 1;
                Ok(true)
            }
            Err(ApiError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The journals in the controller's namespace, by run.
    ///
    /// # Errors
    /// The API server's.
    pub async fn list(access: &Access, namespace: &str) -> Result<Vec<JournalFound>, ApiError> {
        let params = ListParams::default().labels(JOURNAL);
        let listed = access.read(api(access, namespace).list_metadata(&params)).await?;
        let mut found: BTreeMap<RunId, JournalFound> = BTreeMap::new();
        for segment in &listed.items {
            let Some(run) = segment.labels().get(JOURNAL).and_then(|run| RunId::parse(run)) else { continue };
            let text = |key: &str| segment.annotations().get(key).cloned().unwrap_or_default();
            let made = segment.creation_timestamp().map_or(Timestamp::MIN, |time| time.0);
            let journal = found.entry(run.clone()).or_insert_with(|| JournalFound {
                run,
                object: text(OF_RUN),
                uid: text(UID),
                last: made,
                names: Vec::new(),
                bytes: 0,
            });
            journal.last = journal.last.max(made);
            journal.names.push(segment.name_any());
            journal.bytes += text(BYTES).parse::<u64>().unwrap_or(0);
        }
        let mut found: Vec<JournalFound> = found.into_values().collect();
        for journal in &mut found {
            journal.names.sort();
        }
        Ok(found)
    }

    /// Deletes a journal, its last segment first: what is left of it if this breaks off has no end, and is not
    /// taken for a whole one.
    ///
    /// # Errors
    /// The API server's.
    pub async fn delete(access: &Access, namespace: &str, journal: &JournalFound) -> Result<(), ApiError> {
        for name in journal.names.iter().rev() {
            match access.read(api(access, namespace).delete(name, &DeleteParams::default())).await {
                Ok(_) | Err(ApiError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How much of it is in the cluster.
    pub fn size(&self) -> SegmentSize {
        self.shared.lock().size
    }

    /// Returns when all of it is in the cluster; false if another owner has written meanwhile.
    pub async fn flushed(&self) -> bool {
        let end = {
            let mut state = self.shared.lock();
            state.urgent = state.bytes.len();
            state.urgent
        };
        self.shared.work.notify_one();
        reached(&self.shared, end).await
    }
}

/// Waits until so many bytes are in the cluster; false when they never will be.
async fn reached(shared: &Shared, end: usize) -> bool {
    loop {
        let mut done = std::pin::pin!(shared.done.notified());
        done.as_mut().enable();
        {
            let state = shared.lock();
            if state.superseded {
                return false;
            }
            if state.stored >= end {
                return true;
            }
        }
        done.await;
    }
}

fn api(access: &Access, namespace: &str) -> Api<ConfigMap> {
    Api::namespaced(access.client().clone(), namespace)
}

async fn read(access: &Access, namespace: &str, run: &RunId) -> Result<State, ApiError> {
    let params = ListParams::default().labels(&format!("{JOURNAL}={run}"));
    let mut segments = access.read(api(access, namespace).list(&params)).await?.items;
    segments.sort_by_key(kube::ResourceExt::name_any);
    let mut state = State { exists: !segments.is_empty(), ..State::default() };
    for segment in &segments {
        let expected = pack::name(run, state.next);
        if segment.name_any() != expected {
            let why = format!("the journal of run {run} lacks its segment {expected}");
            return Err(ApiError::Malformed(why));
        }
        state.size.bytes += pack::append(segment, &mut state.bytes)?;
        state.size.segments += 1;
        state.next += 1;
    }
    state.stored = state.bytes.len();
    state.urgent = state.stored;
    Ok(state)
}

impl Storage for Segments {
    fn create(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError> {
        let mut state = self.shared.lock();
        if *run != self.run || std::mem::replace(&mut state.exists, true) {
            return Err(StorageError::Exists(run.clone()));
        }
        Ok(Box::new(SegmentLog(self.clone())))
    }

    fn append(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError> {
        if *run != self.run || !self.shared.lock().exists {
            return Err(StorageError::NoSuchRun(run.clone()));
        }
        Ok(Box::new(SegmentLog(self.clone())))
    }

    fn read(&self, run: &RunId) -> Result<Vec<u8>, StorageError> {
        let state = self.shared.lock();
        if *run != self.run || !state.exists {
            return Err(StorageError::NoSuchRun(run.clone()));
        }
        Ok(state.bytes.clone())
    }

    fn list(&self) -> Result<Vec<RunId>, StorageError> {
        Ok(Vec::from_iter(self.shared.lock().exists.then(|| self.run.clone())))
    }
}

/// The open end: bytes wait in memory until they are uploaded.
struct SegmentLog(Segments);

impl Log for SegmentLog {
    fn append(&mut self, bytes: &[u8], durable: bool) -> Result<(), StorageError> {
        let mut state = self.0.shared.lock();
        state.bytes.extend_from_slice(bytes);
        state.since.get_or_insert_with(Instant::now);
        if durable {
            state.urgent = state.bytes.len();
        }
        drop(state);
        self.0.shared.work.notify_one();
        Ok(())
    }

    fn hasten(&mut self) {
        self.0.shared.lock().hastened.get_or_insert_with(Instant::now);
        self.0.shared.work.notify_one();
    }

    fn truncate(&mut self, length: u64) -> Result<(), StorageError> {
        let mut state = self.0.shared.lock();
        // The next segment says from where on it counts.
        state.bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        state.stored = state.bytes.len().min(state.stored);
        state.urgent = state.urgent.min(state.bytes.len());
        Ok(())
    }

    fn durable(&self) -> BoxFuture<'static, ()> {
        let (shared, end) = (self.0.shared.clone(), self.0.shared.lock().urgent);
        async move {
            if !reached(&shared, end).await {
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}
