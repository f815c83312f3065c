//! The cluster followed by watches: listed once, then kept up to date.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use super::{
    ApiError, FixedBackoff, Snapshot,
    autoscaler::Autoscaler,
    machine::{self, Machine, RawMachine},
    signal::Signal,
    snapshot::Key,
    view::{
        Node, Pdb, Pod, RawAutoscaler, RawNode, RawPdb, RawPod, RawSlice, RawSpace, RawWorkload, Space,
        Workload, resource,
    },
    written::{Written, version_of},
};
use crate::types::ObjectRef;

/// How long the first lists may take in all.
const FIRST_LIST: Duration = Duration::from_secs(60);

thread_local! {
    /// Whether this thread looks into a mirror just now.
    static LOOKING: Cell<bool> = const { Cell::new(false) };
}

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// These namespaces only: what a person with rights in a namespace can see.
    Namespaces(BTreeSet<String>),
    /// Everything, nodes included: what node faults need.
    Cluster,
    /// The same with the machines behind the nodes, as far as the server knows their kinds.
    Machines,
}

/// A live copy of the cluster. Watching ends when the last clone is dropped.
#[derive(Clone)]
pub struct Mirror {
    state: Arc<RwLock<State>>,
    signal: Arc<Signal>,
    seen: u64,
    watches: Arc<Watches>,
}

struct Watches(Vec<AbortHandle>);

impl Drop for Watches {
    fn drop(&mut self) {
        for handle in &self.0 {
            handle.abort();
        }
    }
}

#[derive(Default)]
struct State {
    snapshot: Snapshot,
    /// Watches that have not been listed yet, with the reason that was seen last.
    pending: BTreeMap<String, Option<ApiError>>,
    /// How far each watch has come: the newest resourceVersion that it has spoken of.
    versions: BTreeMap<String, u64>,
}

/// Writes what a watch says into the state.
#[derive(Clone)]
struct Sink {
    state: Arc<RwLock<State>>,
    signal: Arc<Signal>,
}

/// Finds one map within a snapshot.
type Slot<V> = fn(&mut Snapshot) -> &mut Arc<BTreeMap<Key, Arc<V>>>;

/// What is kept of an object, and where.
struct Keep<K, V> {
    key: fn(&K) -> Key,
    read: Box<dyn Fn(K) -> V + Send + Sync>,
    slot: Slot<V>,
    /// Which keys of that map this watch speaks for: namespaces and kinds share maps.
    mine: Box<dyn Fn(&Key) -> bool + Send + Sync>,
}

impl Mirror {
    /// Begins to follow and returns when everything has been listed once.
    ///
    /// # Errors
    /// What the server answered to the list that failed, when it is not a passing trouble or does not pass
    /// within a minute.
    pub async fn start(client: &Client, scope: &Scope) -> Result<Self, ApiError> {
        let state = Arc::new(RwLock::new(State::default()));
        let signal = Arc::new(Signal::default());
        let sink = Sink { state: state.clone(), signal: signal.clone() };
        let mut watches = Watches(Vec::new());
        match scope {
            Scope::Cluster | Scope::Machines => {
                follow_namespaced(client, None, &sink, &mut watches);
                follow_cluster(client, &sink, &mut watches);
                if *scope == Scope::Machines {
                    let served = tokio::time::timeout(FIRST_LIST, machine::served(client)).await;
                    let served = served.unwrap_or(Err(ApiError::TimedOut(FIRST_LIST)))?;
                    follow_machines(client, served, &sink, &mut watches);
                }
            }
            Scope::Namespaces(namespaces) => {
                for namespace in namespaces {
                    follow_namespaced(client, Some(namespace), &sink, &mut watches);
                }
            }
        }
        let mut mirror = Self { state, signal, seen: 0, watches: Arc::new(watches) };
        mirror.listed().await?;
        Ok(mirror)
    }

