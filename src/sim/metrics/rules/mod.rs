//! Recording and alerting rules, computed when they are read.
//!
//! Rules come as PrometheusRule objects of the Prometheus Operator (`monitoring.coreos.com/v1`, its docs: API
//! reference), from all namespaces. As in Prometheus, a group is evaluated every interval at an offset of its own
//! (rules/group.go, `EvalTimestamp`), its rules one after the other at one instant; what they give is kept as series:
//! of an alert `ALERTS` and `ALERTS_FOR_STATE`, with a staleness marker where one ends. An evaluation happens at its
//! own instant whenever it is computed, so it does not matter when anybody looks.

mod alerting;
mod spec;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use self::alerting::{Active, Alerting};
pub use self::spec::RuleSpec;
use self::spec::{Kind, Parsed};
use super::promql::{self, Query, Value};
use super::scrape::fnv1a;
use super::series::{Both, Labels, METRIC_NAME, Sample, SeriesStore, Source, stale_marker};

/// How often a group is evaluated that does not say (Prometheus docs, Configuration: `evaluation_interval`).
const INTERVAL_MS: i64 = 60_000;

/// All rules, and the series that they have given.
#[derive(Debug)]
pub struct Rules {
    /// By namespace and name of the object, and the group's place in it.
    groups: BTreeMap<(String, String, usize), Group>,
    samples: SeriesStore,
}

#[derive(Debug)]
struct Group {
    name: String,
    interval: i64,
    /// When it is evaluated next, in milliseconds since the Unix epoch.
    next: i64,
    last: Option<i64>,
    rules: Vec<Rule>,
}

/// One rule and where it is.
struct Rule {
    parsed: Parsed,
    query: Result<Query, String>,
    alerting: Alerting,
    /// What the last evaluation gave, for the markers.
    given: BTreeSet<Labels>,
    error: Option<String>,
    last: Option<i64>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rule({}: {})", self.parsed.name, self.parsed.expr)
    }
}

impl Rules {
    /// None; their series are kept so long, in milliseconds.
    pub fn new(retention_ms: i64) -> Self {
        Self { groups: BTreeMap::new(), samples: SeriesStore::new(retention_ms) }
    }

    /// What rules have given.
    pub fn samples(&self) -> &SeriesStore {
        &self.samples
    }

    /// The object has these groups from `at` on; `None`: it is gone. Groups that are as they were go on.
    pub fn set(&mut self, (namespace, name): (&str, &str), spec: Option<&RuleSpec>, at: i64) {
        let of = |key: &(String, String, usize)| key.0 == namespace && key.1 == name;
        let old: Vec<_> = self.groups.keys().filter(|key| of(key)).cloned().collect();
        let wanted = spec.map(|spec| spec.groups.as_slice()).unwrap_or_default();
        for key in old {
            let same = self.groups.get(&key).zip(wanted.get(key.2)).is_some_and(|(had, now)| had.is(now));
            if !same && let Some(gone) = self.groups.remove(&key) {
                for labels in gone.rules.into_iter().flat_map(|rule| rule.given) {
                    self.give(labels, Sample { t: at, v: stale_marker() });
                }
            }
        }
        for (place, group) in wanted.iter().enumerate() {
            let key = (namespace.to_owned(), name.to_owned(), place);
            self.groups.entry(key).or_insert_with(|| Group::new((namespace, name), group, at));
        }
    }

    /// Does every evaluation up to `now`, over `source`.
    pub fn advance(&mut self, now: i64, source: &dyn Source) {
        loop {
            let due = self.groups.iter().map(|(key, group)| (group.next, key)).min();
            let Some((at, key)) = due.filter(|(at, _)| *at <= now).map(|(at, key)| (at, key.clone())) else {
                return;
            };
            let count = self.groups.get(&key).map_or(0, |group| group.rules.len());
            for index in 0..count {
                let Some(group) = self.groups.get_mut(&key) else { return };
                let rule = &mut group.rules[index];
                let given = rule.evaluate(&Both(source, &self.samples), at);
                for (labels, v) in given {
                    self.give(labels, Sample { t: at, v });
                }
            }
            if let Some(group) = self.groups.get_mut(&key) {
                group.last = Some(at);
                group.next = at + group.interval;
            }
        }
    }

    /// A sample that is not newer than the last of its series is dropped, as Prometheus does.
    fn give(&mut self, labels: Labels, sample: Sample) {
        if let Err(error) = self.samples.append(labels, sample) {
            tracing::debug!("{error}");
        }
    }

    /// `/api/v1/rules`; `only`: `alert` or `record`.
    pub fn groups(&self, only: Option<&str>) -> Json {
        let groups = self.groups.iter().map(|((namespace, name, _), group)| {
            let wanted = |rule: &&Rule| match only {
                Some("alert") => matches!(rule.parsed.kind, Kind::Alert { .. }),
                Some("record") => rule.parsed.kind == Kind::Record,
                _ => true,
            };
            let rules: Vec<Json> = group.rules.iter().filter(wanted).map(Rule::to_json).collect();
            json!({"name": group.name, "file": format!("{namespace}-{name}.yaml"), "rules": rules,
                "interval": group.interval as f64 / 1000.0, "limit": 0, "evaluationTime": 0.0,
                "lastEvaluation": rfc3339(group.last)})
        });
        json!({"groups": groups.collect::<Vec<_>>()})
    }

