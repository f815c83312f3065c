//! Prometheus' HTTP API over the embedded cluster's series: what dashboards, probes and people ask.
//! Answers have the shape of the real one (docs: Prometheus, "HTTP API").

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value as Json, json};

use super::promql::{self, Error, Query, Range, Value};
use super::series::{Labels, Sample, Series, Source};

/// Most points per series that a range query may ask for (Prometheus: web/api/v1, `queryRange`).
const MAX_POINTS: i64 = 11_000;

/// How many queries are kept ready: probes ask the same few all the time.
const KNOWN: usize = 100;

/// The version that `/api/v1/status/buildinfo` reports: that of the semantics implemented here.
const VERSION: &str = "3.0.0+firedrill";

/// Answers about rules: `/api/v1/rules` (all of them, or `alert`, or `record`) and `/api/v1/alerts`.
pub trait RuleSource: Send + Sync {
    /// Groups of rules as `data` has them.
    fn groups(&self, only: Option<&str>) -> Json;

    /// Alerts that are pending or firing as `data` has them.
    fn alerts(&self) -> Json;
}

/// The API over one source. Cheap to clone.
#[derive(Clone)]
pub struct PrometheusApi {
    source: Arc<dyn Source>,
    now: Arc<dyn Fn() -> i64 + Send + Sync>,
    known: Arc<Mutex<BTreeMap<String, Arc<Query>>>>,
    rules: Option<Arc<dyn RuleSource>>,
}

/// A refusal: status and Prometheus' error type.
struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

fn bad_data(message: impl Into<String>) -> Failure {
    Failure { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        match e {
            Error::BadData(message) => bad_data(format!("invalid parameter \"query\": {message}")),
            Error::Execution(_) | Error::Unsupported(_) => Failure {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                kind: "execution",
                message: e.to_string(),
            },
        }
    }
}

impl PrometheusApi {
    /// An API over `source`; `now` is the time in milliseconds since the Unix epoch that a query
    /// without `time` means.
    pub fn new(source: Arc<dyn Source>, now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { source, now: Arc::new(now), known: Arc::default(), rules: None }
    }

    /// The same with rules.
    pub fn with_rules(self, rules: Arc<dyn RuleSource>) -> Self {
        Self { rules: Some(rules), ..self }
    }

    /// Answers one request. Paths are those of Prometheus without a prefix.
    pub async fn handle(&self, req: Request<Bytes>) -> Response<Bytes> {
        let path = req.uri().path().to_string();
        let answer = match (req.method(), path.as_str()) {
            (&Method::GET | &Method::HEAD, "/-/ready") => return text("Prometheus Server is Ready.\n"),
            (&Method::GET | &Method::HEAD, "/-/healthy") => return text("Prometheus Server is Healthy.\n"),
            (&Method::GET, "/api/v1/status/buildinfo") => Ok(json!({"version": VERSION})),
            (&Method::GET | &Method::POST, "/api/v1/query") => self.query(&Params::of(&req)),
            (&Method::GET | &Method::POST, "/api/v1/query_range") => self.query_range(&Params::of(&req)),
            (&Method::GET | &Method::POST, "/api/v1/labels") => Ok(self.label_names()),
            (&Method::GET, "/api/v1/rules") => self.rules(&Params::of(&req)),
            (&Method::GET, "/api/v1/alerts") => {
                Ok(self.rules.as_ref().map_or_else(|| json!({"alerts": []}), |rules| rules.alerts()))
            }
            (&Method::GET, _) => match label_of(&path) {
                Some(name) => Ok(self.label_values(name)),
                None => return not_found(),
            },
            _ => return not_found(),
        };
        match answer {
            Ok(data) => respond(StatusCode::OK, &json!({"status": "success", "data": data})),
            Err(f) => respond(f.status, &json!({"status": "error", "errorType": f.kind, "error": f.message})),
        }
    }

    fn query(&self, params: &Params) -> Result<Json, Failure> {
        let at = match params.get("time") {
            None | Some("") => (self.now)(),
            Some(text) => timestamp("time", text)?,
        };
        let answer = self.ready(params)?.instant(&*self.source, at)?;
        Ok(match answer {
            Value::Scalar(v) => json!({"resultType": "scalar", "result": [seconds(at), number(v)]}),
            Value::Text(s) => json!({"resultType": "string", "result": [seconds(at), s]}),
            Value::Vector(elements) => {
                let one = |e: promql::Element| json!({"metric": labels(&e.labels), "value": [seconds(at), number(e.value)]});
                let result: Vec<Json> = elements.into_iter().map(one).collect();
                json!({"resultType": "vector", "result": result})
            }
            Value::Matrix(all) => matrix(&all),
        })
    }

