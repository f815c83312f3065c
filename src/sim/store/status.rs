//! The API server's errors: `metav1.Status` with the code, reason, message and details that a real one sends.
//!
//! Wording: staging/src/k8s.io/apimachinery/pkg/api/errors/errors.go of kubernetes v1.36.

use super::kind::KindInfo;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt;

/// A Kubernetes `Status` object: the answer to a call that failed, and to a few that did not.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// `Success` or `Failure`.
    pub status: &'static str,
    /// For people.
    pub message: String,
    /// For machines, for example `NotFound`.
    pub reason: String,
    /// Which object and why.
    pub details: Option<Box<StatusDetails>>,
    /// HTTP status code.
    pub code: u16,
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", "Status")?;
        map.serialize_entry("apiVersion", "v1")?;
        map.serialize_entry("metadata", &serde_json::Map::new())?;
        map.serialize_entry("status", self.status)?;
        if !self.message.is_empty() {
            map.serialize_entry("message", &self.message)?;
        }
        if !self.reason.is_empty() {
            map.serialize_entry("reason", &self.reason)?;
        }
        if let Some(details) = &self.details {
            map.serialize_entry("details", details)?;
        }
        // A success carries no code in its body.
        if self.status == "Failure" {
            map.serialize_entry("code", &self.code)?;
        }
        map.end()
    }
}

