//! Notices on the embedded cluster: whoever is told, and whatever comes back, nothing waits for it and nothing is said
//! that is secret.

mod day;
mod outside;
mod refused;

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use firedrill::{
    api::{API_VERSION, NoticeEvent, Notification},
    cluster::{Access, Write as Change},
    controller::notices::{About, Notice, Notices},
    env::{Clock, Env, FirstBytes, Guarded, HttpClient, HttpError, MemoryStorage, NoAgents, Rng},
    load,
    sim::{Sim, SimConfig},
    types::{ObjectRef, Verdict},
};
use http::{Request, Response, header};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::kit::{in_virtual_time, manifests};

/// A namespace whose account may read one Secret, and a Guardrail that lists one domain.
const PLACE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: drills, namespace: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: hooks, namespace: shop}
stringData: {slack: 'https://hooks.example.com/services/T0/geheim', key: 'geheim-too'}
---
apiVersion: v1
kind: Secret
metadata: {name: closed, namespace: shop}
stringData: {url: 'https://hooks.example.com/services/T0/geheim'}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: hooks, namespace: shop}
rules: [{apiGroups: [''], resources: [secrets], resourceNames: [hooks], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: hooks, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: hooks}
subjects: [{kind: ServiceAccount, name: drills, namespace: shop}]
---
apiVersion: firedrill.dev/v1alpha1
kind: Guardrail
metadata: {name: platform}
spec: {probeHosts: ['*.example.com', '127.0.0.1', '169.254.169.254']}
";

/// What came, and when since the beginning.
type Came = Arc<Mutex<Vec<(Duration, Request<Bytes>)>>>;

/// What is answered.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    /// 429 with so many seconds to wait.
    Later(u64),
    Never,
    NoConnection,
}

/// Whoever takes notices: answers by host and by how often it was asked.
fn world(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> (HttpClient, Came) {
    let (came, begun) = (Came::default(), Instant::now());
    let all = came.clone();
    let http = HttpClient::from_fn(move |request| {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let mut all = all.lock().expect("no panic holds it");
        let before = all.iter().filter(|(_, came)| came.uri().host() == Some(&host)).count();
        let url = request.uri().clone();
        all.push((begun.elapsed(), request));
        let answer = answer(&host, before);
        Box::pin(async move {
            match answer {
                Answer::Status(status) => Ok(response(status)),
                Answer::Later(seconds) => {
                    let mut later = response(429);
                    later.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                    Ok(later)
                }
                Answer::Never => std::future::pending().await,
                Answer::NoConnection => Err(HttpError::Unreachable(format!("{url}: connection refused"))),
            }
        })
    });
    (http, came)
}

fn response(status: u16) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::new()).expect("a response")
}

/// The place, with this as everything outside of it.
struct Place {
    sim: Sim,
    env: Env,
    access: Access,
}

impl Place {
    fn new(http: HttpClient) -> Self {
        let sim = Sim::new(&SimConfig::default());
        let mut objects = firedrill::api::crds::crds();
        objects.extend(manifests(PLACE));
        sim.apply_manifests(&objects).expect("accepted");
        let env = Env {
            clock: Clock::starting_at("2026-11-24T10:00:00Z".parse().expect("a time")),
            rng: Rng::new(1),
            kube: sim.client(),
            http,
            load: load::network(),
            storage: Arc::new(MemoryStorage::default()),
            agents: Arc::new(NoAgents("there are none")),
        };
        let access = Access::new(sim.client());
        Self { sim, env, access }
    }

    async fn about(&self) -> About {
        let account = ObjectRef::namespaced("v1", "ServiceAccount", "shop", "drills");
        let account = self.access.get(&account).await.expect("it is there");
        About {
            on: ObjectRef::namespaced(API_VERSION, "Run", "shop", "weekly-1"),
            game_day: "weekly".to_owned(),
            cluster: "embedded".to_owned(),
            people: Vec::new(),
            account: "drills".to_owned(),
            account_uid: account.metadata.uid.expect("it has one"),
        }
    }

    async fn notices(&self, notifications: &[Value]) -> Notices {
        Notices::new(&self.env, self.about().await, &read(notifications))
    }

