//! A small house to break: four nodes in two zones, a workload under a budget and one under an autoscaler; and a method
//! for every fault of the registry.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use firedrill::{
    env::{Clock, Env, HttpClient, HttpError, MemoryStorage, Rng},
    sim::{SimConfig, cluster::Cluster, store::Kind},
};
use serde_json::Value;

use crate::kit::{Stage, agents_namespace, manifests};

/// How each fault of the registry is tried out: its name, and the step.
pub const METHODS: [(&str, &str); 18] = [
    ("badRollout", "{name: hit, target: {workload: deployment/web}, badRollout: {}, duration: 5s}"),
    ("containerKill", "{name: hit, target: {workload: deployment/web, count: 2}, containerKill: {}}"),
    (
        "dependencyCut",
        "{name: hit, target: {workload: deployment/web, count: 2}, dependencyCut: {to: [{workload: deployment/api}]}, duration: 5s}",
    ),
    (
        "loadPod",
        "{name: hit, load: {from: Pod, url: 'http://web.shop.svc/', requestsPerSecond: 5}, duration: 5s}",
    ),
    ("hpaClamp", "{name: hit, target: {workload: deployment/api}, hpaClamp: {min: 3}, duration: 5s}"),
    (
        "networkLatency",
        "{name: hit, target: {workload: deployment/web, count: 2}, networkLatency: {to: [{workload: deployment/api}], delay: 100ms, jitter: 10ms}, duration: 5s}",
    ),
    (
        "networkLoss",
        "{name: hit, target: {workload: deployment/web, count: 2}, networkLoss: {share: 50%}, duration: 5s}",
    ),
    (
        "networkPartition",
        "{name: hit, target: {workload: deployment/web, count: 2}, networkPartition: {to: [{workload: deployment/api}], from: [{workload: deployment/api}]}, duration: 5s}",
    ),
    (
        "nodeCordon",
        "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n1, n2], count: all}, nodeCordon: {}, duration: 5s}",
    ),
    (
        "nodeDrain",
        "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n1, n2], count: all}, nodeDrain: {}, duration: 5s}",
    ),
    (
        "nodeTaint",
        "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n1, n2], count: all}, nodeTaint: {taint: {key: example.com/drill, value: \"yes\", effect: NoExecute}}, duration: 5s}",
    ),
    (
        "nodeTerminate",
        "{name: hit, target: {nodes: {matchLabels: {pool: shop}}, names: [n1, n2], count: all}, nodeTerminate: {}}",
    ),
    ("podEvict", "{name: hit, target: {workload: deployment/web, count: 2}, podEvict: {}}"),
    ("podKill", "{name: hit, target: {workload: deployment/web, count: 2}, podKill: {gracePeriod: 0s}}"),
    (
        "processKill",
        "{name: hit, target: {workload: deployment/web, count: 2}, processKill: {name: app, container: main}}",
    ),
    ("rolloutRestart", "{name: hit, target: {workload: deployment/api}, rolloutRestart: {}}"),
    ("scale", "{name: hit, target: {workload: deployment/web}, scale: {replicas: 1}, duration: 5s}"),
    ("zoneOutage", "{name: hit, target: {zone: a}, zoneOutage: {}, duration: 5s}"),
];

/// The step by which `fault` is tried out.
pub fn method(fault: &str) -> &'static str {
    METHODS.iter().find(|(name, _)| *name == fault).map(|(_, step)| *step).expect("every fault has a row")
}

/// The experiment in which `fault` is tried out: a load that a pod sends has another one for the whole run beside it.
pub fn trial(fault: &str) -> String {
    let text = experiment(&[method(fault)]);
    if fault != "loadPod" {
        return text;
    }
    let load =
        "  load:\n  - {name: shoppers, from: Pod, url: 'http://web.shop.svc/', requestsPerSecond: 5}\n";
    text.replace("  steadyState:\n", &format!("{load}  steadyState:\n"))
}

/// An experiment of these steps, one a line.
pub fn experiment(steps: &[&str]) -> String {
    experiment_of("value >= 4.0", "\"true\"", steps)
}

/// The same with a hypothesis of the caller's.
pub fn experiment_of(expect: &str, during: &str, steps: &[&str]) -> String {
    let mut text = format!(
        "apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {{name: trial, namespace: shop}}
spec:
  hypothesis: The shop heals by itself.
  steadyState:
  - name: ready
    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: web}}
    value: object.status.readyReplicas
    expect: {expect}
    during: {during}
    every: 5s
  baseline: {{duration: 5s}}
  objectives: {{recoverWithin: 5m}}
  limits: {{pods: 100%, nodes: 50%, duration: 10m}}
  method:
