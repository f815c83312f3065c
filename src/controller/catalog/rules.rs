//! The Guardrails as the catalog knows them: whom they ask for approvals, and what their statuses say. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::told;
use crate::{
    api::{API_VERSION, Guardrail},
    cluster::Change,
    controller::{agreement::Rules, covering, followed::Followed, forbidding::Forbidding, seen::RunSeen},
    types::{ObjectRef, RunId},
};

/// For how long a refusal is counted.
const REFUSED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// A Guardrail.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    object: ObjectRef,
    generation: i64,
    /// Err: why it cannot be read.
    read: Result<Guardrail, String>,
    status: Value,
}

/// All of them, and the labels of all namespaces.
#[derive(Debug, Default)]
pub(super) struct Rulebook {
    rules: Followed<Rule>,
    spaces: Followed<BTreeMap<String, String>>,
    forbidding: Forbidding,
}

impl Rulebook {
    /// Takes in what a watch on Guardrails says: whether one of them says something else now, its status aside.
    pub(super) fn guardrail(&mut self, change: Change) -> bool {
        let before = self.generations();
        self.rules.take(change, Rule::read);
        self.generations() != before
    }

    fn generations(&self) -> Vec<(String, i64)> {
        self.rules.items().iter().map(|(name, rule)| (name.clone(), rule.generation)).collect()
    }

    /// Takes in what a watch on namespaces says.
    pub(super) fn namespace(&mut self, change: Change) {
        self.spaces.take(change, |found| Some(found.metadata.labels.clone().unwrap_or_default()));
    }

    /// What is forbidden follows what has changed.
    pub(super) fn settle(&mut self) {
        if !self.rules.changed() && !self.spaces.changed() {
            return;
        }
        self.rules.seen();
        self.spaces.seen();
        self.forbidding = Forbidding::default();
        for (name, rule) in self.rules.items() {
            self.forbidding.add(name, rule.read.clone().ok());
        }
        for (name, labels) in self.spaces.items() {
            self.forbidding.add_namespace(name, labels.clone());
        }
    }

    /// What they say of times that are to come, as it was settled last.
    pub(super) fn forbidding(&self) -> &Forbidding {
        &self.forbidding
    }

    /// Whether both were listed once.
    pub(super) fn listed(&self) -> bool {
        self.rules.listed() && self.spaces.listed()
    }

    /// Whether somebody has to agree to what is run in a namespace, whatever is said there.
    pub(super) fn ask(&self, namespace: &str) -> bool {
        let read = self.rules.items().values().filter_map(|rule| rule.read.as_ref().ok());
        let none = BTreeMap::new();
        let labels = |name: &str| self.spaces.items().get(name).unwrap_or(&none);
        Rules::over(read, labels("kube-system"), labels(namespace)).required > 0
    }

    /// What each is, the status that it has, and the one that it is to have.
    pub(super) fn statuses(
        &self,
        runs: &BTreeMap<RunId, RunSeen>,
        now: Timestamp,
    ) -> Vec<(&ObjectRef, &Value, Value)> {
        let status = |rule: &Rule| {
            let covered = || runs.values().filter(|run| self.covers(rule, &run.object.namespace));
            let refused = |run: &&RunSeen| {
                run.status["verdict"] == "Refused"
                    && run.completed().is_some_and(|at| now.duration_since(at) < REFUSED_WITHIN)
            };
            let said = match &rule.read {
                Ok(_) => ("Enforced", true, "Observed", String::new()),
                Err(why) => ("Enforced", false, "Unreadable", format!("every run is refused: {why}")),
            };
            json!({
                "observedGeneration": rule.generation,
                "conditions": told::conditions(&rule.status, vec![said], now),
                "activeRuns": covered().filter(|run| !run.over()).count(),
                "refusals": covered().filter(refused).count(),
            })
        };
        self.rules.items().values().map(|rule| (&rule.object, &rule.status, status(rule))).collect()
    }

    fn covers(&self, rule: &Rule, namespace: &str) -> bool {
        let labels = self.spaces.items().get(namespace);
        // What cannot be told counts as covered.
        let told = rule.read.as_ref().ok().zip(labels);
        told.and_then(|(guardrail, labels)| guardrail.covers(labels)).unwrap_or(true)
    }
}