    /// Follows the Guardrails too, from now on, and returns when they have been listed. Before there is a clone of this.
    ///
    /// # Errors
    /// As of [`Mirror::start`].
    pub async fn follow_guardrails(&mut self, client: &Client) -> Result<(), ApiError> {
        let Some(watches) = Arc::get_mut(&mut self.watches) else { return Ok(()) };
        let sink = Sink { state: self.state.clone(), signal: self.signal.clone() };
        let keep = Keep {
            key: key::<DynamicObject>,
            read: Box::new(|raw: DynamicObject| serde_json::to_value(raw).unwrap_or_default()),
            slot: |s| &mut s.guardrails,
            mine: Box::new(|_: &Key| true),
        };
        let guardrails = resource("firedrill.dev/v1alpha1", "Guardrail", "guardrails");
        follow(api(client, None, guardrails), keep, &sink, watches);
        self.listed().await
    }

    async fn listed(&mut self) -> Result<(), ApiError> {
        let give_up = tokio::time::Instant::now() + FIRST_LIST;
        loop {
            self.seen = self.signal.version();
            {
                let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
                if state.pending.is_empty() {
                    return Ok(());
                }
                let late = tokio::time::Instant::now() >= give_up;
                for error in state.pending.values().flatten() {
                    if late || !error.is_transient() {
                        return Err(error.clone());
                    }
                }
                if late {
                    return Err(ApiError::TimedOut(FIRST_LIST));
                }
            }
            let _ = tokio::time::timeout_at(give_up, self.changed()).await;
        }
    }

