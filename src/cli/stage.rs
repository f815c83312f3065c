//! The embedded cluster made ready for a rehearsal.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::input;
use crate::{
    api,
    env::{Clock, Env, HttpClient, HttpError, MemoryStorage, Rng},
    faults::embedded_agents,
    journal::Environment,
    load,
    probes::{ServiceRef, Source},
    sim::{
        SimConfig,
        apiserver::User,
        cluster::{Cluster, PROMETHEUS},
    },
    types::{AGENT_NAMESPACE, AgentSettings},
};

/// How long the workloads may take to become ready.
const SETTLE: Duration = Duration::from_secs(600);
/// How long traffic flows before an experiment looks at it: longer than the usual rate windows.
const WARM_UP: Duration = Duration::from_secs(150);

/// An embedded cluster, settled, with traffic flowing.
pub(super) struct Stage {
    pub env: Env,
    pub environment: Environment,
    pub source: Source,
    /// Held so that it goes on.
    _cluster: Cluster,
}

/// Ordinary manifests from a folder or file.
pub(super) fn manifests(path: &Path) -> anyhow::Result<Vec<Value>> {
    let folder = path.is_dir();
    let files = if folder { input::yaml_files(path)? } else { vec![path.to_owned()] };
    let mut objects = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let documents: Vec<Value> =
            serde_yaml::from_multiple(&text).with_context(|| file.display().to_string())?;
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            // A folder may hold other things: the values of a chart, a report of ours.
            if folder && !document["kind"].is_string() {
                super::say(&format!("note: {} is passed over: it has no kind", file.display()));
            } else {
                objects.push(document);
            }
        }
    }
    if objects.is_empty() {
        bail!("{}: there is no manifest in it", path.display());
    }
    Ok(objects)
}

impl Stage {
    /// Builds one. Needs a runtime with paused time.
    pub(super) async fn build(objects: &[Value], seed: u64) -> anyhow::Result<Self> {
        Self::build_from(objects, SimConfig { seed, ..SimConfig::default() }).await
    }

    /// Builds one that is ready at `at`, and waits until then. Needs a runtime with paused time.
    pub(super) async fn build_for(objects: &[Value], seed: u64, at: Timestamp) -> anyhow::Result<Self> {
        let before = SignedDuration::try_from(SETTLE + WARM_UP)?;
        let start_time = at.checked_sub(before).context("before all time that can be written")?;
        let stage = Self::build_from(objects, SimConfig { seed, start_time, ..SimConfig::default() }).await?;
        stage.env.clock.sleep_until(at).await;
        Ok(stage)
    }

    async fn build_from(objects: &[Value], config: SimConfig) -> anyhow::Result<Self> {
        let seed = config.seed;
        let mut all = api::crds::crds();
        all.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": AGENT_NAMESPACE}}));
        all.extend(objects.iter().cloned());
        let cluster = Cluster::start(&config, &all)
            .map_err(|status| anyhow!("the embedded cluster refuses a manifest: {}", status.message))?;
        if let Err(waiting) = cluster.settle(SETTLE).await {
            bail!("not ready after {}: {}", crate::types::Length(SETTLE), waiting.join(", "));
        }
        tokio::time::sleep(WARM_UP).await;
        let clock = Clock::starting_at(cluster.now());
        let http = HttpClient::from_fn(|request| {
            let refusal = format!("a rehearsal reaches nothing outside, and so not {}", request.uri());
            Box::pin(async move { Err(HttpError::Unreachable(refusal)) })
        });
        let (namespace, name) = PROMETHEUS;
        let service = ServiceRef {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            port: 9090,
            scheme: "http".to_owned(),
            path: String::new(),
        };
        Ok(Self {
            env: Env {
                clock,
                rng: Rng::new(seed),
                kube: cluster.sim().client(),
                http,
                load: load::embedded(cluster.metrics()),
                storage: Arc::new(MemoryStorage::default()),
                agents: embedded_agents(&cluster, User::admin()),
            },
            environment: Environment {
                cluster: "embedded".to_owned(),
                server: "embedded".to_owned(),
                context: String::new(),
                version: "v1.36".to_owned(),
                rehearsal: true,
                image: String::new(),
                agents: AgentSettings::default(),
            },
            source: Source { service: Some(service), ..Source::default() },
            _cluster: cluster,
        })
    }
}
