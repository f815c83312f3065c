//! How far the damage may go: the file, tightened by every Guardrail that covers it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Lifeline, Setting, by_pods};
use crate::{
    api::{Action, Closed, ExperimentSpec, Guardrail, GuardrailSpec, Hours, Limits, Target},
    cluster::{Snapshot, Space},
    faults::{self, Injection, LimitKind},
    types::{
        Amount, Finding, ObjectRef,
        codes::{guard as code, hazard},
        counted,
    },
};

/// What there is to do about approvals.
const NO_CONTROLLER: &str =
    "the controller collects them: firedrill run --controller FILE, then firedrill approve by somebody else";

/// Whether these labels of a namespace or a node consent to experiments.
fn consents(labels: &BTreeMap<String, String>) -> bool {
    labels.get("firedrill.dev/allowed").is_some_and(|value| value == "true")
}

/// Who has agreed to what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// Namespaces that were named with `--allow-namespace`.
    pub namespaces: BTreeSet<String>,
    /// Namespaces whose pods may be evicted with a node.
    pub bystanders: BTreeSet<String>,
    /// How many others have agreed.
    pub approvals: u32,
    /// Whether a node has to consent too, by the same label as a namespace.
    pub of_nodes: bool,
}

impl Consent {
    /// Whether `namespace` has consented, by label or by flag.
    pub fn given(&self, namespace: &str, space: Option<&Space>) -> bool {
        self.namespaces.contains(namespace) || space.is_some_and(|space| consents(&space.labels))
    }

    /// Whether a node may be hit, as far as it is asked.
    pub fn given_by_node(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.of_nodes || consents(labels)
    }
}

/// The limits that hold: of several, the one that comes out smallest.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Not ready, of what a workload wants.
    pub pods: Vec<Amount>,
    /// Hampered, of what a workload wants.
    pub degraded: Vec<Amount>,
    /// Not ready or unschedulable, of all nodes.
    pub nodes: Vec<Amount>,
    /// First injection to the end of the method.
    pub duration: Duration,
    /// Only nodes that all of these select may be hit: by Guardrail.
    pub node_rules: Vec<(String, LabelSelector)>,
    /// What the hypothesis is measured through: never all of it may be hit.
    pub lifelines: Vec<Lifeline>,
}

impl Bounds {
    /// The file's limits, tightened.
    pub fn new(limits: &Limits, guardrails: &[&Guardrail]) -> Self {
        let mut bounds = Self {
            pods: vec![limits.pods()],
            degraded: limits.degraded_pods.into_iter().collect(),
            nodes: vec![limits.nodes()],
            duration: limits.duration(),
            node_rules: Vec::new(),
            lifelines: Vec::new(),
        };
        for Guardrail { metadata, spec: guardrail } in guardrails {
            if guardrail.nodes.selector != LabelSelector::default() {
                bounds.node_rules.push((metadata.name.clone(), guardrail.nodes.selector.clone()));
            }
            bounds.pods.extend(guardrail.limits.pods);
            bounds.degraded.extend(guardrail.limits.degraded_pods);
            bounds.nodes.extend(guardrail.limits.nodes);
            if let Some(duration) = guardrail.limits.duration {
                bounds.duration = bounds.duration.min(duration.0);
            }
        }
        bounds
    }

    /// How many pods of `wanted` may be not ready.
    pub fn pods_of(&self, wanted: usize) -> usize {
        smallest(&self.pods, wanted)
    }

    /// How many pods of `wanted` may be hampered: all, if nobody says otherwise.
    pub fn degraded_of(&self, wanted: usize) -> usize {
        self.degraded.iter().map(|amount| amount.bound_of(wanted)).min().unwrap_or(wanted)
    }

    /// How many of `all` nodes may be out.
    pub fn nodes_of(&self, all: usize) -> usize {
        smallest(&self.nodes, all)
    }

    /// In words, for the plan and the report of `spec`: with what counts for pods that are hampered where something
    /// of it hampers any.
    pub fn in_words(&self, spec: &ExperimentSpec) -> BTreeMap<String, String> {
        let words = |amounts: &[Amount]| {
            let mut words: Vec<String> = amounts.iter().map(ToString::to_string).collect();
            words.dedup();
            words.join(" and ")
        };
        let hampers = |kind: &str| {
            faults::find(kind).is_some_and(|fault| fault.info().limits.contains(&LimitKind::DegradedPods))
        };
        let mut steps = spec.method.iter();
        let hampers = steps.any(|step| matches!(&step.action, Action::Fault { kind, .. } if hampers(kind)));
        let degraded = match self.degraded.is_empty() {
            true => hampers.then(|| "all".to_owned()),
            false => Some(words(&self.degraded)),
        };
        [
            ("pods".to_owned(), words(&self.pods)),
            ("nodes".to_owned(), words(&self.nodes)),
            ("duration".to_owned(), crate::types::Length(self.duration).to_string()),
        ]
        .into_iter()
        .chain(degraded.map(|words| ("degradedPods".to_owned(), words)))
        .collect()
    }
}

