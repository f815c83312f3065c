//! PromQL over any [`Source`]: parsed by the crate `promql-parser`, evaluated here with the
//! semantics of Prometheus 3 (range and lookback windows are open at their older end).
//!
//! A construct that is not evaluated here is an [`Unsupported`] error that names it, never an empty
//! answer.

mod aggregate;
mod binary;
mod eval;
mod functions;
mod histogram;
mod lower;
mod over_time;

pub use promql_parser::parser::Expr;

use super::series::{Labels, Sample, Series, Source};

/// How far back an instant selector looks for the newest sample (Prometheus: cmd/prometheus,
/// `--query.lookback-delta`).
pub const LOOKBACK_MS: i64 = 5 * 60 * 1000;

/// Resolution of a subquery that names none (Prometheus: config, `evaluation_interval`).
pub const DEFAULT_SUBQUERY_STEP_MS: i64 = 60 * 1000;

/// Longest query accepted, in bytes; the file format allows 8 KiB.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Deepest nesting of expressions accepted; protects the stack from hostile queries.
pub const MAX_DEPTH: usize = 200;

/// A query that is not PromQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", position(self.offset))]
pub struct ParseError {
    /// What is wrong, in the parser's words.
    pub message: String,
    /// Byte offset into the query where it is wrong, where that is known.
    pub offset: Option<usize>,
}

fn position(offset: Option<usize>) -> String {
    offset.map_or_else(String::new, |at| format!("at byte {at}: "))
}

/// Valid PromQL that the embedded cluster does not evaluate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is not supported by the embedded cluster")]
pub struct Unsupported {
    /// The construct with its kind, such as "function `predict_linear`".
    pub name: String,
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The query uses something that is not evaluated here.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The data do not allow the query, such as several series where one has to match.
    #[error("{0}")]
    Execution(String),
    /// The query does not fit the request, such as a range vector in a range query.
    #[error("{0}")]
    BadData(String),
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// Labels of the element.
    pub labels: Labels,
    /// Its value at the query's time.
    pub value: f64,
}

/// The answer of an instant query.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number without labels.
    Scalar(f64),
    /// A string literal.
    Text(String),
    /// One value per label set.
    Vector(Vec<Element>),
    /// Samples per label set; only a bare range selector gives it.
    Matrix(Vec<Series>),
}

/// Start, end (inclusive) and step of a range query, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First instant that is evaluated.
    pub start: i64,
    /// Last instant that may be evaluated.
    pub end: i64,
    /// Distance between instants, above zero.
    pub step: i64,
}

/// Parses and type-checks a query.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    if query.len() > MAX_QUERY_BYTES {
        let message = format!("the query is longer than {MAX_QUERY_BYTES} bytes");
        return Err(ParseError { message, offset: Some(MAX_QUERY_BYTES) });
    }
    if let Some(offset) = too_deep(query) {
        let message = format!("nested more than {MAX_DEPTH} levels deep");
        return Err(ParseError { message, offset: Some(offset) });
    }
    promql_parser::parser::parse(query).map_err(|message| {
        let offset = locate(query, &message);
        ParseError { message, offset }
    })
}

/// Whether every construct of a query is evaluated here.
pub fn supported(expr: &Expr) -> Result<(), Unsupported> {
    lower::lower(expr).map(|_| ())
}

/// Evaluates a query at one instant (milliseconds since the Unix epoch).
pub fn instant(source: &dyn Source, expr: &Expr, at: i64) -> Result<Value, Error> {
    let program = lower::lower(expr)?;
    let range = Range { start: at, end: at, step: 1 };
    eval::Evaluation::new(source, &program, range).root(at)
}

/// Evaluates a query at each step of a range; the answer has one series per label set. A scalar
/// gives one series without labels.
pub fn range(source: &dyn Source, expr: &Expr, range: Range) -> Result<Vec<Series>, Error> {
    if range.step <= 0 {
        let message = "zero or negative query resolution step widths are not accepted";
        return Err(Error::BadData(message.into()));
    }
    if range.end < range.start {
        return Err(Error::BadData("end timestamp must not be before start time".into()));
    }
    let program = lower::lower(expr)?;
    let evaluation = eval::Evaluation::new(source, &program, range);
    let mut all: std::collections::BTreeMap<Labels, Vec<Sample>> = std::collections::BTreeMap::new();
    let mut t = range.start;
    while t <= range.end {
        match evaluation.root(t)? {
            Value::Scalar(v) => all.entry(Labels::default()).or_default().push(Sample { t, v }),
            Value::Vector(elements) => {
                for e in elements {
                    all.entry(e.labels).or_default().push(Sample { t, v: e.value });
                }
            }
            Value::Text(_) => return Err(wrong_type("string")),
            Value::Matrix(_) => return Err(wrong_type("range vector")),
        }
        t = t.saturating_add(range.step);
    }
    Ok(all.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
}

fn wrong_type(found: &str) -> Error {
    Error::BadData(format!(
        "invalid expression type \"{found}\" for range query, must be Scalar or instant Vector"
    ))
}

/// Where bracket nesting, or a chain of signs, exceeds [`MAX_DEPTH`].
fn too_deep(query: &str) -> Option<usize> {
    let (mut depth, mut signs) = (0_usize, 0_usize);
    for (at, c) in query.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match c {
            '-' | '+' => signs += 1,
            c if c.is_whitespace() => {}
            _ => signs = 0,
        }
        if depth > MAX_DEPTH || signs > MAX_DEPTH {
            return Some(at);
        }
    }
    None
}

/// The parser's errors carry no position. What its message allows is found again: an unbalanced
/// bracket, a name that it quotes, or the shortest beginning of the query with the same lexical error.
fn locate(query: &str, message: &str) -> Option<usize> {
    if message.starts_with("unclosed left") {
        return unclosed(query);
    }
    if message.starts_with("unknown function") {
        let name = message.split(['\'', '"']).nth(1)?;
        return query.find(name);
    }
    if !message.starts_with("unexpected character") && !message.starts_with("unexpected right") {
        return None;
    }
    let ends = query.char_indices().map(|(at, c)| (at, at + c.len_utf8()));
    ends.into_iter()
        .find(|&(_, end)| {
            let lexed = promql_parser::parser::lexer(&query[..end]);
            lexed.err().is_some_and(|e| e == message)
        })
        .map(|(at, _)| at)
}

fn unclosed(query: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut quote = None;
    for (at, c) in query.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(') => open.push(at),
            (None, ')') => drop(open.pop()),
            _ => {}
        }
    }
    open.last().copied()
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
