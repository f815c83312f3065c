//! Texts to documents, with every mistake of every file in one pass.
//!
//! A schema-driven walk over the spanned tree, then what only the meaning of the parts can tell. Nothing
//! stops at the first mistake: what cannot be understood is reported and left out of what follows.

mod expressions;
mod game_day;
mod lints;
mod loads;
mod meant;
mod method;
mod notes;
mod notifications;
mod overlap;
mod pattern;
mod render;
mod report;
mod resolve;
mod steady_state;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::schema::{API_VERSION, GROUP, KindSchema, kind, kinds, metadata};
use super::yaml::{self, Fault, Node, Span, Value};
use super::{Acts, Experiment, GameDay, Guardrail, Metadata, Run};
use crate::types::codes::format as codes;
use crate::types::{Code, Finding, Severity, nearest};
use report::Report;

pub use render::{Style, json, render};

/// A text to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// File name as given, `-` for standard input.
    pub name: String,
    /// What it holds; need not be UTF-8.
    pub bytes: Vec<u8>,
}

impl Source {
    /// A text under a name.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

/// A document that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// An Experiment, decoded.
    Experiment(Box<Experiment>),
    /// A Guardrail, decoded.
    Guardrail(Box<Guardrail>),
    /// A GameDay, decoded.
    GameDay {
        /// What it says.
        day: Box<GameDay>,
        /// Everything that it runs, resolved.
        acts: Box<Acts>,
    },
    /// A Run, decoded.
    Run(Box<Run>),
}

impl Document {
    /// Name, namespace, labels.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Document::Experiment(experiment) => &experiment.metadata,
            Document::Guardrail(guardrail) => &guardrail.metadata,
            Document::GameDay { day, .. } => &day.metadata,
            Document::Run(run) => &run.metadata,
        }
    }

    /// `Experiment`, `GameDay`, `Run` or `Guardrail`.
    pub fn kind(&self) -> &'static str {
        match self {
            Document::Experiment(_) => "Experiment",
            Document::Guardrail(_) => "Guardrail",
            Document::GameDay { .. } => "GameDay",
            Document::Run(_) => "Run",
        }
    }
}

/// A document with where it came from and what it said.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Name of its source.
    pub source: String,
    /// The whole document as JSON, parameters filled in and borrowed probes among its own: for frozen copies.
    pub json: Json,
    /// The whole document as JSON, as it was written: for the API server, where later Runs fill it in.
    pub written: Json,
    /// Decoded.
    pub document: Document,
}

/// What was read: the documents without an error, and all findings of all texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    /// The accepted documents, in order. One with an error is not among them.
    pub documents: Vec<Accepted>,
    /// Errors and warnings by text and place.
    pub findings: Vec<Finding>,
    /// The names of all parameters that the texts declare.
    pub parameters: BTreeSet<String>,
}

impl Read {
    /// Whether anything refuses.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }

    /// Documents and warnings, if there is no error.
    ///
    /// # Errors
    /// All findings, warnings among them.
    pub fn accepted(self) -> Result<(Vec<Accepted>, Vec<Finding>), Vec<Finding>> {
        if self.has_errors() { Err(self.findings) } else { Ok((self.documents, self.findings)) }
    }
}

/// What texts are read with besides themselves.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Values of parameters, by name.
    pub parameters: BTreeMap<String, String>,
    /// Texts whose experiments `steadyStateFrom` may name, besides those that are read.
    pub beside: Vec<Source>,
    /// Whether a parameter without a value is an error: what is to run has to be whole.
    pub must_be_whole: bool,
}

/// Reads and checks texts by themselves.
pub fn read(sources: &[Source]) -> Read {
    read_with(sources, &Given::default())
}

