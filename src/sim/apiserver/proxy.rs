//! The service proxy: `…/namespaces/NS/services/[SCHEME:]NAME[:PORT]/proxy/PATH` goes to a back end in the
//! process.

use super::request::{Call, Target};
use super::{ApiBody, ApiServer, failure, whole};
use crate::sim::store::{Kind, Object, Selector, Status};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What answers the requests to one Service.
pub type Backend = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// What the pods behind a Service answer. Err: the connection to them failed, in the words of whoever tried.
pub type Services =
    Arc<dyn Fn(AskedService) -> BoxFuture<'static, Result<Response<Bytes>, String>> + Send + Sync>;

/// Who is asked through the proxy.
#[derive(Debug, Clone)]
pub struct AskedService {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Its port; None is its first.
    pub port: Option<u16>,
    /// Whether TLS is spoken to its pods.
    pub tls: bool,
}

/// What a pod that sends a load has said last; None for one that does not.
pub type Said = Arc<dyn Fn(&Object) -> Option<String> + Send + Sync>;

/// The back ends by namespace and Service, and what answers for all others.
#[derive(Clone, Default)]
pub(super) struct Backends(Arc<Mutex<Behind>>);

#[derive(Default)]
struct Behind {
    named: BTreeMap<(String, String), Backend>,
    others: Option<Services>,
    said: Option<Said>,
}

impl Backends {
    pub(super) fn register(&self, namespace: &str, service: &str, backend: Backend) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.named.insert((namespace.into(), service.into()), backend);
    }

    pub(super) fn register_others(&self, services: Services) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).others = Some(services);
    }

    pub(super) fn register_said(&self, said: Said) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).said = Some(said);
    }

    /// What a pod has said last, if it is one that sends a load.
    pub(super) fn said(&self, pod: &Object) -> Option<String> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner).said.clone();
        said.and_then(|said| said(pod))
    }

    fn others(&self) -> Option<Services> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).others.clone()
    }

    fn find(&self, namespace: &str, service: &str) -> Option<Backend> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.named.get(&(namespace.to_string(), service.to_string())).cloned()
    }
}

impl ApiServer {
    pub(super) async fn proxy(&self, call: &Call, target: &Target) -> Result<Response<ApiBody>, Status> {
        if target.kind.as_ref() != Some(&Kind::SERVICE) {
            return Err(Status::no_resource());
        }
        let parts: Vec<&str> = target.name.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] if matches!(*scheme, "http" | "https" | "") => (*scheme, *name, *port),
            _ => return Err(Status::bad_request(format!("invalid service request \"{}\"", target.name))),
        };
        let port = match self.service_port(&target.namespace, name, port) {
            Ok(port) => port,
            Err(why) => return Ok(failure(&Status::failure(503, "ServiceUnavailable", why))),
        };
        let Some(backend) = self.backends.find(&target.namespace, name) else {
            let label = std::collections::BTreeMap::from([(
                "kubernetes.io/service-name".to_string(),
                name.to_string(),
            )]);
            let slices =
                self.store.list(&Kind::ENDPOINT_SLICE, Some(&target.namespace), &Selector::labels(&label));
            let endpoints = self.store.get(&Kind::ENDPOINTS, &target.namespace, name);
            // A Service whose endpoints nobody has written yet is answered like one that does not exist.
            if slices.is_empty() && endpoints.is_none() {
                return Err(Status::not_found(&Kind::SERVICE, name));
            }
            let why = match self.backends.others() {
                None => format!("no endpoints available for service \"{}\"", target.name),
                // What pods answer does not depend on what they are asked, but for the language.
                Some(others) => {
                    let (namespace, name) = (target.namespace.clone(), name.to_owned());
                    match others(AskedService { namespace, name, port, tls: scheme == "https" }).await {
                        Ok(answer) => return Ok(spoken(&call.headers, answer).map(whole)),
                        Err(why) => why,
                    }
                }
            };
            return Ok(failure(&Status::failure(503, "ServiceUnavailable", why)));
        };
        let query: String = call.query.iter().fold(String::new(), |q, (k, v)| {
            format!("{q}{}{}={}", if q.is_empty() { "?" } else { "&" }, encode(k), encode(v))
        });
        let mut request = Request::new(call.body.clone());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = format!("/{}{query}", target.rest)
            .parse()
            .map_err(|e| Status::bad_request(format!("invalid proxy path: {e}")))?;
        *request.headers_mut() = call.headers.clone();
        request.headers_mut().remove(http::header::AUTHORIZATION);
        Ok(backend(request).await.map(whole))
    }
}

impl ApiServer {
    /// The port of a Service that is named by its number or its name, as `ResourceLocation` of
    /// pkg/registry/core/service/storage finds it; None for whichever is first, and of a Service that is no object.
    ///
    /// # Errors
    /// It has no such port, in the words of a real API server.
    fn service_port(&self, namespace: &str, name: &str, port: &str) -> Result<Option<u16>, String> {
        let Some(service) = self.store.get(&Kind::SERVICE, namespace, name).filter(|_| !port.is_empty())
        else {
            return Ok(None);
        };
        let spec: Value = service.field("spec").unwrap_or_default();
        let number = port.parse::<u16>().ok();
        let mut ports = spec["ports"].as_array().into_iter().flatten();
        let found = ports.find(|own| match number {
            Some(number) => own["port"] == number,
            None => own["name"] == port,
        });
        match (found, number) {
            (Some(own), _) => Ok(own["port"].as_u64().and_then(|own| u16::try_from(own).ok())),
            (None, Some(number)) => Err(format!("no service port {number} found for service \"{name}\"")),
            (None, None) => Err(format!("no endpoints available for service \"{name}:{port}\"")),
        }
    }
}

/// An answer in gRPC for whoever asks in it: a health check's `SERVING`, or `UNAVAILABLE` for what could not be taken
/// (gRPC's doc/health-checking.md, doc/statuscodes.md). A real proxy passes no gRPC; in a rehearsal the name of a
/// Service means what it means within the cluster.
fn spoken(asked: &http::HeaderMap, answer: Response<Bytes>) -> Response<Bytes> {
    if asked.get(http::header::CONTENT_TYPE).is_none_or(|language| language != "application/grpc") {
        return answer;
    }
    let taken = answer.status().is_success();
    let (code, body): (_, &[u8]) = if taken { ("0", b"\0\0\0\0\x02\x08\x01") } else { ("14", b"") };
    let mut spoken = Response::new(Bytes::from_static(body));
    let headers = spoken.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", http::HeaderValue::from_static(code));
    spoken
}

/// Percent-encodes what may not stand in a query.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}
