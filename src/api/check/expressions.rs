//! CEL and PromQL inside of texts.

use crate::api::yaml::{Node, Span};
use crate::probes::cel::{Expression, Variable};
use crate::types::codes::format as codes;

use super::report::Report;

/// What an expression is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Truth,
    Number,
}

/// Compiles the expression that a text holds and reports what is wrong with it at its place.
pub(super) fn cel(
    node: &Node,
    variables: &[Variable],
    wanted: Wanted,
    path: &str,
    report: &mut Report<'_>,
) -> Option<Expression> {
    let text = node.text().filter(|text| !text.contains("$(params."))?;
    let expression = match Expression::compile(text, variables) {
        Ok(expression) => expression,
        Err(error) => {
            let remedy = if error.message.contains("no variable `window`") {
                "give the probe a window, such as window: 1m".to_owned()
            } else {
                error.help
            };
            let span = within(report.text(), node, error.offset, error.length);
            report.error(codes::CEL, (path, span), &error.message, &remedy);
            return None;
        }
    };
    for name in expression.parameters() {
        let offset = text.find(&format!("params.{name}")).unwrap_or_default();
        let span = within(report.text(), node, offset, "params.".len() + name.len());
        report.parameter(name, (path, span));
    }
    for warning in expression.warnings() {
        let span = within(report.text(), node, warning.offset, warning.length);
        report.warning(codes::CEL_SUSPICIOUS, (path, span), &warning.message, &warning.help);
    }
    let kind = expression.kind();
    let name = path.rsplit('.').next().unwrap_or(path);
    let (fits, asked, remedy) = match wanted {
        Wanted::Truth => {
            (kind.may_be_bool(), "true or false", "compare with something, such as value >= 0.99")
        }
        Wanted::Number => (kind.may_be_number(), "a number", "comparisons belong into expect"),
    };
    if !fits {
        let message = format!("the expression gives {kind}, and `{name}` has to give {asked}");
        report.error(codes::CEL_RESULT, (path, node.span), &message, remedy);
    }
    Some(expression)
}

/// Parses a query; it is not run.
pub(super) fn promql(node: &Node, path: &str, report: &mut Report<'_>) {
    let Some(text) = node.text().filter(|text| !text.trim().is_empty() && !text.contains("$(params.")) else {
        return;
    };
    if let Err(message) = promql_parser::parser::parse(text) {
        let message = message.trim().trim_end_matches('.').replace('\n', " ");
        report.error(codes::PROMQL, (path, node.span), &format!("the query does not parse: {message}"), "");
    }
}

/// Where a byte of a text stands in the file: exact where the text is written as it is, line by line in
/// block scalars, the whole node where escapes make it impossible to say.
fn within(file: &str, node: &Node, offset: usize, length: usize) -> Span {
    let whole = node.span;
    let (Some(source), Some(text)) = (file.get(whole.start..whole.end), node.text()) else { return whole };
    let clipped = |at: usize| {
        let start = (whole.start + at).min(whole.end);
        let end = (start + length.max(1)).min(whole.end.max(start));
        match file.get(start..end) {
            Some(_) => Span::new(start, end),
            None => whole,
        }
    };
    if let Some(at) = source.find(text.trim_end()).filter(|_| !text.trim_end().is_empty()) {
        return clipped(at + offset);
    }
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    match source.find(line.trim_end()) {
        Some(at) if !line.trim().is_empty() => clipped(at + offset - line_start),
        _ => whole,
    }
}