/// Reads and checks texts.
pub fn read_with(sources: &[Source], given: &Given) -> Read {
    let mut all = Read::default();
    let mut seen: BTreeMap<(String, String, String), String> = BTreeMap::new();
    let mut parsed: Vec<yaml::Parsed> = sources.iter().map(|source| yaml::parse(&source.bytes)).collect();
    let mut shared = resolve::Shared::default();
    let beside: Vec<yaml::Parsed> = given.beside.iter().map(|source| yaml::parse(&source.bytes)).collect();
    for node in parsed.iter().chain(&beside).flat_map(|parsed| &parsed.documents) {
        shared.add(node, given);
    }
    let problems: Vec<_> = parsed.iter_mut().map(|parsed| std::mem::take(&mut parsed.problems)).collect();
    let texts = sources.iter().zip(&parsed).chain(given.beside.iter().zip(&beside));
    let documents =
        texts.flat_map(|(source, parsed)| parsed.documents.iter().map(move |node| (source, node)));
    let library = game_day::Library { documents: documents.collect(), shared: &shared, given };
    let of_days: BTreeSet<String> =
        parsed.iter().flat_map(|parsed| &parsed.documents).flat_map(game_day::referred).collect();
    for ((source, parsed), problems) in sources.iter().zip(&parsed).zip(problems) {
        let mut report = Report::new(source);
        for problem in problems {
            report.problem(problem);
        }
        let mut ours = 0;
        for node in &parsed.documents {
            let before = (report.errors(), report.open());
            let Some(schema) = identify(node, &mut report) else { continue };
            ours += 1;
            all.parameters.extend(resolve::declared(node));
            let resolved = match schema.kind {
                "Experiment" => {
                    &resolve::resolve(node, &shared, &for_one(node, given, &of_days), &mut report)
                }
                _ => {
                    report.declare(None);
                    node
                }
            };
            document(resolved, schema, &mut report);
            let acts = match schema.kind {
                "GameDay" => game_day::check(node, &library, before.0, &mut report),
                _ => Acts::default(),
            };
            same_object(node, schema, &mut report, &mut seen);
            if (report.errors(), report.open()) == before && report.readable() {
                decode((node, resolved, acts), schema, source, &mut report, &mut all.documents);
            }
        }
        if ours == 0 && report.errors() == 0 {
            let message = "the text holds no Experiment, GameDay, Run or Guardrail";
            report.error(codes::KIND, ("document", Span::default()), message, "");
        }
        all.findings.extend(report.finish());
    }
    all
}

/// An experiment of a game day that was read too gets its parameters there, and need not be whole by itself.
fn for_one(node: &Node, given: &Given, of_days: &BTreeSet<String>) -> Given {
    let name = node.at(&["metadata", "name"]).and_then(Node::text).unwrap_or_default();
    let must_be_whole = given.must_be_whole && !of_days.contains(name);
    Given { parameters: given.parameters.clone(), beside: Vec::new(), must_be_whole }
}

/// The schema of a document by its apiVersion and kind.
fn identify(node: &Node, report: &mut Report<'_>) -> Option<&'static KindSchema> {
    if !matches!(node.value, Value::Map(_)) {
        let message =
            format!("a document is a map with apiVersion, kind, metadata and spec, not {}", node.kind());
        report.error(codes::TYPE, ("document", node.span), &message, "");
        return None;
    }
    let (api_version, kind_name) = (node.get("apiVersion"), node.get("kind"));
    for (key, value) in [("apiVersion", api_version), ("kind", kind_name)] {
        if value.and_then(Node::text).is_none() {
            let remedy = if key == "kind" {
                "write kind: Experiment, GameDay, Run or Guardrail".to_owned()
            } else {
                format!("write apiVersion: {API_VERSION}")
            };
            let span = value.map_or(Span::new(node.span.start, node.span.start), |value| value.span);
            report.error(codes::KIND, (key, span), &format!("{key} is missing"), &remedy);
        }
    }
    let (version, name) = (api_version?, kind_name?);
    let (version_text, name_text) = (version.text()?, name.text()?);
    let found = kind(name_text);
    let near = nearest(name_text, kinds().iter().map(|kind| kind.kind));
    let group = version_text.split('/').next().unwrap_or_default();
    let related = group == GROUP || nearest(group, [GROUP]).is_some();
    if !related && found.is_none() {
        let message = format!("{version_text} {name_text} is not firedrill's; left alone");
        report.warning(codes::FOREIGN, ("document", name.span), &message, "");
        return None;
    }
    if version_text != API_VERSION {
        let message = format!("there is no apiVersion `{version_text}` here");
        report.error(codes::KIND, ("apiVersion", version.span), &message, &format!("write {API_VERSION}"));
    }
    if found.is_none() {
        let remedy = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "there are Experiment, GameDay, Run, Guardrail".to_owned(),
        };
        report.error(codes::KIND, ("kind", name.span), &format!("there is no kind `{name_text}`"), &remedy);
    }
    found
}

