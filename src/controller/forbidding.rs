//! What Guardrails say of times that are to come: windows, blackouts, the red button. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::api::DynamicObject;

use super::{
    calendar::{Occurrence, Skipped},
    covering,
};
use crate::api::{Closed, Guardrail, Hours};

/// The Guardrails there are, and the labels by which they cover namespaces.
#[derive(Debug, Default)]
pub struct Forbidding {
    rules: BTreeMap<String, Rule>,
    labels: BTreeMap<String, BTreeMap<String, String>>,
}

/// What one Guardrail says of time. None: it cannot be read, and then it refuses every run.
#[derive(Debug)]
struct Rule(Option<Readable>);

#[derive(Debug)]
struct Readable {
    guardrail: Guardrail,
    hours: Result<Hours, String>,
}

impl Forbidding {
    /// One more Guardrail. None: it is there and cannot be read.
    pub fn add(&mut self, name: &str, guardrail: Option<Guardrail>) {
        self.rules.insert(name.to_owned(), Rule::new(guardrail));
    }

    /// One more, as the API server has it.
    pub fn add_found(&mut self, found: &DynamicObject) {
        self.add(found.metadata.name.as_deref().unwrap_or_default(), covering::read(found).ok());
    }

    /// What a namespace is labelled with. One of which nobody says so counts as covered.
    pub fn add_namespace(&mut self, name: &str, labels: BTreeMap<String, String>) {
        self.labels.insert(name.to_owned(), labels);
    }

    /// What keeps a run in these namespaces from being begun then, if anything does.
    pub fn against(&self, namespaces: &BTreeSet<String>, at: Timestamp) -> Option<Skipped> {
        self.rules.iter().find_map(|(name, rule)| {
            let covers = namespaces.iter().any(|namespace| rule.covers(self.labels.get(namespace)));
            let why = rule.against(at).filter(|_| covers)?;
            Some(Skipped::Guardrail { name: name.clone(), why })
        })
    }

    /// The same time, with what Guardrails say of it where it would run.
    pub fn held_against(&self, namespaces: &BTreeSet<String>, due: Occurrence) -> Occurrence {
        let skipped = due.skipped.or_else(|| self.against(namespaces, due.at));
        Occurrence { skipped, ..due }
    }
}

impl Rule {
    fn new(guardrail: Option<Guardrail>) -> Self {
        Self(guardrail.map(|guardrail| {
            let spec = &guardrail.spec;
            let hours = Hours::new(spec.time_zone.as_deref(), &spec.windows, &spec.blackouts);
            Readable { hours, guardrail }
        }))
    }

    /// What cannot be told counts as covered.
    fn covers(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let read = self.0.as_ref().zip(labels);
        read.is_none_or(|(rule, labels)| rule.guardrail.covers(labels).unwrap_or(true))
    }

    fn against(&self, at: Timestamp) -> Option<String> {
        let Some(Readable { guardrail, hours }) = &self.0 else {
            return Some("it cannot be read".to_owned());
        };
        let spec = &guardrail.spec;
        if spec.halt {
            let reason = if spec.halt_reason.is_empty() { "no reason given" } else { &spec.halt_reason };
            return Some(format!("halted: {reason}"));
        }
        if spec.concurrent_runs == Some(0) {
            return Some("no run may start (concurrentRuns: 0)".to_owned());
        }
        match hours {
            Err(why) => Some(format!("{why}, so its windows cannot be read")),
            // The end of a window ends nothing that has begun.
            Ok(hours) => hours.closed_at(at).map(|closed| match closed {
                Closed::Blackout(name) => format!("blackout {name}"),
                _ => "outside its windows".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn forbidding(spec: serde_json::Value) -> Forbidding {
        let value = json!({"metadata": {"name": "platform"}, "spec": spec});
        let mut forbidding = Forbidding::default();
        forbidding.add("platform", Some(Guardrail::from_value(&value).expect("a guardrail")));
        forbidding.add_namespace("shop", BTreeMap::from([("env".to_owned(), "staging".to_owned())]));
        forbidding
    }

    fn said(forbidding: &Forbidding, namespace: &str, at: &str) -> Option<String> {
        let namespaces = BTreeSet::from([namespace.to_owned()]);
        forbidding.against(&namespaces, at.parse().expect("a time")).map(|why| why.to_string())
    }

    #[test]
    fn windows_blackouts_and_the_red_button_are_held_against_times() {
        let rule = forbidding(json!({
            "timeZone": "Europe/London",
            "windows": [{"days": ["Tuesday"], "from": "09:00", "to": "17:00"}],
            "blackouts": [{"name": "freeze", "from": "12-20", "to": "01-06"}],
            "namespaceSelector": {"matchLabels": {"env": "staging"}},
        }));
        for (at, why) in [
            ("2026-11-24T09:00:00Z", None),
            ("2026-11-24T17:00:00Z", Some("Guardrail platform: outside its windows")),
            ("2026-07-07T08:30:00Z", None),
            ("2026-12-22T10:00:00Z", Some("Guardrail platform: blackout freeze")),
        ] {
            assert_eq!(said(&rule, "shop", at).as_deref(), why, "{at}");
        }
        // Nobody says what it is labelled with.
        assert!(said(&rule, "other", "2026-11-24T17:00:00Z").is_some());
        let halted = forbidding(json!({"halt": true, "haltReason": "incident 42"}));
        let why = Some("Guardrail platform: halted: incident 42");
        assert_eq!(said(&halted, "shop", "2026-11-24T10:00:00Z").as_deref(), why);
        let elsewhere =
            forbidding(json!({"halt": true, "namespaceSelector": {"matchLabels": {"env": "test"}}}));
        assert_eq!(said(&elsewhere, "shop", "2026-11-24T10:00:00Z"), None);
        assert!(said(&forbidding(json!({"concurrentRuns": 0})), "shop", "2026-11-24T10:00:00Z").is_some());
        assert_eq!(said(&forbidding(json!({})), "shop", "2026-11-24T10:00:00Z"), None);
    }
}
