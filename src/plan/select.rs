//! Who is hit: by target, from a sorted list, by seed.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

use super::{StepAsk, overlap::holder};
use crate::{
    api::Target,
    cluster::{Snapshot, Workload},
    faults::{FaultInfo, TargetKind},
    types::{Amount, Finding, ObjectRef, codes::guard as code},
};

/// One that could be chosen.
struct Candidate {
    object: ObjectRef,
    labels: std::collections::BTreeMap<String, String>,
    zone: Option<String>,
    healthy: bool,
}

/// The step's targets, pinned by UID, in the order of namespace and name. Same target, state and seed:
/// same choice.
///
/// # Errors
/// Nothing to choose from, and a workload that is not there.
pub fn select(ask: &StepAsk<'_>, info: &FaultInfo) -> Result<Vec<ObjectRef>, Vec<Finding>> {
    let (mut candidates, count) = eligible(ask, info)?;
    let found = candidates.len();
    // What is down already is not hit again, unless everything is meant.
    if count != Amount::All {
        candidates.retain(|candidate| candidate.healthy);
        // Nor is what an earlier step holds, as long as there are others.
        let free = |candidate: &Candidate| holder(ask, info, &candidate.object).is_none();
        if candidates.iter().any(free) {
            candidates.retain(free);
        }
    }
    let chosen = count.choose_from(candidates.len());
    if chosen == 0 {
        let namespace = ask.target.namespace.as_deref().unwrap_or(ask.setting.namespace);
        let subject = format!("step {}", ask.step);
        let what = describe(ask.target, namespace);
        let message = if found == 0 {
            format!("{what} selects nothing")
        } else {
            format!("{what} selects {found}, none of them healthy")
        };
        return Err(vec![
            Finding::error(code::NO_TARGET, subject, message)
                .remedy("kubectl get pods,nodes --show-labels shows what there is"),
        ]);
    }
    Ok(drawn(ask, candidates, chosen))
}

/// Those that are there and not hit yet, as many as the count asks for of all that are there now.
pub(super) fn born(
    ask: &StepAsk<'_>,
    info: &FaultInfo,
    hit: &BTreeSet<ObjectRef>,
) -> Result<Vec<ObjectRef>, Vec<Finding>> {
    let (candidates, count) = eligible(ask, info)?;
    let wanted = match count {
        Amount::Count(_) => 0,
        share => share.choose_from(candidates.len()),
    };
    let (old, new): (Vec<Candidate>, Vec<Candidate>) =
        candidates.into_iter().partition(|candidate| hit.contains(&candidate.object));
    let more = wanted.saturating_sub(old.len()).min(new.len());
    Ok(if more == 0 { Vec::new() } else { drawn(ask, new, more) })
}

/// By seed, in the order of namespace and name.
fn drawn(ask: &StepAsk<'_>, candidates: Vec<Candidate>, count: usize) -> Vec<ObjectRef> {
    let objects = candidates.into_iter().map(|candidate| candidate.object).collect();
    let purpose = match ask.round.first {
        0 => format!("select {}", ask.step),
        round => format!("select {} {round}", ask.step),
    };
    ask.setting.rng.stream(&purpose).choose(objects, count)
}

/// Those that may be chosen, and how many are to be.
fn eligible(ask: &StepAsk<'_>, info: &FaultInfo) -> Result<(Vec<Candidate>, Amount), Vec<Finding>> {
    let (target, snapshot) = (ask.target, ask.setting.snapshot);
    let namespace = target.namespace.as_deref().unwrap_or(ask.setting.namespace);
    let mut candidates = candidates(ask, info, namespace)?;
    if let Some(zone) = &target.zone {
        candidates.retain(|candidate| match candidate.object.kind.as_str() {
            "Pod" => zone_of_pod(snapshot, &candidate.object).as_ref() == Some(zone),
            _ => candidate.zone.as_ref() == Some(zone),
        });
    }
    if !target.names.is_empty() {
        candidates.retain(|candidate| target.names.contains(&candidate.object.name));
    }
    if let Some(exclude) = &target.exclude {
        candidates.retain(|candidate| {
            !exclude.names.contains(&candidate.object.name)
                && !exclude.selector.as_ref().is_some_and(|selector| matches(selector, &candidate.labels))
        });
    }
    let zone_alone = target.zone.is_some() && target.nodes.is_none() && target.nodes_running.is_none();
    let whole = info.targets.contains(&TargetKind::Workload);
    let count = match target.count {
        _ if whole => Amount::All,
        Some(count) => count,
        None if zone_alone => Amount::All,
        None => Amount::Count(1),
    };
    Ok((candidates, count))
}

