//! What Guardrails say of a run that is under way: they may have changed since it began, and time goes on. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::bounds::{self, Bounds, covering, namespaces};
use crate::{
    api::{ExperimentSpec, Guardrail},
    cluster::Snapshot,
    types::{Amount, Finding},
};

/// Why a run may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overruled {
    /// Somebody has halted everything: which Guardrail, and why.
    Halted(String),
    /// It would be refused by now, or what it was planned by has become tighter.
    Changed(String),
}

/// What a run was begun by.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'a> {
    /// What it does.
    pub spec: &'a ExperimentSpec,
    /// The file's namespace.
    pub namespace: &'a str,
    /// How far the damage may go.
    pub bounds: &'a Bounds,
    /// What was granted.
    pub granted: &'a Granted,
}

/// What was granted beyond the file when the run began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// The namespaces whose pods a Guardrail let go with a node.
    pub bystanders: BTreeSet<String>,
    /// How many others have agreed.
    pub approvals: u32,
}

/// Whether the Guardrails as they are now forbid what goes on; with `at`, also whether something may be injected at
/// that time. What becomes looser is no reason to stop.
pub fn overruled(
    begun: Begun<'_>,
    snapshot: &Snapshot,
    guardrails: &[Guardrail],
    at: Option<Timestamp>,
) -> Option<Overruled> {
    let run = (begun.spec, begun.namespace, begun.granted.approvals);
    if let Some(barred) = barred(run, snapshot, guardrails) {
        return Some(barred);
    }
    let covering = covering(guardrails, snapshot, &namespaces(begun.spec, begun.namespace));
    let tighter = covering.iter().find_map(|guardrail| Some((guardrail, tightened(begun, guardrail)?)));
    if let Some((guardrail, what)) = tighter {
        return Some(Overruled::Changed(by(
            guardrail,
            &format!("{what} is tighter than when the run began"),
        )));
    }
    let allowed: BTreeSet<&String> =
        covering.iter().flat_map(|guardrail| &guardrail.spec.nodes.bystanders).collect();
    if let Some(gone) = begun.granted.bystanders.iter().find(|namespace| !allowed.contains(namespace)) {
        return Some(Overruled::Changed(format!("no Guardrail lets pods of namespace {gone} go any more")));
    }
    let closed =
        covering.iter().find_map(|guardrail| Some((guardrail, bounds::calendar(&guardrail.spec, at?)?)));
    closed.map(|(guardrail, words)| Overruled::Changed(by(guardrail, &words)))
}

fn by(guardrail: &Guardrail, words: &str) -> String {
    format!("Guardrail {}: {words}", guardrail.metadata.name)
}

/// Whether the Guardrails as they are now forbid an experiment of that namespace, begun or still to come, whatever time
/// it is and whatever it was planned by; `approvals`: how many others have agreed.
pub fn barred(
    (spec, namespace, approvals): (&ExperimentSpec, &str, u32),
    snapshot: &Snapshot,
    guardrails: &[Guardrail],
) -> Option<Overruled> {
    let covering = covering(guardrails, snapshot, &namespaces(spec, namespace));
    if let Some(halt) = covering.iter().find(|guardrail| guardrail.spec.halt) {
        return Some(Overruled::Halted(by(halt, bounds::halted(&halt.spec))));
    }
    let findings = bounds::standing((spec, approvals), snapshot, guardrails, &covering);
    let finding = findings.into_iter().find(Finding::is_error)?;
    Some(Overruled::Changed(format!("{}: {}", finding.subject, finding.message)))
}

