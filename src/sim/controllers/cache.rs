//! What the controllers know: views of the objects they act on, kept by the store's events, and the indexes between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::views::{
    Autoscaler, DaemonSet, Deployment, Key, Namespace, Node, Pod, PodDisruptionBudget, ReplicaSet, Service,
    StatefulSet, View,
};
use crate::sim::store::{Event, EventType, Kind, Object};

/// Views by namespace and name.
pub type Views<V> = BTreeMap<Key, V>;

/// The controllers' picture of the cluster.
#[derive(Default)]
#[allow(missing_docs, reason = "each field holds the objects that it names")]
pub struct Cache {
    pub pods: Views<Pod>,
    pub nodes: Views<Node>,
    pub deployments: Views<Deployment>,
    pub replica_sets: Views<ReplicaSet>,
    pub stateful_sets: Views<StatefulSet>,
    pub daemon_sets: Views<DaemonSet>,
    pub services: Views<Service>,
    pub budgets: Views<PodDisruptionBudget>,
    pub autoscalers: Views<Autoscaler>,
    pub namespaces: Views<Namespace>,
    /// Pods and ReplicaSets by the UID of their controller.
    controlled: BTreeMap<String, BTreeSet<Key>>,
    by_node: BTreeMap<String, BTreeMap<Key, Pod>>,
    /// Pods by namespace, label and value.
    by_label: BTreeMap<(String, String, String), BTreeSet<Key>>,
    /// Every object with owners, by each owner's UID.
    dependents: BTreeMap<String, BTreeMap<(Kind, Key), Arc<Object>>>,
}

/// What an event changed, for those who ask what was before.
#[derive(Default)]
pub struct Change {
    /// The pod before, when the event is about a pod.
    pub pod_before: Option<Pod>,
    /// The pod after.
    pub pod_after: Option<Pod>,
}

impl Cache {
    /// Takes an event in. An object that cannot be read is treated as absent.
    pub fn observe(&mut self, event: &Event) -> Change {
        let object = &event.object;
        let key = Key::new(&object.meta.namespace, &object.meta.name);
        let gone = event.kind == EventType::Deleted;
        self.index_owners(event, &key);
        let mut change = Change::default();
        match &object.kind {
            k if *k == Kind::POD => {
                let (before, after) = put(&mut self.pods, &key, object, gone);
                self.index_pod(before.as_ref(), after.as_ref(), &key);
                change = Change { pod_before: before, pod_after: after };
            }
            k if *k == Kind::REPLICA_SET => {
                let (before, after) = put(&mut self.replica_sets, &key, object, gone);
                self.index_controller(before.as_ref(), after.as_ref(), &key);
            }
            k if *k == Kind::NODE => drop(put(&mut self.nodes, &key, object, gone)),
            k if *k == Kind::DEPLOYMENT => drop(put(&mut self.deployments, &key, object, gone)),
            k if *k == Kind::STATEFUL_SET => drop(put(&mut self.stateful_sets, &key, object, gone)),
            k if *k == Kind::DAEMON_SET => drop(put(&mut self.daemon_sets, &key, object, gone)),
            k if *k == Kind::SERVICE => drop(put(&mut self.services, &key, object, gone)),
            k if *k == Kind::POD_DISRUPTION_BUDGET => drop(put(&mut self.budgets, &key, object, gone)),
            k if *k == Kind::HORIZONTAL_POD_AUTOSCALER => {
                drop(put(&mut self.autoscalers, &key, object, gone));
            }
            k if *k == Kind::NAMESPACE => drop(put(&mut self.namespaces, &key, object, gone)),
            _ => {}
        }
        change
    }

    fn index_controller<S, T>(&mut self, before: Option<&View<S, T>>, after: Option<&View<S, T>>, key: &Key) {
        let uid = |view: Option<&View<S, T>>| view.and_then(|v| v.controller()).map(|o| o.uid.clone());
        reindex(&mut self.controlled, (uid(before), uid(after)), key);
    }

    fn index_pod(&mut self, before: Option<&Pod>, after: Option<&Pod>, key: &Key) {
        self.index_controller(before, after, key);
        if let Some(pods) = before.and_then(|p| self.by_node.get_mut(&p.spec.node_name)) {
            pods.remove(key);
        }
        if let Some(pod) = after.filter(|p| !p.spec.node_name.is_empty()) {
            self.by_node.entry(pod.spec.node_name.clone()).or_default().insert(key.clone(), pod.clone());
        }
        if before.map(|p| &p.meta().labels) == after.map(|p| &p.meta().labels) {
            return;
        }
        let pairs = |pod: &Pod| {
            let all = pod.meta().labels.iter();
            all.map(|(k, v)| (key.namespace.clone(), k.clone(), v.clone())).collect::<Vec<_>>()
        };
        for pair in before.into_iter().flat_map(pairs) {
            reindex(&mut self.by_label, (Some(pair), None), key);
        }
        for pair in after.into_iter().flat_map(pairs) {
            reindex(&mut self.by_label, (None, Some(pair)), key);
        }
    }

