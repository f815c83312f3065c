//! The cluster, who talks to it, and a run of the engine with the times of its records.

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use firedrill::{
    api::{self, SourceText, check::Document},
    cluster::{Mirror, Scope, WebSockets},
    engine::{self, Request, Start},
    env::{Clock, DirStorage, Env, HttpClient, Rng},
    journal::{Entry, Environment, Record},
    plan::Consent,
    types::Verdict,
};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

/// Of a part of the bench.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The namespace that is drilled.
pub const NAMESPACE: &str = "bench";
/// How the engine's calls are told from all others in the audit log.
const AGENT: &str = "firedrill-bench";
/// How long anything here may take before it counts as not working.
const AT_MOST: Duration = Duration::from_secs(300);

/// A cluster to measure on.
pub struct Bench {
    /// The calls of the bench itself, and those that are sent bare.
    pub bare: Client,
    /// Everything in it, followed: shows when pods are gone, to all contestants alike.
    pub mirror: Mirror,
    /// Rounds of what takes long.
    pub rounds: usize,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    audit: Option<PathBuf>,
    engine: Client,
    storage: tempfile::TempDir,
}

/// What a run wrote down.
pub struct Ran {
    pub entries: Vec<Entry>,
}

/// Calls by verb and resource.
pub type Calls = BTreeMap<(String, String), usize>;

