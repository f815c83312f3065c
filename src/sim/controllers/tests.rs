//! The control loops together, on a whole embedded cluster in paused time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use kube::api::EvictParams;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::views::{Pod, View};
use super::{Config, Controllers, node_lifecycle, spawn};
use crate::sim::manifests::{self, CRASH_AFTER, KUBELET, SHUTDOWN, STARTUP};
use crate::sim::store::{DeleteOptions, EventType, Kind, Object, Selector, Store, Subscription};
use crate::sim::{Sim, SimConfig};

struct World {
    sim: Sim,
    _controllers: Controllers,
}

fn start_with(seed: u64, nodes: usize, objects: &[Value]) -> World {
    let sim = Sim::new(&SimConfig { seed, ..SimConfig::default() });
    sim.apply_manifests(&manifests::default_nodes(nodes)).unwrap();
    sim.apply_manifests(objects).unwrap();
    let controllers = spawn(sim.store(), Config { seed, ..Config::default() });
    World { sim, _controllers: controllers }
}

fn start(nodes: usize, objects: &[Value]) -> World {
    start_with(7, nodes, objects)
}

/// A Deployment `web` with a readiness probe every second and two seconds to start up.
fn deployment(replicas: i64, strategy: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "annotations": {"team": "shop"}},
        "spec": {
            "replicas": replicas, "strategy": strategy, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {STARTUP: "2s", SHUTDOWN: "1s"}},
                "spec": {"containers": [{
                    "name": "app", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }]},
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    })
}

fn budget(spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "default"}, "spec": spec,
    })
}

impl World {
    fn store(&self) -> &Store {
        self.sim.store()
    }

    fn pods(&self) -> Vec<Pod> {
        let pods = self.store().list(&Kind::POD, Some("default"), &Selector::everything());
        pods.into_iter().map(|o| View::new(o).unwrap()).collect()
    }

    fn ready(&self) -> usize {
        self.pods().iter().filter(|p| p.ready() && !p.terminating()).count()
    }

    fn value(&self, kind: &Kind, name: &str) -> Value {
        let namespace = if kind.namespaced { "default" } else { "" };
        self.store().get(kind, namespace, name).map_or(Value::Null, |o| o.to_value())
    }

    fn change(&self, kind: &Kind, name: &str, change: impl FnOnce(&mut Value)) {
        let namespace = if kind.namespaced { "default" } else { "" };
        self.store()
            .modify(kind, namespace, name, |object| {
                let mut value = object.to_value();
                change(&mut value);
                *object = Object::from_value(kind.clone(), value)?;
                Ok(())
            })
            .unwrap();
    }

    fn kill(&self, name: &str, grace: i64) {
        let options = DeleteOptions { grace_period_seconds: Some(grace), ..DeleteOptions::default() };
        self.store().delete(&Kind::POD, "default", name, &options).unwrap();
    }

    fn addresses(&self) -> usize {
        let endpoints = self.value(&Kind::ENDPOINTS, "web");
        endpoints["subsets"][0]["addresses"].as_array().map_or(0, Vec::len)
    }

