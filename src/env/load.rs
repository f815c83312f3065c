//! Loads: what is to be sent, who sends it, and what is under way.
//!
//! A load is handed over as a whole, not request by request: on a real network the sender paces itself to
//! the microsecond, and in an embedded cluster an hour of it is offered to the simulated traffic at once.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Uri};

use crate::types::load::{LoadTally, LoadWindow, Pace};

/// A load to be sent.
#[derive(Clone)]
pub struct LoadOrder {
    /// What is requested.
    pub url: Uri,
    /// How.
    pub method: Method,
    /// With these headers; values of Secrets are among them.
    pub headers: HeaderMap,
    /// With this body.
    pub body: Bytes,
    /// Over HTTP/2 instead of HTTP/1.1: by ALPN with https, with prior knowledge otherwise (RFC 9113, section 3).
    pub http2: bool,
    /// How many, and how they follow each other.
    pub pace: Pace,
    /// From which random arrivals follow.
    pub seed: u64,
    /// How long one may take from when it is due.
    pub timeout: Duration,
    /// How many may wait at once.
    pub max_in_flight: u32,
    /// How far back windows reach.
    pub keep: Duration,
}

impl fmt::Debug for LoadOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may be secrets.
        write!(f, "LoadOrder({} {}, {:?})", self.method, self.url, self.pace)
    }
}

/// A load that is being sent; it ends when dropped.
pub trait Underway: Send + Sync {
    /// How long it has been going on.
    fn age(&self) -> Duration;

    /// What became of its requests lately.
    fn window(&self, length: Duration) -> LoadWindow;

    /// What became of all requests so far.
    fn tally(&self) -> LoadTally;

    /// For how long nobody has known how it goes, and why, where that is so.
    fn unheard(&self) -> Option<(Duration, String)> {
        None
    }

    /// Sends nothing more. What became of all requests; who is still waiting is counted as unfinished.
    fn end(&self) -> LoadTally;
}

/// Where the addresses of a host come from.
type Find = dyn Fn(Uri) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> + Send + Sync;
/// What begins to send.
type Begin = dyn Fn(LoadOrder) -> Result<Arc<dyn Underway>, String> + Send + Sync;

/// Who sends loads: sockets of this process, or the clients of an embedded cluster.
#[derive(Clone)]
pub struct LoadWire {
    find: Arc<Find>,
    begin: Arc<Begin>,
}

impl fmt::Debug for LoadWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoadWire")
    }
}

impl LoadWire {
    /// From what finds a URL's host and what begins a load.
    pub fn new(
        find: impl Fn(Uri) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> + Send + Sync + 'static,
        begin: impl Fn(LoadOrder) -> Result<Arc<dyn Underway>, String> + Send + Sync + 'static,
    ) -> Self {
        Self { find: Arc::new(find), begin: Arc::new(begin) }
    }

    /// Where nothing can be sent.
    pub fn none() -> Self {
        let nowhere = || "there is no network here".to_owned();
        Self::new(move |_| Box::pin(async move { Err(nowhere()) }), move |_| Err(nowhere()))
    }

    /// The addresses that a URL's host has from here; none for a name that only means something in there.
    ///
    /// # Errors
    /// It cannot be found from here, in words.
    pub async fn find(&self, url: &Uri) -> Result<Vec<IpAddr>, String> {
        (self.find)(url.clone()).await
    }

    /// Begins to send.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn begin(&self, order: LoadOrder) -> Result<Arc<dyn Underway>, String> {
        (self.begin)(order)
    }
}

/// The loads that are under way, by name: whoever begins them and whoever measures share it.
#[derive(Clone, Default)]
pub struct Loads(Arc<Mutex<BTreeMap<String, Arc<dyn Underway>>>>);

impl Loads {
    /// One more.
    pub fn add(&self, name: &str, load: Arc<dyn Underway>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), load);
    }

    /// One less.
    pub fn take(&self, name: &str) -> Option<Arc<dyn Underway>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Underway>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}
