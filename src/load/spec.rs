//! What a file says of a load.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde::Deserialize;

use crate::{
    cluster::{Access, secret_text},
    env::{LoadOrder, Rng, is_forbidden, literal_address},
    types::{
        Finding, Length,
        codes::guard,
        load::{Arrivals, Pace},
        service_of_host,
    },
};

/// A load of `spec.load`, or of a step.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadSpec {
    /// Name of a load of the experiment; empty for a step's, which is known by the step's.
    #[serde(default)]
    pub name: String,
    /// Who sends it.
    #[serde(default)]
    pub from: LoadFrom,
    /// What is requested.
    pub url: String,
    /// How many a second, once `rampUp` is over.
    pub requests_per_second: u32,
    /// How they follow each other.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// Method.
    #[serde(default = "get")]
    pub method: String,
    /// Headers.
    #[serde(default)]
    pub headers: Vec<LoadHeader>,
    /// Body.
    #[serde(default)]
    pub body: String,
    /// Version of HTTP.
    #[serde(default)]
    pub protocol: Protocol,
    /// How long the rate takes to grow from nothing.
    #[serde(default)]
    pub ramp_up: Length,
    /// How long one request may take from when it is due.
    #[serde(default = "five_seconds")]
    pub timeout: Length,
    /// How many may wait at once.
    #[serde(default = "a_thousand")]
    pub max_in_flight: u32,
}

/// Who sends a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum LoadFrom {
    /// The process that runs the experiment.
    #[default]
    Runner,
    /// A pod of firedrill's image in the file's namespace, for as long as the load lasts.
    Pod,
}

/// Which version of HTTP a load speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1, over as many connections as requests wait at once.
    #[default]
    #[serde(rename = "HTTP1")]
    Http1,
    /// HTTP/2 over one connection: by ALPN with https, with prior knowledge otherwise.
    #[serde(rename = "HTTP2")]
    Http2,
}

/// A header of a request: of a load, or of a notice.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadHeader {
    /// Its name.
    pub name: String,
    /// Its value; exactly one of this and `valueFrom`.
    pub value: Option<String>,
    /// Where its value is kept.
    pub value_from: Option<ValueFrom>,
}

/// Where a value is kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValueFrom {
    /// A Secret of the file's namespace.
    pub secret_key_ref: SecretKey,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

fn get() -> String {
    "GET".to_owned()
}

fn five_seconds() -> Length {
    Length::from_secs(5)
}

fn a_thousand() -> u32 {
    1000
}

impl LoadSpec {
    /// The URL, if it is one of HTTP.
    pub fn uri(&self) -> Option<Uri> {
        let url: Uri = self.url.parse().ok()?;
        let usable = matches!(url.scheme_str(), Some("http" | "https"));
        (usable && url.host().is_some_and(|host| !host.is_empty())).then_some(url)
    }

    /// Namespace and name of the Service that it is sent to, if its host names one.
    pub fn service(&self) -> Option<(String, String)> {
        let url = self.uri()?;
        let (namespace, name) = service_of_host(url.host()?)?;
        Some((namespace.to_owned(), name.to_owned()))
    }

    /// How many requests, and how they begin.
    pub fn pace(&self) -> Pace {
        Pace {
            per_second: f64::from(self.requests_per_second.max(1)),
            ramp_up: self.ramp_up.0,
            arrivals: self.arrivals,
        }
    }

    /// What is sent where and how often: `GET http://checkout.shop.svc/, 200 requests/s`.
    pub fn in_words(&self) -> String {
        let mut words = format!("{} {}, {} requests/s", self.method, self.url, self.requests_per_second);
        if self.arrivals == Arrivals::Poisson {
            words.push_str(" at random");
        }
        if self.protocol == Protocol::Http2 {
            words.push_str(" over HTTP/2");
        }
        if !self.ramp_up.is_zero() {
            words.push_str(&format!(", growing over {}", self.ramp_up));
        }
        if self.from == LoadFrom::Pod {
            words.push_str(", from a pod");
        }
        words
    }

