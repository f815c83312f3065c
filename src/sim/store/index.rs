//! Secondary indexes: by managing controller, and pods by node.

use super::{Key, Kind, Object};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Index {
    controller: BTreeMap<(Kind, Box<str>), BTreeSet<Key>>,
    node: BTreeMap<Box<str>, BTreeSet<Key>>,
}

impl Index {
    pub(super) fn insert(&mut self, object: &Object, key: &Key) {
        if let Some(owner) = object.controller() {
            self.controller
                .entry((object.kind.clone(), owner.uid.as_str().into()))
                .or_default()
                .insert(key.clone());
        }
        if let Some(node) = node_of(object) {
            self.node.entry(node).or_default().insert(key.clone());
        }
    }

    pub(super) fn remove(&mut self, object: &Object, key: &Key) {
        if let Some(owner) = object.controller() {
            let at = (object.kind.clone(), owner.uid.as_str().into());
            drop_key(&mut self.controller, &at, key);
        }
        if let Some(node) = node_of(object) {
            drop_key(&mut self.node, &node, key);
        }
    }

    pub(super) fn controlled(&self, kind: &Kind, uid: &str) -> impl Iterator<Item = &Key> {
        self.controller.get(&(kind.clone(), uid.into())).into_iter().flatten()
    }

    pub(super) fn on_node(&self, node: &str) -> impl Iterator<Item = &Key> {
        self.node.get(node).into_iter().flatten()
    }
}

fn drop_key<K: Ord>(map: &mut BTreeMap<K, BTreeSet<Key>>, at: &K, key: &Key) {
    if let Some(set) = map.get_mut(at) {
        set.remove(key);
        if set.is_empty() {
            map.remove(at);
        }
    }
}

fn node_of(object: &Object) -> Option<Box<str>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        node_name: Option<Box<str>>,
    }
    if object.kind != Kind::POD {
        return None;
    }
    object.field::<Spec>("spec").ok()?.node_name.filter(|n| !n.is_empty())
}
