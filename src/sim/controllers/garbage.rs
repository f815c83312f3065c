//! What goes when its owner or its namespace goes.
//!
//! Source: `pkg/controller/garbagecollector` and `pkg/controller/namespace/deletion`, v1.36. Namespaces are deleted in
//! order (the gate OrderedNamespaceDeletion is on): pods first, and everything else when the last pod is gone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::action::{Action, Target};
use crate::sim::store::{Kind, Object, OwnerReference, Store};

/// The finalizer by which an object waits for its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer by which an object lets its dependents go.
pub const ORPHAN: &str = "orphan";

/// Whether the owner that a reference names is there, in the dependent's namespace or cluster-wide; `None` when its
/// kind is not served, so that nobody can know.
#[must_use]
pub fn owner_exists(store: &Store, dependent: &Object, owner: &OwnerReference) -> Option<bool> {
    let kind = store.kind_of(&owner.api_version, &owner.kind)?;
    let namespace = if kind.namespaced { dependent.meta.namespace.as_str() } else { "" };
    Some(store.get(&kind, namespace, &owner.name).is_some_and(|o| o.meta.uid == owner.uid))
}

/// What to do with an object some of whose owners may be gone (`attemptToDeleteItem`).
#[must_use]
pub fn decide_dependent(
    dependent: &Arc<Object>,
    exists: &dyn Fn(&OwnerReference) -> Option<bool>,
) -> Vec<Action> {
    let owners = &dependent.meta.owner_references;
    if owners.is_empty() || dependent.terminating() {
        return Vec::new();
    }
    let left: Vec<&OwnerReference> = owners.iter().filter(|o| exists(o) != Some(false)).collect();
    if left.is_empty() {
        return vec![Action::Delete(Target::of(dependent), None)];
    }
    if left.len() < owners.len() {
        return vec![Action::Merge(Target::of(dependent), json!({"metadata": {"ownerReferences": left}}))];
    }
    Vec::new()
}

/// What an object that is being deleted does with its dependents before it goes: waits for those that block it
/// (`processDeletingDependentsItem`), or lets go of all (`orphanDependents`).
#[must_use]
pub fn decide_owner(owner: &Arc<Object>, dependents: &[Arc<Object>]) -> Vec<Action> {
    if !owner.terminating() {
        return Vec::new();
    }
    let has = |name: &str| owner.meta.finalizers.iter().any(|f| f == name);
    let mut actions = Vec::new();
    if has(ORPHAN) {
        for dependent in dependents {
            let kept: Vec<_> =
                dependent.meta.owner_references.iter().filter(|o| o.uid != owner.meta.uid).collect();
            let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
            actions
                .push(Action::Merge(Target::of(dependent), json!({"metadata": {"ownerReferences": kept}})));
        }
        actions.push(without_finalizer(owner, ORPHAN));
    } else if has(FOREGROUND) {
        let blocking = |d: &Arc<Object>| {
            d.meta
                .owner_references
                .iter()
                .any(|o| o.uid == owner.meta.uid && o.block_owner_deletion == Some(true))
        };
        for dependent in dependents.iter().filter(|d| !d.terminating()) {
            actions.push(Action::Delete(Target::of(dependent), None));
        }
        if !dependents.iter().any(blocking) {
            actions.push(without_finalizer(owner, FOREGROUND));
        }
    }
    actions
}

fn without_finalizer(owner: &Object, name: &str) -> Action {
    let kept: Vec<_> = owner.meta.finalizers.iter().filter(|f| *f != name).collect();
    let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
    Action::Merge(Target::of(owner), json!({"metadata": {"finalizers": kept}}))
}

/// How far the deletion of a namespace has come.
#[derive(Debug)]
pub enum Termination {
    /// These have to be deleted now; look again when something in the namespace has changed.
    Delete(Vec<Action>),
    /// Something is left that goes by itself: terminating pods, objects with finalizers.
    Wait,
    /// Nothing is left.
    Empty,
}

/// The next step of a namespace's deletion; `content` is everything in it.
#[must_use]
pub fn decide_namespace(content: &[Arc<Object>]) -> Termination {
    if content.is_empty() {
        return Termination::Empty;
    }
    let has_pods = content.iter().any(|o| o.kind == Kind::POD);
    let due = content.iter().filter(|o| !o.terminating() && (!has_pods || o.kind == Kind::POD));
    let actions: Vec<Action> = due.map(|o| Action::Delete(Target::of(o), None)).collect();
    if actions.is_empty() { Termination::Wait } else { Termination::Delete(actions) }
}

/// Everything that a namespace holds.
#[must_use]
pub fn content(store: &Store, namespace: &str) -> Vec<Arc<Object>> {
    let everything = crate::sim::store::Selector::everything();
    let custom = store.custom_kinds();
    let kinds = Kind::builtin().iter().chain(&custom).filter(|k| k.namespaced);
    kinds.flat_map(|kind| store.list(kind, Some(namespace), &everything)).collect()
}