/// The object that a [`Status`] is about, and the single causes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Resource name (plural), or the kind in validation errors.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One entry per cause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// Seconds after which a retry makes sense; 0 is left out, as in Kubernetes.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// One cause of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StatusCause {
    /// For machines, for example `FieldValueInvalid` or `DisruptionBudget`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl StatusCause {
    /// A cause in the words of `field.Invalid`.
    #[must_use]
    pub fn invalid(field: &str, value: &str, detail: &str) -> Self {
        Self {
            reason: "FieldValueInvalid".into(),
            message: format!("Invalid value: {value}: {detail}"),
            field: field.into(),
        }
    }
    /// A cause in the words of `field.Required`.
    #[must_use]
    pub fn required(field: &str, detail: &str) -> Self {
        let message =
            if detail.is_empty() { "Required value".into() } else { format!("Required value: {detail}") };
        Self { reason: "FieldValueRequired".into(), message, field: field.into() }
    }
    /// A cause in the words of `field.Duplicate`.
    #[must_use]
    pub fn duplicate(field: &str, value: &str) -> Self {
        Self {
            reason: "FieldValueDuplicate".into(),
            message: format!("Duplicate value: {value}"),
            field: field.into(),
        }
    }
    /// A cause in the words of `field.Forbidden`.
    #[must_use]
    pub fn forbidden(field: &str, detail: &str) -> Self {
        Self {
            reason: "FieldValueForbidden".into(),
            message: format!("Forbidden: {detail}"),
            field: field.into(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Status {}

impl Status {
    /// A failure with a code, a reason and a message, and no details.
    #[must_use]
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { status: "Failure", message: message.into(), reason: reason.into(), details: None, code }
    }

    fn about(mut self, info: &KindInfo, name: &str) -> Self {
        self.details = Some(Box::new(StatusDetails {
            name: name.into(),
            group: info.group.to_string(),
            kind: info.plural.to_string(),
            ..StatusDetails::default()
        }));
        self
    }

    /// The answer to a successful delete or eviction.
    #[must_use]
    pub fn success(code: u16) -> Self {
        Self { status: "Success", ..Self::failure(code, "", "") }
    }

    /// 404: no such object.
    #[must_use]
    pub fn not_found(info: &KindInfo, name: &str) -> Self {
        Self::failure(404, "NotFound", format!("{} \"{name}\" not found", info.qualified())).about(info, name)
    }

    /// 409: the name is taken.
    #[must_use]
    pub fn already_exists(info: &KindInfo, name: &str) -> Self {
        Self::failure(409, "AlreadyExists", format!("{} \"{name}\" already exists", info.qualified()))
            .about(info, name)
    }

    /// 409: a precondition failed; `why` is the part after the object's name.
    #[must_use]
    pub fn conflict(info: &KindInfo, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", info.qualified());
        Self::failure(409, "Conflict", message).about(info, name)
    }

    /// 409 for a precondition of a delete (BeforeDelete in apiserver/pkg/registry/rest/delete.go, which names the
    /// kind where other conflicts name the resource); `what` is `UID` or `ResourceVersion`.
    #[must_use]
    pub fn precondition(info: &KindInfo, name: &str, what: &str, (asked, have): (&str, &str)) -> Self {
        let then = if what == "UID" { "deleted and then recreated" } else { "modified" };
        let why = format!(
            "the {what} in the precondition ({asked}) does not match the {what} in record ({have}). The object might have been {then}"
        );
        let named = KindInfo { plural: info.kind.clone(), ..info.clone() };
        Self::conflict(&named, name, &why)
    }

    /// 409: somebody else wrote the object in between.
    #[must_use]
    pub fn modified(info: &KindInfo, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(info, name, why)
    }

    /// 422: validation failed, with a cause for each field.
    #[must_use]
    pub fn invalid(info: &KindInfo, name: &str, causes: Vec<StatusCause>) -> Self {
        // The same error found twice is two causes and one sentence, as in Kubernetes.
        let mut parts: Vec<String> = Vec::new();
        for part in causes.iter().map(|c| format!("{}: {}", c.field, c.message)) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        let why = if parts.len() == 1 { parts.concat() } else { format!("[{}]", parts.join(", ")) };
        let kind = if info.group.is_empty() {
            info.kind.to_string()
        } else {
            format!("{}.{}", info.kind, info.group)
        };
        let mut status =
            Self::failure(422, "Invalid", format!("{kind} \"{name}\" is invalid: {why}")).about(info, name);
        if let Some(details) = &mut status.details {
            details.kind = info.kind.to_string();
            details.causes = causes;
        }
        status
    }

    /// 403 about one object; `why` is the part after "is forbidden: ".
    #[must_use]
    pub fn forbidden(info: &KindInfo, name: &str, why: &str) -> Self {
        let subject =
            if name.is_empty() { info.qualified() } else { format!("{} \"{name}\"", info.qualified()) };
        Self::failure(403, "Forbidden", format!("{subject} is forbidden: {why}")).about(info, name)
    }

    /// 429 with `retryAfterSeconds` (0 is not written, as in Kubernetes).
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut status = Self::failure(429, "TooManyRequests", message);
        status.details = Some(Box::new(StatusDetails { retry_after_seconds, ..StatusDetails::default() }));
        status
    }

    /// 410 for a watch or a continued list that starts too far back.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 500; the message gets Kubernetes' own prefix.
    #[must_use]
    pub fn internal(message: impl fmt::Display) -> Self {
        let mut status = Self::failure(500, "InternalError", format!("Internal error occurred: {message}"));
        let cause = StatusCause { message: message.to_string(), ..StatusCause::default() };
        status.details = Some(Box::new(StatusDetails { causes: vec![cause], ..StatusDetails::default() }));
        status
    }

    /// 422 about the parameters of a call: `options` is the name of their type, for example `PatchOptions`.
    #[must_use]
    pub fn invalid_options(options: &str, cause: StatusCause) -> Self {
        let message = format!("{options}.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
        let mut status = Self::failure(422, "Invalid", message);
        let (group, kind) = ("meta.k8s.io".into(), options.into());
        status.details =
            Some(Box::new(StatusDetails { group, kind, causes: vec![cause], ..StatusDetails::default() }));
        status
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let why = "the server does not allow this method on the requested resource";
        let mut status = Self::failure(405, "MethodNotAllowed", why);
        status.details = Some(Box::default());
        status
    }

    /// 404 for a path that no resource serves.
    #[must_use]
    pub fn no_resource() -> Self {
        let mut status = Self::failure(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(Box::default());
        status
    }

    /// 504: the server gave up waiting.
    #[must_use]
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        let mut status = Self::failure(504, "Timeout", format!("Timeout: {message}"));
        status.details = Some(Box::new(StatusDetails { retry_after_seconds, ..StatusDetails::default() }));
        status
    }

    /// Whether the reason is the given one.
    #[must_use]
    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }
}