    fn rules(&self, params: &Params) -> Result<Json, Failure> {
        let only = params.get("type").filter(|only| !only.is_empty());
        if let Some(other) = only.filter(|only| !["alert", "record"].contains(only)) {
            return Err(bad_data(format!("not supported value {other:?}")));
        }
        Ok(self.rules.as_ref().map_or_else(|| json!({"groups": []}), |rules| rules.groups(only)))
    }

    fn query_range(&self, params: &Params) -> Result<Json, Failure> {
        let start = timestamp("start", params.get("start").unwrap_or_default())?;
        let end = timestamp("end", params.get("end").unwrap_or_default())?;
        if end < start {
            return Err(bad_data("invalid parameter \"end\": end timestamp must not be before start time"));
        }
        let step = step(params.get("step").unwrap_or_default())?;
        if (end - start) / step > MAX_POINTS {
            return Err(bad_data(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
                 resolution (?step=XX)",
            ));
        }
        Ok(matrix(&self.ready(params)?.range(&*self.source, Range { start, end, step })?))
    }

    /// The query that is asked; who asks for the same again does not wait for the parser.
    fn ready(&self, params: &Params) -> Result<Arc<Query>, Failure> {
        let text = params.get("query").unwrap_or_default();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(query) = known.get(text) {
            return Ok(query.clone());
        }
        let query = Arc::new(Query::new(&parsed(text)?).map_err(Error::from)?);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(text.to_owned(), query.clone());
        Ok(query)
    }

    fn recent(&self) -> Vec<Series> {
        let now = (self.now)();
        self.source.select(&[], now - promql::LOOKBACK_MS, now)
    }

    fn label_names(&self) -> Json {
        let all = self.recent();
        let names: BTreeSet<&str> = all.iter().flat_map(|s| s.labels.iter().map(|(k, _)| k)).collect();
        json!(names)
    }

    fn label_values(&self, name: &str) -> Json {
        let all = self.recent();
        let values: BTreeSet<&str> =
            all.iter().map(|s| s.labels.get(name)).filter(|v| !v.is_empty()).collect();
        json!(values)
    }
}

fn label_of(path: &str) -> Option<&str> {
    path.strip_prefix("/api/v1/label/")?.strip_suffix("/values")
}

fn parsed(query: &str) -> Result<promql::Expr, Failure> {
    promql::parse(query).map_err(|e| {
        let position = e.offset.map_or_else(String::new, |at| line_and_column(query, at));
        bad_data(format!("invalid parameter \"query\": {position}parse error: {}", e.message))
    })
}

/// A byte offset as Prometheus writes it: line and column, both from 1.
fn line_and_column(query: &str, offset: usize) -> String {
    let before = query.get(..offset).unwrap_or(query);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().len() + 1;
    format!("{line}:{column}: ")
}

fn matrix(all: &[Series]) -> Json {
    let values = |samples: &[Sample]| -> Vec<Json> {
        samples.iter().map(|s| json!([seconds(s.t), number(s.v)])).collect()
    };
    let one = |s: &Series| json!({"metric": labels(&s.labels), "values": values(&s.samples)});
    let result: Vec<Json> = all.iter().map(one).collect();
    json!({"resultType": "matrix", "result": result})
}

fn labels(labels: &Labels) -> Json {
    let pairs = labels.iter().map(|(k, v)| (k.to_string(), Json::from(v)));
    Json::Object(pairs.collect::<Map<_, _>>())
}

/// Milliseconds as a JSON number of seconds.
fn seconds(t: i64) -> Json {
    if t % 1000 == 0 { json!(t / 1000) } else { json!(t as f64 / 1000.0) }
}

/// A sample value as Prometheus prints it: a string, shortest form, exponent only at the extremes
/// (Prometheus: util/jsonutil, `MarshalFloat`).
pub fn number(v: f64) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let magnitude = v.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return format!("{v}");
    }
    let text = format!("{v:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Unix seconds with a fraction, or RFC 3339.
fn timestamp(name: &str, text: &str) -> Result<i64, Failure> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
        && seconds.abs() < 1e12
    {
        return Ok((seconds * 1000.0).round() as i64);
    }
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed.map(jiff::Timestamp::as_millisecond).map_err(|_| {
        bad_data(format!("invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"))
    })
}

/// Seconds with a fraction, or a Prometheus duration such as `1m30s`.
fn step(text: &str) -> Result<i64, Failure> {
    let millis = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds.abs() < 1e12 => Some((seconds * 1000.0) as i64),
        Ok(_) => None,
        Err(_) => {
            let parsed = promql_parser::util::parse_duration(text).ok();
            parsed.and_then(|d| i64::try_from(d.as_millis()).ok())
        }
    };
    match millis {
        Some(millis) if millis > 0 => Ok(millis),
        Some(_) => Err(bad_data(
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. \
             Try a positive integer",
        )),
        None => {
            Err(bad_data(format!("invalid parameter \"step\": cannot parse {text:?} to a valid duration")))
        }
    }
}