fn candidates(ask: &StepAsk<'_>, info: &FaultInfo, namespace: &str) -> Result<Vec<Candidate>, Vec<Finding>> {
    let (target, snapshot) = (ask.target, ask.setting.snapshot);
    if let Some(selector) = &target.pods {
        return Ok(pods(snapshot, namespace, |pod| matches(selector, &pod.labels)));
    }
    if let Some(text) = &target.workload {
        let workload = workload(ask, text, namespace)?;
        if info.targets.contains(&TargetKind::Workload) {
            let (object, labels) = (workload.object.clone(), workload.labels.clone());
            return Ok(vec![Candidate { object, labels, zone: None, healthy: true }]);
        }
        let uids: BTreeSet<&str> = snapshot.pods_of(workload).map(|pod| pod.object.uid.as_str()).collect();
        return Ok(pods(snapshot, namespace, |pod| uids.contains(pod.object.uid.as_str())));
    }
    let running = match &target.nodes_running {
        Some(text) => {
            let workload = workload(ask, text, namespace)?;
            Some(snapshot.pods_of(workload).map(|pod| pod.node.clone()).collect::<BTreeSet<String>>())
        }
        None => None,
    };
    let nodes = snapshot.nodes.values().filter(|node| {
        running.as_ref().is_none_or(|running| running.contains(&node.object.name))
            && target.nodes.as_ref().is_none_or(|selector| matches(selector, &node.labels))
    });
    Ok(nodes
        .map(|node| Candidate {
            object: node.object.clone(),
            labels: node.labels.clone(),
            zone: node.zone().map(str::to_owned),
            healthy: node.ready,
        })
        .collect())
}

fn pods(
    snapshot: &Snapshot,
    namespace: &str,
    wanted: impl Fn(&crate::cluster::Pod) -> bool,
) -> Vec<Candidate> {
    let alive = snapshot.pods_in(namespace).filter(|pod| !pod.terminating && !pod.finished() && wanted(pod));
    alive
        .map(|pod| Candidate {
            object: pod.object.clone(),
            labels: pod.labels.clone(),
            zone: None,
            healthy: pod.ready,
        })
        .collect()
}

fn zone_of_pod(snapshot: &Snapshot, pod: &ObjectRef) -> Option<String> {
    let pod = snapshot.pod(pod)?;
    snapshot.node(&pod.node)?.zone().map(str::to_owned)
}

fn workload<'a>(ask: &StepAsk<'a>, text: &str, namespace: &str) -> Result<&'a Workload, Vec<Finding>> {
    let found = kind_of(text).and_then(|(kind, name)| ask.setting.snapshot.workload(namespace, kind, name));
    found.map(|workload| &**workload).ok_or_else(|| {
        let message = format!("{text} is not in namespace {namespace}");
        vec![
            Finding::error(code::NO_TARGET, format!("step {}", ask.step), message)
                .remedy(format!("kubectl get deploy,sts,ds,rs -n {namespace}")),
        ]
    })
}

/// Kind and name of `TYPE[.GROUP]/NAME`, with kubectl's short names.
pub(super) fn kind_of(text: &str) -> Option<(&'static str, &str)> {
    let (kind, name) = text.split_once('/')?;
    let kind = kind.strip_suffix(".apps").unwrap_or(kind).to_lowercase();
    let kind = match kind.as_str() {
        "deployment" | "deployments" | "deploy" => "Deployment",
        "statefulset" | "statefulsets" | "sts" => "StatefulSet",
        "replicaset" | "replicasets" | "rs" => "ReplicaSet",
        "daemonset" | "daemonsets" | "ds" => "DaemonSet",
        _ => return None,
    };
    Some((kind, name))
}

/// A selector that cannot be read matches nothing; neither does an empty one, which nobody means.
fn matches(selector: &LabelSelector, labels: &std::collections::BTreeMap<String, String>) -> bool {
    let empty = selector.match_labels.as_ref().is_none_or(std::collections::BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    !empty && Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

fn describe(target: &Target, namespace: &str) -> String {
    let selector = |selector: &LabelSelector| {
        Selector::try_from(selector.clone())
            .map_or_else(|_| "a selector that cannot be read".to_owned(), |s| s.to_string())
    };
    match (&target.pods, &target.workload, &target.nodes, &target.nodes_running) {
        (Some(pods), ..) => format!("pods {} in namespace {namespace}", selector(pods)),
        (_, Some(workload), ..) => format!("{workload} in namespace {namespace}"),
        (_, _, Some(nodes), _) => format!("nodes {}", selector(nodes)),
        (.., Some(workload)) => format!("nodes running {workload}"),
        _ => format!("zone {}", target.zone.as_deref().unwrap_or("?")),
    }
}
