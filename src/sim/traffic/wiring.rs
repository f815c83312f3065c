//! From the object store to traffic and metrics: Services offer load, EndpointSlices say who takes it,
//! Pods say who is there.
//!
//! - A Service's load is its annotations ([`crate::sim::annotations`]). Clients begin when the
//!   Service has its first ready endpoint, and from then on whether it has any or not.
//! - Endpoints are those of all its EndpointSlices that are ready; where none is, those that still serve
//!   while they terminate, as kube-proxy does (pkg/proxy/topology.go, KEP-1669).
//! - A Service that pods call (`calls`) is one that has clients from when the first such pod serves.
//! - A pod's process, its first container's, listens from the moment it is Ready until that container ends or
//!   restarts, or the pod is gone from the API. A pod that is being deleted serves until its kubelet has stopped it.
//! - NetworkPolicies hold up what they do not let through (`reach`).
//! - An annotation that cannot be read counts as absent, with a warning in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use promql_parser::label::Matcher;

use super::senders::Sender;
use super::views::{
    DeploymentSpec, DeploymentStatus, Endpoint, EndpointConditions, NodeSpec, PodSpec, PodStatus, Port,
    ServiceSpec,
};
use super::{Call, Client, ClientOrder, PodState, ServiceLoad, ServicePort, Serving, Totals, Traffic};
use crate::sim::annotations::InvalidAnnotation;
use crate::sim::apiserver::Backend;
use crate::sim::metrics::http::{PrometheusApi, RuleSource};
use crate::sim::metrics::rules::{RuleSpec, Rules};
use crate::sim::metrics::scrape::ScrapeConfig;
use crate::sim::metrics::series::{Both, Series, Source};
use crate::sim::metrics::state::{DeploymentReplicas, KubeState};
use crate::sim::network::{self, Network};
use crate::sim::store::{Event, EventType, Kind, Object, Store, Subscription};
use crate::sim::usage::BusyShares;
use crate::types::load::LoadTally;

/// The label by which an EndpointSlice names its Service (discovery/v1, `LabelServiceName`).
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Traffic and metrics of one cluster. As a [`Source`] it answers up to the cluster's present.
pub struct ClusterMetrics {
    pub(super) store: Store,
    state: Mutex<State>,
}

/// The changes that a [`ClusterMetrics`] follows, of all kinds in the order of the writes. Somebody has
/// to run it.
pub struct Feed {
    metrics: Arc<ClusterMetrics>,
    changes: Subscription,
}

pub(super) struct State {
    pub(super) traffic: Traffic,
    objects: KubeState,
    rules: Rules,
    pub(super) services: BTreeMap<(String, String), ServiceView>,
    /// Services that clients have been opened for or that pods call: those have clients whatever the annotations
    /// state.
    called: BTreeSet<(String, String)>,
    /// The process that serves in each pod, by UID.
    serving: BTreeMap<String, Process>,
    /// The pods that send loads, by UID.
    pub(super) sending: BTreeMap<String, Sender>,
}

#[derive(Default)]
pub(super) struct ServiceView {
    load: Option<ServiceLoad>,
    address: Option<std::net::IpAddr>,
    ports: Vec<Port>,
    slices: BTreeMap<String, Slice>,
    begun: bool,
}

/// What an EndpointSlice says.
struct Slice {
    endpoints: Vec<Endpoint>,
    /// The pods' ports, by the names of the Service's.
    ports: Vec<Port>,
}

/// What tells one process of a pod from the next.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Process {
    restarts: i64,
    since: u64,
}

impl ClusterMetrics {
    /// Follows a store from its present objects on. Nothing after that is seen unless [`Feed::run`] runs.
    pub fn follow(store: &Store, seed: u64, scrape: ScrapeConfig) -> (Arc<Self>, Feed) {
        let now = micros(store);
        let state = State {
            traffic: Traffic::new(seed, now, scrape),
            objects: KubeState::new(scrape, (now / 1000) as i64),
            rules: Rules::new(scrape.retention_ms),
            services: BTreeMap::new(),
            called: BTreeSet::new(),
            serving: BTreeMap::new(),
            sending: BTreeMap::new(),
        };
        let metrics = Arc::new(Self { store: store.clone(), state: Mutex::new(state) });
        let (mut objects, changes) = store.list_and_subscribe_everything();
        // Services and pods are known before the slices that name them.
        objects.sort_by_key(|o| o.kind == Kind::ENDPOINT_SLICE);
        for object in &objects {
            metrics.apply(EventType::Added, object);
        }
        let feed = Feed { metrics: metrics.clone(), changes };
        (metrics, feed)
    }

