//! Where journals are kept.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;

use crate::types::RunId;

/// Why a journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is none of that name.
    #[error("there is no journal of run {0}")]
    NoSuchRun(RunId),
    /// There is one already.
    #[error("run {0} has a journal already")]
    Exists(RunId),
    /// Another process on this machine is writing it.
    #[error("the journal of run {0} is being written by another process")]
    Busy(RunId),
    /// The file system refuses.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: String,
        /// What the file system says.
        source: io::Error,
    },
}

/// Keeps the journals of runs, append-only.
pub trait Storage: Send + Sync {
    /// Begins the journal of a new run; the caller holds it alone until it is dropped.
    fn create(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError>;
    /// Goes on with the journal of a run; the caller holds it alone until it is dropped.
    fn append(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError>;
    /// All bytes of a journal.
    fn read(&self, run: &RunId) -> Result<Vec<u8>, StorageError>;
    /// All runs, by name.
    fn list(&self) -> Result<Vec<RunId>, StorageError>;
}

/// The open end of one journal.
pub trait Log: Send {
    /// Appends `bytes`; with `durable` returns only when they survive the death of the machine.
    fn append(&mut self, bytes: &[u8], durable: bool) -> Result<(), StorageError>;
    /// Nobody waits for what was appended, but whoever takes over would like to know of it: where that takes a call to
    /// somewhere else, it is not put off for long.
    fn hasten(&mut self) {}
    /// Cuts the journal back to `length` bytes: for a torn tail, before the first append.
    fn truncate(&mut self, length: u64) -> Result<(), StorageError>;
    /// Resolves when everything that was appended durably so far survives the death of the machine. Where
    /// `append` sees to that itself, at once; where it takes a call to somewhere else, when that is done, and
    /// never if it cannot be done.
    fn durable(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// One folder a run, one file in it, fsynced.
#[derive(Clone, Debug)]
pub struct DirStorage {
    root: PathBuf,
}

const FILE: &str = "journal";

impl DirStorage {
    /// In `root`, which is made when first needed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The file of a run's journal.
    pub fn path(&self, run: &RunId) -> PathBuf {
        self.root.join(run.as_str()).join(FILE)
    }

    /// Whether a process on this machine is writing the journal of `run` just now: its runner lives.
    pub fn is_held(&self, run: &RunId) -> bool {
        // A shared lock, given back at once: of those who only look none sees another.
        File::open(self.path(run))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
    }

    fn open(&self, run: &RunId, options: &OpenOptions) -> Result<Box<dyn Log>, StorageError> {
        let path = self.path(run);
        let file = options.open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => StorageError::Exists(run.clone()),
            io::ErrorKind::NotFound => StorageError::NoSuchRun(run.clone()),
            _ => StorageError::Io { path: path.display().to_string(), source },
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(FileLog { file, path })),
            Err(fs::TryLockError::WouldBlock) => Err(StorageError::Busy(run.clone())),
            Err(fs::TryLockError::Error(source)) => Err(at(&path)(source)),
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.display().to_string();
    move |source| StorageError::Io { path, source }
}

/// A directory entry is durable only when the directory has been synced too (fsync(2)).
fn sync_dir(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(at(path))
}

impl Storage for DirStorage {
    fn create(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError> {
        let dir = self.root.join(run.as_str());
        // What was done to whom, with answers of services: for the eyes of whoever did it.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(at(&dir))?;
        let log = self.open(run, OpenOptions::new().create_new(true).append(true).mode(0o600))?;
        sync_dir(&dir)?;
        sync_dir(&self.root)?;
        Ok(log)
    }

    fn append(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError> {
        self.open(run, OpenOptions::new().append(true))
    }

    fn read(&self, run: &RunId) -> Result<Vec<u8>, StorageError> {
        let path = self.path(run);
        fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StorageError::NoSuchRun(run.clone()),
            _ => StorageError::Io { path: path.display().to_string(), source },
        })
    }

    fn list(&self) -> Result<Vec<RunId>, StorageError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(&self.root)(error)),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at(&self.root))?;
            if let Some(run) = entry.file_name().to_str().and_then(RunId::parse)
                && entry.path().join(FILE).is_file()
            {
                runs.push(run);
            }
        }
        runs.sort();
        Ok(runs)
    }
}

struct FileLog {
    file: File,
    path: PathBuf,
}

