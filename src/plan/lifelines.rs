//! What the hypothesis is measured through, and whether a fault would cut it off.

use std::collections::BTreeSet;

use super::Setting;
use crate::{
    cluster::Snapshot,
    faults::{self, Injection},
    types::{
        Finding,
        codes::{guard as code, hazard},
    },
};

/// A Service that answers the queries of judged probes, and the ready pods behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifeline {
    /// `NAMESPACE/NAME`.
    pub service: String,
    /// A probe that asks there.
    pub probe: String,
    /// UIDs.
    pub pods: BTreeSet<String>,
}

/// What the injections take of each lifeline: an error where nothing is left of it.
pub(super) fn findings(setting: &Setting<'_>, injections: &[Injection]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for lifeline in setting.bounds.lifelines.iter().filter(|lifeline| !lifeline.pods.is_empty()) {
        let (cut, all) = (cut(setting.snapshot, lifeline, injections), lifeline.pods.len());
        let (subject, probe) = (format!("service/{}", lifeline.service), &lifeline.probe);
        if cut >= all {
            let message = format!(
                "probe {probe} measures through it, and every pod behind it, {all} in all, would be hit"
            );
            findings.push(Finding::error(code::METRIC_SOURCE, subject, message).remedy(
                "leave its pods out with target.exclude, choose other nodes, or ask elsewhere with --prometheus",
            ));
        } else if cut > 0 {
            let message =
                format!("probe {probe} measures through it, and {cut} of {all} pods behind it would be hit");
            findings.push(Finding::warning(hazard::SOURCE_THINNED, subject, message));
        }
    }
    findings
}

/// How many of the pods are killed, displaced, scaled away or hampered.
fn cut(snapshot: &Snapshot, lifeline: &Lifeline, injections: &[Injection]) -> usize {
    let mut hit: BTreeSet<String> = BTreeSet::new();
    let mut scaled = 0;
    for injection in injections {
        let target = &injection.target;
        hit.extend(injection.displaced.iter().chain([target]).map(|object| object.uid.clone()));
        hit.extend(faults::degraded(injection).into_iter().map(|pod| pod.uid));
        let workload = snapshot.workload_of(target);
        if let Some(workload) = workload.filter(|_| injection.replicas_lost > 0) {
            let behind = snapshot.pods_of(workload).filter(|pod| lifeline.pods.contains(&pod.object.uid));
            scaled += behind.count().min(injection.replicas_lost as usize);
        }
    }
    lifeline.pods.iter().filter(|uid| hit.contains(*uid)).count() + scaled
}
