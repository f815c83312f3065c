//! Whose pods the faults of a step take, for those who look after them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cluster::{Owner, Pod, Snapshot},
    faults::{self, Injection},
    journal::{Loss, Record},
    types::ObjectRef,
};

/// So many owners are named for a step: one that takes the pods of more is no longer about any of them.
const OWNERS: usize = 100;

/// What is intended of a step from now on.
pub(super) fn intent(step: String, injections: Vec<Injection>, snapshot: &Snapshot) -> Record {
    let owners = losses(&injections, snapshot);
    Record::InjectIntended { step, injections, owners }
}

/// What loses pods to these, and how many: those that are taken away, not those that are hampered where they run.
fn losses(injections: &[Injection], snapshot: &Snapshot) -> Vec<Loss> {
    let pods: BTreeSet<&ObjectRef> = injections.iter().flat_map(taken).collect();
    let mut owners: BTreeMap<ObjectRef, u32> = BTreeMap::new();
    for pod in pods.into_iter().filter_map(|pod| snapshot.pod(pod)) {
        if let Some(owner) = snapshot.top_owner(pod) {
            *owners.entry(named(owner, pod, snapshot)).or_default() += 1;
        }
    }
    owners.into_iter().take(OWNERS).map(|(owner, pods)| Loss { owner, pods }).collect()
}

/// The pods that an injection takes away. What an agent does to a pod leaves it where it is.
fn taken(injection: &Injection) -> impl Iterator<Item = &ObjectRef> {
    let stays = faults::find(&injection.fault).is_none_or(|fault| fault.info().agent);
    let own = (injection.target.kind == "Pod" && !stays).then_some(&injection.target);
    injection.displaced.iter().chain(own)
}

fn named(owner: Owner, pod: &Pod, snapshot: &Snapshot) -> ObjectRef {
    let namespace = &pod.object.namespace;
    match snapshot.workload(namespace, &owner.kind, &owner.name) {
        Some(workload) => workload.object.clone(),
        // Of what is not followed kind and name suffice: its API group is in no list of pods.
        None => ObjectRef::namespaced("", &owner.kind, namespace, &owner.name).with_uid(&owner.uid),
    }
}
