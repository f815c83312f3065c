//! The world as decisions see it, at one instant.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    autoscaler::Autoscaler,
    machine::Machine,
    view::{Node, Owner, Pdb, Pod, Space, Workload},
};
use crate::types::ObjectRef;

/// Namespace (empty for cluster-scoped objects) and name; a workload's kind comes in between.
pub type Key = (String, String);

/// What is known of the cluster, sorted; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Pods.
    pub pods: Arc<BTreeMap<Key, Arc<Pod>>>,
    /// Nodes, by name.
    pub nodes: Arc<BTreeMap<Key, Arc<Node>>>,
    /// PodDisruptionBudgets.
    pub pdbs: Arc<BTreeMap<Key, Arc<Pdb>>>,
    /// Workloads; the key's second part is `Kind/name`.
    pub workloads: Arc<BTreeMap<Key, Arc<Workload>>>,
    /// HorizontalPodAutoscalers.
    pub autoscalers: Arc<BTreeMap<Key, Arc<Autoscaler>>>,
    /// Machines and NodeClaims, where they are followed; the key's second part is `Kind/name`.
    pub machines: Arc<BTreeMap<Key, Arc<Machine>>>,
    /// Which of the two kinds the server knows.
    pub machine_kinds: Arc<BTreeSet<String>>,
    /// Namespaces, by name.
    pub spaces: Arc<BTreeMap<Key, Arc<Space>>>,
    /// UIDs of the pods that each EndpointSlice sends requests to.
    pub endpoints: Arc<BTreeMap<Key, Arc<Vec<String>>>>,
    /// Guardrails as the server has them, where they are followed.
    pub guardrails: Arc<BTreeMap<Key, Arc<Value>>>,
}

impl Snapshot {
    /// The pod of this name and UID (any UID if `pod` has none).
    pub fn pod(&self, pod: &ObjectRef) -> Option<&Arc<Pod>> {
        let found = self.pods.get(&(pod.namespace.clone(), pod.name.clone()))?;
        (pod.uid.is_empty() || found.object.uid == pod.uid).then_some(found)
    }

    /// Whether a pod, node or workload of this name and UID is there.
    pub fn has(&self, object: &ObjectRef) -> bool {
        let same = |found: Option<&ObjectRef>| found.is_some_and(|found| found.uid == object.uid);
        match object.kind.as_str() {
            "Pod" => self.pod(object).is_some(),
            "Node" => same(self.node(&object.name).map(|node| &node.object)),
            "HorizontalPodAutoscaler" => same(self.autoscaler(object).map(|found| &found.object)),
            kind => same(self.workload(&object.namespace, kind, &object.name).map(|found| &found.object)),
        }
    }

    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(&(String::new(), name.to_owned()))
    }

    /// The namespace called `name`.
    pub fn space(&self, name: &str) -> Option<&Arc<Space>> {
        self.spaces.get(&(String::new(), name.to_owned()))
    }

    /// The workload of this kind and name.
    pub fn workload(&self, namespace: &str, kind: &str, name: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(&(namespace.to_owned(), format!("{kind}/{name}")))
    }

    /// The workload that `object` is, or that it scales, when it is an autoscaler.
    pub fn workload_of(&self, object: &ObjectRef) -> Option<&Arc<Workload>> {
        if object.kind == "HorizontalPodAutoscaler" {
            let (kind, name) = &self.autoscaler(object)?.target;
            return self.workload(&object.namespace, kind, name);
        }
        self.workload(&object.namespace, &object.kind, &object.name)
    }

    /// The autoscaler of this name.
    pub fn autoscaler(&self, object: &ObjectRef) -> Option<&Arc<Autoscaler>> {
        self.autoscalers.get(&(object.namespace.clone(), object.name.clone()))
    }

    /// Pods in `namespace`.
    pub fn pods_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        in_namespace(&self.pods, namespace)
    }

    /// Pods bound to `node`.
    pub fn pods_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.pods.values().filter(move |pod| pod.node == node)
    }

    /// The budgets that cover `pod`.
    pub fn pdbs_of<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Arc<Pdb>> {
        in_namespace(&self.pdbs, &pod.object.namespace).filter(|pdb| pdb.selector.matches(&pod.labels))
    }

    /// The workload that a pod belongs to in the end: the Deployment of its ReplicaSet, say.
    pub fn top_owner(&self, pod: &Pod) -> Option<Owner> {
        let mut owner = pod.owner.clone()?;
        while let Some(workload) = self.workload(&pod.object.namespace, &owner.kind, &owner.name)
            && let Some(above) = &workload.owner
        {
            owner = above.clone();
        }
        Some(owner)
    }

    /// The pods of a workload that are on their way neither out nor to their end.
    pub fn pods_of<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = &'a Arc<Pod>> {
        let owners = self.owners_under(workload);
        self.pods_in(&workload.object.namespace).filter(move |pod| {
            let owned = || {
                let owner = pod.owner.as_ref()?;
                owners.contains(&(owner.kind.as_str(), owner.name.as_str())).then_some(())
            };
            !pod.terminating && !pod.finished() && workload.selector.matches(&pod.labels) && owned().is_some()
        })
    }

    /// Kind and name of what makes pods that belong to a workload in the end: of itself and of all that it has
    /// made, as the ReplicaSets of a Deployment. Nothing, when it belongs to something itself.
    fn owners_under<'a>(&'a self, workload: &'a Workload) -> BTreeSet<(&'a str, &'a str)> {
        let mut owners = BTreeSet::new();
        if workload.owner.is_some() {
            return owners;
        }
        owners.insert((workload.object.kind.as_str(), workload.object.name.as_str()));
        loop {
            let before = owners.len();
            for below in in_namespace(&self.workloads, &workload.object.namespace) {
                let above = below.owner.as_ref();
                if above.is_some_and(|owner| owners.contains(&(owner.kind.as_str(), owner.name.as_str()))) {
                    owners.insert((below.object.kind.as_str(), below.object.name.as_str()));
                }
            }
            if owners.len() == before {
                return owners;
            }
        }
    }

    /// The autoscaler of a workload.
    pub fn autoscaler_of<'a>(&'a self, workload: &'a ObjectRef) -> Option<&'a Arc<Autoscaler>> {
        self.autoscalers_of(workload).next()
    }

    /// All autoscalers that name this workload; more than one is a mistake of its owner.
    pub fn autoscalers_of<'a>(
        &'a self,
        workload: &'a ObjectRef,
    ) -> impl Iterator<Item = &'a Arc<Autoscaler>> {
        in_namespace(&self.autoscalers, &workload.namespace)
            .filter(|hpa| hpa.target.0 == workload.kind && hpa.target.1 == workload.name)
    }

    /// Whether any Service sends requests to the pod of this UID.
    pub fn serves(&self, namespace: &str, uid: &str) -> bool {
        in_namespace(&self.endpoints, namespace).any(|uids| uids.iter().any(|other| other == uid))
    }
}

fn in_namespace<'a, V>(map: &'a BTreeMap<Key, V>, namespace: &'a str) -> impl Iterator<Item = &'a V> {
    map.range((namespace.to_owned(), String::new())..)
        .take_while(move |((of, _), _)| of == namespace)
        .map(|(_, value)| value)
}
