//! Probes that ask for themselves: against servers on loopback, and in the embedded cluster.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use firedrill::{
    cluster::Access,
    env::{HttpClient, Loads},
    journal::{Record, SampleState},
    probes::{self, Measure, Reading},
    sim::{Sim, SimConfig},
    types::{Length, Verdict},
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::kit::{Stage, in_virtual_time, shop};

/// What a server was asked: method, path, and the headers that matter here.
type Asked = Arc<Mutex<Vec<String>>>;

fn answer(request: &Request<Incoming>, other: u16) -> Response<Full<Bytes>> {
    let body =
        |status: u16, body: Vec<u8>| Response::builder().status(status).body(Full::new(Bytes::from(body)));
    let to = |status: u16, location: String| {
        Response::builder().status(status).header("location", location).body(Full::default())
    };
    match request.uri().path() {
        "/ready" => body(200, br#"{"ready":true}"#.to_vec()),
        "/large" => body(200, vec![b'x'; 1 << 20]),
        "/near" => to(302, "/ready".to_owned()),
        "/far" => to(307, format!("http://127.0.0.1:{other}/ready")),
        "/inside" => to(302, "http://checkout.shop.svc/".to_owned()),
        "/round" => to(301, "/round".to_owned()),
        _ => body(500, b"no".to_vec()),
    }
    .expect("an answer")
}

/// A server; `/far` leads to the port `other`. Its port, and what it was asked.
async fn server(other: u16) -> (u16, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Asked::default();
    let all = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let all = all.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-");
                let line = format!(
                    "{} {} {} {} {} {}",
                    request.method(),
                    request.uri().path(),
                    header("authorization"),
                    header("x-key"),
                    header("cookie"),
                    header("x-drill"),
                );
                all.lock().expect("no panic holds it").push(line);
                let answer = answer(&request, other);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (port, asked)
}

/// Asks with the rights over a cluster that has a Secret, and the real network.
fn measure() -> Measure {
    let sim = Sim::new(&SimConfig::default());
    sim.apply_manifests(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        // "token".
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop", "namespace": "shop"},
               "data": {"token": "dG9rZW4="}}),
    ])
    .expect("accepted");
    Measure {
        access: Access::new(sim.client()),
        http: HttpClient::network(),
        metrics: None,
        namespace: "shop".to_owned(),
        loads: Loads::default(),
        every: Duration::from_secs(5),
    }
}

async fn read(measure: &Measure, kind: &str, params: Value) -> Reading {
    probes::find(kind).expect("a probe").measure(measure, &params).await
}

#[track_caller]
fn variable(reading: &Reading, name: &str) -> Value {
    match reading {
        Reading::Measured(variables) => variables[name].clone(),
        other => panic!("not measured: {other:?}"),
    }
}

#[track_caller]
fn no_answer(reading: &Reading) -> &str {
    match reading {
        Reading::NoAnswer(no_answer) => &no_answer.why,
        other => panic!("an answer: {other:?}"),
    }
}

fn secret() -> Value {
    json!({"secretKeyRef": {"name": "shop", "key": "token"}})
}

#[tokio::test]
async fn an_answer_is_measured_whatever_its_status() {
    let (port, asked) = server(0).await;
    let measure = measure();
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let params = json!({"url": url("/ready"), "method": "POST", "body": "{}", "auth": {"bearerToken": secret()},
        "headers": [{"name": "x-key", "valueFrom": secret()}, {"name": "x-drill", "value": "1"}]});
    let ready = read(&measure, "http", params).await;
    assert_eq!(variable(&ready, "status"), 200);
    assert_eq!(variable(&ready, "json"), json!({"ready": true}));
    assert!(variable(&ready, "latency").as_f64().is_some_and(|latency| latency > 0.0 && latency < 5.0));
    assert_eq!(*asked.lock().expect("no panic"), ["POST /ready Bearer token token - 1"]);
    let failed = read(&measure, "http", json!({"url": url("/none")})).await;
    assert_eq!((variable(&failed, "status"), variable(&failed, "body")), (json!(500), json!("no")));
    let large = read(&measure, "http", json!({"url": url("/large")})).await;
    assert_eq!(variable(&large, "body").as_str().map(str::len), Some(64 << 10));
    let redirect = read(&measure, "http", json!({"url": url("/near")})).await;
    assert_eq!(variable(&redirect, "status"), 302, "not followed unless asked for");
}