    /// `/api/v1/alerts`.
    pub fn alerts(&self) -> Json {
        let rules = self.groups.values().flat_map(|group| &group.rules);
        json!({"alerts": rules.flat_map(Rule::alerts).collect::<Vec<_>>()})
    }
}

impl Group {
    fn new((namespace, name): (&str, &str), spec: &spec::GroupSpec, at: i64) -> Self {
        let interval = spec.interval.as_deref().and_then(spec::millis).unwrap_or(INTERVAL_MS).max(1);
        let key = format!("{namespace}-{name}.yaml;{}", spec.name);
        let offset = (fnv1a(key.as_bytes()) % interval.unsigned_abs()) as i64;
        let rules = spec.rules.iter().map(|rule| Rule::new(rule.parse())).collect();
        let next = at + (offset - at).rem_euclid(interval);
        Self { name: spec.name.clone(), interval, next, last: None, rules }
    }

    fn is(&self, spec: &spec::GroupSpec) -> bool {
        let interval = spec.interval.as_deref().and_then(spec::millis).unwrap_or(INTERVAL_MS).max(1);
        let rules: Vec<Parsed> = spec.rules.iter().map(spec::OneRule::parse).collect();
        self.name == spec.name
            && self.interval == interval
            && self.rules.iter().map(|rule| &rule.parsed).eq(&rules)
    }
}

impl Rule {
    fn new(parsed: Parsed) -> Self {
        let query = match &parsed.error {
            Some(error) => Err(error.clone()),
            None => promql::parse(&parsed.expr)
                .map_err(|error| error.message)
                .and_then(|expr| Query::new(&expr).map_err(|error| error.to_string())),
        };
        let (alerting, given) = (Alerting::default(), BTreeSet::new());
        Self { parsed, query, alerting, given, error: None, last: None }
    }

    /// What it gives at an instant, with markers for what it gave before and gives no more. An error leaves all as it
    /// is (rules/group.go, `Eval`).
    fn evaluate(&mut self, source: &dyn Source, at: i64) -> Vec<(Labels, f64)> {
        self.last = Some(at);
        match self.samples(source, at) {
            Err(error) => {
                self.error = Some(error);
                Vec::new()
            }
            Ok(mut samples) => {
                self.error = None;
                let now: BTreeSet<Labels> = samples.iter().map(|(labels, _)| labels.clone()).collect();
                samples.extend(self.given.difference(&now).map(|gone| (gone.clone(), stale_marker())));
                self.given = now;
                samples
            }
        }
    }

    fn samples(&mut self, source: &dyn Source, at: i64) -> Result<Vec<(Labels, f64)>, String> {
        let query = self.query.as_ref().map_err(Clone::clone)?;
        let elements = match query.instant(source, at).map_err(|error| error.to_string())? {
            Value::Vector(elements) => elements,
            Value::Scalar(value) => vec![promql::Element { labels: Labels::default(), value }],
            Value::Text(_) | Value::Matrix(_) => {
                return Err("rule result is not a vector or scalar".to_owned());
            }
        };
        let mut found = BTreeMap::new();
        for element in elements {
            let labels = self.parsed.labelled(&element.labels.without_name(), element.value)?;
            if found.insert(labels, element.value).is_some() {
                return Err(
                    "vector contains metrics with the same labelset after applying rule labels".into()
                );
            }
        }
        Ok(match &self.parsed.kind {
            Kind::Record => found.into_iter().collect(),
            Kind::Alert { hold, keep } => {
                self.alerting.step(found, (*hold, *keep), at);
                self.alerting.samples()
            }
        })
    }

    fn to_json(&self) -> Json {
        let health = match (&self.error, self.last) {
            (Some(_), _) => "err",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        };
        let mut json = json!({"name": self.parsed.name, "query": self.parsed.expr, "labels": self.parsed.labels,
            "health": health, "evaluationTime": 0.0, "lastEvaluation": rfc3339(self.last)});
        if let Some(error) = &self.error {
            json["lastError"] = Json::from(error.as_str());
        }
        match &self.parsed.kind {
            Kind::Record => json["type"] = Json::from("recording"),
            Kind::Alert { hold, keep } => {
                let seconds = |millis: &i64| *millis as f64 / 1000.0;
                json["type"] = Json::from("alerting");
                json["state"] = Json::from(self.alerting.state());
                json["duration"] = Json::from(seconds(hold));
                json["keepFiringFor"] = Json::from(seconds(keep));
                json["annotations"] = json!(self.parsed.annotations);
                json["alerts"] = Json::Array(self.alerts().collect());
            }
        }
        json
    }

    fn alerts(&self) -> impl Iterator<Item = Json> {
        self.alerting.active().map(|(labels, Active { firing, since, value, .. })| {
            let labels: BTreeMap<&str, &str> = labels.iter().collect();
            json!({"labels": labels, "annotations": self.parsed.annotations, "value": scientific(*value),
                "state": if *firing { "firing" } else { "pending" }, "activeAt": rfc3339(Some(*since))})
        })
    }
}

/// A time of the API; never is Go's zero time.
fn rfc3339(millis: Option<i64>) -> String {
    let at = millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
}

/// As Go's `strconv.FormatFloat(v, 'e', -1, 64)` (web/api/v1, `AlertDiscovery`).
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return super::http::number(value);
    }
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A series of rules: its name and its other labels.
fn named(name: &str, labels: &Labels) -> Labels {
    labels.with(METRIC_NAME, name)
}

#[cfg(test)]
mod tests;