    /// What Events say of what was not told.
    async fn troubles(&self) -> Vec<String> {
        // They are written beside everything else.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let like = ObjectRef::namespaced("v1", "Event", "shop", "");
        let events = self.access.list(&like, "").await.expect("they can be listed");
        let ours = events.iter().filter(|event| event.data["reason"] == "NotTold");
        ours.map(|event| event.data["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn read(notifications: &[Value]) -> Vec<Notification> {
    serde_json::from_value(Value::from(notifications)).expect("they are accepted")
}

fn webhook(name: &str, url: &str) -> Value {
    json!({"name": name, "webhook": {"url": url}})
}

fn body(request: &Request<Bytes>) -> Value {
    serde_json::from_slice(request.body()).expect("JSON")
}

/// All that came so far.
fn so_far(came: &Came) -> Vec<(Duration, Request<Bytes>)> {
    came.lock().expect("no panic holds it").clone()
}

fn hosts(came: &Came) -> Vec<String> {
    so_far(came).iter().map(|(_, request)| request.uri().host().unwrap_or_default().to_owned()).collect()
}

#[test]
fn each_is_told_what_it_wants_to_know_in_its_own_format() {
    in_virtual_time(async {
        let (http, came) = world(|_, _| Answer::Status(200));
        let place = Place::new(http);
        let secret = |key: &str| json!({"secretKeyRef": {"name": "hooks", "key": key}});
        let notices = place
            .notices(&[
                json!({"name": "team", "slack": {"webhookURL": secret("slack"), "channel": "#drills"}}),
                json!({"name": "steps", "events": ["ManualStep"], "webhook": {
                    "url": "https://steps.example.com/in", "headers": [
                        {"name": "X-Key", "valueFrom": secret("key")}, {"name": "X-Team", "value": "shop"}]}}),
            ])
            .await;
        notices.tell(Notice { step: "gate".to_owned(), ..Notice::new(NoticeEvent::ManualStep, "go?") });
        notices.tell(Notice { verdict: Some(Verdict::Passed), ..Notice::new(NoticeEvent::Finished, "") });
        notices.tell_one("steps", Notice::new(NoticeEvent::Upcoming, "it wants no such thing"));
        notices.close().await;
        notices.tell(Notice::new(NoticeEvent::Stuck, "nobody is told of what comes after the end"));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let came = so_far(&came);
        let of = |host: &str| {
            let mut of = came.iter().map(|(_, request)| request).filter(|one| one.uri().host() == Some(host));
            (of.next().expect("one came"), of.count())
        };
        let (slack, more) = of("hooks.example.com");
        assert_eq!((slack.uri().path(), more), ("/services/T0/geheim", 0));
        assert_eq!(body(slack)["channel"], "#drills");
        assert!(body(slack)["blocks"].is_array(), "{}", body(slack));
        let (steps, more) = of("steps.example.com");
        assert_eq!(
            (&steps.headers()["x-key"], &steps.headers()["x-team"], more),
            (&"geheim-too".parse().expect("a value"), &"shop".parse().expect("a value"), 0)
        );
        assert!(
            steps.headers()["x-key"].is_sensitive() && steps.headers()["content-type"] == "application/json"
        );
        assert_eq!((&body(steps)["event"], &body(steps)["step"]), (&json!("ManualStep"), &json!("gate")));
        assert_eq!(body(steps)["time"], "2026-11-24T10:00:00Z");
        for request in [slack, steps] {
            assert!(
                request.extensions().get::<Guarded>().is_some()
                    && request.extensions().get::<FirstBytes>().is_some()
            );
        }
        assert_eq!(place.troubles().await, Vec::<String>::new());
    });
}

#[test]
fn a_webhook_that_hangs_holds_up_nobody() {
    in_virtual_time(async {
        let (http, came) = world(|host, _| match host {
            "hangs.example.com" => Answer::Never,
            _ => Answer::Status(204),
        });
        let place = Place::new(http);
        let notices = place
            .notices(&[
                webhook("hangs", "https://hangs.example.com/"),
                webhook("team", "https://team.example.com/"),
            ])
            .await;
        let begun = Instant::now();
        notices.tell(Notice::new(NoticeEvent::Started, ""));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(hosts(&came).contains(&"team.example.com".to_owned()), "others are told at once");
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(hosts(&came).iter().filter(|host| *host == "hangs.example.com").count(), 4);
        let [trouble] = &place.troubles().await[..] else { panic!("{:?}", place.troubles().await) };
        assert!(trouble.contains("hangs") && trouble.contains("Started: no answer within 10s"), "{trouble}");
        // And its end is not waited for.
        notices.tell(Notice::new(NoticeEvent::Finished, ""));
        let begun = Instant::now();
        notices.close().await;
        assert!(begun.elapsed() <= Duration::from_secs(5), "{:?}", begun.elapsed());
        let troubles = place.troubles().await;
        assert!(troubles[1].contains("1 notice given up at the end of the run"), "{troubles:?}");
        let tries = so_far(&came).len();
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(so_far(&came).len(), tries, "nothing goes on");
    });
}

#[test]
fn what_may_pass_is_tried_again_and_nothing_else_is() {
    in_virtual_time(async {
        let (http, came) = world(|host, before| match (host, before) {
            ("busy.example.com", 0) => Answer::Status(503),
            ("busy.example.com", 1) => Answer::Later(7),
            ("gone.example.com", _) => Answer::Status(404),
            ("moved.example.com", _) => Answer::Status(302),
            _ => Answer::Status(200),
        });
        let place = Place::new(http);
        let urls =
            ["busy", "gone", "moved"].map(|name| webhook(name, &format!("https://{name}.example.com/x")));
        let notices = place.notices(&urls).await;
        let begun = Instant::now();
        notices.tell(Notice::new(NoticeEvent::Violated, ""));
        tokio::time::sleep(Duration::from_secs(60)).await;
        notices.close().await;
        assert_eq!(begun.elapsed().as_secs(), 60, "there was nothing left to wait for");
        let came = so_far(&came);
        let tries = |host: &str| -> Vec<(u64, Value)> {
            let of = came.iter().filter(|(_, request)| request.uri().host() == Some(host));
            of.map(|(at, request)| (at.as_secs(), body(request)["id"].clone())).collect()
        };
        let busy = tries("busy.example.com");
        assert_eq!(busy.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1, 8], "{busy:?}");
        assert!(busy.iter().all(|(_, id)| *id == busy[0].1), "{busy:?}");
        assert_eq!((tries("gone.example.com").len(), tries("moved.example.com").len()), (1, 1));
        let mut troubles = place.troubles().await;
        troubles.sort();
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert!(
            troubles[0].contains("it answers 404") && troubles[1].contains("redirects are not followed"),
            "{troubles:?}"
        );
    });
}

/// The controller of this test may read every Secret there is: it does not.
#[test]
fn secrets_are_read_as_the_account_and_one_that_it_may_not_read_ends_nothing() {
    in_virtual_time(async {
        let (http, came) = world(|_, _| Answer::Status(200));
        let place = Place::new(http);
        let of = |name: &str, key: &str| json!({"webhookURL": {"secretKeyRef": {"name": name, "key": key}}});
        let notifications = [
            json!({"name": "closed", "slack": of("closed", "url")}),
            json!({"name": "absent", "slack": of("hooks", "nothing")}),
            json!({"name": "team", "slack": of("hooks", "slack")}),
        ];
        let notices = place.notices(&notifications).await;
        // Twice: what is wrong in the same way is said once.
        for event in [NoticeEvent::Started, NoticeEvent::Finished] {
            notices.tell(Notice::new(event, ""));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(hosts(&came), ["hooks.example.com"; 2]);
        let mut troubles = place.troubles().await;
        troubles.sort();
        assert!(troubles[0].contains("key nothing: there is no such key"), "{troubles:?}");
        assert!(
            troubles[1].contains("secret/shop/closed") && troubles[1].contains("not allowed"),
            "{troubles:?}"
        );
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        // An account of the same name that is not the same one reads nothing.
        let account = ObjectRef::namespaced("v1", "ServiceAccount", "shop", "drills");
        place.access.delete(&account, false).await.expect("it is deleted");
        let body = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "drills", "namespace": "shop"}});
        place.access.create(&account, body, Change::default()).await.expect("it is created");
        notices.tell(Notice::new(NoticeEvent::Stuck, ""));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(hosts(&came).len(), 2);
        assert!(
            place.troubles().await.iter().any(|words| words.contains("drills") && words.contains("is gone"))
        );
    });
}