fn document(node: &Node, schema: &KindSchema, report: &mut Report<'_>) {
    let names = ["apiVersion", "kind", "metadata", "spec", "status"];
    let present: BTreeSet<&str> = node.entries().iter().map(|entry| entry.key.as_str()).collect();
    for entry in node.entries() {
        if !names.contains(&entry.key.as_str()) {
            walk::unknown(entry, &entry.key, names.into_iter(), &present, report);
        }
    }
    let start = Span::new(node.span.start, node.span.start);
    match node.entry("metadata") {
        Some(entry) => {
            walk::value(&entry.value, metadata(), "metadata", entry.key_span, report);
            identity(&entry.value, schema, entry.key_span, report);
        }
        None => report.error(
            codes::MISSING_FIELD,
            ("metadata", start),
            "`metadata` is missing",
            "write metadata: {name: NAME}",
        ),
    }
    match node.entry("spec") {
        Some(entry) => {
            walk::value(&entry.value, &schema.spec, "spec", entry.key_span, report);
            game_day::blackouts(&entry.value, report);
            match schema.kind {
                "GameDay" => notifications::check(&entry.value, report),
                "Run" => notes::check(&entry.value, report),
                _ => {}
            }
            if schema.kind == "Experiment" && matches!(entry.value.value, Value::Map(_)) {
                let probes = steady_state::check(&entry.value, entry.key_span, report);
                method::check(&entry.value, &probes, report);
                loads::check(&entry.value, report);
            }
        }
        None => report.error(codes::MISSING_FIELD, ("spec", start), "`spec` is missing", ""),
    }
}

fn identity(node: &Node, schema: &KindSchema, anchor: Span, report: &mut Report<'_>) {
    if let Some(namespace) = node.entry("namespace").filter(|_| !schema.namespaced) {
        let message = format!("a {} has no namespace: it holds in the whole cluster", schema.kind);
        report.error(codes::METADATA, ("metadata.namespace", namespace.key_span), &message, "leave it out");
    }
    match node.get("name") {
        Some(name) => {
            let length = name.text().map_or(0, str::len);
            if length > game_day::NAME_MAX && schema.kind == "GameDay" {
                let message = format!(
                    "its Runs are called by it and a number, so it has at most {} characters",
                    game_day::NAME_MAX
                );
                report.error(codes::METADATA, ("metadata.name", name.span), &message, "");
            }
            if length > 63 && schema.kind == "Experiment" {
                let message = "the name is also a label's value, and longer than 63 characters";
                report.error(codes::METADATA, ("metadata.name", name.span), message, "");
            }
        }
        None if schema.kind == "Run" && node.get("generateName").is_some() => {}
        None if matches!(node.value, Value::Map(_)) => {
            report.error(
                codes::METADATA,
                ("metadata", anchor),
                "`metadata.name` is missing",
                "write metadata: {name: NAME}",
            );
        }
        None => {}
    }
}

/// The same kind, namespace and name in several documents.
fn same_object(
    node: &Node,
    schema: &KindSchema,
    report: &mut Report<'_>,
    seen: &mut BTreeMap<(String, String, String), String>,
) {
    let at = |key: &str| node.at(&["metadata", key]);
    let Some((name, text)) = at("name").and_then(|name| Some((name, name.text()?))) else { return };
    let namespace = at("namespace").and_then(Node::text).unwrap_or_default();
    let key = (schema.kind.to_owned(), namespace.to_owned(), text.to_owned());
    let here = report.place_text(name.span);
    match seen.get(&key) {
        Some(first) => {
            let message = format!("{} `{text}` is given twice; first in {first}", schema.kind);
            report.error(codes::SAME_OBJECT, ("metadata.name", name.span), &message, "rename one of them");
        }
        None => {
            seen.insert(key, here);
        }
    }
}

fn decode(
    (written, node, acts): (&Node, &Node, Acts),
    schema: &KindSchema,
    source: &Source,
    report: &mut Report<'_>,
    into: &mut Vec<Accepted>,
) {
    let json = node.to_json();
    let document = match schema.kind {
        "Experiment" => {
            Experiment::from_value(&json).map(|experiment| Document::Experiment(Box::new(experiment)))
        }
        "Guardrail" => Guardrail::from_value(&json).map(|guardrail| Document::Guardrail(Box::new(guardrail))),
        "GameDay" => GameDay::from_value(&json)
            .map(|day| Document::GameDay { day: Box::new(day), acts: Box::new(acts) }),
        _ => Run::from_value(&json).map(|run| Document::Run(Box::new(run))),
    };
    match document {
        Ok(document) => {
            let written = written.to_json();
            into.push(Accepted { source: source.name.clone(), json, written, document });
        }
        // The walk accepted what the types do not: never silently.
        Err(error) => report.error(codes::TYPE, ("document", node.span), &error.to_string(), ""),
    }
}

/// The code of a problem of the text itself.
fn code_of(fault: Fault) -> Code {
    match fault {
        Fault::Encoding | Fault::TooLarge => codes::TEXT,
        Fault::Syntax => codes::SYNTAX,
        Fault::DuplicateKey => codes::DUPLICATE_KEY,
        Fault::MergeKey | Fault::Unsupported => codes::YAML_FEATURE,
        Fault::Alias => codes::ALIAS,
        Fault::Number => codes::NUMBER,
    }
}

/// How many findings of each severity.
pub fn count(findings: &[Finding]) -> (usize, usize) {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    (errors, findings.len() - errors)
}

#[cfg(test)]
mod tests;
