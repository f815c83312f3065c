//! Counts the calls to the API server, where they leave the client.

use http::{Method, Request, StatusCode};
use kube::{Client, client::Body};

use super::Metrics;

/// A call under way: whatever becomes of it, it is counted once.
struct Call {
    metrics: Metrics,
    verb: &'static str,
    code: &'static str,
}

impl Call {
    fn answered(&mut self, status: StatusCode) {
        self.code = class(status);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.called(self.verb, self.code);
    }
}

impl Metrics {
    /// The same client, whose calls are counted, those that it makes as somebody else too.
    pub fn counting(&self, client: &Client) -> Client {
        let (inner, metrics) = (client.clone(), self.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let inner = inner.clone();
            // None: nobody has answered, or nobody waits any more.
            let mut call = Call { metrics: metrics.clone(), verb: verb(&request), code: "none" };
            async move {
                let answer = inner.send(request).await;
                if let Ok(answer) = &answer {
                    call.answered(answer.status());
                }
                answer
            }
        });
        Client::new(service, client.default_namespace())
    }
}

/// As RBAC calls it, but that a list is a get: the request itself does not tell the two apart.
fn verb<B>(request: &Request<B>) -> &'static str {
    let watches = || request.uri().query().is_some_and(|query| query.contains("watch="));
    match *request.method() {
        Method::GET if watches() => "watch",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// Too many requests, or a budget in the way, is told from what else is refused: one waits then.
fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "429",
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::{Api, api::ListParams};

    use super::*;

    /// An API server that gives these answers, and then none.
    fn answers(codes: &'static [u16]) -> Client {
        let mut left = codes.iter();
        let service = tower::service_fn(move |_: Request<Body>| {
            let code = left.next().copied();
            async move {
                let Some(code) = code else { return std::future::pending().await };
                let body = r#"{"apiVersion": "v1", "kind": "NamespaceList", "metadata": {}, "items": []}"#;
                let answer = Response::builder().status(code).body(Body::from(body.as_bytes().to_vec()));
                Ok::<_, Infallible>(answer.expect("an answer"))
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_is_counted_once_also_when_nobody_answers() {
        let metrics = Metrics::default();
        let spaces: Api<Namespace> = Api::all(metrics.counting(&answers(&[200, 200, 429, 503])));
        for _ in 0..4 {
            let _ = spaces.list(&ListParams::default()).await;
        }
        let (all, second) = (ListParams::default(), std::time::Duration::from_secs(1));
        assert!(tokio::time::timeout(second, spaces.list(&all)).await.is_err(), "nobody answers");
        let text = metrics.render();
        for (code, count) in [("2xx", 2), ("429", 1), ("5xx", 1), ("none", 1)] {
            let line = format!("firedrill_api_requests_total{{verb=\"get\",code=\"{code}\"}} {count}\n");
            assert!(text.contains(&line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn verbs_are_few() {
        let asked = |method: Method, path: &str| {
            verb(&Request::builder().method(method).uri(path).body(()).expect("a request"))
        };
        assert_eq!(asked(Method::GET, "/api/v1/pods?watch=true&limit=1"), "watch");
        assert_eq!(asked(Method::GET, "/api/v1/pods"), "get");
        assert_eq!(asked(Method::POST, "/api/v1/namespaces/shop/pods/a/eviction"), "create");
        assert_eq!(asked(Method::OPTIONS, "/"), "other");
    }
}
