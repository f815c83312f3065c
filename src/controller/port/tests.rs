use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    controller::manifests::{Installed, Part, manifests},
    env::{HttpClient, HttpError, Tls},
    sim::{Sim, SimConfig, apiserver::User},
    types::ObjectRef,
};

/// The controller's installation, Prometheus, which may read, and somebody who may not.
fn sim() -> Sim {
    let sim = Sim::new(&SimConfig::default());
    let space = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let account = |space: &str, name: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": space}});
    let mut objects = vec![
        space("firedrill"),
        space("monitoring"),
        space("shop"),
        account("firedrill", "firedrill"),
        account("monitoring", "prometheus"),
        account("shop", "curious"),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "prometheus"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "firedrill:metrics"},
            "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}],
        }),
    ];
    objects.extend(manifests(Part::Rights, &Installed::default()));
    sim.apply_manifests(&objects).expect("they are taken");
    sim
}

/// With the controller's own rights and no others.
fn port(sim: &Sim) -> Port {
    let user = User::new("system:serviceaccount:firedrill:firedrill", &[]);
    Port::new(&sim.client_as(user), &Metrics::default())
}

async fn token(sim: &Sim, namespace: &str, name: &str) -> String {
    let url = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let body =
        br#"{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}"#;
    let request = Request::post(url).header(header::CONTENT_TYPE, "application/json");
    let answer: Value =
        sim.client().request(request.body(body.to_vec()).expect("a request")).await.expect("a token");
    answer["status"]["token"].as_str().expect("a token").to_owned()
}

fn anywhere() -> Listen {
    "127.0.0.1:0".parse().expect("an address")
}

/// What the port says over TLS whether it lives, to somebody who trusts nobody but `ca`.
async fn trusting(open: &Open, ca: &str) -> Result<Response<Bytes>, HttpError> {
    let request = Request::get(format!("https://{}/healthz", open.address()));
    let mut request = request.body(Bytes::new()).expect("a request");
    let ca = Some(ca.as_bytes().to_vec());
    let tls = Tls { ca, server_name: Some("firedrill.example".to_owned()), ..Tls::default() };
    request.extensions_mut().insert(tls);
    HttpClient::network().send(request).await
}

async fn asked(port: &Port, method: Method, path: &str, authorization: Option<&str>) -> Response<String> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(given) = authorization {
        request = request.header(header::AUTHORIZATION, given);
    }
    port.answer(&request.body(()).expect("a request").into_parts().0).await
}

