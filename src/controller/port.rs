//! The controller's one port: its metrics, for whoever the API server says may read them, and whether it lives.
//!
//! HTTPS, with a certificate that is given, or made at start and kept nowhere. Nothing but GET, no body is read, and
//! nothing can be changed here. Who asks is asked of the API server, as it is for the metrics of Kubernetes' own servers: the
//! token by a TokenReview, `get` on `/metrics` by a SubjectAccessReview.

mod certificate;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header, request::Parts};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use self::certificate::Certificate;
use super::metrics::{CONTENT_TYPE, Metrics};
use crate::{
    cluster::{Access, ApiError, Reader, reader},
    sim::serve::ServeError,
};

/// Where metrics are.
const METRICS: &str = "/metrics";
/// Connections at once.
const CONNECTIONS: usize = 128;
/// How long one may last: whoever comes again connects again.
const LASTS: Duration = Duration::from_secs(60);
/// How long its TLS, or the head of a request, may take.
const BEGINS: Duration = Duration::from_secs(10);
/// For how long an answer of the API server's holds: one that allows, and any other.
const HOLDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(10));
/// How many answers are kept, and how many are asked for at once: strangers are no load on the API server.
const ANSWERS: (usize, usize) = (64, 4);
/// A token of Kubernetes' takes about 1 KiB.
const LONGEST: usize = 16 * 1024;

/// Where to listen: ADDRESS:PORT, or :PORT for all addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(Vec<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text} is neither ADDRESS:PORT nor :PORT");
        let Some(port) = text.strip_prefix(':') else {
            return text.parse().map(|address| Self(vec![address])).map_err(wrong);
        };
        let port: u16 = port.parse().map_err(|_| format!("{text} is neither ADDRESS:PORT nor :PORT"))?;
        // The first has the other in it, but where there is no IPv6.
        Ok(Self(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]))
    }
}

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The address is taken, or is none of this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate can be made.
    #[error(transparent)]
    Certificate(#[from] ServeError),
    /// The one that is given cannot be used.
    #[error("the certificate in {}: {why}", folder.display())]
    Folder {
        /// Where it was looked for.
        folder: PathBuf,
        /// Why.
        why: String,
    },
}

/// What answers; clones are the same.
#[derive(Clone)]
pub struct Port(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    access: Access,
    /// By token, and until when.
    known: Mutex<BTreeMap<String, (Instant, Reader)>>,
    asking: Semaphore,
}

/// A port that is open; dropping it closes it.
#[derive(Debug)]
pub struct Open {
    address: SocketAddr,
    authority: String,
    _task: AbortOnDropHandle<()>,
}

