//! What is deployed: revision, digests, commit. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cluster::{Snapshot, Workload},
    faults::Injection,
    journal::Deployed,
    types::ObjectRef,
};

/// Where a template may name the commit it was built from, most telling first.
const COMMITS: [&str; 7] = [
    "org.opencontainers.image.revision",
    "app.kubernetes.io/commit",
    "git-commit",
    "git.commit",
    "commit",
    "vcs-ref",
    "app.kubernetes.io/version",
];

/// The workloads that these injections concern: targets, and owners of targets and of what goes with them.
pub fn concerned(snapshot: &Snapshot, injections: &[Injection]) -> BTreeSet<ObjectRef> {
    let mut workloads = BTreeSet::new();
    for injection in injections {
        let target = &injection.target;
        if let Some(workload) = snapshot.workload(&target.namespace, &target.kind, &target.name) {
            workloads.insert(workload.object.clone());
        }
        for pod in injection.displaced.iter().chain([target]) {
            let owner = snapshot.pod(pod).and_then(|found| Some((found, snapshot.top_owner(found)?)));
            let workload = owner
                .and_then(|(pod, owner)| snapshot.workload(&pod.object.namespace, &owner.kind, &owner.name));
            workloads.extend(workload.map(|workload| workload.object.clone()));
        }
    }
    workloads
}

/// What is deployed in them now.
pub fn look(snapshot: &Snapshot, workloads: &BTreeSet<ObjectRef>) -> Vec<Deployed> {
    let found = workloads
        .iter()
        .filter_map(|object| snapshot.workload(&object.namespace, &object.kind, &object.name));
    found
        .map(|workload| Deployed {
            workload: workload.object.clone(),
            revision: workload.revision().map(str::to_owned),
            images: images(snapshot, workload),
            commit: COMMITS.iter().find_map(|key| workload.template.get(*key)).cloned(),
        })
        .collect()
}

/// As the kubelets report them, with digests; as the template says where no pod runs.
fn images(snapshot: &Snapshot, workload: &Workload) -> Vec<String> {
    let reported: BTreeSet<String> = snapshot.pods_of(workload).flat_map(|pod| pod.images.clone()).collect();
    if reported.is_empty() { workload.images.clone() } else { reported.into_iter().collect() }
}

/// A release: its revision, and the images of its template.
pub type Release = (Option<String>, Vec<String>);

/// What was released, by workload.
pub type Releases = BTreeMap<ObjectRef, Release>;

/// What tells one rollout of a workload from the next: its template's images, and its revision.
pub fn releases(snapshot: &Snapshot, workloads: &BTreeSet<ObjectRef>) -> Releases {
    let found = workloads
        .iter()
        .filter_map(|object| snapshot.workload(&object.namespace, &object.kind, &object.name));
    found
        .map(|workload| {
            (workload.object.clone(), (workload.revision().map(str::to_owned), workload.images.clone()))
        })
        .collect()
}

/// The first of these workloads whose release is another than it was.
pub fn rolled_out<'a>(snapshot: &Snapshot, releases: &'a Releases) -> Option<&'a ObjectRef> {
    let other = |object: &ObjectRef, (revision, images): &Release| {
        let workload = snapshot.workload(&object.namespace, &object.kind, &object.name);
        workload.is_some_and(|now| {
            now.object == *object && (now.revision() != revision.as_deref() || now.images != *images)
        })
    };
    releases.iter().find(|(object, release)| other(object, release)).map(|(object, _)| object)
}

/// Whether every pod that these workloads want is bound to a node. What our own scaling has taken away is
/// still wanted.
pub fn all_bound<'a>(
    snapshot: &Snapshot,
    workloads: impl IntoIterator<Item = &'a ObjectRef>,
    in_force: &[&Injection],
) -> bool {
    let mut found = workloads
        .into_iter()
        .filter_map(|object| snapshot.workload(&object.namespace, &object.kind, &object.name));
    found.all(|workload| {
        let scaled = in_force.iter().filter(|injection| injection.target == workload.object);
        let lost: usize = scaled.map(|injection| injection.replicas_lost as usize).sum();
        let wanted = usize::try_from(workload.replicas).unwrap_or(0) + lost;
        snapshot.pods_of(workload).filter(|pod| !pod.node.is_empty()).count() >= wanted
    })
}
