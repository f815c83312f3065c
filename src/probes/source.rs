//! Where PromQL is answered, and how to ask there.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cluster::{Access, ApiError, SecretError, secret_text},
    env::{HttpClient, Tls},
    types::{FieldSchema, Finding, ObjectRef},
};

use super::{
    forbidden,
    freshness::{self, Reads},
    unfit,
};

/// `server` of the probes that ask a Prometheus.
pub(super) const SERVER: FieldSchema = FieldSchema {
    name: "server",
    description: "URL of a Prometheus, in place of spec.prometheus. At most one of server and service.",
    required: false,
    default: None,
    schema: r#"{"type":"string","maxLength":1024,"pattern":"^https?://[^\\s]+$"}"#,
};

/// `service` of the same.
pub(super) const SERVICE: FieldSchema = FieldSchema {
    name: "service",
    description: "A Service, reached through the API server's proxy, in place of spec.prometheus.",
    required: false,
    default: None,
    schema: "service",
};

/// `auth` of the same.
pub(super) const AUTH: FieldSchema = FieldSchema {
    name: "auth",
    description: "How to authenticate; with server or service.",
    required: false,
    default: None,
    schema: "auth",
};

/// `tls` of the same.
pub(super) const TLS: FieldSchema = FieldSchema {
    name: "tls",
    description: "TLS settings; with server.",
    required: false,
    default: None,
    schema: "tls",
};

/// Where PromQL is answered: a URL, or a Service through the API server's proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// URL; exactly one of server and service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// How to authenticate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// TLS settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
}

/// A Service's HTTP port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// Its name.
    pub name: String,
    /// Its namespace; empty: the file's.
    #[serde(default)]
    pub namespace: String,
    /// Its port.
    pub port: u16,
    /// http or https.
    #[serde(default = "plain_http")]
    pub scheme: String,
    /// What comes before `/api/v1`.
    #[serde(default)]
    pub path: String,
}

fn plain_http() -> String {
    "http".to_owned()
}

/// How to authenticate; exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Auth {
    /// `Authorization: Bearer`, from a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<FromSecret>,
    /// `Authorization: Basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
}

/// User and password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basic {
    /// The user.
    pub username: String,
    /// Where the password is.
    pub password: FromSecret,
}

/// A value in a Secret of the file's namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FromSecret {
    /// Which.
    pub secret_key_ref: KeyRef,
}

/// Name and key of a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRef {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// TLS settings of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsSettings {
    /// Its authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<FromConfigMap>,
    /// The name in its certificate, if not the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Trust anybody.
    pub insecure_skip_verify: bool,
}

/// A value in a ConfigMap of the file's namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FromConfigMap {
    /// Which.
    pub config_map_key_ref: KeyRef,
}

/// Why a source cannot be used or gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The text of `--prometheus` is neither form.
    #[error("`{0}` is neither a URL (http://host:9090) nor service/NAMESPACE/NAME:PORT")]
    Malformed(String),
    /// A Secret or ConfigMap that it names.
    #[error("{what}: {why}")]
    Credentials {
        /// Which.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No answer.
    #[error("{0}")]
    Unreachable(String),
    /// The API server does not pass anything on for whoever asks.
    #[error("{0}")]
    Forbidden(String),
}

impl FromStr for Source {
    type Err = SourceError;

    /// Reads `--prometheus`: a URL, or `service/NAMESPACE/NAME:PORT`.
    fn from_str(text: &str) -> Result<Self, SourceError> {
        let malformed = || SourceError::Malformed(text.to_owned());
        if let Some(rest) = text.strip_prefix("service/") {
            let (namespace, rest) = rest.split_once('/').ok_or_else(malformed)?;
            let (name, port) = rest.split_once(':').ok_or_else(malformed)?;
            let port = port.parse().map_err(|_| malformed())?;
            if namespace.is_empty() || name.is_empty() || name.contains('/') {
                return Err(malformed());
            }
            let (name, namespace) = (name.to_owned(), namespace.to_owned());
            let service = ServiceRef { name, namespace, port, scheme: plain_http(), path: String::new() };
            return Ok(Self { service: Some(service), ..Self::default() });
        }
        let url: http::Uri = text.parse().map_err(|_| malformed())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err(malformed());
        }
        Ok(Self { server: Some(text.trim_end_matches('/').to_owned()), ..Self::default() })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.server, &self.service) {
            (Some(server), _) => f.write_str(server),
            (None, Some(service)) => {
                write!(f, "service/{}/{}:{}", service.namespace, service.name, service.port)
            }
            (None, None) => f.write_str("none"),
        }
    }
}

