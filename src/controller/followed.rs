//! The objects of one kind as a watch has told of them.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::DynamicObject;

use crate::cluster::Change;

/// What is kept of each, by name.
#[derive(Debug)]
pub(super) struct Followed<T> {
    items: BTreeMap<String, T>,
    /// Those that a list which is under way has not shown yet.
    unseen: BTreeSet<String>,
    /// Whether all were listed once.
    listed: bool,
    listing: bool,
    /// Whether something has changed since it was asked last.
    changed: bool,
}

impl<T> Default for Followed<T> {
    fn default() -> Self {
        let (items, unseen) = (BTreeMap::new(), BTreeSet::new());
        Self { items, unseen, listed: false, listing: false, changed: false }
    }
}

impl<T: PartialEq> Followed<T> {
    /// Takes in what a watch says; `read`: what is kept of an object.
    pub(super) fn take(&mut self, change: Change, read: impl Fn(&DynamicObject) -> Option<T>) {
        match change {
            Change::Listing => {
                self.unseen = self.items.keys().cloned().collect();
                self.listing = true;
            }
            Change::Listed => {
                for gone in std::mem::take(&mut self.unseen) {
                    self.items.remove(&gone);
                    self.changed = true;
                }
                self.changed |= !self.listed;
                (self.listed, self.listing) = (true, false);
            }
            Change::Is(found) => {
                let name = found.metadata.name.clone().unwrap_or_default();
                if let Some(item) = read(&found) {
                    self.unseen.remove(&name);
                    self.changed |= self.items.get(&name) != Some(&item);
                    self.items.insert(name, item);
                }
            }
            Change::Gone(found) => {
                let name = found.metadata.name.unwrap_or_default();
                self.changed |= self.items.remove(&name).is_some();
            }
            Change::Broken(why) => tracing::warn!(why, "a watch on rules broke off; it begins again"),
        }
    }

    /// Whether all were listed once.
    pub(super) fn listed(&self) -> bool {
        self.listed
    }

    /// Whether something is other than when this was said to be [`Followed::seen`] last. Not in the middle of a list:
    /// what is there by then belongs to no moment.
    pub(super) fn changed(&self) -> bool {
        self.changed && self.listed && !self.listing
    }

    /// What is there now has been looked at.
    pub(super) fn seen(&mut self) {
        self.changed = false;
    }

    /// All of them, by name.
    pub(super) fn items(&self) -> &BTreeMap<String, T> {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, halt: bool) -> Box<DynamicObject> {
        let value = serde_json::json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Guardrail",
            "metadata": {"name": name}, "spec": {"halt": halt}});
        Box::new(serde_json::from_value(value).expect("an object"))
    }

    #[test]
    fn each_change_is_seen_and_nothing_in_the_middle_of_a_list() {
        let read = |found: &DynamicObject| found.data["spec"]["halt"].as_bool();
        let mut rules = Followed::default();
        for (change, changed) in [
            (Change::Listing, false),
            (Change::Is(object("a", false)), false),
            (Change::Is(object("b", false)), false),
            (Change::Listed, true),
            (Change::Is(object("a", false)), false),
            (Change::Is(object("a", true)), true),
            (Change::Is(object("a", false)), true),
            (Change::Broken("gone".to_owned()), false),
            (Change::Listing, false),
            (Change::Is(object("a", true)), false),
            (Change::Listed, true),
            (Change::Gone(object("a", true)), true),
        ] {
            let what = format!("{change:?}");
            rules.take(change, read);
            assert_eq!(rules.changed(), changed, "{what}");
            if changed {
                rules.seen();
            }
        }
        assert!(rules.listed() && rules.items().is_empty(), "{:?}", rules.items());
    }
}