#[tokio::test]
async fn credentials_stay_with_the_host_that_the_file_names() {
    let (other, elsewhere) = server(0).await;
    let (port, asked) = server(other).await;
    let measure = measure();
    let params = |path: &str| {
        json!({"url": format!("http://127.0.0.1:{port}{path}"), "followRedirects": true,
            "auth": {"bearerToken": secret()},
            "headers": [{"name": "x-key", "valueFrom": secret()}, {"name": "Cookie", "value": "a=b"},
                        {"name": "x-drill", "value": "1"}]})
    };
    let near = read(&measure, "http", params("/near")).await;
    assert_eq!(variable(&near, "status"), 200);
    let kept = ["GET /near Bearer token token a=b 1", "GET /ready Bearer token token a=b 1"];
    assert_eq!(*asked.lock().expect("no panic"), kept);
    let far = read(&measure, "http", params("/far")).await;
    assert_eq!(variable(&far, "status"), 200);
    assert_eq!(*elsewhere.lock().expect("no panic"), ["GET /ready - - - 1"]);
    let round = read(&measure, "http", params("/round")).await;
    assert!(no_answer(&round).contains("redirects"));
    let inside = read(&measure, "http", params("/inside")).await;
    assert!(no_answer(&inside).contains("not followed"), "our rights in the cluster are not lent out");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_hangs_up_gives_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream)
        }
    });
    let measure = measure();
    let closed = read(&measure, "http", json!({"url": format!("http://127.0.0.1:{port}/")})).await;
    assert!(!no_answer(&closed).is_empty());
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let refused = read(&measure, "http", json!({"url": format!("http://{free}/")})).await;
    assert!(no_answer(&refused).contains("refused"), "{refused:?}");
    let no_tls = read(&measure, "http", json!({"url": format!("https://127.0.0.1:{port}/")})).await;
    assert!(!no_answer(&no_tls).is_empty());
}

#[tokio::test]
async fn a_port_is_open_or_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let open = listener.local_addr().expect("an address");
    let measure = measure();
    let connected = read(&measure, "tcp", json!({"address": open.to_string()})).await;
    assert_eq!(variable(&connected, "connected"), true);
    assert!(variable(&connected, "latency").as_f64().is_some_and(|latency| latency > 0.0 && latency < 5.0));
    drop(listener);
    let refused = read(&measure, "tcp", json!({"address": open.to_string()})).await;
    assert!(no_answer(&refused).contains("refused"), "{refused:?}");
    let nowhere = read(&measure, "tcp", json!({"address": "none.invalid:80"})).await;
    assert!(!no_answer(&nowhere).is_empty());
}

#[tokio::test]
async fn what_could_not_be_asked_is_missing() {
    let measure = measure();
    let missing = |reading: Reading| match reading {
        Reading::Missing(why) => why,
        other => panic!("{other:?}"),
    };
    let none = json!({"secretKeyRef": {"name": "shop", "key": "none"}});
    let why = missing(
        read(&measure, "http", json!({"url": "http://127.0.0.1:1", "auth": {"bearerToken": none}})).await,
    );
    assert!(why.contains("no such key"), "{why}");
    let ca = json!({"ca": {"configMapKeyRef": {"name": "none", "key": "ca"}}});
    let why = missing(read(&measure, "http", json!({"url": "https://127.0.0.1:1", "tls": ca})).await);
    assert!(why.contains("not there"), "{why}");
}

