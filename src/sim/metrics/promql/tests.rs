//! Hand-computed vectors. What a real Prometheus answers is in `golden`.

use super::*;
use crate::sim::metrics::series::{METRIC_NAME, SeriesStore, stale_marker};

fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    std::iter::once((METRIC_NAME, name)).chain(pairs.iter().copied()).collect()
}

fn store(series: &[(Labels, &[(i64, f64)])]) -> SeriesStore {
    let mut store = SeriesStore::new(i64::MAX / 4);
    for (labels, samples) in series {
        for (t, v) in *samples {
            store.append(labels.clone(), Sample { t: *t, v: *v }).unwrap();
        }
    }
    store
}

fn at(store: &SeriesStore, query: &str, t: i64) -> Result<Value, Error> {
    instant(store, &parse(query).unwrap_or_else(|e| panic!("{query}: {e}")), t)
}

/// The one value of a query, whether scalar or vector.
fn one(store: &SeriesStore, query: &str, t: i64) -> f64 {
    match at(store, query, t) {
        Ok(Value::Scalar(v)) => v,
        Ok(Value::Vector(v)) if v.len() == 1 => v[0].value,
        other => panic!("{query}: {other:?}"),
    }
}

fn none(store: &SeriesStore, query: &str, t: i64) -> bool {
    matches!(at(store, query, t), Ok(Value::Vector(v)) if v.is_empty())
}

fn counter() -> SeriesStore {
    // 0, 10, 20, 30, then a restart: 5, 15, every 10 s.
    let values = [0.0, 10.0, 20.0, 30.0, 5.0, 15.0];
    let samples: Vec<(i64, f64)> = values.iter().enumerate().map(|(i, v)| (i as i64 * 10_000, *v)).collect();
    store(&[(labels("c", &[("pod", "a")]), &samples)])
}

#[test]
fn rate_extrapolates_to_the_window_and_survives_resets() {
    let s = counter();
    // (0 s, 30 s]: 10 at 10 s, 30 at 30 s. Sampled 20 in 20 s; the window starts 10 s before the first
    // sample, which is within 1.1 intervals, so to the start: 20 × (20 + 10) / 20 = 30, over 30 s.
    assert_eq!(one(&s, "rate(c[30s])", 30_000), 1.0);
    assert_eq!(one(&s, "increase(c[30s])", 30_000), 30.0);
    // (0 s, 50 s]: 10 20 30 5 15: 5 over 40 s plus the reset's 30 = 35, to zero is 40 × 10 / 35 = 11.4 s
    // and the start 10 s away: 35 × 50 / 40.
    assert_eq!(one(&s, "increase(c[50s])", 50_000), 43.75);
    assert_eq!(one(&s, "delta(c[50s])", 50_000), 6.25);
    assert_eq!(one(&s, "resets(c[50s])", 50_000), 1.0);
    assert_eq!(one(&s, "irate(c[50s])", 40_000), 0.5, "after a reset the new value is the increase");
    assert_eq!(one(&s, "idelta(c[50s])", 40_000), -25.0);
    assert!(none(&s, "rate(c[10s])", 30_000), "one sample is no rate");
}

#[test]
fn a_counter_is_never_extrapolated_below_zero() {
    let s = store(&[(labels("c", &[]), &[(10_000, 1.0), (20_000, 21.0)])]);
    // To zero are 10 s × 1 / 20 = 0.5 s, nearer than the window's start at 0 s (10 s).
    assert_eq!(one(&s, "increase(c[20s])", 20_000), 20.0 * 10.5 / 10.0);
    assert_eq!(one(&s, "delta(c[20s])", 20_000), 20.0 * 20.0 / 10.0);
}

