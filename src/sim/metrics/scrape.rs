//! Scraping, computed when it is read.
//!
//! Targets record only what changed, at the scrape that will first see it; the samples of a quiet
//! hour cost nothing until a query asks for them. A query materialises the scrapes that it needs.
//!
//! As in Prometheus: each target is scraped every interval at an offset of its own (scrape/target.go,
//! `offset`: a hash of the target modulo the interval); `up` is 1 or 0; when a scrape fails, or the
//! target is gone from service discovery, its series end with a staleness marker. The marker is
//! written at the next scheduled scrape; Prometheus waits a few seconds longer for a removed target.
//!
//! Labels are those that the usual Kubernetes relabelling gives (the Helm chart `prometheus` and the
//! Prometheus Operator's monitors): `job`, `instance`, `namespace`, `pod`, `node`, as far as they
//! apply. Labels of the series win over those of the target (`honor_labels: true`, as is usual for
//! kube-state-metrics).

use std::collections::{BTreeMap, VecDeque};

use promql_parser::label::{MatchOp, Matcher};

use super::series::{Labels, METRIC_NAME, Sample, Series, Source, is_stale, matches, stale_marker};

/// How often and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrapeConfig {
    /// Distance between two scrapes of one target in milliseconds, above zero. Five seconds by
    /// default: experiments watch minutes (Prometheus' own default is one minute).
    pub interval_ms: i64,
    /// How far back samples can be read, in milliseconds.
    pub retention_ms: i64,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self { interval_ms: 5_000, retention_ms: 24 * 3_600_000 }
    }
}

/// A target that [`Scrapes::add_target`] made known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetId(usize);

/// A series that [`Scrapes::register`] made known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesId {
    target: usize,
    column: usize,
}

/// All targets and what they expose. Times are milliseconds since the Unix epoch; changes of one
/// series arrive in order.
#[derive(Debug)]
pub struct Scrapes {
    config: ScrapeConfig,
    now: i64,
    targets: Vec<Option<Target>>,
    /// Target and column of the series of each metric name.
    names: BTreeMap<String, Vec<(usize, usize)>>,
}

#[derive(Debug)]
struct Target {
    labels: Labels,
    offset: i64,
    /// The scrape that saw the latest change: most changes fall before the same one.
    latest: i64,
    /// 1, 0, or stale once the target is gone.
    up: Timeline,
    up_labels: Labels,
    columns: Vec<(Labels, Timeline)>,
}

/// Values by the scrape instant that first sees them.
#[derive(Debug, Default)]
struct Timeline {
    points: VecDeque<(i64, f64)>,
}

impl Timeline {
    fn set(&mut self, instant: i64, value: f64, horizon: i64) {
        match self.points.back_mut() {
            Some(last) if last.0 >= instant => last.1 = value,
            Some(last) if last.1.to_bits() == value.to_bits() => {}
            _ => self.points.push_back((instant, value)),
        }
        while self.points.get(1).is_some_and(|p| p.0 <= horizon) {
            self.points.pop_front();
        }
    }

    fn last(&self) -> Option<f64> {
        self.points.back().map(|p| p.1)
    }

    fn at(&self, instant: i64) -> Option<f64> {
        let upto = self.points.partition_point(|p| p.0 <= instant);
        self.points.get(upto.checked_sub(1)?).map(|p| p.1).filter(|v| !is_stale(*v))
    }
}

impl Scrapes {
    /// No targets yet, at the instant `now`. An interval below one millisecond counts as one.
    pub fn new(config: ScrapeConfig, now: i64) -> Self {
        let config = ScrapeConfig { interval_ms: config.interval_ms.max(1), ..config };
        Self { config, now, targets: Vec::new(), names: BTreeMap::new() }
    }

    /// Interval and retention in force.
    pub fn config(&self) -> ScrapeConfig {
        self.config
    }