    /// The pods of a namespace that carry all pairs, found by the rarest of them; without a pair, all pods.
    pub fn pods_with(&self, namespace: &str, pairs: &BTreeMap<String, String>) -> Vec<&Pod> {
        let at =
            |(k, v): (&String, &String)| self.by_label.get(&(namespace.to_owned(), k.clone(), v.clone()));
        if pairs.is_empty() {
            return Self::within(&self.pods, namespace).map(|(_, pod)| pod).collect();
        }
        let rarest = pairs.iter().map(at).min_by_key(|keys| keys.map_or(0, BTreeSet::len)).flatten();
        let pods = rarest.into_iter().flatten().filter_map(|key| self.pods.get(key));
        pods.filter(|p| super::views::selects(pairs, &p.meta().labels)).collect()
    }

    fn index_owners(&mut self, event: &Event, key: &Key) {
        let object = &event.object;
        for owner in event.previous.iter().flat_map(|o| &o.meta.owner_references) {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(&(object.kind.clone(), key.clone()));
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        if event.kind != EventType::Deleted {
            for owner in &object.meta.owner_references {
                let set = self.dependents.entry(owner.uid.clone()).or_default();
                set.insert((object.kind.clone(), key.clone()), object.clone());
            }
        }
    }

    /// Everything that names this UID among its owners.
    pub fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        self.dependents.get(uid).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// The pods whose controller has this UID.
    pub fn pods_of(&self, uid: &str) -> Vec<&Pod> {
        self.controlled.get(uid).into_iter().flatten().filter_map(|key| self.pods.get(key)).collect()
    }

    /// The ReplicaSets whose controller has this UID.
    pub fn sets_of(&self, uid: &str) -> Vec<&ReplicaSet> {
        self.controlled.get(uid).into_iter().flatten().filter_map(|key| self.replica_sets.get(key)).collect()
    }

    /// The pods bound to a node.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Pod> {
        self.by_node.get(node).into_iter().flat_map(BTreeMap::values)
    }

    /// One node.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(&Key::new("", name))
    }

    /// The views of one namespace.
    pub fn within<'a, V>(views: &'a Views<V>, namespace: &str) -> impl Iterator<Item = (&'a Key, &'a V)> {
        let namespace = namespace.to_owned();
        views.range(Key::new(&namespace, "")..).take_while(move |(key, _)| key.namespace == namespace)
    }

    /// True when a namespace is going away, or is not there.
    pub fn namespace_terminating(&self, name: &str) -> bool {
        self.namespaces.get(&Key::new("", name)).is_none_or(View::terminating)
    }

    /// UID and size of the workload at the top of a pod's owners (the finders of `disruption.go`).
    pub fn scale_of(&self, pod: &Pod) -> Option<(String, i64)> {
        let owner = pod.controller()?;
        let key = Key::new(pod.namespace(), &owner.name);
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = self.replica_sets.get(&key).filter(|s| s.uid() == owner.uid)?;
                let Some(top) = set.controller().filter(|o| o.kind == "Deployment") else {
                    return Some((owner.uid.clone(), set.replicas()));
                };
                let deployment = self.deployments.get(&Key::new(pod.namespace(), &top.name))?;
                (deployment.uid() == top.uid).then(|| (top.uid.clone(), deployment.replicas()))
            }
            "StatefulSet" => {
                let set = self.stateful_sets.get(&key).filter(|s| s.uid() == owner.uid)?;
                Some((owner.uid.clone(), set.spec.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }
}

/// A view before and after an event.
type BeforeAfter<V> = (Option<V>, Option<V>);

fn put<S, T>(
    views: &mut Views<View<S, T>>,
    key: &Key,
    object: &Arc<Object>,
    gone: bool,
) -> BeforeAfter<View<S, T>>
where
    S: DeserializeOwned,
    T: DeserializeOwned,
{
    let before = views.remove(key);
    if gone {
        return (before, None);
    }
    let next = match &before {
        Some(view) => view.next(object.clone()),
        None => View::new(object.clone()),
    };
    match next {
        Ok(view) => {
            views.insert(key.clone(), view.clone());
            (before, Some(view))
        }
        Err(error) => {
            tracing::warn!(object = ?object, %error, "an object that controllers cannot read");
            (before, None)
        }
    }
}

fn reindex<I: Ord>(
    index: &mut BTreeMap<I, BTreeSet<Key>>,
    (before, after): (Option<I>, Option<I>),
    key: &Key,
) {
    if before == after {
        return;
    }
    if let Some(set) = before.as_ref().and_then(|b| index.get_mut(b)) {
        set.remove(key);
    }
    if let Some(empty) = before.filter(|b| index.get(b).is_some_and(BTreeSet::is_empty)) {
        index.remove(&empty);
    }
    if let Some(after) = after {
        index.entry(after).or_default().insert(key.clone());
    }
}