    /// Prometheus' HTTP API over this cluster.
    pub fn prometheus(self: &Arc<Self>) -> PrometheusApi {
        let store = self.store.clone();
        PrometheusApi::new(self.clone(), move || store.now().as_millisecond()).with_rules(self.clone())
    }

    /// [`ClusterMetrics::prometheus`] as a back end of the API server's service proxy.
    pub fn backend(self: &Arc<Self>) -> Backend {
        let api = self.prometheus();
        Arc::new(move |request| {
            let api = api.clone();
            Box::pin(async move { api.handle(request).await })
        })
    }

    /// Counts of a Service's requests up to now.
    pub fn totals(&self, namespace: &str, name: &str) -> Option<Totals> {
        let mut state = self.lock();
        state.traffic.advance(micros(&self.store));
        state.traffic.totals(namespace, name)
    }

    /// Whether there is such a Service.
    pub fn has_service(&self, namespace: &str, name: &str) -> bool {
        self.store.get(&Kind::SERVICE, namespace, name).is_some()
    }

    /// Somebody begins to send. The number of the client.
    pub fn open_client(&self, order: ClientOrder) -> usize {
        let now = micros(&self.store);
        self.lock().open(order, now)
    }

    /// Looks at a client as it is now.
    ///
    /// # Panics
    /// If it was never opened here.
    pub fn client<T>(&self, client: usize, look: impl Fn(&Client) -> T) -> T {
        let now = micros(&self.store);
        look(self.lock().traffic.client(client, now).expect("a number that open_client gave"))
    }

    /// A client sends nothing more: what became of its requests.
    pub fn close_client(&self, client: usize) -> LoadTally {
        let now = micros(&self.store);
        self.lock().traffic.close_client(client, now).unwrap_or_default()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as of now: every scrape and every evaluation up to it can be read.
    fn at_present(&self) -> MutexGuard<'_, State> {
        let now = micros(&self.store);
        let mut state = self.lock();
        state.advance(now);
        state
    }

    /// What traffic and objects expose as of now and what rules have given, in the order of labels. Their jobs and
    /// names differ, so no label set is in two of them.
    fn of_all(&self, read: impl Fn(&dyn Source) -> Vec<Series>) -> Vec<Series> {
        let state = self.at_present();
        let exposed = Both(state.traffic.scrapes(), state.objects.scrapes());
        read(&Both(&exposed, state.rules.samples()))
    }

    fn apply(&self, kind: EventType, object: &Object) {
        let (now, gone) = (micros(&self.store), kind == EventType::Deleted);
        let state = &mut *self.lock();
        if network::KINDS.contains(&object.kind)
            && !state.traffic.change_network(object, gone, now)
            && object.kind == Kind::NETWORK_POLICY
        {
            state.traffic.set_network(Network::of(&self.store), now);
        }
        if object.kind == Kind::SERVICE {
            state.service(object, gone, now);
        } else if object.kind == Kind::ENDPOINT_SLICE {
            state.slice(object, gone, now);
        } else if object.kind == Kind::POD {
            state.pod(object, gone, now);
        } else if object.kind == Kind::DEPLOYMENT {
            state.deployment(object, gone, now);
        } else if object.kind == Kind::NODE {
            state.node(object, gone, now);
        } else if object.kind.group == "monitoring.coreos.com" && object.kind.kind == "PrometheusRule" {
            state.rule(object, gone, now);
        }
    }
}

impl BusyShares for ClusterMetrics {
    fn shares(&self, uids: &[&str]) -> Vec<f64> {
        let mut state = self.lock();
        state.traffic.advance(micros(&self.store));
        uids.iter().map(|uid| state.traffic.busy_share(uid)).collect()
    }
}