    /// A target comes into service discovery and answers. `labels` are the target's own, such as job,
    /// instance, namespace, pod and node.
    pub fn add_target(&mut self, labels: Labels, at: i64) -> TargetId {
        let offset = (fnv1a(labels.to_string().as_bytes()) % self.config.interval_ms.unsigned_abs()) as i64;
        let up_labels = labels.with(METRIC_NAME, "up");
        self.targets.push(Some(Target {
            labels,
            offset,
            latest: i64::MIN,
            up: Timeline::default(),
            up_labels,
            columns: Vec::new(),
        }));
        let id = TargetId(self.targets.len() - 1);
        self.set_up(id, at, true);
        id
    }

    /// From now on scrapes of the target succeed or fail.
    pub fn set_up(&mut self, target: TargetId, at: i64, up: bool) {
        self.change_up(target, at, f64::from(u8::from(up)));
    }

    /// The target leaves service discovery; it is forgotten when its samples have left retention.
    pub fn remove_target(&mut self, target: TargetId, at: i64) {
        self.change_up(target, at, stale_marker());
        let horizon = at.saturating_sub(self.config.retention_ms);
        let gone = |t: &Target| t.up.points.back().is_some_and(|p| is_stale(p.1) && p.0 < horizon);
        let mut forgotten = false;
        for slot in &mut self.targets {
            forgotten |= slot.take_if(|target| gone(target)).is_some_and(|target| !target.columns.is_empty());
        }
        if forgotten {
            self.names.values_mut().for_each(|all| all.retain(|(target, _)| self.targets[*target].is_some()));
            self.names.retain(|_, all| !all.is_empty());
        }
    }

    /// A series of a target, with its value so far. `labels` are those that the application gives.
    pub fn register(
        &mut self,
        target: TargetId,
        name: &str,
        labels: &[(&str, &str)],
        value: (i64, f64),
    ) -> SeriesId {
        let mut column = 0;
        if let Some(Some(t)) = self.targets.get_mut(target.0) {
            let own = labels.iter().fold(t.labels.with(METRIC_NAME, name), |all, (k, v)| all.with(k, v));
            column = t.columns.len();
            t.columns.push((own, Timeline::default()));
            self.names.entry(name.to_owned()).or_default().push((target.0, column));
        }
        let id = SeriesId { target: target.0, column };
        self.set(id, value.0, value.1);
        id
    }

    /// The series has this value from `at` on.
    pub fn set(&mut self, series: SeriesId, at: i64, value: f64) {
        self.change(series, at, |_| value);
    }

    /// The series, a counter, grows by `by` at `at`.
    pub fn add(&mut self, series: SeriesId, at: i64, by: f64) {
        self.change(series, at, |last| last + by);
    }

    /// The scrape, in milliseconds, that first sees what happens to a series at `at`; `at` itself for a series
    /// that is forgotten.
    pub fn seen_by(&mut self, series: SeriesId, at: i64) -> i64 {
        let interval = self.config.interval_ms;
        let target = self.targets.get_mut(series.target).and_then(Option::as_mut);
        target.map_or(at, |target| target.seen_by(interval, at))
    }

    /// The target stops exposing this series.
    pub fn end_series(&mut self, series: SeriesId, at: i64) {
        self.set(series, at, stale_marker());
    }

    /// Time has come to `now`: scrapes up to it can be read.
    pub fn advance(&mut self, now: i64) {
        self.now = self.now.max(now);
    }

    /// Sets a series to a function of its last value, 0 where it has none.
    fn change(&mut self, series: SeriesId, at: i64, value: impl Fn(f64) -> f64) {
        let (interval, horizon) = (self.config.interval_ms, at.saturating_sub(self.config.retention_ms));
        if let Some(Some(t)) = self.targets.get_mut(series.target) {
            let instant = t.seen_by(interval, at);
            if let Some((_, timeline)) = t.columns.get_mut(series.column) {
                let value = value(timeline.last().unwrap_or(0.0));
                timeline.set(instant, value, horizon);
            }
        }
    }

    fn change_up(&mut self, target: TargetId, at: i64, value: f64) {
        let (interval, horizon) = (self.config.interval_ms, at.saturating_sub(self.config.retention_ms));
        if let Some(Some(t)) = self.targets.get_mut(target.0) {
            let instant = t.seen_by(interval, at);
            t.up.set(instant, value, horizon);
        }
    }