impl Bench {
    /// Connects to the cluster of the environment; None if it names none.
    pub async fn connect() -> Outcome<Option<Self>> {
        let Some(kubeconfig) = std::env::var_os("FIREDRILL_BENCH_KUBECONFIG").map(PathBuf::from) else {
            return Ok(None);
        };
        let bare = client(&kubeconfig, "bare-bench").await?;
        let bench = Self {
            mirror: Mirror::start(&bare, &Scope::Cluster).await?,
            engine: client(&kubeconfig, AGENT).await?,
            bare,
            rounds: if std::env::var_os("FIREDRILL_LONG").is_some() { 100 } else { 5 },
            kubectl: std::env::var_os("FIREDRILL_BENCH_KUBECTL").map_or("kubectl".into(), PathBuf::from),
            audit: std::env::var_os("FIREDRILL_BENCH_AUDIT").map(PathBuf::from),
            kubeconfig,
            storage: tempfile::tempdir()?,
        };
        bench
            .create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata":
            {"name": NAMESPACE, "labels": {"firedrill.dev/allowed": "true"}}}))
            .await?;
        Ok(Some(bench))
    }

    /// Creates an object of the kinds that are needed here; one that is there already stays.
    pub async fn create(&self, object: &Value) -> Outcome {
        let parameters = PostParams::default();
        let resource = kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind {
            group: object["apiVersion"]
                .as_str()
                .and_then(|v| v.split_once('/'))
                .map_or("", |v| v.0)
                .to_owned(),
            version: object["apiVersion"]
                .as_str()
                .and_then(|v| v.rsplit('/').next())
                .unwrap_or("v1")
                .to_owned(),
            kind: object["kind"].as_str().unwrap_or_default().to_owned(),
        });
        let api: Api<kube::api::DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.bare.clone(), namespace, &resource),
            None => Api::all_with(self.bare.clone(), &resource),
        };
        match api.create(&parameters, &serde_json::from_value(object.clone())?).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
    }

    /// A Deployment of so many pods, all of them on `node`, if one is named; waits until they are ready.
    pub async fn deploy(&self, name: &str, replicas: usize, node: Option<&str>) -> Outcome {
        let others = |name: &str| node.is_some_and(|node| node != name);
        self.cordon(others).await?;
        let labels = json!({"app": name});
        self.create(&json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": "app:1"}]}}}}))
            .await?;
        self.until("pods ready", |snapshot| {
            let ready = snapshot
                .pods_in(NAMESPACE)
                .filter(|pod| pod.ready && pod.labels.get("app").is_some_and(|app| app == name));
            ready.count() == replicas
        })
        .await?;
        self.cordon(|_| false).await
    }

    /// Deletes a Deployment and waits until its pods are gone.
    pub async fn undeploy(&self, name: &str) -> Outcome {
        let deployments: Api<Deployment> = Api::namespaced(self.bare.clone(), NAMESPACE);
        deployments.delete(name, &DeleteParams::background()).await?;
        self.until("pods gone", |snapshot| {
            !snapshot.pods_in(NAMESPACE).any(|pod| pod.labels.get("app").is_some_and(|app| app == name))
        })
        .await
    }

    /// Makes exactly these nodes of the pool unschedulable, and waits until the taints follow.
    async fn cordon(&self, wanted: impl Fn(&str) -> bool) -> Outcome {
        let nodes: Api<Node> = Api::all(self.bare.clone());
        for node in nodes.list(&ListParams::default().labels("pool=general")).await? {
            let name = node.metadata.name.unwrap_or_default();
            let now = node.spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
            if now != wanted(&name) {
                let patch = Patch::Merge(json!({"spec": {"unschedulable": wanted(&name).then_some(true)}}));
                nodes.patch(&name, &PatchParams::default(), &patch).await?;
            }
        }
        self.until("taints as wanted", |snapshot| {
            let pool = snapshot
                .nodes
                .values()
                .filter(|node| node.labels.get("pool").is_some_and(|p| p == "general"));
            pool.into_iter().all(|node| {
                let wanted = wanted(&node.object.name);
                node.unschedulable == wanted
                    && node.taints.iter().any(|taint| taint.key.contains("unschedulable")) == wanted
            })
        })
        .await
    }

    /// How the cluster is reached.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A folder that goes with this.
    pub fn folder(&self) -> &Path {
        self.storage.path()
    }

    /// Waits until the mirror shows it.
    pub async fn until(&self, what: &str, seen: impl Fn(&firedrill::cluster::Snapshot) -> bool) -> Outcome {
        let wait = self.mirror.wait_for(|snapshot| seen(snapshot).then_some(()));
        tokio::time::timeout(AT_MOST, wait).await.map_err(|_| format!("not seen: {what}"))?;
        Ok(())
    }

    /// Seconds that kubectl takes.
    pub async fn kubectl(&self, arguments: &[&str]) -> Outcome<f64> {
        let mut command = std::process::Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        let start = tokio::time::Instant::now();
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let seconds = start.elapsed().as_secs_f64();
        if !output.status.success() {
            return Err(format!("kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(seconds)
    }

    /// Runs an experiment with the engine; `watch` is told of each record as it is written.
    pub async fn run(
        &self,
        method: &str,
        probe: &str,
        watch: impl Fn(&Entry) + Send + Sync + 'static,
        expected: Verdict,
    ) -> Outcome<Ran> {
        let text = format!(
            "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: bench, namespace: {NAMESPACE}}}\n\
             spec:\n  hypothesis: It is quick.\n  steadyState:\n{probe}  baseline: {{duration: 1s}}\n  method:\n{method}  \
             objectives: {{stableFor: 1s, recoverWithin: 2m}}\n  limits: {{pods: 100%, nodes: 100%, duration: 30m}}\n"
        );
        let (env, request) = (self.env(), request(&text)?);
        let assessment = engine::assess(&env, &request).await.map_err(|findings| format!("{findings:#?}"))?;
        if assessment.refused() {
            return Err(format!("{:#?}", assessment.plan.findings).into());
        }
        let (outside_tx, outside_rx) = tokio::sync::mpsc::unbounded_channel();
        let entries: Arc<Mutex<Vec<Entry>>> = Arc::default();
        let seen = entries.clone();
        let observer = Arc::new(move |entry: &Entry| {
            watch(entry);
            seen.lock().expect("nothing panics while holding it").push(entry.clone());
        });
        let revert_timeout = Duration::from_secs(60);
        let start = Start { request, id: None, assessment, revert_timeout, outside_rx, outside_tx, observer };
        let outcome = engine::run(&env, start).await?;
        let entries = entries.lock().expect("nothing panics while holding it").clone();
        if outcome.verdict != expected || !outcome.residue.is_empty() {
            let decided = entries.iter().find(|entry| matches!(entry.record, Record::Decided { .. }));
            return Err(format!("it ended {:?}: {decided:?}, {:?}", outcome.verdict, outcome.residue).into());
        }
        Ok(Ran { entries })
    }

    fn env(&self) -> Env {
        Env {
            clock: Clock::system(),
            rng: Rng::new(7),
            agents: Arc::new(WebSockets::new(self.engine.clone())),
            kube: self.engine.clone(),
            http: HttpClient::network(),
            load: firedrill::load::network(),
            storage: Arc::new(DirStorage::new(self.storage.path())),
        }
    }

    /// What the engine asked the API server for between two instants, by the server's own audit log; None
    /// without one.
    pub fn calls(&self, from: Timestamp, to: Timestamp) -> Outcome<Option<Calls>> {
        let Some(path) = &self.audit else { return Ok(None) };
        let mut calls = Calls::new();
        for line in std::fs::read_to_string(path)?.lines().filter(|line| line.contains(AGENT)) {
            let event: Value = serde_json::from_str(line)?;
            let at: Timestamp = event["requestReceivedTimestamp"].as_str().unwrap_or_default().parse()?;
            // A watch is logged when it begins and when it ends.
            let counted = event["stage"] != "ResponseStarted" && event["userAgent"] == AGENT;
            if counted && at >= from && at <= to {
                let object = &event["objectRef"];
                let mut resource = object["resource"].as_str().unwrap_or_default().to_owned();
                if let Some(sub) = object["subresource"].as_str() {
                    resource = format!("{resource}/{sub}");
                }
                *calls
                    .entry((event["verb"].as_str().unwrap_or_default().to_owned(), resource))
                    .or_default() += 1;
            }
        }
        Ok(Some(calls))
    }
}

impl Ran {
    /// When each record that `is` chooses was written, in order.
    pub fn times(&self, is: impl Fn(&Record) -> bool) -> Vec<Timestamp> {
        self.entries.iter().filter(|entry| is(&entry.record)).map(|entry| entry.at).collect()
    }

    /// Milliseconds from the first record of one kind to the last of another.
    pub fn between(&self, first: impl Fn(&Record) -> bool, last: impl Fn(&Record) -> bool) -> Outcome<f64> {
        let first = *self.times(first).first().ok_or("no such first record")?;
        let last = *self.times(last).last().ok_or("no such last record")?;
        Ok(last.duration_since(first).as_secs_f64() * 1_000.0)
    }
}

/// Of calls, those with one of these verbs.
pub fn count(calls: &Calls, verbs: &[&str]) -> usize {
    calls.iter().filter(|((verb, _), _)| verbs.contains(&verb.as_str())).map(|(_, count)| count).sum()
}

async fn client(kubeconfig: &PathBuf, agent: &'static str) -> Outcome<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // As the command line does.
    config.default_retry = false;
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(agent)));
    Ok(Client::try_from(config)?)
}

fn request(text: &str) -> Outcome<Request> {
    let read = api::read(&[SourceText::new("bench.yaml", text)]);
    if let Some(finding) = read.findings.iter().find(|finding| finding.is_error()) {
        return Err(format!("{finding:?} in\n{text}").into());
    }
    let accepted = read.documents.into_iter().next().ok_or("nothing was read")?;
    let Document::Experiment(experiment) = accepted.document else { return Err("no experiment".into()) };
    Ok(Request {
        namespace: NAMESPACE.to_owned(),
        experiment: *experiment,
        value: accepted.json,
        file: "bench.yaml".to_owned(),
        seed: 7,
        environment: Environment { cluster: "bench".to_owned(), ..Environment::default() },
        consent: Consent::default(),
        source: None,
        holder: format!("bench-{}", std::process::id()),
        asked_by: String::new(),
    })
}
