//! What pods say to the API server's proxy.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use super::Code;
use super::reach::Found;
use super::visits::{Visit, Visited};
use super::wiring::{ClusterMetrics, ServiceView, State, micros};
use crate::sim::apiserver::{AskedService, Services};

/// How long the API server tries to connect: `CreateProxyTransport` (pkg/controlplane/apiserver/config.go) takes the dialer
/// of net/http's DefaultTransport, which has 30 s.
const DIAL: Duration = Duration::from_secs(30);
/// What a server of TLS says to plain HTTP (Go's net/http, `badRequestError` of server.go).
const SPOKEN_TO_IN_PLAIN: &str = "Client sent an HTTP request to an HTTPS server.\n";
/// How often somebody who waits for a calling pod looks whether it has died.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl ClusterMetrics {
    /// What pods answer to the API server's proxy: 200, 503 when their queue is full, or what a call that failed makes
    /// of it.
    pub fn services(self: &Arc<Self>) -> Services {
        let metrics = self.clone();
        Arc::new(move |asked| {
            let metrics = metrics.clone();
            Box::pin(async move { metrics.visit(asked).await })
        })
    }

    /// One request to a Service. The words of a failure are those of a real API server.
    async fn visit(&self, asked: AskedService) -> Result<Response<Bytes>, String> {
        let now = micros(&self.store);
        let visit = match self.lock().visit(&asked, now) {
            Ok(visit) => visit,
            Err(Found::Plain) => {
                let why = "http: server gave HTTP response to HTTPS client";
                return Err(format!("error trying to reach service: {why}"));
            }
            Err(_) => return Ok(said(StatusCode::BAD_REQUEST, SPOKEN_TO_IN_PLAIN, "text/plain")),
        };
        let broken = || Err("error trying to reach service: EOF".to_owned());
        match visit {
            Visit::NoEndpoint => Err(format!("no endpoints available for service \"{}\"", asked.name)),
            Visit::Refused => {
                Err("error trying to reach service: dial tcp: connect: connection refused".to_owned())
            }
            Visit::Dropped => {
                tokio::time::sleep(DIAL).await;
                Err("error trying to reach service: dial tcp: i/o timeout".to_owned())
            }
            Visit::Full => Ok(answer(Code::Unavailable)),
            Visit::Taken { finish, process } => {
                tokio::time::sleep(Duration::from_micros(finish.saturating_sub(now))).await;
                if self.lock().traffic.lives(process, micros(&self.store)) {
                    return Ok(answer(Code::Ok));
                }
                broken()
            }
            Visit::Working { ticket } => loop {
                let now = micros(&self.store);
                let visited = self.lock().traffic.visited(ticket, now);
                match visited {
                    Visited::Answered(code) => return Ok(answer(code)),
                    Visited::Lost => return broken(),
                    // What changes meanwhile may end it sooner, so not too long; and not less than a timer can.
                    Visited::NotBefore(next) => {
                        let wait = Duration::from_micros(next.saturating_sub(now));
                        tokio::time::sleep(wait.clamp(Duration::from_millis(1), LOOK_AGAIN)).await;
                    }
                }
            },
        }
    }
}

impl State {
    /// The API server goes to ready endpoints only, and knows of them at once. Err: they speak another language.
    fn visit(&mut self, asked: &AskedService, now: u64) -> Result<Visit, Found> {
        let view = self.services.get(&(asked.namespace.clone(), asked.name.clone()));
        let uids = view.map(ServiceView::ready).unwrap_or_default();
        let ports = view.map(ServiceView::ports).unwrap_or_default();
        let port = ports.iter().find(|port| asked.port.is_none_or(|asked| asked == port.port));
        match port.map_or(Found::Open, |port| Found::of(&ports, port.port, asked.tls)) {
            Found::Open => Ok(self.traffic.visit((&uids, port.map_or(0, |port| port.behind)), now)),
            other => Err(other),
        }
    }
}

/// What a pod says to the API server's proxy.
fn answer(code: Code) -> Response<Bytes> {
    let (status, body) = match code {
        Code::Ok => (StatusCode::OK, r#"{"ok":true}"#),
        Code::BadGateway => (StatusCode::BAD_GATEWAY, r#"{"ok":false}"#),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, r#"{"ok":false}"#),
        Code::Timeout => (StatusCode::GATEWAY_TIMEOUT, r#"{"ok":false}"#),
    };
    said(status, body, "application/json")
}

fn said(status: StatusCode, body: &'static str, language: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(language));
    answer
}
