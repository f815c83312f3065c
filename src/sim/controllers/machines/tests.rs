//! Machines that end and come, in paused time.

use serde_json::Value;
use tokio::time::sleep;

use super::*;
use crate::sim::controllers::{Config, Controllers, spawn};
use crate::sim::store::{DeleteOptions, Store};
use crate::sim::{Sim, SimConfig};

const CAPI: &str = "cluster.x-k8s.io/v1beta2";
const KARPENTER: &str = "karpenter.sh/v1";

struct World {
    sim: Sim,
    _controllers: Controllers,
}

impl World {
    fn start(objects: &[Value]) -> Self {
        let sim = Sim::new(&SimConfig { seed: 7, ..SimConfig::default() });
        let definition = |group: &str, version: &str, kind: &str, scope: &str| {
            let plural = format!("{}s", kind.to_lowercase());
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.{group}")},
                "spec": {"group": group, "scope": scope, "names": {"kind": kind, "plural": plural},
                    "versions": [{"name": version, "served": true, "storage": true,
                        "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
        };
        let kinds = [
            definition("cluster.x-k8s.io", "v1beta2", "Machine", "Namespaced"),
            definition("cluster.x-k8s.io", "v1beta2", "MachineSet", "Namespaced"),
            definition("karpenter.sh", "v1", "NodeClaim", "Cluster"),
            definition("karpenter.sh", "v1", "NodePool", "Cluster"),
        ];
        sim.apply_manifests(&kinds).unwrap();
        sim.apply_manifests(objects).unwrap();
        let controllers = spawn(sim.store(), Config { seed: 7, ..Config::default() });
        Self { sim, _controllers: controllers }
    }

    fn store(&self) -> &Store {
        self.sim.store()
    }

    fn all(&self, api_version: &str, kind: &str) -> Vec<Value> {
        let kind = self.store().kind_of(api_version, kind).unwrap();
        let all = self.store().list(&kind, None, &Selector::everything());
        all.iter().map(|object| object.to_value()).collect()
    }

    fn names(&self, api_version: &str, kind: &str) -> Vec<String> {
        let all = self.all(api_version, kind);
        all.iter().map(|object| object["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn nodes(&self) -> Vec<String> {
        self.names("v1", "Node")
    }

    fn one(&self, api_version: &str, kind: &str, name: &str) -> Value {
        let all = self.all(api_version, kind);
        all.into_iter().find(|object| object["metadata"]["name"] == name).unwrap_or_default()
    }

    /// Pods that are ready, by node.
    fn ready(&self) -> BTreeMap<String, usize> {
        let mut ready = BTreeMap::new();
        for pod in self.store().list(&Kind::POD, None, &Selector::everything()) {
            let pod: Pod = View::new(pod).unwrap();
            if pod.ready() && !pod.terminating() {
                *ready.entry(pod.spec.node_name.clone()).or_default() += 1;
            }
        }
        ready
    }

    fn delete(&self, api_version: &str, kind: &str, name: &str) {
        let object = self.one(api_version, kind, name);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let kind = self.store().kind_of(api_version, kind).unwrap();
        self.store().delete(&kind, namespace, name, &DeleteOptions::default()).unwrap();
    }

    fn change(&self, (api_version, kind): (&str, &str), name: &str, patch: Value) {
        let object = self.one(api_version, kind, name);
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let kind = self.store().kind_of(api_version, kind).unwrap();
        let changed = self.store().modify(&kind, &namespace, name, |object| {
            let mut value = object.to_value();
            json_patch::merge(&mut value, &patch);
            *object = Object::from_value(kind.clone(), value)?;
            Ok(())
        });
        changed.unwrap();
    }
}

fn node(name: &str, labels: Value) -> Value {
    let room = json!({"cpu": "2", "memory": "8Gi", "pods": "110"});
    let mut node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {ZONE: "a", HOSTNAME: name}},
        "spec": {"providerID": format!("cloud:///{name}")},
        "status": {"capacity": room, "allocatable": room}});
    json_patch::merge(&mut node["metadata"]["labels"], &labels);
    node
}

fn machine(name: &str, node: &str, rest: Value) -> Value {
    let mut machine = json!({"apiVersion": CAPI, "kind": "Machine",
        "metadata": {"name": name, "namespace": "default", "labels": {"cluster.x-k8s.io/set-name": "md"}},
        "spec": {"clusterName": "prod", "providerID": format!("cloud:///{node}")}});
    json_patch::merge(&mut machine, &rest);
    machine
}

fn set(replicas: u32) -> Value {
    json!({"apiVersion": CAPI, "kind": "MachineSet", "metadata": {"name": "md", "namespace": "default"},
        "spec": {"clusterName": "prod", "replicas": replicas,
            "selector": {"matchLabels": {"cluster.x-k8s.io/set-name": "md"}},
            "template": {"metadata": {"annotations": {annotations::NODE_PROVISIONING: "60s"}}, "spec": {}}}})
}

fn claim(name: &str, node: &str, rest: Value) -> Value {
    let mut claim = json!({"apiVersion": KARPENTER, "kind": "NodeClaim",
        "metadata": {"name": name, "labels": {NODE_POOL: "general"}}, "spec": {},
        "status": {"providerID": format!("cloud:///{node}")}});
    json_patch::merge(&mut claim, &rest);
    claim
}

fn pool(replicas: Value) -> Value {
    json!({"apiVersion": KARPENTER, "kind": "NodePool", "metadata": {"name": "general"}, "spec": {"replicas": replicas,
        "template": {"metadata": {"annotations": {annotations::NODE_PROVISIONING: "60s"}}, "spec": {}}}})
}

/// A Deployment `web` of pods of half a core, under a budget that lets one go at a time.
fn web(replicas: u32) -> [Value; 2] {
    [
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"sim.firedrill.dev/startup": "1s"}},
                "spec": {"containers": [{"name": "app", "image": "web:1",
                    "resources": {"requests": {"cpu": "500m"}}}]},
            }},
        }),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
    ]
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn set_of_two() -> Vec<Value> {
    let mut objects = vec![
        node("n1", json!({})),
        node("n2", json!({})),
        node("n3", json!({})),
        machine("m1", "n1", json!({})),
        machine("m2", "n2", json!({})),
        set(2),
    ];
    objects.extend(web(6));
    objects
}