"
    );
    for step in steps {
        text.push_str(&format!("  - {step}\n"));
    }
    text
}

/// The house's manifests.
pub fn house() -> Vec<Value> {
    let mut objects = manifests(
        "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {firedrill.dev/allowed: 'true'}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: shop}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: api, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: api}
  minReplicas: 2
  maxReplicas: 4
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
",
    );
    objects.extend([("web", 4), ("api", 2)].map(|(name, replicas)| deployment(name, replicas)));
    // The shop is visited, and web calls api's pods by a headless Service: faults of the network meet something.
    let web = objects
        .iter_mut()
        .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == "web");
    web.expect("it is there")["spec"]["template"]["metadata"]["annotations"]["sim.firedrill.dev/calls"] =
        "api".into();
    objects.extend((1..=4).map(node));
    objects.extend([("web", "10", None), ("api", "0", Some("None"))].map(|(name, load, address)| {
        let mut service = serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "shop", "annotations": {"sim.firedrill.dev/offered-load": load}},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        if let Some(address) = address {
            service["spec"]["clusterIP"] = address.into();
        }
        service
    }));
    objects
}

/// The house for a fault. Where machines end, those of n1 and n2 have owners, each a set of one, so that what comes
/// instead can be told by its set; everywhere else nodes are the same by name.
pub fn house_for(fault: &str) -> Vec<Value> {
    let mut objects = house();
    if fault != "nodeTerminate" {
        return objects;
    }
    objects.extend(manifests(include_str!("../../../experiments/machines/demo/kinds.yaml")));
    objects.push(serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "infra"}}));
    for node in ["n1", "n2"] {
        objects.extend(owned(node));
        let found = objects.iter_mut().find(|object| object["metadata"]["name"] == node);
        let found = found.expect("the house has it");
        found["spec"]["providerID"] = format!("cloud:///{node}").into();
        found["metadata"]["annotations"] = serde_json::json!({
            "cluster.x-k8s.io/machine": format!("m-{node}"), "cluster.x-k8s.io/cluster-name": "prod",
            "cluster.x-k8s.io/cluster-namespace": "infra", "cluster.x-k8s.io/owner-kind": "MachineSet",
            "cluster.x-k8s.io/owner-name": format!("{SET}{node}"),
        });
    }
    objects
}

/// How the sets of machines are called, before the name of the node that each began with.
const SET: &str = "set-of-";

/// A Machine for `node`, and the MachineSet that keeps one.
fn owned(node: &str) -> [Value; 2] {
    let (api, set) = ("cluster.x-k8s.io/v1beta2", format!("{SET}{node}"));
    let provisioning = serde_json::json!({"sim.firedrill.dev/node-provisioning": "20s"});
    let of_set =
        serde_json::json!({"cluster.x-k8s.io/set-name": set, "cluster.x-k8s.io/cluster-name": "prod"});
    [
        serde_json::json!({
            "apiVersion": api, "kind": "MachineSet", "metadata": {"name": set, "namespace": "infra"},
            "spec": {"clusterName": "prod", "replicas": 1,
                "selector": {"matchLabels": {"cluster.x-k8s.io/set-name": set}},
                "template": {"metadata": {"annotations": provisioning}, "spec": {"clusterName": "prod"}}},
        }),
        serde_json::json!({
            "apiVersion": api, "kind": "Machine",
            "metadata": {"name": format!("m-{node}"), "namespace": "infra", "labels": of_set,
                "annotations": provisioning},
            "spec": {"clusterName": "prod", "providerID": format!("cloud:///{node}")},
        }),
    ]
}

/// The node with which the set began that a Node or a Machine belongs to.
pub fn began_as(object: &Value) -> Option<&str> {
    let set = match object["kind"].as_str()? {
        "Node" => object["metadata"]["annotations"]["cluster.x-k8s.io/owner-name"].as_str(),
        "Machine" => object["metadata"]["labels"]["cluster.x-k8s.io/set-name"].as_str(),
        _ => None,
    };
    set?.strip_prefix(SET)
}

/// Nodes and Machines of a set by their place in it: another one of the same set is as good, whatever it is called,
/// and everything else about it (cordon, taints, labels, marks) is compared as ever.
fn by_their_set(state: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    let mut placed = BTreeMap::new();
    for (key, mut object) in state {
        let Some(began) = began_as(&object) else {
            placed.insert(key, object);
            continue;
        };
        let kind = object["kind"].as_str().unwrap_or_default();
        let set = format!("{kind} of the set of {began}");
        let number = counted.entry(set.clone()).or_default();
        *number += 1;
        for (place, own) in [
            ("/metadata", "name"),
            ("/metadata", "uid"),
            ("/metadata", "creationTimestamp"),
            ("/metadata/labels", "kubernetes.io/hostname"),
            ("/metadata/annotations", "cluster.x-k8s.io/machine"),
            ("/spec", "providerID"),
            ("/spec", "podCIDR"),
            ("/spec", "podCIDRs"),
        ] {
            if let Some(fields) = object.pointer_mut(place).and_then(Value::as_object_mut) {
                fields.remove(own);
            }
        }
        placed.insert(format!("{set}, number {number}"), object);
    }
    placed
}

