//! Drains under PodDisruptionBudgets.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_drain_moves_every_pod_and_never_goes_below_the_budget() {
    let world = start(3, &[deployment(9, json!({})), budget(json!({"maxUnavailable": 2}))]);
    world.until_ready(9).await;
    sleep(seconds(2)).await;
    let mut events = world.store().subscribe(&Kind::POD);
    world.change(&Kind::NODE, "node-1", |n| n["spec"]["unschedulable"] = json!(true));
    sleep(Duration::from_millis(20)).await;
    let node = world.value(&Kind::NODE, "node-1");
    assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/unschedulable");
    let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(world.sim.client(), "default");
    let displaced: Vec<String> =
        world.store().pods_on("node-1").iter().map(|p| p.meta.name.clone()).collect();
    assert_eq!(displaced.len(), 3);
    let mut refused = 0;
    for name in &displaced {
        loop {
            match api.evict(name, &EvictParams::default()).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 429 => refused += 1,
                Err(error) => panic!("{error}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(refused > 0, "the third had to wait for the budget");
    world.until_ready(9).await;
    sleep(seconds(3)).await;
    assert!(world.store().pods_on("node-1").is_empty());
    never_below(&mut events, 9, 7);
    world.change(&Kind::NODE, "node-1", |n| drop(n["spec"].as_object_mut().unwrap().remove("unschedulable")));
    sleep(Duration::from_millis(20)).await;
    assert!(
        world.value(&Kind::NODE, "node-1")["spec"].get("taints").is_none(),
        "the taint goes with the cordon"
    );
}

/// Replays pod events from a state of `ready` untouched pods.
fn never_below(events: &mut Subscription, ready: i64, minimum: i64) {
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    let (mut untouched, mut least) = (ready, ready);
    while let Some(event) = events.try_next() {
        let name = event.object.meta.name.clone();
        if event.previous.is_some() && !known.contains_key(&name) {
            untouched -= 1;
        }
        let pod: Pod = View::new(event.object).unwrap();
        known.insert(name, event.kind != EventType::Deleted && pod.active() && pod.ready());
        least = least.min(untouched + known.values().filter(|ready| **ready).count() as i64);
    }
    assert!(least >= minimum, "{least} ready, {minimum} needed");
    assert!(least < ready, "something was disrupted");
}

#[tokio::test(start_paused = true)]
async fn budgets_are_those_of_the_disruption_controller() {
    // (budget, pods, allowed, desired, expected), worked out by hand from disruption.go.
    let table = [
        (json!({"maxUnavailable": 1}), 4, 1, 3, 4),
        (json!({"maxUnavailable": 0}), 4, 0, 4, 4),
        (json!({"maxUnavailable": "25%"}), 5, 2, 3, 5),
        (json!({"maxUnavailable": "1%"}), 5, 1, 4, 5),
        (json!({"maxUnavailable": "100%"}), 5, 5, 0, 5),
        (json!({"maxUnavailable": 9}), 4, 4, 0, 4),
        (json!({"minAvailable": 3}), 4, 1, 3, 4),
        (json!({"minAvailable": 9}), 4, 0, 9, 4),
        (json!({"minAvailable": "50%"}), 5, 2, 3, 5),
        (json!({"minAvailable": "100%"}), 5, 0, 5, 5),
        (json!({"minAvailable": "0%"}), 5, 5, 0, 5),
    ];
    for (spec, replicas, allowed, desired, expected) in table {
        let world = start(3, &[deployment(replicas, json!({})), budget(spec.clone())]);
        sleep(seconds(10)).await;
        let status = world.value(&Kind::POD_DISRUPTION_BUDGET, "web")["status"].clone();
        let got =
            ["disruptionsAllowed", "desiredHealthy", "expectedPods"].map(|n| status[n].as_i64().unwrap());
        assert_eq!(got, [allowed, desired, expected], "{spec} of {replicas}: {status}");
        assert_eq!(
            (status["currentHealthy"].as_i64(), status["observedGeneration"].as_i64()),
            (Some(replicas), Some(1))
        );
        let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
        assert_eq!(status["conditions"][0]["reason"], reason);
    }
}

#[tokio::test(start_paused = true)]
async fn an_eviction_whose_delete_failed_holds_its_slot_for_two_minutes() {
    let world = start(3, &[deployment(4, json!({})), budget(json!({"maxUnavailable": 1}))]);
    world.until_ready(4).await;
    sleep(seconds(2)).await;
    let (pod, now) = (world.pods()[0].name().to_owned(), world.store().now().to_string());
    world.change(&Kind::POD_DISRUPTION_BUDGET, "web", |b| {
        b["status"]["disruptedPods"] = json!({pod.clone(): now});
        b["status"]["disruptionsAllowed"] = json!(0);
    });
    sleep(seconds(110)).await;
    assert_eq!(world.value(&Kind::POD_DISRUPTION_BUDGET, "web")["status"]["disruptionsAllowed"], 0);
    sleep(seconds(15)).await;
    let status = world.value(&Kind::POD_DISRUPTION_BUDGET, "web")["status"].clone();
    assert_eq!(status["disruptionsAllowed"], 1);
    assert!(status.get("disruptedPods").is_none(), "{status}");
}