impl Open {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whom its certificate is signed by, as PEM, if it was made for it alone; else empty.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl Port {
    /// Answers with these metrics, and asks about tokens with the controller's own rights.
    pub fn new(client: &kube::Client, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner {
            metrics: metrics.clone(),
            access: Access::new(metrics.counting(client)),
            known: Mutex::default(),
            asking: Semaphore::new(ANSWERS.1),
        }))
    }

    /// Opens it, with the certificate in a folder (`tls.crt`, `tls.key`) or one that is made now. Needs a runtime with
    /// real time: paused time runs ahead of real sockets.
    ///
    /// # Errors
    /// The address cannot be listened on, or there is no certificate.
    pub async fn open(self, listen: &Listen, folder: Option<&Path>) -> Result<Open, PortError> {
        let (certificate, authority) = match folder {
            Some(folder) => (Certificate::of(folder)?, String::new()),
            None => Certificate::made()?,
        };
        let asked = listen.0.first().copied().unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let failed = |source| PortError::Listen { address: asked, source };
        let listener = TcpListener::bind(listen.0.as_slice()).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "metrics and probes are answered");
        let task = AbortOnDropHandle::new(tokio::spawn(self.accept(listener, certificate)));
        Ok(Open { address, authority, _task: task })
    }

    async fn accept(self, listener: TcpListener, certificate: Certificate) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // Never closed: it is ours.
            let Ok(turn) = room.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (this, acceptor) = (self.clone(), certificate.acceptor());
                    tokio::spawn(async move {
                        let _turn = turn;
                        let served = timeout(LASTS, this.connection(stream, acceptor)).await;
                        if let Ok(Err(error)) = served {
                            tracing::debug!(%error, "a connection to the port of metrics ended");
                        }
                    });
                }
                // Out of descriptors, or the peer is gone already: others may still come.
                Err(error) => {
                    tracing::debug!(%error, "a connection to the port of metrics was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, acceptor: TlsAcceptor) -> Result<(), tower::BoxError> {
        let stream = timeout(BEGINS, acceptor.accept(stream)).await??;
        let service = service_fn(move |request: Request<Incoming>| {
            let this = self.clone();
            async move { Ok::<_, Infallible>(this.answer(&request.into_parts().0).await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(BEGINS);
        builder.serve_connection(TokioIo::new(stream), service).await?;
        Ok(())
    }

    /// Answers one request.
    pub async fn answer(&self, request: &Parts) -> Response<String> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return said(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri.path() {
            "/healthz" => whether(self.0.metrics.alive()),
            "/readyz" => whether(self.0.metrics.ready()),
            METRICS => self.metrics(request).await,
            _ => said(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    async fn metrics(&self, request: &Parts) -> Response<String> {
        let Some(token) = bearer(request) else { return stranger() };
        match self.reader(token).await {
            Ok(Reader::Allowed) => {
                let mut page = Response::new(self.0.metrics.render());
                let kind = header::HeaderValue::from_static(CONTENT_TYPE);
                page.headers_mut().insert(header::CONTENT_TYPE, kind);
                page
            }
            Ok(Reader::Refused) => said(StatusCode::FORBIDDEN, "you may not get /metrics\n"),
            Ok(Reader::Unknown) => stranger(),
            Err(ApiError::Busy { .. }) => said(StatusCode::TOO_MANY_REQUESTS, "try again\n"),
            Err(error) => {
                tracing::warn!(%error, "whether somebody may read the metrics cannot be asked");
                said(StatusCode::SERVICE_UNAVAILABLE, "the API server cannot be asked who you are\n")
            }
        }
    }

    /// Who that is, from memory where it was asked a moment ago.
    async fn reader(&self, token: &str) -> Result<Reader, ApiError> {
        let known = || self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, found)) = known().get(token)
            && Instant::now() < *until
        {
            return Ok(*found);
        }
        let busy = |_| ApiError::Busy { retry_after: Duration::from_secs(1) };
        let _turn = self.0.asking.try_acquire().map_err(busy)?;
        let found = reader(&self.0.access, token, METRICS).await?;
        let (mut known, now) = (known(), Instant::now());
        known.retain(|_, (until, _)| now < *until);
        if known.len() >= ANSWERS.0 {
            known.clear();
        }
        let holds = if found == Reader::Allowed { HOLDS.0 } else { HOLDS.1 };
        known.insert(token.to_owned(), (now + holds, found));
        Ok(found)
    }
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(request: &Parts) -> Option<&str> {
    let given = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    let token = token.trim();
    let plausible = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= LONGEST;
    plausible.then_some(token)
}

fn whether(so: bool) -> Response<String> {
    if so { said(StatusCode::OK, "ok\n") } else { said(StatusCode::SERVICE_UNAVAILABLE, "not ok\n") }
}

fn stranger() -> Response<String> {
    let mut answer = said(StatusCode::UNAUTHORIZED, "a bearer token that the API server knows is needed\n");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    answer
}

fn said(status: StatusCode, words: &str) -> Response<String> {
    let mut answer = Response::new(words.to_owned());
    *answer.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

#[cfg(test)]
mod tests;