/// Limits that are a count and allow all of what is hit: a percent sign may have been forgotten.
pub(super) fn lifted(setting: &Setting<'_>, injections: &[Injection]) -> Vec<Finding> {
    let (snapshot, bounds) = (setting.snapshot, setting.bounds);
    let owner_of = |pod: &ObjectRef| {
        let pod = snapshot.pod(pod)?;
        let owner = snapshot.top_owner(pod)?;
        snapshot.workload(&pod.object.namespace, &owner.kind, &owner.name)
    };
    let mut wanted: BTreeMap<&ObjectRef, usize> = BTreeMap::new();
    for Injection { target, displaced, .. } in injections {
        let owners = displaced.iter().chain([target]).filter_map(owner_of);
        for workload in owners.chain(snapshot.workload(&target.namespace, &target.kind, &target.name)) {
            wanted.insert(&workload.object, usize::try_from(workload.replicas).unwrap_or(0));
        }
    }
    let mut findings: Vec<Finding> = wanted
        .into_iter()
        .filter(|(_, wanted)| *wanted > 0 && bounds.pods_of(*wanted) >= *wanted)
        .filter_map(|(workload, wanted)| {
            no_limit(("pods", "pod"), &bounds.pods, workload.to_string(), wanted)
        })
        .collect();
    let all = snapshot.nodes.len();
    if injections.iter().any(|injection| injection.target.kind == "Node") && bounds.nodes_of(all) >= all {
        findings.extend(no_limit(("nodes", "node"), &bounds.nodes, "nodes".to_owned(), all));
    }
    findings
}

/// That a count of the file's limits nothing.
fn no_limit(
    (limit, one): (&str, &str),
    amounts: &[Amount],
    subject: String,
    whole: usize,
) -> Option<Finding> {
    let Some(Amount::Count(count)) = amounts.first().copied() else { return None };
    let meant = match count {
        count if count as usize > whole && count <= 100 => format!("; did you mean {count}%?"),
        _ => String::new(),
    };
    let (allowed, there) = (counted(count as usize, one), counted(whole, one));
    let message =
        format!("limits.{limit} allows {allowed}, and there are {there} in all, so it limits nothing{meant}");
    Some(
        Finding::warning(hazard::NO_LIMIT, subject, message).remedy(format!(
            "write limits.{limit} as a share with a percent sign, or as a count below {whole}"
        )),
    )
}

fn smallest(amounts: &[Amount], total: usize) -> usize {
    amounts.iter().map(|amount| amount.bound_of(total)).min().unwrap_or(0)
}

/// The Guardrails that cover an experiment in these namespaces.
pub fn covering<'a>(
    guardrails: &'a [Guardrail],
    snapshot: &Snapshot,
    namespaces: &BTreeSet<String>,
) -> Vec<&'a Guardrail> {
    guardrails
        .iter()
        .filter(|guardrail| {
            // What cannot be told counts as covered.
            let covers = |namespace: &String| guardrail.covers(&snapshot.space(namespace)?.labels);
            namespaces.iter().any(|namespace| covers(namespace).unwrap_or(true))
        })
        .collect()
}

/// The namespaces that an experiment concerns: the file's and those of its targets.
pub fn namespaces(spec: &ExperimentSpec, own: &str) -> BTreeSet<String> {
    let targets = spec.method.iter().filter_map(|step| step.target.as_ref());
    let others = targets.filter_map(|target: &Target| target.namespace.clone());
    others.chain([own.to_owned()]).collect()
}

/// The namespaces whose lease a run holds: all that it concerns, if it disturbs anything at all.
pub fn leased(spec: &ExperimentSpec, own: &str) -> BTreeSet<String> {
    let disturbs = |action: &Action| matches!(action, Action::Fault { .. } | Action::Load(_));
    let changes = by_pods(spec) || spec.method.iter().any(|step| disturbs(&step.action));
    if changes { namespaces(spec, own) } else { BTreeSet::new() }
}

/// What the environment and the Guardrails say against running `spec` at all, now.
pub fn guardrail_findings(
    spec: &ExperimentSpec,
    own: &str,
    (snapshot, guardrails): (&Snapshot, &[Guardrail]),
    (approvals, now): (u32, Timestamp),
) -> Vec<Finding> {
    let covering = covering(guardrails, snapshot, &namespaces(spec, own));
    let mut findings = standing((spec, approvals), snapshot, guardrails, &covering);
    for guardrail in covering {
        let (name, rule) = (format!("guardrail/{}", guardrail.metadata.name), &guardrail.spec);
        let refuse = |message: String| Finding::error(code::GUARDRAIL, &name, message);
        if rule.halt {
            findings.push(
                refuse(format!("all experiments are halted: {}", halted(rule)))
                    .remedy("wait until spec.halt is false again (firedrill unhalt)"),
            );
        }
        if rule.concurrent_runs == Some(0) {
            findings.push(refuse("no run may start (concurrentRuns: 0)".to_owned()));
        }
        findings.extend(calendar(rule, now).map(refuse));
    }
    findings
}

