//! What only the meaning of probes can tell.

use crate::api::yaml::{Node, Span};
use crate::probes::{self, ProbeInfo, Variable};
use crate::types::codes::format as codes;
use crate::types::{Length, nearest};

use super::expressions::{Wanted, cel, promql};
use super::report::Report;
use crate::api::schema::{MAX_PROBES, probe_names};

/// The probes of a file, for the steps that name them.
pub(super) struct Probes<'a> {
    pub list: Vec<Declared<'a>>,
    /// Whether others come from `steadyStateFrom`.
    pub elsewhere: bool,
}

/// One probe.
pub(super) struct Declared<'a> {
    pub name: &'a str,
    /// None for a kind that is not built, or not there.
    pub variables: Option<Vec<Variable>>,
    pub has_expect: bool,
    /// Whether `value` means something.
    pub has_value: bool,
}

pub(super) fn check<'a>(spec: &'a Node, anchor: Span, report: &mut Report<'_>) -> Probes<'a> {
    let elsewhere = spec.get("steadyStateFrom").is_some_and(|list| !list.items().is_empty());
    let mut found = Probes { list: Vec::new(), elsewhere };
    let mut judged = false;
    let list = spec.get("steadyState").map(Node::items).unwrap_or_default();
    for (index, node) in list.iter().take(MAX_PROBES).enumerate() {
        judged |= node.get("role").and_then(Node::text) != Some("Informational");
        found.list.extend(probe(node, &format!("spec.steadyState[{index}]"), report));
    }
    if !judged && !elsewhere {
        let span = spec.entry("steadyState").map_or(anchor, |entry| entry.key_span);
        let message = "nothing is judged: at least one probe has to be able to fail";
        report.error(codes::NOTHING_JUDGED, ("spec.steadyState", span), message, "add a probe with expect");
    }
    found
}

/// The length that a text says, if it says one.
pub(super) fn length(node: Option<&Node>) -> Option<Length> {
    node.and_then(Node::text).and_then(|text| text.parse().ok())
}

fn probe<'a>(node: &'a Node, path: &str, report: &mut Report<'_>) -> Option<Declared<'a>> {
    let name = node.get("name").and_then(Node::text).unwrap_or_default();
    let start = Span::new(node.span.start, node.span.start);
    let informational = node.get("role").and_then(Node::text) == Some("Informational");
    let kinds: Vec<&str> = probe_names().filter(|kind| node.get(kind).is_some()).collect();
    let has_expect = node.get("expect").is_some();
    let (&[kind], false) = (kinds.as_slice(), node.entries().is_empty()) else {
        return Some(Declared { name, variables: None, has_expect, has_value: true });
    };
    times(node, path, report);
    let Some(info) = probes::find(kind).map(|probe| probe.info()) else {
        return Some(Declared { name, variables: None, has_expect, has_value: true });
    };
    let own_rule = node.get(kind).map(Node::to_json).unwrap_or_default();
    let own_rule = probes::find(kind).is_some_and(|probe| probe.promise(&own_rule).is_some());
    if !has_expect && !informational && !own_rule {
        let span = node.entry("name").map_or(start, |entry| entry.value.span);
        let remedy = "write for example expect: value >= 0.99, or role: Informational";
        report.error(codes::MISSING_FIELD, (path, span), "`expect` is missing", remedy);
    }
    let variables = variables(node, info);
    let has_value = node.get("value").is_some() || info.default_value.is_some();
    if let Some(value) = node.get("value") {
        let path = format!("{path}.value");
        // The value cannot be made of itself.
        let own: Vec<Variable> = variables.iter().filter(|v| v.name != "value").copied().collect();
        cel(value, &own, Wanted::Number, &path, report);
    }
    for key in ["expect", "during"] {
        let Some(expression) = node.get(key) else { continue };
        judge(expression, &variables, has_value, &format!("{path}.{key}"), report);
    }
    let below = format!("{path}.{kind}");
    // What is wrong by the schema is said there.
    if let (Some(params), Some(probe), 0) = (node.get(kind), probes::find(kind), report.errors()) {
        for finding in probe.lint(&params.to_json()) {
            let remedy = finding.remedy.clone();
            report.error(finding.code, (&below, params.span), &finding.message, &remedy);
        }
    }
    if let Some(params) = node.get(kind) {
        for field in info.fields.iter().filter(|field| field.schema == "promql") {
            if let Some(query) = params.get(field.name) {
                promql(query, &format!("{below}.{}", field.name), report);
            }
        }
        if kind == "prometheus" {
            connection(params, &below, report);
        }
    }
    Some(Declared { name, variables: Some(variables), has_expect, has_value })
}

