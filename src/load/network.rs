//! A load over sockets of this process.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri, uri::Scheme};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{sync::mpsc, time::Instant};

use super::{pacer, slots::Slots};
use crate::{
    env::{LoadOrder, LoadWire, Resolver, Tls, Underway, client_config},
    types::load::{End, LoadTally, LoadWindow, Recorder, Schedule},
};

/// From beginning a load to its first request: what it takes to start its threads.
const LEAD: Duration = Duration::from_millis(20);

/// Sends from this process, over threads of each load's own: how busy the rest of the process is does not matter.
pub fn network() -> LoadWire {
    LoadWire::new(|url| Box::pin(addresses(url)), |order| Ok(Arc::new(Sending::begin(order)?)))
}

/// The addresses of a URL's host, as this machine resolves names.
async fn addresses(url: Uri) -> Result<Vec<IpAddr>, String> {
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    match tokio::net::lookup_host((host.as_str(), 0)).await {
        Ok(found) => Ok(found.map(|address| address.ip()).collect()),
        Err(error) => Err(format!("{host} cannot be found from here: {error}")),
    }
}

type Connections = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

fn connections(order: &LoadOrder) -> Result<Connections, String> {
    let config = client_config(&Tls::default(), order.url.scheme() != Some(&Scheme::HTTP));
    let config = config.map_err(|error| error.to_string())?;
    let mut http = HttpConnector::new_with_resolver(Resolver::guarded());
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(order.timeout));
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    let connector = if order.http2 {
        builder.enable_http2().wrap_connector(http)
    } else {
        builder.enable_http1().wrap_connector(http)
    };
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new()).http2_only(order.http2);
    Ok(client.build(connector))
}

/// One load under way.
struct Sending(Arc<Shared>);

struct Shared {
    begin: Instant,
    /// The recorder, and the final word once the load has ended.
    record: Mutex<(Recorder, Option<LoadTally>)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Recorder, Option<LoadTally>)> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        micros(self.begin.elapsed())
    }

    /// Whether the load goes on and one more may be sent.
    fn admits(&self, due: u64) -> Admission {
        let mut record = self.lock();
        if record.1.is_some() {
            Admission::Over
        } else if record.0.send(due, self.now().max(due)) {
            Admission::Send
        } else {
            Admission::Full
        }
    }

    fn ended(&self) -> bool {
        self.lock().1.is_some()
    }
}

enum Admission {
    Send,
    Full,
    Over,
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

impl Sending {
    fn begin(order: LoadOrder) -> Result<Self, String> {
        let client = connections(&order)?;
        let begin = Instant::now() + LEAD;
        let recorder = Recorder::new(order.max_in_flight, order.keep);
        let shared = Arc::new(Shared { begin, record: Mutex::new((recorder, None)) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime for a load: {error}"))?;
        let (due_tx, due_rx) = mpsc::unbounded_channel();
        let no_thread = |error: std::io::Error| format!("no thread for a load: {error}");
        let schedule = Schedule::new(order.pace, order.seed);
        let slots = Arc::new(Slots::new(usize::try_from(order.max_in_flight).unwrap_or(usize::MAX)));
        let sender = Sender { client, order, slots, shared: shared.clone() };
        let work = move || {
            runtime.block_on(sender.run(due_rx));
            // Whoever still waits for a name or an answer is not waited for.
            runtime.shutdown_background();
        };
        thread::Builder::new().name("load-sender".to_owned()).spawn(work).map_err(no_thread)?;
        let paced = shared.clone();
        pacer::start(schedule, begin, due_tx, move || paced.ended()).map_err(no_thread)?;
        Ok(Self(shared))
    }
}

impl Underway for Sending {
    fn age(&self) -> Duration {
        self.0.begin.elapsed()
    }

    fn window(&self, length: Duration) -> LoadWindow {
        let now = self.0.now();
        self.0.lock().0.window(now, length)
    }

    fn tally(&self) -> LoadTally {
        let record = self.0.lock();
        record.1.clone().unwrap_or_else(|| record.0.tally())
    }

    fn end(&self) -> LoadTally {
        let mut record = self.0.lock();
        let (recorder, last) = &mut *record;
        last.get_or_insert_with(|| recorder.tally()).clone()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.end();
    }
}

/// What sends a load's requests.
struct Sender {
    client: Connections,
    order: LoadOrder,
    slots: Arc<Slots>,
    shared: Arc<Shared>,
}

impl Sender {
    /// Sends what is due until the load is over.
    async fn run(self, mut due_rx: mpsc::UnboundedReceiver<Duration>) {
        let slots = self.slots.clone();
        tokio::spawn(async move { slots.grow().await });
        while let Some(due) = due_rx.recv().await {
            match self.shared.admits(micros(due)) {
                Admission::Over => return,
                Admission::Full => {}
                Admission::Send => {
                    let deadline = self.shared.begin + due + self.order.timeout;
                    let (client, request) = (self.client.clone(), self.request());
                    let (shared, slots) = (self.shared.clone(), self.slots.clone());
                    tokio::spawn(async move {
                        let exchange = async {
                            let _slot = slots.take().await;
                            shared.lock().0.left(micros(due), shared.now());
                            exchange(client, request).await
                        };
                        let end = tokio::time::timeout_at(deadline, exchange).await.unwrap_or(End::TimedOut);
                        let mut record = shared.lock();
                        // After the final word nothing counts any more.
                        if record.1.is_none() {
                            record.0.end(micros(due), shared.now(), end);
                        }
                    });
                }
            }
        }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.order.body.clone()));
        *request.method_mut() = self.order.method.clone();
        *request.uri_mut() = self.order.url.clone();
        *request.headers_mut() = self.order.headers.clone();
        request
    }
}

/// One request and the whole of its answer.
async fn exchange(client: Connections, request: Request<Full<Bytes>>) -> End {
    let mut response = match client.request(request).await {
        Ok(response) => response,
        Err(error) if error.is_connect() => return End::NotConnected,
        Err(_) => return End::Broken,
    };
    let status = response.status().as_u16();
    while let Some(frame) = response.body_mut().frame().await {
        if frame.is_err() {
            return End::Broken;
        }
    }
    End::Answered(status)
}

#[cfg(test)]
mod tests;
