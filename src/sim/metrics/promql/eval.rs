//! Evaluation of a lowered query at one instant after another. What the selectors need of the whole
//! query is read from the source once, before the first step.

use std::collections::{BTreeMap, BTreeSet};

use super::lower::{At, Node, Op, Program, RangeArg, Selector};
use super::over_time::Window;
use super::{Element, Error, LOOKBACK_MS, Range, Value};
use super::{aggregate, binary, functions, histogram, over_time};
use crate::sim::metrics::series::{Labels, Sample, Series, Source, is_stale};

/// Bounds the work of one query, as Prometheus' 11,000 points per series bound a range query.
const MAX_SUBQUERY_STEPS: i64 = 100_000;

/// A query with the data that it reads.
pub struct Evaluation<'a> {
    program: &'a Program,
    range: Range,
    data: Vec<Vec<Series>>,
}

/// What an operation yields at one instant.
enum Out {
    Scalar(f64),
    Text(String),
    Vector(Vec<Element>),
}

impl<'a> Evaluation<'a> {
    pub fn new(source: &dyn Source, program: &'a Program, range: Range) -> Self {
        let read = |s: &Selector| {
            let (first, last) = match s.at {
                Some(at) => (resolve(at, range), resolve(at, range)),
                None => (range.start - s.outer_offset - s.outer_range, range.end - s.outer_offset),
            };
            let back = s.range.unwrap_or(LOOKBACK_MS);
            let (from, to) = (first - s.offset - back + 1, last - s.offset);
            if s.range.is_none() && first == last {
                return source.select_latest(&s.matchers, from, to);
            }
            source.select(&s.matchers, from, to)
        };
        let data = program.selectors.iter().map(read).collect();
        Self { program, range, data }
    }

    /// The whole query at one instant.
    pub fn root(&self, t: i64) -> Result<Value, Error> {
        if let Node::Matrix(selector) = self.program.root {
            return Ok(Value::Matrix(self.windows(selector, t).1));
        }
        Ok(match self.eval(&self.program.root, t)? {
            Out::Scalar(v) => Value::Scalar(v),
            Out::Text(s) => Value::Text(s),
            Out::Vector(v) => Value::Vector(v),
        })
    }

    fn eval(&self, node: &Node, t: i64) -> Result<Out, Error> {
        let vector = match node {
            Node::Number(v) => return Ok(Out::Scalar(*v)),
            Node::Text(s) => return Ok(Out::Text(s.clone())),
            Node::Time => return Ok(Out::Scalar(t as f64 / 1000.0)),
            Node::Scalar(arg) => return Ok(Out::Scalar(only(&self.vector(arg, t)?))),
            Node::Vector(selector) => {
                let found = self.instant(*selector, t).into_iter();
                found.map(|(labels, s)| Element { labels, value: s.v }).collect()
            }
            // `lower` puts it only at the root, where `root` answers it.
            Node::Matrix(_) => return Err(Error::BadData("a range vector in this place".into())),
            Node::Neg(arg) => match self.eval(arg, t)? {
                Out::Vector(v) => v
                    .into_iter()
                    .map(|e| Element { labels: e.labels.without_name(), value: -e.value })
                    .collect(),
                Out::Scalar(v) => return Ok(Out::Scalar(-v)),
                Out::Text(_) => return Err(type_error("a number", "a string")),
            },
            Node::Aggregate(a) => {
                let param = a.param.as_ref().map_or(Ok(0.0), |p| self.scalar(p, t))?;
                aggregate::aggregate(a, self.vector(&a.arg, t)?, param)?
            }
            Node::Binary(b) => return self.binary(b, t),
            Node::Timestamp(arg) => self.timestamp(arg, t)?,
            Node::ToVector(arg) => vec![Element { labels: Labels::default(), value: self.scalar(arg, t)? }],
            Node::Absent(arg, labels) => absent(self.vector(arg, t)?.is_empty(), labels),
            Node::AbsentOverTime(arg, labels) => absent(self.range_windows(arg, t)?.1.is_empty(), labels),
            Node::HistogramQuantile(q, v) => {
                histogram::histogram_quantile(self.scalar(q, t)?, self.vector(v, t)?)
            }
            Node::Instant { func, arg, params } => {
                let params = params.iter().map(|p| self.scalar(p, t)).collect::<Result<Vec<_>, _>>()?;
                functions::apply(*func, self.vector(arg, t)?, &params)
            }
            Node::OverTime { func, arg, param } => {
                let param = param.as_ref().map_or(Ok(f64::NAN), |p| self.scalar(p, t))?;
                let (window, series) = self.range_windows(arg, t)?;
                let mut out = Vec::new();
                for Series { labels, samples } in series {
                    if let Some(value) = over_time::apply(*func, &samples, window, param) {
                        let labels = if func.keeps_name() { labels } else { labels.without_name() };
                        out.push(Element { labels, value });
                    }
                }
                out
            }
        };
        unique(vector).map(Out::Vector)
    }

    fn vector(&self, node: &Node, t: i64) -> Result<Vec<Element>, Error> {
        match self.eval(node, t)? {
            Out::Vector(v) => Ok(v),
            Out::Scalar(_) => Err(type_error("an instant vector", "a scalar")),
            Out::Text(_) => Err(type_error("an instant vector", "a string")),
        }
    }

    fn scalar(&self, node: &Node, t: i64) -> Result<f64, Error> {
        match self.eval(node, t)? {
            Out::Scalar(v) => Ok(v),
            Out::Vector(_) => Err(type_error("a scalar", "an instant vector")),
            Out::Text(_) => Err(type_error("a scalar", "a string")),
        }
    }

