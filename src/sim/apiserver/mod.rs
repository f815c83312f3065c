//! The API server of the embedded cluster: a `tower` service that answers as kube-apiserver does.
//!
//! The fake is at the wire: the real `kube::Client` sits on top, or, through [`crate::sim::serve`], any client
//! at all. Handlers are synchronous between two awaits (latency before, nothing after), so that in one
//! current-thread runtime with paused time the same calls give the same answers.

mod apply;
mod attach;
mod decode;
pub(in crate::sim) mod defaults;
mod discovery;
mod event;
pub(in crate::sim) mod eviction;
mod impersonation;
mod metrics;
pub mod mischief;
mod network_policy;
mod openapi;
mod patch;
mod proxy;
pub mod rbac;
mod read;
mod request;
mod scale;
mod schema;
mod strategic;
mod subresource;
mod table;
mod validate;
mod watch;
mod write;

pub(in crate::sim) use attach::AttachBroken;
pub use proxy::{AskedService, Backend, Said, Services};
pub use rbac::User;

use super::store::{Kind, Status, Store};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use mischief::{Action, Mischief, Seen};
use proxy::Backends;
use rbac::Attributes;
use request::Call;
use serde::Serialize;
use std::io;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Service};

/// The server's own limit for a request (`--request-timeout` of kube-apiserver: 1m0s).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest body taken (3 MiB: `MaxRequestBodyBytes` of the generic API server).
const MAX_BODY: usize = 3 << 20;

/// Body of an answer: one piece, or a watch.
pub type ApiBody = UnsyncBoxBody<Bytes, BoxError>;

/// Whoever keeps what containers say.
pub trait Logs: Send + Sync {
    /// What a container of a pod, by UID, has said lately; `None` if it is not one of those.
    fn log(&self, pod: &str, container: &str) -> Option<String>;
}

/// How the API server behaves.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Virtual time that a read takes.
    pub read_latency: Duration,
    /// Virtual time that a write takes.
    pub write_latency: Duration,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { read_latency: Duration::from_millis(2), write_latency: Duration::from_millis(5) }
    }
}

/// The API server; clones share everything.
#[derive(Clone)]
pub struct ApiServer {
    store: Store,
    mischief: Mischief,
    backends: Backends,
    usage: metrics::UsageSource,
    logs: Arc<OnceLock<Arc<dyn Logs>>>,
    config: ApiConfig,
}

/// The API server as one user sees it: what `kube::Client` or a listener talks to.
#[derive(Clone)]
pub struct ApiService {
    server: ApiServer,
    user: User,
}

impl ApiServer {
    /// A server over a store; the store gets the namespaces and roles that every cluster has.
    #[must_use]
    pub fn new(store: Store, config: ApiConfig) -> Self {
        let (mischief, backends) = (Mischief::default(), Backends::default());
        let (usage, logs) = (metrics::UsageSource::default(), Arc::default());
        let server = Self { store, mischief, backends, usage, logs, config };
        server.bootstrap();
        server
    }

