//! The Guardrails that cover a namespace, as far as they can be read.

use std::collections::BTreeMap;

use crate::{
    api::{API_VERSION, Guardrail},
    cluster::{Access, ApiError, Change},
    types::ObjectRef,
};

/// What each of them says, as a watch shows it.
#[derive(Default)]
pub(super) struct Generations(BTreeMap<String, i64>);

impl Generations {
    /// Takes in what the watch says; whether one of them says something else now. Its status says nothing.
    pub(super) fn take(&mut self, change: &Change) -> bool {
        match change {
            Change::Is(found) => {
                let generation = found.metadata.generation.unwrap_or(0);
                let name = found.metadata.name.clone().unwrap_or_default();
                self.0.insert(name, generation) != Some(generation)
            }
            Change::Gone(found) => {
                found.metadata.name.as_ref().is_some_and(|name| self.0.remove(name).is_some())
            }
            Change::Listing | Change::Listed | Change::Broken(_) => false,
        }
    }
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
    let read = |found| Guardrail::from_value(&serde_json::to_value(found).ok()?).ok();
    Ok(listed.iter().filter_map(read).collect())
}

/// The labels of a namespace.
///
/// # Errors
/// The API server's.
pub(super) async fn labels(access: &Access, namespace: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let found = access.get(&ObjectRef::namespaced("v1", "Namespace", "", namespace)).await?;
    Ok(found.metadata.labels.unwrap_or_default())
}
