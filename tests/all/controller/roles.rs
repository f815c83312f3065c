//! Each role of a fault, and of what takes faults back, is enough for that and holds nothing else: every fault is run as an
//! account that has exactly its roles, and what the API server is asked for is what they grant.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use firedrill::{
    controller::manifests::{Installed, Part, manifests},
    env::Env,
    faults::{self, FAULTS, LOAD_POD, Lifetime},
    types::{AGENT_NAMESPACE, AgentSettings, ObjectRef, Verdict},
};
use serde_json::{Value, json};

use super::{
    office::Office,
    overtaken::overtaken,
    rights::{Call, Heard, listening, listening_as, replica},
};
use crate::{
    crash::house::{experiment, house_for, method},
    kit::{self, in_virtual_time, manifests as read},
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

/// The same faults on the other kinds that they take, of workloads and of machines, and in the other way that they have.
const KINDS: [(&str, &str); 6] = [
    ("scale", "{name: hit, target: {workload: statefulset/db}, scale: {replicas: 1}, duration: 5s}"),
    ("scale", "{name: hit, target: {workload: replicaset/old}, scale: {replicas: 1}, duration: 5s}"),
    ("rolloutRestart", "{name: hit, target: {workload: statefulset/db}, rolloutRestart: {}}"),
    ("rolloutRestart", "{name: hit, target: {workload: daemonset/logs}, rolloutRestart: {}}"),
    (
        "nodeTerminate",
        "{name: hit, target: {nodes: {matchLabels: {karpenter.sh/nodepool: general}}, count: all}, nodeTerminate: {}}",
    ),
    ("zoneOutage", "{name: hit, target: {zone: a}, zoneOutage: {mode: Drain}, duration: 5s}"),
];

/// The faults of agents, against what they read to know whom they disturb.
const BY_AGENTS: [(&str, &str); 5] = [
    ("containerKill", "{name: hit, target: {workload: deployment/web, count: 2}, containerKill: {}}"),
    (
        "networkLatency",
        "{name: hit, target: {workload: deployment/web, count: 2}, networkLatency: {to: [{service: api}], delay: 100ms}, duration: 5s}",
    ),
    (
        "networkLoss",
        "{name: hit, target: {workload: deployment/web, count: 2}, networkLoss: {to: [{service: api}], share: 50%}, duration: 5s}",
    ),
    (
        "networkPartition",
        "{name: hit, target: {workload: deployment/web, count: 2}, networkPartition: {to: [{service: api}]}, duration: 5s}",
    ),
    (
        "processKill",
        "{name: hit, target: {workload: deployment/web, count: 2}, processKill: {name: app, container: main}}",
    ),
];

/// Asked for, and done without where it is refused: the ranges from which nodes give their pods addresses, and which port
/// the Service of a load forwards.
const DONE_WITHOUT: [(&str, &str, &str); 2] =
    [("dependencyCut", "nodes", "list"), ("loadPod", "services", "get")];

fn installed() -> Vec<Value> {
    let installed = Installed { node_accounts: vec!["shop:firedrill".to_owned()], ..Installed::default() };
    let mut all = manifests(Part::Rights, &installed);
    let with_agents = Installed { agents: Some(AgentSettings::default()), ..Installed::default() };
    let mut others = manifests(Part::Nodes, &installed);
    others.extend(manifests(Part::Agents, &with_agents));
    let grants = |one: &Value| one["kind"].as_str().is_some_and(|kind| kind.contains("Role"));
    all.extend(others.into_iter().filter(grants));
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

/// Has n3 and n4 be machines of Karpenter.
fn claimed(house: &mut Vec<Value>) {
    let pool = json!({"karpenter.sh/nodepool": "general"});
    for name in ["n3", "n4"] {
        let id = format!("cloud:///{name}");
        let found = house.iter_mut().find(|one| one["kind"] == "Node" && one["metadata"]["name"] == name);
        let node = found.expect("the house has it");
        node["metadata"]["labels"]["karpenter.sh/nodepool"] = pool["karpenter.sh/nodepool"].clone();
        node["spec"]["providerID"] = id.clone().into();
        house.push(json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": format!("c-{name}"), "labels": pool}, "spec": {}, "status": {"providerID": id}}));
    }
    let template =
        json!({"metadata": {"annotations": {"sim.firedrill.dev/node-provisioning": "20s"}}, "spec": {}});
    house.push(json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "general"},
        "spec": {"replicas": 2, "template": template}}));
}

async fn office(fault: &str, text: &str) -> Office {
    let mut house = house_for(fault);
    if fault == "nodeTerminate" {
        claimed(&mut house);
    }
    let mut objects = read(BESIDE);
    objects.extend(installed());
    objects.extend(bindings(fault));
    objects.push(bound("firedrill:undo", ("firedrill", "firedrill"), false));
    Office::built(house, text, objects).await
}

/// Every fault that a Run in the cluster can have, on each kind of workload that it takes.
fn rows() -> Vec<(&'static str, &'static str)> {
    let faults = FAULTS.iter().map(|fault| fault.info()).filter(|info| !info.agent).chain([&LOAD_POD]);
    faults.map(|info| (info.name, method(info.name))).chain(KINDS).collect()
}

