//! What the environment says about traces, under the names that OpenTelemetry has fixed.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT as ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS as HEADERS,
    OTEL_EXPORTER_OTLP_PROTOCOL as PROTOCOL, OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF as PROTOBUF,
    OTEL_EXPORTER_OTLP_TIMEOUT as TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT as USUAL_TIMEOUT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT as TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_HEADERS as TRACES_HEADERS,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL as TRACES_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT as TRACES_TIMEOUT,
};

/// What verifies the collector's certificate.
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
/// The same, for traces alone.
const TRACES_CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE";
/// Where traces go, by the name of an exporter.
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
/// Switches all of it off.
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// Whereto traces are sent, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The whole URL.
    pub url: Uri,
    /// The variable that says so.
    pub variable: &'static str,
    /// How long a batch may take.
    pub timeout: Duration,
    /// PEM of the only authorities to trust; None: the system's.
    pub ca: Option<Vec<u8>>,
    /// What is wrong with the rest, and is done without.
    pub warnings: Vec<String>,
}

impl Settings {
    /// None: nothing is to be sent. `read` gives a variable, `file` a file. Values are never repeated: some are secrets.
    ///
    /// # Errors
    /// Something is to be sent and cannot be: which variable, what is wrong with it, what to do.
    pub fn of(
        read: impl Fn(&str) -> Option<String>,
        file: impl Fn(&str) -> std::io::Result<Vec<u8>>,
    ) -> Result<Option<Self>, String> {
        // An empty variable is none, says the specification.
        let read =
            |name: &str| read(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, read(name)?)));
        let Some((variable, endpoint)) = first([TRACES_ENDPOINT, ENDPOINT]) else { return Ok(None) };
        let disabled = read(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let elsewhere =
            read(EXPORTER).is_some_and(|names| !names.split(',').any(|name| name.trim() == "otlp"));
        if disabled || elsewhere {
            return Ok(None);
        }
        if let Some((name, _)) =
            first([TRACES_PROTOCOL, PROTOCOL]).filter(|(_, protocol)| protocol != PROTOBUF)
        {
            return Err(format!(
                "{name}: firedrill speaks {PROTOBUF} and nothing else; say {PROTOBUF}, and in {variable} the \
                 collector's port for that, which is 4318 as a rule"
            ));
        }
        let url = url(&endpoint, variable == ENDPOINT).map_err(|why| {
            format!("{variable}: {why}; write it as http://HOST:PORT or https://HOST:PORT, in one line")
        })?;
        let ca = match first([TRACES_CERTIFICATE, CERTIFICATE]) {
            Some((name, path)) => Some(file(&path).map_err(|error| {
                format!("{name}: the file cannot be read ({error}); name a PEM file with the collector's CA")
            })?),
            None => None,
        };
        let mut warnings = Vec::new();
        let timeout = first([TRACES_TIMEOUT, TIMEOUT]).and_then(|(name, value)| {
            let read = value.parse().ok().filter(|millis| *millis > 0).map(Duration::from_millis);
            if read.is_none() {
                warnings.push(format!("{name}: milliseconds are meant, as in 10000, which it is without"));
            }
            read
        });
        if let Some((name, _)) = first([TRACES_HEADERS, HEADERS]).filter(|(_, value)| !headers(value)) {
            warnings.push(format!(
                "{name}: not all of it is NAME=VALUE,NAME=VALUE, and the rest is not sent; write commas in a value as %2C"
            ));
        }
        Ok(Some(Self { url, variable, timeout: timeout.unwrap_or(USUAL_TIMEOUT), ca, warnings }))
    }

    /// Where the collector is, without what may be a secret.
    pub fn place(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}", self.url.authority().map_or("", http::uri::Authority::as_str))
    }
}

/// The whole URL: that of all signals is one that the path of traces is put to.
fn url(endpoint: &str, of_all: bool) -> Result<Uri, &'static str> {
    let whole =
        if of_all { format!("{}/v1/traces", endpoint.trim_end_matches('/')) } else { endpoint.to_owned() };
    let url: Uri = whole.parse().map_err(|_| "it is no URL")?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("it does not begin with http:// or https://");
    }
    if url.host().is_none_or(str::is_empty) {
        return Err("it names no host");
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("it names a user, who is not sent (OTEL_EXPORTER_OTLP_HEADERS takes credentials)");
    }
    Ok(url)
}

