//! Acting as a ServiceAccount: the file's account is the authority, not the controller.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::Value;

use super::{Access, ApiError};
use crate::types::ObjectRef;

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

/// A client that acts as `user` over `client`, but for what is the controller's own to know: Guardrails, and
/// which namespaces there are.
pub fn client_as(client: &Client, user: &str, acting: &Acting) -> Client {
    let (inner, acting) = (client.clone(), acting.clone());
    // A name that no header holds is none of a ServiceAccount; the server refuses the empty one.
    let user = HeaderValue::from_str(user).unwrap_or_else(|_| HeaderValue::from_static("-"));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, acting, user) = (inner.clone(), acting.clone(), user.clone());
        async move {
            let (mut request, own) = told_apart(request).await?;
            if !acting.is_controller() && !own {
                request.headers_mut().insert(AS, user);
            }
            inner.send(request).await
        }
    });
    Client::new(service, client.default_namespace())
}

/// A request, and whether it is the controller's own. Whether somebody may read what the controller reads is asked of
/// the controller too.
async fn told_apart(request: Request<Body>) -> Result<(Request<Body>, bool), kube::Error> {
    if request.method() != Method::POST || !request.uri().path().ends_with("/selfsubjectaccessreviews") {
        let own = own(&request);
        return Ok((request, own));
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let asked = &review["spec"]["resourceAttributes"];
    let own =
        asked["group"] == "firedrill.dev" && matches!(asked["verb"].as_str(), Some("get" | "list" | "watch"));
    Ok((Request::from_parts(parts, Body::from(body)), own))
}

/// What every run has to know, and no account has to be given rights for.
fn own(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let space = path.strip_prefix("/api/v1/namespaces").is_some_and(|rest| rest.matches('/').count() <= 1);
    request.method() == Method::GET && (space || path.starts_with("/apis/firedrill.dev/"))
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
    fn only_guardrails_and_namespaces_are_read_as_the_controller() {
        let asked = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty());
            own(&request.expect("a request"))
        };
        assert!(asked(Method::GET, "/apis/firedrill.dev/v1alpha1/guardrails"));
        assert!(asked(Method::GET, "/api/v1/namespaces?watch=1"));
        assert!(asked(Method::GET, "/api/v1/namespaces/kube-system"));
        for path in [
            "/api/v1/namespaces/shop/pods",
            "/api/v1/namespaces/shop/secrets/key",
            "/apis/apps/v1/deployments",
        ] {
            assert!(!asked(Method::GET, path), "{path}");
        }
        assert!(!asked(Method::PATCH, "/api/v1/namespaces/shop"));
    }

    #[tokio::test]
    async fn what_the_controller_reads_itself_it_asks_for_itself() {
        let asked = async |group: &str, verb: &str| {
            let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let review = serde_json::json!({"spec": {"resourceAttributes": {"group": group, "verb": verb}}})
                .to_string();
            let request = Request::post(path).body(Body::from(review.clone().into_bytes()));
            let (request, own) = told_apart(request.expect("a request")).await.expect("it can be read");
            let body = request.into_body().collect().await.expect("it is still there").to_bytes();
            assert_eq!(body, review.as_bytes());
            own
        };
        assert!(asked("firedrill.dev", "watch").await);
        assert!(!asked("firedrill.dev", "create").await);
        assert!(!asked("apps", "patch").await);
    }
}