impl Log for FileLog {
    fn append(&mut self, bytes: &[u8], durable: bool) -> Result<(), StorageError> {
        self.file.write_all(bytes).map_err(at(&self.path))?;
        if durable {
            self.file.sync_data().map_err(at(&self.path))?;
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> Result<(), StorageError> {
        self.file.set_len(length).and_then(|()| self.file.sync_all()).map_err(at(&self.path))
    }
}

/// Journals in memory: for rehearsals, which leave nothing behind.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    runs: Arc<Mutex<BTreeMap<RunId, Vec<u8>>>>,
    budget: Arc<Mutex<Option<usize>>>,
}

impl MemoryStorage {
    /// Puts a journal there as if it had been written before.
    pub fn insert(&self, run: &RunId, bytes: Vec<u8>) {
        self.lock().insert(run.clone(), bytes);
    }

    /// From now on a disk with room for `bytes` more; an append beyond fails as a full disk does.
    pub fn limit(&self, bytes: usize) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunId, Vec<u8>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn create(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError> {
        if self.lock().contains_key(run) {
            return Err(StorageError::Exists(run.clone()));
        }
        self.insert(run, Vec::new());
        self.append(run)
    }

    fn append(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError> {
        if !self.lock().contains_key(run) {
            return Err(StorageError::NoSuchRun(run.clone()));
        }
        Ok(Box::new(MemoryLog { storage: self.clone(), run: run.clone() }))
    }

    fn read(&self, run: &RunId) -> Result<Vec<u8>, StorageError> {
        self.lock().get(run).cloned().ok_or_else(|| StorageError::NoSuchRun(run.clone()))
    }

    fn list(&self) -> Result<Vec<RunId>, StorageError> {
        Ok(self.lock().keys().cloned().collect())
    }
}

struct MemoryLog {
    storage: MemoryStorage,
    run: RunId,
}

impl Log for MemoryLog {
    fn append(&mut self, bytes: &[u8], _durable: bool) -> Result<(), StorageError> {
        if let Some(budget) = &mut *self.storage.budget.lock().unwrap_or_else(PoisonError::into_inner) {
            *budget = budget.checked_sub(bytes.len()).ok_or_else(|| StorageError::Io {
                path: format!("memory:{}", self.run),
                source: io::Error::from(io::ErrorKind::StorageFull),
            })?;
        }
        self.storage.lock().entry(self.run.clone()).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> Result<(), StorageError> {
        if let Some(bytes) = self.storage.lock().get_mut(&self.run) {
            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaves(storage: &dyn Storage) {
        let run = RunId::new("a", 1);
        assert!(matches!(storage.append(&run), Err(StorageError::NoSuchRun(_))));
        let mut log = storage.create(&run).expect("creates");
        log.append(b"one", true).expect("appends");
        log.append(b"two", false).expect("appends");
        drop(log);
        assert!(matches!(storage.create(&run), Err(StorageError::Exists(_))));
        let mut log = storage.append(&run).expect("opens again");
        log.truncate(3).expect("truncates");
        log.append(b"!", true).expect("appends");
        assert_eq!(storage.read(&run).expect("reads"), b"one!");
        assert_eq!(storage.list().expect("lists"), [run]);
    }

    #[test]
    fn memory_and_files_behave_alike() {
        behaves(&MemoryStorage::default());
        let dir = tempfile::tempdir().expect("a folder");
        behaves(&DirStorage::new(dir.path().join("runs")));
    }

    #[test]
    fn two_writers_of_one_journal_are_told_apart() {
        let dir = tempfile::tempdir().expect("a folder");
        let storage = DirStorage::new(dir.path());
        let run = RunId::new("a", 1);
        let log = storage.create(&run).expect("creates");
        assert!(matches!(storage.append(&run), Err(StorageError::Busy(_))));
        assert!(storage.is_held(&run));
        drop(log);
        assert!(!storage.is_held(&run));
    }

    #[test]
    fn journals_are_for_the_eyes_of_their_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a folder");
        let storage = DirStorage::new(dir.path().join("firedrill/runs"));
        let run = RunId::new("a", 1);
        drop(storage.create(&run).expect("creates"));
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        let file = storage.path(&run);
        assert_eq!(mode(&file), 0o600);
        for folder in file.ancestors().skip(1).take(3) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
    }
}
