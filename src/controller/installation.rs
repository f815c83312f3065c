//! What of the controller is in a cluster, looked at from outside: definitions, policies, replicas, Guardrails.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::manifests::{Installed, Part, manifests};
use crate::{
    api::{API_VERSION, crds},
    cluster::{Access, ApiError, LEASE_LABEL, LeaseSeen, leases_in},
    types::{Finding, ObjectRef, codes::guard as code, counted},
};

/// A replica renews its Lease every 2 s; one that has not for so long, by a clock that may be off, is none.
const RENEWED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// Something that was looked at.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// What: `kinds`, `policies`, `controller`, `guardrails`.
    pub what: &'static str,
    /// What is there, in words.
    pub found: String,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// Looks at the installation in `namespace`, with the rights of whoever asks. Changes nothing.
pub async fn examine(access: &Access, namespace: &str, now: Timestamp) -> Vec<Looked> {
    vec![
        kinds(access).await,
        policies(access, namespace).await,
        replicas(access, namespace, now).await,
        guardrails(access).await,
    ]
}

fn unreadable(subject: &str, error: &ApiError) -> Finding {
    Finding::warning(code::INSTALLATION, subject, format!("it cannot be read: {error}"))
        .remedy("ask somebody who may")
}

/// The definitions are those of this version.
async fn kinds(access: &Access) -> Looked {
    let remedy = "firedrill crds | kubectl apply --server-side -f -";
    let mut findings = Vec::new();
    let all = crds::crds();
    for crd in &all {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        let subject = format!("customresourcedefinition/{name}");
        let object = definition(name);
        match access.get(&object).await {
            Ok(found) if schema(&found.data) == schema(crd) => {}
            Ok(_) => {
                let message = "it is of another version than this program";
                findings.push(Finding::warning(code::INSTALLATION, subject, message).remedy(remedy));
            }
            Err(ApiError::NotFound) => {
                let message = "the cluster does not know this kind";
                findings.push(Finding::error(code::INSTALLATION, subject, message).remedy(remedy));
            }
            Err(error) => findings.push(unreadable(&subject, &error)),
        }
    }
    let fine = all.len() - findings.len();
    Looked { what: "kinds", found: format!("{fine} of {} as this version has them", all.len()), findings }
}

fn definition(name: &str) -> ObjectRef {
    ObjectRef::namespaced("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", name)
}

/// The schema of the one version.
fn schema(crd: &Value) -> Option<&Value> {
    crd.pointer("/spec/versions/0/schema")
}

/// The policies over who writes what are there.
async fn policies(access: &Access, namespace: &str) -> Looked {
    let installed = Installed { namespace: namespace.to_owned(), ..Installed::default() };
    let mut findings = Vec::new();
    let all = manifests(Part::Policies, &installed);
    for policy in &all {
        let text = |at: &str| policy.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let subject = format!("{}/{name}", kind.to_lowercase());
        match access.get(&ObjectRef::namespaced(text("/apiVersion"), kind, "", name)).await {
            Ok(_) => {}
            Err(ApiError::NotFound) => {
                let message = "it is not there, so that authors are not held to their own rights";
                findings.push(Finding::warning(code::INSTALLATION, subject, message).remedy(
                    "firedrill controller manifests | kubectl apply --server-side -f -, or the chart",
                ));
            }
            Err(error) => findings.push(unreadable(&subject, &error)),
        }
    }
    let fine = all.len() - findings.len();
    Looked { what: "policies", found: format!("{fine} of {} objects are there", all.len()), findings }
}

/// Somebody does what Runs ask for.
async fn replicas(access: &Access, namespace: &str, now: Timestamp) -> Looked {
    let what = "controller";
    let leases = match access.list(&leases_in(namespace), LEASE_LABEL).await {
        Ok(leases) => leases,
        Err(error) => {
            let findings = vec![unreadable(&format!("namespace/{namespace}"), &error)];
            return Looked { what, found: "unknown".to_owned(), findings };
        }
    };
    let mut alive = Vec::new();
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for lease in &leases {
        let renewed = lease.data.pointer("/spec/renewTime").and_then(Value::as_str);
        let renewed = renewed.and_then(|at| at.parse::<Timestamp>().ok());
        match LeaseSeen::read(lease) {
            Some(LeaseSeen::Replica { name, fenced: false, .. })
                if renewed.is_some_and(|at| now.duration_since(at) <= RENEWED_WITHIN) =>
            {
                alive.push(name);
            }
            Some(LeaseSeen::Claim { holder, .. }) => *runs.entry(holder).or_default() += 1,
            _ => {}
        }
    }
    let at_work: usize = runs.values().sum();
    let mut findings = Vec::new();
    if alive.is_empty() {
        let message = "no replica has renewed its Lease within a minute: nobody takes up Runs";
        let finding = Finding::error(code::INSTALLATION, format!("namespace/{namespace}"), message);
        findings.push(
            finding.remedy(format!("kubectl get pods -n {namespace}; helm install, or firedrill controller")),
        );
    }
    let lost = runs.keys().filter(|holder| !alive.contains(holder)).count();
    if lost > 0 && !alive.is_empty() {
        let message = format!(
            "{} held by replicas that are gone; they are taken over within 15 s",
            counted(lost, "claim")
        );
        findings.push(Finding::warning(code::INSTALLATION, format!("namespace/{namespace}"), message));
    }
    let found =
        format!("{} at work, {} in their hands", counted(alive.len(), "replica"), counted(at_work, "run"));
    Looked { what, found, findings }
}

/// What holds everybody up.
async fn guardrails(access: &Access) -> Looked {
    let what = "guardrails";
    let listed = match access.list_if_served(API_VERSION, "Guardrail").await {
        Ok(listed) => listed.unwrap_or_default(),
        Err(error) => {
            return Looked { what, found: "unknown".to_owned(), findings: vec![unreadable(what, &error)] };
        }
    };
    let mut findings = Vec::new();
    for guardrail in &listed {
        if guardrail.data.pointer("/spec/halt") == Some(&Value::Bool(true)) {
            let name = guardrail.metadata.name.as_deref().unwrap_or_default();
            let subject = format!("guardrail/{name}");
            let finding =
                Finding::warning(code::INSTALLATION, subject, "it halts: no run that it covers begins");
            findings.push(
                finding.remedy(format!("firedrill unhalt --guardrail {name}, when the reason is gone")),
            );
        }
    }
    Looked { what, found: counted(listed.len(), "Guardrail"), findings }
}
