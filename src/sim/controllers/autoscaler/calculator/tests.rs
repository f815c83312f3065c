//! The documented examples, and what must hold for any pods.

use super::*;
use crate::sim::controllers::views::View;
use crate::sim::store::{Kind, Object};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

const CPU: Goal = Goal::Utilization(50);

fn ready(used: i64) -> Counted {
    Counted { standing: Standing::Ready, used, request: 1000 }
}

fn other(standing: Standing) -> Counted {
    Counted { standing, used: 0, request: 1000 }
}

fn replicas(current: i64, goal: Goal, pods: &[Counted]) -> i64 {
    propose(current, goal, pods, Tolerance::default()).expect("metrics").replicas
}

/// "If the current metric value is 200m, and the desired value is 100m, the number of replicas will be doubled … if
/// the current value is instead 50m, halved" (docs, Horizontal Pod Autoscaling, Algorithm details).
#[test]
fn the_documented_examples() {
    let value = Goal::AverageValue(100);
    assert_eq!(replicas(3, value, &[ready(200); 3]), 6);
    assert_eq!(replicas(4, value, &[ready(50); 4]), 2);
    assert_eq!(replicas(3, value, &[ready(110); 3]), 3, "within the tolerance of 0.1");
    assert_eq!(replicas(3, value, &[ready(111); 3]), 4);
    assert_eq!(replicas(10, value, &[ready(90); 10]), 10);
    assert_eq!(replicas(10, value, &[ready(89); 10]), 9);
}

#[test]
fn utilization_is_the_share_of_all_requests() {
    let pods = [ready(900), ready(500), ready(700)];
    let proposal = propose(3, CPU, &pods, Tolerance::default()).unwrap();
    assert_eq!(proposal, Proposal { replicas: 5, utilization: Some(70), average: 700 });
}

/// The cases of the docs: not-ready pods count as 0 % when there is need for more; missing ones as 100 % when for less
/// and as 0 % when for more.
#[test]
fn pods_that_say_nothing_only_damp() {
    assert_eq!(replicas(3, CPU, &[ready(1000), ready(1000), other(Standing::Unready)]), 4, "133 % of 3");
    assert_eq!(replicas(3, CPU, &[ready(1000), ready(1000), other(Standing::Missing)]), 4);
    assert_eq!(replicas(3, CPU, &[ready(600), ready(600), other(Standing::Missing)]), 3, "would turn");
    assert_eq!(replicas(4, CPU, &[ready(100), ready(100), ready(100), other(Standing::Missing)]), 3);
    assert_eq!(replicas(2, CPU, &[ready(100), other(Standing::Missing)]), 2, "would turn upwards");
    assert_eq!(
        replicas(4, CPU, &[ready(100), ready(100), other(Standing::Unready)]),
        1,
        "not needed for less"
    );
    assert_eq!(replicas(3, CPU, &[ready(1000), other(Standing::Ignored)]), 2, "of the one that counts");
}

#[test]
fn without_a_ready_pod_or_a_request_nothing_is_computed() {
    let tolerance = Tolerance::default();
    assert!(propose(1, CPU, &[other(Standing::Missing)], tolerance).unwrap_err().contains("unready"));
    let none = Counted { standing: Standing::Ready, used: 5, request: 0 };
    assert_eq!(propose(1, CPU, &[none], tolerance).unwrap_err(), "no metrics returned matched known pods");
}

fn pod(phase: &str, started: i64, ready: (&str, i64)) -> Pod {
    let at = |second: i64| Timestamp::from_second(second).unwrap().to_string();
    let value: Value = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {},
        "status": {"phase": phase, "startTime": at(started),
            "conditions": [{"type": "Ready", "status": ready.0, "lastTransitionTime": at(ready.1)}]}});
    View::new(Arc::new(Object::from_value(Kind::POD, value).unwrap())).unwrap()
}

#[test]
fn a_starting_pod_counts_after_its_first_whole_window_ready() {
    let sampled =
        |at| Some(Sampled { at: Timestamp::from_second(at).unwrap(), window: Duration::from_secs(15) });
    let of = |pod: &Pod, at, cpu| standing(pod, sampled(at), cpu, Timestamp::from_second(at).unwrap());
    let fresh = pod("Running", 1000, ("True", 1010));
    assert_eq!(of(&fresh, 1024, true), Standing::Unready, "the sample reaches back to before");
    assert_eq!(of(&fresh, 1025, true), Standing::Ready);
    assert_eq!(of(&fresh, 1024, false), Standing::Ready, "only CPU has to warm up");
    let broken = pod("Running", 1000, ("False", 1200));
    assert_eq!(of(&broken, 1250, true), Standing::Unready, "within five minutes of the start");
    assert_eq!(of(&broken, 1300, true), Standing::Ready, "it was ready once, so its sample counts");
    let never = pod("Running", 1000, ("False", 1001));
    assert_eq!(of(&never, 2000, true), Standing::Unready);
    let now = Timestamp::from_second(2000).unwrap();
    assert_eq!(standing(&pod("Pending", 1000, ("False", 1000)), None, true, now), Standing::Unready);
    assert_eq!(standing(&fresh, None, true, now), Standing::Missing);
    assert_eq!(standing(&pod("Failed", 1000, ("False", 1000)), None, true, now), Standing::Ignored);
}

proptest! {
    /// With every pod ready the answer is the formula of the docs, `ceil(current * ratio)`, outside the tolerance.
    #[test]
    fn all_ready_is_the_formula(used in prop::collection::vec(0_i64..5000, 1..30), target in 1_i64..3000) {
        let pods: Vec<Counted> = used.iter().map(|u| ready(*u)).collect();
        let current = pods.len() as i64;
        let average = used.iter().sum::<i64>() / current;
        let ratio = average as f64 / target as f64;
        let expected =
            if (1.0 - ratio).abs() <= 0.1 { current } else { (current as f64 * ratio).ceil() as i64 };
        prop_assert_eq!(replicas(current, Goal::AverageValue(target), &pods), expected);
    }

    /// Pods without a sample never make the change larger, nor turn it.
    #[test]
    fn silence_never_widens(used in prop::collection::vec(0_i64..5000, 1..20), missing in 0_usize..20) {
        let mut pods: Vec<Counted> = used.iter().map(|u| ready(*u)).collect();
        let loud = replicas(pods.len() as i64, CPU, &pods);
        let (few, all) = (pods.len() as i64, (pods.len() + missing) as i64);
        pods.extend(std::iter::repeat_n(other(Standing::Missing), missing));
        let damped = replicas(all, CPU, &pods);
        // Utilization counts in whole percents, so one pod may come of rounding.
        let damps = if loud > few { (all..=all.max(loud + 1)).contains(&damped) } else { damped <= all };
        prop_assert!(damps, "{loud} of {few} became {damped} of {all}");
    }
}