    /// The world as known now.
    pub fn snapshot(&self) -> Snapshot {
        self.read().snapshot.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        debug_assert!(
            !LOOKING.get(),
            "a look asks the mirror: with a change waiting, both would wait for ever"
        );
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `look` finds in the world as known now. A snapshot that is kept makes the next change copy what it
    /// changes; a look does not. Changes wait for it meanwhile, so it has to be short, and it must not ask
    /// the mirror anything itself.
    pub fn look<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> T {
        let state = self.read();
        LOOKING.set(true);
        let found = look(&state.snapshot);
        LOOKING.set(false);
        found
    }

    /// Whether a change of ours is still to come: its collection is followed, and no watch has come so far yet.
    pub fn lacks(&self, written: &Written) -> bool {
        let state = self.read();
        let versions = written.collections.iter().filter_map(|collection| state.versions.get(collection));
        versions.max().is_some_and(|seen| *seen < written.version)
    }

    /// Returns when anything has changed since the last call on this clone.
    pub async fn changed(&mut self) {
        self.seen = self.signal.after(self.seen).await;
    }

    /// Waits until `seen` finds what it looks for in one object, a pod or a node; [looks](Self::look) at once, and then
    /// whenever that has changed. What thousands wait for at a time has to be waited for so.
    pub async fn wait_for_one<T>(
        &self,
        object: &ObjectRef,
        mut seen: impl FnMut(&Snapshot) -> Option<T>,
    ) -> T {
        let key = (object.namespace.clone(), object.name.clone());
        self.signal.of(key, || self.look(&mut seen)).await
    }

    /// Waits until `seen` finds what it looks for; [looks](Self::look) at once, and then at every change.
    pub async fn wait_for<T>(&self, mut seen: impl FnMut(&Snapshot) -> Option<T>) -> T {
        loop {
            let version = self.signal.version();
            if let Some(found) = self.look(&mut seen) {
                return found;
            }
            self.signal.after(version).await;
        }
    }
}

fn follow_namespaced(client: &Client, namespace: Option<&str>, sink: &Sink, watches: &mut Watches) {
    let mine = || {
        let namespace = namespace.map(str::to_owned);
        move |key: &Key| namespace.as_ref().is_none_or(|namespace| key.0 == *namespace)
    };
    let keep =
        Keep { key: key::<RawPod>, read: Box::new(Pod::read), slot: |s| &mut s.pods, mine: Box::new(mine()) };
    follow(api(client, namespace, resource("v1", "Pod", "pods")), keep, sink, watches);
    let keep =
        Keep { key: key::<RawPdb>, read: Box::new(Pdb::read), slot: |s| &mut s.pdbs, mine: Box::new(mine()) };
    let pdbs = resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets");
    follow(api(client, namespace, pdbs), keep, sink, watches);
    let hpas = resource("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers");
    let keep = Keep {
        key: key::<RawAutoscaler>,
        read: Box::new(Autoscaler::read),
        slot: |s| &mut s.autoscalers,
        mine: Box::new(mine()),
    };
    follow(api(client, namespace, hpas), keep, sink, watches);
    let slices: Api<RawSlice> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let keep = Keep {
        key: key::<RawSlice>,
        read: Box::new(ready_pods),
        slot: |s| &mut s.endpoints,
        mine: Box::new(mine()),
    };
    follow(slices, keep, sink, watches);
    for (kind, plural, key) in WORKLOADS {
        let (mine, prefix) = (mine(), format!("{kind}/"));
        let keep = Keep {
            key,
            read: Box::new(move |raw| Workload::read(raw, kind)),
            slot: |s| &mut s.workloads,
            mine: Box::new(move |key: &Key| mine(key) && key.1.starts_with(&prefix)),
        };
        follow(api(client, namespace, resource("apps/v1", kind, plural)), keep, sink, watches);
    }
    if let Some(namespace) = namespace {
        // One namespace by name: a right to that one is enough.
        let only = watcher::Config::default().fields(&format!("metadata.name={namespace}"));
        let name = namespace.to_owned();
        let keep = Keep {
            key: key::<RawSpace>,
            read: Box::new(Space::read),
            slot: |s| &mut s.spaces,
            mine: Box::new(move |key: &Key| key.1 == name),
        };
        follow_with(
            api(client, None, resource("v1", "Namespace", "namespaces")),
            only,
            keep,
            (sink, watches),
        );
    }
}

/// How a kind's objects are told apart within the one map of workloads.
type KindKey = fn(&RawWorkload) -> Key;

const WORKLOADS: [(&str, &str, KindKey); 4] = [
    ("Deployment", "deployments", |raw| kind_key(raw, "Deployment")),
    ("ReplicaSet", "replicasets", |raw| kind_key(raw, "ReplicaSet")),
    ("StatefulSet", "statefulsets", |raw| kind_key(raw, "StatefulSet")),
    ("DaemonSet", "daemonsets", |raw| kind_key(raw, "DaemonSet")),
];

fn follow_cluster(client: &Client, sink: &Sink, watches: &mut Watches) {
    let everything = || Box::new(|_: &Key| true);
    let keep =
        Keep { key: key::<RawNode>, read: Box::new(Node::read), slot: |s| &mut s.nodes, mine: everything() };
    follow(api(client, None, resource("v1", "Node", "nodes")), keep, sink, watches);
    let keep = Keep {
        key: key::<RawSpace>,
        read: Box::new(Space::read),
        slot: |s| &mut s.spaces,
        mine: everything(),
    };
    follow(api(client, None, resource("v1", "Namespace", "namespaces")), keep, sink, watches);
}

fn follow_machines(
    client: &Client,
    served: Vec<(String, &'static str, &'static str)>,
    sink: &Sink,
    watches: &mut Watches,
) {
    for (api_version, kind, plural) in served {
        sink.update(None, |state| {
            Arc::make_mut(&mut state.snapshot.machine_kinds).insert(kind.to_owned());
        });
        let prefix = format!("{kind}/");
        let key: fn(&RawMachine) -> Key = match kind {
            "Machine" => |raw| (raw.namespace().unwrap_or_default(), format!("Machine/{}", raw.name_any())),
            _ => |raw| (String::new(), format!("NodeClaim/{}", raw.name_any())),
        };
        let watched = api(client, None, resource(&api_version, kind, plural));
        let keep = Keep {
            key,
            read: Box::new(move |raw| Machine::read(raw, (&api_version, kind))),
            slot: |s| &mut s.machines,
            mine: Box::new(move |key: &Key| key.1.starts_with(&prefix)),
        };
        follow(watched, keep, sink, watches);
    }
}

fn api<K>(client: &Client, namespace: Option<&str>, resource: ApiResource) -> Api<K>
where
    K: Resource<DynamicType = ApiResource, Scope = kube::core::DynamicResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn key<K: Resource>(raw: &K) -> Key {
    (raw.namespace().unwrap_or_default(), raw.name_any())
}

fn kind_key(raw: &RawWorkload, kind: &str) -> Key {
    (raw.namespace().unwrap_or_default(), format!("{kind}/{}", raw.name_any()))
}

/// The UIDs that a slice sends requests to. Absent means ready (discovery/v1, EndpointConditions).
fn ready_pods(slice: RawSlice) -> Vec<String> {
    let ready = slice.endpoints.into_iter().flatten().filter(|endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    ready.filter_map(|endpoint| endpoint.target_ref.and_then(|target| target.uid)).collect()
}

fn follow<K, V>(api: Api<K>, keep: Keep<K, V>, sink: &Sink, watches: &mut Watches)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    V: Send + Sync + PartialEq + 'static,
{
    follow_with(api, watcher::Config::default(), keep, (sink, watches));
}

fn follow_with<K, V>(
    api: Api<K>,
    config: watcher::Config,
    keep: Keep<K, V>,
    (sink, watches): (&Sink, &mut Watches),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    V: Send + Sync + PartialEq + 'static,
{
    let name = format!("{}{}", api.resource_url(), config.field_selector.as_deref().unwrap_or_default());
    sink.update(None, |state| {
        state.pending.insert(name.clone(), None);
        state.versions.insert(name.clone(), 0);
    });
    let stream = watcher(api, config).backoff(FixedBackoff).boxed();
    let task = tokio::spawn(absorb(stream, keep, sink.clone(), name).in_current_span());
    watches.0.push(task.abort_handle());
}

async fn absorb<K, V>(
    mut stream: BoxStream<'static, Result<watcher::Event<K>, watcher::Error>>,
    keep: Keep<K, V>,
    sink: Sink,
    name: String,
) where
    K: Resource,
    V: PartialEq,
{
    let mut fresh: BTreeMap<Key, Arc<V>> = BTreeMap::new();
    let mut listed = 0;
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init) => fresh.clear(),
            Ok(watcher::Event::InitApply(raw)) => {
                listed = version_of(raw.meta()).max(listed);
                fresh.insert((keep.key)(&raw), Arc::new((keep.read)(raw)));
            }
            Ok(watcher::Event::InitDone) => sink.update(None, |state| {
                *(keep.slot)(&mut state.snapshot) = merged(&keep, state, std::mem::take(&mut fresh));
                state.pending.remove(&name);
                state.has_seen(&name, listed);
            }),
            Ok(watcher::Event::Apply(raw)) => {
                let version = version_of(raw.meta());
                let (key, value) = ((keep.key)(&raw), Arc::new((keep.read)(raw)));
                sink.update(Some(&key), |state| {
                    Arc::make_mut((keep.slot)(&mut state.snapshot)).insert(key.clone(), value);
                    state.has_seen(&name, version);
                });
            }
            Ok(watcher::Event::Delete(raw)) => {
                let key = (keep.key)(&raw);
                sink.update(Some(&key), |state| {
                    state.has_seen(&name, version_of(raw.meta()));
                    Arc::make_mut((keep.slot)(&mut state.snapshot)).remove(&key);
                });
            }
            Err(error) => {
                tracing::debug!(watch = %name, %error, "a watch broke off and begins again");
                sink.update(None, |state| {
                    if let Some(reason) = state.pending.get_mut(&name) {
                        *reason = Some(why(error));
                    }
                });
            }
        }
    }
}

/// A list replaces what the same watch had said before, and leaves what other watches share the map with it.
fn merged<K, V>(
    keep: &Keep<K, V>,
    state: &mut State,
    fresh: BTreeMap<Key, Arc<V>>,
) -> Arc<BTreeMap<Key, Arc<V>>> {
    let old = (keep.slot)(&mut state.snapshot);
    let mut map: BTreeMap<Key, Arc<V>> = fresh;
    for (key, value) in old.iter() {
        if !(keep.mine)(key) {
            map.insert(key.clone(), value.clone());
        }
    }
    Arc::new(map)
}

fn why(error: watcher::Error) -> ApiError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error.into(),
        other => ApiError::Unreachable(other.to_string()),
    }
}

impl State {
    fn has_seen(&mut self, watch: &str, version: u64) {
        if let Some(seen) = self.versions.get_mut(watch) {
            *seen = version.max(*seen);
        }
    }
}

impl Sink {
    /// `object`: which has changed; None: any may have.
    fn update(&self, object: Option<&Key>, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
        self.signal.raise(object);
    }
}
