//! Binary operators and vector matching (Prometheus: promql/engine.go, `VectorBinop` and kin).

use std::collections::{BTreeMap, BTreeSet};

use super::lower::{Binary, Cardinality, Op};
use super::{Element, Error};
use crate::sim::metrics::series::{Labels, METRIC_NAME};

/// Value of an operation on two numbers, and whether a comparison holds. A comparison's value is its
/// left operand.
pub fn element(op: Op, l: f64, r: f64) -> (f64, bool) {
    match op {
        Op::Add => (l + r, true),
        Op::Sub => (l - r, true),
        Op::Mul => (l * r, true),
        Op::Div => (l / r, true),
        Op::Mod => (l % r, true),
        Op::Pow => (l.powf(r), true),
        Op::Eq => (l, l == r),
        Op::Ne => (l, l != r),
        Op::Gt => (l, l > r),
        Op::Ge => (l, l >= r),
        Op::Lt => (l, l < r),
        Op::Le => (l, l <= r),
        // Set operators work on label sets; the parser lets no number near them.
        Op::And | Op::Or | Op::Unless => (f64::NAN, false),
    }
}

/// Two scalars; a comparison has the `bool` modifier here, the parser sees to it.
pub fn scalars(op: Op, l: f64, r: f64) -> f64 {
    match element(op, l, r) {
        (_, holds) if op.is_comparison() => f64::from(u8::from(holds)),
        (value, _) => value,
    }
}

/// A vector and a scalar; `swapped` when the scalar is on the left.
pub fn vector_scalar(spec: &Binary, vector: Vec<Element>, scalar: f64, swapped: bool) -> Vec<Element> {
    let mut out = Vec::new();
    for e in vector {
        let (l, r) = if swapped { (scalar, e.value) } else { (e.value, scalar) };
        let (mut value, holds) = element(spec.op, l, r);
        if spec.return_bool {
            value = f64::from(u8::from(holds));
        } else if !holds {
            continue;
        } else if spec.op.is_comparison() {
            value = e.value;
        }
        let keep_name = spec.op.is_comparison() && !spec.return_bool;
        let labels = if keep_name { e.labels } else { e.labels.without_name() };
        out.push(Element { labels, value });
    }
    out
}

/// The part of a label set that decides what matches what.
fn signature(spec: &Binary, labels: &Labels) -> Labels {
    let listed = |name: &str| spec.labels.iter().any(|l| l == name);
    if spec.on { labels.filtered(listed) } else { labels.filtered(|n| n != METRIC_NAME && !listed(n)) }
}

/// `and`, `or` and `unless`.
pub fn set_operation(spec: &Binary, lhs: Vec<Element>, rhs: Vec<Element>) -> Vec<Element> {
    let signatures =
        |side: &[Element]| -> BTreeSet<Labels> { side.iter().map(|e| signature(spec, &e.labels)).collect() };
    match spec.op {
        Op::Or => {
            let left = signatures(&lhs);
            let rest = rhs.into_iter().filter(|e| !left.contains(&signature(spec, &e.labels)));
            lhs.into_iter().chain(rest).collect()
        }
        op => {
            let right = signatures(&rhs);
            let wanted = op == Op::And;
            lhs.into_iter().filter(|e| right.contains(&signature(spec, &e.labels)) == wanted).collect()
        }
    }
}

/// Arithmetic and comparison between two vectors.
pub fn vectors(spec: &Binary, lhs: Vec<Element>, rhs: Vec<Element>) -> Result<Vec<Element>, Error> {
    let swapped = spec.card == Cardinality::OneToMany;
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    let one = index_one_side(spec, one)?;
    let mut matched: BTreeMap<Labels, BTreeSet<Labels>> = BTreeMap::new();
    let mut out = Vec::new();
    for m in many {
        let group = signature(spec, &m.labels);
        let Some(o) = one.get(&group) else { continue };
        let (l, r) = if swapped { (o.value, m.value) } else { (m.value, o.value) };
        let (mut value, holds) = element(spec.op, l, r);
        if spec.return_bool {
            value = f64::from(u8::from(holds));
        } else if !holds {
            continue;
        }
        let labels = result_labels(spec, &m.labels, &o.labels);
        let seen = matched.get(&group);
        if spec.card == Cardinality::OneToOne && seen.is_some() {
            return Err(Error::Execution(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                    .into(),
            ));
        }
        if seen.is_some_and(|s| s.contains(&labels)) {
            return Err(Error::Execution(
                "multiple matches for labels: grouping labels must ensure unique matches".into(),
            ));
        }
        matched.entry(group).or_default().insert(labels.clone());
        out.push(Element { labels, value });
    }
    Ok(out)
}

fn index_one_side(spec: &Binary, one: Vec<Element>) -> Result<BTreeMap<Labels, Element>, Error> {
    let mut index: BTreeMap<Labels, Element> = BTreeMap::new();
    for e in one {
        let group = signature(spec, &e.labels);
        if let Some(other) = index.get(&group) {
            let side = if spec.card == Cardinality::OneToMany { "left" } else { "right" };
            return Err(Error::Execution(format!(
                "found duplicate series for the match group {group} on the {side} hand-side of the \
                 operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on \
                 one side",
                e.labels, other.labels
            )));
        }
        index.insert(group, e);
    }
    Ok(index)
}

fn result_labels(spec: &Binary, many: &Labels, one: &Labels) -> Labels {
    let drop_name = !spec.op.is_comparison() || spec.return_bool;
    let listed = |name: &str| spec.labels.iter().any(|l| l == name);
    let mut labels = many.filtered(|n| !(drop_name && n == METRIC_NAME));
    if spec.card == Cardinality::OneToOne {
        labels = labels.filtered(|n| listed(n) == spec.on);
    }
    for name in &spec.include {
        labels = labels.with(name, one.get(name));
    }
    labels
}