    fn bootstrap(&self) {
        let namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];
        let namespaces = namespaces.map(
            |name| serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        );
        for value in namespaces.into_iter().chain(rbac::bootstrap()) {
            // Cannot be refused: the store is new. A store that is reused keeps what it has.
            drop(self.create_object(value));
        }
    }

    /// Creates one object from a manifest, with the API server's defaults and validation but no call.
    ///
    /// # Errors
    /// What the API server would answer.
    pub fn create_object(&self, manifest: serde_json::Value) -> Result<(), Status> {
        let text = |name: &str| manifest[name].as_str().unwrap_or_default().to_string();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let kind = self.store.kind_of(&api_version, &kind).ok_or_else(|| {
            Status::bad_request(format!("no matches for kind \"{kind}\" in version \"{api_version}\""))
        })?;
        self.create_manifest(&kind, manifest)
    }

    /// The service for one user.
    #[must_use]
    pub fn service(&self, user: User) -> ApiService {
        ApiService { server: self.clone(), user }
    }

    /// Trouble to inject, and the counters of calls.
    #[must_use]
    pub fn mischief(&self) -> &Mischief {
        &self.mischief
    }

    /// Serves a Service's proxy path (`…/services/NAME/proxy/…`) from within the process.
    pub fn register_backend(&self, namespace: &str, service: &str, backend: Backend) {
        self.backends.register(namespace, service, backend);
    }

    /// What the pods of Services without a back end of their own answer.
    pub fn register_services(&self, services: Services) {
        self.backends.register_others(services);
    }

    /// What the pods that send loads have said last.
    pub fn register_said(&self, said: Said) {
        self.backends.register_said(said);
    }

    /// Serves `metrics.k8s.io`, whose figures follow from these shares; the first registered stay.
    pub fn register_usage(&self, shares: Arc<dyn super::usage::BusyShares>) {
        self.usage.register(shares);
    }

    /// Where the logs of containers come from that run a program; the first registered stays.
    pub fn register_logs(&self, logs: Arc<dyn Logs>) {
        drop(self.logs.set(logs));
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Only as a broken connection: an outage, or mischief that drops it.
    pub async fn handle(&self, user: User, request: Request<Bytes>) -> Result<Response<ApiBody>, BoxError> {
        if self.mischief.is_out() {
            return Err(broken(io::ErrorKind::ConnectionRefused));
        }
        let mut call = Call::parse(&self.store, request, user);
        let action = self.mischief.meet(&seen(&call));
        let writes = matches!(call.verb, "create" | "update" | "patch" | "delete" | "deletecollection");
        let latency = if writes { self.config.write_latency } else { self.config.read_latency };
        pause(latency).await;
        if self.mischief.is_out() {
            return Err(broken(io::ErrorKind::ConnectionReset));
        }
        match action {
            None => Ok(self.respond(&mut call).await),
            Some(Action::Answer(status)) => Ok(failure(&status)),
            Some(Action::DropBeforeCommit) => Err(broken(io::ErrorKind::ConnectionReset)),
            Some(Action::DropAfterCommit) => {
                drop(self.respond(&mut call).await);
                Err(broken(io::ErrorKind::ConnectionReset))
            }
            Some(Action::TimeoutBeforeCommit) => Ok(timed_out().await),
            Some(Action::TimeoutAfterCommit) => {
                drop(self.respond(&mut call).await);
                Ok(timed_out().await)
            }
            Some(Action::Latency(more)) => {
                pause(more).await;
                Ok(self.respond(&mut call).await)
            }
            Some(Action::WatchGone) => Ok(watch::gone()),
        }
    }

    async fn respond(&self, call: &mut Call) -> Response<ApiBody> {
        match self.try_respond(call).await {
            Ok(response) => response,
            Err(status) => failure(&status),
        }
    }

    async fn try_respond(&self, call: &mut Call) -> Result<Response<ApiBody>, Status> {
        if call.body.len() > MAX_BODY {
            let message = format!("Request entity too large: limit is {MAX_BODY}");
            return Err(Status::failure(413, "RequestEntityTooLarge", message));
        }
        self.authorize(call)?;
        let Some(target) = call.target.clone() else { return discovery::answer(&self.store, call) };
        if let Some(answer) = self.virtual_resource(call, &target)? {
            return Ok(answer);
        }
        let Some(kind) = target.kind.clone() else {
            let known = |(group, _): &(String, Vec<String>)| *group == target.group;
            if discovery::group_versions(&self.store).iter().any(known) {
                return Err(Status::no_resource());
            }
            return Ok(raw(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"));
        };
        if target.subresource == "proxy" {
            return self.proxy(call, &target).await;
        }
        self.dispatch(call, &target, &kind).await
    }

    async fn dispatch(
        &self,
        call: &Call,
        target: &request::Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let sub = target.subresource.as_str();
        match (call.verb, sub) {
            (_, "scale") if kind.scale => self.scale(call, target, kind),
            ("create", "eviction") if *kind == Kind::POD => self.evict(call, target).await,
            ("create", "binding") if *kind == Kind::POD => self.bind(call, target),
            ("create", "token") if *kind == Kind::SERVICE_ACCOUNT => self.token(call, target),
            ("get", "log") if *kind == Kind::POD => self.log(call, target),
            ("update", "finalize") if *kind == Kind::NAMESPACE => self.finalize(call, target),
            (_, "" | "status") if sub.is_empty() || kind.status => self.resource(call, target, kind),
            _ => Err(Status::no_resource()),
        }
    }

    fn resource(
        &self,
        call: &Call,
        target: &request::Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let (plain, named) = (target.subresource.is_empty(), !target.name.is_empty());
        match call.verb {
            "get" => self.get(call, target, kind),
            "list" if plain => self.list(call, target, kind),
            "watch" if plain => self.watch(call, target, kind),
            "create" if plain && !named => self.create(call, target, kind),
            "update" if named => self.update(call, target, kind),
            "patch" if named => self.patch(call, target, kind),
            "delete" if plain => self.delete(call, target, kind),
            "deletecollection" if plain => self.delete_collection(call, target, kind),
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// Whether the caller may, as who else it may want to be meanwhile.
    fn authorize(&self, call: &mut Call) -> Result<(), Status> {
        let attributes = match &call.target {
            Some(target) => Attributes { name: call.named(target), ..Attributes::of(target, call.verb) },
            None => Attributes { verb: call.verb.into(), path: call.path.clone(), ..Attributes::default() },
        };
        if let Some(other) = impersonation::impersonated(&self.store, &call.headers, &call.user, &attributes)?
        {
            call.user = other;
        }
        if rbac::allowed(&self.store, &call.user, &attributes) {
            Ok(())
        } else {
            Err(rbac::denied(&call.user, &attributes))
        }
    }

    /// Resources that are answered, not stored: reviews and metrics.
    fn virtual_resource(
        &self,
        call: &Call,
        target: &request::Target,
    ) -> Result<Option<Response<ApiBody>>, Status> {
        if target.group == metrics::GROUP {
            return self.metrics(call, target).map(Some);
        }
        if !matches!(target.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io") {
            return Ok(None);
        }
        if call.verb != "create" {
            return Err(Status::method_not_allowed());
        }
        let body = decode::decode_body(call)?;
        let answer =
            rbac::review(&self.store, &call.user, &target.resource, &body).ok_or_else(Status::no_resource)?;
        Ok(Some(json(StatusCode::CREATED, &answer)))
    }
}

impl<B> Service<Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ApiBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { server, user } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(Into::into)?.to_bytes();
            server.handle(user, Request::from_parts(parts, body)).await
        })
    }
}

