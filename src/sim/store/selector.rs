//! Label and field selectors, as list and watch take them.
//!
//! Grammar: staging/src/k8s.io/apimachinery/pkg/labels/selector.go and fields/selector.go.

use super::kind::Kind;
use super::object::Object;
use super::status::Status;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label is one of these values (`=`, `==`, `in`).
    In(String, Vec<String>),
    /// The label is absent or none of these (`!=`, `notin`).
    NotIn(String, Vec<String>),
    /// The label is there, whatever its value.
    Exists(String),
    /// The label is not there.
    DoesNotExist(String),
}

/// Which objects of a kind are meant: all requirements have to hold; none means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
    nothing: bool,
}

/// `metav1.LabelSelector`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must be equal.
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    pub match_expressions: Vec<LabelExpression>,
}

/// `metav1.LabelSelectorRequirement`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LabelExpression {
    /// Label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values of `In` and `NotIn`.
    pub values: Vec<String>,
}

impl Selector {
    /// Selects everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects what carries all of these labels.
    #[must_use]
    pub fn labels(labels: &BTreeMap<String, String>) -> Self {
        let labels = labels.iter().map(|(k, v)| Requirement::In(k.clone(), vec![v.clone()])).collect();
        Self { labels, ..Self::default() }
    }

    /// Parses the `labelSelector` and `fieldSelector` parameters.
    ///
    /// # Errors
    /// 400 when one cannot be parsed or names a field that the kind does not index.
    pub fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Status> {
        Ok(Self { labels: parse_labels(labels)?, fields: parse_fields(kind, fields)?, nothing: false })
    }

    /// From a `metav1.LabelSelector`: empty selects everything, an unknown operator nothing.
    #[must_use]
    pub fn from_label_selector(selector: &LabelSelector) -> Self {
        let mut out = Self::labels(&selector.match_labels);
        for e in &selector.match_expressions {
            let key = e.key.clone();
            out.labels.push(match e.operator.as_str() {
                "In" => Requirement::In(key, e.values.clone()),
                "NotIn" => Requirement::NotIn(key, e.values.clone()),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::DoesNotExist(key),
                _ => return Self { nothing: true, ..Self::default() },
            });
        }
        out
    }

    /// Whether nothing is asked for, so that every object matches.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && !self.nothing
    }

    /// Whether labels alone satisfy the label part.
    #[must_use]
    pub fn matches_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.nothing
            && self.labels.iter().all(|r| match r {
                Requirement::In(k, values) => labels.get(k).is_some_and(|v| values.contains(v)),
                Requirement::NotIn(k, values) => labels.get(k).is_none_or(|v| !values.contains(v)),
                Requirement::Exists(k) => labels.contains_key(k),
                Requirement::DoesNotExist(k) => !labels.contains_key(k),
            })
    }

    /// Whether an object is selected.
    #[must_use]
    pub fn matches(&self, object: &Object) -> bool {
        self.matches_labels(&object.meta.labels)
            && self.fields.iter().all(|(path, equal, value)| (field_value(object, path) == *value) == *equal)
    }

    /// The value that `path` must equal, when the selector says so.
    #[must_use]
    pub fn required_field(&self, path: &str) -> Option<&str> {
        self.fields.iter().find(|(p, equal, _)| p == path && *equal).map(|(_, _, v)| v.as_str())
    }
}

/// What an object holds at a selectable field; empty when absent.
fn field_value(object: &Object, path: &str) -> String {
    match path {
        "metadata.name" => return object.meta.name.clone(),
        "metadata.namespace" => return object.meta.namespace.clone(),
        _ => {}
    }
    let mut parts = path.split('.');
    let top = parts.next().unwrap_or_default();
    let Some(raw) = object.raw(top) else { return String::new() };
    let Ok(value) = serde_json::from_str::<Value>(raw) else { return String::new() };
    match parts.try_fold(&value, |v, p| v.get(p)) {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Null) | None => {
            if path == "spec.unschedulable" {
                "false".into()
            } else {
                String::new()
            }
        }
        Some(other) => other.to_string(),
    }
}

