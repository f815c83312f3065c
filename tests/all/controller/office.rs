//! An embedded cluster with controllers in it, in virtual time.

use std::{collections::BTreeMap, time::Duration};

use firedrill::{
    api,
    cluster::{Access, JournalFound, Segments, Write},
    controller::{self, RunSeen, Settings, metrics::Metrics, run_id},
    engine::State,
    env::Env,
    journal::{self, Entry, Environment, Record},
    sim::store::Kind,
    types::ObjectRef,
};
use kube::api::{DeleteParams, DynamicObject};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    crash::house::{difference, experiment, house, object, settled_with},
    kit::{Stage, manifests},
};

/// What a Run's account has to be allowed to do for the faults tried here; see docs/controller.md.
const ACCOUNT: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: firedrill}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: firedrill, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: firedrill, namespace: shop}
rules:
- {apiGroups: [''], resources: [pods], verbs: [get, list, watch, delete]}
- {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [list, watch]}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [apps], resources: [deployments, replicasets, statefulsets, daemonsets], verbs: [get, list, watch]}
- {apiGroups: [apps], resources: [deployments, deployments/scale], verbs: [get, patch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: firedrill, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: firedrill}
subjects: [{kind: ServiceAccount, name: firedrill, namespace: shop}]
";

pub const SCALE: &str =
    "{name: shrink, target: {workload: deployment/web}, scale: {replicas: 1}, duration: 2m}";

/// The house with accounts, definitions and controllers.
pub struct Office {
    pub stage: Stage,
    pub access: Access,
    before: BTreeMap<String, Value>,
}

/// A controller that runs.
pub struct Replica {
    pub task: JoinHandle<()>,
    pub metrics: Metrics,
    end: Option<oneshot::Sender<()>>,
}

impl Replica {
    /// It dies: nothing more is sent by it.
    pub fn dies(&self) {
        self.task.abort();
    }

    /// It is told to end, and does.
    pub async fn ends(mut self) {
        self.end.take().expect("once").send(()).expect("it listens");
        self.task.await.expect("it ends by itself");
    }
}

impl Office {
    /// Settled, with an experiment `trial` of these steps.
    pub async fn open(steps: &[&str]) -> Self {
        Self::with(&experiment(steps)).await
    }

    /// The same with an experiment of the caller's.
    pub async fn with(text: &str) -> Self {
        Self::furnished(text, manifests(ACCOUNT)).await
    }

    /// The same with accounts and rights of the caller's.
    pub async fn furnished(text: &str, accounts: Vec<Value>) -> Self {
        Self::built(house(), text, accounts).await
    }

    /// The same in a house of the caller's.
    pub async fn built(house: Vec<Value>, text: &str, accounts: Vec<Value>) -> Self {
        let mut objects = api::crds::crds();
        objects.extend(house);
        objects.extend(accounts);
        objects.extend(manifests(text));
        let stage = settled_with(&objects, 1).await;
        let before = state(&stage);
        Self { access: Access::new(stage.cluster.sim().client()), stage, before }
    }

    /// A controller over `env`.
    pub fn replica_over(&self, env: Env, name: &str) -> Replica {
        self.replica_of(env, (name, 10))
    }

    /// The same with so many runs at once.
    pub fn replica_of(&self, env: Env, (name, at_once): (&str, usize)) -> Replica {
        let metrics = Metrics::default();
        let settings = Settings {
            namespace: "firedrill".to_owned(),
            pod: String::new(),
            name: name.to_owned(),
            source: None,
            environment: Environment { cluster: "embedded".to_owned(), ..Environment::default() },
            at_once,
            metrics: metrics.clone(),
            agents: false,
        };
        let (tx, rx) = oneshot::channel();
        let task = tokio::spawn(async move {
            let end = async {
                if rx.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            controller::serve(env, settings, end).await.expect("it can join");
        });
        Replica { task, metrics, end: Some(tx) }
    }

    pub fn replica(&self, name: &str) -> Replica {
        self.replica_over(self.stage.env.clone(), name)
    }

    /// Creates a Run of `trial`.
    pub async fn run(&self, name: &str, mut spec: Value) -> ObjectRef {
        spec["experimentRef"] = json!({"name": "trial"});
        self.make(name, spec).await
    }

    pub async fn make(&self, name: &str, spec: Value) -> ObjectRef {
        let mut run = ObjectRef::namespaced(api::API_VERSION, "Run", "shop", name);
        let body = json!({"apiVersion": api::API_VERSION, "kind": "Run", "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        let made = self.access.create(&run, body, Write::default()).await.expect("it is created");
        run.uid = made.metadata.uid.expect("it has one");
        run
    }

    pub async fn get(&self, run: &ObjectRef) -> Option<DynamicObject> {
        self.access.get(run).await.ok()
    }

    pub async fn status(&self, run: &ObjectRef) -> Value {
        self.get(run).await.map_or(Value::Null, |run| run.data["status"].clone())
    }

    /// Changes a Run's status, as if its run had ended so.
    pub async fn ended_so(&self, run: &ObjectRef, status: Value) {
        let patch = kube::api::Patch::Merge(json!({"status": status}));
        let api = self.access.api(run);
        api.patch_status(&run.name, &kube::api::PatchParams::default(), &patch).await.expect("it is changed");
    }

    /// Changes a Run's spec as a person does.
    pub async fn set(&self, run: &ObjectRef, spec: Value) {
        let patch = kube::api::Patch::Merge(json!({"spec": spec}));
        let api = self.access.api(run);
        api.patch(&run.name, &kube::api::PatchParams::default(), &patch).await.expect("it is changed");
    }

    /// Halts everything.
    pub async fn halt(&self) {
        let button = ObjectRef::namespaced(api::API_VERSION, "Guardrail", "", "halt");
        let body = json!({"apiVersion": api::API_VERSION, "kind": "Guardrail", "metadata": {"name": "halt"},
            "spec": {"halt": true, "haltReason": "an incident"}});
        self.access.create(&button, body, Write::default()).await.expect("it is created");
    }

    pub async fn delete(&self, object: &ObjectRef) {
        let api = self.access.api(object);
        api.delete(&object.name, &DeleteParams::default()).await.expect("it is deleted");
    }

    /// Waits until `holds`, for a thousand seconds at the most.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        for _ in 0..4000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("never: {what}");
    }

    /// Waits until a Run is over and let go; its status.
    pub async fn over(&self, run: &ObjectRef) -> Value {
        self.until("the Run is over", async || {
            let found = self.get(run).await.expect("it is there");
            let seen = RunSeen::read(&found).expect("a Run");
            seen.over() && !seen.finalizer
        })
        .await;
        self.until("nobody has it", async || {
            !self.held().contains(&format!("firedrill/run-{}", run_id(run)))
        })
        .await;
        self.status(run).await
    }

    /// Waits until the fault of `shrink` is in force.
    pub async fn shrunk(&self) {
        self.until("the fault is in force", async || {
            object(&self.stage, &Kind::DEPLOYMENT, "shop", "web")["status"]["readyReplicas"] == 1
        })
        .await;
    }

    /// Waits until a Run's status says so.
    pub async fn says(&self, run: &ObjectRef, field: &str, value: &str) -> Value {
        for _ in 0..4000 {
            let status = self.status(run).await;
            if status[field] == value {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("its {field} is never {value}: {}", self.status(run).await);
    }

    pub fn replicas(&self) -> Value {
        object(&self.stage, &Kind::DEPLOYMENT, "shop", "web")["spec"]["replicas"].clone()
    }

    /// The whole journal of a Run.
    pub async fn journal(&self, run: &ObjectRef) -> Vec<Entry> {
        let bytes = Segments::bytes(&self.access, "firedrill", &run_id(run)).await.expect("it can be read");
        journal::decode(&bytes).expect("it is not damaged").0
    }

    pub async fn journals(&self) -> Vec<JournalFound> {
        Segments::list(&self.access, "firedrill").await.expect("they can be listed")
    }

    /// Everything is as before, and nobody holds anything.
    pub async fn assert_as_before(&self) {
        for _ in 0..100 {
            if state(&self.stage) == self.before {
                return;
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        assert_eq!(difference(&self.before, &state(&self.stage)), Vec::<String>::new());
    }

    /// The reasons of our Events on objects of a kind, in the order in which they were written.
    pub fn events(&self, kind: &str) -> Vec<String> {
        let reason = |event: &Value| event["reason"].as_str().unwrap_or_default().to_owned();
        self.told(kind).iter().map(reason).collect()
    }

    /// Our Events on objects of a kind.
    pub fn told(&self, kind: &str) -> Vec<Value> {
        let (objects, _) = self.stage.cluster.sim().store().list_and_subscribe_everything();
        let events = objects
            .iter()
            .filter(|object| object.kind.kind.as_ref() == "Event")
            .map(|event| event.to_value());
        let mut ours: Vec<Value> = events
            .filter(|event| {
                event["source"]["component"] == "firedrill-controller"
                    && event["involvedObject"]["kind"] == kind
            })
            .collect();
        ours.sort_by_key(|event| {
            event["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse::<u64>().ok())
        });
        ours
    }

    /// The claims and the leases of target namespaces.
    pub fn held(&self) -> Vec<String> {
        let (objects, _) = self.stage.cluster.sim().store().list_and_subscribe_everything();
        let leases = objects.iter().filter(|object| object.kind.kind.as_ref() == "Lease");
        let names = leases.map(|lease| format!("{}/{}", lease.meta.namespace, lease.meta.name));
        names.filter(|name| name.starts_with("firedrill/run-") || name == "shop/firedrill").collect()
    }
}

/// The state but for what is ours: Runs, game days and journals.
fn state(stage: &Stage) -> BTreeMap<String, Value> {
    let mut state = stage.state();
    state.retain(|key, _| {
        !key.starts_with("Run ") && !key.starts_with("GameDay ") && !key.starts_with("ConfigMap firedrill/")
    });
    state
}

/// What is true of every journal that has its end: it can be replayed, and nothing is in force.
pub fn assert_whole(entries: &[Entry]) -> State {
    let state = State::replay(entries).expect("it can be replayed");
    assert!(matches!(entries.last().map(|entry| &entry.record), Some(Record::Finished { .. })));
    assert_eq!(state.pending().count(), 0);
    state
}
