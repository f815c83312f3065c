//! Who is hit: by target, from a sorted list, by seed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

use super::{
    Round, StepAsk, forecast,
    guard::{self, Ground},
    overlap::holder,
    prepare,
};
use crate::{
    api::Target,
    cluster::{Snapshot, Workload},
    faults::{Fault, FaultInfo, LimitKind, Prepare, TargetKind},
    types::{Amount, Code, Finding, ObjectRef, codes::guard as code},
};

/// A node that the target means and that is not hit, since others can be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Which.
    pub target: ObjectRef,
    /// What speaks against hitting it, in words.
    pub why: String,
}

/// Whether what is chosen is hit at the same time, or batch after batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Together {
    Yes,
    No,
}

/// What another choice of nodes may mend: everything else would be said of any.
const MENDED_BY_CHOICE: [Code; 6] = [
    code::LAST_IN_ZONE,
    code::POD_LIMIT,
    code::PDB_DEADLOCK,
    code::TWO_PDBS,
    code::BYSTANDER,
    code::METRIC_SOURCE,
];

/// One that could be chosen.
#[derive(Clone)]
struct Candidate {
    object: ObjectRef,
    labels: BTreeMap<String, String>,
    zone: Option<String>,
    healthy: bool,
}

/// The step's targets, pinned by UID, in the order of namespace and name. Same target, state and seed:
/// same choice.
///
/// Nodes that cannot be hit are left out as long as enough others can, so that no seed is refused where
/// another is not.
///
/// # Errors
/// Nothing to choose from, a workload that is not there, and too few nodes that can be hit.
pub(super) fn select(
    ask: &StepAsk<'_>,
    fault: &dyn Fault,
    together: Together,
) -> Result<Vec<ObjectRef>, Vec<Finding>> {
    let (candidates, chosen) = wanted(ask, fault.info())?;
    if chosen == candidates.len() || !fault.info().limits.contains(&LimitKind::Nodes) {
        return Ok(drawn(ask, candidates, chosen));
    }
    let unfit = unfit(ask, fault, &candidates);
    let fit: Vec<Candidate> =
        candidates.iter().filter(|candidate| !unfit.contains_key(&candidate.object)).cloned().collect();
    if fit.is_empty() {
        // What is wrong with all of them is best said of those that would be hit.
        return Ok(drawn(ask, candidates, chosen));
    }
    if fit.len() < chosen {
        return Err(unfit.into_values().flatten().collect());
    }
    let targets = drawn(ask, fit.clone(), chosen);
    if together == Together::No {
        return Ok(targets);
    }
    match refusal(ask, &targets) {
        Some(findings) if findings.iter().all(|finding| MENDED_BY_CHOICE.contains(&finding.code)) => {
            Ok(one_by_one(ask, fit, chosen).unwrap_or(targets))
        }
        _ => Ok(targets),
    }
}

/// As many as are wanted that can be hit at the same time: by seed, passing over who does not go with those
/// that are chosen already. None where there are not enough.
fn one_by_one(ask: &StepAsk<'_>, mut fit: Vec<Candidate>, wanted: usize) -> Option<Vec<ObjectRef>> {
    let mut stream = ask.setting.rng.stream(&format!("{}, one by one", purpose(ask)));
    let mut order = Vec::with_capacity(fit.len());
    while !fit.is_empty() {
        let next = usize::try_from(stream.below(fit.len() as u64)).unwrap_or(0);
        order.push(fit.swap_remove(next).object);
    }
    let mut chosen = as_far_as(&order, wanted, |some| refusal(ask, some).is_none());
    chosen.sort();
    (chosen.len() == wanted).then_some(chosen)
}

/// The first `wanted` of `order` that go together, each passed over that does not go with those before it. What goes
/// together does so with fewer, too: so many are tried at a time, more after each success, or among thousands each
/// would be judged with all that are chosen already.
fn as_far_as(order: &[ObjectRef], wanted: usize, together: impl Fn(&[ObjectRef]) -> bool) -> Vec<ObjectRef> {
    let (mut chosen, mut rest, mut size): (Vec<ObjectRef>, _, _) = (Vec::new(), order, wanted);
    while chosen.len() < wanted && !rest.is_empty() {
        let before = chosen.len();
        let some = size.min(wanted - before).min(rest.len());
        chosen.extend_from_slice(&rest[..some]);
        if together(&chosen) {
            rest = &rest[some..];
            size = some * 2;
            continue;
        }
        chosen.truncate(before);
        if some == 1 {
            rest = &rest[1..];
        }
        size = (some / 2).max(1);
    }
    chosen
}

/// What speaks against hitting these at the same time.
fn refusal(ask: &StepAsk<'_>, targets: &[ObjectRef]) -> Option<Vec<Finding>> {
    let round = Round { only: Some(targets), ..ask.round };
    prepare(&StepAsk { round, ..*ask }).err()
}