    /// What can be said of the fields beyond their schema. Pure.
    pub fn lint(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut wrong = |code: &crate::types::Code, message: String, remedy: &str| {
            findings.push(Finding::error(code.clone(), "load", message).remedy(remedy));
        };
        for header in &self.headers {
            if header.name.parse::<HeaderName>().is_err() {
                wrong(
                    &guard::FIELDS,
                    format!("`{}` is no name of a header", header.name),
                    "letters, digits, hyphens",
                );
            }
            if header.value.as_deref().is_some_and(|value| HeaderValue::from_str(value).is_err()) {
                wrong(&guard::FIELDS, format!("the value of header {} cannot be sent", header.name), "");
            }
        }
        // A parameter without a value is not filled in yet.
        if self.url.contains("$(") {
            return findings;
        }
        let Some(url) = self.uri() else {
            wrong(&guard::FIELDS, "the URL cannot be read".to_owned(), "write it as http://HOST/PATH");
            return findings;
        };
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            wrong(
                &guard::FIELDS,
                "the URL carries a credential".to_owned(),
                "use a header with valueFrom, which names a Secret",
            );
        }
        if let Some(address) = literal_address(&url).filter(|address| is_forbidden(*address)) {
            let message = format!("{address} is a link-local address, as those of cloud metadata are");
            wrong(&guard::LOAD_ADDRESS, message, "name the service itself; nothing opens this");
        }
        if self.from == LoadFrom::Pod && of_the_pod_itself(&url) {
            let message = "for the pod that sends it, this address is the pod itself".to_owned();
            wrong(&guard::FIELDS, message, "name a Service, as http://NAME.NAMESPACE.svc/");
        }
        findings
    }

    /// From which its random arrivals follow, in a run of that seed.
    pub(super) fn seed_from(&self, seed: u64) -> u64 {
        Rng::new(seed).stream(&format!("load {} {}", self.name, self.url)).word()
    }

    /// The load, ready to be sent: Secrets read, everything parsed. `keep` is how far back it is measured.
    ///
    /// # Errors
    /// What cannot be read; no value of a Secret is in the words.
    pub async fn order(
        &self,
        access: &Access,
        namespace: &str,
        (seed, keep): (u64, Duration),
    ) -> Result<LoadOrder, String> {
        let url = self.uri().ok_or("the URL cannot be read")?;
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
        for given in &self.headers {
            let name: HeaderName =
                given.name.parse().map_err(|_| format!("{} is no name of a header", given.name))?;
            let value = match (&given.value, &given.value_from) {
                (_, Some(ValueFrom { secret_key_ref: SecretKey { name, key } })) => {
                    secret_text(access, namespace, (name, key)).await.map_err(|error| error.to_string())?
                }
                (value, None) => value.clone().unwrap_or_default(),
            };
            put(&mut headers, name, (&value, given.value_from.is_some()))?;
        }
        Ok(LoadOrder {
            url,
            method: self.method.parse::<Method>().map_err(|_| "the method is none")?,
            headers,
            body: Bytes::from(self.body.clone()),
            http2: self.protocol == Protocol::Http2,
            pace: self.pace(),
            seed: self.seed_from(seed),
            timeout: self.timeout.0,
            max_in_flight: self.max_in_flight,
            keep,
        })
    }
}

/// What a load calls itself, unless its file says otherwise.
pub(super) const AGENT: &str = concat!("firedrill/", env!("CARGO_PKG_VERSION"));

/// One more header; whether it is a secret is beside its value.
pub(super) fn put(
    headers: &mut HeaderMap,
    name: HeaderName,
    (value, secret): (&str, bool),
) -> Result<(), String> {
    let value = HeaderValue::from_str(value);
    let mut value = value.map_err(|_| format!("the value of header {name} cannot be sent"))?;
    value.set_sensitive(secret);
    if name == header::USER_AGENT {
        headers.remove(&name);
    }
    headers.append(name, value);
    Ok(())
}

/// Whether an address is that of whoever asks.
fn of_the_pod_itself(url: &Uri) -> bool {
    let named = url.host().is_some_and(|host| host.eq_ignore_ascii_case("localhost"));
    named || literal_address(url).is_some_and(|address| address.is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn load(url: &str) -> LoadSpec {
        serde_json::from_value(json!({"url": url, "requestsPerSecond": 10})).expect("a load")
    }

    #[test]
    fn urls_that_nobody_should_send_to_are_refused() {
        for good in ["http://checkout.shop.svc/cart", "https://shop.example.com", "http://$(params.host)/"] {
            assert_eq!(load(good).lint(), [], "{good}");
        }
        for bad in ["checkout", "ftp://shop", "http://a:b@shop.example.com", "http://"] {
            assert_eq!(load(bad).lint().first().map(|f| f.code.clone()), Some(guard::FIELDS), "{bad}");
        }
        for forbidden in [
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fd00:ec2::254]/",
        ] {
            let found = load(forbidden).lint();
            assert_eq!(found.first().map(|f| f.code.clone()), Some(guard::LOAD_ADDRESS), "{forbidden}");
        }
    }

    #[test]
    fn a_pod_is_not_sent_to_itself() {
        let from_a_pod = |url: &str| LoadSpec { from: LoadFrom::Pod, ..load(url) };
        for itself in ["http://localhost/", "http://127.0.0.1:8080/", "http://[::1]/", "http://0.0.0.0/"] {
            let found = from_a_pod(itself).lint();
            assert_eq!(found.first().map(|f| f.code.clone()), Some(guard::FIELDS), "{itself}");
            assert_eq!(load(itself).lint(), [], "from the runner it is the runner's machine");
        }
        assert_eq!(from_a_pod("http://checkout.shop.svc/").lint(), []);
    }

    #[test]
    fn services_are_told_from_hosts_and_defaults_are_those_of_the_format() {
        let in_cluster = load("http://checkout.shop.svc.cluster.local:8080/");
        assert_eq!(in_cluster.service(), Some(("shop".to_owned(), "checkout".to_owned())));
        assert_eq!(load("http://shop.example.com").service(), None);
        assert_eq!((in_cluster.timeout, in_cluster.max_in_flight), (Length::from_secs(5), 1000));
        assert_eq!(in_cluster.arrivals, Arrivals::Constant);
        assert_eq!(in_cluster.in_words(), "GET http://checkout.shop.svc.cluster.local:8080/, 10 requests/s");
    }
}