/// The source that a probe's own fields name.
pub(super) fn own_source(params: &Value) -> Option<Source> {
    let own: Source = serde_json::from_value(params.clone()).unwrap_or_default();
    (own.server.is_some() || own.service.is_some()).then_some(own)
}

/// What does not fit together in the fields that name a probe's own source.
pub(super) fn connection(probe: &str, params: &Value) -> Vec<Finding> {
    let given = |name: &str| params.get(name).is_some_and(|value| !value.is_null());
    let mut findings = Vec::new();
    if given("server") && given("service") {
        let message = "at most one of server and service can be given";
        findings.push(unfit(probe, message, "take one of them out"));
    }
    if (given("auth") || given("tls")) && !given("server") && !given("service") {
        findings.push(unfit(
            probe,
            "auth and tls belong to a server or service of the probe's own",
            "put them into spec.prometheus",
        ));
    }
    if given("service") && (given("auth") || given("tls")) {
        findings.push(unfit(
            probe,
            "the API server's proxy passes neither credentials nor TLS settings on to a service",
            "take auth and tls out, or name a server",
        ));
    }
    findings
}

/// A source with its credentials read.
#[derive(Clone)]
pub struct MetricSource {
    source: Source,
    credentials: Credentials,
    /// What the queries that were asked read: the same few, every few seconds.
    reads: Arc<Mutex<BTreeMap<String, Arc<[Reads]>>>>,
}

/// What `auth` and `tls` name, read. Never printed.
#[derive(Clone)]
pub(super) struct Credentials {
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// How to speak TLS.
    pub tls: Tls,
}

impl Credentials {
    /// Reads what `auth` and `tls` name in `namespace`, with the caller's own rights.
    pub async fn read(
        access: &Access,
        namespace: &str,
        (auth, tls): (Option<&Auth>, Option<&TlsSettings>),
    ) -> Result<Self, SourceError> {
        let auth = auth.cloned().unwrap_or_default();
        let secret = |reference: FromSecret| async move { secret(access, namespace, &reference).await };
        let authorization = match (auth.bearer_token, auth.basic) {
            (Some(token), _) => Some(format!("Bearer {}", secret(token).await?.trim())),
            (None, Some(basic)) => {
                let password = secret(basic.password).await?;
                let pair = format!("{}:{}", basic.username, password.trim_end());
                Some(format!("Basic {}", base64(pair.as_bytes())))
            }
            (None, None) => None,
        };
        let settings = tls.cloned().unwrap_or_default();
        let ca = match &settings.ca {
            Some(ca) => Some(authority(access, namespace, &ca.config_map_key_ref).await?.into_bytes()),
            None => None,
        };
        let server_name = Some(settings.server_name).filter(|name| !name.is_empty());
        let tls = Tls { ca, server_name, insecure_skip_verify: settings.insecure_skip_verify };
        Ok(Self { authorization, tls })
    }
}

impl fmt::Debug for MetricSource {
    /// Never the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetricSource({})", self.source)
    }
}

impl MetricSource {
    /// Reads what `source` names in `namespace`, with the caller's own rights.
    pub async fn resolve(access: &Access, namespace: &str, source: &Source) -> Result<Self, SourceError> {
        let named = (source.auth.as_ref(), source.tls.as_ref());
        let credentials = Credentials::read(access, namespace, named).await?;
        let mut source = source.clone();
        if let Some(service) = source.service.as_mut().filter(|service| service.namespace.is_empty()) {
            namespace.clone_into(&mut service.namespace);
        }
        Ok(Self { source, credentials, reads: Arc::default() })
    }

    /// Whether it may be asked at all, as far as that is the API server's to say. None: nothing speaks against it.
    pub async fn forbidden(&self, access: &Access) -> Option<Finding> {
        let service = self.source.service.as_ref()?;
        match through_proxy(access, service, "/api/v1/query?query=1").await {
            Err(SourceError::Forbidden(why)) => {
                Some(forbidden("services/proxy", Some(&service.namespace), &why))
            }
            _ => None,
        }
    }

    /// What `query` reads of the present.
    pub(super) fn reads(&self, query: &str) -> Arc<[Reads]> {
        let mut known = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(query.to_owned()).or_insert_with(|| freshness::reads(query).into()).clone()
    }

