//! Where a row is played: an embedded cluster of its own, or a corner of a real one.

use std::{sync::Arc, time::Duration};

use firedrill::{
    cluster::{Access, WebSockets},
    env::{Clock, Env, HttpClient, MemoryStorage, Rng},
    journal::Environment,
    probes::{MetricSource, ServiceRef, Source},
    sim::{apiserver::User, cluster::PROMETHEUS},
};
use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{
    row::{Judged, Row},
    state::api,
};
use crate::kit::{Stage, manifests};

/// How long traffic flows on real nodes before a rate over a minute is looked at.
const FULL_WINDOW: Duration = Duration::from_secs(60);
/// Those of the shop's visitors who met an error within a window.
const SENT_AWAY: &str = r#"sum(increase(http_requests_total{app="checkout",code=~"5.."}[1m]))"#;
/// How long what a row brings may take to become ready.
const SETTLE: Duration = Duration::from_secs(180);
/// How long budgets alone may not know of pods that are ready before the controller is made to look again.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Where a row is played.
pub struct Place {
    /// As an administrator.
    pub client: Client,
    /// The world of the run.
    pub env: Env,
    /// Where PromQL is answered.
    pub source: Option<Source>,
    /// What the run is told of where it is.
    pub environment: Environment,
    /// The embedded cluster, which ends with this.
    _stage: Option<Stage>,
}

/// A real cluster.
#[derive(Clone)]
pub struct Real {
    config: kube::Config,
    prometheus: Option<Source>,
}

impl Real {
    /// As the environment says. None, with a word of it, where it says nothing.
    pub fn from_env(what: &str) -> Option<Self> {
        let Some(path) = std::env::var_os("FIREDRILL_BENCH_KUBECONFIG") else {
            eprintln!("skipped: {what} needs FIREDRILL_BENCH_KUBECONFIG; tests/real/scenarios.sh has it");
            return None;
        };
        let kubeconfig = Kubeconfig::read_from(path).expect("FIREDRILL_BENCH_KUBECONFIG can be read");
        let options = KubeConfigOptions::default();
        let config = crate::scenarios::blocking(kube::Config::from_custom_kubeconfig(kubeconfig, &options));
        let mut config = config.expect("FIREDRILL_BENCH_KUBECONFIG is a kubeconfig");
        config.default_retry = false;
        let prometheus = std::env::var("FIREDRILL_BENCH_PROMETHEUS").ok();
        let prometheus = prometheus.map(|url| url.parse().expect("FIREDRILL_BENCH_PROMETHEUS is a URL"));
        Some(Self { config, prometheus })
    }

    /// Whether something measures what pods answer.
    pub fn has_metrics(&self) -> bool {
        self.prometheus.is_some()
    }

    /// A client with an administrator's rights. Needs a runtime.
    pub fn client(&self) -> Client {
        Client::try_from(self.config.clone()).expect("the kubeconfig is one")
    }

    /// The same cluster, reached through somebody who listens on this machine.
    pub fn through(&self, port: u16) -> Self {
        let mut config = self.config.clone();
        config.tls_server_name = config.cluster_url.host().map(str::to_owned);
        config.cluster_url = format!("https://127.0.0.1:{port}").parse().expect("a URL");
        Self { config, prometheus: self.prometheus.clone() }
    }

    /// Host and port of its API server.
    pub fn address(&self) -> String {
        self.config.cluster_url.authority().map(ToString::to_string).unwrap_or_default()
    }

    /// A client that acts as somebody.
    pub fn client_as(&self, user: &str) -> Client {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        Client::try_from(config).expect("the kubeconfig is one")
    }

