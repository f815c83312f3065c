//! What of the controller is in a cluster, looked at from outside: definitions, rights, policies, replicas, where it
//! asks for metrics, Guardrails. What is to be there is what this version's manifests say.

mod deployed;
mod difference;
mod parts;
mod source;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use self::deployed::Deployed;
use crate::{
    api::{API_VERSION, crds},
    cluster::{Access, ApiError, LEASE_LABEL, LeaseSeen, leases_in},
    env::Env,
    types::{Finding, ObjectRef, codes::guard as code, counted},
};

/// A replica renews its Lease every 2 s; one that has not for so long, by a clock that may be off, is none.
const RENEWED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// Something that was looked at.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// What: `kinds`, `rights`, `policies`, `stamp`, `nodes`, `agents`, `controller`, `metrics`, `guardrails`.
    pub what: &'static str,
    /// What is there, in words.
    pub found: String,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// Looks at the installation in `namespace`, with the rights of whoever asks. Changes nothing. `source`: where the
/// controller asks for metrics, where no Deployment says so.
pub async fn examine(env: &Env, namespace: &str, source: Option<&str>) -> Vec<Looked> {
    let access = Access::new(env.kube.clone());
    let deployed = Deployed::look(&access, namespace).await;
    let known = deployed.clone().unwrap_or_else(|_| Deployed::unknown(namespace));
    let mut looked = vec![kinds(&access).await];
    looked.extend(parts::parts(&access, &known).await);
    looked.push(replicas(&access, namespace, env.clock.now()).await);
    looked.push(source::source(env, &access, (&deployed, source)).await);
    looked.push(guardrails(&access, &known).await);
    looked
}

/// A finding of this kind: what it is about, what is wrong, and always what to do. `serious`: it does not work like that.
fn of_installation(serious: bool, (subject, message): (&str, &str), remedy: &str) -> Finding {
    let found = if serious { Finding::error } else { Finding::warning };
    found(code::INSTALLATION, subject.to_owned(), message.to_owned()).remedy(remedy)
}

fn unreadable(subject: &str, error: &ApiError) -> Finding {
    of_installation(true, (subject, &format!("it cannot be read: {error}")), "ask somebody who may")
}

/// What brings what the chart has, or what the program prints.
fn missing(by_hand: &str) -> String {
    format!("helm upgrade to the chart of version {}, or {by_hand}", env!("CARGO_PKG_VERSION"))
}

/// `unread`: of those nothing is known.
fn found((fine, unread): (usize, usize), all: usize) -> String {
    match unread {
        0 => format!("{fine} of {all} as this version has them"),
        unread if unread == all => "unknown".to_owned(),
        _ => format!("{fine} of {all} as this version has them, {unread} unknown"),
    }
}

/// The definitions are those of this version.
async fn kinds(access: &Access) -> Looked {
    let remedy = "firedrill crds | kubectl apply --server-side -f -";
    let (mut findings, mut unread) = (Vec::new(), 0);
    let all = crds::crds();
    for crd in &all {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        let subject = format!("customresourcedefinition/{name}");
        let object = definition(name);
        match access.get(&object).await {
            Ok(found) if schema(&found.data) == schema(crd) => {}
            Ok(_) => {
                let message = "it is of another version than this program";
                findings.push(of_installation(false, (&subject, message), remedy));
            }
            Err(ApiError::NotFound) => {
                let message = "the cluster does not know this kind";
                findings.push(of_installation(true, (&subject, message), remedy));
            }
            Err(error) => {
                unread += 1;
                findings.push(unreadable(&subject, &error));
            }
        }
    }
    let fine = all.len() - findings.len();
    Looked { what: "kinds", found: found((fine, unread), all.len()), findings }
}

fn definition(name: &str) -> ObjectRef {
    ObjectRef::namespaced("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", name)
}

/// The schema of the one version.
fn schema(crd: &Value) -> Option<&Value> {
    crd.pointer("/spec/versions/0/schema")
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
    let subject = format!("namespace/{namespace}");
    if alive.is_empty() {
        let message = "no replica has renewed its Lease within a minute: nobody takes up Runs";
        let remedy = format!("kubectl get pods -n {namespace}; helm install, or firedrill controller");
        findings.push(of_installation(true, (&subject, message), &remedy));
    }
    let lost = runs.keys().filter(|holder| !alive.contains(holder)).count();
    if lost > 0 && !alive.is_empty() {
        let lost = counted(lost, "claim");
        let message = format!("{lost} held by replicas that are gone; they are taken over within 15 s");
        let remedy = format!(
            "look again then; if it stays so, kubectl logs -n {namespace} deployment/firedrill says why"
        );
        findings.push(of_installation(false, (&subject, &message), &remedy));
    }
    let found =
        format!("{} at work, {} in their hands", counted(alive.len(), "replica"), counted(at_work, "run"));
    Looked { what, found, findings }
}

/// What holds everybody up.
async fn guardrails(access: &Access, deployed: &Deployed) -> Looked {
    let what = "guardrails";
    let listed = match access.list_if_served(API_VERSION, "Guardrail").await {
        Ok(listed) => listed.unwrap_or_default(),
        Err(error) => {
            return Looked { what, found: "unknown".to_owned(), findings: vec![unreadable(what, &error)] };
        }
    };
    let there: Vec<&str> = listed.iter().filter_map(|one| one.metadata.name.as_deref()).collect();
    let mut findings = parts::guardrails(deployed, &there);
    for guardrail in &listed {
        if guardrail.data.pointer("/spec/halt") == Some(&Value::Bool(true)) {
            let name = guardrail.metadata.name.as_deref().unwrap_or_default();
            let subject = format!("guardrail/{name}");
            let remedy = format!("firedrill unhalt --guardrail {name}, when the reason is gone");
            let message = "it halts: no run that it covers begins";
            findings.push(of_installation(false, (&subject, message), &remedy));
        }
    }
    Looked { what, found: counted(listed.len(), "Guardrail"), findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_neither_there_nor_missing() {
        assert_eq!(found((27, 0), 27), "27 of 27 as this version has them");
        assert_eq!(found((0, 27), 27), "unknown");
        assert_eq!(found((3, 1), 4), "3 of 4 as this version has them, 1 unknown");
        assert!(unreadable("guardrails", &ApiError::NotFound).is_error(), "nobody may rely on it");
    }
}