#[test]
fn windows_are_open_at_their_older_end() {
    let s = counter();
    assert_eq!(one(&s, "count_over_time(c[20s])", 20_000), 2.0);
    assert_eq!(one(&s, "count_over_time(c[20s] offset 10s)", 30_000), 2.0);
    assert_eq!(one(&s, "count_over_time(c[20s] offset -10s)", 10_000), 2.0);
    assert_eq!(one(&s, "c", 50_000 + LOOKBACK_MS - 1), 15.0);
    assert!(none(&s, "c", 50_000 + LOOKBACK_MS));
}

#[test]
fn a_stale_series_is_gone_at_once() {
    let s = store(&[(labels("g", &[]), &[(0, 1.0), (10_000, stale_marker()), (30_000, 2.0)])]);
    assert_eq!(one(&s, "g", 9_999), 1.0);
    assert!(none(&s, "g", 10_000));
    assert_eq!(one(&s, "absent(g)", 10_000), 1.0);
    assert_eq!(one(&s, "count_over_time(g[1m])", 30_000), 2.0, "0 s and 30 s; the marker is no sample");
}

#[test]
fn division_by_zero_and_nan_are_values_not_errors() {
    let s = store(&[(labels("z", &[]), &[(0, 0.0)]), (labels("p", &[]), &[(0, 1.0)])]);
    assert!(one(&s, "z / z", 0).is_nan());
    assert_eq!(one(&s, "p / z", 0), f64::INFINITY);
    assert_eq!(one(&s, "-p / z", 0), f64::NEG_INFINITY);
    assert!(none(&s, "(z / z) > 0", 0), "a comparison with NaN filters");
    assert_eq!(one(&s, "(z / z) >bool 0", 0), 0.0);
    assert!(one(&s, "p % z", 0).is_nan());
}

#[test]
fn comparisons_filter_and_keep_the_name_and_arithmetic_drops_it() {
    let s = store(&[(labels("a", &[("x", "1")]), &[(0, 3.0)]), (labels("a", &[("x", "2")]), &[(0, 1.0)])]);
    let Ok(Value::Vector(v)) = at(&s, "2 < a", 0) else { panic!() };
    assert_eq!((v.len(), v[0].value, v[0].labels.get(METRIC_NAME)), (1, 3.0, "a"), "the vector's value");
    let Ok(Value::Vector(v)) = at(&s, "a > bool 2", 0) else { panic!() };
    assert_eq!(
        v.iter().map(|e| (e.labels.get(METRIC_NAME), e.value)).collect::<Vec<_>>(),
        [("", 1.0), ("", 0.0)]
    );
    let Ok(Value::Vector(v)) = at(&s, "a * 2", 0) else { panic!() };
    assert!(v.iter().all(|e| e.labels.get(METRIC_NAME).is_empty()));
}

#[test]
fn matching_errors_are_errors() {
    let s = store(&[
        (labels("a", &[("x", "1"), ("y", "1")]), &[(0, 3.0)]),
        (labels("a", &[("x", "1"), ("y", "2")]), &[(0, 1.0)]),
        (labels("b", &[("x", "1")]), &[(0, 2.0)]),
    ]);
    let message = |q: &str| at(&s, q, 0).unwrap_err().to_string();
    assert!(message("a / on(x) b").starts_with("multiple matches for labels: many-to-one matching must be"));
    assert!(
        message("b / on(x) a")
            .starts_with("found duplicate series for the match group {x=\"1\"} on the right")
    );
    assert!(message("a * on(x) group_right b").contains("on the left hand-side"));
    let Ok(Value::Vector(v)) = at(&s, "a / on(x) group_left b", 0) else { panic!() };
    assert_eq!(v.iter().map(|e| e.value).collect::<Vec<_>>(), [1.5, 0.5]);
}