    async fn until_ready(&self, count: usize) -> Duration {
        let from = Instant::now();
        while self.ready() != count {
            assert!(from.elapsed() < Duration::from_secs(600), "never {count} ready: {}", self.ready());
            sleep(Duration::from_millis(10)).await;
        }
        from.elapsed()
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

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
    let amount = |v: &Value| serde_json::from_value::<super::views::IntOrPercent>(v.clone()).unwrap();
    let (surge, unavailable) =
        super::deployment::fenceposts(&amount(&surge), &amount(&unavailable), replicas);
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

#[tokio::test(start_paused = true)]
async fn a_namespace_loses_its_pods_first_and_then_everything() {
    let mut object = deployment(2, json!({}));
    object["metadata"]["namespace"] = json!("shop");
    object["spec"]["template"]["metadata"]["annotations"][SHUTDOWN] = json!("5s");
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}});
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let world = start(2, &[shop, object, map]);
    sleep(seconds(10)).await;
    let store = world.store();
    assert!(store.get(&Kind::SERVICE_ACCOUNT, "shop", "default").is_some());
    store.delete(&Kind::NAMESPACE, "", "shop", &DeleteOptions::default()).unwrap();
    sleep(seconds(3)).await;
    let pods = store.list(&Kind::POD, Some("shop"), &Selector::everything());
    assert!(pods.len() == 2 && pods.iter().all(|p| p.terminating()), "{pods:?}");
    assert!(
        store.get(&Kind::CONFIG_MAP, "shop", "c").is_some_and(|c| !c.terminating()),
        "not before the pods"
    );
    sleep(seconds(5)).await;
    assert!(store.get(&Kind::NAMESPACE, "", "shop").is_none());
    for kind in
        [Kind::POD, Kind::DEPLOYMENT, Kind::REPLICA_SET, Kind::CONFIG_MAP, Kind::SERVICE_ACCOUNT, Kind::EVENT]
    {
        assert!(store.list(&kind, Some("shop"), &Selector::everything()).is_empty(), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_deployment_owns_goes_with_it_in_the_background_foreground_or_not_at_all() {
    use crate::sim::store::Propagation;
    for propagation in [Propagation::Background, Propagation::Foreground, Propagation::Orphan] {
        let world = start(2, &[deployment(2, json!({}))]);
        world.until_ready(2).await;
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        world.store().delete(&Kind::DEPLOYMENT, "default", "web", &options).unwrap();
        sleep(seconds(10)).await;
        assert!(world.store().get(&Kind::DEPLOYMENT, "default", "web").is_none(), "{propagation:?}");
        let left = (world.store().count(&Kind::REPLICA_SET), world.pods().len());
        assert_eq!(left, if propagation == Propagation::Orphan { (1, 2) } else { (0, 0) }, "{propagation:?}");
    }
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

/// The loops on the ordinary runtime, in real time: what serving the cluster on a port needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_also_runs_in_real_time() {
    let mut object = deployment(3, json!({}));
    object["spec"]["template"]["metadata"]["annotations"][STARTUP] = json!("0s");
    object["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("readinessProbe");
    let world = start(3, &[object, service()]);
    let took = world.until_ready(3).await;
    assert!(took >= Duration::from_millis(600), "{took:?}");
    for _ in 0..500 {
        if world.addresses() == 3 {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("no endpoints: {}", world.value(&Kind::ENDPOINTS, "web"));
}

/// Everything that happened, in order, with its instant.
fn trace(seed: u64) -> Vec<String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut objects = vec![deployment(6, json!({})), service(), budget(json!({"maxUnavailable": 1}))];
        objects[0]["spec"]["template"]["metadata"]["annotations"][manifests::STARTUP_JITTER] = json!("3s");
        let world = start_with(seed, 3, &objects);
        let (_, mut events) = world.store().list_and_subscribe_everything();
        sleep(seconds(10)).await;
        world.kill(world.pods()[2].name(), 0);
        world.change(&Kind::NODE, "node-2", |n| n["spec"]["unschedulable"] = json!(true));
        sleep(seconds(10)).await;
        world.change(&Kind::DEPLOYMENT, "web", |d| {
            d["spec"]["template"]["spec"]["containers"][0]["image"] = json!("w:2")
        });
        sleep(seconds(120)).await;
        let mut out = Vec::new();
        while let Some(event) = events.try_next() {
            out.push(format!("{:?} {}", event.kind, serde_json::to_string(&*event.object).unwrap()));
        }
        out
    })
}

#[test]
fn one_seed_gives_one_trace() {
    let first = trace(11);
    assert!(first.len() > 100, "{}", first.len());
    for run in 1..20 {
        let again = trace(11);
        let differs = first.iter().zip(&again).find(|(a, b)| a != b);
        assert!(differs.is_none() && first.len() == again.len(), "run {run}: {differs:?}");
    }
    assert_ne!(first, trace(12), "another seed, other names");
}

/// An hour with 100 nodes, 1,000 pods and a kill every ten seconds; the figure is printed, not judged.
#[test]
fn an_hour_with_a_thousand_pods() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let begun = wall_seconds();
    let (kills, version) = runtime.block_on(async {
        let mut objects = Vec::new();
        for n in 0..50 {
            let (mut web, mut svc) = (deployment(20, json!({})), service());
            let name = format!("web-{n}");
            for object in [&mut web, &mut svc] {
                object["metadata"]["name"] = json!(name);
            }
            web["spec"]["selector"]["matchLabels"]["app"] = json!(name);
            web["spec"]["template"]["metadata"]["labels"]["app"] = json!(name);
            svc["spec"]["selector"]["app"] = json!(name);
            objects.extend([web, svc]);
        }
        let world = start(100, &objects);
        sleep(seconds(30)).await;
        assert_eq!(world.ready(), 1000);
        let mut kills = 0;
        while kills < 357 {
            let pods = world.store().list(&Kind::POD, Some("default"), &Selector::everything());
            world.kill(&pods[(kills * 37) % pods.len()].meta.name.clone(), 0);
            kills += 1;
            sleep(seconds(10)).await;
        }
        assert_eq!(world.ready(), 1000);
        (kills, world.store().version())
    });
    println!(
        "an hour, 100 nodes, 1,000 pods, {kills} kills, {version} writes: {:.2} s",
        wall_seconds() - begun
    );
}

/// Real time, for the figure above only.
#[allow(clippy::disallowed_methods, reason = "a measurement of real time")]
fn wall_seconds() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |d| d.as_secs_f64())
}