async fn get(port: &Port, path: &str, authorization: Option<&str>) -> u16 {
    asked(port, Method::GET, path, authorization).await.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn only_whom_the_api_server_lets_reads_the_metrics() {
    let sim = sim();
    let port = port(&sim);
    let prometheus = token(&sim, "monitoring", "prometheus").await;
    let page = asked(&port, Method::GET, METRICS, Some(&format!("Bearer {prometheus}"))).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(page.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
    assert!(page.body().contains("firedrill_build_info"), "{}", page.body());
    let curious = token(&sim, "shop", "curious").await;
    assert_eq!(get(&port, METRICS, Some(&format!("Bearer {curious}"))).await, 403);
    for nobody in [None, Some("Bearer "), Some("Bearer guess"), Some(prometheus.as_str()), Some("Basic YTpi")]
    {
        let answer = asked(&port, Method::GET, METRICS, nobody).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{nobody:?}");
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert!(!answer.body().contains("firedrill_"), "{}", answer.body());
    }
    let long = format!("Bearer {}", "a".repeat(LONGEST + 1));
    let before = sim.mischief().calls();
    assert_eq!(get(&port, METRICS, Some(&long)).await, 401);
    assert_eq!(sim.mischief().calls(), before, "nobody is asked about what can be no token");
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_says_holds_for_a_minute_and_no_longer() {
    let sim = sim();
    let port = port(&sim);
    let given = format!("bearer {}", token(&sim, "monitoring", "prometheus").await);
    assert_eq!(get(&port, METRICS, Some(&given)).await, 200);
    let once = sim.mischief().calls();
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(get(&port, METRICS, Some(&given)).await, 200);
    assert_eq!(sim.mischief().calls(), once, "it is not asked again");
    let binding =
        ObjectRef::namespaced("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", "prometheus");
    Access::new(sim.client()).delete(&binding, false).await.expect("it is deleted");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(get(&port, METRICS, Some(&given)).await, 403);
    // Without the API server nobody is let in, and who is known already comes in until then.
    tokio::time::sleep(Duration::from_secs(10)).await;
    sim.mischief().outage(true);
    assert_eq!(get(&port, METRICS, Some(&given)).await, 503);
}

#[tokio::test(start_paused = true)]
async fn strangers_are_no_load() {
    let sim = sim();
    let port = port(&sim);
    let guesses: Vec<String> = (0..50).map(|guess| format!("Bearer guess-{guess}")).collect();
    let answers = guesses.iter().map(|guess| get(&port, METRICS, Some(guess)));
    let answers = futures::future::join_all(answers).await;
    let count = |code: u16| answers.iter().filter(|answer| **answer == code).count();
    assert_eq!((count(401), count(429)), (ANSWERS.1, 50 - ANSWERS.1));
    for guess in 0..200 {
        assert_eq!(get(&port, METRICS, Some(&format!("Bearer other-{guess}"))).await, 401);
    }
    assert!(port.0.known.lock().expect("no panic").len() <= ANSWERS.0);
}

#[tokio::test(start_paused = true)]
async fn probes_need_no_token_and_say_nothing_else() {
    let sim = sim();
    let port = port(&sim);
    let probes = async || [get(&port, "/healthz", None).await, get(&port, "/readyz", None).await];
    assert_eq!(probes().await, [200, 503]);
    port.0.metrics.round(true);
    assert_eq!(probes().await, [200, 200]);
    assert_eq!(asked(&port, Method::GET, "/readyz", None).await.body(), "ok\n");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(probes().await, [503, 503]);
    assert_eq!(get(&port, "/debug/pprof", None).await, 404);
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        assert_eq!(asked(&port, method, METRICS, None).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn it_is_served_over_tls_and_not_otherwise() {
    let sim = sim();
    let prometheus = token(&sim, "monitoring", "prometheus").await;
    let open = port(&sim).open(&anywhere(), None).await.expect("it opens");
    let ask = async |scheme: &str, ca: &str| {
        let url = format!("{scheme}://{}{METRICS}", open.address());
        let request = Request::get(url).header(header::AUTHORIZATION, format!("Bearer {prometheus}"));
        let mut request = request.body(Bytes::new()).expect("a request");
        let tls = Tls {
            ca: Some(ca.as_bytes().to_vec()),
            server_name: Some("localhost".to_owned()),
            ..Tls::default()
        };
        request.extensions_mut().insert(tls);
        HttpClient::network().send(request).await
    };
    let page = ask("https", open.authority()).await.expect("it answers");
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.body().starts_with(b"# HELP firedrill_build_info"), "{page:?}");
    // Another one's authority is none of it: each makes its own.
    let other = port(&sim).open(&anywhere(), None).await.expect("it opens");
    assert!(ask("https", other.authority()).await.is_err());
    assert!(ask("http", open.authority()).await.is_err());
    let taken = port(&sim).open(&Listen(vec![open.address()]), None).await;
    assert!(matches!(taken, Err(PortError::Listen { .. })), "{taken:?}");
}

/// Puts a new certificate into a folder; whom it is signed by, which is itself.
fn issue(folder: &Path) -> String {
    let made =
        rcgen::generate_simple_self_signed(vec!["firedrill.example".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).expect("written");
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).expect("written");
    made.cert.pem()
}

#[tokio::test]
async fn a_certificate_that_is_given_is_shown_and_renewed() {
    let (sim, folder) = (sim(), tempfile::tempdir().expect("a folder"));
    let none = port(&sim).open(&anywhere(), Some(folder.path())).await.expect_err("there is none");
    assert!(none.to_string().contains("tls.crt"), "{none}");
    let first = issue(folder.path());
    let open = port(&sim).open(&anywhere(), Some(folder.path())).await.expect("it opens");
    assert_eq!(trusting(&open, &first).await.expect("it is trusted").status(), StatusCode::OK);
    let second = issue(folder.path());
    assert_eq!(trusting(&open, &second).await.expect("it is renewed").status(), StatusCode::OK);
    assert!(trusting(&open, &first).await.is_err());
    // Half of a new one: the key is still the former's.
    std::fs::write(folder.path().join("tls.crt"), &first).expect("written");
    assert_eq!(trusting(&open, &second).await.expect("it stays").status(), StatusCode::OK);
}

#[test]
fn an_address_may_be_a_port_alone() {
    let all: Listen = ":8443".parse().expect("it is one");
    assert_eq!(all.0.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[::]:8443", "0.0.0.0:8443"]);
    let one: Listen = "[::1]:80".parse().expect("it is one");
    assert_eq!(one, Listen(vec!["[::1]:80".parse().expect("an address")]));
    for wrong in ["8443", ":", ":x", ":70000", "firedrill:8443", ""] {
        let error = wrong.parse::<Listen>().expect_err(wrong);
        assert!(error.contains("neither ADDRESS:PORT nor :PORT"), "{error}");
    }
}
