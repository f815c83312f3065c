//! PATCH: JSON patch, merge patch, strategic merge patch, server-side apply
//! (staging/src/k8s.io/apiserver/pkg/endpoints/handlers/patch.go).

use super::request::{Call, Target};
use super::write::{Writing, decode_yaml, retry, text, unsupported};
use super::{ApiBody, ApiServer, event, schema, strategic};
use crate::sim::store::{Kind, Status, StatusCause};
use http::{Response, StatusCode};
use serde_json::Value;

/// A patch that has been read.
pub(super) enum Patch {
    Json(Vec<Value>),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

impl Patch {
    /// Reads the body by its content type.
    ///
    /// # Errors
    /// 415 for an unknown type, 400 for a body that is no such patch.
    pub(super) fn parse(call: &Call, custom: bool) -> Result<Self, Status> {
        let bad = |e: serde_json::Error| Status::bad_request(format!("error decoding patch: {e}"));
        match call.content_type() {
            "application/json-patch+json" => Ok(Self::Json(serde_json::from_slice(&call.body).map_err(bad)?)),
            "application/merge-patch+json" => {
                Ok(Self::Merge(serde_json::from_slice(&call.body).map_err(bad)?))
            }
            "application/strategic-merge-patch+json" if !custom => {
                Ok(Self::Strategic(serde_json::from_slice(&call.body).map_err(bad)?))
            }
            "application/apply-patch+yaml" => Ok(Self::Apply(decode_yaml(&call.body)?)),
            other if other != "application/strategic-merge-patch+json" => {
                let mut status = Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type");
                status.details = Some(Box::default());
                Err(status)
            }
            other => Err(unsupported(
                other,
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
        }
    }

    /// The value with the patch applied; not for [`Patch::Apply`].
    ///
    /// # Errors
    /// 422 when a JSON patch does not fit, 400 when it is malformed.
    pub(super) fn applied(&self, kind: &Kind, old: &Value) -> Result<Value, Status> {
        let mut new = old.clone();
        match self {
            Self::Json(operations) => {
                for operation in operations {
                    step(&mut new, operation)?;
                }
            }
            Self::Merge(patch) | Self::Apply(patch) => json_patch::merge(&mut new, patch),
            Self::Strategic(patch) => strategic::merge(kind, &mut new, patch)?,
        }
        Ok(new)
    }
}

/// One operation of a JSON patch. A `test` for null passes when there is nothing, as in the library that
/// Kubernetes uses (gopkg.in/evanphx/json-patch.v4).
fn step(document: &mut Value, operation: &Value) -> Result<(), Status> {
    if operation["op"] == "test" && operation.get("value").is_none_or(Value::is_null) {
        let path = operation["path"].as_str().unwrap_or_default();
        let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
        let key = key.replace("~1", "/").replace("~0", "~");
        if document
            .pointer(parent)
            .and_then(Value::as_object)
            .is_some_and(|m| m.get(&key).is_none_or(Value::is_null))
        {
            return Ok(());
        }
        return Err(rejected());
    }
    let one = serde_json::from_value::<json_patch::PatchOperation>(operation.clone())
        .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
    json_patch::patch(document, &[one]).map_err(|_| rejected())
}

/// 422 as the server words it when a patch does not fit the object.
fn rejected() -> Status {
    let mut status =
        Status::failure(422, "Invalid", "the server rejected our request due to an error in our request");
    status.details = Some(Box::default());
    status
}

impl ApiServer {
    pub(super) fn patch(
        &self,
        call: &Call,
        target: &Target,
        kind: &Kind,
    ) -> Result<Response<ApiBody>, Status> {
        let patch = Patch::parse(call, kind.is_custom())?;
        let writing = Writing::of(call, target, kind)?;
        if let Patch::Apply(config) = patch {
            return self.apply(call, target, &writing, config);
        }
        let written = retry(|| {
            let old = self.find(target, kind)?;
            let old_value = old.to_value();
            let new = if *kind == Kind::NEW_EVENT {
                patch.applied(kind, &event::to_new(old_value.clone()))?
            } else {
                patch.applied(kind, &old_value)?
            };
            check_patched(kind, &old_value, &new)?;
            let new = schema::decode(kind, new, schema::Strictness::of(call))
                .map_err(|s| as_invalid(kind, target, &s))?;
            self.replace(&writing, &old, &old_value, event::to_stored(kind, new))
        })?;
        Ok(self.shown(call, kind, &written, StatusCode::OK))
    }
}

/// What a patch may not change about an object: its identity (422), or, when it names one, another version (409).
pub(super) fn check_patched(kind: &Kind, old: &Value, new: &Value) -> Result<(), Status> {
    let name = text(old, "name");
    let given = text(new, "resourceVersion");
    if !given.is_empty() && given != text(old, "resourceVersion") {
        return Err(Status::modified(kind, name));
    }
    if text(new, "name") != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            text(new, "name")
        )));
    }
    let uid = text(new, "uid");
    if !uid.is_empty() && uid != text(old, "uid") {
        let cause = StatusCause::invalid("metadata.uid", &format!("\"{uid}\""), "field is immutable");
        return Err(Status::invalid(kind, name, vec![cause.clone(), cause]));
    }
    Ok(())
}

/// Unknown fields and wrong types in a patch are 422, not 400.
pub(super) fn as_invalid(kind: &Kind, target: &Target, status: &Status) -> Status {
    let cause = StatusCause::invalid("patch", "\"\"", &status.message);
    Status::invalid(kind, &target.name, vec![cause])
}
