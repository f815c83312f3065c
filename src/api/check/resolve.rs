//! Parameters, and probes of other experiments, put into a file before it is checked: what is checked, run and
//! journaled is what was meant.

use std::collections::BTreeMap;

use crate::api::schema::MAX_PROBES;
use crate::api::yaml::{Entry, Node, Span, Value};
use crate::types::codes::format as codes;
use crate::types::nearest;

use super::report::Report;
use super::{Given, pattern};

/// What a parameter's value has to match when the file does not say (format.md, section 1).
const PATTERN: &str = "^[A-Za-z0-9._:/@-]*$";
/// The longest value, in bytes (format.md, section 11).
const MAX_VALUE: usize = 1024;
/// What a use of a parameter begins with.
const USE: &str = "$(params.";

/// The experiments that `steadyStateFrom` may name.
#[derive(Default)]
pub(super) struct Shared(Vec<Sharing>);

struct Sharing {
    namespace: Option<String>,
    name: String,
    probes: Vec<Node>,
    prometheus: Option<Node>,
    borrows: bool,
}

impl Shared {
    /// Takes in an experiment, with its own parameters at their defaults.
    pub fn add(&mut self, document: &Node, given: &Given) {
        let at = |path: &[&str]| document.at(path).and_then(Node::text).map(str::to_owned);
        let is_experiment = document.get("kind").and_then(Node::text) == Some("Experiment");
        let (Some(spec), Some(name), true) = (document.get("spec"), at(&["metadata", "name"]), is_experiment)
        else {
            return;
        };
        let values = values(spec, given).into_iter().filter_map(|(name, value)| Some((name, value?)));
        let values: BTreeMap<String, String> = values.collect();
        let filled = |node: &Node| {
            let mut node = node.clone();
            each_text(&mut node, &mut |text, _| {
                if let Ok(filled) = fill(text, |name| values.get(name).cloned()) {
                    *text = filled;
                }
            });
            node
        };
        self.0.push(Sharing {
            namespace: at(&["metadata", "namespace"]),
            name,
            probes: spec.get("steadyState").map(Node::items).unwrap_or_default().iter().map(filled).collect(),
            prometheus: spec.get("prometheus").map(filled),
            borrows: spec.get("steadyStateFrom").is_some_and(|list| !list.items().is_empty()),
        });
    }

    /// The experiment of that name in that namespace; a file that names no namespace fits into any.
    fn find(&self, namespace: Option<&str>, name: &str) -> Option<&Sharing> {
        self.0.iter().find(|other| {
            let apart = other.namespace.as_deref().zip(namespace).is_some_and(|(one, two)| one != two);
            other.name == name && !apart
        })
    }
}

/// The experiment as it is meant. What cannot be filled in is reported and left as it is.
pub(super) fn resolve(document: &Node, shared: &Shared, given: &Given, report: &mut Report<'_>) -> Node {
    let mut resolved = document.clone();
    let namespace = document.at(&["metadata", "namespace"]).and_then(Node::text).map(str::to_owned);
    let Value::Map(entries) = &mut resolved.value else { return resolved };
    let Some(spec) = entries.iter_mut().find(|entry| entry.key == "spec").map(|entry| &mut entry.value)
    else {
        return resolved;
    };
    parameters(spec, given, report);
    borrow(spec, namespace.as_deref(), shared, report);
    resolved
}

/// The declared parameters with their values: given, or the default.
fn values(spec: &Node, given: &Given) -> BTreeMap<String, Option<String>> {
    let declared = spec.get("parameters").map(Node::items).unwrap_or_default();
    let value = |node: &Node| {
        let name = node.get("name").and_then(Node::text)?;
        let default = node.get("default").and_then(Node::text).map(str::to_owned);
        Some((name.to_owned(), given.parameters.get(name).cloned().or(default)))
    };
    declared.iter().filter_map(value).collect()
}

/// The names of the parameters that a document declares.
pub(super) fn declared(document: &Node) -> impl Iterator<Item = String> {
    let declared = document.at(&["spec", "parameters"]).map(Node::items).unwrap_or_default();
    declared.iter().filter_map(|node| node.get("name").and_then(Node::text).map(str::to_owned))
}

fn parameters(spec: &mut Node, given: &Given, report: &mut Report<'_>) {
    let values = values(spec, given);
    report.declare(Some(values.keys().cloned().collect()));
    if let Some(declared) = spec.get("parameters") {
        for (index, node) in declared.items().iter().enumerate() {
            declared_value(node, index, given, report);
        }
    }
    let Value::Map(entries) = &mut spec.value else { return };
    for entry in entries.iter_mut() {
        if entry.key == "parameters" {
            keep_values(&mut entry.value, &values);
            continue;
        }
        let path = format!("spec.{}", entry.key);
        each_text(&mut entry.value, &mut |text, span| {
            match fill(text, |name| values.get(name).and_then(Clone::clone)) {
                Ok(filled) => *text = filled,
                // One without a value was told where it is declared.
                Err(name) if values.contains_key(&name) => {}
                Err(name) => report.parameter(&name, (&path, span)),
            }
        });
    }
}

