//! Labelled time series: what a scrape yields and what a query reads.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use promql_parser::label::Matcher;

/// The label that carries a series' metric name.
pub const METRIC_NAME: &str = "__name__";

/// Bit pattern of the NaN that marks the end of a series (Prometheus: model/value, `StaleNaN`).
/// An ordinary NaN has another pattern, so the two never mix.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value that a scrape writes for a series that was there before and is gone now.
pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_BITS)
}

/// Whether a value is the staleness marker (and not merely NaN).
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// A set of labels. Cheap to clone; ordered, so that answers have one order everywhere. A label with
/// an empty value is the same as no label (Prometheus data model), and is never stored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Labels(Arc<BTreeMap<String, String>>);

impl Labels {
    /// The value of a label; the empty string when it is absent, as matchers see it.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Name and value of each label, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This set with one label set; an empty value removes it.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut map = (*self.0).clone();
        if value.is_empty() {
            map.remove(name);
        } else {
            map.insert(name.to_string(), value.to_string());
        }
        Self(Arc::new(map))
    }

    /// Only the labels whose name the predicate accepts.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.0.keys().all(|k| keep(k)) {
            return self.clone();
        }
        self.iter().filter(|(k, _)| keep(k)).collect()
    }

    /// This set without its metric name, as most functions return it.
    pub fn without_name(&self) -> Self {
        self.filtered(|k| k != METRIC_NAME)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let kept = pairs.into_iter().filter(|(_, v)| !v.is_empty());
        Self(Arc::new(kept.map(|(k, v)| (k.to_string(), v.to_string())).collect()))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get(METRIC_NAME))?;
        f.write_str("{")?;
        for (i, (k, v)) in self.iter().filter(|(k, _)| *k != METRIC_NAME).enumerate() {
            write!(f, "{}{k}={v:?}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One value at one instant (milliseconds since the Unix epoch).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, in milliseconds since the Unix epoch.
    pub t: i64,
    /// The value; may be NaN, infinite or the staleness marker.
    pub v: f64,
}

/// A label set with its samples, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// All labels, the metric name among them.
    pub labels: Labels,
    /// Samples in strictly ascending time.
    pub samples: Vec<Sample>,
}

/// Where a query reads its samples from. Reading is what computes them where nothing is stored (see
/// [`super::scrape`]).
pub trait Source: Send + Sync {
    /// All series whose labels pass every matcher, with their samples of `from ..= to`
    /// (milliseconds), staleness markers included. Series without samples in that time are left out;
    /// the order is that of the labels.
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series>;

    /// Like [`Source::select`], for a reader that needs only the newest sample of each series: a source
    /// that computes its samples may leave the others out.
    fn select_latest(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series> {
        self.select(matchers, from, to)
    }
}

/// Two sources that have no series in common, as one.
pub struct Both<'a>(pub &'a dyn Source, pub &'a dyn Source);

impl Both<'_> {
    fn read(&self, read: impl Fn(&dyn Source) -> Vec<Series>) -> Vec<Series> {
        let mut found = read(self.0);
        found.extend(read(self.1));
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }
}

impl Source for Both<'_> {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series> {
        self.read(|source| source.select(matchers, from, to))
    }

    fn select_latest(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series> {
        self.read(|source| source.select_latest(matchers, from, to))
    }
}

/// Whether a label set passes all matchers. A regular expression matches the whole value, as in
/// Prometheus: the parser anchors it.
pub fn matches<'a>(labels: &Labels, matchers: impl IntoIterator<Item = &'a Matcher>) -> bool {
    matchers.into_iter().all(|m| m.is_match(labels.get(&m.name)))
}

/// A sample older than the newest of its series was appended.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("out of order sample for {series}: {t} ms is not after {newest} ms")]
pub struct OutOfOrder {
    /// The series in question.
    pub series: String,
    /// Time of the sample that was refused.
    pub t: i64,
    /// Time of the newest sample of that series.
    pub newest: i64,
}

/// Samples as they were appended, with bounded retention: for what is measured once and cannot be
/// computed again.
#[derive(Debug, Default)]
pub struct SeriesStore {
    series: BTreeMap<Labels, VecDeque<Sample>>,
    retention_ms: i64,
}

impl SeriesStore {
    /// An empty store that forgets samples older than `retention_ms` before the newest of their
    /// series.
    pub fn new(retention_ms: i64) -> Self {
        Self { series: BTreeMap::new(), retention_ms }
    }

