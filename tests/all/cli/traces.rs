//! Spans of runs, as a collector gets them: sent where the environment says so, and never in the way.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;

use super::{
    Ended, POD_LOSS, Place,
    controlled::Installed,
    undo::{IN_FORCE, Serving},
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How a collector answers.
#[derive(Clone, Copy)]
enum Answer {
    Taken,
    Status(u16),
    Never,
}

/// A request: its first line, its headers by their names in lower case, what it carries.
struct Came {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A collector on a port of its own.
struct Collector {
    url: String,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Collector {
    fn that(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let came: Arc<Mutex<Vec<Came>>> = Arc::default();
        let all = came.clone();
        std::thread::spawn(move || {
            // Held open, or what never answers would be a connection that breaks off.
            let mut unanswered = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                all.lock().expect("no panic holds it").push(read(&stream));
                let status = match answer {
                    Answer::Taken => 200,
                    Answer::Status(status) => status,
                    Answer::Never => {
                        unanswered.push(stream);
                        continue;
                    }
                };
                let head = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(head.as_bytes());
            }
        });
        Self { url, came }
    }

    fn requests(&self) -> usize {
        self.came.lock().expect("no panic holds it").len()
    }

    /// Everything that has come, as one trace, and who has sent it.
    fn told(&self) -> (Trace, BTreeMap<String, String>) {
        let (mut trace, mut sender) = (Trace::default(), BTreeMap::new());
        for came in self.came.lock().expect("no panic holds it").iter() {
            assert_eq!(came.line, "POST /v1/traces HTTP/1.1");
            assert_eq!(came.headers["content-type"], "application/x-protobuf");
            let sent = ExportTraceServiceRequest::decode(came.body.as_slice()).expect("protobuf");
            for of_one in sent.resource_spans {
                sender.extend(texts(&of_one.resource.expect("who sends").attributes));
                let spans = of_one.scope_spans.into_iter().flat_map(|scope| scope.spans);
                trace.0.extend(spans.map(|span| (span.span_id.clone(), span)));
            }
        }
        (trace, sender)
    }
}

fn read(stream: &TcpStream) -> Came {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("UTF-8");
        line.trim_end().to_owned()
    };
    let first = line();
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line().split_once(':') {
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().expect("a length")];
    reader.read_exact(&mut body).expect("so much");
    Came { line: first, headers, body }
}

/// Attributes as texts.
fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |of: &KeyValue| match of.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    };
    attributes.iter().map(|of| (of.key.clone(), text(of))).collect()
}

/// Spans by their ids.
#[derive(Default)]
struct Trace(BTreeMap<Vec<u8>, Span>);

impl Trace {
    /// Each span after those that it is within, as in run/step.
    fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.0.values().map(|span| self.path(span)).collect();
        paths.sort();
        paths
    }

    fn path(&self, span: &Span) -> String {
        match self.0.get(&span.parent_span_id) {
            Some(parent) => format!("{}/{}", self.path(parent), span.name),
            None => {
                assert!(span.parent_span_id.is_empty(), "{} has a parent that was never sent", span.name);
                span.name.clone()
            }
        }
    }

    fn named(&self, name: &str) -> Vec<&Span> {
        self.0.values().filter(|span| span.name == name).collect()
    }

    /// Held of every trace: all of one run, and nothing longer than what it is within.
    fn holds(&self) {
        let run = |span: &Span| texts(&span.attributes).remove("run").expect("its run");
        let traces: std::collections::BTreeSet<_> = self.0.values().map(|span| &span.trace_id).collect();
        assert_eq!(traces.len(), 1, "one trace");
        for span in self.0.values() {
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
            if let Some(parent) = self.0.get(&span.parent_span_id) {
                assert_eq!(run(parent), run(span));
                assert!(
                    parent.start_time_unix_nano <= span.start_time_unix_nano
                        && span.end_time_unix_nano <= parent.end_time_unix_nano,
                    "{} outlasts {}",
                    span.name,
                    parent.name
                );
            }
        }
        // One phase begins where another ends.
        let mut phases = self.named("phase");
        phases.sort_by_key(|span| span.start_time_unix_nano);
        for two in phases.windows(2) {
            let between = two[1].start_time_unix_nano.abs_diff(two[0].end_time_unix_nano);
            assert!(between < 500_000_000, "{between} ns between two phases");
        }
    }
}

