//! `http`: one request, and what came back.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header, uri::PathAndQuery};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Measure, NoAnswer, Probe, ProbeInfo, Reading, Variable, VariableType,
    service::{ClusterService, Silence},
    source::{Auth, Credentials, FromSecret, TlsSettings, secret},
    unfit,
};
use crate::{
    env::{FirstBytes, Tls},
    types::{FieldSchema, Finding, Length},
};

/// So much of a body is read; more would be a transfer, not a sample.
const BODY_MAX: usize = 64 << 10;
/// So many redirects are followed, as curl's `--max-redirs` in kind.
const REDIRECTS_MAX: usize = 10;
/// Headers that are credentials whatever their value is.
const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];

/// See [`INFO`].
pub struct Http;

/// One HTTP/1.1 request over a connection of its own.
pub static INFO: ProbeInfo = ProbeInfo {
    name: "http",
    summary: "An HTTP request.",
    example: "name: checkout-answers\nhttp: {url: \"http://checkout.shop.svc/cart\"}\nexpect: status == 200 && latency <= 0.5\n",
    fields: &[
        FieldSchema {
            name: "url",
            description: "What is requested. A Service's name, such as http://NAME.NAMESPACE.svc/path, is reached through the API server's proxy, whose time is part of the latency.",
            required: true,
            default: None,
            schema: "url",
        },
        FieldSchema {
            name: "method",
            description: "Method.",
            required: false,
            default: Some("GET"),
            schema: r#"{"type":"string","enum":["GET","HEAD","POST","PUT","PATCH","DELETE","OPTIONS"]}"#,
        },
        FieldSchema {
            name: "headers",
            description: "Headers, each with a value or with valueFrom a Secret of the file's namespace.",
            required: false,
            default: None,
            schema: r#"{"type":"array","maxItems":32,"items":{"type":"object","required":["name"],"properties":{"name":{"type":"string","minLength":1,"maxLength":256,"description":"Name of the header."},"value":{"type":"string","maxLength":1024,"description":"Its value."},"valueFrom":{"type":"object","required":["secretKeyRef"],"description":"Where its value is kept.","properties":{"secretKeyRef":{"type":"object","required":["name","key"],"description":"The Secret and the key in it.","properties":{"name":{"type":"string","minLength":1,"maxLength":253,"description":"Name of the Secret."},"key":{"type":"string","minLength":1,"maxLength":253,"description":"Key in it."}}}}}}}}"#,
        },
        FieldSchema { name: "body", description: "Body.", required: false, default: None, schema: "text" },
        FieldSchema {
            name: "auth",
            description: "How to authenticate. Not with a Service's name: the API server's proxy passes no credentials on.",
            required: false,
            default: None,
            schema: "auth",
        },
        FieldSchema {
            name: "tls",
            description: "TLS settings. Not with a Service's name.",
            required: false,
            default: None,
            schema: "tls",
        },
        FieldSchema {
            name: "followRedirects",
            description: "Whether redirects are followed, 10 at most; credentials and TLS settings stay with the first host.",
            required: false,
            default: Some("false"),
            schema: r#"{"type":"boolean"}"#,
        },
    ],
    variables: &[
        Variable {
            name: "status",
            kind: VariableType::Int,
            description: "Status code; 0 without an answer, which is outside unless the expression asks for it: status == 0.",
        },
        Variable { name: "body", kind: VariableType::String, description: "The first 64 KiB of the body." },
        Variable {
            name: "json",
            kind: VariableType::Any,
            description: "The body as JSON; {} if it is none.",
        },
        Variable {
            name: "headers",
            kind: VariableType::Any,
            description: "Headers of the answer by their names in lower case.",
        },
        Variable {
            name: "latency",
            kind: VariableType::Double,
            description: "Seconds until the body was read, connecting included; absent without an answer.",
        },
        Variable {
            name: "error",
            kind: VariableType::String,
            description: "Why there was no answer; empty if there was one.",
        },
    ],
    default_value: Some("latency"),
};