#[test]
fn a_service_is_reached_by_its_name_in_a_rehearsal() {
    in_virtual_time(async {
        let stage = Stage::new(&shop(), 7).await;
        let measure = Measure {
            access: Access::new(stage.env.kube.clone()),
            http: stage.env.http.clone(),
            metrics: None,
            namespace: "shop".to_owned(),
            loads: Loads::default(),
            every: Duration::from_secs(5),
        };
        let totals = || stage.cluster.metrics().totals("shop", "checkout").expect("it has traffic");
        let before = totals().offered;
        let cart = read(&measure, "http", json!({"url": "http://checkout.shop.svc/cart"})).await;
        assert_eq!((variable(&cart, "status"), variable(&cart, "json")), (json!(200), json!({"ok": true})));
        assert!(variable(&cart, "latency").as_f64().is_some_and(|latency| latency > 0.0 && latency < 1.0));
        assert!(totals().offered - before < 200, "the gateway counts its own");
        let none = read(&measure, "http", json!({"url": "http://none.shop.svc.cluster.local"})).await;
        assert!(no_answer(&none).contains("not found"), "{none:?}");
        let listens = read(&measure, "tcp", json!({"address": "checkout.shop.svc:80"})).await;
        assert_eq!(variable(&listens, "connected"), true);
        let none = read(&measure, "tcp", json!({"address": "none.shop.svc:80"})).await;
        assert!(no_answer(&none).contains("not found"), "{none:?}");
        no_answer(&read(&measure, "tcp", json!({"address": "db.example.com:5432"})).await);
        let serves = read(&measure, "grpc", json!({"address": "checkout.shop.svc:80"})).await;
        assert_eq!(variable(&serves, "serving"), true);
        for (kind, params) in [
            ("http", json!({"url": "http://checkout.shop.svc:81/"})),
            ("tcp", json!({"address": "checkout.shop.svc:81"})),
            ("grpc", json!({"address": "checkout.shop.svc:81"})),
        ] {
            let none = read(&measure, kind, params).await;
            assert!(no_answer(&none).contains("no service port 81"), "{none:?}");
        }
        let plain = read(&measure, "http", json!({"url": "https://checkout.shop.svc:80/"})).await;
        assert!(no_answer(&plain).contains("HTTP response to HTTPS client"), "{plain:?}");
        let none = read(&measure, "grpc", json!({"address": "none.shop.svc:9000"})).await;
        assert!(no_answer(&none).contains("not found"), "{none:?}");
        no_answer(&read(&measure, "grpc", json!({"address": "orders.example.com:9000"})).await);
        let outside = read(&measure, "http", json!({"url": "http://shop.example.com"})).await;
        no_answer(&outside);
    });
}

const ALL_GONE: &str = r#"
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {name: trial, namespace: shop}
spec:
  hypothesis: Checkout answers.
  steadyState:
  - name: answers
    PROBE
    expect: EXPECT
    every: 1s
    timeout: 1s
    for: 0s
    DURING
  baseline: {duration: 10s}
  objectives: {recoverWithin: 2m}
  limits: {pods: 100%, duration: 10m}
  method:
  - name: lose-all
    target: {workload: deployment/checkout, count: all}
    podKill: {gracePeriod: 1s}
  - wait: 30s
"#;

