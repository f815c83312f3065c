use promql_parser::label::{MatchOp, Matcher};

use super::*;
use crate::sim::metrics::series::is_stale;

/// `errors` is this at each of these seconds.
fn errors(values: &[(i64, f64)]) -> SeriesStore {
    let mut store = SeriesStore::new(1_000_000);
    for (second, v) in values {
        let labels: Labels = [(METRIC_NAME, "errors"), ("app", "web")].into_iter().collect();
        store.append(labels, Sample { t: second * 1000, v: *v }).expect("in order");
    }
    store
}

fn rules(json: Json) -> Rules {
    let mut rules = Rules::new(10_000_000);
    let spec: RuleSpec = serde_json::from_value(json).expect("a spec");
    rules.set(("shop", "alerts"), Some(&spec), 0);
    rules
}

fn one(rule: Json) -> Json {
    json!({"groups": [{"name": "g", "interval": "10s", "rules": [rule]}]})
}

/// States of the only rule at the evaluations up to `until`, one letter each: quiet `.`, pending `p`, firing `F`.
fn states(rules: &mut Rules, source: &dyn Source, until: i64) -> String {
    let first = rules.groups.values().next().expect("a group").next;
    let mut told = String::new();
    for at in (first..=until * 1000).step_by(10_000) {
        rules.advance(at, source);
        told.push(match rules.groups(None)["groups"][0]["rules"][0]["state"].as_str() {
            Some("firing") => 'F',
            Some("pending") => 'p',
            _ => '.',
        });
    }
    told
}

fn source() -> SeriesStore {
    // 0 until 30 s, 5 until 80 s, 0 again.
    let value = |second: i64| if (30..80).contains(&second) { 5.0 } else { 0.0 };
    errors(&(0..200).map(|second| (second, value(second))).collect::<Vec<_>>())
}

#[test]
fn an_alert_is_pending_for_so_long_and_fires_until_its_condition_is_over() {
    let source = source();
    let alert =
        json!({"alert": "Errors", "expr": "errors > 1", "for": "20s", "labels": {"severity": "page"}});
    let mut slow = rules(one(alert.clone()));
    let told = states(&mut slow, &source, 149);
    assert!(told.starts_with("...ppFFF....") && !told[8..].contains('F'), "{told}");
    let mut at_once = rules(one(json!({"alert": "Errors", "expr": "errors > 1"})));
    assert!(states(&mut at_once, &source, 149).starts_with("...FFFFF...."));
    let mut kept = alert;
    kept["keep_firing_for"] = Json::from("30s");
    let told = states(&mut rules(one(kept)), &source, 149);
    assert!(told.starts_with("...ppFFFFFF...."), "{told}");
}

#[test]
fn what_is_computed_late_is_the_same() {
    let (source, alert) = (source(), json!({"alert": "Errors", "expr": "errors > 1", "for": "20s"}));
    let (mut step_by_step, mut at_once) = (rules(one(alert.clone())), rules(one(alert)));
    states(&mut step_by_step, &source, 75);
    at_once.advance(75_000, &source);
    step_by_step.advance(75_000, &source);
    assert_eq!(at_once.groups(None), step_by_step.groups(None));
    assert_eq!(at_once.alerts(), step_by_step.alerts());
}

#[test]
fn alerts_are_series_too_and_rules_may_use_what_others_give() {
    let source = source();
    let mut rules = rules(json!({"groups": [{"name": "g", "interval": "10s", "rules": [
        {"record": "errors:twice", "expr": "errors * 2", "labels": {"by": "{{ $labels.app }}"}},
        {"alert": "Errors", "expr": "errors:twice >= 10", "labels": {"of": "{{ $labels.app }} at {{ $value }}"}}]}]}));
    rules.advance(75_000, &source);
    let matcher = |name: &str| vec![Matcher::new(MatchOp::Equal, METRIC_NAME, name)];
    let twice = rules.samples().select(&matcher("errors:twice"), 60_000, 75_000);
    assert_eq!((twice.len(), twice[0].labels.get("by"), twice[0].samples[0].v), (1, "web", 10.0));
    let alerts = rules.alerts();
    assert_eq!(alerts["alerts"][0]["labels"]["of"], "web at 10");
    assert_eq!(
        (&alerts["alerts"][0]["state"], &alerts["alerts"][0]["value"]),
        (&json!("firing"), &json!("1e+01"))
    );
    rules.advance(120_000, &source);
    let series = rules.samples().select(&matcher("ALERTS"), 0, 120_000);
    assert_eq!((series.len(), series[0].labels.get("alertstate")), (1, "firing"));
    assert!(is_stale(series[0].samples.last().expect("samples").v), "it ends with a marker");
    assert_eq!(rules.alerts()["alerts"], json!([]));
}

#[test]
fn what_cannot_be_evaluated_says_so() {
    let source = source();
    for (rule, why) in [
        (json!({"alert": "A", "expr": "deriv(errors[1m]) > 1"}), "deriv"),
        (json!({"alert": "A", "expr": "errors >"}), ""),
        (json!({"alert": "A", "expr": "errors", "for": "soon"}), "not a duration"),
        (json!({"alert": "A", "record": "a", "expr": "errors"}), "exactly one"),
        (json!({"alert": "A", "expr": "errors", "labels": {"a": "{{ humanize $value }}"}}), "template"),
    ] {
        let mut rules = rules(one(rule.clone()));
        rules.advance(60_000, &source);
        let told = rules.groups(None);
        let told = &told["groups"][0]["rules"][0];
        assert_eq!(told["health"], "err", "{rule}");
        assert!(told["lastError"].as_str().is_some_and(|error| error.contains(why)), "{told}");
    }
}

#[test]
fn an_object_that_is_written_again_changes_nothing_and_one_that_goes_takes_its_alerts_along() {
    let source = source();
    let json = one(json!({"alert": "Errors", "expr": "errors > 1", "for": "20s"}));
    let spec: RuleSpec = serde_json::from_value(json.clone()).expect("a spec");
    let mut rules = rules(json);
    rules.advance(75_000, &source);
    rules.set(("shop", "alerts"), Some(&spec), 75_000);
    assert_eq!(rules.groups(None)["groups"][0]["rules"][0]["state"], "firing");
    rules.set(("shop", "alerts"), None, 76_000);
    assert_eq!(rules.groups(None)["groups"], json!([]));
    let all = rules.samples().select(&[Matcher::new(MatchOp::Equal, METRIC_NAME, "ALERTS")], 76_000, 76_000);
    assert!(all.iter().all(|series| is_stale(series.samples[0].v)) && !all.is_empty());
}
