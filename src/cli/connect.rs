//! The real world: kubeconfig, clock, network, state directory.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, anyhow, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::{Global, Usage};
use crate::{
    cluster::{ApiError, WebSockets},
    env::{Clock, DirStorage, Env, HttpClient, Rng},
    journal::Environment,
    load,
};

/// What cannot be read in a pod without a token.
const OWN_ACCOUNT: &str = "the pod's own account";

/// A connection to a real cluster.
pub(super) struct Connection {
    pub env: Env,
    pub environment: Environment,
    /// The context's namespace.
    pub namespace: String,
}

impl Connection {
    /// The namespace that is asked for, or the context's.
    pub(super) fn asked(&self, global: &Global) -> String {
        global.namespace.clone().unwrap_or_else(|| self.namespace.clone())
    }
}

/// Reads the kubeconfig and asks the server who it is; without one a pod is its own account, as with kubectl. Needs a
/// runtime.
pub(super) async fn connect(global: &Global, seed: u64) -> anyhow::Result<Connection> {
    let kubeconfig = match &global.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).with_context(|| path.display().to_string())?,
        None => match Kubeconfig::read() {
            Err(_) if in_a_pod(global) && std::env::var_os("KUBECONFIG").is_none() => {
                let own = kube::Config::incluster().context(OWN_ACCOUNT)?;
                return connected(own, Default::default(), Arc::new(storage(global)?), seed).await;
            }
            read => read.context("no kubeconfig; set KUBECONFIG or pass --kubeconfig")?,
        },
    };
    let context = global.context.clone().or_else(|| kubeconfig.current_context.clone()).unwrap_or_default();
    let cluster = kubeconfig.contexts.iter().find(|named| named.name == context);
    let cluster = cluster
        .and_then(|named| named.context.as_ref())
        .map(|context| context.cluster.clone())
        .unwrap_or_default();
    if let Some(wanted) = &global.context
        && !kubeconfig.contexts.iter().any(|named| named.name == *wanted)
    {
        let names: Vec<&str> = kubeconfig.contexts.iter().map(|named| named.name.as_str()).collect();
        let there = match names.as_slice() {
            [] => "it has none".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        bail!(Usage(format!("there is no context {wanted} in the kubeconfig; {there}")));
    }
    let options = KubeConfigOptions { context: global.context.clone(), ..KubeConfigOptions::default() };
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.context("kubeconfig")?;
    connected(config, (cluster, context), Arc::new(storage(global)?), seed).await
}

/// Connects from within the cluster, as the pod's own account; elsewhere as [`connect`] does. Journals are not kept
/// here.
pub(super) async fn within(global: &Global) -> anyhow::Result<Connection> {
    if !in_a_pod(global) {
        return connect(global, fresh_seed()).await;
    }
    let config = kube::Config::incluster().context(OWN_ACCOUNT)?;
    let nowhere = Arc::new(crate::env::MemoryStorage::default());
    connected(config, Default::default(), nowhere, fresh_seed()).await
}

/// Whether this is a pod of a cluster and no other cluster is asked for.
fn in_a_pod(global: &Global) -> bool {
    let pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    pod && global.kubeconfig.is_none() && global.context.is_none()
}

async fn connected(
    mut config: kube::Config,
    (cluster, context): (String, String),
    storage: Arc<dyn crate::env::Storage>,
    seed: u64,
) -> anyhow::Result<Connection> {
    // A 429 means something here: kube's own retry would hide it, for minutes.
    config.default_retry = false;
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    let (server, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
    let client = kube::Client::try_from(config).context("kubeconfig")?;
    let version = client.apiserver_version();
    let version = tokio::time::timeout(std::time::Duration::from_secs(10), version).await;
    let version = version
        .with_context(|| format!("cannot reach {server}: no answer"))?
        .map_err(|error| no_version(&server, &context, error))?;
    let env = Env {
        clock: Clock::system(),
        rng: Rng::new(seed),
        agents: Arc::new(WebSockets::new(client.clone())),
        kube: client,
        http: HttpClient::network(),
        load: load::network(),
        storage,
    };
    let environment =
        Environment { cluster, server, context, version: version.git_version, ..Environment::default() };
    Ok(Connection { env, environment, namespace })
}

/// Why the server does not even say which version it is.
fn no_version(server: &str, context: &str, error: kube::Error) -> anyhow::Error {
    if let kube::Error::Api(status) = &error
        && status.code == 401
    {
        return anyhow!(
            "not authorised (401): {server} does not accept the credentials of context {context}: {}",
            status.message
        );
    }
    match ApiError::from(error) {
        ApiError::Unreachable(words) => anyhow!("cannot reach {server}: {words}"),
        error => anyhow!("{server}: {error}"),
    }
}

/// Where journals are kept: `--state`, else the user's state directory (XDG base directories).
pub(super) fn storage(global: &Global) -> anyhow::Result<DirStorage> {
    if let Some(state) = &global.state {
        return Ok(DirStorage::new(state));
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state =
        std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    let state = state.context("neither XDG_STATE_HOME nor HOME is set; pass --state DIR")?;
    Ok(DirStorage::new(state.join("firedrill/runs")))
}

/// This process, as others see it.
pub(super) fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.map(|host| host.trim().to_owned()).or_else(|| std::env::var("HOSTNAME").ok());
    format!(
        "{}-{}",
        host.filter(|host| !host.is_empty()).unwrap_or_else(|| "localhost".to_owned()),
        std::process::id()
    )
}

/// A seed that nobody chose.
pub(super) fn fresh_seed() -> u64 {
    use rand::TryRng as _;
    // Only the beginning of everything is not reproducible; it is printed and kept. Six digits are enough
    // to tell runs apart, and can be typed.
    rand::rngs::SysRng.try_next_u64().unwrap_or(0) % 1_000_000
}

/// A runtime for real I/O.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .context("cannot start a runtime")
}
