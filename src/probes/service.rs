//! Services of the cluster by their names, reached through the API server's proxy: so a name of the cluster means the
//! same on a laptop, in a pod and in a rehearsal.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::Authority};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    cluster::Access,
    env::{HttpError, first_bytes},
    types::{port_of, service_of_host},
};

/// Why there is nothing to measure of an answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// What was asked gave no answer. That is a measurement.
    NoAnswer(String),
    /// It could not be asked. That is none.
    NotAsked(String),
}

impl From<HttpError> for Silence {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Unreachable(why) => Self::NoAnswer(why),
            HttpError::Settings(why) => Self::NotAsked(why),
        }
    }
}

/// The field `address`.
pub(super) fn address(params: &Value) -> Option<&str> {
    params.get("address").and_then(Value::as_str)
}

/// `HOST:PORT`, and nothing else.
pub(super) fn parsed(address: &str) -> Option<(Authority, u16)> {
    let authority: Authority = address.parse().ok()?;
    let port = authority.port_u16().filter(|port| *port > 0)?;
    let usable = !authority.host().is_empty() && !address.contains('@');
    usable.then_some((authority, port))
}

/// A Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClusterService {
    name: String,
    namespace: String,
    port: u16,
    scheme: &'static str,
}

impl ClusterService {
    /// The Service that `host` names, if it names one.
    pub fn of_host(host: &str, port: u16, scheme: &'static str) -> Option<Self> {
        let (namespace, name) = service_of_host(host)?;
        Some(Self { name: name.to_owned(), namespace: namespace.to_owned(), port, scheme })
    }

    /// The Service that a URL names.
    pub fn of_url(url: &Uri) -> Option<Self> {
        let (port, tls) = port_of(url.scheme_str(), url.port_u16());
        Self::of_host(url.host()?, port, if tls { "https" } else { "http" })
    }

    /// Passes a request on. Its URL keeps path and query; its credentials are the API server's.
    pub async fn ask(
        &self,
        access: &Access,
        mut request: Request<Bytes>,
        body_max: usize,
    ) -> Result<Response<Bytes>, Silence> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let prefix = self.prefix();
        *request.uri_mut() = format!("{prefix}{path}")
            .parse()
            .map_err(|_| Silence::NotAsked("not a path that can be asked for".to_owned()))?;
        for name in [header::HOST, header::AUTHORIZATION] {
            request.headers_mut().remove(name);
        }
        // Reading an answer to the end is the probe's time, so that only the probe's timeout bounds it.
        let sent = access.client().send(request.map(|body| kube::client::Body::from(body.to_vec()))).await;
        let answer = sent.map_err(|error| Silence::NotAsked(format!("the API server: {error}")))?;
        let (mut parts, body) = answer.into_parts();
        let read = first_bytes(body, body_max).await;
        let body = read.map_err(|error| Silence::NoAnswer(format!("the answer broke off: {error}")))?;
        if !parts.status.is_success()
            && let Some(silence) = self.own_words(parts.status.as_u16(), &body)
        {
            return Err(silence);
        }
        // The proxy turns redirects within the Service into redirects within itself.
        let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        if let Some(inside) = location.and_then(|location| location.strip_prefix(&prefix))
            && let Ok(inside) = HeaderValue::from_str(if inside.is_empty() { "/" } else { inside })
        {
            parts.headers.insert(header::LOCATION, inside);
        }
        Ok(Response::from_parts(parts, body))
    }

    fn prefix(&self) -> String {
        let Self { name, namespace, port, scheme } = self;
        format!("/api/v1/namespaces/{namespace}/services/{scheme}:{name}:{port}/proxy")
    }

    /// What the API server says for itself, as a Status: nobody is there (503, 404), or it did not pass it on.
    /// None when the words are the Service's own.
    fn own_words(&self, code: u16, body: &[u8]) -> Option<Silence> {
        let status: Status = serde_json::from_slice(body).ok()?;
        if status.kind != "Status" || status.api_version != "v1" || status.code != code {
            return None;
        }
        let nobody = match code {
            // k8s.io/apimachinery pkg/util/proxy/transport.go and pkg/registry/core/service/storage.
            503 => {
                status.message.starts_with("error trying to reach service")
                    || status.message.starts_with("no endpoints available")
                    || status.message.starts_with("no service port")
            }
            404 => status.details.kind == "services",
            _ => false,
        };
        let place = format!("service {}/{}:{}", self.namespace, self.name, self.port);
        Some(match nobody {
            true => Silence::NoAnswer(format!("{place}: {}", status.message)),
            false => Silence::NotAsked(format!("{place}: the API server: {}", status.message)),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    kind: String,
    api_version: String,
    code: u16,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Details,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    kind: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_are_told_from_other_hosts() {
        for (url, prefix) in [
            ("http://cart.shop.svc/a", "/api/v1/namespaces/shop/services/http:cart:80/proxy"),
            (
                "https://cart.shop.svc.cluster.local:8443",
                "/api/v1/namespaces/shop/services/https:cart:8443/proxy",
            ),
        ] {
            let service = ClusterService::of_url(&url.parse().expect("a URL")).expect("a Service");
            assert_eq!(service.prefix(), prefix);
        }
        for url in [
            "http://shop.example.com",
            "http://svc",
            "http://cart.svc",
            "http://pod-0.cart.shop.svc",
            "http://10.0.0.1",
        ] {
            assert_eq!(ClusterService::of_url(&url.parse().expect("a URL")), None, "{url}");
        }
    }

    #[test]
    fn the_api_servers_own_words_are_not_the_services() {
        let service = ClusterService::of_host("cart.shop.svc", 80, "http").expect("a Service");
        let words = |code: u16, message: &str, kind: &str| {
            let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "message": message, "code": code, "details": {"kind": kind}});
            service.own_words(code, status.to_string().as_bytes())
        };
        for (code, message) in [
            (503, "error trying to reach service: EOF"),
            (503, "no endpoints available for service \"cart\""),
            (503, "no service port 81 found for service \"cart\""),
        ] {
            assert!(matches!(words(code, message, ""), Some(Silence::NoAnswer(_))), "{message}");
        }
        assert!(matches!(words(404, "services \"cart\" not found", "services"), Some(Silence::NoAnswer(_))));
        assert!(matches!(
            words(403, "services \"cart\" is forbidden", "services"),
            Some(Silence::NotAsked(_))
        ));
        assert!(matches!(words(429, "too many requests", ""), Some(Silence::NotAsked(_))));
        assert!(service.own_words(503, b"<html>busy</html>").is_none());
        assert!(service.own_words(503, br#"{"error":"busy"}"#).is_none());
    }
}