impl Rule {
    fn read(found: &DynamicObject) -> Option<Self> {
        let mut object = ObjectRef::namespaced(API_VERSION, "Guardrail", "", found.metadata.name.as_deref()?);
        object.uid = found.metadata.uid.clone()?;
        Some(Self {
            object,
            generation: found.metadata.generation.unwrap_or(0),
            read: covering::read(found),
            status: found.data.get("status").cloned().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, more: Value) -> Change {
        let mut value = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "uid": name, "generation": 3}});
        let fields = more.as_object().cloned().unwrap_or_default();
        for (field, value_of) in fields {
            match field.as_str() {
                "labels" => value["metadata"]["labels"] = value_of,
                _ => value[field] = value_of,
            }
        }
        Change::Is(Box::new(serde_json::from_value(value).expect("an object")))
    }

    fn book(guardrails: &[(&str, Value)]) -> Rulebook {
        let mut book = Rulebook::default();
        for (name, labels) in [("shop", json!({"env": "staging"})), ("kube-system", json!({}))] {
            book.namespace(object("Namespace", name, json!({"labels": labels})));
        }
        for (name, spec) in guardrails {
            book.guardrail(object("Guardrail", name, json!({"spec": spec})));
        }
        assert!(!book.listed());
        book.namespace(Change::Listed);
        book.guardrail(Change::Listed);
        assert!(book.listed());
        book
    }

    fn run(name: &str, status: Value) -> (RunId, RunSeen) {
        let value = json!({"apiVersion": API_VERSION, "kind": "Run",
            "metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {"experimentRef": {"name": "trial"}},
            "status": status});
        let seen = RunSeen::read(&serde_json::from_value(value).expect("an object")).expect("a Run");
        (seen.id.clone(), seen)
    }

    #[test]
    fn a_guardrail_asks_where_it_holds_and_production_everywhere() {
        let staging = json!({"matchLabels": {"env": "staging"}});
        let asks = |spec: Value| {
            let book = book(&[("platform", spec)]);
            (book.ask("shop"), book.ask("kitchen"))
        };
        assert_eq!(asks(json!({})), (false, false));
        assert_eq!(asks(json!({"approvals": {"required": 1}, "namespaceSelector": staging})), (true, false));
        assert_eq!(asks(json!({"environment": "production", "namespaceSelector": staging})), (true, true));
    }

    #[test]
    fn refusals_are_counted_for_a_day_where_the_guardrail_holds() {
        let staging = json!({"namespaceSelector": {"matchLabels": {"env": "staging"}}});
        let other = json!({"namespaceSelector": {"matchLabels": {"env": "dev"}}});
        let book = book(&[("a-staging", staging), ("b-dev", other), ("c-odd", json!({"hallt": true}))]);
        let refused =
            json!({"phase": "Finished", "verdict": "Refused", "completionTime": "2026-11-24T10:00:00Z"});
        let passed =
            json!({"phase": "Finished", "verdict": "Passed", "completionTime": "2026-11-24T10:00:00Z"});
        let runs: BTreeMap<RunId, RunSeen> =
            [run("one", refused), run("two", passed), run("three", json!({"phase": "Observing"}))].into();
        let counts = |at: &str| -> Vec<(Value, Value, Value)> {
            let at: Timestamp = at.parse().expect("a time");
            let all = book.statuses(&runs, at).into_iter().map(|(_, _, status)| status);
            all.map(|status| {
                let enforced = status["conditions"][0]["status"].clone();
                (status["activeRuns"].clone(), status["refusals"].clone(), enforced)
            })
            .collect()
        };
        let said =
            |active: i32, refusals: i32, enforced: &str| (json!(active), json!(refusals), json!(enforced));
        assert_eq!(
            counts("2026-11-25T09:59:59Z"),
            [said(1, 1, "True"), said(0, 0, "True"), said(1, 1, "False")]
        );
        assert_eq!(
            counts("2026-11-25T10:00:00Z"),
            [said(1, 0, "True"), said(0, 0, "True"), said(1, 0, "False")]
        );
        let status = book.statuses(&runs, Timestamp::UNIX_EPOCH).remove(2).2;
        assert!(
            status["conditions"][0]["message"].as_str().is_some_and(|why| why.contains("hallt")),
            "{status}"
        );
        assert_eq!(status["observedGeneration"], 3);
    }
}