/// The verdict, and whether the probe was outside for a while.
fn all_gone(probe: &str, expect: &str, during: &str) -> (Verdict, bool) {
    let text = ALL_GONE.replace("PROBE", probe).replace("EXPECT", expect).replace("DURING", during);
    in_virtual_time(async move {
        let stage = Stage::new(&shop(), 7).await;
        let ran = stage.run(stage.request(&text, 7)).await.unwrap_or_else(|findings| panic!("{findings:#?}"));
        let outside = ran.entries.iter().any(|entry| {
            matches!(&entry.record, Record::Sampled { expect: Some(false), note, .. } if !note.is_empty())
        });
        let missing = ran.entries.iter().any(
            |entry| matches!(&entry.record, Record::Sampled { state, .. } if *state == SampleState::Missing),
        );
        assert!(!missing, "no answer is an answer");
        assert!(!format!("{:?}", ran.entries).contains(r#"{"ok""#), "bodies are not kept");
        (ran.verdict(), outside)
    })
}

#[test]
fn pods_that_are_gone_give_no_answer_and_new_ones_do() {
    let probe = "http: {url: \"http://checkout.shop.svc/cart\"}";
    assert_eq!(all_gone(probe, "status == 200 && latency < 1.0", ""), (Verdict::Failed, true));
    let borne = "during: status == 200 || status == 0";
    assert_eq!(all_gone(probe, "status == 200 && latency < 1.0", borne), (Verdict::Passed, true));
}

#[test]
fn pods_that_are_gone_take_no_connection() {
    let probe = "tcp: {address: \"checkout.shop.svc:80\"}";
    assert_eq!(all_gone(probe, "connected && latency < 1.0", ""), (Verdict::Failed, true));
    assert_eq!(
        all_gone(probe, "connected", "during: '!connected || latency < 1.0'"),
        (Verdict::Passed, true)
    );
    assert_eq!(all_gone(probe, "connected", "during: \"true\""), (Verdict::Passed, true));
}

#[test]
fn pods_that_are_gone_do_not_serve() {
    let probe = "grpc: {address: \"checkout.shop.svc:80\"}";
    assert_eq!(all_gone(probe, "serving && latency < 1.0", ""), (Verdict::Failed, true));
    assert_eq!(all_gone(probe, "serving", "during: \"true\""), (Verdict::Passed, true));
}

/// A gRPC server on loopback, over HTTP/2 by prior knowledge, with its status in the trailers.
#[tokio::test]
async fn a_grpc_server_says_whether_it_serves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let asked = request.into_body().collect().await.expect("a question").to_bytes();
                let (body, status): (&[u8], _) = match &asked[5..] {
                    b"" => (b"\0\0\0\0\x02\x08\x01", "0"),
                    b"\x0a\x04down" => (b"\0\0\0\0\x02\x08\x02", "0"),
                    _ => (b"", "5"),
                };
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static(status));
                let body = Full::new(Bytes::from_static(body)).with_trailers(async { Some(Ok(trailers)) });
                Ok::<_, std::convert::Infallible>(Response::new(body))
            });
            let http2 = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    let (measure, address) = (measure(), format!("127.0.0.1:{port}"));
    for (service, serving) in [("", true), ("down", false), ("unknown", false)] {
        let reading = read(&measure, "grpc", json!({"address": address, "service": service})).await;
        assert_eq!(variable(&reading, "serving"), serving, "{service}");
        assert!(variable(&reading, "latency").as_f64().is_some_and(|latency| latency > 0.0 && latency < 5.0));
    }
    let refused = read(&measure, "grpc", json!({"address": "127.0.0.1:1"})).await;
    assert!(no_answer(&refused).contains("refused"), "{refused:?}");
    let (http1, _) = server(0).await;
    let other = read(&measure, "grpc", json!({"address": format!("127.0.0.1:{http1}")})).await;
    assert!(!no_answer(&other).is_empty());
}

/// A server that takes connections and says nothing is outside as soon as the probe's patience is over.
#[tokio::test]
async fn a_server_that_hangs_is_outside_not_missing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (measure, params) = (measure(), json!({"url": format!("http://127.0.0.1:{port}/")}));
    let patience = std::time::Duration::from_millis(200);
    let hanging = tokio::time::timeout(patience, read(&measure, "http", params)).await;
    assert!(hanging.is_err(), "it waits for as long as it is let");
    for (kind, late) in [("http", "no answer within 2s"), ("tcp", "no connection within 2s")] {
        let probe = probes::find(kind).expect("a probe");
        assert_eq!(no_answer(&probe.overdue(Length::from_secs(2))), late);
    }
    let prometheus = probes::find("prometheus").expect("a probe");
    assert!(
        matches!(prometheus.overdue(Length::from_secs(2)), Reading::Missing(_)),
        "no data is no measurement"
    );
    drop(listener);
}
