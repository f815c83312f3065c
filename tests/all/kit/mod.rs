//! An embedded cluster, an experiment, and what came of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use firedrill::{
    api::{self, Experiment, check::Document},
    engine::{self, EngineError, Outcome, Outside, Request, Start},
    env::{Clock, Env, HttpClient, HttpError, MemoryStorage, Rng},
    journal::{self, Entry, Environment},
    load,
    plan::Consent,
    probes::{ServiceRef, Source},
    sim::{
        SimConfig,
        cluster::{Cluster, PROMETHEUS},
    },
    types::{Finding, RunId, Verdict},
};
use serde_json::Value;
use tokio::sync::mpsc;

/// The shop of `experiments/demo`, as JSON objects.
pub fn shop() -> Vec<Value> {
    manifests(include_str!("../../../experiments/demo/shop.yaml"))
}

/// Every document of a YAML text.
pub fn manifests(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_yaml::from_multiple(text).expect("valid YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// Reads one experiment, as `check` does; a finding that is an error fails the test with its text.
pub fn experiment(text: &str) -> (Experiment, Value) {
    let source = api::SourceText::new("experiment.yaml", text);
    let read = api::read(std::slice::from_ref(&source));
    let errors: Vec<&Finding> = read.findings.iter().filter(|finding| finding.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    for accepted in read.documents {
        if let Document::Experiment(experiment) = accepted.document {
            return (*experiment, accepted.json);
        }
    }
    panic!("there is no experiment in it");
}

/// An embedded cluster with traffic flowing, and an environment over it.
pub struct Stage {
    pub cluster: Cluster,
    pub env: Env,
    pub storage: MemoryStorage,
}

/// Where agents run.
pub fn agents_namespace() -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": firedrill::types::AGENT_NAMESPACE}})
}

impl Stage {
    /// Built, settled and warmed up. Call it in a runtime with paused time.
    pub async fn new(objects: &[Value], seed: u64) -> Self {
        let config = SimConfig { seed, ..SimConfig::default() };
        let mut all = api::crds::crds();
        all.push(agents_namespace());
        all.extend(objects.iter().cloned());
        let cluster = Cluster::start(&config, &all).expect("the manifests are accepted");
        cluster.settle(Duration::from_secs(600)).await.expect("the workloads become ready");
        tokio::time::sleep(Duration::from_secs(150)).await;
        let storage = MemoryStorage::default();
        let env = Env {
            clock: Clock::starting_at(cluster.now()),
            rng: Rng::new(seed),
            kube: cluster.sim().client(),
            http: HttpClient::from_fn(|_| {
                Box::pin(async { Err(HttpError::Unreachable("nothing is outside".to_owned())) })
            }),
            load: load::embedded(cluster.metrics()),
            storage: Arc::new(storage.clone()),
            agents: firedrill::faults::embedded_agents(&cluster, firedrill::sim::apiserver::User::admin()),
        };
        Self { cluster, env, storage }
    }

    /// What running `text` asks for.
    pub fn request(&self, text: &str, seed: u64) -> Request {
        let (experiment, value) = experiment(text);
        let (namespace, name) = PROMETHEUS;
        let service = ServiceRef {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            port: 9090,
            scheme: "http".to_owned(),
            path: String::new(),
        };
        Request {
            namespace: experiment.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            experiment,
            value,
            file: "experiment.yaml".to_owned(),
            seed,
            environment: Environment {
                cluster: "embedded".to_owned(),
                rehearsal: true,
                ..Environment::default()
            },
            consent: Consent::default(),
            source: Some(Source { service: Some(service), ..Source::default() }),
            holder: "test".to_owned(),
            asked_by: String::new(),
        }
    }

    /// Assesses and runs. Err: refused, with the findings.
    pub async fn run(&self, request: Request) -> Result<Ran, Vec<Finding>> {
        self.run_with(request, |_, _| {}).await
    }

    /// The same, telling `watch` of every record, with a way to intervene.
    pub async fn run_with(
        &self,
        request: Request,
        watch: impl Fn(&Entry, &mpsc::UnboundedSender<Outside>) + Send + Sync + 'static,
    ) -> Result<Ran, Vec<Finding>> {
        run(&self.env, request, watch).await
    }

    /// What the journal of `run` says.
    pub fn journal(&self, run: &RunId) -> Vec<Entry> {
        journal::read(&self.storage, run).expect("the journal can be read")
    }

    /// What has to be as before in the end: everything but pods, their events, endpoints, leases; of
    /// workloads their spec and ready count. By kind, namespace and name.
    pub fn state(&self) -> BTreeMap<String, Value> {
        let (objects, _) = self.cluster.sim().store().list_and_subscribe_everything();
        let skipped = ["Pod", "Event", "Endpoints", "EndpointSlice", "Lease"];
        let mut state = BTreeMap::new();
        for object in objects.iter().filter(|object| !skipped.contains(&object.kind.kind.as_ref())) {
            let mut value = object.to_value();
            let ready = value.pointer("/status/readyReplicas").cloned();
            if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                for field in ["resourceVersion", "generation", "managedFields"] {
                    metadata.remove(field);
                }
            }
            if let Some(object) = value.as_object_mut() {
                object.remove("status");
                object.extend(ready.map(|ready| ("readyReplicas".to_owned(), ready)));
            }
            state.insert(
                format!("{} {}/{}", object.kind.kind, object.meta.namespace, object.meta.name),
                value,
            );
        }
        state
    }
}

/// Assesses and runs in any world, telling `watch` of every record. Err: refused, with the findings.
pub async fn run(
    env: &Env,
    request: Request,
    watch: impl Fn(&Entry, &mpsc::UnboundedSender<Outside>) + Send + Sync + 'static,
) -> Result<Ran, Vec<Finding>> {
    let assessment = engine::assess(env, &request).await?;
    if assessment.refused() {
        return Err(assessment.plan.findings);
    }
    let (outside_tx, outside_rx) = mpsc::unbounded_channel();
    let entries: Arc<Mutex<Vec<Entry>>> = Arc::default();
    let (seen, tx) = (entries.clone(), outside_tx.clone());
    let observer = Arc::new(move |entry: &Entry| {
        seen.lock().expect("no panic holds it").push(entry.clone());
        watch(entry, &tx);
    });
    let revert_timeout = Duration::from_secs(600);
    let start = Start { request, id: None, assessment, revert_timeout, outside_rx, outside_tx, observer };
    let outcome = engine::run(env, start).await;
    let entries = entries.lock().expect("no panic holds it").clone();
    Ok(Ran { outcome, entries })
}

/// What a run came to.
pub struct Ran {
    pub outcome: Result<Outcome, EngineError>,
    pub entries: Vec<Entry>,
}

impl Ran {
    /// Its verdict; a run without an ordinary end fails the test.
    pub fn verdict(&self) -> Verdict {
        self.outcome.as_ref().expect("an ordinary end").verdict
    }
}

/// Does `work` with each of `items`, as many beside each other as there are cores: one long test holds up the others else.
pub fn on_every_core<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}

/// Runs `work` in virtual time.
pub fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}