/// The candidates that cannot be hit, each taken alone, and why.
fn unfit(
    ask: &StepAsk<'_>,
    fault: &dyn Fault,
    candidates: &[Candidate],
) -> BTreeMap<ObjectRef, Vec<Finding>> {
    let setting = ask.setting;
    let ground = Ground::of(ask, fault.info());
    let findings = |target: &ObjectRef| {
        let targets = std::slice::from_ref(target);
        let mut findings = ground.findings(targets);
        let request = Prepare {
            step: ask.step,
            params: ask.params,
            targets,
            snapshot: setting.snapshot,
            bystanders: &setting.consent.bystanders,
            image: setting.image,
            agents: setting.agents,
            until: setting.until,
            now: setting.now,
        };
        match fault.prepare(&request) {
            Ok(injections) => {
                findings.extend(forecast::budgets(setting.snapshot, &injections));
                findings.extend(guard::bystanders(setting, &injections));
            }
            Err(more) => findings.extend(more),
        }
        findings.retain(Finding::is_error);
        findings
    };
    let judged = candidates.iter().map(|candidate| (candidate.object.clone(), findings(&candidate.object)));
    judged.filter(|(_, findings)| !findings.is_empty()).collect()
}

/// The nodes that the step's target means and that are left out, for the plan.
pub(super) fn left_out(ask: &StepAsk<'_>, fault: &dyn Fault) -> Vec<LeftOut> {
    let info = fault.info();
    let (Ok((all, count)), Ok((candidates, chosen))) = (eligible(ask, info), wanted(ask, info)) else {
        return Vec::new();
    };
    if count == Amount::All || !info.limits.contains(&LimitKind::Nodes) {
        return Vec::new();
    }
    let down = all.into_iter().filter(|candidate| !candidate.healthy);
    let mut left: Vec<LeftOut> = down
        .map(|candidate| LeftOut { target: candidate.object, why: "it is not ready".to_owned() })
        .collect();
    if chosen < candidates.len() {
        left.extend(unfit(ask, fault, &candidates).into_iter().map(|(target, findings)| {
            let why: Vec<String> = findings
                .into_iter()
                .map(|finding| match finding.subject == target.to_string() {
                    true => finding.message,
                    false => format!("{}: {}", finding.subject, finding.message),
                })
                .collect();
            LeftOut { target, why: why.join("; ") }
        }));
    }
    left.sort_by(|one, other| one.target.cmp(&other.target));
    left
}

/// Those that may be chosen, and how many of them are to be: one at the least.
fn wanted(ask: &StepAsk<'_>, info: &FaultInfo) -> Result<(Vec<Candidate>, usize), Vec<Finding>> {
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
    Ok((candidates, chosen))
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
    ask.setting.rng.stream(&purpose(ask)).choose(objects, count)
}

/// What the choice is for, as the seed's streams are named.
fn purpose(ask: &StepAsk<'_>) -> String {
    match ask.round.first {
        0 => format!("select {}", ask.step),
        round => format!("select {} {round}", ask.step),
    }
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
    if info.agent {
        // What is not there yet has nothing that could be disturbed; it is looked at again as it comes.
        candidates.retain(|candidate| {
            let pod = snapshot.pod(&candidate.object);
            pod.is_some_and(|pod| !pod.node.is_empty() && pod.phase == "Running")
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
pub fn kind_of(text: &str) -> Option<(&'static str, &str)> {
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
fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    /// Those of a zone go together while fewer than `room` of it are chosen.
    fn fits(some: &[ObjectRef], room: usize) -> bool {
        let mut zones: BTreeMap<char, usize> = BTreeMap::new();
        some.iter()
            .filter_map(|node| node.name.chars().next())
            .for_each(|z| *zones.entry(z).or_default() += 1);
        zones.values().all(|chosen| *chosen <= room)
    }

    fn one_after_the_other(order: &[ObjectRef], wanted: usize, room: usize) -> Vec<ObjectRef> {
        let mut chosen: Vec<ObjectRef> = Vec::new();
        for next in order {
            if chosen.len() == wanted {
                break;
            }
            chosen.push(next.clone());
            if !fits(&chosen, room) {
                chosen.pop();
            }
        }
        chosen
    }

    proptest! {
        #[test]
        fn several_at_a_time_are_those_of_one_after_the_other(
            zones in prop::collection::vec(prop::char::range('a', 'd'), 0..40),
            wanted in 0_usize..40,
            room in 0_usize..15,
        ) {
            let order: Vec<ObjectRef> =
                zones.iter().enumerate().map(|(number, zone)| ObjectRef::node(&format!("{zone}{number}"))).collect();
            let chosen = as_far_as(&order, wanted, |some| fits(some, room));
            prop_assert_eq!(chosen, one_after_the_other(&order, wanted, room));
        }
    }

    #[test]
    fn thousands_are_not_judged_one_by_one() {
        // Zone by zone in turn, and the last of each zone has to stay.
        let order: Vec<ObjectRef> = (0..6_000)
            .map(|number| ObjectRef::node(&format!("{}{number}", ["a", "b", "c"][number % 3])))
            .collect();
        let judged = Cell::new(0);
        let chosen = as_far_as(&order, 5_997, |some| {
            judged.set(judged.get() + 1);
            fits(some, 1_999)
        });
        assert_eq!(chosen.len(), 5_997);
        assert!(judged.get() < 100, "{}", judged.get());
    }
}
