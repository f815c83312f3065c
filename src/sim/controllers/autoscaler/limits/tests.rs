//! Stabilisation, rates and bounds.

use super::*;
use serde_json::{Value, json};

fn spec(behavior: Value) -> AutoscalerSpec {
    let mut value = json!({"minReplicas": 1, "maxReplicas": 100});
    if !behavior.is_null() {
        value["behavior"] = behavior;
    }
    serde_json::from_value(value).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

#[test]
fn without_behavior_the_highest_recommendation_of_five_minutes_holds() {
    let (spec, mut memory) = (spec(Value::Null), Memory::default());
    memory.begin(10, at(0));
    assert_eq!(memory.limit(&spec, 10, 2, at(0)).replicas, 10);
    let held = memory.limit(&spec, 10, 3, at(300));
    assert_eq!((held.replicas, held.able.0), (10, "ScaleDownStabilized"));
    let gone = memory.limit(&spec, 10, 2, at(301));
    assert_eq!((gone.replicas, gone.able.0, gone.limited), (3, "ScaleDownStabilized", false));
    assert_eq!(memory.limit(&spec, 3, 2, at(700)).replicas, 2);
    assert_eq!(memory.limit(&spec, 3, 3, at(701)).able.0, "ReadyForNewScale");
}

#[test]
fn without_behavior_the_rate_is_double_or_four() {
    let (spec, mut memory) = (spec(Value::Null), Memory::default());
    for (current, asked, allowed) in [(1, 50, 4), (2, 50, 4), (3, 50, 6), (10, 19, 19), (60, 300, 100)] {
        let limited = memory.limit(&spec, current, asked, at(0));
        assert_eq!(limited.replicas, allowed, "{current} to {asked}");
        assert_eq!(limited.limited, asked != allowed);
        memory = Memory::default();
    }
    assert_eq!(memory.limit(&spec, 60, 300, at(0)).limit.0, "TooManyReplicas");
    let mut memory = Memory::default();
    assert_eq!(memory.limit(&spec, 2, 0, at(0)).limit.0, "TooFewReplicas");
}

#[test]
fn the_default_policies_are_the_larger_of_double_and_four_more_in_fifteen_seconds() {
    let (spec, mut memory) = (spec(json!({})), Memory::default());
    assert_eq!(memory.limit(&spec, 1, 50, at(0)).replicas, 5);
    memory.scaled(&spec, (1, 5), at(0));
    let again = memory.limit(&spec, 5, 50, at(10));
    assert_eq!((again.replicas, again.limit.0), (5, "ScaleUpLimit"), "the four are used up");
    assert_eq!(memory.limit(&spec, 5, 50, at(15)).replicas, 10);
    assert_eq!(memory.limit(&spec, 50, 60, at(60)).replicas, 60);
}

#[test]
fn policies_and_windows_of_the_spec_are_kept() {
    let slow = json!({
        "scaleUp": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Min", "policies": [
            {"type": "Percent", "value": 50, "periodSeconds": 60}, {"type": "Pods", "value": 2, "periodSeconds": 60}]},
    });
    let (slow, mut memory) = (spec(slow), Memory::default());
    memory.begin(4, at(0));
    let first = memory.limit(&slow, 4, 8, at(10));
    assert_eq!((first.replicas, first.able.0), (4, "ScaleUpStabilized"), "it asked for 4 a moment ago");
    assert_eq!(memory.limit(&slow, 4, 8, at(70)).replicas, 5, "one a minute");
    memory.scaled(&slow, (4, 5), at(70));
    assert_eq!(memory.limit(&slow, 5, 8, at(100)).replicas, 5);
    let mut memory = Memory::default();
    assert_eq!(memory.limit(&slow, 10, 1, at(0)).replicas, 8, "the smaller step of the two");
    memory.scaled(&slow, (10, 8), at(0));
    let more = memory.limit(&slow, 8, 1, at(30));
    assert_eq!((more.replicas, more.limit.0), (8, "ScaleDownLimit"));
    assert_eq!(memory.limit(&slow, 8, 1, at(60)).replicas, 6);
    let never = spec(json!({"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}}));
    assert_eq!(Memory::default().limit(&never, 10, 1, at(0)).replicas, 10);
}