fn respond(status: StatusCode, body: &Json) -> Response<Bytes> {
    with_type(status, "application/json", body.to_string())
}

fn text(body: &str) -> Response<Bytes> {
    with_type(StatusCode::OK, "text/plain; charset=utf-8", body.to_string())
}

fn not_found() -> Response<Bytes> {
    with_type(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".into())
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

/// Parameters of the query string and, for POST, of the form in the body; the body's come first, as in
/// Go's `Request.Form`.
struct Params(Vec<(String, String)>);

impl Params {
    fn of(req: &Request<Bytes>) -> Self {
        let body = std::str::from_utf8(req.body()).unwrap_or_default();
        let form = if req.method() == Method::POST { body } else { "" };
        let pairs = form.split('&').chain(req.uri().query().unwrap_or_default().split('&'));
        let pair = |p: &str| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            (decode(name), decode(value))
        };
        Self(pairs.filter(|p| !p.is_empty()).map(pair).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Form decoding: `+` is a space, `%XX` a byte; what is not an escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        let escape = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (b, escape.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 2;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(b),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent-encodes a form value, for those who ask.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(b));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::metrics::series::SeriesStore;

    fn api() -> PrometheusApi {
        let mut store = SeriesStore::new(1_000_000);
        let labels: Labels = [("__name__", "m"), ("a", "x y")].into_iter().collect();
        store.append(labels, Sample { t: 1_500, v: f64::NAN }).unwrap();
        PrometheusApi::new(Arc::new(store), || 2_050)
    }

    async fn ask(method: Method, uri: &str, body: &str) -> (StatusCode, Json) {
        let req = Request::builder().method(method).uri(uri).body(Bytes::from(body.to_string())).unwrap();
        let res = api().handle(req).await;
        (res.status(), serde_json::from_slice(res.body()).unwrap_or(Json::Null))
    }

    #[tokio::test]
    async fn get_and_post_forms_ask_the_same() {
        let expected = json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {"__name__": "m", "a": "x y"}, "value": [2.05, "NaN"]}]}});
        let query = encode(r#"m{a="x y"}"#);
        let (status, body) = ask(Method::GET, &format!("/api/v1/query?query={query}"), "").await;
        assert_eq!((status, &body), (StatusCode::OK, &expected));
        let form = "query=m%7Ba%3D%22x+y%22%7D";
        let (status, body) = ask(Method::POST, "/api/v1/query?query=ignored", form).await;
        assert_eq!((status, &body), (StatusCode::OK, &expected));
        let (_, body) = ask(Method::GET, "/api/v1/query?query=1&time=1970-01-01T00:00:07Z", "").await;
        assert_eq!(body["data"], json!({"resultType": "scalar", "result": [7, "1"]}));
    }

    #[tokio::test]
    async fn errors_name_what_is_wrong() {
        let (status, body) = ask(Method::GET, "/api/v1/query?query=deriv(m[1m])", "").await;
        assert_eq!((status, &body["errorType"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("execution")));
        assert_eq!(body["error"], "function `deriv` is not supported by the embedded cluster");
        let (status, body) = ask(Method::GET, "/api/v1/query?query=sum(m", "").await;
        assert_eq!((status, &body["errorType"]), (StatusCode::BAD_REQUEST, &json!("bad_data")));
        assert_eq!(body["error"], "invalid parameter \"query\": 1:4: parse error: unclosed left parenthesis");
        let (status, _) = ask(Method::GET, "/api/v1/query?query=m&time=soon", "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let (status, _) = ask(Method::DELETE, "/api/v1/query?query=m", "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_small_paths_answer() {
        assert_eq!(ask(Method::GET, "/-/ready", "").await.0, StatusCode::OK);
        assert_eq!(ask(Method::GET, "/api/v1/labels", "").await.1["data"], json!(["__name__", "a"]));
        assert_eq!(ask(Method::GET, "/api/v1/label/a/values", "").await.1["data"], json!(["x y"]));
        let (_, body) = ask(Method::GET, "/api/v1/status/buildinfo", "").await;
        assert_eq!(body["data"]["version"], VERSION);
    }

    #[test]
    fn numbers_are_spelled_as_go_spells_them() {
        let spelled = [(0.1, "0.1"), (-0.0, "-0"), (1e21, "1e+21"), (1e20, "100000000000000000000")];
        let small = [(1e-9, "1e-09"), (1.5e-7, "1.5e-07"), (0.000001, "0.000001"), (2.5e-100, "2.5e-100")];
        for (value, text) in spelled.into_iter().chain(small) {
            assert_eq!(number(value), text);
        }
    }
}
