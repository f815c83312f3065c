//! What putting something back would do now: the revert itself, over a connection that lets nothing be written.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::{assess::blind, rollback::Leftover, unwind};
use crate::{
    cluster::{Access, ApiError, Budgets, RUN_LABEL, Sessions, UNDO_PREFIX},
    env::{LoadWire, NoAgents},
    faults::{Signature, World},
    journal::RevertOutcome,
    types::{Epoch, RunId},
};

/// What putting one leftover back would do, as the world is now.
#[derive(Clone, Debug, PartialEq)]
pub enum Preview {
    /// These fields would be written.
    Changes(Vec<FieldChange>),
    /// There is nothing to put back, in words.
    AsBefore(String),
    /// The object is not there any more.
    Gone,
    /// Somebody else has changed it since: it stays as it is, and only our mark goes. In words.
    LeftAlone(String),
    /// Nobody can say, and why.
    Unknown(String),
}

/// One field that would be written.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// Which, as `spec.taints[0]`.
    pub field: String,
    /// What is there now; null: nothing.
    pub now: Value,
    /// What would be there then; null: nothing.
    pub then: Value,
}

/// A write that was not let through.
#[derive(Clone)]
struct Held {
    method: Method,
    body: Value,
}

type Writes = Arc<Mutex<Vec<Held>>>;

/// What putting each of these back would do now. Writes nothing: every request but GET ends on this side.
///
/// # Errors
/// The API server's, when it cannot be looked at at all.
pub async fn preview(client: &Client, leftovers: &[Leftover], by: &str) -> Result<Vec<Preview>, ApiError> {
    let mirror = blind(&Access::new(client.clone())).await?;
    let looks = leftovers.iter().map(|leftover| {
        let writes = Writes::default();
        let access = Access::new(looking(client, &writes));
        let mirror = mirror.clone();
        async move {
            let Some(run) = RunId::parse(&leftover.run) else {
                return Preview::Unknown(format!("`{}` is not the name of a run", leftover.run));
            };
            let signature = Signature { run, epoch: Epoch(0), by: by.to_owned(), at: Timestamp::UNIX_EPOCH };
            let budgets = Budgets::new(access.clone(), mirror.clone());
            // Orders to agents are no writes that could be held: nobody is attached to.
            let link = Arc::new(NoAgents("this only looks"));
            let agents = Sessions::new(link, access.clone(), signature.run.clone(), Epoch(0));
            let names = LoadWire::none();
            look(World { access, mirror, budgets, agents, names, signature }, leftover, &writes).await
        }
    });
    Ok(futures::future::join_all(looks).await)
}

async fn look(world: World, leftover: &Leftover, writes: &Writes) -> Preview {
    let access = world.access.clone();
    let unwound = unwind::revert(world, leftover.injection.clone(), 1).await;
    let held = writes.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
    match (unwound.outcome(), held) {
        (_, Some(held)) => match access.get(&leftover.injection.target).await {
            Ok(now) => {
                let now = serde_json::to_value(&now).unwrap_or_default();
                changes(&held, &now)
            }
            Err(ApiError::NotFound) => Preview::Gone,
            Err(error) => Preview::Unknown(error.to_string()),
        },
        (Ok((RevertOutcome::TargetGone, _)), None) => Preview::Gone,
        (Ok((RevertOutcome::ChangedSince, why)), None) => Preview::LeftAlone(why),
        (Ok((_, why)), None) => Preview::AsBefore(why),
        (Err(error), None) => Preview::Unknown(error),
    }
}

/// What a held write would change of an object that is so `now`.
fn changes(held: &Held, now: &Value) -> Preview {
    if held.method == Method::DELETE {
        let now = json!(now["kind"]);
        return Preview::Changes(vec![FieldChange { field: "object".to_owned(), now, then: Value::Null }]);
    }
    let Some(operations) = held.body.as_array() else {
        let (now, then) = (Value::Null, held.body.clone());
        return Preview::Changes(vec![FieldChange { field: "object".to_owned(), now, then }]);
    };
    let writes = operations.iter().filter(|operation| operation["op"] != "test");
    let paths = writes.filter_map(|operation| Some((operation["path"].as_str()?, operation)));
    let changes: Vec<FieldChange> = paths
        .filter(|(path, _)| !is_mark(path))
        .map(|(path, operation)| FieldChange {
            field: dotted(path),
            now: now.pointer(path).cloned().unwrap_or_default(),
            then: operation["value"].clone(),
        })
        .collect();
    if changes.is_empty() {
        return Preview::LeftAlone(
            "somebody else has changed it since; only firedrill's mark goes".to_owned(),
        );
    }
    Preview::Changes(changes)
}

/// Whether this is what firedrill marks with, not what it has changed.
fn is_mark(path: &str) -> bool {
    let segment = |parent: &str| path.strip_prefix(parent).map(|rest| rest.replace("~1", "/"));
    segment("/metadata/labels/").is_some_and(|label| label == RUN_LABEL)
        || segment("/metadata/annotations/").is_some_and(|annotation| annotation.starts_with(UNDO_PREFIX))
}

/// A JSON pointer as people write fields: `spec.taints[0]`.
fn dotted(path: &str) -> String {
    let mut text = String::new();
    for segment in path.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        if segment.parse::<usize>().is_ok() {
            text.push_str(&format!("[{segment}]"));
        } else {
            text.push_str(if text.is_empty() { "" } else { "." });
            text.push_str(&segment);
        }
    }
    text
}

/// A client that reads like `client` and keeps what would be written to itself.
fn looking(client: &Client, writes: &Writes) -> Client {
    let namespace = client.default_namespace().to_owned();
    let (client, writes) = (client.clone(), writes.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, writes) = (client.clone(), writes.clone());
        async move {
            if request.method() == Method::GET {
                return client.send(request).await;
            }
            let method = request.method().clone();
            let body = request.into_body().collect_bytes().await?;
            let body = serde_json::from_slice(&body).unwrap_or_default();
            writes.lock().unwrap_or_else(PoisonError::into_inner).push(Held { method, body });
            Ok(refusal())
        }
    });
    Client::new(service, namespace)
}

/// An answer after which nobody tries again.
fn refusal() -> Response<Body> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "this is only a look",
    });
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(operations: Value) -> Held {
        Held { method: Method::PATCH, body: operations }
    }

    #[test]
    fn fields_are_shown_as_they_are_and_as_they_would_be() {
        let now = json!({"spec": {"taints": [{"key": "a"}, {"key": "b"}]}, "metadata": {"annotations": {}}});
        let write = held(json!([
            {"op": "test", "path": "/spec/taints/1/key", "value": "b"},
            {"op": "remove", "path": "/spec/taints/1"},
            {"op": "remove", "path": "/metadata/annotations/undo.firedrill.dev~1hit.0"},
            {"op": "remove", "path": "/metadata/labels/firedrill.dev~1run"},
        ]));
        let wanted =
            FieldChange { field: "spec.taints[1]".to_owned(), now: json!({"key": "b"}), then: Value::Null };
        assert_eq!(changes(&write, &now), Preview::Changes(vec![wanted]));
    }

    #[test]
    fn a_write_that_only_takes_our_mark_leaves_the_object_alone() {
        let write =
            held(json!([{"op": "remove", "path": "/metadata/annotations/undo.firedrill.dev~1hit.0"}]));
        assert!(matches!(changes(&write, &json!({})), Preview::LeftAlone(_)));
    }
}