/// Why somebody has halted everything.
pub(super) fn halted(rule: &GuardrailSpec) -> &str {
    if rule.halt_reason.is_empty() { "no reason given" } else { &rule.halt_reason }
}

/// What holds as long as a run goes on, whatever time it is; `approvals`: how many others have agreed.
pub(super) fn standing(
    (spec, approvals): (&ExperimentSpec, u32),
    snapshot: &Snapshot,
    guardrails: &[Guardrail],
    covering: &[&Guardrail],
) -> Vec<Finding> {
    let mut findings = environment(snapshot, guardrails, (covering, approvals));
    for guardrail in covering {
        let (name, rule) = (format!("guardrail/{}", guardrail.metadata.name), &guardrail.spec);
        let refuse = |message: String| Finding::error(code::GUARDRAIL, &name, message);
        if rule.approvals.required > approvals {
            let message = format!(
                "{} by others required, and {approvals} there",
                counted(rule.approvals.required as usize, "approval"),
            );
            findings.push(refuse(message).remedy(NO_CONTROLLER));
        }
        for step in &spec.method {
            if let Action::Fault { kind, .. } = &step.action
                && !rule.faults.allows(kind)
            {
                findings.push(refuse(format!("the fault {kind} of step {} is not allowed", step.name)));
            }
        }
    }
    findings
}

/// Whether these labels, of the namespace kube-system, say that this is production.
pub fn labelled_production(labels: &BTreeMap<String, String>) -> bool {
    labels.get("firedrill.dev/environment").is_some_and(|value| value == "production")
}

/// The Guardrail that says that this is production.
pub fn declared_production(guardrails: &[Guardrail]) -> Option<&Guardrail> {
    guardrails.iter().find(|guardrail| guardrail.spec.environment == "production")
}

/// Whether this is production, and whether somebody in charge has agreed in writing.
fn environment(
    snapshot: &Snapshot,
    guardrails: &[Guardrail],
    (covering, approvals): (&[&Guardrail], u32),
) -> Vec<Finding> {
    let labelled = snapshot.space("kube-system").is_some_and(|space| labelled_production(&space.labels));
    let declared = declared_production(guardrails);
    let why = match (labelled, declared) {
        (true, _) => "namespace kube-system carries firedrill.dev/environment=production".to_owned(),
        (false, Some(guardrail)) => format!("Guardrail {} says so", guardrail.metadata.name),
        (false, None) => return Vec::new(),
    };
    if covering.iter().any(|guardrail| guardrail.spec.allow_production) {
        if approvals > 0 {
            return Vec::new();
        }
        let message = format!(
            "the cluster is production ({why}); approval by somebody else is compulsory here, and nobody has agreed"
        );
        return vec![Finding::error(code::PRODUCTION, "cluster", message).remedy(NO_CONTROLLER)];
    }
    let message = format!("the cluster is production ({why})");
    vec![Finding::error(code::PRODUCTION, "cluster", message).remedy("run it elsewhere; no flag opens this")]
}

/// What a Guardrail's windows and blackouts say of `now`.
pub(super) fn calendar(rule: &GuardrailSpec, now: Timestamp) -> Option<String> {
    if rule.windows.is_empty() && rule.blackouts.is_empty() {
        return None;
    }
    let hours = match Hours::new(rule.time_zone.as_deref(), &rule.windows, &rule.blackouts) {
        Ok(hours) => hours,
        Err(why) => return Some(format!("{why}, so its windows cannot be read")),
    };
    hours.closed_at(now).map(|closed| match closed {
        Closed::Blackout(name) => format!("today is in its blackout {name}"),
        _ => format!("{} is outside its windows", hours.local(now).strftime("%A %H:%M %Z")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Metadata;

    fn rule(spec: serde_json::Value) -> GuardrailSpec {
        serde_json::from_value(spec).expect("a guardrail")
    }

    #[test]
    fn the_strictest_limit_holds() {
        let spec = rule(json!({"limits": {"pods": 3, "duration": "30m"}}));
        let guardrail = Guardrail { metadata: Metadata::default(), spec };
        let bounds = Bounds::new(&Limits::default(), &[&guardrail]);
        assert_eq!((bounds.pods_of(4), bounds.pods_of(100)), (2, 3));
        assert_eq!(bounds.duration.as_secs(), 1800);
        assert_eq!(bounds.nodes_of(3), 1);
    }

    #[test]
    fn windows_and_blackouts_are_local_time() {
        let rule = rule(json!({
            "timeZone": "Europe/London",
            "windows": [{"days": ["Tuesday"], "from": "09:00", "to": "17:00"}],
            "blackouts": [{"name": "freeze", "from": "12-20", "to": "01-06"}],
        }));
        for (now, open) in [
            ("2026-11-24T09:00:00Z", true),
            ("2026-11-24T17:00:00Z", false),
            ("2026-11-25T10:00:00Z", false),
            ("2026-07-07T08:30:00Z", true),
            ("2026-12-22T10:00:00Z", false),
            ("2027-01-05T10:00:00Z", false),
        ] {
            assert_eq!(calendar(&rule, now.parse().expect("a time")).is_none(), open, "{now}");
        }
    }
}
