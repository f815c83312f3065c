//! The Guardrails over a game day while it is held: between its experiments too they may come to forbid what is still
//! to come, and what they have forbidden once ends it, whatever they say afterwards.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    api::{API_VERSION, ExperimentSpec, Guardrail},
    cluster::{Access, ApiError, Snapshot, Space, follow},
    controller::{covering, followed::Followed},
    journal::StopReason,
    plan::{self, Overruled},
    types::ObjectRef,
};

/// How long it is looked for what they cover; then it is tried again.
const LOOKED_WITHIN: Duration = Duration::from_secs(5);
/// How long it is waited before that.
const AGAIN: Duration = Duration::from_secs(1);

/// Which entries Guardrails forbid, and why.
#[derive(Debug, Default)]
pub(super) struct Forbidden(Vec<(String, StopReason, String)>);

impl Forbidden {
    /// Why one of the entries that `to_come` knows may not be.
    pub(super) fn any(self, to_come: impl Fn(&str) -> bool) -> Option<(StopReason, String)> {
        let mut entries = self.0.into_iter();
        entries.find(|(entry, ..)| to_come(entry)).map(|(_, reason, by)| (reason, by))
    }
}

/// Guardrails, followed beside whatever is under way.
pub(super) struct Guarded {
    judge: Arc<Judge>,
    news: mpsc::UnboundedReceiver<Forbidden>,
    /// Ends with this.
    _following: JoinSet<()>,
}

impl Guarded {
    /// `entries`: name and experiment of each; `approvals`: how many others have agreed.
    pub(super) fn new(
        access: &Access,
        entries: Vec<(String, ExperimentSpec)>,
        (namespace, approvals): (&str, usize),
    ) -> Self {
        let approvals = u32::try_from(approvals).unwrap_or(u32::MAX);
        let judge = Judge { access: access.beside(), entries, namespace: namespace.to_owned(), approvals };
        let judge = Arc::new(judge);
        let (tx, news) = mpsc::unbounded_channel();
        let mut following = JoinSet::new();
        following.spawn(tell(judge.clone(), tx));
        Self { judge, news, _following: following }
    }

    /// What they forbid after a change of them.
    pub(super) async fn next(&mut self) -> Forbidden {
        match self.news.recv().await {
            Some(forbidden) => forbidden,
            None => std::future::pending().await,
        }
    }

    /// The same, if it is known already.
    pub(super) fn known(&mut self) -> Option<Forbidden> {
        self.news.try_recv().ok()
    }

    /// What they forbid by what they are when they are asked for now.
    pub(super) async fn now(&self) -> Forbidden {
        let judged = async {
            let listed = self.judge.access.list_if_served(API_VERSION, "Guardrail").await?;
            self.judge.judged(&listed.iter().flatten().filter_map(rule).collect::<Vec<_>>()).await
        };
        judged.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the Guardrails cannot be read now; a change of them is still seen");
            Forbidden::default()
        })
    }
}

/// Tells of each change that forbids something: what is halted and let go of again has been halted.
async fn tell(judge: Arc<Judge>, tx: mpsc::UnboundedSender<Forbidden>) {
    let like = ObjectRef::namespaced(API_VERSION, "Guardrail", "", "");
    let mut changes = follow(&judge.access, &like, "");
    let mut rules = Followed::default();
    while let Some(change) = changes.next().await {
        rules.take(change, rule);
        while rules.changed() {
            let now: Vec<Value> = rules.items().values().cloned().collect();
            match judge.judged(&now).await {
                Ok(forbidden) => {
                    rules.seen();
                    if !forbidden.0.is_empty() && tx.send(forbidden).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "what the Guardrails cover cannot be read yet");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

/// A status that changes is no news.
fn rule(found: &DynamicObject) -> Option<Value> {
    let spec = found.data.get("spec").cloned().unwrap_or_else(|| json!({}));
    Some(json!({"metadata": {"name": found.metadata.name}, "spec": spec}))
}

/// What Guardrails are held against.
struct Judge {
    access: Access,
    entries: Vec<(String, ExperimentSpec)>,
    namespace: String,
    approvals: u32,
}

impl Judge {
    async fn judged(&self, rules: &[Value]) -> Result<Forbidden, ApiError> {
        let mut guardrails = Vec::new();
        for rule in rules {
            match Guardrail::from_value(rule) {
                Ok(guardrail) => guardrails.push(guardrail),
                // One that cannot be read forbids everything.
                Err(error) => {
                    let name = rule["metadata"]["name"].as_str().unwrap_or_default();
                    let why = format!("Guardrail {name} cannot be read: {error}");
                    let each = |(entry, _): &(String, ExperimentSpec)| {
                        (entry.clone(), StopReason::GuardrailChanged, why.clone())
                    };
                    return Ok(Forbidden(self.entries.iter().map(each).collect()));
                }
            }
        }
        let spaces = tokio::time::timeout(LOOKED_WITHIN, self.spaces()).await;
        let snapshot = spaces.unwrap_or(Err(ApiError::TimedOut(LOOKED_WITHIN)))?;
        let barred = |(entry, spec): &(String, ExperimentSpec)| {
            let run = (spec, self.namespace.as_str(), self.approvals);
            Some(match plan::barred(run, &snapshot, &guardrails)? {
                Overruled::Halted(by) => (entry.clone(), StopReason::Halted, by),
                Overruled::Changed(by) => (entry.clone(), StopReason::GuardrailChanged, by),
            })
        };
        Ok(Forbidden(self.entries.iter().filter_map(barred).collect()))
    }

    /// The namespaces that they may cover, and the one that says whether this is production.
    async fn spaces(&self) -> Result<Snapshot, ApiError> {
        let concerned = self.entries.iter().flat_map(|(_, spec)| plan::namespaces(spec, &self.namespace));
        let mut spaces = BTreeMap::new();
        for name in concerned.chain(["kube-system".to_owned()]) {
            let key = (String::new(), name.clone());
            if spaces.contains_key(&key) {
                continue;
            }
            match covering::labels(&self.access, &name).await {
                Ok(labels) => spaces.insert(key, Arc::new(Space { name, labels, terminating: false })),
                Err(ApiError::NotFound) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(Snapshot { spaces: Arc::new(spaces), ..Snapshot::default() })
    }
}
