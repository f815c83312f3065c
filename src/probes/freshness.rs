//! How old the data is that a query was answered from.
//!
//! An instant query takes the newest sample of each series of the last five minutes (Prometheus docs, Querying
//! basics: staleness), so a Prometheus that has stopped scraping goes on answering with what was so before. What
//! a query reads is its selectors; each is asked for its newest sample: `max(timestamp(SELECTOR))`, whose answer
//! also carries the time of evaluation, so that only the source's own clock is compared.

use std::{collections::BTreeMap, time::Duration};

use promql_parser::{
    label::Matcher,
    parser::{Expr, VectorSelector},
};

use crate::types::Length;

/// `--query.lookback-delta` of Prometheus, its default: how far back an instant selector looks.
const LOOKBACK: Duration = Duration::from_secs(300);
/// Younger than this is fresh, however often the target is scraped.
pub(super) const ALWAYS_FRESH: Duration = Duration::from_secs(15);
/// Older than this is stale unless the file says otherwise: one and a half times the default `scrape_interval` of
/// Prometheus, one minute.
pub(super) const NEVER_FRESH: Duration = Duration::from_secs(90);
/// No data is as old as this: a sample that is not there counts as of 1970.
pub(super) const LONG_AGO: Duration = Duration::from_secs(365 * 24 * 3600);
/// How many scrapes may be missing: one that failed, and the one that is under way.
const SCRAPES: u32 = 3;

/// What one selector of a query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    /// The selector, bare.
    pub selector: String,
    /// The longest range that the query takes of it.
    range: Duration,
}

impl Reads {
    /// Asks for the time of its newest sample in seconds; 0 if there is none that an instant query would see, and
    /// there are some in the longer range that the query takes.
    pub(super) fn newest(&self) -> String {
        let (selector, newest) = (&self.selector, format!("max(timestamp({}))", self.selector));
        if self.range <= LOOKBACK {
            return newest;
        }
        format!("{newest} or 0 * max(count_over_time({selector}[{}ms]))", self.range.as_millis())
    }

    /// Asks how many samples the series that has most of them has had within [`LOOKBACK`].
    pub(super) fn samples(&self) -> String {
        format!("max(count_over_time({}[{}s]))", self.selector, LOOKBACK.as_secs())
    }
}

/// How old the newest sample may be, of a series that has had so many samples within [`LOOKBACK`].
pub(super) fn bound(samples: f64) -> Duration {
    let between = LOOKBACK.as_secs_f64() / samples.max(1.0);
    Duration::from_secs_f64(between * f64::from(SCRAPES)).clamp(ALWAYS_FRESH, NEVER_FRESH)
}

/// Says that the data is too old.
pub(super) fn stale(reads: &Reads, age: Duration, bound: Duration) -> String {
    let selector = &reads.selector;
    if age > LONG_AGO {
        return format!("stale: {selector} has had no sample for {}", Length(LOOKBACK));
    }
    let seconds = |length: Duration| Length::from_secs(length.as_secs_f64().round() as u64);
    format!(
        "stale: the newest sample of {selector} is {} old, and {} is the most",
        seconds(age),
        seconds(bound)
    )
}

/// What `query` reads of the present. What it asks of the past on purpose (`offset`, `@`) is as old as that, and
/// left out.
pub(super) fn reads(query: &str) -> Vec<Reads> {
    let mut found = BTreeMap::new();
    if let Ok(expression) = promql_parser::parser::parse(query) {
        collect(&expression, Duration::ZERO, &mut found);
    }
    found.into_iter().map(|(selector, range)| Reads { selector, range }).collect()
}