    /// A client of a ServiceAccount itself, by a token of its own.
    pub async fn client_of(&self, namespace: &str, account: &str) -> Result<Client, String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let given =
            accounts.create_token_request(account, &PostParams::default(), &TokenRequest::default()).await;
        let given = given.map_err(|error| format!("a token of {account}: {error}"))?;
        let mut config = self.config.clone();
        let token = given.status.and_then(|status| status.token).map(Into::into);
        config.auth_info = AuthInfo { token, ..AuthInfo::default() };
        Client::try_from(config).map_err(|error| error.to_string())
    }

    /// The row's corner, with all that it brings ready.
    pub async fn place(&self, row: &Row) -> Result<Place, String> {
        let client = self.client();
        let objects = manifests(&row.fill(&row.objects));
        // The nodes first, or the pods gather on the one that is ready first.
        let (nodes, others): (Vec<Value>, Vec<Value>) =
            objects.into_iter().partition(|object| object["kind"] == "Node");
        create(&client, &nodes).await?;
        settled(&client, row).await?;
        create(&client, &others).await?;
        if self.prometheus.is_some() && row.experiment.contains("[1m]") {
            // A rate over a minute wants most of a minute of traffic before it says what normal is.
            settled(&client, row).await?;
            tokio::time::sleep(FULL_WINDOW).await;
            self.untroubled().await?;
        }
        let acting = account(row).map_or_else(|| self.client(), |account| self.client_as(&account));
        Ok(Place {
            env: Env {
                clock: Clock::system(),
                rng: Rng::new(row.seed),
                agents: Arc::new(WebSockets::new(acting.clone())),
                kube: acting,
                http: HttpClient::network(),
                load: firedrill::load::network(),
                storage: Arc::new(MemoryStorage::default()),
            },
            client,
            source: self.prometheus.clone(),
            environment: Environment { cluster: "bench".to_owned(), ..Environment::default() },
            _stage: None,
        })
    }

    /// Waits until no visitor of the shop was sent away for a whole window: a bench that has just come up
    /// drops some, which is not what a row is judged by.
    async fn untroubled(&self) -> Result<(), String> {
        let Some(source) = &self.prometheus else { return Ok(()) };
        let (access, http) = (Access::new(self.client()), HttpClient::network());
        let source = MetricSource::resolve(&access, "", source).await.map_err(|error| error.to_string())?;
        let begun = tokio::time::Instant::now();
        loop {
            let answer = source.query(&access, &http, SENT_AWAY).await.map_err(|error| error.to_string())?;
            let answer: Value = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
            let sent_away = &answer["data"]["result"][0]["value"][1];
            if answer["status"] == "success" && (sent_away.is_null() || sent_away == "0") {
                return Ok(());
            }
            if begun.elapsed() >= SETTLE {
                return Err(format!("without any fault, {SENT_AWAY}: {answer}"));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Takes away what the row has brought.
    pub async fn clear(&self, row: &Row) {
        let (client, now) = (self.client(), DeleteParams::default().grace_period(0));
        let of_row = ListParams::default().labels(&format!("row={}", row.namespace));
        let others = [("firedrill.dev", "v1alpha1", "Guardrail"), ("karpenter.sh", "v1", "NodeClaim")];
        let pools = ("karpenter.sh", "v1", "NodePool");
        for kind in [("", "v1", "Node"), RBAC_ROLE, RBAC_BINDING, pools].into_iter().chain(others) {
            let _ = api(&client, kind, "").delete_collection(&now, &of_row).await;
        }
        for namespace in super::namespaces(row) {
            let _ = api(&client, NAMESPACE, "").delete(&namespace, &DeleteParams::default()).await;
        }
        if row.judged == Judged::Alone {
            let normal = json!({"metadata": {"labels": {"firedrill.dev/environment": null}}});
            let how = PatchParams::default();
            let _ = api(&client, NAMESPACE, "").patch("kube-system", &how, &Patch::Merge(normal)).await;
        }
    }
}

const NAMESPACE: (&str, &str, &str) = ("", "v1", "Namespace");
const RBAC_ROLE: (&str, &str, &str) = ("rbac.authorization.k8s.io", "v1", "ClusterRole");
const RBAC_BINDING: (&str, &str, &str) = ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding");

fn account(row: &Row) -> Option<String> {
    row.as_account.then(|| format!("system:serviceaccount:{}:drill", row.namespace))
}

/// An embedded cluster of the row's own, settled; with metrics, traffic has been flowing.
pub async fn embedded(row: &Row) -> Result<Place, String> {
    let stage = Stage::new(&manifests(&row.fill(&row.objects)), row.seed).await;
    let mut env = stage.env.clone();
    if let Some(account) = account(row) {
        env.kube = stage.cluster.sim().client_as(User::new(&account, &[]));
    }
    let (namespace, name) = PROMETHEUS;
    let service = ServiceRef {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        port: 9090,
        scheme: "http".to_owned(),
        path: String::new(),
    };
    let client = stage.cluster.sim().client();
    Ok(Place {
        client,
        env,
        source: Some(Source { service: Some(service), ..Source::default() }),
        environment: Environment {
            cluster: "embedded".to_owned(),
            rehearsal: true,
            ..Environment::default()
        },
        _stage: Some(stage),
    })
}

/// Creates objects in an order in which they can be.
pub async fn create(client: &Client, objects: &[Value]) -> Result<(), String> {
    let rank = |object: &&Value| match object["kind"].as_str() {
        Some("Namespace") => 0,
        Some("CustomResourceDefinition") => 1,
        Some("Node" | "ServiceAccount") => 2,
        _ => 3,
    };
    let mut sorted: Vec<&Value> = objects.iter().collect();
    sorted.sort_by_key(rank);
    for value in sorted {
        let object: DynamicObject =
            serde_json::from_value(value.clone()).map_err(|error| format!("{error}: {value}"))?;
        let types = object.types.clone().unwrap_or_default();
        let (group, version) = types.api_version.rsplit_once('/').unwrap_or(("", &types.api_version));
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let api = api(client, (group, version, &types.kind), &namespace);
        let mut created = api.create(&PostParams::default(), &object).await;
        // A definition that is new: what it defines is served a moment later.
        let custom = |created: &Result<_, kube::Error>| {
            group.contains('.') && matches!(created, Err(kube::Error::Api(status)) if status.code == 404)
        };
        for _ in 0..20 {
            if !custom(&created) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            created = api.create(&PostParams::default(), &object).await;
        }
        match created {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => return Err(format!("creating {value}: {error}")),
        }
    }
    Ok(())
}

/// Waits until workloads are whole, budgets have seen that, and nodes are ready.
pub async fn settled(client: &Client, row: &Row) -> Result<(), String> {
    let begun = tokio::time::Instant::now();
    let mut touched = begun;
    loop {
        let waiting = waiting_for(client, row).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        if touched.elapsed() >= FORGOTTEN
            && waiting.iter().all(|what| what.starts_with("PodDisruptionBudget "))
        {
            touch_budgets(client, row, begun.elapsed().as_millis()).await?;
            touched = tokio::time::Instant::now();
        }
        if begun.elapsed() >= SETTLE {
            return Err(format!("not ready: {}", waiting.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Has the controller look at the budgets again: of several over one pod it picks one when the pod becomes
/// ready, and leaves the others as they were (getPdbForPod in pkg/controller/disruption/disruption.go).
async fn touch_budgets(client: &Client, row: &Row, mark: u128) -> Result<(), String> {
    let touch = Patch::Merge(json!({"metadata": {"annotations": {"touched": mark.to_string()}}}));
    for namespace in super::namespaces(row) {
        let budgets: Api<DynamicObject> = api(client, ("policy", "v1", "PodDisruptionBudget"), &namespace);
        let listed = budgets.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        for name in listed.items.into_iter().filter_map(|budget| budget.metadata.name) {
            let done = budgets.patch(&name, &PatchParams::default(), &touch).await;
            done.map_err(|error| format!("touching {name}: {error}"))?;
        }
    }
    Ok(())
}

async fn waiting_for(client: &Client, row: &Row) -> Result<Vec<String>, String> {
    let mut waiting = Vec::new();
    let mut look = async |kind: (&str, &str, &str), namespace: &str, ready: fn(&Value) -> bool| {
        let all = ListParams::default();
        let listed: Api<DynamicObject> = api(client, kind, namespace);
        let listed = listed.list(&all).await.map_err(|error| format!("listing {}: {error}", kind.2))?;
        for object in listed.items {
            let row_of = object.metadata.labels.as_ref().and_then(|labels| labels.get("row"));
            let other = namespace.is_empty() && row_of.is_some_and(|of| of != row.namespace);
            let name = object.metadata.name.clone().unwrap_or_default();
            let generation = object.metadata.generation;
            let mut value = object.data;
            value["generation"] = json!(generation);
            if !other && !ready(&value) {
                waiting.push(format!("{} {name}", kind.2));
            }
        }
        Ok::<(), String>(())
    };
    look(("", "v1", "Node"), "", node_is_ready).await?;
    for namespace in super::namespaces(row) {
        look(("apps", "v1", "Deployment"), &namespace, is_whole).await?;
        look(("apps", "v1", "StatefulSet"), &namespace, is_whole).await?;
        look(("apps", "v1", "DaemonSet"), &namespace, daemons_are_ready).await?;
        look(("policy", "v1", "PodDisruptionBudget"), &namespace, budget_is_known).await?;
        look(("autoscaling", "v2", "HorizontalPodAutoscaler"), &namespace, has_looked).await?;
        look(("", "v1", "Pod"), &namespace, pod_is_ready).await?;
    }
    Ok(waiting)
}

fn observed(object: &Value) -> bool {
    object.pointer("/status/observedGeneration") == object.get("generation")
}

fn is_whole(object: &Value) -> bool {
    let ready = object.pointer("/status/readyReplicas").and_then(Value::as_i64).unwrap_or(0);
    let there = object.pointer("/status/replicas").and_then(Value::as_i64).unwrap_or(0);
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    observed(object) && ready == wanted && there == wanted
}

fn daemons_are_ready(object: &Value) -> bool {
    let status = &object["status"];
    observed(object)
        && status["desiredNumberScheduled"].as_i64() > Some(0)
        && status["numberReady"] == status["desiredNumberScheduled"]
}

fn budget_is_known(object: &Value) -> bool {
    let status = &object["status"];
    observed(object) && status["currentHealthy"] == status["expectedPods"] && status["expectedPods"].is_i64()
}

/// Its controller comes by every 15 s (--horizontal-pod-autoscaler-sync-period).
fn has_looked(autoscaler: &Value) -> bool {
    autoscaler.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|all| !all.is_empty())
}

fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == "True"))
}

fn pod_is_ready(object: &Value) -> bool {
    condition(object, "Ready")
}

fn node_is_ready(object: &Value) -> bool {
    let tainted = object.pointer("/spec/taints").and_then(Value::as_array);
    let not_ready = |taint: &Value| taint["key"] == "node.kubernetes.io/not-ready";
    condition(object, "Ready") && !tainted.is_some_and(|taints| taints.iter().any(not_ready))
}
