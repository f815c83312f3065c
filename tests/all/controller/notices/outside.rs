//! A run beside which somebody is told, and a notice over sockets.

use firedrill::journal::Record;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::crash::house::{experiment, house, settled_with};

/// The same run twice, once told to somebody who never answers: to the record and the millisecond the same.
#[test]
fn a_run_is_the_same_whoever_is_told_of_it() {
    let steps = ["{name: shrink, target: {workload: deployment/web}, scale: {replicas: 1}, duration: 30s}"];
    let ran = |told: bool| {
        in_virtual_time(async move {
            let mut objects = firedrill::api::crds::crds();
            objects.extend(house());
            // What is asked for in an account's name is refused, which is trouble enough for a notice.
            objects.extend(manifests("apiVersion: firedrill.dev/v1alpha1\nkind: Guardrail\nmetadata: {name: platform}\nspec: {probeHosts: ['*.example.com']}"));
            let stage = settled_with(&objects, 1).await;
            let (http, came) = world(|_, _| Answer::Never);
            let about = About {
                on: ObjectRef::namespaced(API_VERSION, "Run", "shop", "weekly-1"),
                game_day: "weekly".to_owned(),
                cluster: String::new(),
                people: Vec::new(),
                account: "drills".to_owned(),
                account_uid: String::new(),
            };
            let closed = json!({"name": "closed", "slack": {"webhookURL": {"secretKeyRef": {"name": "no", "key": "no"}}}});
            let notifications = read(&[webhook("hangs", "https://hangs.example.com/"), closed]);
            let env = Env { http, ..stage.env.clone() };
            let notices = told.then(|| Notices::new(&env, about, &notifications));
            let request = stage.request(&experiment(&steps), 1);
            let begun = Instant::now();
            let teller = notices.clone();
            let ran = stage.run_with(request, move |entry, _| {
                let event = match entry.record {
                    Record::RunStarted(_) => NoticeEvent::Started,
                    Record::Finished { .. } => NoticeEvent::Finished,
                    _ => return,
                };
                if let Some(notices) = &teller {
                    notices.tell(Notice::new(event, ""));
                }
            });
            let ran = ran.await.expect("nothing speaks against it");
            let took = begun.elapsed();
            assert_eq!(ran.verdict(), Verdict::Passed);
            if let Some(notices) = notices {
                notices.close().await;
                assert!(hosts(&came).len() > 1, "it was tried");
            }
            (took, ran.entries.iter().map(|entry| (entry.at, entry.record.clone())).collect::<Vec<_>>())
        })
    };
    assert_eq!(ran(true), ran(false));
}

/// Over sockets: what is sent is what a server reads, and no redirect is followed.
#[tokio::test]
async fn a_notice_is_one_post_over_the_network() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let came: Arc<Mutex<Vec<(String, String, Bytes)>>> = Arc::default();
    let all = came.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let all = all.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let all = all.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = http_body_util::BodyExt::collect(body).await?.to_bytes();
                    let path = parts.uri.path().to_owned();
                    let moved = path == "/moved";
                    all.lock().expect("no panic holds it").push((parts.method.to_string(), path, body));
                    let answer = Response::builder().status(if moved { 307 } else { 200 });
                    let answer =
                        answer.header(header::LOCATION, "/elsewhere").body(Full::new(Bytes::from("ok")));
                    Ok::<_, hyper::Error>(answer.expect("a response"))
                }
            });
            tokio::spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    let place = Place::new(HttpClient::network());
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let notices = place.notices(&[webhook("good", &url("/in")), webhook("moved", &url("/moved"))]).await;
    notices.tell(Notice::new(NoticeEvent::Finished, "it is over"));
    notices.close().await;
    let mut came = came.lock().expect("no panic holds it").clone();
    came.sort_by(|one, other| one.1.cmp(&other.1));
    let paths: Vec<(&str, &str)> =
        came.iter().map(|(method, path, _)| (method.as_str(), path.as_str())).collect();
    assert_eq!(paths, [("POST", "/in"), ("POST", "/moved")]);
    let sent: Value = serde_json::from_slice(&came[0].2).expect("JSON");
    assert_eq!((&sent["event"], &sent["message"]), (&json!("Finished"), &json!("it is over")));
    let troubles = place.troubles().await;
    assert!(troubles.len() == 1 && troubles[0].contains("307"), "{troubles:?}");
    assert_eq!(
        place
            .sim
            .store()
            .list_and_subscribe_everything()
            .0
            .iter()
            .filter(|one| one.kind.kind.as_ref() == "Event")
            .count(),
        1
    );
}
