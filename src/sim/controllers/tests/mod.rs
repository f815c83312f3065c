//! The control loops together, on a whole embedded cluster in paused time.

mod budgets;
mod nodes;
mod volumes;
mod workloads;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use kube::api::EvictParams;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::views::{Pod, View};
use super::{Config, Controllers, node_lifecycle, spawn};
use crate::sim::annotations::{CRASH_AFTER, KUBELET, SHUTDOWN, STARTUP, STARTUP_JITTER};
use crate::sim::manifests;
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
        objects[0]["spec"]["template"]["metadata"]["annotations"][STARTUP_JITTER] = json!("3s");
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
