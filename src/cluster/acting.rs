//! Acting as a ServiceAccount: the file's account is the authority, not the controller.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::Value;

use super::{Access, ApiError, lease};
use crate::types::{ObjectRef, is_agent_name};

/// The header that both forms of impersonation use. Groups are never sent: the server adds those of the
/// account, and to name one would need more rights.
const AS: HeaderName = HeaderName::from_static("impersonate-user");

/// Whom a client acts as, to be changed while it is in use.
#[derive(Clone, Debug, Default)]
pub struct Acting(Arc<AtomicBool>);

impl Acting {
    /// From now on as the controller itself: the account is gone, or has lost its rights, and what is in force
    /// has to go back all the same. There is no way back.
    pub fn as_controller(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it acts as the controller itself.
    pub fn is_controller(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The user name of a ServiceAccount.
pub fn account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Namespace and name of the ServiceAccount that a user is; None: it is none.
pub fn account_of(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// The UID of a ServiceAccount; None if it is not there. One that is deleted can still be impersonated: nobody
/// but us looks.
///
/// # Errors
/// The API server's.
pub async fn account_uid(access: &Access, namespace: &str, name: &str) -> Result<Option<String>, ApiError> {
    match access.get(&ObjectRef::namespaced("v1", "ServiceAccount", namespace, name)).await {
        Ok(found) if found.metadata.deletion_timestamp.is_some() => Ok(None),
        Ok(found) => Ok(found.metadata.uid),
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A client that acts as `user` over `client`, but for what is the controller's own to know, Guardrails, which
/// namespaces there are and which runs are at work in them, and its own to do: pods of agents in the namespace `agents`,
/// where no file's account has any right.
pub fn client_as(client: &Client, user: &str, acting: &Acting, agents: &str) -> Client {
    let (inner, acting, agents) = (client.clone(), acting.clone(), agents.to_owned());
    // A name that no header holds is none of a ServiceAccount; the server refuses the empty one.
    let user = HeaderValue::from_str(user).unwrap_or_else(|_| HeaderValue::from_static("-"));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, acting, user, agents) = (inner.clone(), acting.clone(), user.clone(), agents.clone());
        async move {
            let (mut request, own) = told_apart(request, &agents).await?;
            if !acting.is_controller() && !own {
                request.headers_mut().insert(AS, user);
            }
            inner.send(request).await
        }
    });
    Client::new(service, client.default_namespace())
}

/// A request, and whether it is the controller's own. Whether somebody may do what the controller does is asked of the
/// controller too.
async fn told_apart(request: Request<Body>, agents: &str) -> Result<(Request<Body>, bool), kube::Error> {
    if request.method() != Method::POST || !request.uri().path().ends_with("/selfsubjectaccessreviews") {
        let own = own(&request, agents);
        return Ok((request, own));
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let asked = &review["spec"]["resourceAttributes"];
    let reads =
        asked["group"] == "firedrill.dev" && matches!(asked["verb"].as_str(), Some("get" | "list" | "watch"));
    let places = asked["namespace"] == agents && asked["resource"] == "pods" && !agents.is_empty();
    let own = reads || places;
    Ok((Request::from_parts(parts, Body::from(body)), own))
}

/// What every run has to know or do, and no account has to be given rights for.
fn own(request: &Request<Body>, agents: &str) -> bool {
    let path = request.uri().path();
    let space = path.strip_prefix("/api/v1/namespaces").is_some_and(|rest| rest.matches('/').count() <= 1);
    let known = space || path.starts_with("/apis/firedrill.dev/") || of_leases(path, request.uri().query());
    (known && request.method() == Method::GET) || of_agents(request.method(), path, agents)
}

/// Whether the leases of runs are listed in the whole cluster: a Guardrail may bound how many are at work.
fn of_leases(path: &str, query: Option<&str>) -> bool {
    let ours = format!("fieldSelector=metadata.name%3D{}", lease::NAME);
    path == "/apis/coordination.k8s.io/v1/leases"
        && query.is_some_and(|query| query.split('&').any(|one| one == ours) && !query.contains("watch="))
}

/// Whether an agent's pod is made, looked at or deleted there, and nothing else.
fn of_agents(method: &Method, path: &str, agents: &str) -> bool {
    let pods = path.strip_prefix("/api/v1/namespaces/").and_then(|rest| rest.strip_prefix(agents));
    let Some(rest) = pods.and_then(|rest| rest.strip_prefix("/pods")).filter(|_| !agents.is_empty()) else {
        return false;
    };
    let mut parts = rest.trim_start_matches('/').split('/');
    match (parts.next().unwrap_or_default(), parts.next(), parts.next()) {
        ("", None, None) => *method == Method::POST,
        (name, None, None) => is_agent_name(name) && matches!(*method, Method::GET | Method::DELETE),
        (name, Some("log"), None) => is_agent_name(name) && *method == Method::GET,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_told_from_its_user() {
        assert_eq!(account_of(&account_user("shop", "drills")), Some(("shop", "drills")));
        assert_eq!(account_of("ada"), None);
    }

    #[test]
    fn only_guardrails_namespaces_and_runs_at_work_are_read_as_the_controller() {
        let asked = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty());
            own(&request.expect("a request"), "firedrill-agents")
        };
        assert!(asked(Method::GET, "/apis/firedrill.dev/v1alpha1/guardrails"));
        assert!(asked(Method::GET, "/api/v1/namespaces?watch=1"));
        assert!(asked(Method::GET, "/api/v1/namespaces/kube-system"));
        let leases = "/apis/coordination.k8s.io/v1/leases?fieldSelector=metadata.name%3Dfiredrill";
        assert!(asked(Method::GET, &format!("{leases}&limit=500")));
        assert!(!asked(Method::DELETE, leases) && !asked(Method::GET, &format!("{leases}-2")));
        for path in [
            "/apis/coordination.k8s.io/v1/leases",
            "/apis/coordination.k8s.io/v1/leases?labelSelector=a%3Db",
            "/apis/coordination.k8s.io/v1/leases?watch=1&fieldSelector=metadata.name%3Dfiredrill",
            "/apis/coordination.k8s.io/v1/namespaces/shop/leases?fieldSelector=metadata.name%3Dfiredrill",
            "/api/v1/namespaces/shop/pods",
            "/api/v1/namespaces/shop/secrets/key",
            "/apis/apps/v1/deployments",
        ] {
            assert!(!asked(Method::GET, path), "{path}");
        }
        assert!(!asked(Method::PATCH, "/api/v1/namespaces/shop"));
    }

    /// What a file could aim at is not among it.
    #[test]
    fn of_the_agents_namespace_only_pods_of_agents_are_the_controllers_own() {
        let asked = |method: &Method, rest: &str, agents: &str| {
            of_agents(method, &format!("/api/v1/namespaces/firedrill-agents/{rest}"), agents)
        };
        let agent = "pods/firedrill-agent-0a1b2c3d";
        let log = format!("{agent}/log");
        for (method, rest) in
            [(Method::POST, "pods"), (Method::GET, agent), (Method::DELETE, agent), (Method::GET, &*log)]
        {
            assert!(asked(&method, rest, "firedrill-agents"), "{method} {rest}");
            assert!(!asked(&method, rest, "other") && !asked(&method, rest, ""), "{method} {rest}");
        }
        let exec = format!("{agent}/exec");
        for (method, rest) in [
            (Method::GET, "pods"),
            (Method::DELETE, "pods"),
            (Method::DELETE, "pods/web-1"),
            (Method::PATCH, agent),
            (Method::POST, &*exec),
            (Method::GET, "secrets/key"),
            (Method::POST, "configmaps"),
            (Method::GET, "podsx/firedrill-agent-0a1b2c3d"),
        ] {
            assert!(!asked(&method, rest, "firedrill-agents"), "{method} {rest}");
        }
    }

    #[tokio::test]
    async fn what_the_controller_reads_itself_it_asks_for_itself() {
        let asked = async |group: &str, verb: &str| {
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let review = serde_json::json!({"spec": {"resourceAttributes": {
                "group": group, "verb": verb, "resource": "pods", "namespace": if group.is_empty() { "agents" } else { "shop" },
            }}});
            let review = review.to_string();
            let request = Request::post(path).body(Body::from(review.clone().into_bytes()));
            let told = told_apart(request.expect("a request"), "agents").await;
            let (request, own) = told.expect("it can be read");
            let body = request.into_body().collect().await.expect("it is still there").to_bytes();
            assert_eq!(body, review.as_bytes());
            own
        };
        assert!(asked("firedrill.dev", "watch").await);
        assert!(!asked("firedrill.dev", "create").await);
        assert!(!asked("apps", "patch").await);
        assert!(asked("", "create").await, "pods of the agents' namespace");
    }
}
