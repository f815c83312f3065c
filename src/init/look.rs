//! What the API server knows of a workload. Only reads.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{DynamicObject, Selector, SelectorExt};
use serde_json::Value;

use super::found::{Found, Metrics, Scaling, ServiceFound};
use crate::{
    cluster::{Access, ApiError},
    plan,
    types::ObjectRef,
};

/// Why there is nothing to write of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// The Deployment is not there.
    #[error("there is no deployment/{name} in namespace {namespace}")]
    NoWorkload {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// It wants no pods.
    #[error(
        "deployment/{0} wants no pods: there is nothing to break and nothing to measure; scale it up first"
    )]
    Empty(String),
    /// The API server does not say.
    #[error("{what}: {error}")]
    Api {
        /// What was asked for.
        what: String,
        /// Its answer.
        error: ApiError,
    },
}

/// A Deployment in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// How many pods it wants.
    pub replicas: usize,
    /// How many of them are ready.
    pub ready: usize,
}

impl Listed {
    fn of(deployment: &DynamicObject) -> Self {
        let data = &deployment.data;
        let count = |value: &Value, absent: u64| {
            usize::try_from(value.as_u64().unwrap_or(absent)).unwrap_or(usize::MAX)
        };
        Self {
            name: name_of(deployment),
            replicas: count(&data["spec"]["replicas"], 1),
            ready: count(&data["status"]["readyReplicas"], 0),
        }
    }
}

fn name_of(object: &DynamicObject) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

/// Of this kind, in a namespace; without one, in all of them.
fn any(api_version: &str, kind: &str, namespace: &str) -> ObjectRef {
    ObjectRef::namespaced(api_version, kind, namespace, "")
}

fn deployment(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef::namespaced("apps/v1", "Deployment", namespace, name)
}

/// The Deployments of a namespace, by name.
///
/// # Errors
/// The API server's answer.
pub async fn deployments(access: &Access, namespace: &str) -> Result<Vec<Listed>, LookError> {
    let list = access.list(&deployment(namespace, ""), "").await;
    let what = || format!("the Deployments of namespace {namespace}");
    let list = list.map_err(|error| LookError::Api { what: what(), error })?;
    let mut found: Vec<Listed> = list.iter().map(Listed::of).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// How many Deployments other namespaces have; nothing for those who may not know.
pub async fn deployments_elsewhere(access: &Access) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    if let Ok(list) = access.list(&deployment("", ""), "").await {
        let namespaces = list.into_iter().filter_map(|deployment| deployment.metadata.namespace);
        for namespace in namespaces.filter(|namespace| !plan::protected(namespace)) {
            *found.entry(namespace).or_default() += 1;
        }
    }
    found
}

/// Whether a namespace has consented to experiments by its label; not for those who may not know.
pub async fn consents(access: &Access, namespace: &str) -> bool {
    let found = access.get(&ObjectRef::namespaced("v1", "Namespace", "", namespace)).await;
    let labels = found.ok().and_then(|found| found.metadata.labels).unwrap_or_default();
    labels.get("firedrill.dev/allowed").is_some_and(|value| value == "true")
}

/// Everything but the metrics.
///
/// # Errors
/// The Deployment is not there, wants nothing, or cannot be read. What belongs to it and cannot be read is named in
/// [`Found::unseen`].
pub async fn look(access: &Access, namespace: &str, name: &str) -> Result<Found, LookError> {
    let found = access.get(&deployment(namespace, name)).await.map_err(|error| match error {
        ApiError::NotFound => {
            LookError::NoWorkload { namespace: namespace.to_owned(), name: name.to_owned() }
        }
        error => LookError::Api { what: format!("deployment/{name}"), error },
    })?;
    let listed = Listed::of(&found);
    if listed.replicas == 0 {
        return Err(LookError::Empty(name.to_owned()));
    }
    let spec = &found.data["spec"];
    let labels = texts(&spec["template"]["metadata"]["labels"]);
    let selector = serde_json::from_value(spec["selector"].clone()).unwrap_or_default();
    let mut found = Found {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        replicas: listed.replicas,
        ready: listed.ready,
        labels,
        metrics: Metrics::default(),
        ..Found::default()
    };
    let surroundings = Surroundings { access, namespace };
    let all = LabelSelector::default();
    let (pods, budgets, autoscalers, services) = futures::join!(
        surroundings.list("pods", ("v1", "Pod"), &selector),
        surroundings.list("PodDisruptionBudgets", ("policy/v1", "PodDisruptionBudget"), &all),
        surroundings.list("HorizontalPodAutoscalers", ("autoscaling/v2", "HorizontalPodAutoscaler"), &all),
        surroundings.list("Services", ("v1", "Service"), &all),
    );
    let unseen = &mut found.unseen;
    let (pods, budgets) = (seen(pods, unseen), seen(budgets, unseen));
    let (autoscalers, services) = (seen(autoscalers, unseen), seen(services, unseen));
    found.startup = median(pods.iter().filter_map(startup).collect());
    found.budgets = covering(&budgets, &found.labels);
    found.autoscaler = autoscalers.iter().find_map(|hpa| scaling(hpa, name));
    found.services = selecting(&services, &found.labels);
    Ok(found)
}

