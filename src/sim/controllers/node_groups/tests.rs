//! A cluster that grows and shrinks, in paused time.

use serde_json::Value;
use tokio::time::sleep;

use super::*;
use crate::sim::controllers::{Config, Controllers, spawn};
use crate::sim::store::{Selector, Store};
use crate::sim::{Sim, SimConfig};

struct World {
    sim: Sim,
    _controllers: Controllers,
}

impl World {
    fn start(seed: u64, objects: &[Value]) -> Self {
        let sim = Sim::new(&SimConfig { seed, ..SimConfig::default() });
        sim.apply_manifests(objects).unwrap();
        let controllers = spawn(sim.store(), Config { seed, ..Config::default() });
        Self { sim, _controllers: controllers }
    }

    fn store(&self) -> &Store {
        self.sim.store()
    }

    fn nodes(&self) -> Vec<String> {
        let nodes = self.store().list(&Kind::NODE, None, &Selector::everything());
        nodes.iter().map(|node| node.meta.name.clone()).collect()
    }

    fn pods(&self) -> Vec<Pod> {
        let pods = self.store().list(&Kind::POD, None, &Selector::everything());
        pods.into_iter().map(|pod| View::new(pod).unwrap()).collect()
    }

    fn ready(&self) -> usize {
        self.pods().iter().filter(|pod| pod.ready()).count()
    }

    fn events(&self, reason: &str) -> Vec<String> {
        let events = self.store().list(&Kind::EVENT, None, &Selector::everything());
        let values = events.iter().map(|event| event.to_value()).filter(|event| event["reason"] == reason);
        values.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn change(&self, kind: &Kind, (namespace, name): (&str, &str), change: impl FnOnce(&mut Value)) {
        let changed = self.store().modify(kind, namespace, name, |object| {
            let mut value = object.to_value();
            change(&mut value);
            *object = Object::from_value(kind.clone(), value)?;
            Ok(())
        });
        changed.unwrap();
    }

    fn scale(&self, replicas: u32) {
        self.change(&Kind::DEPLOYMENT, ("default", "web"), |web| web["spec"]["replicas"] = json!(replicas));
    }
}

/// A node of 2 cores in a group of at most three.
fn node(name: &str, group: &str, zone: &str) -> Value {
    let room = json!({"cpu": "2", "memory": "8Gi", "pods": "110"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {ZONE: zone, HOSTNAME: name}, "annotations": {
            annotations::NODE_GROUP: group, annotations::NODE_GROUP_MIN: "1", annotations::NODE_GROUP_MAX: "3",
            annotations::NODE_PROVISIONING: "60s",
        }},
        "status": {"capacity": room, "allocatable": room},
    })
}

/// A Deployment `web` of so many pods of one core.
fn web(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": "web:1", "resources": {"requests": {"cpu": "1"}}}]},
        }},
    })
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn nodes_come_for_pods_without_room_and_go_ten_minutes_after_nobody_needs_them() {
    let world = World::start(7, &[node("a1", "a", "a"), web(5)]);
    sleep(seconds(9)).await;
    assert_eq!((world.nodes().len(), world.ready()), (1, 2));
    // Seen at the scan after ten seconds; ordered nodes are not ordered again.
    sleep(seconds(50)).await;
    assert_eq!(world.nodes().len(), 1);
    sleep(seconds(20)).await;
    assert_eq!((world.nodes().len(), world.ready()), (3, 5), "{:?}", world.nodes());
    let told = world.events("TriggeredScaleUp");
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], "pod triggered scale-up: [{a 1->3 (max: 3)}]");
    let zones: BTreeSet<String> = world
        .store()
        .list(&Kind::NODE, None, &Selector::everything())
        .iter()
        .map(|node| node.meta.labels[ZONE].clone())
        .collect();
    assert_eq!(zones, BTreeSet::from(["a".to_owned()]));
    world.scale(1);
    sleep(seconds(590)).await;
    assert_eq!(world.nodes().len(), 3);
    sleep(seconds(60)).await;
    assert_eq!((world.nodes().len(), world.ready()), (1, 1), "{:?}", world.nodes());
    sleep(seconds(1800)).await;
    assert_eq!(world.nodes().len(), 1, "never below its minimum");
}