/// Whether each of them can be sent.
fn headers(text: &str) -> bool {
    text.split_terminator(',').all(|header| {
        header.split_once('=').is_some_and(|(name, value)| {
            let (name, value) = (name.trim(), value.trim());
            !value.is_empty() && name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Settings::of(
            |name| value(name).map(|(_, value)| (*value).to_owned()),
            |path| {
                if path == "ca.pem" { Ok(b"PEM".to_vec()) } else { Err(std::io::ErrorKind::NotFound.into()) }
            },
        )
    }

    fn sent(variables: &[(&str, &str)]) -> Settings {
        of(variables).expect("they are right").expect("traces are sent")
    }

    #[test]
    fn nothing_is_sent_that_nobody_asks_for() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[(ENDPOINT, " "), (TRACES_ENDPOINT, "")]), Ok(None));
        assert_eq!(of(&[(HEADERS, "a=b"), (PROTOCOL, "grpc")]), Ok(None));
        for off in [(DISABLED, "true"), (DISABLED, "TRUE"), (EXPORTER, "none"), (EXPORTER, "console")] {
            assert_eq!(of(&[(ENDPOINT, "http://collector:4318"), off]), Ok(None), "{off:?}");
        }
        for on in [(DISABLED, "false"), (DISABLED, "1"), (EXPORTER, "console, otlp")] {
            sent(&[(ENDPOINT, "http://collector:4318"), on]);
        }
    }

    #[test]
    fn the_endpoint_of_traces_is_taken_as_it_is_and_the_other_gets_their_path() {
        let url = |variables: &[(&str, &str)]| sent(variables).url.to_string();
        for (general, whole) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://otlp.example.com/tenant", "https://otlp.example.com/tenant/v1/traces"),
        ] {
            assert_eq!(url(&[(ENDPOINT, general)]), whole);
        }
        let both = [(ENDPOINT, "http://one:4318"), (TRACES_ENDPOINT, "http://two:4318/in")];
        assert_eq!(url(&both), "http://two:4318/in");
        assert_eq!(
            (sent(&both).variable, sent(&both).place().as_str()),
            (TRACES_ENDPOINT, "http://two:4318")
        );
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_its_rule_and_a_remedy_and_never_repeated() {
        for (endpoint, rule) in [
            ("collector:4318", "http"),
            ("grpc://geheim:4317", "does not begin with"),
            ("http://", "URL"),
            ("http://a b/", "URL"),
            ("https://ada:geheim@collector/", "user"),
        ] {
            let why = of(&[(TRACES_ENDPOINT, endpoint)]).expect_err(endpoint);
            assert!(why.starts_with(TRACES_ENDPOINT) && why.contains(rule), "{endpoint}: {why}");
            assert!(why.contains("write it as") && !why.contains("geheim"), "{why}");
        }
        let good = (ENDPOINT, "http://collector:4318");
        let why = of(&[good, (PROTOCOL, "grpc")]).expect_err("gRPC");
        assert!(why.starts_with(PROTOCOL) && why.contains("4318"), "{why}");
        sent(&[good, (PROTOCOL, "grpc"), (TRACES_PROTOCOL, PROTOBUF)]);
        let why = of(&[good, (CERTIFICATE, "none.pem")]).expect_err("no such file");
        assert!(why.starts_with(CERTIFICATE), "{why}");
        assert_eq!(sent(&[good, (CERTIFICATE, "ca.pem")]).ca.as_deref(), Some(&b"PEM"[..]));
    }

    #[test]
    fn what_can_be_done_without_is_done_without_and_named() {
        let good = (ENDPOINT, "http://collector:4318");
        let right = sent(&[good, (TIMEOUT, "2500"), (HEADERS, "X-Key=geheim, a=b%2Cc")]);
        assert_eq!((right.timeout, right.warnings), (Duration::from_millis(2500), Vec::new()));
        for (name, value) in
            [(TIMEOUT, "5s"), (TRACES_TIMEOUT, "0"), (HEADERS, "geheim"), (TRACES_HEADERS, "gehe im=x,a=b")]
        {
            let settings = sent(&[good, (name, value)]);
            assert_eq!(settings.timeout, USUAL_TIMEOUT);
            let [warning] = settings.warnings.as_slice() else { panic!("{name}: {:?}", settings.warnings) };
            assert!(warning.starts_with(name) && !warning.contains("geheim"), "{warning}");
        }
    }
}