    /// Appends one sample.
    pub fn append(&mut self, labels: Labels, sample: Sample) -> Result<(), OutOfOrder> {
        let name = labels.clone();
        let samples = self.series.entry(labels).or_default();
        if let Some(last) = samples.back().filter(|last| last.t >= sample.t) {
            return Err(OutOfOrder { series: name.to_string(), t: sample.t, newest: last.t });
        }
        samples.push_back(sample);
        let horizon = sample.t.saturating_sub(self.retention_ms);
        while samples.front().is_some_and(|s| s.t < horizon) {
            samples.pop_front();
        }
        Ok(())
    }
}

impl Source for SeriesStore {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series> {
        let chosen = self.series.iter().filter(|(labels, _)| matches(labels, matchers));
        chosen
            .filter_map(|(labels, samples)| {
                let start = samples.partition_point(|s| s.t < from);
                let end = samples.partition_point(|s| s.t <= to);
                let samples: Vec<Sample> = samples.range(start..end.max(start)).copied().collect();
                (!samples.is_empty()).then(|| Series { labels: labels.clone(), samples })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql_parser::label::MatchOp;
    use promql_parser::parser::Expr;

    fn matchers(selector: &str) -> Vec<Matcher> {
        match promql_parser::parser::parse(selector) {
            Ok(Expr::VectorSelector(v)) => {
                let name = v.name.as_deref().map(|n| Matcher::new(MatchOp::Equal, METRIC_NAME, n));
                v.matchers.matchers.into_iter().chain(name).collect()
            }
            other => panic!("not a selector: {other:?}"),
        }
    }

    fn store() -> SeriesStore {
        let mut store = SeriesStore::new(10_000);
        for code in ["200", "503", "500"] {
            let labels: Labels = [(METRIC_NAME, "requests"), ("code", code)].into_iter().collect();
            for t in 0..5 {
                store.append(labels.clone(), Sample { t: t * 1000, v: t as f64 }).unwrap();
            }
        }
        store.append([(METRIC_NAME, "up")].into_iter().collect(), Sample { t: 0, v: 1.0 }).unwrap();
        store
    }

    fn codes(selector: &str) -> Vec<String> {
        let found = store().select(&matchers(selector), 0, 100_000);
        found.iter().map(|s| s.labels.get("code").to_string()).collect()
    }

    #[test]
    fn the_four_matchers_select_as_prometheus_does() {
        assert_eq!(codes(r#"requests{code="200"}"#), ["200"]);
        assert_eq!(codes(r#"requests{code!="200"}"#), ["500", "503"]);
        assert_eq!(codes(r#"requests{code=~"5.."}"#), ["500", "503"]);
        assert_eq!(codes(r#"requests{code!~"5.."}"#), ["200"]);
        assert!(codes(r#"requests{code=~"5"}"#).is_empty(), "a regular expression is anchored");
        assert_eq!(codes(r#"requests{code=~"2.*|500"}"#), ["200", "500"]);
        assert_eq!(codes(r#"{__name__=~".+",code=""}"#), [""], "an absent label is the empty string");
    }

    #[test]
    fn a_range_includes_both_ends() {
        let found = store().select(&matchers(r#"requests{code="200"}"#), 1000, 3000);
        assert_eq!(found[0].samples.iter().map(|s| s.t).collect::<Vec<_>>(), [1000, 2000, 3000]);
        assert!(store().select(&matchers("requests"), 3001, 3999).is_empty());
        assert!(store().select(&matchers("requests"), 3000, 2000).is_empty());
    }

    #[test]
    fn old_samples_go_and_disorder_is_refused() {
        let mut store = store();
        let labels: Labels = [(METRIC_NAME, "requests"), ("code", "200")].into_iter().collect();
        assert!(store.append(labels.clone(), Sample { t: 4000, v: 0.0 }).is_err());
        store.append(labels, Sample { t: 12_000, v: 9.0 }).unwrap();
        let found = store.select(&matchers(r#"requests{code="200"}"#), 0, 12_000);
        assert_eq!(found[0].samples.iter().map(|s| s.t).collect::<Vec<_>>(), [2000, 3000, 4000, 12_000]);
    }

    #[test]
    fn the_staleness_marker_is_not_any_nan() {
        assert!(is_stale(stale_marker()) && stale_marker().is_nan());
        assert!(!is_stale(f64::NAN));
    }
}