/// The rule of a Guardrail that the run was not planned by.
fn tightened(begun: Begun<'_>, guardrail: &Guardrail) -> Option<&'static str> {
    let (rule, bounds) = (&guardrail.spec, begun.bounds);
    // One that is implied by what held already changes nothing.
    let new = |held: &[Amount], amount: Option<Amount>| {
        amount.is_some_and(|amount| !held.iter().any(|held| implies(*held, amount)))
    };
    let limits = &rule.limits;
    let longer = limits.duration.is_some_and(|duration| duration.0 < bounds.duration);
    let selected = || (guardrail.metadata.name.clone(), rule.nodes.selector.clone());
    let nodes = rule.nodes.selector != Default::default() && !bounds.node_rules.contains(&selected());
    [
        (new(&bounds.pods, limits.pods), "limits.pods"),
        (new(&bounds.degraded, limits.degraded_pods), "limits.degradedPods"),
        (new(&bounds.nodes, limits.nodes), "limits.nodes"),
        (longer, "limits.duration"),
        (nodes, "nodes.selector"),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}

/// Whether what keeps to the one keeps to the other.
fn implies(held: Amount, other: Amount) -> bool {
    match (held, other) {
        (Amount::Count(held), Amount::Count(other)) => held <= other,
        (Amount::Percent(held), Amount::Percent(other)) => held <= other,
        (_, Amount::All) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{Experiment, Metadata};

    fn guardrail(spec: serde_json::Value) -> Guardrail {
        let spec = serde_json::from_value(spec).expect("a guardrail");
        Guardrail { metadata: Metadata { name: "platform".to_owned(), ..Metadata::default() }, spec }
    }

    fn said(before: serde_json::Value, now: serde_json::Value, at: Option<&str>) -> Option<Overruled> {
        let experiment = Experiment::from_value(&json!({
            "metadata": {"name": "a"},
            "spec": {
                "hypothesis": "x",
                "steadyState": [{"name": "p", "prometheus": {"query": "up"}, "expect": "true"}],
                "method": [{"name": "kill", "target": {"workload": "deployment/a"}, "podKill": {}}],
            },
        }))
        .expect("an experiment");
        let before = guardrail(before);
        let bounds = Bounds::new(&experiment.spec.limits, &[&before]);
        let bystanders = before.spec.nodes.bystanders.iter().cloned().collect();
        let granted = Granted { bystanders, approvals: 0 };
        let begun = Begun { spec: &experiment.spec, namespace: "shop", bounds: &bounds, granted: &granted };
        let at = at.map(|at| at.parse().expect("a time"));
        overruled(begun, &Snapshot::default(), &[guardrail(now)], at)
    }

    #[test]
    fn what_becomes_tighter_ends_a_run_and_what_becomes_looser_does_not() {
        let before = json!({"limits": {"pods": "30%", "nodes": 2, "duration": "30m"}, "nodes": {"bystanders": ["monitoring"]}});
        let with = |change: serde_json::Value| {
            let mut now = before.clone();
            now.as_object_mut().expect("a map").extend(change.as_object().expect("a map").clone());
            said(before.clone(), now, None)
        };
        for (change, tighter) in [
            (json!({}), None),
            (json!({"description": "other words", "concurrentRuns": 0}), None),
            (json!({"limits": {"pods": "40%", "nodes": 2, "duration": "1h"}}), None),
            (json!({"limits": {}}), None),
            (json!({"limits": {"pods": "20%"}}), Some("limits.pods")),
            (json!({"limits": {"pods": 1}}), Some("limits.pods")),
            (json!({"limits": {"degradedPods": "10%"}}), Some("limits.degradedPods")),
            (json!({"limits": {"nodes": 1}}), Some("limits.nodes")),
            (json!({"limits": {"duration": "10m"}}), Some("limits.duration")),
            (
                json!({"nodes": {"bystanders": ["monitoring"], "selector": {"matchLabels": {"a": "b"}}}}),
                Some("nodes.selector"),
            ),
            (json!({"nodes": {}}), Some("namespace monitoring")),
            (json!({"faults": {"denied": ["scale"]}}), None),
            (json!({"faults": {"denied": ["podKill"]}}), Some("podKill")),
            (json!({"approvals": {"required": 1}}), Some("approval")),
            (json!({"environment": "production"}), Some("production")),
        ] {
            let found = with(change.clone());
            match (tighter, found) {
                (None, None) => {}
                (Some(words), Some(Overruled::Changed(message))) if message.contains(words) => {}
                (_, found) => panic!("{change}: {found:?}"),
            }
        }
    }

    #[test]
    fn halt_comes_before_everything_else() {
        let now = json!({"halt": true, "haltReason": "incident 42", "faults": {"denied": ["podKill"]}});
        let halted = Overruled::Halted("Guardrail platform: incident 42".to_owned());
        assert_eq!(said(json!({}), now, None), Some(halted));
    }

    #[test]
    fn windows_are_looked_at_when_something_is_to_be_injected() {
        let rule = json!({"timeZone": "Europe/London", "windows": [{"days": ["Tuesday"], "from": "09:00", "to": "17:00"}]});
        let at = |at| said(rule.clone(), rule.clone(), at);
        assert_eq!((at(None), at(Some("2026-11-24T16:59:59Z"))), (None, None));
        let closed =
            Overruled::Changed("Guardrail platform: Tuesday 17:00 GMT is outside its windows".to_owned());
        assert_eq!(at(Some("2026-11-24T17:00:00Z")), Some(closed));
    }
}