/// A node of the house, in one of its two zones.
pub fn node(number: usize) -> Value {
    let capacity = serde_json::json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    serde_json::json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": format!("n{number}"), "labels": {
            "pool": "shop",
            "firedrill.dev/allowed": "true",
            "kubernetes.io/hostname": format!("n{number}"),
            "topology.kubernetes.io/zone": if number.is_multiple_of(2) { "a" } else { "b" },
        }},
        "status": {"capacity": capacity, "allocatable": capacity},
    })
}

/// A Deployment that starts in a second.
pub fn deployment(name: &str, replicas: u32) -> Value {
    serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {
                    "labels": {"app": name},
                    "annotations": {"sim.firedrill.dev/startup": "1s", "sim.firedrill.dev/shutdown": "1s"},
                },
                "spec": {"containers": [{
                    "name": "main", "image": "docker.io/local/app:1", "ports": [{"containerPort": 8080}], "resources": {"requests": {"cpu": "10m"}},
                }]},
            },
        },
    })
}

/// The house, settled.
pub async fn settled(seed: u64) -> Stage {
    settled_with(&house(), seed).await
}

/// The house for a fault, settled.
pub async fn settled_for(fault: &str, seed: u64) -> Stage {
    settled_with(&house_for(fault), seed).await
}

/// The same with other manifests.
pub async fn settled_with(objects: &[Value], seed: u64) -> Stage {
    let config = SimConfig { seed, ..SimConfig::default() };
    let mut all = vec![agents_namespace()];
    all.extend(objects.iter().cloned());
    let cluster = Cluster::start(&config, &all).expect("the manifests are accepted");
    cluster.settle(Duration::from_secs(600)).await.expect("the workloads become ready");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let storage = MemoryStorage::default();
    let env = Env {
        clock: Clock::starting_at(cluster.now()),
        rng: Rng::new(seed),
        kube: cluster.sim().client(),
        http: HttpClient::from_fn(|_| {
            Box::pin(async { Err(HttpError::Unreachable("nothing is outside".to_owned())) })
        }),
        load: firedrill::load::embedded(cluster.metrics()),
        storage: Arc::new(storage.clone()),
        agents: firedrill::faults::embedded_agents(&cluster, firedrill::sim::apiserver::User::admin()),
    };
    Stage { cluster, env, storage }
}

/// Waits until the state is `before` again, for some minutes; what differs then.
pub async fn settles(stage: &Stage, before: &BTreeMap<String, Value>) -> Vec<String> {
    let like = |state| by_their_set(apart_from_rollouts(state));
    let before = like(before.clone());
    for _ in 0..100 {
        if like(stage.state()) == before {
            return Vec::new();
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    difference(&before, &like(stage.state()))
}

/// Without what every rollout leaves for good, whoever began it and whoever took it back: the number of the
/// revision, the ReplicaSets of former ones, and that it was a restart.
pub fn apart_from_rollouts(mut state: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    const TEMPLATE: &str = "/spec/template/metadata/annotations";
    let owned = |object: &Value| object.pointer("/metadata/ownerReferences").is_some();
    state.retain(|key, object| !(key.starts_with("ReplicaSet ") && owned(object)));
    for object in state.values_mut() {
        for (place, mark) in [
            ("/metadata/annotations", "deployment.kubernetes.io/revision"),
            (TEMPLATE, "kubectl.kubernetes.io/restartedAt"),
        ] {
            if let Some(annotations) = object.pointer_mut(place).and_then(Value::as_object_mut) {
                annotations.remove(mark);
            }
        }
    }
    state
}

/// What differs between two states, in words.
pub fn difference(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Vec<String> {
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| {
            let text = |state: &BTreeMap<String, Value>| {
                state.get(key).map_or("nothing".to_owned(), ToString::to_string)
            };
            format!("{key}: {} -> {}", text(before), text(after))
        })
        .collect()
}

/// Reads one object of the store, without a call.
pub fn object(stage: &Stage, kind: &Kind, namespace: &str, name: &str) -> Value {
    let found = stage.cluster.sim().store().get(kind, namespace, name);
    found.map_or(Value::Null, |object| object.to_value())
}
