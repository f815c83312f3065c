//! What doctor says of an installation, as the real API server gives it back: with everything that it fills in.

use std::sync::Arc;

use firedrill::{
    cluster::WebSockets,
    controller::{
        installation::{self, Looked},
        manifests::{Installed, Part, manifests},
    },
    env::{Clock, Env, HttpClient, MemoryStorage, Rng},
    types::AgentSettings,
};
use http::Request;
use serde_json::{Value, json};

use super::{
    agents::apply,
    policies::{installed, removed},
};
use crate::scenarios::{bench::Real, blocking};

const AGENTS: &str = "doctor-agents";

fn deployment() -> Value {
    let labels = json!({"app": "doctor"});
    let args = ["controller".to_owned(), format!("--agent-namespace={AGENTS}")];
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "doctor", "namespace": "firedrill"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"serviceAccountName": "firedrill",
                "containers": [{"name": "controller", "image": "firedrill", "args": args}]}}}})
}

async fn look(real: &Real) -> Vec<Looked> {
    let kube = real.client();
    let env = Env {
        clock: Clock::system(),
        rng: Rng::new(1),
        agents: Arc::new(WebSockets::new(kube.clone())),
        kube,
        http: HttpClient::network(),
        load: firedrill::load::network(),
        storage: Arc::new(MemoryStorage::default()),
    };
    installation::examine(&env, "firedrill", None).await
}

/// What, and what is wrong with it.
fn said(all: &[Looked]) -> Vec<(&'static str, Vec<String>)> {
    let parts = ["kinds", "rights", "policies", "stamp", "nodes", "agents"];
    let parts = all.iter().filter(|one| parts.contains(&one.what));
    parts.map(|one| (one.what, one.findings.iter().map(ToString::to_string).collect())).collect()
}

async fn ask(real: &Real, method: &str, path: &str, body: &Value) {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/merge-patch+json");
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).expect("plain data") };
    let _ = real.client().request::<Value>(request.body(body).expect("a request")).await;
}

#[test]
fn what_was_just_installed_is_as_this_version_has_it() {
    let Some(real) = Real::from_env("what doctor says of an installation") else { return };
    blocking(async {
        installed(&real).await;
        let settings = AgentSettings { namespace: AGENTS.to_owned(), ..AgentSettings::default() };
        let agents = Installed { agents: Some(settings), ..Installed::default() };
        apply(&real.client(), &manifests(Part::Agents, &agents)).await;
        apply(&real.client(), &[deployment()]).await;
        let fine = look(&real).await;
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let role = format!("{rbac}/clusterroles/firedrill:controller");
        ask(&real, "PATCH", &role, &json!({"rules": []})).await;
        let policy =
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/gamedays.firedrill.dev";
        ask(&real, "PATCH", policy, &json!({"spec": {"failurePolicy": "Ignore"}})).await;
        let other = look(&real).await;
        for path in [
            "/apis/apps/v1/namespaces/firedrill/deployments/doctor".to_owned(),
            format!("/api/v1/namespaces/{AGENTS}"),
        ] {
            ask(&real, "DELETE", &path, &Value::Null).await;
        }
        for kind in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
            for part in ["", "-doors", "-users"] {
                let group = "/apis/admissionregistration.k8s.io/v1";
                let path = format!("{group}/{kind}/{AGENTS}{part}.firedrill.dev");
                ask(&real, "DELETE", &path, &Value::Null).await;
            }
        }
        removed(&real).await;
        for (what, findings) in said(&fine) {
            assert_eq!(findings, Vec::<String>::new(), "{what}");
        }
        let found = |what: &str, subject: &str| {
            let looked = other.iter().find(|one| one.what == what).expect("it is looked at");
            looked.findings.iter().any(|finding| finding.subject.contains(subject))
        };
        assert!(found("rights", "clusterrole/firedrill:controller"), "{other:?}");
        assert!(found("policies", "gamedays.firedrill.dev"), "{other:?}");
    });
}
