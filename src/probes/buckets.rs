//! Whether a histogram has a bucket near what its quantile is judged by.
//!
//! `histogram_quantile` knows in which bucket a quantile lies, and no more: within it the answer is interpolated, and
//! beyond the last bound it is that bound (Prometheus docs, Histograms and summaries: errors of quantile estimation).
//! A threshold inside of a wide bucket is thus judged by a guess, and one beyond the last is never reached.

use promql_parser::parser::Expr;
use serde_json::json;

use super::{Judge, Judgement, Past, Reading, prometheus::Asking};
use crate::types::{
    Finding,
    codes::{guard, hazard},
};

/// As near as this share of the threshold.
const NEAR: f64 = 0.25;
/// Halvings of a bucket until what judges changes is found.
const HALVINGS: u32 = 48;

/// What speaks against judging this query so, by the buckets that there are. Nothing, if they cannot be asked for.
pub(super) async fn doubts(asking: &Asking<'_>, query: &str, judge: &Judge) -> Vec<Finding> {
    let Some(selector) = buckets_of(query) else { return Vec::new() };
    let (access, http) = (&asking.measure.access, &asking.measure.http);
    let question = format!("count by (le) ({selector})");
    let Ok(series) = asking.source.vector(access, http, &question).await else { return Vec::new() };
    let bounds = series.iter().filter_map(|one| one.labels.get("le")?.parse::<f64>().ok());
    let mut bounds: Vec<f64> = bounds.filter(|bound| bound.is_finite() && *bound > 0.0).collect();
    bounds.sort_by(f64::total_cmp);
    held_against(&bounds, judge)
}

/// The selector of the buckets, if a query is a quantile of a histogram and nothing else.
fn buckets_of(query: &str) -> Option<String> {
    let mut expr = &promql_parser::parser::parse(query).ok()?;
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    match expr {
        Expr::Call(call) if call.func.name == "histogram_quantile" => selector(call.args.args.get(1)?),
        _ => None,
    }
}

/// The first selector of buckets in an expression.
fn selector(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Paren(paren) => selector(&paren.expr),
        Expr::Aggregate(sum) => selector(&sum.expr),
        Expr::Call(call) => call.args.args.iter().find_map(|argument| selector(argument)),
        Expr::MatrixSelector(matrix) => Some(matrix.vs.to_string()),
        Expr::VectorSelector(vector) => Some(vector.to_string()),
        Expr::Binary(binary) => selector(&binary.lhs).or_else(|| selector(&binary.rhs)),
        _ => None,
    }
}

/// What the bounds say of these expressions.
fn held_against(bounds: &[f64], judge: &Judge) -> Vec<Finding> {
    let Some(last) = bounds.last() else { return Vec::new() };
    // Held against what went before: nobody knows yet.
    if ["baseline", "window", "before"].iter().any(|past| judge.uses(past)) {
        return Vec::new();
    }
    let judged = |value| judgement(judge, value);
    let all: Vec<f64> = std::iter::once(0.0).chain(bounds.iter().copied()).collect();
    let mut findings = Vec::new();
    if all.iter().all(|bound| judged(*bound).expect == Some(true)) {
        let why = format!(
            "the buckets of its histogram end at {last}: its quantile is never more, and expect always holds"
        );
        let remedy = "expect less, or give the histogram buckets up to what has to be told apart";
        findings.push(Finding::error(guard::NEVER_OUTSIDE, "", why).remedy(remedy));
    }
    for of in [|judgement: &Judgement| judgement.expect, |judgement: &Judgement| judgement.during] {
        for pair in all.windows(2) {
            let Some(threshold) = turn((pair[0], pair[1]), |value| of(&judged(value))) else { continue };
            let near = |bound: f64| (threshold - bound).abs() <= NEAR * threshold;
            let at_zero = pair[0] == 0.0 && threshold <= NEAR * pair[1];
            if near(pair[0]) || near(pair[1]) || at_zero {
                continue;
            }
            let why = format!(
                "it is judged by {}, and its histogram has no bucket near that: those beside it end at {} and {}, and between them a quantile is a guess",
                rounded(threshold),
                pair[0],
                pair[1]
            );
            let remedy = "judge by the bound of a bucket, or give the histogram one there";
            let finding = Finding::warning(hazard::NO_BUCKET, "", why).remedy(remedy);
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

/// How a quantile would be judged.
fn judgement(judge: &Judge, value: f64) -> Judgement {
    let reading = Reading::Measured([("series", json!([{"metric": {}, "value": value}]))].into());
    judge.judge(&reading, &Past::default(), None).0
}

/// Where between two values the judgement changes, if it does.
fn turn((mut low, mut high): (f64, f64), judged: impl Fn(f64) -> Option<bool>) -> Option<f64> {
    let (at_low, at_high) = (judged(low)?, judged(high)?);
    if at_low == at_high {
        return None;
    }
    for _ in 0..HALVINGS {
        let middle = low + (high - low) / 2.0;
        if judged(middle)? == at_low { low = middle } else { high = middle }
    }
    Some(high)
}

/// To three digits: more nobody has written.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::{Expressions, find};

    /// The Go client's defaults.
    const DEFAULTS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

    fn found(expect: &str, during: &str) -> Vec<String> {
        let info = find("prometheus").expect("it is registered").info();
        let expressions = Expressions { value: None, expect: Some(expect), during: Some(during) };
        let judge = Judge::compile(info, expressions, &Default::default()).expect("it compiles");
        held_against(&DEFAULTS, &judge)
            .iter()
            .map(|finding| format!("{} {}", finding.code, finding.message))
            .collect()
    }

    #[test]
    fn a_threshold_inside_of_a_wide_bucket_is_a_guess_and_one_beyond_the_last_is_never_reached() {
        for good in ["value <= 0.5", "value <= 0.3", "value < 1.0", "value > 0.0", "value <= 0.001 || true"] {
            assert!(
                !found(good, "true").iter().any(|said| said.contains("no bucket")),
                "{good}: {:?}",
                found(good, "true")
            );
        }
        for (bad, words) in [
            (
                "value <= 0.35",
                "judged by 0.35, and its histogram has no bucket near that: those beside it end at 0.25 and 0.5",
            ),
            ("value * 1000.0 < 1700.0", "judged by 1.7"),
        ] {
            let said = found(bad, "true");
            assert!(said.len() == 1 && said[0].contains(words), "{bad}: {said:?}");
        }
        let both = found("value <= 0.5", "value <= 1.7");
        assert!(both.len() == 1 && both[0].contains("judged by 1.7"), "{both:?}");
        let never = found("value <= 15.0", "value <= 15.0");
        assert!(never.len() == 1 && never[0].contains("end at 10: its quantile is never more"), "{never:?}");
        assert_eq!(found("value <= 10.0", "true").len(), 1, "the last bound is never exceeded either");
        assert_eq!(found("value <= baseline.p95 * 2.0", "true"), Vec::<String>::new(), "nobody knows yet");
    }

    #[test]
    fn only_a_quantile_of_a_histogram_is_meant() {
        let of = |query: &str| buckets_of(query);
        assert_eq!(
            of("histogram_quantile(0.99, sum by (le) (rate(x_bucket{app=\"a\"}[1m])))").as_deref(),
            Some("x_bucket{app=\"a\"}")
        );
        assert_eq!(of("(histogram_quantile(0.9, x_bucket))").as_deref(), Some("x_bucket"));
        assert_eq!(of("histogram_quantile(0.9, x_bucket) * 1000"), None);
        assert_eq!(of("sum(rate(x_count[1m]))"), None);
    }
}
