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
mod parse;

pub use parse::{MAX_DEPTH, MAX_QUERY_BYTES, ParseError, parse};
pub use promql_parser::parser::Expr;

use super::series::{Labels, Sample, Series, Source};

/// How far back an instant selector looks for the newest sample (Prometheus: cmd/prometheus,
/// `--query.lookback-delta`).
pub const LOOKBACK_MS: i64 = 5 * 60 * 1000;

/// Resolution of a subquery that names none (Prometheus: config, `evaluation_interval`).
pub const DEFAULT_SUBQUERY_STEP_MS: i64 = 60 * 1000;

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

/// Whether every construct of a query is evaluated here.
pub fn supported(expr: &Expr) -> Result<(), Unsupported> {
    lower::lower(expr).map(|_| ())
}

/// A query made ready: what stays the same whenever it is asked.
pub struct Query(lower::Program);

impl Query {
    /// Makes a query ready.
    ///
    /// # Errors
    /// The construct that is not evaluated here.
    pub fn new(expr: &Expr) -> Result<Self, Unsupported> {
        lower::lower(expr).map(Self)
    }

    /// Evaluates it at one instant (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// When the data do not allow it.
    pub fn instant(&self, source: &dyn Source, at: i64) -> Result<Value, Error> {
        let range = Range { start: at, end: at, step: 1 };
        eval::Evaluation::new(source, &self.0, range).root(at)
    }

    /// Evaluates it at each step of a range; the answer has one series per label set. A scalar
    /// gives one series without labels.
    ///
    /// # Errors
    /// When the data do not allow it, or it does not fit a range.
    pub fn range(&self, source: &dyn Source, range: Range) -> Result<Vec<Series>, Error> {
        if range.step <= 0 {
            let message = "zero or negative query resolution step widths are not accepted";
            return Err(Error::BadData(message.into()));
        }
        if range.end < range.start {
            return Err(Error::BadData("end timestamp must not be before start time".into()));
        }
        let evaluation = eval::Evaluation::new(source, &self.0, range);
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
}

/// [`Query::instant`] of a query that is asked once.
///
/// # Errors
/// As [`Query::new`] and [`Query::instant`].
pub fn instant(source: &dyn Source, expr: &Expr, at: i64) -> Result<Value, Error> {
    Query::new(expr)?.instant(source, at)
}

/// [`Query::range`] of a query that is asked once.
///
/// # Errors
/// As [`Query::new`] and [`Query::range`].
pub fn range(source: &dyn Source, expr: &Expr, range: Range) -> Result<Vec<Series>, Error> {
    Query::new(expr)?.range(source, range)
}

fn wrong_type(found: &str) -> Error {
    Error::BadData(format!(
        "invalid expression type \"{found}\" for range query, must be Scalar or instant Vector"
    ))
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
