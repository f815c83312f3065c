//! Acting as a ServiceAccount: the file's account is the authority, not the controller.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderName, HeaderValue, Method, Request};
use kube::{Client, client::Body};

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
    let service = tower::service_fn(move |mut request: Request<Body>| {
        if !acting.is_controller() && !own(&request) {
            request.headers_mut().insert(AS, user.clone());
        }
        let inner = inner.clone();
        async move { inner.send(request).await }
    });
    Client::new(service, client.default_namespace())
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
}
