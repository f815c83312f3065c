//! Findings of one text, with places.

use std::collections::BTreeSet;

use super::{Source, code_of};
use crate::api::yaml::{Problem, Span};
use crate::types::codes::format as codes;
use crate::types::{Code, Finding, Place, nearest};

/// So many findings of one text are kept: a text with more is not a firedrill file with mistakes.
const MAX_FINDINGS: usize = 1000;

/// Collects the findings of one text.
pub(super) struct Report<'a> {
    source: &'a Source,
    /// The text; empty if it is not UTF-8.
    text: &'a str,
    /// Byte at which each line begins.
    lines: Vec<usize>,
    findings: Vec<Finding>,
    /// Names of the parameters that the document at hand declares; None if its kind has none.
    parameters: Option<BTreeSet<String>>,
    errors: usize,
    open: usize,
    left_out: usize,
    broken: bool,
}

impl<'a> Report<'a> {
    pub fn new(source: &'a Source) -> Self {
        let text = std::str::from_utf8(&source.bytes).unwrap_or_default();
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(breaks).collect();
        Self {
            source,
            text,
            lines,
            findings: Vec::new(),
            parameters: None,
            errors: 0,
            open: 0,
            left_out: 0,
            broken: false,
        }
    }

    pub fn source(&self) -> &'a Source {
        self.source
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Whether something is wrong at exactly this place already: what follows from it goes without saying.
    pub fn refused_at(&self, span: Span) -> bool {
        let place = self.place(span).span;
        let same = |finding: &Finding| finding.place.as_ref().is_some_and(|at| at.span == place);
        self.findings.iter().any(|finding| finding.is_error() && same(finding))
    }

    /// From here on, these parameters are declared; None: there are none to declare.
    pub fn declare(&mut self, parameters: Option<BTreeSet<String>>) {
        self.parameters = parameters;
    }

    /// Whether the document at hand is of a kind that has parameters.
    pub fn has_parameters(&self) -> bool {
        self.parameters.is_some()
    }

    /// A parameter is referred to; one that is not declared is an error.
    pub fn parameter(&mut self, name: &str, place: (&str, Span)) {
        let declared = || self.parameters.iter().flatten().map(String::as_str);
        if declared().any(|declared| declared == name) {
            return;
        }
        let remedy = match nearest(name, declared()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it: parameters: [{{name: {name}}}]"),
        };
        self.error(codes::REFERENCE, place, &format!("there is no parameter `{name}`"), &remedy);
    }

    /// How many errors so far.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// How many parameters without a value so far.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Whether nothing was wrong with the text itself; otherwise what was read is not what was meant.
    pub fn readable(&self) -> bool {
        !self.broken
    }

    /// Whether further findings are only counted; help need not be looked for then.
    pub fn is_full(&self) -> bool {
        self.findings.len() >= MAX_FINDINGS
    }

    pub fn place(&self, span: Span) -> Place {
        let start = span.start.min(self.text.len());
        let line = self.lines.partition_point(|begin| *begin <= start).max(1);
        let begin = self.lines[line - 1];
        let column = self.text.get(begin..start).map_or(start - begin, |before| before.chars().count()) + 1;
        let column = if begin == 0 && self.text.starts_with('\u{feff}') { column.max(2) - 1 } else { column };
        Place {
            file: self.source.name.clone(),
            line,
            column,
            span: (start, span.end.min(self.text.len()).max(start)),
        }
    }

    /// `file:line:column`.
    pub fn place_text(&self, span: Span) -> String {
        let place = self.place(span);
        format!("{}:{}:{}", place.file, place.line, place.column)
    }

    pub fn push(&mut self, finding: Finding, span: Span) {
        self.errors += usize::from(finding.is_error());
        self.open += usize::from(finding.code == codes::PARAMETER && !finding.is_error());
        if self.is_full() {
            self.left_out += 1;
            return;
        }
        let place = self.place(span);
        self.findings.push(finding.at(place));
    }

    pub fn error(&mut self, code: Code, (subject, span): (&str, Span), message: &str, remedy: &str) {
        self.push(Finding::error(code, subject, message).remedy(remedy), span);
    }

    pub fn warning(&mut self, code: Code, (subject, span): (&str, Span), message: &str, remedy: &str) {
        self.push(Finding::warning(code, subject, message).remedy(remedy), span);
    }

    /// A problem of the text itself.
    pub fn problem(&mut self, problem: Problem) {
        self.broken = true;
        let mut message = problem.message;
        if let Some((span, what)) = problem.related {
            let place = self.place(span);
            message = format!("{message}; {what} (line {}, column {})", place.line, place.column);
        }
        let remedy = problem.help.unwrap_or_default();
        self.error(code_of(problem.fault), ("text", problem.span), &message, &remedy);
    }

    /// The findings by place, each once: what an alias repeats is said once.
    pub fn finish(mut self) -> Vec<Finding> {
        let key = |finding: &Finding| finding.place.as_ref().map(|place| place.span);
        self.findings.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.code.cmp(&b.code)));
        // A number that could not be kept is said once, not again for the field that it was meant for.
        let unkept: BTreeSet<_> =
            self.findings.iter().filter(|finding| finding.code == codes::NUMBER).filter_map(key).collect();
        self.findings.retain(|finding| {
            finding.code == codes::NUMBER || !key(finding).is_some_and(|span| unkept.contains(&span))
        });
        self.findings.dedup_by(|b, a| a.code == b.code && a.message == b.message && a.place == b.place);
        if let Some(last) = self.findings.last_mut().filter(|_| self.left_out > 0) {
            last.remedy = format!("{} more findings of this text are not shown", self.left_out);
        }
        self.findings
    }
}
