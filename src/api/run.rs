//! A Run decoded: one execution of an Experiment or a GameDay.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Metadata, Observation};
use crate::types::Length;

/// One execution (format.md, section 8). Creating it starts it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Run {
    /// Its name; empty where the server is to make one up (`generateName`).
    pub metadata: Metadata,
    /// What it says.
    pub spec: RunSpec,
}

/// `spec` of a Run: fixed once created, but for `abort`, `hold` and the lists that only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RunSpec {
    /// The GameDay; exactly one of this and `experiment_ref`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub game_day_ref: Option<LocalRef>,
    /// The Experiment, in the Run's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment_ref: Option<LocalRef>,
    /// Values of its parameters, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Value>,
    /// Fixes every choice; None: a random one, see `status.seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Whom the controller acts as; None: the file's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Not before; None: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Later than this after `start_time` it is refused; see [`RunSpec::deadline`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_deadline: Option<Length>,
    /// When Run and journal are deleted after the end; None: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_after_finished: Option<Length>,
    /// Who asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub requested_by: String,
    /// Everything is to be put back; cannot be taken back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub abort: bool,
    /// No new step is to start.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// Who has agreed to what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// What people say of manual steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepAnswer>,
    /// What people have observed, in the order in which they wrote it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Observation>,
}

/// Something of the same namespace, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalRef {
    /// Its name.
    pub name: String,
}

/// Somebody agrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// To what: `status.hash`.
    pub hash: String,
    /// When.
    pub time: Timestamp,
    /// Their words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// What is to become of a step that waits for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepAction {
    /// It is done.
    Confirm,
    /// It could not be done.
    Fail,
    /// It is not to begin.
    Skip,
}

/// What somebody says of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepAnswer {
    /// `EXPERIMENT/STEP`.
    pub name: String,
    /// What is to become of it.
    pub action: StepAction,
    /// Who.
    pub by: String,
    /// When.
    pub time: Timestamp,
    /// Their words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// How long after its time something may begin that does not say.
pub(super) const STARTING_DEADLINE: Duration = Duration::from_secs(30 * 60);
/// Whom the controller acts as when neither the Run nor its file says.
const SERVICE_ACCOUNT: &str = "firedrill";

impl Run {
    /// Decodes a whole document.
    ///
    /// # Errors
    /// Whatever `check` or the API server would have refused.
    pub fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(value)
    }
}

impl RunSpec {
    /// `Experiment/NAME` or `GameDay/NAME`; empty if it names neither, which no server accepts.
    pub fn subject(&self) -> String {
        match (&self.experiment_ref, &self.game_day_ref) {
            (Some(experiment), _) => format!("Experiment/{}", experiment.name),
            (None, Some(game_day)) => format!("GameDay/{}", game_day.name),
            (None, None) => String::new(),
        }
    }

    /// After this it does not begin any more; `created`: when the Run was.
    pub fn deadline(&self, created: Timestamp) -> Timestamp {
        let late = self.starting_deadline.map_or(STARTING_DEADLINE, |length| length.0);
        self.start_time.unwrap_or(created).checked_add(late).unwrap_or(Timestamp::MAX)
    }

    /// The account that the controller acts as; `file`: the experiment's document.
    pub fn account<'a>(&'a self, file: &'a Value) -> &'a str {
        self.service_account_name.as_deref().unwrap_or_else(|| account_of(file))
    }

    /// The values that it gives to parameters, by name.
    pub fn values(&self) -> BTreeMap<String, String> {
        let pair = |value: &Value| {
            let text = value["value"].as_str().map_or_else(|| value["value"].to_string(), str::to_owned);
            Some((value["name"].as_str()?.to_owned(), text))
        };
        self.parameters.iter().filter_map(pair).collect()
    }
}

/// The account that a file names, or the usual one.
pub fn account_of(file: &Value) -> &str {
    file.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or(SERVICE_ACCOUNT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(spec: Value) -> RunSpec {
        let run = json!({"apiVersion": "firedrill.dev/v1alpha1", "kind": "Run", "metadata": {"name": "r"},
                         "spec": spec, "status": {"phase": "Pending"}});
        Run::from_value(&run).expect("decodes").spec
    }

    #[test]
    fn the_reference_is_decoded() {
        let text = include_str!("../../tests/format/examples/reference-run.yaml");
        let read = crate::api::read(&[crate::api::SourceText::new("run.yaml", text)]);
        assert!(!read.has_errors(), "{:#?}", read.findings);
        let crate::api::check::Document::Run(run) = &read.documents[0].document else {
            panic!("it is a Run");
        };
        assert_eq!(run.spec.subject(), "GameDay/shop-weekly");
        assert_eq!(run.spec.steps[0].action, StepAction::Confirm);
        assert_eq!(run.spec.notes.len(), 1);
        assert_eq!(run.spec.seed, Some(7));
    }

    /// An approval counts for a while only; whoever gave it can give it once more.
    #[test]
    fn somebody_can_approve_the_same_again_at_another_time() {
        let findings = |times: [&str; 2]| {
            let of = |time| format!("{{by: bob, hash: 'sha256:1', time: '{time}'}}");
            let text = format!(
                "apiVersion: firedrill.dev/v1alpha1\nkind: Run\nmetadata: {{name: r, namespace: shop}}\n\
                 spec: {{experimentRef: {{name: a}}, approvals: [{}]}}\n",
                times.map(of).join(", ")
            );
            crate::api::read(&[crate::api::SourceText::new("run.yaml", text)]).findings
        };
        assert_eq!(findings(["2026-11-24T10:00:00Z", "2026-11-25T10:00:00Z"]), []);
        let twice = findings(["2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z"]);
        assert!(twice.iter().any(|finding| finding.message.contains("there twice")), "{twice:?}");
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let spec = run(json!({"experimentRef": {"name": "scales"}}));
        let created: Timestamp = "2026-11-24T10:00:00Z".parse().expect("a time");
        assert_eq!(spec.subject(), "Experiment/scales");
        assert_eq!(spec.deadline(created).to_string(), "2026-11-24T10:30:00Z");
        assert_eq!(spec.account(&json!({"spec": {}})), "firedrill");
        assert_eq!(spec.account(&json!({"spec": {"serviceAccountName": "breaker"}})), "breaker");
        let given = run(json!({"experimentRef": {"name": "a"}, "serviceAccountName": "mine",
            "startTime": "2026-11-24T12:00:00Z", "startingDeadline": "5m", "parameters": [{"name": "app", "value": "x"}]}));
        assert_eq!(given.account(&json!({"spec": {"serviceAccountName": "breaker"}})), "mine");
        assert_eq!(given.deadline(created).to_string(), "2026-11-24T12:05:00Z");
        assert_eq!(given.values()["app"], "x");
        assert_eq!(serde_json::to_value(&given).expect("is written")["startingDeadline"], "5m");
    }
}
