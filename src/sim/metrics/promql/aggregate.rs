//! Aggregation operators (Prometheus: promql/engine.go, `aggregation`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::lower::{Aggregate, AggregateOp};
use super::over_time::{extreme, mean, sum, variance};
use super::{Element, Error};
use crate::sim::metrics::series::{Labels, METRIC_NAME};

/// Aggregates a vector; `param` is the scalar of `topk`, `bottomk` and `quantile`.
pub fn aggregate(spec: &Aggregate, vector: Vec<Element>, param: f64) -> Result<Vec<Element>, Error> {
    let mut groups: BTreeMap<Labels, Vec<Element>> = BTreeMap::new();
    for element in vector {
        groups.entry(group_labels(spec, &element.labels)).or_default().push(element);
    }
    let mut out = Vec::new();
    for (labels, members) in groups {
        match spec.op {
            AggregateOp::Topk => out.extend(select(members, param, true)?),
            AggregateOp::Bottomk => out.extend(select(members, param, false)?),
            op => out.push(Element { labels, value: reduce(op, &members, param) }),
        }
    }
    Ok(out)
}

fn group_labels(spec: &Aggregate, labels: &Labels) -> Labels {
    let listed = |name: &str| spec.grouping.iter().any(|g| g == name);
    if spec.without {
        labels.filtered(|name| name != METRIC_NAME && !listed(name))
    } else {
        labels.filtered(listed)
    }
}

fn reduce(op: AggregateOp, members: &[Element], param: f64) -> f64 {
    let values = members.iter().map(|e| e.value);
    match op {
        AggregateOp::Sum => sum(values),
        AggregateOp::Avg => mean(values, members.len()),
        AggregateOp::Min => extreme(values, |new, best| new < best).unwrap_or(f64::NAN),
        AggregateOp::Max => extreme(values, |new, best| new > best).unwrap_or(f64::NAN),
        AggregateOp::Count => members.len() as f64,
        AggregateOp::Group => 1.0,
        AggregateOp::Stddev => variance(values).sqrt(),
        AggregateOp::Stdvar => variance(values),
        AggregateOp::Quantile => quantile(param, values.collect()),
        // They choose among members instead of reducing them; `aggregate` never sends them here.
        AggregateOp::Topk | AggregateOp::Bottomk => f64::NAN,
    }
}

/// The `k` greatest or least members with their own labels, best first; NaN comes last in both.
fn select(mut members: Vec<Element>, k: f64, greatest: bool) -> Result<Vec<Element>, Error> {
    if k.is_nan() {
        return Err(Error::Execution("Parameter value is NaN".into()));
    }
    if k < 1.0 {
        return Ok(Vec::new());
    }
    members.sort_by(|a, b| best_first(a.value, b.value, greatest));
    members.truncate(k as usize);
    Ok(members)
}

/// Order with the greatest (or least) first and NaN last.
pub fn best_first(a: f64, b: f64, greatest: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if greatest => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// Interpolated quantile of unordered values (Prometheus: promql/quantile.go, `quantile`); NaN counts
/// as the least value.
pub fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| best_first(*b, *a, true));
    let n = values.len() as f64;
    let rank = q * (n - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(n - 1.0);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}
