//! The Guardrails that cover a namespace, as far as they can be read.

use std::collections::BTreeMap;

use kube::api::DynamicObject;

use crate::{
    api::{API_VERSION, Guardrail},
    cluster::{Access, ApiError},
    types::ObjectRef,
};

/// One of them, as the API server has it.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(found: &DynamicObject) -> Result<Guardrail, String> {
    let value = serde_json::to_value(found).map_err(|error| error.to_string())?;
    Guardrail::from_value(&value).map_err(|error| error.to_string())
}

/// They only allow where this is asked: what cannot be read allows nothing, and refuses a run when it is assessed.
///
/// # Errors
/// The API server's.
pub(super) async fn covering(access: &Access, namespace: &str) -> Result<Vec<Guardrail>, ApiError> {
    let labels = labels(access, namespace).await?;
    let all = readable(access).await?;
    Ok(all.into_iter().filter(|guardrail| guardrail.covers(&labels).unwrap_or(false)).collect())
}

/// All that can be read; none where the kind is not known.
///
/// # Errors
/// The API server's.
pub(super) async fn readable(access: &Access) -> Result<Vec<Guardrail>, ApiError> {
    let listed = access.list_if_served(API_VERSION, "Guardrail").await?.unwrap_or_default();
    Ok(listed.iter().filter_map(|found| read(found).ok()).collect())
}

/// The labels of a namespace.
///
/// # Errors
/// The API server's.
pub(super) async fn labels(access: &Access, namespace: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let found = access.get(&ObjectRef::namespaced("v1", "Namespace", "", namespace)).await?;
    Ok(found.metadata.labels.unwrap_or_default())
}