#[test]
fn only_hosts_that_a_guardrail_lists_are_told_and_no_link_local_one_is() {
    in_virtual_time(async {
        let (http, came) = world(|_, _| Answer::Status(200));
        let place = Place::new(http);
        let urls = [
            webhook("listed", "https://hooks.example.com/"),
            webhook("other", "https://hooks.example.org/"),
            webhook("metadata", "http://169.254.169.254/latest/"),
            webhook("inside", "http://relay.ops.svc:8080/in"),
        ];
        let notices = place.notices(&urls).await;
        notices.tell(Notice::new(NoticeEvent::Started, ""));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let told = |came: &Came| {
            let mut hosts = hosts(came);
            hosts.sort();
            hosts
        };
        assert_eq!(told(&came), ["hooks.example.com", "relay.ops.svc"]);
        let troubles = place.troubles().await;
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert!(
            troubles
                .iter()
                .all(|words| words.contains("may not reach its host") && words.contains("probeHosts"))
        );
        // What is taken off the list is not told any more: it is looked at each time.
        let rail = ObjectRef::namespaced(API_VERSION, "Guardrail", "", "platform");
        place.access.delete(&rail, false).await.expect("it is deleted");
        notices.tell(Notice::new(NoticeEvent::Finished, ""));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(told(&came), ["hooks.example.com", "relay.ops.svc", "relay.ops.svc"]);
    });
}

