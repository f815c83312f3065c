//! What is deployed: revision, digests, commit. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::state::State;
use crate::{
    cluster::{Snapshot, Workload},
    faults::{self, Injection},
    journal::Deployed,
    types::{InjectionId, ObjectRef},
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
        workloads.extend(snapshot.workload_of(target).map(|workload| workload.object.clone()));
        let hampered = faults::degraded(injection);
        for pod in injection.displaced.iter().chain(&hampered).chain([target]) {
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
    if reported.is_empty() { workload.images() } else { reported.into_iter().collect() }
}

/// What tells one rollout of a workload from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `deployment.kubernetes.io/revision`, for Deployments.
    pub revision: Option<String>,
    /// [`fingerprint`](crate::cluster::fingerprint) of its template.
    pub template: String,
}

/// What was released, by workload.
pub type Releases = BTreeMap<ObjectRef, Release>;

/// The releases of these workloads.
pub fn releases(snapshot: &Snapshot, workloads: &BTreeSet<ObjectRef>) -> Releases {
    let found = workloads
        .iter()
        .filter_map(|object| snapshot.workload(&object.namespace, &object.kind, &object.name));
    found.map(|workload| (workload.object.clone(), released(workload))).collect()
}

fn released(workload: &Workload) -> Release {
    let revision = workload.revision().map(str::to_owned);
    Release { revision, template: workload.fingerprint.clone() }
}

/// The first of these workloads whose release is another than it was, and not ours.
pub fn rolled_out<'a>(snapshot: &Snapshot, releases: &'a Releases, state: &State) -> Option<&'a ObjectRef> {
    let other = |object: &ObjectRef, before: &Release| {
        let workload = snapshot.workload(&object.namespace, &object.kind, &object.name);
        workload
            .filter(|now| now.object == *object)
            .is_some_and(|now| foreign(state, object, (before, &released(now))))
    };
    releases.iter().find(|(object, before)| other(object, before)).map(|(object, _)| object)
}

/// Whether a workload's release is another than `before`, and not of this run's making.
///
/// A fault that writes templates makes a release: from its first write on revisions come and go with it, and
/// templates tell. While it is in force the platform may bring the former one back, and so do we afterwards.
pub fn foreign(state: &State, object: &ObjectRef, (before, now): (&Release, &Release)) -> bool {
    if before == now {
        return false;
    }
    let injections = state.injections.values().filter(|found| found.injection.target == *object);
    let mut writers = injections.filter(|found| writes(&found.injection, "spec.template"));
    !writers.any(|found| {
        // What is under way may have been written; its outcome says with what.
        found.injected.is_none()
            || found.wrote.as_ref() == Some(&now.template)
            || found.lasting && before.template == now.template
    })
}

/// An injection in force whose workload has its former template back, with the revision that it has now: somebody
/// else's doing, unless it is being taken back.
pub fn brought_back(
    snapshot: &Snapshot,
    releases: &Releases,
    state: &State,
) -> Option<(InjectionId, Option<String>)> {
    let mut held = state.injections.values().filter(|found| {
        let begun = found.wrote.is_some() && found.seen.is_some();
        begun && found.pending() && !found.brought_back
    });
    held.find_map(|found| {
        let target = &found.injection.target;
        let now = snapshot.workload_of(target)?;
        let before = releases.get(&now.object)?;
        let back = now.fingerprint == before.template && now.generation.1 >= now.generation.0;
        back.then(|| (found.injection.id.clone(), now.revision().map(str::to_owned)))
    })
}

/// Whether the fault of this injection sets that field.
fn writes(injection: &Injection, field: &str) -> bool {
    faults::find(&injection.fault).is_some_and(|fault| fault.info().writes.contains(&field))
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
        let scaled = in_force
            .iter()
            .filter(|injection| injection.target == workload.object && writes(injection, "spec.replicas"));
        let lost: usize = scaled.map(|injection| injection.replicas_lost as usize).sum();
        let wanted = usize::try_from(workload.replicas).unwrap_or(0) + lost;
        snapshot.pods_of(workload).filter(|pod| !pod.node.is_empty()).count() >= wanted
    })
}