/// An expression that is true or false, of a probe or of a check.
pub(super) fn judge(
    node: &Node,
    variables: &[Variable],
    has_value: bool,
    path: &str,
    report: &mut Report<'_>,
) {
    let compiled = cel(node, variables, Wanted::Truth, path, report);
    if !has_value && compiled.is_some_and(|expression| expression.uses("value")) {
        let message = "`value` is used, and the probe has none";
        let remedy = "give the probe a value, such as value: object.status.readyReplicas";
        report.error(codes::TOGETHER, (path, node.span), message, remedy);
    }
}

fn variables(node: &Node, info: &ProbeInfo) -> Vec<Variable> {
    let params = node.get(info.name);
    let has = |key: &str| params.is_some_and(|params| params.get(key).is_some());
    let mut variables = probes::common_variables();
    // Without its length there is no window to take statistics of.
    variables.retain(|variable| variable.name != "window" || node.get("window").is_some());
    variables.extend(info.variables.iter().filter(|variable| match variable.name {
        // One object by name, a list by selector.
        "object" => has("name") || !has("selector"),
        "objects" => has("selector"),
        _ => true,
    }));
    variables
}

fn times(node: &Node, path: &str, report: &mut Report<'_>) {
    let every = length(node.get("every")).unwrap_or(Length::from_secs(5));
    if let Some((timeout, at)) = length(node.get("timeout")).zip(node.get("timeout"))
        && timeout > every
    {
        let message = format!("the timeout of {timeout} is longer than every, {every}");
        let remedy = format!("write {every} or less, or measure less often");
        report.error(codes::ORDER, (&format!("{path}.timeout"), at.span), &message, &remedy);
    }
    if let Some((patience, at)) = length(node.get("for")).zip(node.get("for"))
        && !patience.is_zero()
        && patience < every
    {
        let message = format!("{patience} is shorter than every, {every}: one sample decides");
        let remedy = "write for: 0s if that is meant";
        report.warning(codes::SAMPLING, (&format!("{path}.for"), at.span), &message, remedy);
    }
    if let Some((window, at)) = length(node.get("window")).zip(node.get("window"))
        && window.0 < every.0 * 2
    {
        let message = format!("a window of {window} holds fewer than two samples, one every {every}");
        report.warning(codes::SAMPLING, (&format!("{path}.window"), at.span), &message, "");
    }
}

/// `auth` and `tls` belong to an address that is given beside them.
fn connection(node: &Node, path: &str, report: &mut Report<'_>) {
    let (server, service) = (node.get("server"), node.get("service"));
    if let Some(auth) = node.entry("auth").filter(|_| server.is_none() && service.is_none()) {
        let message =
            "`auth` without server or service: no secret is sent to an address that is not in the file";
        report.error(
            codes::TOGETHER,
            (&format!("{path}.auth"), auth.key_span),
            message,
            "name the server or service",
        );
    }
    if let Some(tls) = node.entry("tls").filter(|_| server.is_none() && service.is_none()) {
        let message = "`tls` without server or service";
        report.error(
            codes::TOGETHER,
            (&format!("{path}.tls"), tls.key_span),
            message,
            "name the server or service",
        );
    }
}

/// The probe of that name, or an error where it is named.
pub(super) fn named<'a>(
    probes: &'a Probes<'_>,
    (path, span, name): (&str, Span, &str),
    report: &mut Report<'_>,
) -> Option<&'a Declared<'a>> {
    let found = probes.list.iter().find(|probe| probe.name == name);
    if found.is_none() && !probes.elsewhere {
        let names = || probes.list.iter().map(|probe| probe.name);
        let remedy = match nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        report.error(codes::REFERENCE, (path, span), &format!("there is no probe `{name}`"), &remedy);
    }
    found
}

/// The probe that says how much data is lost is there, and has a value.
pub(super) fn loss(spec: &Node, probes: &Probes<'_>, report: &mut Report<'_>) {
    let Some(at) = spec.at(&["objectives", "rpo", "probe"]) else { return };
    let Some(name) = at.text() else { return };
    let path = "spec.objectives.rpo.probe";
    if let Some(probe) = named(probes, (path, at.span, name), report)
        && !probe.has_value
    {
        let message = format!("probe `{name}` yields no number, and seconds of data lost are one");
        report.error(codes::REFERENCE, (path, at.span), &message, "give it a value");
    }
}