#[test]
fn more_than_can_wait_is_left_out_and_said() {
    in_virtual_time(async {
        let (http, _) = world(|_, _| Answer::Never);
        let place = Place::new(http);
        let notices = place.notices(&[webhook("team", "https://team.example.com/")]).await;
        let begun = Instant::now();
        for _ in 0..100 {
            notices.tell(Notice::new(NoticeEvent::Violated, ""));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let left_out = place.troubles().await;
        assert_eq!(left_out.len(), 68, "32 wait");
        assert!(left_out[0].contains("Violated is left out: 32 others wait already"), "{}", left_out[0]);
        notices.close().await;
        assert!(place.troubles().await.iter().any(|words| words.contains("32 notices given up")));
    });
}

/// A place that logs are written to.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic holds it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// In a process of its own: what is logged is decided for all threads of one.
#[test]
fn nothing_secret_is_in_a_log_or_an_event() {
    const ALONE: &str = "FIREDRILL_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().expect("it has a path"));
        alone.args(["controller::notices::nothing_secret_is_in_a_log_or_an_event", "--exact"]);
        let output = alone.env(ALONE, "1").output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let logs = Logs::default();
    let writer = logs.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), || {
        in_virtual_time(async {
            let (http, _) = world(|_, _| Answer::NoConnection);
            let place = Place::new(http);
            let secret = |key: &str| json!({"secretKeyRef": {"name": "hooks", "key": key}});
            let notices = place
                .notices(&[
                    json!({"name": "slack", "slack": {"webhookURL": secret("slack")}}),
                    json!({"name": "wrong", "webhook": {"urlFrom": secret("key")}}),
                    json!({"name": "header", "webhook": {"url": "https://team.example.com/geheim/path",
                        "headers": [{"name": "X-Key", "valueFrom": secret("key")}]}}),
                ])
                .await;
            notices.tell(Notice::new(NoticeEvent::Started, ""));
            tokio::time::sleep(Duration::from_secs(120)).await;
            let troubles = place.troubles().await;
            assert_eq!(troubles.len(), 3, "{troubles:?}");
            for words in &troubles {
                assert!(!words.contains("geheim"), "{words}");
            }
        });
    });
    let logs = String::from_utf8(logs.0.lock().expect("no panic holds it").clone()).expect("text");
    assert!(logs.contains("not told") && logs.contains("notification slack"), "{logs}");
    let ours: Vec<&str> = logs.lines().filter(|line| line.contains("geheim")).collect();
    assert_eq!(ours, Vec::<&str>::new());
}
