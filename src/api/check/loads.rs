//! What only the meaning of loads can tell: their fields, their names, and the probes that name them.

use crate::api::schema::{MAX_PROBES, MAX_STEPS};
use crate::api::yaml::{Node, Span};
use crate::load::LoadSpec;
use crate::types::codes::{format as codes, guard};
use crate::types::nearest;

use super::report::Report;

/// A load that a probe may name.
struct Declared<'a> {
    name: &'a str,
    span: Span,
    is_step: bool,
}

pub(super) fn check(spec: &Node, report: &mut Report<'_>) {
    let mut declared: Vec<Declared<'_>> = Vec::new();
    let list = spec.get("load").map(Node::items).unwrap_or_default();
    for (index, node) in list.iter().enumerate() {
        lint(node, &format!("spec.load[{index}]"), report);
        let Some((at, name)) = node.get("name").and_then(|at| Some((at, at.text()?))) else { continue };
        declared.push(Declared { name, span: at.span, is_step: false });
    }
    let steps = spec.get("method").map(Node::items).unwrap_or_default();
    for (index, node) in steps.iter().enumerate().take(MAX_STEPS) {
        let Some(load) = node.get("load") else { continue };
        lint(load, &format!("spec.method[{index}].load"), report);
        let Some((at, name)) = node.get("name").and_then(|at| Some((at, at.text()?))) else { continue };
        if let Some(first) = declared.iter().find(|other| other.name == name && !other.is_step) {
            let line = report.place(first.span).line;
            let message =
                format!("`{name}` is also a load of spec.load, in line {line}; probes name both alike");
            let path = format!("spec.method[{index}].name");
            report.error(codes::SAME_NAME, (&path, at.span), &message, "rename one of them");
        }
        declared.push(Declared { name, span: at.span, is_step: true });
    }
    probes(spec, &declared, report);
}

/// Whether a probe names a load that is there when it is judged.
fn probes(spec: &Node, declared: &[Declared<'_>], report: &mut Report<'_>) {
    let list = spec.get("steadyState").map(Node::items).unwrap_or_default();
    for (index, node) in list.iter().enumerate().take(MAX_PROBES) {
        let Some((at, name)) = node.at(&["load", "name"]).and_then(|at| Some((at, at.text()?))) else {
            continue;
        };
        let path = format!("spec.steadyState[{index}].load.name");
        let Some(load) = declared.iter().find(|load| load.name == name) else {
            let remedy = match nearest(name, declared.iter().map(|load| load.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name one of spec.load, or a load step".to_owned(),
            };
            let message = format!("there is no load `{name}`");
            report.error(codes::REFERENCE, (&path, at.span), &message, &remedy);
            continue;
        };
        if load.is_step && node.get("role").and_then(Node::text) != Some("Informational") {
            let message = format!(
                "the load of step `{name}` is not there in Baseline, so this probe could not be judged from the beginning"
            );
            let remedy = "write role: Informational and ask it in a check, or move the load to spec.load";
            report.error(codes::REFERENCE, (&path, at.span), &message, remedy);
        }
    }
}

fn lint(node: &Node, path: &str, report: &mut Report<'_>) {
    let Ok(load) = serde_json::from_value::<LoadSpec>(node.to_json()) else { return };
    // What is wrong by the schema is said there.
    let whole = report.errors() == 0;
    for finding in load.lint().into_iter().filter(|finding| whole || finding.code != guard::FIELDS) {
        report.error(finding.code, (path, node.span), &finding.message, &finding.remedy);
    }
}