impl Source for ClusterMetrics {
    fn select(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series> {
        self.of_all(|source| source.select(matchers, from, to))
    }

    fn select_latest(&self, matchers: &[Matcher], from: i64, to: i64) -> Vec<Series> {
        self.of_all(|source| source.select_latest(matchers, from, to))
    }
}

impl RuleSource for ClusterMetrics {
    fn groups(&self, only: Option<&str>) -> serde_json::Value {
        self.at_present().rules.groups(only)
    }

    fn alerts(&self) -> serde_json::Value {
        self.at_present().rules.alerts()
    }
}

impl Feed {
    /// Applies every change at the instant it happens, until the store is gone.
    pub async fn run(mut self) {
        while let Some(Event { kind, object, .. }) = self.changes.next().await {
            self.metrics.apply(kind, &object);
        }
    }
}

/// The cluster's time in microseconds since the Unix epoch; a time before it counts as the epoch.
pub(super) fn micros(store: &Store) -> u64 {
    u64::try_from(store.now().as_microsecond()).unwrap_or(0)
}

/// A label by which workloads are usually known, or else the name.
fn app_of(object: &Object) -> &str {
    let labels = &object.meta.labels;
    let app = labels.get("app").or_else(|| labels.get("app.kubernetes.io/name"));
    app.map_or(&object.meta.name, |v| v)
}

/// A field of an object that another controller wrote; one that does not fit is as if absent.
fn field<T: serde::de::DeserializeOwned + Default>(object: &Object, name: &str) -> T {
    object.field(name).unwrap_or_default()
}

fn or_default<T: Default>(object: &Object, read: Result<T, InvalidAnnotation>) -> T {
    read.unwrap_or_else(|e| {
        tracing::warn!(object = object.key(), "{e}; the default is taken");
        T::default()
    })
}

impl ServiceView {
    /// UIDs of the pods whose conditions fit.
    fn chosen(&self, want: &dyn Fn(&EndpointConditions) -> bool) -> Vec<String> {
        let all = self.slices.values().flat_map(|slice| &slice.endpoints);
        let fitting = all.filter(|e| want(&e.conditions) && !e.target_ref.uid.is_empty());
        fitting.map(|e| e.target_ref.uid.clone()).collect()
    }

    /// The Service's ports, each with the one of its pods behind it: the same, where no pod says otherwise.
    pub(super) fn ports(&self) -> Vec<ServicePort> {
        let behind = |own: &Port| {
            let mut all = self.slices.values().flat_map(|slice| &slice.ports);
            all.find(|port| port.name == own.name).map_or(own.port, |port| port.port)
        };
        let port = |own: &Port| ServicePort { port: own.port, behind: behind(own), tls: own.speaks_tls() };
        self.ports.iter().map(port).collect()
    }

    /// An absent condition means true (discovery/v1, EndpointConditions).
    pub(super) fn ready(&self) -> Vec<String> {
        self.chosen(&|c| c.ready.unwrap_or(true))
    }
}

impl State {
    /// Time has come to `now`, microseconds since the Unix epoch.
    fn advance(&mut self, now: u64) {
        let millis = (now / 1000) as i64;
        self.traffic.advance(now);
        self.objects.advance(millis);
        self.rules.advance(millis, &Both(self.traffic.scrapes(), self.objects.scrapes()));
    }

    /// Somebody begins to send. The number of the client.
    pub(super) fn open(&mut self, order: ClientOrder, now: u64) -> usize {
        let key = (order.namespace.clone(), order.service.clone());
        self.called.insert(key.clone());
        self.serve(&key, now);
        self.traffic.open_client(&order, now)
    }

    fn rule(&mut self, object: &Object, gone: bool, now: u64) {
        // What was due until now is the business of the rules as they were.
        self.advance(now);
        let spec: RuleSpec = field(object, "spec");
        let key = (object.meta.namespace.as_str(), object.meta.name.as_str());
        self.rules.set(key, (!gone).then_some(&spec), scrape_time(now));
    }

