//! Sources of metrics: credentials from Secrets, an authority of their own, and every way of being wrong.

use std::sync::Arc;

use bytes::Bytes;
use firedrill::{
    cluster::Access,
    env::HttpClient,
    probes::{MetricSource, Source, SourceError},
    sim::{Sim, SimConfig},
};
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const ANSWER: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.99"]}]}}"#;

/// A Prometheus over TLS with an authority of its own that wants `authorization`. Its port and the PEM.
async fn prometheus(authorization: &'static str) -> (u16, String) {
    let key =
        rcgen::generate_simple_self_signed(vec!["metrics.example.com".to_owned()]).expect("a certificate");
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .expect("a server");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(move |request: Request<Incoming>| async move {
                    let given =
                        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                    let ok = given == Some(authorization) && request.uri().path() == "/api/v1/query";
                    let (status, body) = if ok { (200, ANSWER) } else { (401, "no") };
                    Response::builder().status(status).body(Full::new(Bytes::from(body)))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (port, key.cert.pem())
}

/// A cluster whose Secret and ConfigMap hold what the source names.
fn access(pem: &str) -> Access {
    let sim = Sim::new(&SimConfig::default());
    sim.apply_manifests(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        // "token" and "password".
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "prom", "namespace": "shop"},
               "data": {"token": "dG9rZW4=", "password": "cGFzc3dvcmQ="}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prom-ca", "namespace": "shop"},
               "data": {"ca.crt": pem}}),
    ])
    .expect("accepted");
    Access::new(sim.client())
}

fn source(port: u16, auth: Value, tls: Value) -> Source {
    serde_json::from_value(json!({"server": format!("https://localhost:{port}"), "auth": auth, "tls": tls}))
        .expect("a source")
}

fn own_ca() -> Value {
    json!({"ca": {"configMapKeyRef": {"name": "prom-ca", "key": "ca.crt"}}, "serverName": "metrics.example.com"})
}

fn bearer() -> Value {
    json!({"bearerToken": {"secretKeyRef": {"name": "prom", "key": "token"}}})
}

async fn ask(access: &Access, source: &Source) -> Result<u16, SourceError> {
    let source = MetricSource::resolve(access, "shop", source).await?;
    assert!(!format!("{source:?}").contains("token"), "no credential in logs");
    source.query(access, &HttpClient::network(), "up").await.map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn bearer_tokens_and_an_authority_of_its_own_work() {
    let (port, pem) = prometheus("Bearer token").await;
    let access = access(&pem);
    assert_eq!(ask(&access, &source(port, bearer(), own_ca())).await, Ok(200));
    let skip = json!({"insecureSkipVerify": true});
    assert_eq!(ask(&access, &source(port, bearer(), skip)).await, Ok(200));
    assert_eq!(ask(&access, &source(port, json!({}), own_ca())).await, Ok(401));
}

#[tokio::test]
async fn basic_authentication_works() {
    // drill:password
    let (port, pem) = prometheus("Basic ZHJpbGw6cGFzc3dvcmQ=").await;
    let basic = json!({"basic": {"username": "drill", "password": {"secretKeyRef": {"name": "prom", "key": "password"}}}});
    assert_eq!(ask(&access(&pem), &source(port, basic, own_ca())).await, Ok(200));
}

#[tokio::test]
async fn an_unknown_authority_and_a_wrong_name_are_refused() {
    let (port, pem) = prometheus("Bearer token").await;
    let access = access(&pem);
    let unknown = ask(&access, &source(port, bearer(), json!({"serverName": "metrics.example.com"}))).await;
    assert!(matches!(unknown, Err(SourceError::Unreachable(_))), "{unknown:?}");
    let wrong = json!({"ca": {"configMapKeyRef": {"name": "prom-ca", "key": "ca.crt"}}});
    let wrong = ask(&access, &source(port, bearer(), wrong)).await;
    assert!(matches!(wrong, Err(SourceError::Unreachable(_))), "{wrong:?}");
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named() {
    let (port, pem) = prometheus("Bearer token").await;
    let access = access(&pem);
    for (name, key, why) in [("none", "token", "not there"), ("prom", "none", "no such key")] {
        let auth = json!({"bearerToken": {"secretKeyRef": {"name": name, "key": key}}});
        let error = ask(&access, &source(port, auth, own_ca())).await.expect_err("refused").to_string();
        assert!(error.contains(why) && error.contains(name), "{error}");
    }
}