/// What somebody takes beside the roles of a fault who runs it from the command line: to read Guardrails and the
/// namespace, which the controller does in its own name, and to place agents.
fn beside_by_hand(fault: &str) -> [Value; 3] {
    let reads = |group: &str, resource: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": ["get", "list", "watch"]});
    let mut rules = vec![reads("firedrill.dev", "guardrails")];
    rules.extend((!wide(fault)).then(|| reads("", "namespaces")));
    let mut places = bound("firedrill:agents", BREAKER, false);
    places["metadata"]["namespace"] = AGENT_NAMESPACE.into();
    places["roleRef"]["kind"] = "Role".into();
    [
        json!({"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": "guarded"}, "rules": rules}),
        bound("guarded", BREAKER, true),
        places,
    ]
}

/// What somebody asks for with the roles of a fault who runs it from the command line.
async fn by_hand(fault: &str, step: &str) -> BTreeSet<Call> {
    let (heard, text) = (Heard::default(), measured(step));
    let office = office(fault, &text).await;
    for object in beside_by_hand(fault) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, metadata) = (text(&object["kind"]), object["metadata"].clone());
        let place =
            ObjectRef::namespaced(RBAC, &kind, &text(&metadata["namespace"]), &text(&metadata["name"]));
        office.access.create(&place, object, Default::default()).await.expect("it is created");
    }
    let kube = listening_as(&office, &heard, "system:serviceaccount:shop:firedrill");
    let env = Env { kube, ..office.stage.env.clone() };
    let ran = kit::run(&env, office.stage.request(&text, 1), |_, _| {}).await;
    assert_eq!(ran.expect("it is not refused").verdict(), Verdict::Passed, "{fault}");
    let mut refused = heard.refusals();
    // Of which platform a node is: without it that is not said.
    refused.retain(|call| !of_the_measure(call) && (wide(fault) || call.2 != "nodes"));
    assert_eq!(refused, [], "{fault} asks for what its roles do not grant");
    let mut given = heard.given();
    given.retain(|(namespace, group, resource, _)| {
        let beside = group == "firedrill.dev" || (resource == "namespaces" && !wide(fault));
        namespace != AGENT_NAMESPACE && !beside
    });
    given
}

/// What is measured is followed where that may be, and read where it may not.
fn of_the_measure((_, _, resource, _): &Call) -> bool {
    resource == "configmaps"
}

/// What a run of `step` asks for as its account, while somebody else is always faster.
async fn run(what: &str, text: &str) -> BTreeSet<Call> {
    let heard = Heard::default();
    let office = office(what, text).await;
    let (task, end) = replica(&office, overtaken(&office, listening(&office, &heard)), "a", "");
    let run = office.run("trial-1", json!({})).await;
    let status = office.over(&run).await;
    let [given, mut refused] = heard.acting();
    refused.retain(|call| !of_the_measure(call));
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
        let mut asked: BTreeMap<&str, BTreeSet<Call>> = BTreeMap::new();
        for (fault, step) in rows() {
            asked.entry(fault).or_default().extend(run(fault, &measured(step)).await);
        }
        // Of namespaces an account is only asked whether it may list them: the controller looks in its own name.
        for (fault, step) in BY_AGENTS.into_iter().chain([("nodeCordon", method("nodeCordon"))]) {
            asked.entry(fault).or_default().extend(by_hand(fault, step).await);
        }
        let all = FAULTS.iter().map(|fault| fault.info().name).chain([LOAD_POD.name]);
        assert_eq!(asked.keys().copied().collect::<BTreeSet<_>>(), all.collect());
        let (mut reads, mut unused) = (BTreeSet::new(), Vec::new());
        for (fault, calls) in asked {
            if wide(fault) {
                reads.extend(calls.iter().filter(|(namespace, ..)| namespace.is_empty()).cloned());
            }
            let [own, _] = unlike(&granted(&format!("firedrill:fault:{fault}")), &rights(calls));
            unused.extend(own.into_iter().map(|right| (fault, right)));
        }
        let [nodes, _] = unlike(&granted("firedrill:nodes"), &rights(reads));
        unused.extend(nodes.into_iter().map(|right| ("firedrill:nodes", right)));
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
        let (task, end) = replica(&office, listening(&office, &Heard::default()), "a", "");
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
    let (first, _ends) = replica(&office, listening(&office, &Heard::default()), "a", &pod);
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
    let (second, end) = replica(&office, listening(&office, &heard), "b", "");
    tokio::time::sleep(Duration::from_secs(3)).await;
    first.abort();
    if fault == "scale" {
        // Somebody has deleted it: it is made anew.
        let lease = ObjectRef::namespaced("coordination.k8s.io/v1", "Lease", "shop", "firedrill");
        office.delete(&lease).await;
    }
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
        let (undo, nodes) = (granted("firedrill:undo"), granted("firedrill:undo-nodes"));
        assert_eq!(
            [unlike(&undo, &near), unlike(&nodes, &far)],
            [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]],
            "granted and never used, used and not granted: in the namespace, of nodes"
        );
    });
}
