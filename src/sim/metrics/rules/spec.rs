//! Rules as PrometheusRule objects have them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::http::number;
use super::super::series::{Labels, METRIC_NAME};

/// `spec` of a PrometheusRule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RuleSpec {
    /// Evaluated each on its own.
    pub(super) groups: Vec<GroupSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GroupSpec {
    pub name: String,
    pub interval: Option<String>,
    pub rules: Vec<OneRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OneRule {
    alert: Option<String>,
    record: Option<String>,
    expr: Expr,
    r#for: Option<String>,
    keep_firing_for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// PromQL; a number may be written as one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Expr {
    Text(String),
    Number(f64),
}

impl Default for Expr {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// What a rule is, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parsed {
    pub kind: Kind,
    /// Of the alert, or of the series.
    pub name: String,
    pub expr: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// What cannot be read in it.
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Record,
    /// How long its condition has to hold, and how long it fires on without it, in milliseconds.
    Alert {
        hold: i64,
        keep: i64,
    },
}

/// A duration as Prometheus writes it, in milliseconds.
pub(super) fn millis(text: &str) -> Option<i64> {
    // `0`, `0s`: that parser takes no zero, Prometheus does.
    if text.starts_with('0') && text.chars().all(|c| c == '0' || c.is_ascii_lowercase()) {
        return Some(0);
    }
    promql_parser::util::parse_duration(text).ok().and_then(|length| i64::try_from(length.as_millis()).ok())
}

impl OneRule {
    pub fn parse(&self) -> Parsed {
        let mut error = None;
        let mut length = |name: &str, text: &Option<String>| {
            let Some(text) = text else { return 0 };
            millis(text).unwrap_or_else(|| {
                error = Some(format!("{name}: {text:?} is not a duration"));
                0
            })
        };
        let (hold, keep) = (length("for", &self.r#for), length("keep_firing_for", &self.keep_firing_for));
        let (kind, name) = match (&self.alert, &self.record) {
            (Some(name), None) => (Kind::Alert { hold, keep }, name.clone()),
            (None, Some(name)) => (Kind::Record, name.clone()),
            _ => {
                error = Some("a rule has exactly one of alert and record".to_owned());
                (Kind::Record, String::new())
            }
        };
        let expr = match &self.expr {
            Expr::Text(text) => text.clone(),
            Expr::Number(value) => number(*value),
        };
        let (labels, annotations) = (self.labels.clone(), self.annotations.clone());
        Parsed { kind, name, expr, labels, annotations, error }
    }
}

impl Parsed {
    /// The labels of what was found with those of the rule, which win; and the name.
    pub fn labelled(&self, found: &Labels, value: f64) -> Result<Labels, String> {
        let mut labels = found.clone();
        for (name, text) in &self.labels {
            labels = labels.with(name, &expanded(text, found, value)?);
        }
        let name = if self.kind == Kind::Record { METRIC_NAME } else { "alertname" };
        Ok(labels.with(name, &self.name))
    }
}

/// A label's template: `{{ $labels.NAME }}` and `{{ $value }}`; nothing else is supported.
fn expanded(text: &str, labels: &Labels, value: f64) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let unsupported = || format!("template {text:?} is not supported by the embedded cluster");
        let (inside, after) = after.split_once("}}").ok_or_else(unsupported)?;
        out.push_str(before);
        match (inside.trim(), inside.trim().strip_prefix("$labels.")) {
            ("$value", _) => out.push_str(&number(value)),
            (_, Some(name)) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                out.push_str(labels.get(name));
            }
            _ => return Err(unsupported()),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