#[test]
fn one_label_set_twice_is_an_error() {
    let s = store(&[(labels("a", &[]), &[(0, 3.0)]), (labels("b", &[]), &[(0, 1.0)])]);
    let e = at(&s, r#"abs({__name__=~"a|b"})"#, 0).unwrap_err();
    assert_eq!(e.to_string(), "vector cannot contain metrics with the same labelset");
}

#[test]
fn histogram_quantile_interpolates_and_lifts_what_falls() {
    let buckets = |counts: [f64; 4]| {
        let bounds = ["0.1", "0.2", "0.4", "+Inf"];
        let series: Vec<_> = bounds
            .iter()
            .zip(counts)
            .map(|(le, c)| (labels("h_bucket", &[("le", le)]), [(0_i64, c)]))
            .collect();
        let mut store = SeriesStore::new(1000);
        for (l, s) in series {
            store.append(l, Sample { t: s[0].0, v: s[0].1 }).unwrap();
        }
        store
    };
    let s = buckets([10.0, 30.0, 40.0, 50.0]);
    assert_eq!(one(&s, "histogram_quantile(0.5, h_bucket)", 0), 0.1 + 0.1 * (15.0 / 20.0));
    assert_eq!(one(&s, "histogram_quantile(0.1, h_bucket)", 0), 0.1 * (5.0 / 10.0));
    assert_eq!(one(&s, "histogram_quantile(0.99, h_bucket)", 0), 0.4, "the last finite bound");
    assert_eq!(one(&s, "histogram_quantile(2, h_bucket)", 0), f64::INFINITY);
    assert_eq!(one(&s, "histogram_quantile(-1, h_bucket)", 0), f64::NEG_INFINITY);
    assert!(one(&buckets([0.0; 4]), "histogram_quantile(0.5, h_bucket)", 0).is_nan());
    let falling = buckets([10.0, 8.0, 40.0, 50.0]);
    assert_eq!(one(&falling, "histogram_quantile(0.5, h_bucket)", 0), 0.2 + 0.2 * (15.0 / 30.0));
    let no_end = store(&[(labels("h_bucket", &[("le", "1")]), &[(0, 1.0)])]);
    assert!(one(&no_end, "histogram_quantile(0.5, h_bucket)", 0).is_nan());
}

#[test]
fn what_is_not_supported_is_named() {
    let s = counter();
    for (query, name) in [
        ("predict_linear(c[1m], 60)", "function `predict_linear`"),
        ("sum(deriv(c[1m]))", "function `deriv`"),
        ("count_values(\"v\", c)", "aggregation `count_values`"),
        ("c atan2 c", "operator `atan2`"),
        ("label_replace(c, \"a\", \"b\", \"c\", \"d\")", "function `label_replace`"),
    ] {
        let expr = parse(query).unwrap();
        assert_eq!(supported(&expr).unwrap_err().name, name);
        let e = at(&s, query, 0).unwrap_err();
        assert_eq!(e.to_string(), format!("{name} is not supported by the embedded cluster"));
    }
    assert_eq!(supported(&parse("sum by (pod) (rate(c[1m]))").unwrap()), Ok(()));
}

#[test]
fn parse_errors_say_where_if_they_can() {
    let offset = |q: &str| parse(q).unwrap_err().offset;
    assert_eq!(offset("sum(rate(c[1m])"), Some(3));
    assert_eq!(offset("sum(c) )"), Some(7));
    assert_eq!(offset("1 + nope(c)"), Some(4));
    assert_eq!(offset("c + ;"), Some(4));
    assert!(parse("").is_err() && parse("sum by").is_err());
    assert_eq!(offset("c offset Inf"), Some(9));
    assert_eq!(offset("rate(c{a=\"[\"}[1e+40]) + 1e40"), Some(14));
    assert_eq!(offset("count_over_time(c[1m: NaN])"), Some(22));
    assert!(parse("c{a='it\\'s [9e999'} + 9e999 # offset Inf").is_ok());
    assert!(parse("rate(c)").unwrap_err().message.contains("expected type matrix"));
    assert!(parse(&"(".repeat(100_000)).is_err());
    assert!(parse(&format!("{}1{}", "(".repeat(5000), ")".repeat(5000))).is_err());
    assert!(parse(&format!("{}1", "- ".repeat(5000))).is_err());
    let long = parse(&vec!["c"; 4000].join("+")).unwrap();
    assert!(supported(&long).is_err());
}

#[test]
fn at_and_subqueries() {
    let s = counter();
    assert_eq!(one(&s, "c @ 20", 50_000), 20.0);
    assert_eq!(one(&s, "c @ 20 offset 10s", 50_000), 10.0);
    assert_eq!(one(&s, "max_over_time(c[50s:10s])", 50_000), 30.0);
    assert_eq!(one(&s, "count_over_time(c[50s:10s])", 55_000), 5.0, "10 s, 20 s, 30 s, 40 s, 50 s");
    assert_eq!(one(&s, "sum_over_time(rate(c[20s])[20s:10s])", 30_000), 2.0);
    assert_eq!(one(&s, "count_over_time(vector(1)[1m:10s])", 61_000), 6.0);
    let expr = parse("c @ end() - c @ start()").unwrap();
    let found = range(&s, &expr, Range { start: 10_000, end: 30_000, step: 10_000 }).unwrap();
    assert_eq!(found[0].samples.iter().map(|s| s.v).collect::<Vec<_>>(), [20.0; 3]);
}

#[test]
fn a_range_query_evaluates_each_step() {
    let s = counter();
    let found = range(&s, &parse("c").unwrap(), Range { start: 5_000, end: 25_000, step: 5_000 }).unwrap();
    let values: Vec<(i64, f64)> = found[0].samples.iter().map(|s| (s.t, s.v)).collect();
    assert_eq!(values, [(5_000, 0.0), (10_000, 10.0), (15_000, 10.0), (20_000, 20.0), (25_000, 20.0)]);
    assert!(range(&s, &parse("c[1m]").unwrap(), Range { start: 0, end: 1, step: 1 }).is_err());
    assert!(range(&s, &parse("c").unwrap(), Range { start: 0, end: 1, step: 0 }).is_err());
}

/// Pieces of queries, right and wrong: what people mistype.
fn piece() -> impl proptest::strategy::Strategy<Value = String> {
    let words: Vec<&'static str> = "c rate( sum by(pod) ( ) [1m] [5m:30s] [ ] { } {pod=\"a\"} {pod=~\"a.*\"} {pod=~\"(\"} , + - * / % ^ \
        == != > bool and or unless on(pod) ignoring(x) group_left offset 5m 1m -1m @ 12 start() end() 1 1.5e3 0x1F 0x \
        0b1 08 1e Inf NaN \"s\" 'q \\ \" \u{e9} \u{1f600} histogram_quantile(0.9, topk(2, quantile(0.5, label_replace( \
        max_over_time( time() vector(1) scalar( absent( # \n ; : {{ }} 5y 99999999999999999999 9e999 1e+30 0x7FFFFFFFFFFFFFFF 99999999999999999999y 1m30s .5 . $ ~"
        .split(' ')
        .collect();
    proptest::sample::select(words).prop_map(str::to_string)
}

use proptest::prelude::*;

proptest! {
    #[test]
    fn no_query_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..14), glue in "[ ]{0,1}") {
        let query = pieces.join(&glue);
        let store = counter();
        match parse(&query) {
            Ok(expr) => {
                let answer = instant(&store, &expr, 50_000);
                let ranged = range(&store, &expr, Range { start: 0, end: 50_000, step: 10_000 });
                if supported(&expr).is_err() {
                    prop_assert!(matches!(answer, Err(Error::Unsupported(_))), "{query}: {answer:?}");
                    prop_assert!(ranged.is_err());
                }
            }
            Err(e) => prop_assert!(e.offset.is_none_or(|at| query.is_char_boundary(at)), "{query}: {e}"),
        }
    }
}