    /// What can be read of `from ..= to` at present.
    fn readable(&self, from: i64, to: i64) -> (i64, i64) {
        (from.max(self.now.saturating_sub(self.config.retention_ms)), to.min(self.now))
    }

    /// The series that pass the matchers, with what `read` makes of their timelines.
    fn collect(&self, matchers: &[Matcher], read: impl Fn(&View) -> Vec<Sample>) -> Vec<Series> {
        let interval = self.config.interval_ms;
        let mut found = Vec::new();
        let name = matchers.iter().position(|m| m.name == METRIC_NAME && matches!(m.op, MatchOp::Equal));
        // What is found by its name has that name.
        let others = matchers.iter().enumerate().filter(|(index, _)| Some(*index) != name);
        let others: Vec<&Matcher> = others.map(|(_, matcher)| matcher).collect();
        let mut take = |target: &Target, (labels, timeline, is_up): (&Labels, &Timeline, bool)| {
            if matches(labels, others.iter().copied()) {
                let samples = read(&View { target, timeline, is_up, interval });
                if !samples.is_empty() {
                    found.push(Series { labels: labels.clone(), samples });
                }
            }
        };
        let name = name.map(|index| matchers[index].value.as_str());
        for target in self.targets.iter().flatten() {
            if name.is_none_or(|name| name == "up") {
                take(target, (&target.up_labels, &target.up, true));
            }
            if name.is_none() {
                target.columns.iter().for_each(|(labels, timeline)| take(target, (labels, timeline, false)));
            }
        }
        for (target, column) in name.and_then(|name| self.names.get(name)).into_iter().flatten() {
            let target = self.targets.get(*target).and_then(Option::as_ref);
            if let Some((target, (labels, timeline))) =
                target.and_then(|t| Some((t, t.columns.get(*column)?)))
            {
                take(target, (labels, timeline, false));
            }
        }
        merge(found)
    }
}

impl Target {
    /// The first scrape at or after `at`.
    fn seen_by(&mut self, interval: i64, at: i64) -> i64 {
        if at > self.latest || at <= self.latest.saturating_sub(interval) {
            self.latest = first_scrape(self.offset, interval, at);
        }
        self.latest
    }
}

/// One timeline as its target's scrapes show it.
struct View<'a> {
    target: &'a Target,
    timeline: &'a Timeline,
    is_up: bool,
    interval: i64,
}

impl View<'_> {
    /// What the scrape at an instant brought; only a target that is up brings more than `up`.
    fn at(&self, t: i64) -> Option<f64> {
        let reached = self.is_up || self.target.up.at(t) == Some(1.0);
        self.timeline.at(t).filter(|_| reached)
    }

    /// Samples of a window, oldest first.
    fn samples(&self, (from, to): (i64, i64)) -> Vec<Sample> {
        let mut out = Vec::new();
        let mut t = first_scrape(self.target.offset, self.interval, from);
        let mut before = self.at(t - self.interval);
        while t <= to {
            let current = self.at(t);
            match current {
                Some(v) => out.push(Sample { t, v }),
                None if before.is_some() => out.push(Sample { t, v: stale_marker() }),
                None => {}
            }
            before = current;
            t += self.interval;
        }
        out
    }

    /// The newest sample of a window.
    fn newest(&self, (from, to): (i64, i64)) -> Option<Sample> {
        let mut t = first_scrape(self.target.offset, self.interval, to - self.interval + 1);
        let mut current = self.at(t);
        while t >= from {
            let before = self.at(t - self.interval);
            match (current, before) {
                (Some(v), _) => return Some(Sample { t, v }),
                (None, Some(_)) => return Some(Sample { t, v: stale_marker() }),
                (None, None) => {}
            }
            current = before;
            t -= self.interval;
        }
        None
    }
}

impl Source for Scrapes {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series> {
        let window = self.readable(from, to);
        self.collect(matchers, |view| view.samples(window))
    }

