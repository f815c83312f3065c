//! What loads would send where, and what speaks against it. Pure.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;

use super::{
    Setting,
    guard::{protected, unwilling},
};
use crate::{
    api::ExperimentSpec,
    load::LoadFrom,
    types::{
        Finding, Length,
        codes::{guard, hazard},
    },
};

/// A load of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedLoad {
    /// Its name, or its step's.
    pub name: String,
    /// What is sent where and how often, in words.
    pub what: String,
    /// How many requests a second, once it has grown.
    pub requests_per_second: u32,
    /// How many may wait at once.
    pub max_in_flight: u32,
    /// How long it lasts; None: for the whole run, or until it is reverted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Length>,
    /// How many requests that is in all, where it is known how long it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Whether it goes on for the whole run.
    pub whole_run: bool,
}

/// Every load of a file.
pub(super) fn planned(spec: &ExperimentSpec) -> Vec<PlannedLoad> {
    let one = |(name, load, step): (&str, &crate::load::LoadSpec, Option<&crate::api::Step>)| {
        let duration = step.and_then(|step| step.duration);
        PlannedLoad {
            name: name.to_owned(),
            what: load.in_words(),
            requests_per_second: load.requests_per_second,
            max_in_flight: load.max_in_flight,
            duration: duration.map(Length),
            requests: duration.map(|duration: Duration| load.pace().due_within(duration).ceil() as u64),
            whole_run: step.is_none(),
        }
    };
    spec.loads().map(one).collect()
}

/// Whether a pod is to send any of the loads.
pub fn by_pods(spec: &ExperimentSpec) -> bool {
    spec.loads().any(|(_, load, _)| load.from == LoadFrom::Pod)
}

/// The calls that pods take which send loads: made, awaited, deleted, and their logs read once a second.
pub(super) fn calls(spec: &ExperimentSpec, setting: &Setting<'_>) -> u64 {
    let longest = Duration::try_from(setting.until.duration_since(setting.now)).unwrap_or_default();
    let pods = spec.loads().filter(|(_, load, _)| load.from == LoadFrom::Pod);
    pods.map(|(.., step)| 10 + step.and_then(|step| step.duration).unwrap_or(longest).as_secs()).sum()
}

/// What speaks against the loads of a file: nothing is sent to who has not agreed, as far as that can be asked.
pub(super) fn findings(spec: &ExperimentSpec, setting: &Setting<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut asked = BTreeSet::new();
    if by_pods(spec) {
        asked.insert(setting.namespace.to_owned());
        findings.extend(unwilling(setting, setting.namespace));
    }
    for (name, load, _) in spec.loads() {
        let subject = format!("load {name}");
        for finding in load.lint() {
            findings.push(Finding { subject: subject.clone(), ..finding });
        }
        match load.service() {
            Some((namespace, _)) if namespace == setting.namespace => {
                if asked.insert(namespace.clone()) {
                    findings.extend(unwilling(setting, &namespace));
                }
            }
            Some((namespace, _)) if protected(&namespace) => {
                let message =
                    format!("it goes to namespace {namespace}, which is protected; nothing opens it");
                findings.push(Finding::error(guard::PROTECTED, subject, message));
            }
            Some((namespace, service)) => {
                let message =
                    format!("it goes to Service {service} of namespace {namespace}, which is not asked");
                findings.push(Finding::warning(hazard::LOAD_ELSEWHERE, subject, message));
            }
            None => {
                let url = load.uri();
                let host = url.as_ref().and_then(|url| url.host()).unwrap_or(&load.url);
                let message =
                    format!("it goes to {host}, which is no Service of namespace {}", setting.namespace);
                findings.push(Finding::warning(hazard::LOAD_ELSEWHERE, subject, message));
            }
        }
    }
    findings
}