fn rehearsed(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let place = Place::new();
    let mut command = place.command(&[&["rehearse", "--seed", "7"], arguments].concat());
    command.envs(variables.iter().copied());
    Ended::of(command.output().expect("the binary starts"))
}

#[test]
fn a_rehearsal_is_a_trace() {
    let collector = Collector::that(Answer::Taken);
    let variables = [
        (ENDPOINT, collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "X-Tenant=shop,Authorization=Bearer%20geheim"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=ci"),
        // What is logged has no say in what is sent.
        ("FIREDRILL_LOG", "error"),
    ];
    let ended = rehearsed(&["experiments/scale-below-need.yaml"], &variables);
    let untraced = rehearsed(&["experiments/scale-below-need.yaml"], &[]);
    assert_eq!((ended.code, &ended.out, &ended.err), (untraced.code, &untraced.out, &untraced.err));
    let (trace, sender) = collector.told();
    trace.holds();
    let paths = trace.paths();
    assert_eq!(trace.named("run").len(), 1);
    for path in ["run", "run/phase", "run/phase/revert", "run/step", "run/step/effect", "run/step/injection"]
    {
        assert!(paths.iter().any(|known| known == path), "no {path} in {paths:?}");
    }
    let phases: Vec<String> =
        trace.named("phase").iter().map(|span| texts(&span.attributes)["phase"].clone()).collect();
    assert!(phases.iter().any(|phase| phase == "Baseline"), "{phases:?}");
    let injection = texts(&trace.named("injection")[0].attributes);
    assert_eq!(injection["fault"], "scale", "{injection:?}");
    assert_eq!(sender["service.name"], "firedrill");
    assert_eq!(sender["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(sender["firedrill.command"], "rehearse");
    assert_eq!(sender["deployment.environment.name"], "ci");
    let came = collector.came.lock().expect("no panic holds it");
    assert_eq!(came[0].headers["x-tenant"], "shop");
    assert_eq!(came[0].headers["authorization"], "Bearer geheim");
}

#[test]
fn a_name_and_a_place_of_ones_own_are_taken() {
    let collector = Collector::that(Answer::Taken);
    let place = format!("{}/v1/traces", collector.url);
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", place.as_str()),
        (ENDPOINT, "http://127.0.0.1:1"),
        ("OTEL_SERVICE_NAME", "drills"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "c=d"),
    ];
    rehearsed(&[POD_LOSS], &variables).exits(0);
    let (trace, sender) = collector.told();
    trace.holds();
    assert_eq!(sender["service.name"], "drills");
    let came = collector.came.lock().expect("no panic holds it");
    assert!(came[0].headers.contains_key("a") && !came[0].headers.contains_key("c"));
}

#[test]
fn nothing_is_sent_that_nobody_asks_for() {
    let collector = Collector::that(Answer::Taken);
    for variables in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_HEADERS", "a=b"), ("OTEL_SERVICE_NAME", "drills")],
        &[(ENDPOINT, collector.url.as_str()), ("OTEL_SDK_DISABLED", "true")],
        &[(ENDPOINT, collector.url.as_str()), ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        rehearsed(&[POD_LOSS], variables).exits(0);
    }
    // And nothing where no run is driven.
    let place = Place::new();
    for arguments in [&["check", POD_LOSS][..], &["controller", "manifests"], &["runs"]] {
        let mut command = place.command(arguments);
        command.env(ENDPOINT, &collector.url);
        Ended::of(command.output().expect("the binary starts")).exits(0);
    }
    assert_eq!(collector.requests(), 0);
}

#[test]
fn a_collector_that_takes_nothing_is_one_line_in_the_log() {
    let plain = rehearsed(&[POD_LOSS], &[]).exits(0);
    let (silent, busy, refusing) = (
        Collector::that(Answer::Never),
        Collector::that(Answer::Status(503)),
        Collector::that(Answer::Status(400)),
    );
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let gone = format!("http://{gone}");
    for (url, why) in [
        (silent.url.as_str(), "no answer within 500 ms"),
        (&busy.url, "it answers 503"),
        (&refusing.url, "it answers 400"),
        (&gone, "onnection refused"),
    ] {
        let own = [
            (ENDPOINT, url),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=geheim"),
        ];
        let ended = rehearsed(&[POD_LOSS], &own);
        assert_eq!((ended.code, &ended.out, &ended.err), (plain.code, &plain.out, &plain.err), "{why}");
        let logged = rehearsed(&[POD_LOSS], &[&own[..], &[("FIREDRILL_LOG", "firedrill=warn")]].concat());
        assert_eq!((logged.code, &logged.out), (plain.code, &plain.out), "{why}");
        let said = logged.err.matches("traces are not taken").count();
        assert!(said == 1 && logged.err.contains(why), "{why}:\n{}", logged.err);
        assert!(logged.err.matches("WARN").count() == 1 && !logged.err.contains("geheim"), "{}", logged.err);
    }
}

#[test]
fn the_end_does_not_wait_for_a_collector_that_never_answers() {
    let collector = Collector::that(Answer::Never);
    let place = Place::new();
    let mut command = place.command(&["rehearse", POD_LOSS, "--seed", "7"]);
    command.env(ENDPOINT, &collector.url).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    for _ in 0..400 {
        if collector.requests() > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(collector.requests() > 0, "it never sent");
    // It would wait for 10 s for an answer; 3 s are the bound, and the rest is for a machine that is busy.
    for _ in 0..160 {
        if let Some(status) = child.try_wait().expect("a child") {
            assert_eq!(status.code(), Some(0));
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    panic!("it waits");
}

#[test]
fn an_endpoint_that_cannot_be_meant_is_named_and_runs_go_on() {
    let plain = rehearsed(&[POD_LOSS], &[]).exits(0);
    for (name, value) in [
        (ENDPOINT, "collector:4318"),
        (ENDPOINT, "https://ada:geheim@collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://geheim/"),
    ] {
        let ended = rehearsed(&[POD_LOSS], &[(name, value)]).exits(0).says("warning: no traces are sent");
        let ended = ended.says(name).says("write it as http");
        assert!(ended.out == plain.out && !ended.err.contains("geheim"), "{}", ended.err);
    }
    let grpc = [(ENDPOINT, "http://collector:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    rehearsed(&[POD_LOSS], &grpc).exits(0).says("OTEL_EXPORTER_OTLP_PROTOCOL").says("http/protobuf");
}

#[test]
fn a_run_that_is_broken_off_is_a_trace_too() {
    let (collector, serving) = (Collector::that(Answer::Taken), Serving::new());
    let before = format!("export {ENDPOINT}={}", collector.url);
    let ended = serving.run(&before, "").until(IN_FORCE).signal("TERM").end();
    ended.exits(5).says("everything is back");
    let (trace, sender) = collector.told();
    trace.holds();
    let paths = trace.paths();
    for path in ["run", "run/step/injection", "run/phase/revert"] {
        assert!(paths.iter().any(|known| known == path), "no {path} in {paths:?}");
    }
    assert_eq!(sender["firedrill.command"], "run");
}

#[test]
fn the_controller_says_which_pod_it_is() {
    let collector = Collector::that(Answer::Taken);
    let variables = [(ENDPOINT, collector.url.as_str()), ("POD_NAME", "firedrill-0"), ("POD_UID", "u-1")];
    let mut installed = Installed::told("", &variables);
    let ended = installed.firedrill(&["run", "--controller", "experiment/trial"]).exits(0);
    let name = super::controlled::run_of(&ended);
    installed.end();
    let (trace, sender) = collector.told();
    trace.holds();
    let paths = trace.paths();
    for path in ["work", "work/run", "work/run/step/injection", "work/run/phase/revert"] {
        assert!(paths.iter().any(|known| known == path), "no {path} in {paths:?}");
    }
    let run = texts(&trace.named("run")[0].attributes).remove("run").expect("its run");
    assert!(run.starts_with(&name), "{run} is not of {name}");
    for (key, value) in [
        ("firedrill.command", "controller"),
        ("k8s.namespace.name", "firedrill"),
        ("k8s.pod.name", "firedrill-0"),
        ("k8s.pod.uid", "u-1"),
    ] {
        assert_eq!(sender[key], value);
    }
}