/// Whether the value that a parameter has is there, and fits.
fn declared_value(node: &Node, index: usize, given: &Given, report: &mut Report<'_>) {
    let Some(name) = node.get("name").and_then(Node::text) else { return };
    let path = format!("spec.parameters[{index}]");
    let (value, span) = match (given.parameters.get(name), node.get("default")) {
        (Some(value), _) => (value.as_str(), node.span),
        (None, Some(default)) => (default.text().unwrap_or_default(), default.span),
        (None, None) => {
            let message = format!("parameter `{name}` has no value");
            let remedy = format!("--param {name}=VALUE, or give it a default");
            let at = (path.as_str(), node.get("name").map_or(node.span, |name| name.span));
            return if given.must_be_whole {
                report.error(codes::PARAMETER, at, &message, &remedy);
            } else {
                let message = format!("{message} here: what depends on it is not checked");
                report.warning(codes::PARAMETER, at, &message, &remedy);
            };
        }
    };
    let wanted = node.get("pattern").and_then(Node::text).unwrap_or(PATTERN);
    if value.len() > MAX_VALUE {
        let message =
            format!("the value of parameter `{name}` has {} bytes, more than {MAX_VALUE}", value.len());
        report.error(codes::PARAMETER, (&path, span), &message, "");
    } else if !pattern::matches_whole(value, wanted) {
        let message = format!("`{value}` is not a value of parameter `{name}`: it does not match {wanted}");
        report.error(codes::PARAMETER, (&path, span), &message, "give another value, or widen pattern");
    }
}

/// Writes the values down as the defaults: what is journaled says what was run.
fn keep_values(declared: &mut Node, values: &BTreeMap<String, Option<String>>) {
    let Value::Seq(items) = &mut declared.value else { return };
    for item in items {
        let name = item.get("name").and_then(Node::text).map(str::to_owned);
        let value = name.and_then(|name| values.get(&name).cloned().flatten());
        let (Some(value), span) = (value, item.span) else { continue };
        let Value::Map(entries) = &mut item.value else { continue };
        entries.retain(|entry| entry.key != "default");
        entries.push(entry("default", Value::Str(value), span));
    }
}

/// Appends the probes of the experiments that `steadyStateFrom` names.
fn borrow(spec: &mut Node, namespace: Option<&str>, shared: &Shared, report: &mut Report<'_>) {
    let named = spec.get("steadyStateFrom").map(Node::items).unwrap_or_default().to_vec();
    let mut probes = Vec::new();
    let mut found = 0;
    for (index, reference) in named.iter().enumerate() {
        let Some(name) = reference.get("name") else { continue };
        let Some(text) = name.text() else { continue };
        let path = format!("spec.steadyStateFrom[{index}]");
        match shared.find(namespace, text) {
            None => {
                let names = || shared.0.iter().map(|other| other.name.as_str());
                let remedy = match nearest(text, names()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name its file too, or put it into the same folder".to_owned(),
                };
                let message = format!("there is no Experiment `{text}` in what was read or beside it");
                report.error(codes::REFERENCE, (&path, name.span), &message, &remedy);
            }
            Some(other) if other.borrows => {
                let message = format!("Experiment `{text}` takes probes from others itself");
                report.error(codes::REFERENCE, (&path, name.span), &message, "name those others here");
            }
            Some(other) => {
                found += usize::from(reference.entries().len() == 1);
                probes.extend(other.probes.iter().map(|probe| lent(probe, other, name.span)));
            }
        }
    }
    if probes.is_empty() {
        return;
    }
    let span = spec.span;
    let Value::Map(entries) = &mut spec.value else { return };
    if found == named.len() {
        entries.retain(|entry| entry.key != "steadyStateFrom");
    }
    if !entries.iter().any(|entry| entry.key == "steadyState") {
        entries.push(entry("steadyState", Value::Seq(Vec::new()), Span::new(span.start, span.start)));
    }
    let own = entries.iter_mut().find(|entry| entry.key == "steadyState");
    if let Some(Value::Seq(own)) = own.map(|own| &mut own.value.value) {
        let room = MAX_PROBES.saturating_sub(own.len());
        // One more than there is room for is said where lists are counted.
        own.extend(probes.into_iter().take(room + 1));
    }
}

/// A probe of another file: it keeps its source of metrics, and its mistakes are shown where it is named.
fn lent(probe: &Node, of: &Sharing, here: Span) -> Node {
    let mut probe = probe.clone();
    if let (Some(Value::Map(source)), Value::Map(entries)) =
        (of.prometheus.as_ref().map(|source| &source.value), &mut probe.value)
    {
        let asks = |key: &str| ["prometheus", "alert", "slo"].contains(&key);
        for entry in entries.iter_mut().filter(|entry| asks(&entry.key)) {
            let Value::Map(fields) = &mut entry.value.value else { continue };
            if !fields.iter().any(|field| field.key == "server" || field.key == "service") {
                fields.extend(source.iter().cloned());
            }
        }
    }
    place(&mut probe, here);
    probe
}

fn place(node: &mut Node, here: Span) {
    node.span = here;
    match &mut node.value {
        Value::Seq(items) => items.iter_mut().for_each(|item| place(item, here)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.key_span = here;
            place(&mut entry.value, here);
        }),
        _ => {}
    }
}

fn entry(key: &str, value: Value, span: Span) -> Entry {
    Entry { key: key.to_owned(), key_span: span, value: Node { value, span, ambiguous: None } }
}

fn each_text(node: &mut Node, change: &mut impl FnMut(&mut String, Span)) {
    let span = node.span;
    match &mut node.value {
        Value::Str(text) if text.contains(USE) => change(text, span),
        Value::Seq(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| each_text(&mut entry.value, change)),
        _ => {}
    }
}

/// The text with every `$(params.NAME)` replaced, or the first name without a value.
fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(USE) {
        let Some((name, behind)) = after.split_once(')') else { break };
        filled.push_str(before);
        filled.push_str(&value(name).ok_or_else(|| name.to_owned())?);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}