    fn binary(&self, b: &super::lower::Binary, t: i64) -> Result<Out, Error> {
        let vector = match (self.eval(&b.lhs, t)?, self.eval(&b.rhs, t)?) {
            (Out::Scalar(l), Out::Scalar(r)) => return Ok(Out::Scalar(binary::scalars(b.op, l, r))),
            (Out::Vector(v), Out::Scalar(s)) => binary::vector_scalar(b, v, s, false),
            (Out::Scalar(s), Out::Vector(v)) => binary::vector_scalar(b, v, s, true),
            (Out::Vector(l), Out::Vector(r)) if matches!(b.op, Op::And | Op::Or | Op::Unless) => {
                binary::set_operation(b, l, r)
            }
            (Out::Vector(l), Out::Vector(r)) => binary::vectors(b, l, r)?,
            (Out::Text(_), _) | (_, Out::Text(_)) => return Err(type_error("a number", "a string")),
        };
        unique(vector).map(Out::Vector)
    }

    /// `timestamp` of a selector is the time of its sample; of anything else the evaluation time.
    fn timestamp(&self, arg: &Node, t: i64) -> Result<Vec<Element>, Error> {
        let stamped =
            |labels: &Labels, at: i64| Element { labels: labels.without_name(), value: at as f64 / 1000.0 };
        if let Node::Vector(selector) = arg {
            return Ok(self.instant(*selector, t).iter().map(|(labels, s)| stamped(labels, s.t)).collect());
        }
        Ok(self.vector(arg, t)?.iter().map(|e| stamped(&e.labels, t)).collect())
    }

    /// End of the selector's window for an evaluation at `t`.
    fn reference(&self, selector: &Selector, t: i64) -> i64 {
        selector.at.map_or(t, |at| resolve(at, self.range)) - selector.offset
    }

    /// The newest sample of each series that is neither stale nor older than the lookback.
    fn instant(&self, selector: usize, t: i64) -> Vec<(Labels, Sample)> {
        let end = self.reference(&self.program.selectors[selector], t);
        let newest = |s: &Series| {
            let upto = s.samples.partition_point(|sample| sample.t <= end);
            let sample = *s.samples[..upto].last()?;
            (sample.t > end - LOOKBACK_MS && !is_stale(sample.v)).then(|| (s.labels.clone(), sample))
        };
        self.data[selector].iter().filter_map(newest).collect()
    }

    /// Window of a range selector at `t`, and the samples of each series in it.
    fn windows(&self, selector: usize, t: i64) -> (Window, Vec<Series>) {
        let spec = &self.program.selectors[selector];
        let end = self.reference(spec, t);
        let window = Window { start: end - spec.range.unwrap_or(LOOKBACK_MS), end };
        let mut out = Vec::new();
        for s in &self.data[selector] {
            let from = s.samples.partition_point(|sample| sample.t <= window.start);
            let upto = s.samples.partition_point(|sample| sample.t <= window.end);
            let live = s.samples[from..upto.max(from)].iter().filter(|sample| !is_stale(sample.v));
            let samples: Vec<Sample> = live.copied().collect();
            if !samples.is_empty() {
                out.push(Series { labels: s.labels.clone(), samples });
            }
        }
        (window, out)
    }

    fn range_windows(&self, arg: &RangeArg, t: i64) -> Result<(Window, Vec<Series>), Error> {
        match arg {
            RangeArg::Selector(selector) => Ok(self.windows(*selector, t)),
            RangeArg::Subquery { inner, range, step, offset } => {
                let window = Window { start: t - offset - range, end: t - offset };
                Ok((window, self.subquery(inner, window, *step)?))
            }
        }
    }

    /// Steps of a subquery are multiples of its resolution, independent of the evaluation time.
    fn subquery(&self, inner: &Node, window: Window, step: i64) -> Result<Vec<Series>, Error> {
        if (window.end - window.start) / step > MAX_SUBQUERY_STEPS {
            let message = format!("a subquery of more than {MAX_SUBQUERY_STEPS} steps");
            return Err(Error::Execution(message));
        }
        let mut all: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        let mut t = window.start.div_euclid(step) * step + step;
        while t <= window.end {
            match self.eval(inner, t)? {
                Out::Scalar(v) => all.entry(Labels::default()).or_default().push(Sample { t, v }),
                Out::Vector(elements) => {
                    for e in elements {
                        all.entry(e.labels).or_default().push(Sample { t, v: e.value });
                    }
                }
                Out::Text(_) => return Err(type_error("an instant vector", "a string")),
            }
            t += step;
        }
        Ok(all.into_iter().map(|(labels, samples)| Series { labels, samples }).collect())
    }
}

fn resolve(at: At, range: Range) -> i64 {
    match at {
        At::Start => range.start,
        At::End => range.end,
        At::Millis(t) => t,
    }
}

/// The one element's value, NaN where there is none or several.
fn only(vector: &[Element]) -> f64 {
    match vector {
        [one] => one.value,
        _ => f64::NAN,
    }
}

fn absent(is_absent: bool, labels: &[(String, String)]) -> Vec<Element> {
    let labels = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    if is_absent { vec![Element { labels, value: 1.0 }] } else { Vec::new() }
}

fn type_error(expected: &str, found: &str) -> Error {
    Error::BadData(format!("expected {expected}, got {found}"))
}

fn unique(vector: Vec<Element>) -> Result<Vec<Element>, Error> {
    let mut seen = BTreeSet::new();
    if vector.iter().all(|e| seen.insert(&e.labels)) {
        return Ok(vector);
    }
    Err(Error::Execution("vector cannot contain metrics with the same labelset".into()))
}
