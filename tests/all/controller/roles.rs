//! Each role of a fault, and of what takes faults back, is enough for that and holds nothing else: every fault is run as an
//! account that has exactly its roles, and what the API server is asked for is what they grant.

use std::{collections::BTreeSet, time::Duration};

use firedrill::{
    controller::manifests::{Installed, Part, manifests},
    faults::{self, FAULTS, LOAD_POD, Lifetime},
    types::ObjectRef,
};
use serde_json::{Value, json};

use super::{
    office::Office,
    rights::{Call, Heard, replica},
};
use crate::{
    crash::house::{experiment, house_for, method},
    kit::{in_virtual_time, manifests as read},
};

/// API group, resource, verb.
type Right = (String, String, String);

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Workloads of the other kinds, what is measured, and the accounts with what lets the controller act as one of them.
const BESIDE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: firedrill}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: firedrill, namespace: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: switch, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: lets-it-act, namespace: shop}
rules:
- {apiGroups: [authentication.k8s.io], resources: [serviceaccounts], resourceNames: [firedrill], verbs: ['impersonate:serviceaccount']}
- {apiGroups: [''], resources: [configmaps], verbs: ['impersonate-on:serviceaccount:get']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: lets-it-act, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: lets-it-act}
subjects: [{kind: ServiceAccount, name: firedrill, namespace: firedrill}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: measures, namespace: shop}
rules:
- {apiGroups: [''], resources: [configmaps], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: measures, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: measures}
subjects: [{kind: ServiceAccount, name: firedrill, namespace: shop}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}, annotations: {sim.firedrill.dev/startup: 1s, sim.firedrill.dev/shutdown: 1s}}
    spec: {containers: [{name: main, image: 'docker.io/local/app:1'}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: old, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: old}}
  template:
    metadata: {labels: {app: old}, annotations: {sim.firedrill.dev/startup: 1s, sim.firedrill.dev/shutdown: 1s}}
    spec: {containers: [{name: main, image: 'docker.io/local/app:1'}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: logs, namespace: shop}
spec:
  selector: {matchLabels: {app: logs}}
  template:
    metadata: {labels: {app: logs}, annotations: {sim.firedrill.dev/startup: 1s, sim.firedrill.dev/shutdown: 1s}}
    spec: {containers: [{name: main, image: 'docker.io/local/app:1'}]}
";

/// The same faults on the other kinds of workload that they take.
const KINDS: [(&str, &str); 4] = [
    ("scale", "{name: hit, target: {workload: statefulset/db}, scale: {replicas: 1}, duration: 5s}"),
    ("scale", "{name: hit, target: {workload: replicaset/old}, scale: {replicas: 1}, duration: 5s}"),
    ("rolloutRestart", "{name: hit, target: {workload: statefulset/db}, rolloutRestart: {}}"),
    ("rolloutRestart", "{name: hit, target: {workload: daemonset/logs}, rolloutRestart: {}}"),
];

/// Asked for, and done without where it is refused: the ranges from which nodes give their pods addresses, and which port
/// the Service of a load forwards.
const DONE_WITHOUT: [(&str, &str, &str); 2] =
    [("dependencyCut", "nodes", "list"), ("loadPod", "services", "get")];

/// Granted, and not asked for where nothing is in the way: role, resource, verb.
const SELDOM: [(&str, &str, &str); 13] = [
    // Whether it may is asked before the first change; the controller looks in its own name.
    ("firedrill:nodes", "namespaces", "list"),
    ("firedrill:nodes", "namespaces", "watch"),
    // Read once more when somebody else has changed the object meanwhile.
    ("firedrill:fault:nodeCordon", "nodes", "get"),
    ("firedrill:fault:nodeDrain", "nodes", "get"),
    ("firedrill:fault:nodeTaint", "nodes", "get"),
    ("firedrill:fault:zoneOutage", "nodes", "get"),
    ("firedrill:fault:nodeTerminate", "machines", "get"),
    // Pods of namespaces that have not agreed to more are evicted.
    ("firedrill:fault:zoneOutage", "pods/eviction", "create"),
    // The house has machines of Cluster API, and no pools of Karpenter.
    ("firedrill:fault:nodeTerminate", "nodeclaims", "delete"),
    ("firedrill:fault:nodeTerminate", "nodeclaims", "get"),
    ("firedrill:fault:nodeTerminate", "nodeclaims", "list"),
    ("firedrill:fault:nodeTerminate", "nodeclaims", "watch"),
    // Made anew where somebody has deleted it.
    ("firedrill:undo", "leases", "create"),
];

fn installed() -> Vec<Value> {
    let installed = Installed { node_accounts: vec!["shop:firedrill".to_owned()], ..Installed::default() };
    let mut all = manifests(Part::Rights, &installed);
    let roles = manifests(Part::Nodes, &installed);
    all.extend(
        roles
            .into_iter()
            .filter(|one| one["kind"].as_str().is_some_and(|kind| kind.starts_with("ClusterRole"))),
    );
    all
}

/// What a role grants.
fn granted(role: &str) -> BTreeSet<Right> {
    let all = installed();
    let found = all.iter().find(|one| one["metadata"]["name"] == role && one["kind"] == "ClusterRole");
    let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).expect("texts") };
    let mut rights = BTreeSet::new();
    for rule in found.unwrap_or_else(|| panic!("no role {role}"))["rules"].as_array().expect("rules") {
        for resource in texts(&rule["resources"]) {
            let right = |verb| (texts(&rule["apiGroups"]).remove(0), resource.clone(), verb);
            rights.extend(texts(&rule["verbs"]).into_iter().map(right));
        }
    }
    rights
}

