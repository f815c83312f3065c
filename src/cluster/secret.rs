//! One value of a Secret, read with the caller's own rights.

use serde_json::Value;

use super::{Access, ApiError};
use crate::types::ObjectRef;

/// Why there is no such value. Nothing of a value is in the words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{secret}: {why}")]
pub struct SecretError {
    /// Which Secret, and which key.
    pub secret: String,
    /// What is wrong.
    pub why: String,
    /// Whether it may be there a little later, without anybody changing anything.
    pub transient: bool,
}

/// The text under `key` of the Secret `name`, without white space at its end.
///
/// # Errors
/// It is not there, may not be read, or is no text.
pub async fn secret_text(
    access: &Access,
    namespace: &str,
    (name, key): (&str, &str),
) -> Result<String, SecretError> {
    let object = ObjectRef::namespaced("v1", "Secret", namespace, name);
    let wrong =
        |why: String, transient| SecretError { secret: format!("{object}, key {key}"), why, transient };
    let found = access.get(&object).await.map_err(|error| match error {
        ApiError::NotFound => wrong("it is not there".to_owned(), false),
        other => wrong(other.to_string(), other.is_transient()),
    })?;
    let value = found.data.get("data").and_then(|data| data.get(key)).and_then(Value::as_str);
    let value = value.ok_or_else(|| wrong("there is no such key".to_owned(), false))?;
    let bytes: k8s_openapi::ByteString = serde_json::from_value(Value::from(value))
        .map_err(|_| wrong("its value is not base64".to_owned(), false))?;
    let text = String::from_utf8(bytes.0).map_err(|_| wrong("its value is not text".to_owned(), false))?;
    Ok(text.trim_end().to_owned())
}
