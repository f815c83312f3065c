//! What nodes do to pods.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_says_why_and_is_placed_when_there_is_room() {
    let mut object = deployment(3, json!({}));
    object["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("3");
    let world = start(2, &[object]);
    sleep(seconds(5)).await;
    let pending: Vec<Pod> = world.pods().into_iter().filter(|p| p.spec.node_name.is_empty()).collect();
    assert_eq!(pending.len(), 1);
    let condition = &pending[0].status.conditions[0];
    assert_eq!(condition.reason, "Unschedulable");
    assert_eq!(
        condition.message,
        "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
    );
    let third = manifests::default_nodes(3).remove(2);
    world.sim.apply_manifests(&[third]).unwrap();
    world.until_ready(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_kubelet_is_noticed_after_fifty_seconds_and_its_pods_go_after_five_minutes() {
    let world = start(3, &[deployment(3, json!({})), service()]);
    world.until_ready(3).await;
    sleep(seconds(30)).await;
    let stopped = world.store().now();
    world.change(&Kind::NODE, "node-1", |n| n["metadata"]["annotations"] = json!({KUBELET: "stopped"}));
    sleep(seconds(38)).await;
    let ready =
        |world: &World| world.value(&Kind::NODE, "node-1")["status"]["conditions"][3]["status"].clone();
    assert_eq!((ready(&world), world.addresses()), (json!("True"), 3));
    let node = world.store().get(&Kind::NODE, "", "node-1").unwrap();
    assert!(world.store().get(&Kind::LEASE, node_lifecycle::LEASES, "node-1").is_some());
    let lease = node_lifecycle::lease_spec_as_of(&node, world.store().now());
    let renewed: Timestamp = lease["renewTime"].as_str().unwrap().parse().unwrap();
    assert!(renewed <= stopped && stopped.as_second() - renewed.as_second() <= 10, "{renewed} {stopped}");
    sleep(seconds(14)).await;
    assert_eq!((ready(&world), world.addresses()), (json!("Unknown"), 2));
    let taints = world.value(&Kind::NODE, "node-1")["spec"]["taints"].clone();
    assert_eq!(taints.as_array().unwrap().len(), 2, "{taints}");
    sleep(seconds(290)).await;
    assert_eq!(world.pods().len(), 3, "tolerated for 300 s");
    sleep(seconds(15)).await;
    let terminating: Vec<Pod> = world.pods().into_iter().filter(|p| p.terminating()).collect();
    assert_eq!((terminating.len(), world.ready()), (1, 3), "replaced; nobody can stop the old one");
    sleep(seconds(600)).await;
    assert_eq!(world.pods().len(), 4);
    world.change(&Kind::NODE, "node-1", |n| {
        drop(n["metadata"]["annotations"].as_object_mut().unwrap().remove(KUBELET))
    });
    sleep(seconds(5)).await;
    assert_eq!((ready(&world), world.pods().len()), (json!("True"), 3));
    assert!(world.value(&Kind::NODE, "node-1")["spec"].get("taints").is_none());
}

/// Somebody taints a node, and says nothing of when.
#[tokio::test(start_paused = true)]
async fn a_pod_outlasts_a_taint_for_as_long_as_it_tolerates_it() {
    let mut object = deployment(3, json!({}));
    object["spec"]["template"]["spec"]["tolerations"] =
        json!([{"key": "drill", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]);
    let world = start(3, &[object]);
    world.until_ready(3).await;
    let there = |world: &World, uid: &str| world.pods().iter().any(|p| p.uid() == uid && !p.terminating());
    let first = world.pods().into_iter().find(|p| p.spec.node_name == "node-1").unwrap().uid().to_owned();
    let taint = json!([{"key": "drill", "effect": "NoExecute"}]);
    world.change(&Kind::NODE, "node-1", |n| n["spec"]["taints"] = taint.clone());
    sleep(seconds(55)).await;
    // Another look at the node does not begin the wait anew.
    world.change(&Kind::NODE, "node-1", |n| n["metadata"]["labels"]["seen"] = json!("again"));
    sleep(seconds(4)).await;
    assert!(there(&world, &first));
    sleep(seconds(6)).await;
    assert!(!there(&world, &first), "what comes instead may go there again, for as long");
    world.change(&Kind::NODE, "node-1", |n| drop(n["spec"].as_object_mut().unwrap().remove("taints")));
    // It stays where the taint goes in time.
    world.change(&Kind::NODE, "node-2", |n| n["spec"]["taints"] = taint.clone());
    sleep(seconds(30)).await;
    world.change(&Kind::NODE, "node-2", |n| drop(n["spec"].as_object_mut().unwrap().remove("taints")));
    let before: Vec<String> = world.pods().iter().map(|p| p.uid().to_owned()).collect();
    sleep(seconds(120)).await;
    let after: Vec<String> = world.pods().iter().map(|p| p.uid().to_owned()).collect();
    assert_eq!(before, after);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_runs_on_every_node_a_cordoned_one_too() {
    let mut object = deployment(1, json!({}));
    object["kind"] = json!("DaemonSet");
    object["spec"]
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !["strategy", "replicas"].contains(&name.as_str()));
    let world = start(3, &[object]);
    world.change(&Kind::NODE, "node-2", |n| n["spec"]["unschedulable"] = json!(true));
    world.until_ready(3).await;
    world.sim.apply_manifests(&manifests::default_nodes(4)).unwrap();
    world.until_ready(4).await;
    sleep(seconds(1)).await;
    let status = world.value(&Kind::DAEMON_SET, "web")["status"].clone();
    assert_eq!(
        (&status["desiredNumberScheduled"], &status["numberReady"]),
        (&json!(4), &json!(4)),
        "{status}"
    );
}

#[test]
fn a_running_node_has_renewed_its_lease_within_ten_seconds_whenever_it_is_read() {
    let mut node = Object::new(Kind::NODE, "", "a");
    let start = Timestamp::from_second(1_767_225_600).unwrap();
    node.meta.creation_timestamp = Some(start);
    let mut last = start;
    for tenths in 0..3000_i64 {
        let now = Timestamp::from_millisecond(start.as_millisecond() + tenths * 100).unwrap();
        let renewed: Timestamp =
            node_lifecycle::lease_spec_as_of(&node, now)["renewTime"].as_str().unwrap().parse().unwrap();
        assert!(
            renewed <= now && now.as_millisecond() - renewed.as_millisecond() <= 10_000,
            "{renewed} {now}"
        );
        assert!(renewed >= last, "it never goes back");
        last = renewed;
    }
}