#[tokio::test(start_paused = true)]
async fn a_deleted_machine_is_drained_within_budgets_and_another_one_comes_by_another_name() {
    let world = World::start(&set_of_two());
    sleep(seconds(30)).await;
    let n1 = world.one("v1", "Node", "n1");
    let marks = &n1["metadata"]["annotations"];
    assert_eq!((&marks[MACHINE], &marks["cluster.x-k8s.io/owner-name"]), (&json!("m1"), &json!("md")));
    assert_eq!(world.one(CAPI, "Machine", "m1")["status"]["nodeRef"]["name"], "n1");
    assert_eq!(world.one(CAPI, "MachineSet", "md")["status"]["readyReplicas"], 2);
    assert_eq!(world.ready().values().sum::<usize>(), 6);
    assert!(world.ready()["n1"] >= 2, "{:?}", world.ready());
    world.delete(CAPI, "Machine", "m1");
    let mut least = usize::MAX;
    for _ in 0..60 {
        sleep(seconds(1)).await;
        least = least.min(world.ready().values().sum());
    }
    assert!(least >= 5, "never more than the budget lets go at once: {least}");
    // Two or more pods, one a look, and looks are 20 s apart.
    assert_eq!(world.nodes(), ["n2", "n3"]);
    assert_eq!(world.names(CAPI, "Machine").len(), 2, "ordered when the old one had gone, and not before");
    assert_eq!(world.one(CAPI, "MachineSet", "md")["status"]["readyReplicas"], 1);
    sleep(seconds(70)).await;
    let nodes = world.nodes();
    assert_eq!(nodes.len(), 3);
    let name = nodes.iter().find(|name| name.starts_with("md-")).expect("the new node");
    let new = world.one("v1", "Node", name);
    assert_eq!(new["metadata"]["labels"][ZONE], "a");
    assert_eq!(new["metadata"]["labels"][HOSTNAME], name.as_str());
    assert_eq!(new["metadata"]["annotations"][MACHINE], name.as_str());
    assert_eq!(new["spec"]["unschedulable"], Value::Null, "the drain of the other one is not inherited");
    assert_eq!(new["status"]["capacity"]["cpu"], "2");
    assert_eq!(world.one(CAPI, "MachineSet", "md")["status"]["readyReplicas"], 2);
    assert_eq!(world.ready().values().sum::<usize>(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_budget_without_room_holds_a_machine_until_its_timeout() {
    for (spec, gone) in [(json!({}), false), (json!({"deletion": {"nodeDrainTimeoutSeconds": 120}}), true)] {
        let mut objects = set_of_two();
        objects[3] = machine("m1", "n1", json!({"spec": spec}));
        let budget = objects.last_mut().expect("the budget");
        budget["spec"]["maxUnavailable"] = json!(0);
        let world = World::start(&objects);
        sleep(seconds(30)).await;
        let before = world.ready()["n1"];
        world.delete(CAPI, "Machine", "m1");
        sleep(seconds(110)).await;
        assert_eq!(world.ready().get("n1"), Some(&before));
        assert_eq!(world.one("v1", "Node", "n1")["spec"]["unschedulable"], true);
        sleep(seconds(30)).await;
        assert_eq!(!world.nodes().contains(&"n1".to_owned()), gone, "{spec}");
        sleep(seconds(600)).await;
        assert_eq!(!world.nodes().contains(&"n1".to_owned()), gone, "{spec}");
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_are_waited_for_before_the_drain_and_before_the_end() {
    let mut objects = set_of_two();
    let hooks = json!({"pre-drain.delete.hook.machine.cluster.x-k8s.io/a": "me",
        "pre-terminate.delete.hook.machine.cluster.x-k8s.io/b": "me"});
    objects[3] = machine("m1", "n1", json!({"metadata": {"annotations": hooks}}));
    let world = World::start(&objects);
    sleep(seconds(30)).await;
    world.delete(CAPI, "Machine", "m1");
    sleep(seconds(300)).await;
    assert!(world.ready().contains_key("n1"), "not drained yet");
    let taken = |hook: &str| json!({"metadata": {"annotations": {hook: null}}});
    world.change((CAPI, "Machine"), "m1", taken("pre-drain.delete.hook.machine.cluster.x-k8s.io/a"));
    sleep(seconds(300)).await;
    assert!(!world.ready().contains_key("n1") && world.nodes().contains(&"n1".to_owned()));
    world.change((CAPI, "Machine"), "m1", taken("pre-terminate.delete.hook.machine.cluster.x-k8s.io/b"));
    sleep(seconds(1)).await;
    assert!(!world.nodes().contains(&"n1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_not_drained_leaves_its_pods_to_the_garbage_collector() {
    let mut objects = set_of_two();
    objects[3] = machine(
        "m1",
        "n1",
        json!({"metadata": {"annotations":
        {"machine.cluster.x-k8s.io/exclude-node-draining": ""}}}),
    );
    let world = World::start(&objects);
    sleep(seconds(30)).await;
    world.delete(CAPI, "Machine", "m1");
    sleep(seconds(2)).await;
    assert_eq!(world.nodes(), ["n2", "n3"]);
    assert!(world.ready().contains_key("n1"), "podgc keeps them for 40 s");
    sleep(seconds(60)).await;
    assert!(!world.ready().contains_key("n1"));
    assert_eq!(world.ready().values().sum::<usize>(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_set_grows_and_shrinks_and_its_first_node_is_as_the_machine_says() {
    let mut empty = set(1);
    empty["spec"]["template"]["spec"] = json!({"failureDomain": "c"});
    empty["spec"]["template"]["metadata"]["labels"] =
        json!({"node.cluster.x-k8s.io/pool": "shop", "other.example.com/label": "no"});
    let world = World::start(&[node("n1", json!({})), empty]);
    sleep(seconds(50)).await;
    assert_eq!(world.nodes(), ["n1"]);
    sleep(seconds(20)).await;
    let nodes = world.nodes();
    let new = world.one("v1", "Node", &nodes[0]);
    assert_eq!(new["metadata"]["labels"][ZONE], "c");
    assert_eq!(new["metadata"]["labels"]["node.cluster.x-k8s.io/pool"], "shop");
    assert_eq!(new["metadata"]["labels"]["other.example.com/label"], Value::Null);
    world.change((CAPI, "MachineSet"), "md", json!({"spec": {"replicas": 3}}));
    sleep(seconds(70)).await;
    assert_eq!(world.nodes().len(), 4);
    assert_eq!(world.one(CAPI, "MachineSet", "md")["status"]["readyReplicas"], 3);
    world.change((CAPI, "MachineSet"), "md", json!({"spec": {"replicas": 1}}));
    sleep(seconds(5)).await;
    assert_eq!((world.nodes().len(), world.names(CAPI, "Machine").len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_drained_and_its_pool_keeps_its_size() {
    let general = || json!({NODE_POOL: "general"});
    let mut objects = vec![
        node("n1", general()),
        node("n2", json!({})),
        node("n3", json!({})),
        claim("c1", "n1", json!({})),
        pool(json!(1)),
    ];
    objects.extend(web(6));
    let world = World::start(&objects);
    sleep(seconds(30)).await;
    assert_eq!(world.one(KARPENTER, "NodeClaim", "c1")["status"]["nodeName"], "n1");
    world.delete(KARPENTER, "NodeClaim", "c1");
    sleep(seconds(1)).await;
    assert_eq!(world.one("v1", "Node", "n1")["spec"]["taints"][0]["key"], "karpenter.sh/disrupted");
    sleep(seconds(30)).await;
    assert_eq!(world.nodes(), ["n2", "n3"]);
    sleep(seconds(60)).await;
    let nodes = world.nodes();
    let new = nodes.iter().find(|name| name.starts_with("general-")).expect("another one");
    let new = world.one("v1", "Node", new);
    assert_eq!(new["metadata"]["labels"][NODE_POOL], "general");
    assert_eq!(new["spec"]["taints"], Value::Null);
    assert_eq!(world.ready().values().sum::<usize>(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_a_size_brings_a_machine_only_when_pods_need_one() {
    for (replicas, comes) in [(2, false), (6, true)] {
        let mut objects = vec![
            node("n1", json!({NODE_POOL: "general"})),
            node("n2", json!({})),
            claim("c1", "n1", json!({})),
            pool(Value::Null),
        ];
        objects.extend(web(replicas));
        let world = World::start(&objects);
        sleep(seconds(30)).await;
        assert_eq!(world.ready().values().sum::<usize>(), replicas as usize);
        world.delete(KARPENTER, "NodeClaim", "c1");
        sleep(seconds(300)).await;
        let names = world.nodes();
        assert_eq!(
            names.iter().filter(|name| name.starts_with("general-")).count(),
            usize::from(comes),
            "{names:?}"
        );
        assert!(!names.contains(&"n1".to_owned()));
        assert_eq!(world.ready().values().sum::<usize>(), replicas as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_asks_not_to_be_disrupted_keeps_its_node_until_the_grace_period_is_over() {
    for (spec, gone) in [(json!({}), false), (json!({"terminationGracePeriod": "2m"}), true)] {
        let mut objects = vec![
            node("n1", json!({NODE_POOL: "general"})),
            node("n2", json!({})),
            claim("c1", "n1", json!({"spec": spec})),
            pool(json!(1)),
        ];
        let mut web = web(4);
        web[0]["spec"]["template"]["metadata"]["annotations"][ending::DO_NOT_DISRUPT] = json!("true");
        objects.extend(web);
        let world = World::start(&objects);
        sleep(seconds(30)).await;
        world.delete(KARPENTER, "NodeClaim", "c1");
        sleep(seconds(110)).await;
        assert!(world.ready().contains_key("n1"));
        sleep(seconds(400)).await;
        assert_eq!(!world.nodes().contains(&"n1".to_owned()), gone, "{spec}");
    }
}
