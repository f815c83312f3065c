//! The ways by which a process touches the world, each of which can be cut at any moment: its connection
//! to the API server, and its disk.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use firedrill::{
    env::{Log, MemoryStorage, Storage, StorageError},
    sim::{
        Sim,
        apiserver::{ApiBody, ApiService, User},
    },
    types::RunId,
};
use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use kube::client::Body;
use tokio::sync::watch;
use tower::Service;

/// When a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Not at all.
    Never,
    /// When it makes its n-th call (from 1), which is never sent.
    BeforeCall(usize),
    /// When its n-th call has had its effect, before the answer.
    AfterCall(usize),
    /// When its n-th record (from 1) is on the disk.
    AfterRecord(usize),
    /// When half of its n-th record is on the disk.
    WithinRecord(usize),
}

struct State {
    death: Death,
    calls: Vec<String>,
    records: usize,
    lost: Option<&'static str>,
    /// Bytes of the journal that have been synced.
    durable: usize,
}

/// One process, as the world sees it: dead means that nothing leaves it any more.
#[derive(Clone)]
pub struct Process {
    state: Arc<Mutex<State>>,
    dead: Arc<watch::Sender<bool>>,
    hangs: Arc<watch::Sender<bool>>,
    count: Arc<watch::Sender<usize>>,
}

impl Process {
    /// One that dies then.
    pub fn new(death: Death) -> Self {
        let state = State { death, calls: Vec::new(), records: 0, lost: None, durable: 0 };
        Self {
            state: Arc::new(Mutex::new(state)),
            dead: Arc::new(watch::Sender::new(false)),
            hangs: Arc::new(watch::Sender::new(false)),
            count: Arc::new(watch::Sender::new(0)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its connection to the API server.
    pub fn client(&self, sim: &Sim) -> kube::Client {
        let wire = Wire { service: sim.server().service(User::admin()), process: self.clone() };
        kube::Client::new(wire, "default")
    }

    /// Its disk, over what `storage` holds.
    pub fn disk(&self, storage: &MemoryStorage) -> Arc<dyn Storage> {
        Arc::new(Disk { storage: storage.clone(), process: self.clone() })
    }

    /// Ends it now.
    pub fn die(&self) {
        self.dead.send_replace(true);
    }

    /// Returns when it is dead.
    pub async fn died(&self) {
        // The sender is ours: it cannot have gone.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// From now on its calls wait until it is awake again.
    pub fn hang(&self) {
        self.hangs.send_replace(true);
    }

    /// From now on its calls to paths with this in them get lost, as on a broken connection.
    pub fn lose(&self, path: &'static str) {
        self.lock().lost = Some(path);
    }

    /// Its calls go on.
    pub fn wake(&self) {
        self.hangs.send_replace(false);
    }

    /// Returns when it has made `count` calls whose path ends in this.
    pub async fn called(&self, path: &str, count: usize) {
        let made = |_: &usize| self.calls().iter().filter(|call| call.ends_with(path)).count() >= count;
        let _ = self.count.subscribe().wait_for(made).await;
    }

    fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// The methods and paths that it has called, in order.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// How many records it has written.
    pub fn records(&self) -> usize {
        self.lock().records
    }

    /// How many bytes of its journal survive the machine.
    pub fn durable(&self) -> usize {
        self.lock().durable
    }
}

#[derive(Clone)]
struct Wire {
    service: ApiService,
    process: Process,
}

impl Service<Request<Body>> for Wire {
    type Response = Response<ApiBody>;
    type Error = <ApiService as Service<Request<Body>>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.service, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { mut service, process } = self.clone();
        async move {
            if process.is_dead() {
                return std::future::pending().await;
            }
            let (number, death) = {
                let mut state = process.lock();
                state.calls.push(format!("{} {}", request.method(), request.uri().path()));
                (state.calls.len(), state.death)
            };
            process.count.send_replace(number);
            let lost = process.lock().lost;
            if lost.is_some_and(|path| request.uri().path().contains(path)) {
                return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
            }
            let _ = process.hangs.subscribe().wait_for(|hangs| !hangs).await;
            if death == Death::BeforeCall(number) {
                process.die();
                return std::future::pending().await;
            }
            let answer = service.call(request).await;
            if death == Death::AfterCall(number) {
                process.die();
            }
            if process.is_dead() {
                return std::future::pending().await;
            }
            answer
        }
        .boxed()
    }
}

struct Disk {
    storage: MemoryStorage,
    process: Process,
}

impl Disk {
    fn log(&self, log: Box<dyn Log>, run: &RunId) -> Result<Box<dyn Log>, StorageError> {
        let length = self.storage.read(run)?.len();
        Ok(Box::new(DiskLog { log, length, process: self.process.clone() }))
    }
}

impl Storage for Disk {
    fn create(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError> {
        self.log(self.storage.create(run)?, run)
    }

    fn append(&self, run: &RunId) -> Result<Box<dyn Log>, StorageError> {
        self.log(self.storage.append(run)?, run)
    }

    fn read(&self, run: &RunId) -> Result<Vec<u8>, StorageError> {
        self.storage.read(run)
    }

    fn list(&self) -> Result<Vec<RunId>, StorageError> {
        self.storage.list()
    }
}

struct DiskLog {
    log: Box<dyn Log>,
    length: usize,
    process: Process,
}

impl Log for DiskLog {
    fn append(&mut self, bytes: &[u8], durable: bool) -> Result<(), StorageError> {
        if self.process.is_dead() {
            // Whatever a dead process still thinks that it writes.
            return Ok(());
        }
        let (number, death) = {
            let mut state = self.process.lock();
            state.records += 1;
            (state.records, state.death)
        };
        if death == Death::WithinRecord(number) {
            self.process.die();
            return self.log.append(&bytes[..bytes.len() / 2], false);
        }
        self.log.append(bytes, durable)?;
        self.length += bytes.len();
        if durable {
            self.process.lock().durable = self.length;
        }
        if death == Death::AfterRecord(number) {
            self.process.die();
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> Result<(), StorageError> {
        self.log.truncate(length)
    }
}