fn rights(calls: impl IntoIterator<Item = Call>) -> BTreeSet<Right> {
    calls.into_iter().map(|(_, group, resource, verb)| (group, resource, verb)).collect()
}

/// Binds a role to an account, in the shop or everywhere.
fn bound(role: &str, (space, account): (&str, &str), everywhere: bool) -> Value {
    let name = format!("{}-{space}-{account}", role.replace(':', "-"));
    let mut object = json!({"apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": space}]});
    if !everywhere {
        object["kind"] = "RoleBinding".into();
        object["metadata"]["namespace"] = "shop".into();
    }
    object
}

const BREAKER: (&str, &str) = ("shop", "firedrill");

/// Whether a fault is of the whole cluster.
fn wide(fault: &str) -> bool {
    let info = faults::find(fault).map(|fault| fault.info());
    info.is_some_and(|info| info.rights.iter().any(|right| right.cluster_wide))
}

/// What the account of a fault's runs is bound to.
fn bindings(fault: &str) -> Vec<Value> {
    let base = bound("firedrill:runs", BREAKER, false);
    let own = bound(&format!("firedrill:fault:{fault}"), BREAKER, wide(fault));
    let nodes = wide(fault).then(|| bound("firedrill:nodes", BREAKER, true));
    [base, own].into_iter().chain(nodes).collect()
}

/// The experiment of a step, which measures what no role of a run is needed for.
fn measured(step: &str) -> String {
    let deployment = "kubernetes: {apiVersion: apps/v1, kind: Deployment, name: web}";
    let switch = "kubernetes: {apiVersion: v1, kind: ConfigMap, name: switch}";
    let text = experiment(&[step]).replace(deployment, switch);
    text.replace("value: object.status.readyReplicas", "value: '4.0'")
}

async fn office(fault: &str, text: &str) -> Office {
    let mut objects = read(BESIDE);
    objects.extend(installed());
    objects.extend(bindings(fault));
    objects.push(bound("firedrill:undo", ("firedrill", "firedrill"), false));
    Office::built(house_for(fault), text, objects).await
}

/// Every fault that a Run in the cluster can have, on each kind of workload that it takes.
fn rows() -> Vec<(&'static str, &'static str)> {
    let faults = FAULTS.iter().map(|fault| fault.info()).filter(|info| !info.agent).chain([&LOAD_POD]);
    faults.map(|info| (info.name, method(info.name))).chain(KINDS).collect()
}