impl Probe for Http {
    fn info(&self) -> &'static ProbeInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        let Ok(params) = serde_json::from_value::<Params>(params.clone()) else { return Vec::new() };
        let mut findings = Vec::new();
        let mut wrong = |message: &str, remedy: &str| findings.push(unfit("http", message, remedy));
        for header in &params.headers {
            if header.name.parse::<HeaderName>().is_err() {
                wrong("a header's name is none", "letters, digits and hyphens");
            }
            if header.value.is_some() == header.value_from.is_some() {
                wrong("a header takes exactly one of value, valueFrom", "give it one of them");
            }
        }
        // A parameter without a value is not filled in yet.
        if params.url.contains("$(") {
            return findings;
        }
        let url = match params.url() {
            Ok(url) => url,
            Err(why) => {
                wrong(&why, "write it as http://HOST/PATH");
                return findings;
            }
        };
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            wrong("the URL carries a credential", "use auth, which names a Secret");
        }
        let credential = |header: &HeaderParam| {
            header.name.parse::<HeaderName>().is_ok_and(|name| name == header::AUTHORIZATION)
        };
        let given = params.auth.is_some() || params.tls.is_some() || params.headers.iter().any(credential);
        let in_cluster = ClusterService::of_url(&url).is_some();
        // Its words are in the body, and HEAD has none.
        if in_cluster && params.method.as_deref() == Some("HEAD") {
            wrong(
                "with HEAD, what the API server's proxy says for itself cannot be told from a service's answer",
                "use GET",
            );
        }
        if given && in_cluster {
            wrong(
                "the API server's proxy passes neither credentials nor TLS settings on to a service",
                "take auth, tls and the header Authorization out, or name a host outside of the cluster",
            );
        }
        findings
    }

    fn measure<'a>(&'a self, measure: &'a Measure, params: &'a Value) -> BoxFuture<'a, Reading> {
        Box::pin(async move {
            let params: Params = match serde_json::from_value(params.clone()) {
                Ok(params) => params,
                Err(error) => return Reading::Missing(error.to_string()),
            };
            let asking = match Asking::prepare(measure, &params).await {
                Ok(asking) => asking,
                Err(why) => return Reading::Missing(why),
            };
            let begun = Instant::now();
            match asking.answer(params.follow_redirects).await {
                Ok(answer) => measured(&answer, begun.elapsed()),
                Err(Silence::NoAnswer(why)) => no_answer(why),
                Err(Silence::NotAsked(why)) => Reading::Missing(why),
            }
        })
    }

    fn overdue(&self, within: Length) -> Reading {
        no_answer(format!("no answer within {within}"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: Vec<HeaderParam>,
    #[serde(default)]
    body: String,
    auth: Option<Auth>,
    tls: Option<TlsSettings>,
    #[serde(default)]
    follow_redirects: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeaderParam {
    name: String,
    value: Option<String>,
    value_from: Option<FromSecret>,
}

impl Params {
    fn url(&self) -> Result<Uri, String> {
        absolute(&self.url).ok_or_else(|| "the URL cannot be read".to_owned())
    }
}

/// An absolute URL of HTTP.
fn absolute(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let usable =
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|h| !h.is_empty());
    usable.then_some(url)
}

/// A header to send.
struct Header {
    name: HeaderName,
    value: HeaderValue,
    /// It stays with the host that the file names.
    credential: bool,
}

/// One request, ready to be sent.
struct Asking<'a> {
    measure: &'a Measure,
    url: Uri,
    method: Method,
    headers: Vec<Header>,
    body: Bytes,
    tls: Tls,
}

impl<'a> Asking<'a> {
    /// Reads what the fields name. Values of Secrets are in no message.
    async fn prepare(measure: &'a Measure, params: &Params) -> Result<Self, String> {
        let named = (params.auth.as_ref(), params.tls.as_ref());
        let credentials = Credentials::read(&measure.access, &measure.namespace, named).await;
        let Credentials { authorization, tls } = credentials.map_err(|error| error.to_string())?;
        let mut headers = Vec::new();
        for header in &params.headers {
            let value = match &header.value_from {
                Some(reference) => secret(&measure.access, &measure.namespace, reference)
                    .await
                    .map_err(|error| error.to_string())?
                    .trim_end()
                    .to_owned(),
                None => header.value.clone().unwrap_or_default(),
            };
            let name: HeaderName =
                header.name.parse().map_err(|_| format!("{} is not a header's name", header.name))?;
            let credential = header.value_from.is_some() || CREDENTIALS.contains(&name);
            headers.push(Header { value: header_value(&name, &value)?, name, credential });
        }
        if let Some(value) = authorization {
            let name = header::AUTHORIZATION;
            headers.push(Header { value: header_value(&name, &value)?, name, credential: true });
        }
        let method = params.method.as_deref().unwrap_or("GET").parse();
        Ok(Self {
            measure,
            url: params.url()?,
            method: method.map_err(|_| "the method is none".to_owned())?,
            headers,
            body: Bytes::from(params.body.clone()),
            tls,
        })
    }

    /// The answer, or the last one of a chain of redirects.
    async fn answer(&self, follow: bool) -> Result<Response<Bytes>, Silence> {
        let (mut url, mut method, mut body) = (self.url.clone(), self.method.clone(), self.body.clone());
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.send(&url, &method, body.clone()).await?;
            let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let (true, true, Some(location)) = (follow, answer.status().is_redirection(), location) else {
                return Ok(answer);
            };
            let wrong = || Silence::NoAnswer("a redirect that cannot be followed".to_owned());
            let next = resolved(&url, location).ok_or_else(wrong)?;
            // Nobody outside tells us what to ask of the cluster with our rights.
            if let Some(service) = ClusterService::of_url(&next)
                && ClusterService::of_url(&self.url).as_ref() != Some(&service)
            {
                return Err(Silence::NoAnswer(
                    "a redirect to a service of the cluster is not followed".to_owned(),
                ));
            }
            // RFC 9110, section 15.4: 303 asks for GET; 301 and 302 do in practice, unless it was HEAD.
            match answer.status().as_u16() {
                301..=303 if method != Method::GET && method != Method::HEAD => {
                    (method, body) = (Method::GET, Bytes::new());
                }
                _ => {}
            }
            url = next;
        }
        Err(Silence::NoAnswer(format!("more than {REDIRECTS_MAX} redirects")))
    }

    async fn send(&self, url: &Uri, method: &Method, body: Bytes) -> Result<Response<Bytes>, Silence> {
        let first = same_origin(url, &self.url);
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.clone();
        for header in self.headers.iter().filter(|header| first || !header.credential) {
            // A host's name is for that host.
            if first || header.name != header::HOST {
                request.headers_mut().append(&header.name, header.value.clone());
            }
        }
        if let Some(service) = ClusterService::of_url(url) {
            return service.ask(&self.measure.access, request, BODY_MAX).await;
        }
        request.extensions_mut().insert(if first { self.tls.clone() } else { Tls::default() });
        request.extensions_mut().insert(FirstBytes(BODY_MAX));
        Ok(self.measure.http.send(request).await?)
    }
}