    fn select_latest(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series> {
        let window = self.readable(from, to);
        self.collect(matchers, |view| view.newest(window).into_iter().collect())
    }
}

/// Series by label set. A target that comes back under its old labels continues its series; where a
/// marker of the old and a sample of the new fall together, the sample counts.
fn merge(mut found: Vec<Series>) -> Vec<Series> {
    found.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut out: Vec<Series> = Vec::with_capacity(found.len());
    for series in found {
        match out.last_mut().filter(|last| last.labels == series.labels) {
            Some(last) => {
                last.samples.extend(series.samples);
                last.samples.sort_by_key(|s| (s.t, is_stale(s.v)));
                last.samples.dedup_by_key(|s| s.t);
            }
            None => out.push(series),
        }
    }
    out
}

/// The first scrape of a target at or after `at`.
fn first_scrape(offset: i64, interval: i64, at: i64) -> i64 {
    at + (offset - at).rem_euclid(interval)
}

/// FNV-1a: spreads targets over the interval, alike on every platform.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::metrics::promql::{self, Value};

    fn pod(name: &str) -> Labels {
        [("job", "kubernetes-pods"), ("namespace", "shop"), ("pod", name)].into_iter().collect()
    }

    fn raw(scrapes: &Scrapes, selector: &str, window: (i64, i64)) -> Vec<(i64, Option<f64>)> {
        let Ok(promql::Expr::VectorSelector(v)) = promql::parse(selector) else { panic!("{selector}") };
        let name = v.name.as_deref().unwrap_or_default();
        let named = Matcher::new(promql_parser::label::MatchOp::Equal, METRIC_NAME, name);
        let mut matchers = v.matchers.matchers.clone();
        matchers.push(named);
        let found = scrapes.select(&matchers, window.0, window.1);
        found.iter().flat_map(|s| s.samples.iter().map(|s| (s.t, (!is_stale(s.v)).then_some(s.v)))).collect()
    }