/// What a run of `step` asks for as its account.
async fn run(what: &str, text: &str) -> BTreeSet<Call> {
    let heard = Heard::default();
    let office = office(what, text).await;
    let (task, end) = replica(&office, &heard, "a", "");
    let run = office.run("trial-1", json!({})).await;
    let status = office.over(&run).await;
    let [given, mut refused] = heard.acting();
    // What is measured is followed where that may be, and read where it may not.
    refused.retain(|(_, _, resource, _)| resource != "configmaps");
    refused.retain(|call| !DONE_WITHOUT.contains(&(what, call.2.as_str(), call.3.as_str())));
    assert_eq!(refused, BTreeSet::new(), "{what} asks for what its roles do not grant");
    assert_eq!(status["verdict"], "Passed", "{what}: {status}");
    end.send(()).expect("it listens");
    task.await.expect("it ends by itself");
    given
}

#[test]
fn each_fault_is_run_with_its_roles_and_uses_all_that_they_grant() {
    in_virtual_time(async {
        let (mut unused, mut reads) = (Vec::new(), BTreeSet::new());
        let mut asked: std::collections::BTreeMap<&str, BTreeSet<Right>> = Default::default();
        for (fault, step) in rows() {
            let calls = run(fault, &measured(step)).await;
            if wide(fault) {
                reads.extend(calls.iter().filter(|(namespace, ..)| namespace.is_empty()).cloned());
            }
            asked.entry(fault).or_default().extend(rights(calls));
        }
        for (fault, asked) in &asked {
            let role = granted(&format!("firedrill:fault:{fault}"));
            unused.extend(
                role.difference(asked).map(|right| (format!("firedrill:fault:{fault}"), right.clone())),
            );
        }
        let reads = rights(reads);
        unused.extend(
            granted("firedrill:nodes")
                .difference(&reads)
                .map(|right| ("firedrill:nodes".to_owned(), right.clone())),
        );
        unused.retain(|(role, (_, resource, verb))| {
            !SELDOM.contains(&(role.as_str(), resource.as_str(), verb.as_str()))
        });
        assert_eq!(unused, [], "granted and never used");
    });
}

/// The account may, the namespace may, and the node's people have said nothing.
#[test]
fn a_node_that_has_not_consented_is_not_hit_by_the_controller() {
    in_virtual_time(async {
        let office = office("nodeCordon", &measured(method("nodeCordon"))).await;
        let node = ObjectRef::node("n2");
        let patch = json!({"metadata": {"labels": {"firedrill.dev/allowed": null}}});
        let api = office.access.api(&node);
        api.patch("n2", &Default::default(), &kube::api::Patch::Merge(patch)).await.expect("it is changed");
        let (task, end) = replica(&office, &Heard::default(), "a", "");
        let run = office.run("trial-1", json!({})).await;
        let status = office.over(&run).await;
        assert_eq!(status["verdict"], "Refused", "{status}");
        let words = status["message"].as_str().expect("words");
        assert!(words.contains("node/n2") && words.contains("not consented"), "{status}");
        for name in ["n1", "n2"] {
            let node = office.get(&ObjectRef::node(name)).await.expect("it is there");
            assert!(node.data["spec"]["unschedulable"].is_null(), "{name}");
        }
        end.send(()).expect("it listens");
        task.await.expect("it ends by itself");
    });
}

/// What every run reads and holds: the cluster as it follows it, what probes look at, one of each kind, and its lease.
#[test]
fn a_run_uses_all_that_the_role_of_every_run_grants() {
    in_virtual_time(async {
        let kinds = [
            ("v1", "Pod", "''"),
            ("policy/v1", "PodDisruptionBudget", "web"),
            ("autoscaling/v2", "HorizontalPodAutoscaler", "api"),
            ("discovery.k8s.io/v1", "EndpointSlice", "''"),
            ("apps/v1", "Deployment", "web"),
            ("apps/v1", "ReplicaSet", "old"),
            ("apps/v1", "StatefulSet", "db"),
            ("apps/v1", "DaemonSet", "logs"),
        ];
        let probes = kinds.map(|(api, kind, name)| {
            let which = match name {
                "''" => "name: nothing".to_owned(),
                name => format!("name: {name}"),
            };
            format!(
                "  - {{name: {}, role: Informational, kubernetes: {{apiVersion: {api}, kind: {kind}, {which}}}, value: '1.0', every: 5s}}\n",
                kind.to_lowercase()
            )
        });
        let text =
            measured(method("podKill")).replace("  baseline:", &format!("{}  baseline:", probes.concat()));
        let asked = rights(run("podKill", &text).await);
        let unused: Vec<Right> = granted("firedrill:runs").difference(&asked).cloned().collect();
        assert_eq!(unused, [], "granted and never used");
    });
}