fn header_value(name: &HeaderName, value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(|_| format!("the value of header {name} cannot be sent"))
}

/// Scheme, host and port are the same (RFC 6454, section 5).
fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |url: &Uri| url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let host = |url: &Uri| url.host().unwrap_or_default().to_ascii_lowercase();
    a.scheme_str() == b.scheme_str() && host(a) == host(b) && port(a) == port(b)
}

/// Where a Location leads (RFC 3986, section 5.2; dots are left to the server).
fn resolved(base: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let path = base.path_and_query().map_or("/", PathAndQuery::path);
    if location.contains("://") {
        return absolute(location);
    }
    absolute(&match location.as_bytes() {
        [b'/', b'/', ..] => format!("{scheme}:{location}"),
        [b'/', ..] => format!("{scheme}://{authority}{location}"),
        [b'?', ..] => format!("{scheme}://{authority}{path}{location}"),
        _ => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        }
    })
}

fn measured(answer: &Response<Bytes>, latency: Duration) -> Reading {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in answer.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let all = headers.entry(name.as_str().to_owned()).or_default();
        *all = if all.is_empty() { value.into_owned() } else { format!("{all}, {value}") };
    }
    let body = String::from_utf8_lossy(answer.body());
    let json: Value = serde_json::from_slice(answer.body()).unwrap_or_else(|_| json!({}));
    Reading::Measured(BTreeMap::from([
        ("status", json!(answer.status().as_u16())),
        ("body", json!(body)),
        ("json", json),
        ("headers", json!(headers)),
        ("latency", json!(latency.as_secs_f64())),
        ("error", json!("")),
    ]))
}

fn no_answer(why: String) -> Reading {
    let variables = |status: i64, error: &str| {
        BTreeMap::from([
            ("status", json!(status)),
            ("body", json!("")),
            ("json", json!({})),
            ("headers", json!({})),
            ("error", json!(error)),
        ])
    };
    Reading::NoAnswer(NoAnswer { told: variables(0, &why), untold: variables(-1, ""), why })
}

#[cfg(test)]
mod tests;
