//! Findings for people and for programs.

use std::collections::BTreeMap;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::Value as Json;

use super::Source;
use crate::types::codes::format as codes;
use crate::types::{Finding, Severity};

/// How findings are rendered for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without colours.
    Plain,
    /// With colours, for terminals.
    Styled,
}

/// The findings with the source line underlined, the reason and the help, and a last line that counts.
pub fn render(findings: &[Finding], sources: &[Source], style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Styled => Renderer::styled(),
    };
    let texts: BTreeMap<&str, &Source> =
        sources.iter().map(|source| (source.name.as_str(), source)).collect();
    let mut out = String::new();
    for finding in findings {
        out.push_str(&one(finding, &texts, &renderer));
        out.push_str("\n\n");
    }
    let (errors, warnings) = super::count(findings);
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => {}
        (errors, 0) => out.push_str(&plural(errors, "error")),
        (0, warnings) => out.push_str(&plural(warnings, "warning")),
        (errors, warnings) => {
            out.push_str(&format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")));
        }
    }
    if !findings.is_empty() {
        out.push('\n');
    }
    out
}

fn one(finding: &Finding, texts: &BTreeMap<&str, &Source>, renderer: &Renderer) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(finding.message.as_str()).id(finding.code.0.as_ref());
    let place = finding.place.as_ref();
    let text = place
        .and_then(|place| texts.get(place.file.as_str()))
        .and_then(|source| std::str::from_utf8(&source.bytes).ok());
    let (Some(place), Some(text), true) = (place, text, finding.code != codes::SECRET) else {
        // What is secret is not repeated, and what is not text cannot be.
        let at = place
            .map_or_else(String::new, |place| format!(" at {}:{}:{}", place.file, place.line, place.column));
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        let mut line = format!("{severity}[{}]: {}{at}", finding.code, finding.message);
        if !finding.remedy.is_empty() {
            line.push_str(&format!("\n  = help: {}", finding.remedy));
        }
        return line;
    };
    let (start, end) = first_line(text, place.span);
    let snippet = Snippet::source(text)
        .path(place.file.as_str())
        .annotation(AnnotationKind::Primary.span(start..end).label(finding.subject.as_str()));
    let mut group = title.element(snippet);
    if !finding.remedy.is_empty() {
        group = group.element(Level::HELP.message(finding.remedy.as_str()));
    }
    renderer.render(&[group])
}

/// A range of several lines is cut at the end of its first, so that a whole map is not repeated.
fn first_line(text: &str, (start, end): (usize, usize)) -> (usize, usize) {
    let start = (0..=start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let end = end.clamp(start, text.len());
    let end = (end..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let line = text[start..end].find('\n').map_or(end, |newline| start + newline);
    (start, line.max(start))
}

/// The findings as JSON: a list of objects with code, severity, subject, message, remedy and place.
pub fn json(findings: &[Finding]) -> Json {
    findings.iter().filter_map(|finding| serde_json::to_value(finding).ok()).collect()
}