/// Field labels that a kind supports besides metadata.name and metadata.namespace
/// (pkg/apis/core/v1/conversion.go and the GetAttrs functions of the registries).
fn selectable(kind: &Kind) -> &'static [&'static str] {
    match kind.plural.as_ref() {
        "pods" if kind.group.is_empty() => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "nodes" => &["spec.unschedulable"],
        "namespaces" => &["status.phase"],
        "services" => &["spec.clusterIP", "spec.type"],
        "secrets" => &["type"],
        "replicasets" => &["status.replicas"],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        _ => &[],
    }
}

fn parse_fields(kind: &Kind, text: &str) -> Result<Vec<(String, bool, String)>, Status> {
    let mut out = Vec::new();
    for term in text.split(',').filter(|t| !t.trim().is_empty()) {
        let (path, equal, value) = if let Some((p, v)) = term.split_once("!=") {
            (p, false, v)
        } else if let Some((p, v)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (p, true, v)
        } else {
            return Err(Status::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{term}'"
            )));
        };
        let path = path.trim();
        // events.k8s.io's name for the same field of the one Event that is stored.
        let renamed = path.strip_prefix("regarding.").map(|rest| format!("involvedObject.{rest}"));
        let path = renamed.as_deref().unwrap_or(path);
        if !matches!(path, "metadata.name" | "metadata.namespace") && !selectable(kind).contains(&path) {
            return Err(Status::bad_request(format!("field label not supported: {path}")));
        }
        out.push((path.to_string(), equal, value.trim().to_string()));
    }
    Ok(out)
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, Status> {
    split_terms(text).into_iter().map(|t| parse_term(t.trim())).collect()
}

/// Splits at commas that are not inside parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out.retain(|t| !t.trim().is_empty());
    out
}

fn parse_term(term: &str) -> Result<Requirement, Status> {
    let bad = |why: &str| Status::bad_request(format!("unable to parse requirement: {why}"));
    let is_key = |k: &str| {
        !k.is_empty()
            && k.len() <= 317
            && k.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
    };
    let key = |k: &str| {
        let k = k.trim();
        if is_key(k) { Ok(k.to_string()) } else { Err(bad(&format!("found '{k}', expected: a label key"))) }
    };
    if let Some(k) = term.strip_prefix('!') {
        return Ok(Requirement::DoesNotExist(key(k)?));
    }
    if let Some(open) = term.find('(') {
        let inner =
            term[open + 1..].strip_suffix(')').ok_or_else(|| bad("found '', expected: ',' or ')'"))?;
        let values = inner.split(',').map(|v| v.trim().to_string()).collect();
        let mut words = term[..open].split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(k), Some("in"), None) => Ok(Requirement::In(key(k)?, values)),
            (Some(k), Some("notin"), None) => Ok(Requirement::NotIn(key(k)?, values)),
            _ => Err(bad(&format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", &term[..open]))),
        };
    }
    if let Some((k, v)) = term.split_once("!=") {
        return Ok(Requirement::NotIn(key(k)?, vec![v.trim().to_string()]));
    }
    if let Some((k, v)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(Requirement::In(key(k)?, vec![v.trim().to_string()]));
    }
    if let Some(second) = term.split_whitespace().nth(1) {
        return Err(bad(&format!("found '{second}', expected: in, notin, =, ==, !=, gt, lt")));
    }
    Ok(Requirement::Exists(key(term)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
        Selector::parse(&Kind::POD, selector, "").expect("valid selector").matches_labels(&labels)
    }

    #[test]
    fn set_based_and_equality_selectors_match_as_in_kubernetes() {
        assert!(matches("app in (a, b),tier!=db", &[("app", "b")]));
        assert!(!matches("app in (a,b)", &[("app", "c")]));
        assert!(matches("app notin (a)", &[]));
        assert!(matches("!gone,here", &[("here", "")]));
        assert!(!matches("here", &[]));
        assert!(matches("app==a", &[("app", "a")]));
        assert!(Selector::parse(&Kind::POD, "app in (a", "").is_err());
        assert!(Selector::parse(&Kind::POD, "a b", "").is_err());
    }

    #[test]
    fn only_indexed_fields_can_be_selected() {
        assert!(Selector::parse(&Kind::POD, "", "spec.nodeName=n1,status.phase!=Failed").is_ok());
        assert_eq!(Selector::parse(&Kind::POD, "", "spec.dnsPolicy=x").expect_err("not indexed").code, 400);
    }
}
