use super::*;
use crate::sim::controllers::views::{Container, ExecAction, PreStop, Probe, SleepAction, View};
use crate::sim::store::{Kind, Object};
use serde_json::json;
use std::sync::Arc;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_container_is_ready_at_the_first_probe_that_finds_it_answering() {
    // (initialDelaySeconds, periodSeconds, successThreshold, answers after ms) → ready after ms.
    for (delay, period, successes, answers, expected) in [
        (0, 10, 1, 2_000, 10_000),
        (0, 1, 1, 2_000, 2_000),
        (0, 1, 1, 2_001, 3_000),
        (5, 10, 1, 2_000, 5_000),
        (5, 10, 3, 2_000, 25_000),
        (1, 3, 2, 8_000, 13_000),
        (0, 1, 1, 0, 0),
    ] {
        let probe = Probe {
            initial_delay_seconds: delay,
            period_seconds: Some(period),
            success_threshold: Some(successes),
            ..Probe::default()
        };
        let container = Container { readiness_probe: Some(probe), ..Container::default() };
        assert_eq!(
            ready_after(&container, ms(answers)),
            ms(expected),
            "{delay} {period} {successes} {answers}"
        );
    }
    assert_eq!(ready_after(&Container::default(), ms(5_000)), ms(0), "without a probe: when it runs");
}

#[test]
fn a_pre_stop_hook_takes_what_it_sleeps() {
    let exec = |words: &[&str]| PreStop {
        exec: Some(ExecAction { command: words.iter().map(|w| (*w).to_owned()).collect() }),
        sleep: None,
    };
    assert_eq!(pre_stop(&PreStop { sleep: Some(SleepAction { seconds: 7 }), exec: None }), ms(7_000));
    assert_eq!(pre_stop(&exec(&["sleep", "5"])), ms(5_000));
    assert_eq!(pre_stop(&exec(&["/bin/sh", "-c", "sleep 15"])), ms(15_000));
    assert_eq!(pre_stop(&exec(&["nginx", "-s", "quit"])), ms(0));
    assert_eq!(pre_stop(&exec(&["sleep", "now"])), ms(0));
    assert_eq!(pre_stop(&PreStop::default()), ms(0));
}

fn pod(deleting: Option<i64>, shutdown: &str) -> Pod {
    let mut value = json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "annotations": {"sim.firedrill.dev/shutdown": shutdown}},
        "spec": {"nodeName": "a", "restartPolicy": "Always", "containers": [{"name": "app", "image": "app:1"}]},
        "status": {"phase": "Pending"},
    });
    if let Some(grace) = deleting {
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
        value["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    }
    View::new(Arc::new(Object::from_value(Kind::POD, value).unwrap())).unwrap()
}

fn at(start: Instant, offset: Duration) -> Present {
    let time = Timestamp::from_millisecond(1_767_225_600_000 + offset.as_millis() as i64).unwrap();
    Present { instant: start + offset, time }
}

fn status(step: &Step) -> Value {
    let last = step.actions.iter().rev().find_map(|a| match a {
        Action::Status(_, status) => Some(status.clone()),
        _ => None,
    });
    last.unwrap_or_default()
}

/// A worker whose pod has run for ten seconds.
fn running(start: Instant, shutdown: &str) -> Worker {
    let (mut worker, _) = Worker::new(&pod(None, shutdown), Some("10.244.0.2".into()), 1, at(start, ms(0)));
    let step = worker.step(&pod(None, shutdown), at(start, ms(10_000)), &Surroundings::default());
    let status = status(&step);
    assert_eq!((&status["phase"], &status["podIP"]), (&json!("Running"), &json!("10.244.0.2")));
    assert_eq!(status["containerStatuses"][0]["ready"], true);
    let image = status["containerStatuses"][0]["imageID"].as_str().unwrap();
    assert!(image.starts_with("docker.io/library/app@sha256:") && image.len() == 29 + 64, "{image}");
    worker
}

#[tokio::test(start_paused = true)]
async fn a_pod_stops_when_its_application_has_or_when_its_grace_ends() {
    let start = Instant::now();
    // (shutdown, grace) → stopped after, exit code.
    for (shutdown, grace, after, code) in [("3s", 30, 3_000, 0), ("60s", 30, 30_000, 137), ("0s", 30, 0, 0)] {
        let mut worker = running(start, shutdown);
        let deleted = pod(Some(grace), shutdown);
        let step = worker.step(&deleted, at(start, ms(10_000)), &Surroundings::default());
        assert_eq!(step.done, after == 0, "{shutdown}");
        if after > 0 {
            assert_eq!(step.next, Some(start + ms(10_000 + after)));
        }
        let step = worker.step(&deleted, at(start, ms(10_000 + after)), &Surroundings::default());
        assert!(step.done);
        let state = status(&step)["containerStatuses"][0]["state"]["terminated"].clone();
        assert_eq!(state["exitCode"], code, "{shutdown}");
        assert!(matches!(step.actions.last(), Some(Action::Delete(_, Some(0)))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_fails_when_it_has_been_active_for_longer_than_it_may() {
    let start = Instant::now();
    let mut value = pod(None, "3s").object.to_value();
    value["spec"]["activeDeadlineSeconds"] = json!(60);
    value["spec"]["terminationGracePeriodSeconds"] = json!(1);
    let limited: Pod = View::new(Arc::new(Object::from_value(Kind::POD, value).unwrap())).unwrap();
    let (mut worker, _) = Worker::new(&limited, None, 1, at(start, ms(0)));
    let step = worker.step(&limited, at(start, ms(10_000)), &Surroundings::default());
    assert_eq!((&status(&step)["phase"], step.next), (&json!("Running"), Some(start + ms(60_000))));
    let step = worker.step(&limited, at(start, ms(60_000)), &Surroundings::default());
    assert_eq!(step.next, Some(start + ms(61_000)), "its grace is a second");
    let step = worker.step(&limited, at(start, ms(61_000)), &Surroundings::default());
    let ended = status(&step);
    assert!(step.done);
    assert_eq!((&ended["phase"], &ended["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
}

#[tokio::test(start_paused = true)]
async fn a_shorter_grace_cuts_a_stop_short() {
    let start = Instant::now();
    let mut worker = running(start, "60s");
    let step = worker.step(&pod(Some(60), "60s"), at(start, ms(10_000)), &Surroundings::default());
    assert_eq!(step.next, Some(start + ms(70_000)));
    let step = worker.step(&pod(Some(2), "60s"), at(start, ms(15_000)), &Surroundings::default());
    assert_eq!(step.next, Some(start + ms(17_000)));
}

#[tokio::test(start_paused = true)]
async fn an_annotation_that_cannot_be_read_is_an_event_and_the_default() {
    let (worker, actions) = Worker::new(&pod(None, "soon"), None, 1, at(Instant::now(), ms(0)));
    assert_eq!(worker.behaviour, Behaviour::default());
    let Some(Action::Event(note)) = actions.first() else { panic!("{actions:?}") };
    assert!(note.warning && note.message.contains("sim.firedrill.dev/shutdown"), "{note:?}");
}
