//! The counters behind the rates of an objective. Pure.
//!
//! Rates over a minute that are asked for every second tell of one error sixty times: nothing can be tested with them.
//! What is new in an interval is the growth of the counters themselves, of each series by itself and with its resets
//! (as Prometheus' `increase`), but without gap or overlap between two intervals, and without extrapolation.

use std::collections::BTreeMap;

use promql_parser::{
    label::Matcher,
    parser::{Expr, VectorSelector, token},
};
use serde_json::{Map, Value, json};

/// A counter of a sum: how often it counts, and which series are meant.
#[derive(Clone, Debug)]
struct Term {
    times: f64,
    name: String,
    matchers: Vec<Matcher>,
    selector: String,
}

/// The counters of good events and of all.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    good: Vec<Term>,
    total: Vec<Term>,
}

impl Sums {
    /// None, if one of the two is not a sum of rates or increases of counters.
    pub fn of(good: &str, total: &str) -> Option<Self> {
        let terms = |query: &str| {
            let mut terms = Vec::new();
            let expr = promql_parser::parser::parse(query).ok()?;
            collect(&expr, 1.0, &mut terms)?;
            Some(terms)
        };
        Some(Self { good: terms(good)?, total: terms(total)? })
    }

    /// Asks for all of them at one instant: good events and all have to be as of the same scrape.
    ///
    /// `or` looks at labels without the name: within a name it joins the selectors, and names are told apart.
    pub fn query(&self) -> String {
        let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for term in self.good.iter().chain(&self.total) {
            let selectors = by_name.entry(&term.name).or_default();
            if !selectors.contains(&term.selector.as_str()) {
                selectors.push(&term.selector);
            }
        }
        let of_a_name = by_name.into_values().map(|selectors| format!("({})", selectors.join(" or ")));
        of_a_name.collect::<Vec<_>>().join(" or on (__name__) ")
    }

    /// How often a series counts as good, and in all.
    fn times(&self, metric: &Map<String, Value>) -> (f64, f64) {
        let label = |name: &str| metric.get(name).and_then(Value::as_str).unwrap_or_default();
        let of = |terms: &[Term]| {
            let meant = terms.iter().filter(|term| {
                label("__name__") == term.name
                    && term.matchers.iter().all(|matcher| matcher.is_match(label(&matcher.name)))
            });
            meant.map(|term| term.times).sum::<f64>()
        };
        (of(&self.good), of(&self.total))
    }

    /// The counters as a variable: series, value, how often it is good, how often it counts.
    pub fn variable<'a>(&self, series: impl Iterator<Item = (&'a Map<String, Value>, f64)>) -> Value {
        let counter = |(metric, value): (&Map<String, Value>, f64)| {
            let (good, total) = self.times(metric);
            json!([Value::Object(metric.clone()).to_string(), value, good, total])
        };
        Value::Array(series.map(counter).collect())
    }
}

