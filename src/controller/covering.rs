//! The Guardrails that cover a namespace, as far as they can be read.

use crate::{
    api::{API_VERSION, Guardrail},
    cluster::{Access, ApiError},
    types::ObjectRef,
};

/// They only allow where this is asked: what cannot be read allows nothing, and refuses a run when it is assessed.
///
/// # Errors
/// The API server's.
pub(super) async fn covering(access: &Access, namespace: &str) -> Result<Vec<Guardrail>, ApiError> {
    let space = access.get(&ObjectRef::namespaced("v1", "Namespace", "", namespace)).await?;
    let labels = space.metadata.labels.unwrap_or_default();
    let listed = access.list_if_served(API_VERSION, "Guardrail").await?.unwrap_or_default();
    let read =
        listed.iter().filter_map(|found| Guardrail::from_value(&serde_json::to_value(found).ok()?).ok());
    Ok(read.filter(|guardrail| guardrail.covers(&labels).unwrap_or(false)).collect())
}
