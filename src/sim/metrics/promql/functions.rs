//! Functions over instant vectors (Prometheus: promql/functions.go).

use super::Element;
use super::aggregate::best_first;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Math {
    Abs,
    Ceil,
    Floor,
    Sqrt,
    Sgn,
}

/// A function from an instant vector, and scalars, to an instant vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstantFn {
    Math(Math),
    Round,
    Clamp,
    ClampMin,
    ClampMax,
    Sort { descending: bool },
}

/// Applies a function; `params` are its scalars in the order of the call.
pub fn apply(func: InstantFn, mut vector: Vec<Element>, params: &[f64]) -> Vec<Element> {
    let first = params.first().copied();
    match func {
        InstantFn::Math(math) => map(vector, |v| number(math, v)),
        InstantFn::Round => {
            // Dividing by the inverse, as Prometheus does, keeps 0.1 and the like exact.
            let inverse = 1.0 / first.unwrap_or(1.0);
            map(vector, |v| (v * inverse + 0.5).floor() / inverse)
        }
        InstantFn::Clamp => {
            let (low, high) = (first.unwrap_or(f64::NAN), params.get(1).copied().unwrap_or(f64::NAN));
            if high < low {
                return Vec::new();
            }
            map(vector, |v| max(low, min(high, v)))
        }
        InstantFn::ClampMin => map(vector, |v| max(first.unwrap_or(f64::NAN), v)),
        InstantFn::ClampMax => map(vector, |v| min(first.unwrap_or(f64::NAN), v)),
        InstantFn::Sort { descending } => {
            vector.sort_by(|a, b| best_first(a.value, b.value, descending));
            vector
        }
    }
}

fn map(vector: Vec<Element>, f: impl Fn(f64) -> f64) -> Vec<Element> {
    vector.into_iter().map(|e| Element { labels: e.labels.without_name(), value: f(e.value) }).collect()
}

fn number(math: Math, v: f64) -> f64 {
    match math {
        Math::Abs => v.abs(),
        Math::Ceil => v.ceil(),
        Math::Floor => v.floor(),
        Math::Sqrt => v.sqrt(),
        Math::Sgn if v > 0.0 => 1.0,
        Math::Sgn if v < 0.0 => -1.0,
        Math::Sgn => v,
    }
}

/// The greater of two, or NaN where either is: unlike `f64::max`, like Go's `math.Max`.
fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}
