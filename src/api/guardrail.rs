//! A Guardrail decoded: what nobody may exceed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Limits, Metadata};

/// What nobody may exceed (format.md, section 9).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Guardrail {
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    #[serde(default)]
    pub spec: GuardrailSpec,
}

impl Guardrail {
    /// Whether it covers a namespace with these labels; None if its selector cannot be read.
    pub fn covers(&self, labels: &BTreeMap<String, String>) -> Option<bool> {
        let selector = Selector::try_from(self.spec.namespace_selector.clone()).ok()?;
        Some(selector.matches(labels))
    }
}

/// `spec` of a Guardrail. An absent field restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GuardrailSpec {
    /// For people.
    pub description: String,
    /// Every covered run aborts, none starts.
    pub halt: bool,
    /// Shown to everyone who is stopped.
    pub halt_reason: String,
    /// `production`: every run is refused, unless `allow_production`.
    pub environment: String,
    /// Runs in production may start, with approval by somebody else.
    pub allow_production: bool,
    /// Namespaces covered; an empty one covers all.
    pub namespace_selector: LabelSelector,
    /// Which faults are allowed.
    pub faults: FaultRules,
    /// What a file may raise its limits to. Here None means no bound, not the default of a file.
    pub limits: Limits,
    /// Which nodes may be hit.
    pub nodes: NodeRules,
    /// Covered runs at once; 0: none may start.
    pub concurrent_runs: Option<u32>,
    /// IANA zone of windows and blackouts.
    pub time_zone: Option<String>,
    /// When runs may start and inject; empty: any time.
    pub windows: Vec<Window>,
    /// Whole days without runs.
    pub blackouts: Vec<Blackout>,
    /// Who has to agree.
    pub approvals: Approvals,
    /// Hosts outside of the cluster that the controller may reach.
    pub probe_hosts: Vec<String>,
}

/// Which faults are allowed: all but `denied`, or only `allowed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRules {
    /// These are not.
    pub denied: Vec<String>,
    /// Only these are; None: no such list.
    pub allowed: Option<Vec<String>>,
}

impl FaultRules {
    /// Whether the fault of that name is allowed.
    pub fn allows(&self, fault: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == fault);
        !named(&self.denied) && self.allowed.as_deref().is_none_or(named)
    }
}

/// Which nodes may be hit, and whose pods with them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeRules {
    /// Only these may be hit; an empty one is all but the control plane.
    pub selector: LabelSelector,
    /// Namespaces that have not consented whose pods may be evicted with a node.
    pub bystanders: Vec<String>,
}

/// Days and hours, in the zone beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// `Monday` to `Sunday`.
    pub days: Vec<String>,
    /// `09:00`.
    pub from: String,
    /// `17:00`.
    pub to: String,
}

/// Whole days, both ends included; without a year: every year.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blackout {
    /// Its name.
    pub name: String,
    /// `12-24` or `2026-11-26`.
    pub from: String,
    /// `12-26` or `2026-11-30`.
    pub to: String,
}

/// Who has to agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approvals {
    /// How many.
    pub required: u32,
}

impl Guardrail {
    /// From the JSON of a file's document, or of an object of the API server.
    ///
    /// # Errors
    /// The first thing that does not fit: a Guardrail that cannot be read refuses every run.
    pub fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_restricts_nothing() {
        let empty = Guardrail::from_value(&serde_json::json!({"metadata": {"name": "halt"}}));
        let spec = empty.expect("an empty Guardrail is one").spec;
        assert!(spec.faults.allows("podKill") && !spec.halt && spec.concurrent_runs.is_none());
        assert_eq!(spec.limits, Limits::default());
    }

    #[test]
    fn faults_are_denied_or_allowed() {
        let denied = FaultRules { denied: vec!["scale".into()], allowed: None };
        assert!(denied.allows("podKill") && !denied.allows("scale"));
        let allowed = FaultRules { denied: vec![], allowed: Some(vec!["scale".into()]) };
        assert!(!allowed.allows("podKill") && allowed.allows("scale"));
        assert!(!FaultRules { denied: vec![], allowed: Some(vec![]) }.allows("scale"));
    }

    #[test]
    fn a_field_that_is_not_known_is_an_error_and_not_ignored() {
        let value = serde_json::json!({"metadata": {"name": "x"}, "spec": {"hallt": true}});
        assert!(Guardrail::from_value(&value).is_err());
    }
}