#[tokio::test(start_paused = true)]
async fn a_group_ends_at_its_maximum_and_what_fits_nowhere_is_told_once() {
    let mut huge = web(1);
    huge["metadata"]["name"] = json!("huge");
    huge["spec"]["selector"]["matchLabels"]["app"] = json!("huge");
    huge["spec"]["template"]["metadata"]["labels"]["app"] = json!("huge");
    huge["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("16");
    let world = World::start(7, &[node("a1", "a", "a"), web(9), huge]);
    sleep(seconds(300)).await;
    assert_eq!((world.nodes().len(), world.ready()), (3, 6));
    let told = world.events("NotTriggerScaleUp");
    assert!(told.iter().all(|text| text.contains("no node group has room")) && !told.is_empty(), "{told:?}");
    let pods = world.pods().iter().filter(|pod| !pod.ready()).count();
    assert_eq!(told.len(), pods);
}

#[tokio::test(start_paused = true)]
async fn the_group_that_wastes_least_grows_and_among_equals_the_seed_chooses() {
    let mut large = node("l1", "large", "a");
    large["status"] = json!({"capacity": {"cpu": "16", "memory": "64Gi", "pods": "110"},
        "allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"}});
    // The large node is full, but for less than a pod.
    let world = World::start(7, &[node("s1", "small", "a"), large, web(19)]);
    sleep(seconds(120)).await;
    assert_eq!((world.nodes().len(), world.ready()), (3, 19));
    assert!(world.nodes().iter().any(|name| name.starts_with("small-")), "{:?}", world.nodes());
    let mut grown = BTreeSet::new();
    for seed in 1..12 {
        let world = World::start(seed, &[node("a1", "a", "a"), node("b1", "b", "b"), web(5)]);
        sleep(seconds(120)).await;
        grown.extend(
            world.nodes().into_iter().filter(|name| name.contains('-')).map(|name| name[..1].to_owned()),
        );
    }
    assert_eq!(grown, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_group_over_two_zones_is_kept_even() {
    let world = World::start(7, &[node("a1", "all", "a"), node("b1", "all", "b"), web(4)]);
    sleep(seconds(30)).await;
    let mut nodes = world.nodes();
    nodes.retain(|name| name.contains('-'));
    assert!(nodes.is_empty());
    for name in ["a1", "b1"] {
        world.change(&Kind::NODE, ("", name), |node| {
            node["metadata"]["annotations"][annotations::NODE_GROUP_MAX] = json!("4");
        });
    }
    world.scale(8);
    sleep(seconds(120)).await;
    let mut zones: BTreeMap<String, usize> = BTreeMap::new();
    for node in world.store().list(&Kind::NODE, None, &Selector::everything()) {
        *zones.entry(node.meta.labels[ZONE].clone()).or_default() += 1;
    }
    assert_eq!(zones, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 2)]));
    assert_eq!(world.ready(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_node_stays_whose_pods_may_not_move() {
    let single = |name: &str, on: &str, patch: Value| {
        let mut object = web(1);
        object["metadata"]["name"] = json!(name);
        object["spec"]["selector"]["matchLabels"]["app"] = json!(name);
        object["spec"]["template"]["metadata"]["labels"]["app"] = json!(name);
        let spec = &mut object["spec"]["template"]["spec"];
        spec["containers"][0]["resources"]["requests"]["cpu"] = json!("100m");
        spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [on]}]}}]}});
        json_patch::merge(&mut object["spec"]["template"], &patch);
        object
    };
    let local = json!({"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}});
    let unsafe_ =
        json!({"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}});
    let world = World::start(
        7,
        &[
            node("a1", "a", "a"),
            node("a2", "a", "a"),
            node("a3", "a", "a"),
            node("b1", "b", "a"),
            node("b2", "b", "a"),
            single("local", "a1", local),
            single("pinned", "a2", unsafe_),
            single("free", "a3", json!({})),
            single("budgeted", "b1", json!({})),
            single("moved", "b2", json!({})),
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                "metadata": {"name": "budgeted", "namespace": "default"},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "budgeted"}}}}),
        ],
    );
    sleep(seconds(1500)).await;
    assert_eq!(world.nodes(), ["a1", "a2", "b1"]);
    assert_eq!(world.ready(), 5);
    assert!(world.pods().iter().all(|pod| !pod.terminating()));
}

#[tokio::test(start_paused = true)]
async fn an_annotation_that_cannot_be_read_is_named_and_its_node_is_in_no_group() {
    let mut wrong = node("a1", "a", "a");
    wrong["metadata"]["annotations"][annotations::NODE_GROUP_MAX] = json!("many");
    let world = World::start(7, &[wrong, web(5)]);
    sleep(seconds(300)).await;
    assert_eq!(world.nodes(), ["a1"]);
    let told = world.events("InvalidAnnotation");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("node-group-max"), "{told:?}");
}
