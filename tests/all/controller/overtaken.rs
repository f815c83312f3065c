//! Somebody else is faster: what a run has looked at is not as it was when it writes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use firedrill::{cluster::Access, types::ObjectRef};
use http::{Method, Request, Uri};
use http_body_util::BodyExt as _;
use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    client::Body,
};
use serde_json::json;

use super::office::Office;

/// `client`, before whose first change of each node somebody else changes that node, and before whose first deletion of
/// a machine somebody else has put another one in its place.
pub fn overtaken(office: &Office, client: Client) -> Client {
    let (other, met) = (office.access.clone(), Arc::<Mutex<BTreeSet<String>>>::default());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, other, met) = (client.clone(), other.clone(), met.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let asked_only = [parts.uri.query().unwrap_or_default().as_bytes(), &body]
                .iter()
                .any(|text| String::from_utf8_lossy(text).contains("dryRun"));
            if let Some(object) = changed(&parts.method, &parts.uri).filter(|_| !asked_only) {
                let key = if object.kind == "Node" { object.name.clone() } else { object.kind.clone() };
                let first = met.lock().expect("no panic").insert(key);
                match object.kind.as_str() {
                    _ if !first => {}
                    "Node" => annotated(&other, &object).await,
                    _ => replaced(&other, &object).await,
                }
            }
            client.send(Request::from_parts(parts, Body::from(body))).await
        }
    });
    Client::new(service, "default")
}

/// The node that is patched, or the machine that is deleted.
fn changed(method: &Method, uri: &Uri) -> Option<ObjectRef> {
    let parts: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
    let object = |group: &str, version: &str, kind: &str, space: &str, name: &str| {
        Some(ObjectRef::namespaced(&format!("{group}/{version}"), kind, space, name))
    };
    match (method, &parts[..]) {
        (&Method::PATCH, ["api", "v1", "nodes", name]) => Some(ObjectRef::node(name)),
        (&Method::DELETE, ["apis", group, version, "namespaces", space, "machines", name]) => {
            object(group, version, "Machine", space, name)
        }
        (&Method::DELETE, ["apis", group, version, "nodeclaims", name]) => {
            object(group, version, "NodeClaim", "", name)
        }
        _ => None,
    }
}

/// Its version is another from now on.
async fn annotated(other: &Access, node: &ObjectRef) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"example.com/seen": "yes"}}}));
    let done = other.api(node).patch(&node.name, &PatchParams::default(), &patch).await;
    done.expect("the node is changed");
}

/// As by `kubectl replace --force`: the same by another UID.
async fn replaced(other: &Access, machine: &ObjectRef) {
    let (api, name) = (other.api(machine), machine.name.as_str());
    let mut same = api.get(name).await.expect("it is there");
    api.delete(name, &DeleteParams::default()).await.expect("it is deleted");
    // It goes without its end being waited for: the machine itself stays.
    let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch(name, &PatchParams::default(), &released).await.expect("nothing holds it");
    (same.metadata.uid, same.metadata.resource_version) = (None, None);
    api.create(&PostParams::default(), &same).await.expect("it is there again");
}