    #[test]
    fn a_name_finds_all_of_its_series_and_no_others() {
        let mut scrapes = Scrapes::new(ScrapeConfig::default(), 0);
        for (pod_name, app) in [("a", "x"), ("b", "y")] {
            let target = scrapes.add_target(pod(pod_name), 0);
            scrapes.register(target, "hits", &[("app", app), ("code", "200")], (0, 1.0));
            scrapes.register(target, "hits", &[("app", app), ("code", "500")], (0, 1.0));
            scrapes.register(target, "misses", &[("app", app), ("namespace", "other")], (0, 1.0));
            scrapes.register(target, "plain", &[], (0, 1.0));
        }
        scrapes.advance(5_000);
        let found = |selector: &str| raw(&scrapes, selector, (0, 5_000)).len();
        for (selector, series) in [
            (r#"hits{app="x"}"#, 2),
            (r#"hits{code="500"}"#, 2),
            (r#"hits{app!="x",code=~"2.."}"#, 1),
            (r#"hits{pod="b"}"#, 2),
            (r#"misses{namespace="other"}"#, 2),
            (r#"misses{namespace="shop"}"#, 0),
            (r#"plain{app=""}"#, 2),
            (r#"plain{pod="c"}"#, 0),
            (r#"up{pod="a"}"#, 1),
            (r#"up{app="x"}"#, 0),
        ] {
            assert_eq!(found(selector), series, "{selector}");
        }
    }

    #[test]
    fn a_scrape_sees_what_was_so_at_its_instant_and_ends_with_a_marker() {
        let mut scrapes = Scrapes::new(ScrapeConfig::default(), 0);
        let target = scrapes.add_target(pod("a"), 0);
        let id = scrapes.register(target, "hits", &[("app", "x")], (0, 0.0));
        let first = first_scrape(scrapes.targets[0].as_ref().unwrap().offset, 5000, 0);
        scrapes.add(id, first, 1.0);
        scrapes.add(id, first + 1, 1.0);
        scrapes.add(id, first + 2, 1.0);
        scrapes.set_up(target, first + 10_001, false);
        scrapes.remove_target(target, first + 20_001);
        scrapes.advance(first + 40_000);
        let seen = raw(&scrapes, "hits", (0, 100_000));
        let expected = [(0, Some(1.0)), (5_000, Some(3.0)), (10_000, Some(3.0)), (15_000, None)];
        assert_eq!(seen, expected.map(|(t, v)| (t + first, v)));
        let up = raw(&scrapes, "up", (0, 100_000));
        let expected = [(0, Some(1.0)), (5_000, Some(1.0)), (10_000, Some(1.0)), (15_000, Some(0.0))];
        let rest = [(20_000, Some(0.0)), (25_000, None)];
        assert_eq!(up, expected.into_iter().chain(rest).map(|(t, v)| (t + first, v)).collect::<Vec<_>>());
    }

    #[test]
    fn the_future_and_what_is_past_retention_cannot_be_read() {
        let config = ScrapeConfig { interval_ms: 1000, retention_ms: 10_000 };
        let mut scrapes = Scrapes::new(config, 0);
        let target = scrapes.add_target(pod("a"), 0);
        let id = scrapes.register(target, "hits", &[], (0, 0.0));
        for t in 0..60 {
            scrapes.add(id, t * 1000, 1.0);
        }
        scrapes.advance(60_000);
        let seen = raw(&scrapes, "hits", (0, 1_000_000));
        assert!(seen.len() <= 11 && seen.iter().all(|s| (50_000..=60_000).contains(&s.0)), "{seen:?}");
        assert!(scrapes.targets[0].as_ref().unwrap().columns[0].1.points.len() < 15);
    }

    #[test]
    fn a_query_over_a_dead_target_is_empty_at_once_not_after_the_lookback() {
        let mut scrapes = Scrapes::new(ScrapeConfig::default(), 0);
        let a = scrapes.add_target(pod("a"), 0);
        scrapes.add_target(pod("b"), 0);
        scrapes.remove_target(a, 60_000);
        scrapes.advance(70_000);
        let count = |at| match promql::instant(&scrapes, &promql::parse("count(up)").unwrap(), at) {
            Ok(Value::Vector(v)) => v[0].value,
            other => panic!("{other:?}"),
        };
        assert_eq!(count(59_999), 2.0);
        assert_eq!(count(65_000), 1.0);
    }

    #[test]
    fn targets_that_are_long_gone_are_forgotten() {
        let mut scrapes = Scrapes::new(ScrapeConfig { interval_ms: 1000, retention_ms: 5000 }, 0);
        for n in 0..100 {
            let id = scrapes.add_target(pod(&format!("p{n}")), n * 1000);
            scrapes.register(id, "hits", &[], (n * 1000, 0.0));
            scrapes.remove_target(id, n * 1000 + 500);
        }
        assert!(scrapes.targets.iter().flatten().count() < 10);
        assert!(scrapes.names["hits"].len() < 10);
    }

    #[test]
    fn the_newest_sample_is_the_last_of_all() {
        let mut scrapes = Scrapes::new(ScrapeConfig { interval_ms: 1000, retention_ms: 60_000 }, 0);
        let target = scrapes.add_target(pod("a"), 2_000);
        let id = scrapes.register(target, "hits", &[], (2_500, 0.0));
        scrapes.add(id, 7_300, 2.0);
        scrapes.set_up(target, 12_000, false);
        scrapes.set_up(target, 15_000, true);
        scrapes.end_series(id, 20_000);
        scrapes.remove_target(target, 25_000);
        scrapes.add_target(pod("a"), 31_000);
        scrapes.advance(40_000);
        for to in (0..42_000).step_by(250) {
            let all = scrapes.select(&[], to - 4_000, to);
            let last: Vec<_> = all.iter().map(|s| (&s.labels, s.samples[s.samples.len() - 1])).collect();
            let newest = scrapes.select_latest(&[], to - 4_000, to);
            let newest: Vec<_> = newest.iter().map(|s| (&s.labels, s.samples[s.samples.len() - 1])).collect();
            assert_eq!(format!("{last:?}"), format!("{newest:?}"), "at {to}");
        }
    }
}
