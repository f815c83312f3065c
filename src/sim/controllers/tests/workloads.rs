//! Deployments and StatefulSets, their pods and their rollouts.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_ready_and_says_so_as_kubernetes_does() {
    let world = start(3, &[deployment(3, json!({})), service()]);
    let took = world.until_ready(3).await;
    // 600 ms to create, then the probe of the second second.
    assert!(took > Duration::from_millis(2600) && took < Duration::from_millis(2800), "{took:?}");
    sleep(seconds(1)).await;
    let web = world.value(&Kind::DEPLOYMENT, "web");
    let status = &web["status"];
    for name in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        assert_eq!(status[name], 3, "{name} in {status}");
    }
    assert_eq!(status["observedGeneration"], web["metadata"]["generation"]);
    assert!(status.get("unavailableReplicas").is_none(), "zero is left out");
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    let conditions: BTreeMap<&str, &str> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["type"].as_str().unwrap(), c["reason"].as_str().unwrap()))
        .collect();
    let expected = BTreeMap::from([
        ("Available", "MinimumReplicasAvailable"),
        ("Progressing", "NewReplicaSetAvailable"),
    ]);
    assert_eq!(conditions, expected);
    let sets = world.store().list(&Kind::REPLICA_SET, None, &Selector::everything());
    assert_eq!(sets.len(), 1);
    assert_eq!(
        sets[0].meta.annotations.get("team").map(String::as_str),
        Some("shop"),
        "annotations are copied"
    );
    assert_eq!(world.addresses(), 3);
    let nodes: std::collections::BTreeSet<String> =
        world.pods().iter().map(|p| p.spec.node_name.clone()).collect();
    assert_eq!(nodes.len(), 3, "one a node");
    let slices = world.store().list(&Kind::ENDPOINT_SLICE, None, &Selector::everything());
    let endpoints: Value = slices[0].field("endpoints").unwrap();
    assert_eq!(endpoints.as_array().unwrap().len(), 3);
    assert!(endpoints[0]["zone"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_killed_pod_leaves_the_endpoints_at_once_and_is_replaced() {
    let world = start(3, &[deployment(3, json!({})), service()]);
    world.until_ready(3).await;
    sleep(seconds(5)).await;
    let victim = world.pods()[0].name().to_owned();
    world.kill(&victim, 0);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(
        (world.addresses(), world.pods().len()),
        (2, 3),
        "the replacement is there, not yet an endpoint"
    );
    let took = world.until_ready(3).await;
    assert!(took > Duration::from_millis(2500) && took < seconds(3), "{took:?}");
    let second = world.pods()[0].name().to_owned();
    world.kill(&second, 30);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(
        (world.addresses(), world.pods().len()),
        (2, 4),
        "terminating and its replacement side by side"
    );
    sleep(seconds(1)).await;
    assert_eq!(world.pods().len(), 3, "gone after the second that it takes to shut down");
}

/// Follows pods and Deployment and holds the promises of a rolling update at every event.
async fn roll_and_watch(replicas: i64, surge: Value, unavailable: Value, minimum: i64) {
    let strategy =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    let mut object = deployment(replicas, strategy);
    object["spec"]["minReadySeconds"] = json!(minimum);
    let world = start(5, &[object]);
    sleep(seconds(30)).await;
    assert_eq!(world.ready() as i64, replicas);
    let amount = |v: &Value| {
        serde_json::from_value::<crate::sim::controllers::views::IntOrPercent>(v.clone()).unwrap()
    };
    let (surge, unavailable) =
        crate::sim::controllers::deployment::fenceposts(&amount(&surge), &amount(&unavailable), replicas);
    let mut events = world.store().subscribe(&Kind::POD);
    world.change(&Kind::DEPLOYMENT, "web", |d| {
        d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2")
    });
    sleep(seconds(120 + 20 * u64::try_from(replicas).unwrap() * u64::try_from(minimum + 1).unwrap())).await;
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    let mut changes = 0;
    // Pods as of the start of the roll are reconstructed from `previous` of the first event about each.
    let mut untouched = replicas;
    while let Some(event) = events.try_next() {
        let name = event.object.meta.name.clone();
        if !pods.contains_key(&name) && event.previous.is_some() {
            untouched -= 1;
        }
        match event.kind {
            EventType::Deleted => {
                pods.insert(name, View::new(gone(&event.object)).unwrap());
            }
            _ => drop(pods.insert(name, View::new(event.object).unwrap())),
        }
        changes += 1;
        let active = pods.values().filter(|p| p.active()).count() as i64 + untouched;
        let ready = pods.values().filter(|p| p.active() && p.ready()).count() as i64 + untouched;
        assert!(active <= replicas + surge, "{active} pods, {replicas} + {surge} allowed");
        assert!(ready >= replicas - unavailable, "{ready} ready, {replicas} - {unavailable} needed");
    }
    assert!(changes > 3 * replicas, "the update happened");
    assert!(world.pods().iter().all(|p| p.spec.containers[0].image == "web:2"));
    assert_eq!(world.ready() as i64, replicas);
    assert_eq!(world.value(&Kind::DEPLOYMENT, "web")["status"]["updatedReplicas"], replicas);
}

/// A removed pod counts neither as active nor as ready.
fn gone(object: &Object) -> std::sync::Arc<Object> {
    let mut object = object.clone();
    object.set_value("status", &json!({"phase": "Succeeded"}));
    std::sync::Arc::new(object)
}

#[test]
fn a_rolling_update_keeps_its_promises_at_every_event() {
    use proptest::prelude::*;
    let amount =
        prop_oneof![(0_i64..4).prop_map(|n| json!(n)), (0_i64..=100).prop_map(|n| json!(format!("{n}%")))];
    let parameters = (1_i64..12, amount.clone(), amount, 0_i64..4);
    proptest!(ProptestConfig::with_cases(24), |((replicas, surge, unavailable, minimum) in parameters)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        // Both zero is refused by the API server's validation.
        let both_zero = [&surge, &unavailable].iter().all(|v| **v == json!(0) || **v == json!("0%"));
        if !both_zero {
            runtime.block_on(roll_and_watch(replicas, surge, unavailable, minimum));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn recreate_has_no_two_revisions_at_once_and_undo_brings_the_old_set_back() {
    let world = start(3, &[deployment(3, json!({"type": "Recreate"}))]);
    world.until_ready(3).await;
    let mut events = world.store().subscribe(&Kind::POD);
    let image =
        |d: &mut Value, image: &str| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    world.change(&Kind::DEPLOYMENT, "web", |d| image(d, "web:2"));
    sleep(seconds(20)).await;
    let mut old = 3;
    while let Some(event) = events.try_next() {
        let new = View::new(event.object.clone()).is_ok_and(|p: Pod| p.spec.containers[0].image == "web:2");
        match (event.kind, new) {
            (EventType::Deleted, false) => old -= 1,
            (EventType::Added, true) => assert_eq!(old, 0, "an old pod is still there"),
            _ => {}
        }
    }
    assert_eq!(world.ready(), 3);
    world.change(&Kind::DEPLOYMENT, "web", |d| image(d, "web:1"));
    sleep(seconds(20)).await;
    let web = world.value(&Kind::DEPLOYMENT, "web");
    assert_eq!(web["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    let sets = world.store().list(&Kind::REPLICA_SET, None, &Selector::everything());
    assert_eq!(sets.len(), 2, "the first set is used again");
    assert!(world.pods().iter().all(|p| p.spec.containers[0].image == "web:1"));
}

#[tokio::test(start_paused = true)]
async fn a_bad_image_never_becomes_ready_and_the_rollout_times_out() {
    let mut object = deployment(4, json!({}));
    object["spec"]["progressDeadlineSeconds"] = json!(60);
    let world = start(3, &[object]);
    world.until_ready(4).await;
    sleep(seconds(5)).await;
    world.change(&Kind::DEPLOYMENT, "web", |d| {
        d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.invalid/web:9");
    });
    sleep(seconds(5)).await;
    let waiting = |world: &World| -> Vec<String> {
        let pods = world.store().list(&Kind::POD, Some("default"), &Selector::everything());
        let reason =
            |o: &Object| o.to_value()["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
        pods.iter().filter_map(|o| reason(o).as_str().map(str::to_owned)).collect()
    };
    assert_eq!(waiting(&world), ["ImagePullBackOff", "ImagePullBackOff"]);
    sleep(seconds(90)).await;
    assert_eq!(world.ready(), 3, "one may be missing, no more");
    let web = world.value(&Kind::DEPLOYMENT, "web");
    let conditions = web["status"]["conditions"].as_array().unwrap().clone();
    assert!(
        conditions.iter().any(|c| c["reason"] == "ProgressDeadlineExceeded" && c["status"] == "False"),
        "{conditions:?}"
    );
    assert_eq!(web["status"]["unavailableReplicas"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_is_restarted_with_a_back_off_that_doubles() {
    let mut object = deployment(1, json!({}));
    object["spec"]["template"]["metadata"]["annotations"][CRASH_AFTER] = json!("5s");
    let world = start(1, &[object]);
    let mut starts: Vec<(i64, Timestamp)> = Vec::new();
    for _ in 0..4000 {
        sleep(Duration::from_millis(100)).await;
        let Some(pod) = world.pods().into_iter().next() else { continue };
        let status = &pod.object.to_value()["status"]["containerStatuses"][0];
        let Some(at) = status["state"]["running"]["startedAt"].as_str() else { continue };
        let restarts = status["restartCount"].as_i64().unwrap();
        if starts.last().is_none_or(|(n, _)| *n != restarts) {
            starts.push((restarts, at.parse().unwrap()));
        }
    }
    let gaps: Vec<i64> = starts.windows(2).map(|w| w[1].1.as_second() - w[0].1.as_second()).collect();
    let expected = [6, 16, 26, 46, 86, 166];
    assert!(gaps.len() >= 5, "{gaps:?}");
    for (gap, expected) in gaps.iter().zip(expected) {
        assert!((gap - expected).abs() <= 1, "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn scaling_down_takes_the_cheapest_then_the_doubled_up() {
    let world = start(3, &[deployment(4, json!({}))]);
    world.until_ready(4).await;
    sleep(seconds(60)).await;
    let doubled: Vec<String> = {
        let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pod in world.pods() {
            by_node.entry(pod.spec.node_name.clone()).or_default().push(pod.name().to_owned());
        }
        by_node.into_values().find(|names| names.len() == 2).unwrap()
    };
    let cheap = world.pods().iter().map(|p| p.name().to_owned()).find(|n| !doubled.contains(n)).unwrap();
    world.change(&Kind::POD, &cheap, |p| {
        p["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = json!("-5");
    });
    let names = |world: &World| -> Vec<String> {
        world.pods().iter().filter(|p| p.active()).map(|p| p.name().to_owned()).collect()
    };
    world.change(&Kind::DEPLOYMENT, "web", |d| d["spec"]["replicas"] = json!(3));
    sleep(seconds(3)).await;
    assert!(!names(&world).contains(&cheap), "the cheapest goes first");
    world.change(&Kind::DEPLOYMENT, "web", |d| d["spec"]["replicas"] = json!(2));
    sleep(seconds(3)).await;
    assert_eq!(names(&world).iter().filter(|n| doubled.contains(n)).count(), 1, "then one of two neighbours");
}

#[tokio::test(start_paused = true)]
async fn a_pod_taken_out_of_service_by_its_label_lives_on_and_is_replaced() {
    let world = start(3, &[deployment(3, json!({})), service()]);
    world.until_ready(3).await;
    let name = world.pods()[0].name().to_owned();
    world.change(&Kind::POD, &name, |p| p["metadata"]["labels"]["app"] = json!("quarantine"));
    sleep(seconds(5)).await;
    assert_eq!((world.ready(), world.addresses()), (4, 3));
    let released = world.pods().into_iter().find(|p| p.name() == name).unwrap();
    assert!(released.controller().is_none() && released.ready());
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_is_made_in_order_and_keeps_its_names() {
    let mut object = deployment(3, json!({}));
    object["kind"] = json!("StatefulSet");
    object["spec"].as_object_mut().unwrap().remove("strategy");
    object["spec"]["serviceName"] = json!("web");
    let world = start(3, &[object]);
    sleep(seconds(4)).await;
    assert_eq!(world.pods().iter().map(|p| p.name().to_owned()).collect::<Vec<_>>(), ["web-0", "web-1"]);
    world.until_ready(3).await;
    let uid = world.pods()[1].uid().to_owned();
    world.kill("web-1", 0);
    sleep(seconds(5)).await;
    assert_eq!((world.pods()[1].name(), world.ready()), ("web-1", 3));
    assert_ne!(world.pods()[1].uid(), uid, "same name, another pod");
    world.change(&Kind::STATEFUL_SET, "web", |s| {
        s["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2")
    });
    sleep(seconds(30)).await;
    assert!(world.pods().iter().all(|p| p.ready() && p.spec.containers[0].image == "web:2"));
    let status = world.value(&Kind::STATEFUL_SET, "web")["status"].clone();
    assert_eq!(
        (&status["readyReplicas"], &status["currentRevision"]),
        (&json!(3), &status["updateRevision"])
    );
}

/// A StatefulSet `web`, or a DaemonSet.
fn of_kind(kind: &str, replicas: i64, spec: Value) -> Value {
    let mut object = deployment(replicas, json!({}));
    object["kind"] = json!(kind);
    let fields = object["spec"].as_object_mut().unwrap();
    fields.remove("strategy");
    if kind == "DaemonSet" {
        fields.remove("replicas");
    } else {
        fields.insert("serviceName".to_owned(), json!("web"));
    }
    json_patch::merge(&mut object["spec"], &spec);
    object
}

/// Image and name of each pod.
fn images(world: &World) -> Vec<(String, String)> {
    let of = |pod: Pod| (pod.name().to_owned(), pod.spec.containers[0].image.clone());
    world.pods().into_iter().map(of).collect()
}

fn release(world: &World, kind: &Kind, image: &str) {
    world.change(kind, "web", |set| set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image));
}

#[tokio::test(start_paused = true)]
async fn a_partition_keeps_lower_ordinals_on_the_former_template_even_when_they_die() {
    let partition = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    let world = start(3, &[of_kind("StatefulSet", 3, partition)]);
    world.until_ready(3).await;
    release(&world, &Kind::STATEFUL_SET, "web:2");
    sleep(seconds(30)).await;
    let names = |image: &str| -> Vec<String> {
        images(&world).into_iter().filter(|(_, of)| of == image).map(|(name, _)| name).collect()
    };
    assert_eq!(
        (names("web:1"), names("web:2")),
        (vec!["web-0".into(), "web-1".into()], vec!["web-2".into()])
    );
    world.kill("web-0", 0);
    world.kill("web-2", 0);
    sleep(seconds(30)).await;
    assert_eq!(world.ready(), 3);
    assert_eq!(
        (names("web:1"), names("web:2")),
        (vec!["web-0".into(), "web-1".into()], vec!["web-2".into()])
    );
    let status = world.value(&Kind::STATEFUL_SET, "web")["status"].clone();
    assert_ne!(status["currentRevision"], status["updateRevision"]);
    assert_eq!((&status["currentReplicas"], &status["updatedReplicas"]), (&json!(2), &json!(1)));
    world.change(&Kind::STATEFUL_SET, "web", |set| {
        set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(0);
    });
    sleep(seconds(30)).await;
    assert_eq!((names("web:2").len(), world.ready()), (3, 3));
    let status = world.value(&Kind::STATEFUL_SET, "web")["status"].clone();
    assert_eq!(status["currentRevision"], status["updateRevision"]);
}

#[tokio::test(start_paused = true)]
async fn a_parallel_stateful_set_starts_at_once_and_updates_as_many_as_may_be_unavailable() {
    let parallel = json!({"podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}});
    let world = start(3, &[of_kind("StatefulSet", 3, parallel)]);
    sleep(seconds(1)).await;
    assert_eq!(world.pods().len(), 3, "nobody waits for anybody");
    world.until_ready(3).await;
    release(&world, &Kind::STATEFUL_SET, "web:2");
    sleep(Duration::from_millis(100)).await;
    let going: Vec<String> =
        world.pods().iter().filter(|pod| pod.terminating()).map(|pod| pod.name().to_owned()).collect();
    assert_eq!(going, ["web-1", "web-2"], "half of three, rounded up, the highest first");
    sleep(seconds(30)).await;
    assert_eq!((images(&world).iter().filter(|(_, image)| image == "web:2").count(), world.ready()), (3, 3));
}

/// Reverting the template does not help a set that waits for its broken pod: the documentation of StatefulSets calls
/// it forced rollback, and somebody has to delete the pod.
#[tokio::test(start_paused = true)]
async fn a_broken_update_of_an_ordered_set_waits_for_somebody_to_delete_its_pod() {
    let world = start(3, &[of_kind("StatefulSet", 3, json!({}))]);
    world.until_ready(3).await;
    release(&world, &Kind::STATEFUL_SET, "registry.invalid/web:2");
    sleep(seconds(60)).await;
    assert_eq!(world.ready(), 2);
    release(&world, &Kind::STATEFUL_SET, "web:1");
    sleep(seconds(300)).await;
    assert_eq!((world.ready(), images(&world)[2].1.as_str()), (2, "registry.invalid/web:2"));
    world.kill("web-2", 0);
    sleep(seconds(30)).await;
    assert_eq!((world.ready(), images(&world)[2].1.as_str()), (3, "web:1"));
}

#[tokio::test(start_paused = true)]
async fn ordinals_may_begin_elsewhere_and_the_highest_go_first() {
    let world = start(3, &[of_kind("StatefulSet", 2, json!({"ordinals": {"start": 5}}))]);
    world.until_ready(2).await;
    let names = |world: &World| images(world).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&world), ["web-5", "web-6"]);
    world.change(&Kind::STATEFUL_SET, "web", |set| set["spec"]["replicas"] = json!(1));
    sleep(seconds(10)).await;
    assert_eq!(names(&world), ["web-5"]);
}

#[tokio::test(start_paused = true)]
async fn daemons_are_replaced_as_many_at_once_as_may_be_unavailable() {
    let most =
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}});
    for (spec, at_once) in [(json!({}), 1), (most, 2)] {
        let world = start(4, &[of_kind("DaemonSet", 0, spec)]);
        world.until_ready(4).await;
        release(&world, &Kind::DAEMON_SET, "web:2");
        let mut least = 4;
        for _ in 0..400 {
            sleep(Duration::from_millis(100)).await;
            least = least.min(world.ready());
        }
        assert_eq!(4 - least, at_once);
        assert!(world.ready() == 4 && images(&world).iter().all(|(_, image)| image == "web:2"));
    }
}

/// Unlike a StatefulSet: old daemons that are down anyway are replaced whatever the budget.
#[tokio::test(start_paused = true)]
async fn a_broken_release_of_daemons_is_taken_back_at_once() {
    let world = start(4, &[of_kind("DaemonSet", 0, json!({}))]);
    world.until_ready(4).await;
    release(&world, &Kind::DAEMON_SET, "registry.invalid/web:2");
    sleep(seconds(120)).await;
    assert_eq!(world.ready(), 3, "it stands still at the first");
    release(&world, &Kind::DAEMON_SET, "web:1");
    sleep(seconds(30)).await;
    assert_eq!(world.ready(), 4);
}

#[tokio::test(start_paused = true)]
async fn with_a_surge_the_new_daemon_is_there_before_the_old_one_goes() {
    let surge = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}});
    let world = start(3, &[of_kind("DaemonSet", 0, surge)]);
    world.until_ready(3).await;
    release(&world, &Kind::DAEMON_SET, "web:2");
    let (mut least, mut most) = (3, 3);
    for _ in 0..400 {
        sleep(Duration::from_millis(100)).await;
        least = least.min(world.ready());
        most = most.max(world.pods().iter().filter(|pod| !pod.terminating()).count());
    }
    assert_eq!((least, most), (3, 4));
    assert!(images(&world).iter().all(|(_, image)| image == "web:2"));
}

/// `progressDeadlineSeconds`, what a kubelet says of an image that is not there, and a pipeline that looks at both.
#[tokio::test(start_paused = true)]
async fn a_release_that_cannot_be_pulled_is_stuck_and_the_pipeline_takes_it_back() {
    let mut object = deployment(4, json!({}));
    object["metadata"]["annotations"]["sim.firedrill.dev/rollback-after"] = json!("30s");
    object["spec"]["progressDeadlineSeconds"] = json!(60);
    let world = start(3, &[object, service()]);
    world.until_ready(4).await;
    sleep(seconds(5)).await;
    let before = world.value(&Kind::DEPLOYMENT, "web");
    world.change(&Kind::DEPLOYMENT, "web", |d| {
        d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.invalid/web:2")
    });
    let reason = |world: &World| -> String {
        let new =
            world.pods().into_iter().find(|p| p.spec.containers[0].image.starts_with("registry.invalid"));
        let status = new.map_or(Value::Null, |pod| pod.object.field("status").unwrap());
        let waiting = &status["containerStatuses"][0]["state"]["waiting"]["reason"];
        waiting.as_str().unwrap_or_default().to_owned()
    };
    sleep(seconds(1)).await;
    assert_eq!(reason(&world), "ErrImagePull");
    sleep(seconds(5)).await;
    assert_eq!((reason(&world).as_str(), world.ready()), ("ImagePullBackOff", 3));
    let progressing = |world: &World| -> String {
        let conditions = world.value(&Kind::DEPLOYMENT, "web")["status"]["conditions"].clone();
        let found = conditions.as_array().unwrap().iter().find(|c| c["type"] == "Progressing").cloned();
        found.unwrap()["reason"].as_str().unwrap().to_owned()
    };
    sleep(seconds(50)).await;
    assert_eq!(progressing(&world), "ReplicaSetUpdated");
    sleep(seconds(10)).await;
    assert_eq!(progressing(&world), "ProgressDeadlineExceeded");
    sleep(seconds(30)).await;
    let after = world.value(&Kind::DEPLOYMENT, "web");
    assert_eq!(after["spec"]["template"], before["spec"]["template"]);
    assert_eq!(after["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    let managers = after["metadata"]["managedFields"].to_string();
    assert!(managers.contains("kubectl-rollout"), "{managers}");
    sleep(seconds(10)).await;
    assert_eq!((progressing(&world).as_str(), world.ready()), ("NewReplicaSetAvailable", 4));
}