/// The objects around a workload.
struct Surroundings<'a> {
    access: &'a Access,
    namespace: &'a str,
}

impl Surroundings<'_> {
    async fn list(
        &self,
        what: &str,
        (api_version, kind): (&str, &str),
        selector: &LabelSelector,
    ) -> Result<Vec<DynamicObject>, String> {
        let failed = |why: String| format!("{what} of namespace {}: {why}", self.namespace);
        let selector = Selector::try_from(selector.clone()).map_err(|error| failed(error.to_string()))?;
        let list = self.access.list(&any(api_version, kind, self.namespace), &selector.to_string()).await;
        list.map_err(|error| failed(error.to_string()))
    }
}

fn seen(list: Result<Vec<DynamicObject>, String>, unseen: &mut Vec<String>) -> Vec<DynamicObject> {
    list.unwrap_or_else(|why| {
        unseen.push(why);
        Vec::new()
    })
}

/// A map of texts.
fn texts(value: &Value) -> BTreeMap<String, String> {
    let texts = value.as_object().into_iter().flatten();
    texts.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// From a pod's creation until it was ready; later flaps would make it longer, hence the median of all.
fn startup(pod: &DynamicObject) -> Option<Duration> {
    let created = pod.metadata.creation_timestamp.as_ref()?.0;
    let conditions = pod.data["status"]["conditions"].as_array()?;
    let ready =
        conditions.iter().find(|condition| condition["type"] == "Ready" && condition["status"] == "True")?;
    let since: Timestamp = ready["lastTransitionTime"].as_str()?.parse().ok()?;
    Duration::try_from(since.duration_since(created)).ok()
}

fn median(mut lengths: Vec<Duration>) -> Option<Duration> {
    lengths.sort();
    lengths.get(lengths.len() / 2).copied()
}

/// The budgets whose selector takes pods with these labels; an absent one takes none, an empty one all (policy/v1).
fn covering(budgets: &[DynamicObject], labels: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let covers = |budget: &&DynamicObject| {
        let selector: Option<LabelSelector> =
            serde_json::from_value(budget.data["spec"]["selector"].clone()).ok();
        let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
        selector.is_some_and(|selector| selector.matches(labels))
    };
    let rule = |spec: &Value| {
        let amount = |name: &str| match &spec[name] {
            Value::Null => None,
            Value::String(share) => Some(format!("{name} {share}")),
            count => Some(format!("{name} {count}")),
        };
        amount("minAvailable")
            .or_else(|| amount("maxUnavailable"))
            .unwrap_or_else(|| "without a rule".to_owned())
    };
    let covering = budgets.iter().filter(covers);
    let mut found: Vec<(String, String)> =
        covering.map(|budget| (name_of(budget), rule(&budget.data["spec"]))).collect();
    found.sort();
    found
}

fn scaling(autoscaler: &DynamicObject, workload: &str) -> Option<Scaling> {
    let spec = &autoscaler.data["spec"];
    let target = &spec["scaleTargetRef"];
    let count = |value: &Value| value.as_i64().and_then(|count| i32::try_from(count).ok());
    (target["kind"] == "Deployment" && target["name"] == workload).then(|| Scaling {
        name: name_of(autoscaler),
        min: count(&spec["minReplicas"]).unwrap_or(1),
        max: count(&spec["maxReplicas"]).unwrap_or(0),
    })
}

/// The Services that send requests to pods with these labels. One without a selector has endpoints of its own.
fn selecting(services: &[DynamicObject], labels: &BTreeMap<String, String>) -> Vec<ServiceFound> {
    let mut found: Vec<ServiceFound> = services
        .iter()
        .filter_map(|service| {
            let spec = &service.data["spec"];
            let selector = spec["selector"].as_object().filter(|selector| !selector.is_empty())?;
            let selects =
                selector.iter().all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str());
            let tcp = |port: &&Value| port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP");
            let port = spec["ports"].as_array().into_iter().flatten().find(tcp);
            let port = port.and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
            selects.then(|| ServiceFound { name: name_of(service), port })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}