    /// Answers an instant query: status and body.
    pub async fn query(
        &self,
        access: &Access,
        http: &HttpClient,
        query: &str,
    ) -> Result<Response<Bytes>, SourceError> {
        self.get(access, http, &format!("/api/v1/query?query={}", percent_encoded(query))).await
    }

    /// Reads a path of its API, with its query.
    pub(super) async fn get(
        &self,
        access: &Access,
        http: &HttpClient,
        path: &str,
    ) -> Result<Response<Bytes>, SourceError> {
        match (&self.source.server, &self.source.service) {
            (Some(server), _) => {
                self.over_http(http, &format!("{}{path}", server.trim_end_matches('/'))).await
            }
            (None, Some(service)) => through_proxy(access, service, path).await,
            (None, None) => Err(SourceError::Unreachable("neither server nor service is given".to_owned())),
        }
    }

    async fn over_http(&self, http: &HttpClient, url: &str) -> Result<Response<Bytes>, SourceError> {
        let mut request = Request::get(url).header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.credentials.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let mut request =
            request.body(Bytes::new()).map_err(|error| SourceError::Unreachable(error.to_string()))?;
        request.extensions_mut().insert(self.credentials.tls.clone());
        http.send(request)
            .await
            .map_err(|error| SourceError::Unreachable(format!("{}: {error}", self.source)))
    }
}

/// The proxy passes the path on; its own refusals come as a Status.
async fn through_proxy(
    access: &Access,
    service: &ServiceRef,
    query: &str,
) -> Result<Response<Bytes>, SourceError> {
    let ServiceRef { name, namespace, port, scheme, path } = service;
    let path = path.trim_matches('/');
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    let url = format!("/api/v1/namespaces/{namespace}/services/{scheme}:{name}:{port}/proxy{path}{query}");
    let failed =
        |error: String| SourceError::Unreachable(format!("service {namespace}/{name}:{port}: {error}"));
    let request = Request::get(url).body(Vec::new()).map_err(|error| failed(error.to_string()))?;
    match access.read(access.client().request_text(request)).await {
        Ok(body) => Ok(Response::new(Bytes::from(body))),
        Err(ApiError::Forbidden(why)) => Err(SourceError::Forbidden(why)),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The value that a reference to a Secret of `namespace` means.
pub(super) async fn secret(
    access: &Access,
    namespace: &str,
    reference: &FromSecret,
) -> Result<String, SourceError> {
    let KeyRef { name, key } = &reference.secret_key_ref;
    let read = secret_text(access, namespace, (name, key)).await;
    read.map_err(|SecretError { secret, why, .. }| SourceError::Credentials { what: secret, why })
}

async fn authority(access: &Access, namespace: &str, reference: &KeyRef) -> Result<String, SourceError> {
    let object = ObjectRef::namespaced("v1", "ConfigMap", namespace, &reference.name);
    let wrong =
        |why: String| SourceError::Credentials { what: format!("{object}, key {}", reference.key), why };
    let found = access.get(&object).await.map_err(|error| match error {
        ApiError::NotFound => wrong("it is not there".to_owned()),
        other => wrong(other.to_string()),
    })?;
    let value = found.data.get("data").and_then(|data| data.get(&reference.key)).and_then(Value::as_str);
    Ok(value.ok_or_else(|| wrong("there is no such key".to_owned()))?.to_owned())
}

/// Standard alphabet with padding (RFC 4648, section 4), as k8s-openapi writes byte strings.
fn base64(bytes: &[u8]) -> String {
    match serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// Everything but unreserved characters, byte by byte (RFC 3986, section 2.1).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_flag_are_read() {
        let service: Source = "service/monitoring/prometheus-k8s:9090".parse().expect("a service");
        assert_eq!(service.to_string(), "service/monitoring/prometheus-k8s:9090");
        let server: Source = "https://prometheus.example.com/".parse().expect("a server");
        assert_eq!(server.server.as_deref(), Some("https://prometheus.example.com"));
        for bad in ["prometheus:9090", "ftp://x", "service/a/b", "service/a/b:c", "", "service//b:1"] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_survive_the_url() {
        assert_eq!(percent_encoded("a{b=~\"ü.*\"} + 1"), "a%7Bb%3D~%22%C3%BC.%2A%22%7D%20%2B%201");
        assert_eq!(base64(b"drill:secret"), "ZHJpbGw6c2VjcmV0");
    }
}