/// Its rights go and then its replica, with the fault in force: the controller puts it back in its own name.
async fn undone(fault: &str, step: &str) -> BTreeSet<Call> {
    let heard = Heard::default();
    let office = office(fault, &measured(&step.replace("duration: 5s", "duration: 2m"))).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "firedrill-a", "namespace": "firedrill"},
        "spec": {"containers": [{"name": "firedrill", "image": "app:1"}]}});
    let place = ObjectRef::namespaced("v1", "Pod", "firedrill", "firedrill-a");
    let made = office.access.create(&place, pod, Default::default()).await.expect("a pod");
    let pod = format!("firedrill-a/{}", made.metadata.uid.expect("it has one"));
    let (first, _ends) = replica(&office, &Heard::default(), "a", &pod);
    let run = office.run("trial-1", json!({})).await;
    // A load is none of the targets: its pod is there when its step is.
    let in_force = |status: &Value| {
        let hit = status["targets"]["inForce"].as_u64() > Some(0) || fault == LOAD_POD.name;
        hit && status["currentStep"] == "trial/hit"
    };
    office.until("it is in force", async || in_force(&office.status(&run).await)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for binding in bindings(fault) {
        let (kind, space) =
            (binding["kind"].as_str().unwrap_or_default(), binding["metadata"]["namespace"].as_str());
        let name = binding["metadata"]["name"].as_str().unwrap_or_default();
        office.delete(&ObjectRef::namespaced(RBAC, kind, space.unwrap_or_default(), name)).await;
    }
    let (second, end) = replica(&office, &heard, "b", "");
    tokio::time::sleep(Duration::from_secs(3)).await;
    first.abort();
    let status = office.over(&run).await;
    let restored =
        status["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Restored");
    assert_eq!(restored.map(|one| one["status"].clone()), Some(json!("True")), "{fault}: {status}");
    end.send(()).expect("it listens");
    second.await.expect("it ends by itself");
    heard.given()
}

/// What is granted and not asked for, and the other way round.
fn unlike(granted: &BTreeSet<Right>, asked: &BTreeSet<Right>) -> [Vec<Right>; 2] {
    [granted.difference(asked).cloned().collect(), asked.difference(granted).cloned().collect()]
}

#[test]
fn what_the_controller_takes_back_itself_uses_all_that_its_roles_for_that_grant() {
    in_virtual_time(async {
        let (mut near, mut far) = (BTreeSet::new(), BTreeSet::new());
        for (fault, step) in rows() {
            let lasting = faults::find(fault).is_none_or(|fault| fault.info().lifetime == Lifetime::Lasting);
            if !lasting {
                continue;
            }
            let calls = undone(fault, step).await;
            let (nodes, others): (Vec<Call>, Vec<Call>) =
                calls.into_iter().partition(|(_, _, resource, _)| resource == "nodes");
            far.extend(rights(nodes));
            near.extend(rights(others.into_iter().filter(|(namespace, ..)| namespace == "shop")));
        }
        near.retain(|(group, resource, _)| {
            group != "firedrill.dev" && !["events", "serviceaccounts"].contains(&resource.as_str())
        });
        let (mut undo, nodes) = (granted("firedrill:undo"), granted("firedrill:undo-nodes"));
        undo.retain(|(_, resource, verb)| {
            !SELDOM.contains(&("firedrill:undo", resource.as_str(), verb.as_str()))
        });
        assert_eq!(
            [unlike(&undo, &near), unlike(&nodes, &far)],
            [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]],
            "granted and never used, used and not granted: in the namespace, of nodes"
        );
    });
}