fn seen(call: &Call) -> Seen {
    let user = call.user.name.clone();
    match &call.target {
        Some(t) => Seen {
            verb: call.verb.into(),
            resource: t.full_resource(),
            namespace: t.namespace.clone(),
            name: t.name.clone(),
            user,
        },
        None => Seen { verb: call.verb.into(), resource: call.path.clone(), user, ..Seen::default() },
    }
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

async fn timed_out() -> Response<ApiBody> {
    tokio::time::sleep(REQUEST_TIMEOUT).await;
    failure(&Status::timeout(
        "request did not complete within requested timeout - context deadline exceeded",
        0,
    ))
}

fn broken(kind: io::ErrorKind) -> BoxError {
    Box::new(io::Error::new(kind, "the embedded API server's connection is broken"))
}

/// A whole body.
pub(super) fn whole(bytes: impl Into<Bytes>) -> ApiBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer in JSON.
fn json<T: Serialize + ?Sized>(code: StatusCode, value: &T) -> Response<ApiBody> {
    match serde_json::to_vec(value) {
        Ok(bytes) => raw(code, "application/json", bytes),
        Err(e) => failure(&Status::internal(e)),
    }
}

/// An answer of a given type.
fn raw(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<ApiBody> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// An error as answer, with `Retry-After` when it says so.
pub(super) fn failure(status: &Status) -> Response<ApiBody> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A Status can always be written: plain strings and numbers.
    let bytes = serde_json::to_vec(status).unwrap_or_default();
    let mut response = raw(code, "application/json", bytes);
    let retry = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, retry.into());
    }
    response
}

#[cfg(test)]
mod tests;