fn collect(expression: &Expr, around: Duration, found: &mut BTreeMap<String, Duration>) {
    match expression {
        Expr::Aggregate(aggregate) => {
            collect(&aggregate.expr, around, found);
            if let Some(param) = &aggregate.param {
                collect(param, around, found);
            }
        }
        Expr::Unary(unary) => collect(&unary.expr, around, found),
        Expr::Binary(binary) => {
            collect(&binary.lhs, around, found);
            collect(&binary.rhs, around, found);
        }
        Expr::Paren(paren) => collect(&paren.expr, around, found),
        Expr::Subquery(subquery) if subquery.offset.is_none() && subquery.at.is_none() => {
            collect(&subquery.expr, around + subquery.range, found);
        }
        Expr::VectorSelector(selector) => note(selector, around, found),
        Expr::MatrixSelector(matrix) => note(&matrix.vs, around + matrix.range, found),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| collect(argument, around, found)),
        Expr::Subquery(_) | Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

fn note(selector: &VectorSelector, range: Duration, found: &mut BTreeMap<String, Duration>) {
    if selector.offset.is_none() && selector.at.is_none() {
        let longest = found.entry(bare(selector)).or_default();
        *longest = range.max(*longest);
    }
}

/// The selector written out again. The parser's own way leaves quotes and backslashes in values as they are.
fn bare(selector: &VectorSelector) -> String {
    let one = |matcher: &Matcher| {
        // JSON's escapes are among PromQL's, which are Go's.
        format!("{}{}{}", matcher.name, matcher.op, serde_json::Value::from(matcher.value.as_str()))
    };
    let all = |matchers: &[Matcher]| matchers.iter().map(one).collect::<Vec<_>>().join(",");
    let mut groups: Vec<String> = selector.matchers.or_matchers.iter().map(|group| all(group)).collect();
    if groups.is_empty() || !selector.matchers.matchers.is_empty() {
        groups.insert(0, all(&selector.matchers.matchers));
    }
    let matchers = groups.join(" or ");
    match (&selector.name, matchers.is_empty()) {
        (Some(name), true) => name.clone(),
        (Some(name), false) => format!("{name}{{{matchers}}}"),
        (None, _) => format!("{{{matchers}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_its_selectors_and_not_what_it_asks_of_the_past() {
        for (query, selectors) in [
            ("up", &["up"][..]),
            ("vector(1) + time()", &[]),
            (
                r#"sum(rate(hits{app="a",code!~"5\\d."}[1m])) / sum(rate(hits{app="a"}[1m]))"#,
                &[r#"hits{app="a"}"#, r#"hits{app="a",code!~"5\\d."}"#],
            ),
            (r#"topk(scalar(n), {__name__="a b",x="\"q\""})"#, &[r#"n"#, r#"{__name__="a b",x="\"q\""}"#]),
            ("hits - hits offset 1d", &["hits"]),
            ("hits @ 1", &[]),
            ("max_over_time(sum(rate(a[1m]))[5m:]) + max_over_time(b[5m:] offset 1h)", &["a"]),
            ("clamp_max(-(a), 1) unless on (x) b", &["a", "b"]),
        ] {
            let mut found: Vec<String> = reads(query).into_iter().map(|reads| reads.selector).collect();
            found.sort();
            let mut expected: Vec<&str> = selectors.to_vec();
            expected.sort_unstable();
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn what_is_asked_parses_and_reads_the_same() {
        for query in [r#"sum(rate(a{b=~"\\w+",c="ü\n"}[10m]))"#, "sum_over_time(a[1m:5s])", "a"] {
            for read in reads(query) {
                for asked in [read.newest(), read.samples()] {
                    let again: Vec<String> = reads(&asked).into_iter().map(|reads| reads.selector).collect();
                    assert_eq!(again, std::slice::from_ref(&read.selector), "{asked}");
                }
            }
        }
        assert_eq!(reads("max_over_time(rate(a[2m])[9m:1m])")[0].range, Duration::from_secs(660));
    }

    #[test]
    fn the_bound_follows_the_scrape_interval_within_limits() {
        for (samples, secs) in [(60.0, 15), (300.0, 15), (20.0, 45), (10.0, 90), (5.0, 90), (0.0, 90)] {
            assert_eq!(bound(samples).as_secs(), secs, "{samples} samples in five minutes");
        }
    }
}
