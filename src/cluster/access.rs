//! Calls: bounded, fenced, classified, counted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kube::{
    Api, Client,
    api::{
        DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions,
    },
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    ApiError, JsonPatch,
    written::{Changes, Written},
};
use crate::types::{ObjectRef, planted};

/// Requests in flight at once: the API server's own defaults allow 200 writes for everybody
/// (kube-apiserver `--max-mutating-requests-inflight`).
const IN_FLIGHT: usize = 32;
/// How often what may be asked again is asked of a server that is busy.
const ASKED: usize = 3;
/// The longest pause between two of these, whatever the server says.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// How long a read or a patch may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long an eviction may take: the server itself retries conflicts for about 10 s.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Who may still change things, and until when.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<RwLock<FenceState>>);

#[derive(Debug, Default)]
struct FenceState {
    until: Option<Instant>,
    closed: Option<String>,
}

impl Fence {
    /// Ownership is good until `deadline`, on the monotonic clock; from then on nothing is sent.
    pub fn extend(&self, deadline: Instant) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.until = Some(state.until.map_or(deadline, |old| old.max(deadline)));
    }

    /// Ownership is lost for good.
    pub fn close(&self, why: impl Into<String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).closed.get_or_insert(why.into());
    }

    /// Checked immediately before each change. An open fence without a deadline lets everything pass:
    /// nothing is owned yet, and nothing is changed then.
    pub fn check(&self) -> Result<(), ApiError> {
        if planted("fence-not-checked") {
            return Ok(());
        }
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match (&state.closed, state.until) {
            (Some(why), _) => Err(ApiError::Fenced(why.clone())),
            (None, Some(until)) if Instant::now() >= until => {
                Err(ApiError::Fenced("its lease was not renewed in time".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// How a change is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Write<'a> {
    /// Recorded by the server as the manager of what is changed.
    pub manager: &'a str,
    /// Asked but not done.
    pub dry_run: bool,
}

/// The API server, as one run or command uses it.
#[derive(Clone)]
pub struct Access {
    client: Client,
    fence: Fence,
    in_flight: Arc<Semaphore>,
    calls: Arc<AtomicU64>,
    /// Patches of one object take turns.
    turns: Arc<Mutex<BTreeMap<ObjectRef, Arc<tokio::sync::Mutex<()>>>>>,
    changes: Changes,
}

impl Access {
    /// Over a client whose built-in retry is off.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            fence: Fence::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            calls: Arc::new(AtomicU64::new(0)),
            turns: Arc::default(),
            changes: Changes::default(),
        }
    }

    /// The same with a bound of its own on requests in flight: what has to be in time, such as the renewal of a
    /// lease, does not queue behind a thousand injections.
    pub fn beside(&self) -> Self {
        Self { in_flight: Arc::new(Semaphore::new(IN_FLIGHT)), ..self.clone() }
    }

    /// The client, for reads that stream.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The fence that every change passes.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// How many calls were made so far, watches aside.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The newest change of ours in each collection, deletions aside.
    pub fn written(&self) -> Vec<Written> {
        self.changes.all()
    }

    /// Runs one read: bounded in number and time.
    pub async fn read<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
        self.bounded(TIMEOUT, call).await
    }

    /// The same for what may be asked again: a server that is busy is, as soon as it says, before that counts.
    ///
    /// # Errors
    /// The last answer's.
    pub async fn ask<T, C>(&self, call: impl Fn() -> C) -> Result<T, ApiError>
    where
        C: Future<Output = Result<T, kube::Error>>,
    {
        for _ in 1..ASKED {
            match self.read(call()).await {
                Err(ApiError::Busy { retry_after }) => tokio::time::sleep(retry_after.min(BUSY_MAX)).await,
                other => return other,
            }
        }
        self.read(call()).await
    }

    /// Runs one change: the fence is checked when its turn has come, immediately before it is sent.
    async fn write<T>(
        &self,
        timeout: Duration,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApiError> {
        self.bounded_if(timeout, call, || self.fence.check()).await
    }

    async fn bounded<T>(
        &self,
        timeout: Duration,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApiError> {
        self.bounded_if(timeout, call, || Ok(())).await
    }

    async fn bounded_if<T>(
        &self,
        timeout: Duration,
        call: impl Future<Output = Result<T, kube::Error>>,
        allowed: impl Fn() -> Result<(), ApiError>,
    ) -> Result<T, ApiError> {
        let _turn =
            self.in_flight.acquire().await.map_err(|_| ApiError::Fenced("shutting down".to_owned()))?;
        allowed()?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(timeout, call).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) => Err(ApiError::TimedOut(timeout)),
        }
    }

    /// The API of an object's kind in its namespace.
    pub fn api(&self, object: &ObjectRef) -> Api<DynamicObject> {
        let resource = resource_of(object);
        if object.namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &object.namespace, &resource)
        }
    }

    /// Reads an object; another of the same name counts as not there.
    pub async fn get(&self, object: &ObjectRef) -> Result<DynamicObject, ApiError> {
        let api = self.api(object);
        let found = self.ask(|| api.get(&object.name)).await?;
        match found.metadata.uid.as_deref() {
            Some(uid) if !object.uid.is_empty() && uid != object.uid => Err(ApiError::NotFound),
            _ => Ok(found),
        }
    }

    /// Patches an object, or one of its subresources.
    pub async fn patch(
        &self,
        object: &ObjectRef,
        subresource: Option<&str>,
        patch: &JsonPatch,
        how: Write<'_>,
    ) -> Result<DynamicObject, ApiError> {
        let body = Value::Array(as_operations(patch)?);
        let patch: Patch<Value> = Patch::Json(serde_json::from_value(body).map_err(malformed)?);
        let mut params = PatchParams { dry_run: how.dry_run, ..PatchParams::default() };
        if !how.manager.is_empty() {
            params.field_manager = Some(how.manager.to_owned());
        }
        let (api, name) = (self.api(object), object.name.clone());
        let subresource = subresource.map(str::to_owned);
        let call = async move {
            match subresource {
                None => api.patch(&name, &params, &patch).await,
                Some(sub) => api.patch_subresource(&sub, &name, &params, &patch).await,
            }
        };
        if how.dry_run {
            return self.read(call).await;
        }
        self.sent(object, call).await
    }

    /// Applies fields of an object server-side, which is created if it is not there: those that are given are `manager`'s
    /// from then on, whoever had them before.
    pub async fn apply(
        &self,
        object: &ObjectRef,
        body: &Value,
        how: Write<'_>,
    ) -> Result<DynamicObject, ApiError> {
        self.applied(object, body, PatchParams::apply(how.manager).force(), how).await
    }

    /// The same unless others manage one of these fields and want another value: a conflict, which names them.
    ///
    /// # Errors
    /// The API server's.
    pub async fn apply_unforced(
        &self,
        object: &ObjectRef,
        body: &Value,
        how: Write<'_>,
    ) -> Result<DynamicObject, ApiError> {
        self.applied(object, body, PatchParams::apply(how.manager), how).await
    }

    async fn applied(
        &self,
        object: &ObjectRef,
        body: &Value,
        params: PatchParams,
        how: Write<'_>,
    ) -> Result<DynamicObject, ApiError> {
        let params = PatchParams { dry_run: how.dry_run, ..params };
        let (api, name, patch) = (self.api(object), object.name.clone(), Patch::Apply(body.clone()));
        let call = async move { api.patch(&name, &params, &patch).await };
        if how.dry_run { self.read(call).await } else { self.sent(object, call).await }
    }

    /// Creates an object; `object` says where and of which kind.
    pub async fn create(
        &self,
        object: &ObjectRef,
        body: Value,
        how: Write<'_>,
    ) -> Result<DynamicObject, ApiError> {
        let body: DynamicObject = serde_json::from_value(body).map_err(malformed)?;
        let manager = (!how.manager.is_empty()).then(|| how.manager.to_owned());
        let params = PostParams { dry_run: how.dry_run, field_manager: manager };
        let api = self.api(object);
        let call = async move { api.create(&params, &body).await };
        if how.dry_run {
            return self.read(call).await;
        }
        self.sent(object, call).await
    }

    /// The objects of the kind and in the namespace of `like` that a label selector selects.
    pub async fn list(&self, like: &ObjectRef, selector: &str) -> Result<Vec<DynamicObject>, ApiError> {
        let (api, params) = (self.api(like), ListParams::default().labels(selector));
        Ok(self.ask(|| api.list(&params)).await?.items)
    }

    /// The last lines of a pod's log, if it has one container.
    pub async fn log(&self, pod: &ObjectRef, lines: u32) -> Result<String, ApiError> {
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let params = LogParams { tail_lines: Some(i64::from(lines)), ..LogParams::default() };
        self.read(api.logs(&pod.name, &params)).await
    }

    /// Sends a change of `object` that runs to its end: whoever asks may be dropped, for an abort pre-empts. The request
    /// cannot be called back, and `settled` lets a revert wait for it rather than be overtaken by it.
    async fn sent(
        &self,
        object: &ObjectRef,
        call: impl Future<Output = Result<DynamicObject, kube::Error>> + Send + 'static,
    ) -> Result<DynamicObject, ApiError> {
        let (this, turn) = (self.clone(), self.turn(object).lock_owned().await);
        let everywhere = Api::<DynamicObject>::all_with(self.client.clone(), &resource_of(object));
        let collections = [self.api(object).resource_url().to_owned(), everywhere.resource_url().to_owned()];
        let sent = tokio::spawn(async move {
            let _turn = turn;
            let answer = this.write(TIMEOUT, call).await?;
            this.changes.remember(collections, &answer.metadata);
            Ok(answer)
        });
        sent.await.unwrap_or_else(|error| Err(ApiError::Unreachable(error.to_string())))
    }

    /// Returns when no patch of `object` is under way, so that none can come after what is read next.
    pub async fn settled(&self, object: &ObjectRef) {
        drop(self.turn(object).lock_owned().await);
    }

    fn turn(&self, object: &ObjectRef) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(object.clone()).or_default().clone()
    }

    async fn write_or_ask<T>(
        &self,
        how: Write<'_>,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApiError> {
        if how.dry_run { self.read(call).await } else { self.write(TIMEOUT, call).await }
    }

    /// Deletes a pod by UID.
    pub async fn delete_pod(&self, pod: &ObjectRef, grace: Duration, dry_run: bool) -> Result<(), ApiError> {
        let grace = u32::try_from(grace.as_secs()).unwrap_or(u32::MAX);
        let params = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
        self.delete_with(pod, params, dry_run).await
    }

    /// Deletes any object by UID, or by name if it has none, as its kind has it: pods with their own grace period, what
    /// hangs on it later, and finalizers hold it.
    pub async fn delete(&self, object: &ObjectRef, dry_run: bool) -> Result<(), ApiError> {
        self.delete_with(object, DeleteParams::default(), dry_run).await
    }

    async fn delete_with(
        &self,
        object: &ObjectRef,
        params: DeleteParams,
        dry_run: bool,
    ) -> Result<(), ApiError> {
        let params = DeleteParams { dry_run, preconditions: preconditions(object), ..params };
        let how = Write { dry_run, ..Write::default() };
        let api: Api<DynamicObject> = self.api(object);
        self.write_or_ask(how, api.delete(&object.name, &params)).await.map(|_| ())
    }

    /// Evicts a pod by UID, within its budgets.
    pub async fn evict(
        &self,
        pod: &ObjectRef,
        grace: Option<Duration>,
        dry_run: bool,
    ) -> Result<(), ApiError> {
        // Written out by hand: kube 5.0 spells the field `delete_options`, which the server drops in silence,
        // and the precondition with it.
        let mut options = serde_json::Map::new();
        if !pod.uid.is_empty() {
            options.insert("preconditions".to_owned(), json!({"uid": pod.uid}));
        }
        if let Some(grace) = grace {
            options.insert("gracePeriodSeconds".to_owned(), json!(grace.as_secs()));
        }
        if dry_run {
            options.insert("dryRun".to_owned(), json!(["All"]));
        }
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": options,
        });
        let url = format!("/api/v1/namespaces/{}/pods/{}/eviction", pod.namespace, pod.name);
        let request = http::Request::post(url).header(http::header::CONTENT_TYPE, "application/json");
        let request = request.body(serde_json::to_vec(&body).map_err(malformed)?);
        let request = request.map_err(|error| ApiError::Invalid(error.to_string()))?;
        let call = self.client.request::<Value>(request);
        let answer = if dry_run { self.read(call).await } else { self.write(EVICTION_TIMEOUT, call).await };
        answer.map(|_| ())
    }

    /// Lists the objects of a kind that the server may not even know: then None.
    pub async fn list_if_served(
        &self,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<Vec<DynamicObject>>, ApiError> {
        let api = self.api(&ObjectRef::namespaced(api_version, kind, "", ""));
        let params = ListParams::default();
        match self.ask(|| api.list(&params)).await {
            Ok(list) => Ok(Some(list.items)),
            Err(ApiError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn preconditions(object: &ObjectRef) -> Option<Preconditions> {
    (!object.uid.is_empty() && !planted("no-uid-check"))
        .then(|| Preconditions { uid: Some(object.uid.clone()), resource_version: None })
}

fn as_operations(patch: &JsonPatch) -> Result<Vec<Value>, ApiError> {
    match serde_json::to_value(patch).map_err(malformed)? {
        Value::Array(operations) => Ok(operations),
        other => Err(ApiError::Malformed(other.to_string())),
    }
}

fn malformed(error: serde_json::Error) -> ApiError {
    ApiError::Malformed(error.to_string())
}

/// Group, version, kind and plural of an object's kind; the plural by English rules, which hold for
/// every kind that we change (NetworkPolicy → networkpolicies).
pub(super) fn resource_of(object: &ObjectRef) -> ApiResource {
    let (group, version) = object.api_version.split_once('/').unwrap_or(("", &object.api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &object.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lapsed_lease_fences_every_change() {
        let fence = Fence::default();
        assert_eq!(fence.check(), Ok(()));
        fence.extend(Instant::now() + Duration::from_secs(15));
        assert_eq!(fence.check(), Ok(()));
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert!(matches!(fence.check(), Err(ApiError::Fenced(_))));
        fence.extend(Instant::now() + Duration::from_secs(15));
        assert_eq!(fence.check(), Ok(()));
        fence.close("taken over");
        assert_eq!(fence.check(), Err(ApiError::Fenced("taken over".to_owned())));
    }
}
