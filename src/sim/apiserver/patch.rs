//! PATCH: JSON patch, merge patch, strategic merge patch, server-side apply
//! (staging/src/k8s.io/apiserver/pkg/endpoints/handlers/patch.go).

use super::decode::{decode_yaml, no_conversion, not_into, syntax, unsupported};
use super::request::{Call, Target};
use super::write::{Writing, retry, text};
use super::{ApiBody, ApiServer, event, schema, strategic};
use crate::sim::store::{Kind, KindInfo, Status, StatusCause};
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
        let read = || {
            serde_json::from_slice::<Value>(&call.body)
                .map_err(|e| Status::bad_request(format!("error decoding patch: {}", syntax(&e, &call.body))))
        };
        let bad = |value: &Value, go: &str| {
            Status::bad_request(format!("error decoding patch: {}", not_into(value, go)))
        };
        match call.content_type() {
            "application/json-patch+json" => match read()? {
                Value::Array(operations) => match operations.iter().find(|one| !one.is_object()) {
                    Some(other) => Err(bad(other, "handlers.jsonPatchOp")),
                    None => Ok(Self::Json(operations)),
                },
                other => Err(bad(&other, "[]handlers.jsonPatchOp")),
            },
            "application/merge-patch+json" => match read()? {
                patch @ Value::Object(_) => Ok(Self::Merge(patch)),
                other => Err(bad(&other, "map[string]interface {}")),
            },
            "application/strategic-merge-patch+json" if !custom => {
                let patch = serde_json::from_slice(&call.body);
                Ok(Self::Strategic(patch.map_err(|e| Status::bad_request(syntax(&e, &call.body)))?))
            }
            "application/apply-patch+yaml" => {
                if call.param("fieldManager").is_empty() {
                    let cause = StatusCause::required("fieldManager", "is required for apply patch");
                    return Err(Status::invalid_options("PatchOptions", cause));
                }
                Ok(Self::Apply(decode_yaml(&call.body)?))
            }
            other if other != "application/strategic-merge-patch+json" => {
                let mut status = Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type");
                status.details = Some(Box::default());
                Err(status)
            }
            _ => Err(unsupported(
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

/// One operation of a JSON patch, as the library takes it that Kubernetes uses (gopkg.in/evanphx/json-patch.v4):
/// a `test` for null passes when there is nothing, `replace` adds a member that a map does not have, and a value
/// that is not given is null.
fn step(document: &mut Value, operation: &Value) -> Result<(), Status> {
    let path = operation["path"].as_str().unwrap_or_default();
    let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
    let key = key.replace("~1", "/").replace("~0", "~");
    let map = document.pointer(parent).and_then(Value::as_object);
    if operation["op"] == "test" && operation.get("value").is_none_or(Value::is_null) {
        let nothing = map.is_some_and(|map| map.get(&key).is_none_or(Value::is_null));
        return if nothing { Ok(()) } else { Err(rejected()) };
    }
    let mut operation = operation.clone();
    if operation["op"] == "replace" && map.is_some_and(|map| !map.contains_key(&key)) {
        operation["op"] = "add".into();
    }
    if let Some(members) = operation.as_object_mut() {
        members.entry("value").or_insert(Value::Null);
    }
    let one = serde_json::from_value::<json_patch::PatchOperation>(operation).map_err(|_| rejected())?;
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
            let given = new["kind"].as_str().unwrap_or_default();
            if given != kind.kind {
                let why = no_conversion(&self.store, (&kind.api_version(), given), kind);
                return Err(as_invalid(&new, &why));
            }
            let new = schema::read_as(kind, new.clone(), schema::Strictness::of(call))
                .map_err(|why| as_invalid(&new, &why))?;
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

/// What a patch leaves that is no such object is 422, not 400, and names none (`applyJSPatch` in patch.go).
pub(super) fn as_invalid(patched: &Value, why: &str) -> Status {
    let quoted = Value::String(patched.to_string()).to_string();
    let nobody = KindInfo { group: "".into(), kind: "".into(), ..(*Kind::POD).clone() };
    Status::invalid(&nobody, "", vec![StatusCause::invalid("patch", &quoted, why)])
}