    fn service(&mut self, object: &Object, gone: bool, now: u64) {
        let key = (object.meta.namespace.clone(), object.meta.name.clone());
        let names = (key.0.as_str(), key.1.as_str(), app_of(object));
        let stated = ServiceLoad::from_annotations(names, &object.meta.annotations);
        let load = or_default(object, stated.map(Some));
        let view = self.services.entry(key.clone()).or_default();
        if gone {
            if let Some(old) = view.load.take().filter(|_| view.begun) {
                self.traffic.set_service(ServiceLoad { per_second: 0.0, ..old }, now);
                self.traffic.set_endpoints(&key.0, &key.1, &[], now);
            }
            self.services.remove(&key);
            return;
        }
        view.load = load;
        let spec: ServiceSpec = field(object, "spec");
        view.ports = spec.ports;
        // `None` is how a headless one is written.
        view.address = spec.cluster_ip.parse().ok();
        self.serve(&key, now);
    }

    fn slice(&mut self, object: &Object, gone: bool, now: u64) {
        let Some(service) = object.meta.labels.get(SERVICE_NAME) else { return };
        let key = (object.meta.namespace.clone(), service.clone());
        let view = self.services.entry(key.clone()).or_default();
        if gone {
            view.slices.remove(&object.meta.name);
        } else {
            let endpoints: Vec<Endpoint> =
                object.raw("endpoints").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
            let ports = field(object, "ports");
            view.slices.insert(object.meta.name.clone(), Slice { endpoints, ports });
        }
        self.serve(&key, now);
    }

    /// Tells traffic what a Service's load and endpoints are now.
    fn serve(&mut self, key: &(String, String), now: u64) {
        let Some(view) = self.services.get_mut(key) else { return };
        let Some(load) = view.load.clone() else { return };
        let mut uids = view.ready();
        if uids.is_empty() {
            uids = view.chosen(&|c| c.serving.unwrap_or(false) && c.terminating.unwrap_or(false));
        }
        let waits = uids.is_empty() || load.per_second <= 0.0;
        if !view.begun && waits && !self.called.contains(key) {
            return;
        }
        view.begun = true;
        let (ports, address) = (view.ports(), view.address);
        self.traffic.set_service(load, now);
        self.traffic.set_ports(&key.0, &key.1, ports);
        self.traffic.set_address(&key.0, &key.1, address);
        self.traffic.set_endpoints(&key.0, &key.1, &uids, now);
    }

    fn pod(&mut self, object: &Object, gone: bool, now: u64) {
        let (uid, meta) = (&object.meta.uid, &object.meta);
        let at = scrape_time(now);
        if gone {
            self.serving.remove(uid);
            self.stop_sending(uid, now);
            self.traffic.remove_pod(uid, now);
            self.objects.forget_pod(&meta.namespace, uid, at);
            return;
        }
        let (spec, status): (PodSpec, PodStatus) = (field(object, "spec"), field(object, "status"));
        let ready = status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True");
        self.objects.pod_ready(&meta.namespace, (&meta.name, uid), ready, at);
        // The application is the first container's.
        let first = status.container_statuses.first();
        let running = first.is_some_and(|c| c.state.running.is_some());
        let restarts = first.map_or(0, |c| c.restart_count);
        let known = self.serving.get(uid).copied();
        if known.is_some_and(|p| !running || p.restarts != restarts) {
            self.serving.remove(uid);
            self.stop_sending(uid, now);
            self.traffic.stop_pod(uid, now);
        }
        if !running || (!ready && !self.serving.contains_key(uid)) {
            return;
        }
        let calls = or_default(object, Call::from_annotations(&meta.namespace, &meta.annotations));
        for call in calls.iter() {
            if self.called.insert(call.to.clone()) {
                self.serve(&call.to, now);
            }
        }
        let process = *self.serving.entry(uid.clone()).or_insert(Process { restarts, since: now });
        let state = PodState {
            uid: uid.clone(),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            node: spec.node_name,
            app: app_of(object).to_string(),
            serving_since: process.since,
            serving: or_default(object, Serving::from_annotations(&meta.annotations)),
            calls,
        };
        self.traffic.set_pod(state, now);
        if known.is_none() {
            self.begin_to_send(object, now);
        }
    }