/// The terms of a sum; None for anything else.
fn collect(expr: &Expr, times: f64, terms: &mut Vec<Term>) -> Option<()> {
    match expr {
        Expr::Paren(paren) => collect(&paren.expr, times, terms),
        Expr::Aggregate(sum) if sum.op.id() == token::T_SUM => collect(&sum.expr, times, terms),
        Expr::Unary(minus) => collect(&minus.expr, -times, terms),
        Expr::Binary(binary) if binary.modifier.is_none() => {
            match (binary.op.id(), &*binary.lhs, &*binary.rhs) {
                (token::T_ADD, left, right) => {
                    collect(left, times, terms)?;
                    collect(right, times, terms)
                }
                (token::T_SUB, left, right) => {
                    collect(left, times, terms)?;
                    collect(right, -times, terms)
                }
                (token::T_MUL, Expr::NumberLiteral(by), of) | (token::T_MUL, of, Expr::NumberLiteral(by)) => {
                    collect(of, times * by.val, terms)
                }
                (token::T_DIV, of, Expr::NumberLiteral(by)) => collect(of, times / by.val, terms),
                _ => None,
            }
        }
        Expr::Call(call) if ["rate", "increase", "irate"].contains(&call.func.name) => {
            match call.args.args.first().map(|argument| &**argument) {
                Some(Expr::MatrixSelector(matrix)) => {
                    terms.push(term(&matrix.vs, times)?);
                    Some(())
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn term(selector: &VectorSelector, times: f64) -> Option<Term> {
    let plain =
        selector.offset.is_none() && selector.at.is_none() && selector.matchers.or_matchers.is_empty();
    let name = selector.name.clone().filter(|_| plain)?;
    let matchers = selector.matchers.matchers.clone();
    Some(Term { times, name, matchers, selector: selector.to_string() })
}

/// Counters as they were last, to tell what is new.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    last: BTreeMap<String, f64>,
    begun: bool,
}

impl Counters {
    /// What is new since the last time: good events and all. None the first time, and when there is nothing to read.
    ///
    /// A counter that is smaller than it was has begun again at zero; so has one that was not there before.
    pub fn take(&mut self, counters: &Value) -> Option<(f64, f64)> {
        let (mut good, mut total) = (0.0, 0.0);
        for counter in counters.as_array()? {
            let number = |at: usize| counter.get(at).and_then(Value::as_f64);
            let (series, value) = (counter.get(0)?.as_str()?, number(1)?);
            let before = self.last.insert(series.to_owned(), value).unwrap_or(0.0);
            let grown = if value < before { value } else { value - before };
            good += grown * number(2)?;
            total += grown * number(3)?;
        }
        let begun = std::mem::replace(&mut self.begun, true);
        begun.then_some((good, total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"sum(rate(requests_total{app="web",code!~"5.."}[1m]))"#;
    const TOTAL: &str = r#"sum(rate(requests_total{app="web"}[1m]))"#;

    fn metric(name: &str, code: &str) -> Map<String, Value> {
        let metric = json!({"__name__": name, "app": "web", "code": code});
        metric.as_object().cloned().expect("an object")
    }

    #[test]
    fn sums_of_rates_are_counters_and_nothing_else_is() {
        for query in [
            GOOD,
            "sum by (app) (increase(a_total[5m])) - sum(rate(b_total[5m]))",
            "(sum(rate(a_total[1m])) + rate(b_total[1m])) * 60",
            "-irate(a_total[1m]) / 2",
        ] {
            assert!(Sums::of(query, TOTAL).is_some(), "{query}");
        }
        for query in [
            "a / b",
            "sum(a)",
            "max(rate(a_total[1m]))",
            "rate(a_total[1m] offset 1h)",
            "rate({__name__=~\"a.*\"}[1m])",
            "histogram_quantile(0.9, rate(a_bucket[1m]))",
            "sum(rate(a_total[1m])) * on (x) sum(rate(b_total[1m]))",
            "avg_over_time(a[1m])",
            "sum(",
        ] {
            assert!(Sums::of(query, TOTAL).is_none(), "{query}");
        }
    }

    #[test]
    fn one_question_has_all_of_them() {
        let sums = Sums::of(GOOD, TOTAL).expect("sums");
        let query = sums.query();
        assert!(query.contains(" or ") && !query.contains("on (__name__)"), "{query}");
        promql_parser::parser::parse(&query).expect("PromQL");
        let apart =
            Sums::of("sum(rate(all_total[1m])) - sum(rate(bad_total[1m]))", "sum(rate(all_total[1m]))");
        let query = apart.expect("sums").query();
        assert!(query.contains("on (__name__)"), "{query}");
        promql_parser::parser::parse(&query).expect("PromQL");
    }

    #[test]
    fn growth_is_of_each_series_with_its_resets() {
        let sums = Sums::of(GOOD, TOTAL).expect("sums");
        let mut counters = Counters::default();
        let (ok, bad) = (metric("requests_total", "200"), metric("requests_total", "503"));
        let mut take = |values: &[(&Map<String, Value>, f64)]| {
            counters.take(&sums.variable(values.iter().map(|(metric, value)| (*metric, *value))))
        };
        assert_eq!(take(&[(&ok, 1000.0)]), None, "what was before the first time is not new");
        assert_eq!(take(&[(&ok, 1050.0), (&bad, 3.0)]), Some((50.0, 53.0)), "a series that was not there");
        assert_eq!(take(&[(&ok, 20.0), (&bad, 3.0)]), Some((20.0, 20.0)), "it has begun again");
        assert_eq!(take(&[(&bad, 4.0)]), Some((0.0, 1.0)));
        assert_eq!(take(&[(&ok, 30.0), (&bad, 4.0)]), Some((10.0, 10.0)), "back after a gap");
    }

    #[test]
    fn what_is_subtracted_counts_against() {
        let good = "sum(rate(requests_total[1m])) - sum(rate(errors_total[1m]))";
        let sums = Sums::of(good, "sum(rate(requests_total[1m]))").expect("sums");
        let mut counters = Counters::default();
        let (all, bad) = (metric("requests_total", ""), metric("errors_total", ""));
        let mut take = |a: f64, b: f64| counters.take(&sums.variable([(&all, a), (&bad, b)].into_iter()));
        take(100.0, 1.0);
        assert_eq!(take(150.0, 6.0), Some((45.0, 50.0)));
    }
}