    fn deployment(&mut self, object: &Object, gone: bool, now: u64) {
        let (namespace, name) = (&object.meta.namespace, &object.meta.name);
        if gone {
            return self.objects.forget_deployment(namespace, name, scrape_time(now));
        }
        let spec: DeploymentSpec = field(object, "spec");
        let status: DeploymentStatus = field(object, "status");
        let replicas = DeploymentReplicas {
            desired: spec.replicas,
            current: status.replicas,
            ready: status.ready_replicas,
            available: status.available_replicas,
            unavailable: status.unavailable_replicas,
            updated: status.updated_replicas,
        };
        self.objects.deployment(namespace, name, replicas, scrape_time(now));
    }

    fn node(&mut self, object: &Object, gone: bool, now: u64) {
        if gone {
            return self.objects.forget_node(&object.meta.name, scrape_time(now));
        }
        let spec: NodeSpec = field(object, "spec");
        self.objects.node(&object.meta.name, spec.unschedulable, scrape_time(now));
    }
}

/// Microseconds as the millisecond from which on a scrape can see them.
fn scrape_time(us: u64) -> i64 {
    super::millis(us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::sim::store::{DeleteOptions, StoreConfig};
    use crate::sim::{Sim, SimConfig};
    use serde_json::{Value as Json, json};

    fn object(kind: Kind, value: Json) -> Object {
        Object::from_value(kind, value).expect("a literal of this test")
    }

    fn pod(n: usize) -> Object {
        object(
            Kind::POD,
            json!({
                "metadata": {"namespace": "shop", "name": format!("checkout-{n}"), "labels": {"app": "checkout"},
                    "annotations": {"sim.firedrill.dev/service-time": "10ms"}},
                "spec": {"nodeName": "n1", "containers": []},
                "status": {"conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [{"restartCount": 0, "state": {"running": {}}}]},
            }),
        )
    }

    fn slice(pods: &[Arc<Object>]) -> Json {
        let endpoint = |p: &Arc<Object>| {
            json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": p.meta.name, "uid": p.meta.uid}})
        };
        Json::Array(pods.iter().map(endpoint).collect())
    }

    async fn shop() -> (Store, Vec<Arc<Object>>) {
        let start_time = "2026-11-24T10:00:00Z".parse().expect("a timestamp");
        let store = Store::new(&StoreConfig { seed: 7, start_time, ..StoreConfig::default() });
        store.create(Object::new(Kind::NAMESPACE, "", "shop")).expect("namespace");
        let service = json!({
            "metadata": {"namespace": "shop", "name": "checkout",
                "annotations": {"sim.firedrill.dev/offered-load": "100"}},
            "spec": {"selector": {"app": "checkout"}},
        });
        store.create(object(Kind::SERVICE, service)).expect("service");
        let pods: Vec<_> = (0..4).map(|n| store.create(pod(n)).expect("pod")).collect();
        (store, pods)
    }

    fn endpoints(pods: &[Arc<Object>]) -> Object {
        let value = json!({
            "metadata": {"namespace": "shop", "name": "checkout-x", "labels": {SERVICE_NAME: "checkout"}},
            "addressType": "IPv4", "endpoints": slice(pods),
        });
        object(Kind::ENDPOINT_SLICE, value)
    }

    async fn ask(metrics: &Arc<ClusterMetrics>, query: &str) -> Option<f64> {
        let uri = format!("/api/v1/query?query={}", crate::sim::metrics::http::encode(query));
        let request = http::Request::get(uri).body(bytes::Bytes::new()).expect("a request");
        let response = metrics.prometheus().handle(request).await;
        let body: Json = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["status"], "success", "{body}");
        body["data"]["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok())
    }

    #[tokio::test(start_paused = true)]
    async fn killed_pods_cost_requests_until_their_endpoints_are_gone() {
        let (store, pods) = shop().await;
        let (metrics, feed) = ClusterMetrics::follow(&store, 1, ScrapeConfig::default());
        let running = tokio::spawn(feed.run());
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(metrics.totals("shop", "checkout"), None, "no clients before the first endpoint");
        store.create(endpoints(&pods)).expect("slice");
        tokio::time::sleep(Duration::from_secs(120)).await;
        let availability = r#"sum(rate(http_requests_total{app="checkout",code!~"5.."}[1m]))
            / sum(rate(http_requests_total{app="checkout"}[1m]))"#;
        assert_eq!(ask(&metrics, availability).await, Some(1.0));
        assert_eq!(ask(&metrics, r#"sum(up{namespace="shop",pod=~"checkout-.*"})"#).await, Some(4.0));
        assert_eq!(ask(&metrics, r#"sum(kube_pod_status_ready{namespace="shop"})"#).await, Some(4.0));
        let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        for p in &pods[..2] {
            store.delete(&Kind::POD, "shop", &p.meta.name, &now).expect("deleted");
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let rest = slice(&pods[2..]);
        store
            .modify(&Kind::ENDPOINT_SLICE, "shop", "checkout-x", |s| {
                s.set_value("endpoints", &rest);
                Ok(())
            })
            .expect("slice");
        tokio::time::sleep(Duration::from_secs(15)).await;
        let totals = metrics.totals("shop", "checkout").expect("begun");
        assert!(totals.by_code[1].abs_diff(150) < 40, "three seconds at half of 100/s: {totals:?}");
        let fallen = ask(&metrics, availability).await.expect("a value");
        assert!((0.96..0.985).contains(&fallen), "150 of 6000: {fallen}");
        assert_eq!(ask(&metrics, r#"sum(up{namespace="shop",pod=~"checkout-.*"})"#).await, Some(2.0));
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(ask(&metrics, availability).await, Some(1.0), "healed");
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_loses_what_the_old_process_held_and_a_deleted_service_has_no_clients() {
        let (store, pods) = shop().await;
        store.create(endpoints(&pods[..1])).expect("slice");
        let (metrics, feed) = ClusterMetrics::follow(&store, 1, ScrapeConfig::default());
        let running = tokio::spawn(feed.run());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let status = |status: Json| {
            let changed = store.modify(&Kind::POD, "shop", "checkout-0", |p| {
                p.set_value("status", &status);
                Ok(())
            });
            changed.expect("status")
        };
        status(json!({"containerStatuses": [{"restartCount": 0, "state": {"terminated": {}}}]}));
        tokio::time::sleep(Duration::from_secs(10)).await;
        let down = metrics.totals("shop", "checkout").expect("begun");
        assert!(down.by_code[1].abs_diff(1000) < 120, "{down:?}");
        status(json!({"conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"restartCount": 1, "state": {"running": {}}}]}));
        tokio::time::sleep(Duration::from_secs(10)).await;
        let back = metrics.totals("shop", "checkout").expect("begun");
        assert_eq!(back.by_code[1], down.by_code[1]);
        store.delete(&Kind::SERVICE, "shop", "checkout", &DeleteOptions::default()).expect("deleted");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let end = metrics.totals("shop", "checkout").expect("begun");
        assert_eq!((end.offered, end.in_flight), (end.by_code.iter().sum::<u64>(), 0));
        assert!(end.offered.abs_diff(3000) < 200, "{end:?}");
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn the_service_proxy_answers_queries() {
        let sim = Sim::new(&SimConfig::default());
        let (metrics, feed) = ClusterMetrics::follow(sim.store(), 1, ScrapeConfig::default());
        sim.register_backend("monitoring", "prometheus", metrics.backend());
        let running = tokio::spawn(feed.run());
        tokio::time::sleep(Duration::from_secs(20)).await;
        let proxy = "/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy";
        let query = crate::sim::metrics::http::encode(r#"up{job="kube-state-metrics"} + 1"#);
        let request = http::Request::get(format!("{proxy}/api/v1/query?query={query}")).body(Vec::new());
        let answer: Json = sim.client().request(request.expect("a request")).await.expect("an answer");
        assert_eq!(answer["data"]["result"][0]["value"][1], "2", "{answer}");
        running.abort();
    }
}
