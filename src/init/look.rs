//! What the API server knows of a workload. Only reads.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Namespace, Pod, Service},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::{
    Api,
    api::ListParams,
    core::{Selector, SelectorExt},
};
use serde::de::DeserializeOwned;

use super::found::{Found, Metrics, Scaling, ServiceFound};
use crate::{
    cluster::{Access, ApiError},
    plan,
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
    pub replicas: i32,
    /// How many of them are ready.
    pub ready: i32,
}

impl Listed {
    fn of(deployment: &Deployment) -> Self {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        Self { name: deployment.metadata.name.clone().unwrap_or_default(), replicas: wanted, ready }
    }
}

/// The Deployments of a namespace, by name.
///
/// # Errors
/// The API server's answer.
pub async fn deployments(access: &Access, namespace: &str) -> Result<Vec<Listed>, LookError> {
    let api: Api<Deployment> = Api::namespaced(access.client().clone(), namespace);
    let what = || format!("the Deployments of namespace {namespace}");
    let list = access.read(api.list(&ListParams::default())).await;
    let list = list.map_err(|error| LookError::Api { what: what(), error })?;
    let mut found: Vec<Listed> = list.items.iter().map(Listed::of).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// How many Deployments other namespaces have; nothing for those who may not know.
pub async fn deployments_elsewhere(access: &Access) -> BTreeMap<String, usize> {
    let api: Api<Deployment> = Api::all(access.client().clone());
    let mut found = BTreeMap::new();
    if let Ok(list) = access.read(api.list(&ListParams::default())).await {
        let namespaces = list.items.into_iter().filter_map(|deployment| deployment.metadata.namespace);
        for namespace in namespaces.filter(|namespace| !plan::protected(namespace)) {
            *found.entry(namespace).or_default() += 1;
        }
    }
    found
}

/// Whether a namespace has consented to experiments by its label; not for those who may not know.
pub async fn consents(access: &Access, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(access.client().clone());
    let found = access.read(api.get(namespace)).await;
    let labels = found.ok().and_then(|found| found.metadata.labels).unwrap_or_default();
    labels.get("firedrill.dev/allowed").is_some_and(|value| value == "true")
}

/// Everything but the metrics.
///
/// # Errors
/// The Deployment is not there, wants nothing, or cannot be read. What belongs to it and cannot be read is named in
/// [`Found::unseen`].
pub async fn look(access: &Access, namespace: &str, name: &str) -> Result<Found, LookError> {
    let api: Api<Deployment> = Api::namespaced(access.client().clone(), namespace);
    let deployment = access.read(api.get(name)).await.map_err(|error| match error {
        ApiError::NotFound => {
            LookError::NoWorkload { namespace: namespace.to_owned(), name: name.to_owned() }
        }
        error => LookError::Api { what: format!("deployment/{name}"), error },
    })?;
    let listed = Listed::of(&deployment);
    let count = |number: i32| usize::try_from(number).unwrap_or(0);
    if count(listed.replicas) == 0 {
        return Err(LookError::Empty(name.to_owned()));
    }
    let spec = deployment.spec;
    let labels = spec.template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
    let mut found = Found {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        replicas: count(listed.replicas),
        ready: count(listed.ready),
        labels,
        metrics: Metrics::default(),
        ..Found::default()
    };
    let surroundings = Surroundings { access, namespace };
    let all = LabelSelector::default();
    let (pods, budgets, autoscalers, services) = futures::join!(
        surroundings.list::<Pod>("pods", &spec.selector),
        surroundings.list::<PodDisruptionBudget>("PodDisruptionBudgets", &all),
        surroundings.list::<HorizontalPodAutoscaler>("HorizontalPodAutoscalers", &all),
        surroundings.list::<Service>("Services", &all),
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
    async fn list<K>(&self, what: &str, selector: &LabelSelector) -> Result<Vec<K>, String>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let failed = |why: String| format!("{what} of namespace {}: {why}", self.namespace);
        let selector = Selector::try_from(selector.clone()).map_err(|error| failed(error.to_string()))?;
        let api: Api<K> = Api::namespaced(self.access.client().clone(), self.namespace);
        let params = ListParams::default().labels_from(&selector);
        let list = self.access.read(api.list(&params)).await;
        list.map(|list| list.items).map_err(|error| failed(error.to_string()))
    }
}

fn seen<K>(list: Result<Vec<K>, String>, unseen: &mut Vec<String>) -> Vec<K> {
    list.unwrap_or_else(|why| {
        unseen.push(why);
        Vec::new()
    })
}

/// From a pod's creation until it was ready; later flaps would make it longer, hence the median of all.
fn startup(pod: &Pod) -> Option<Duration> {
    let created = pod.metadata.creation_timestamp.as_ref()?.0;
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready =
        conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    let since = ready.last_transition_time.as_ref()?.0;
    Duration::try_from(since.duration_since(created)).ok()
}

fn median(mut lengths: Vec<Duration>) -> Option<Duration> {
    lengths.sort();
    lengths.get(lengths.len() / 2).copied()
}

/// The budgets whose selector takes pods with these labels; an absent one takes none, an empty one all (policy/v1).
fn covering(budgets: &[PodDisruptionBudget], labels: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let covers = |budget: &&PodDisruptionBudget| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
        let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
        selector.is_some_and(|selector| selector.matches(labels))
    };
    let amount = |amount: &IntOrString| match amount {
        IntOrString::Int(count) => count.to_string(),
        IntOrString::String(share) => share.clone(),
    };
    let mut found: Vec<(String, String)> = budgets
        .iter()
        .filter(covers)
        .map(|budget| {
            let spec = budget.spec.clone().unwrap_or_default();
            let rule = match (&spec.min_available, &spec.max_unavailable) {
                (Some(least), _) => format!("minAvailable {}", amount(least)),
                (None, Some(most)) => format!("maxUnavailable {}", amount(most)),
                (None, None) => "without a rule".to_owned(),
            };
            (budget.metadata.name.clone().unwrap_or_default(), rule)
        })
        .collect();
    found.sort();
    found
}

fn scaling(autoscaler: &HorizontalPodAutoscaler, workload: &str) -> Option<Scaling> {
    let spec = &autoscaler.spec;
    let target = &spec.scale_target_ref;
    (target.kind == "Deployment" && target.name == workload).then(|| Scaling {
        name: autoscaler.metadata.name.clone().unwrap_or_default(),
        min: spec.min_replicas.unwrap_or(1),
        max: spec.max_replicas,
    })
}

/// The Services that send requests to pods with these labels. One without a selector has endpoints of its own.
fn selecting(services: &[Service], labels: &BTreeMap<String, String>) -> Vec<ServiceFound> {
    let mut found: Vec<ServiceFound> = services
        .iter()
        .filter_map(|service| {
            let spec = service.spec.as_ref()?;
            let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
            let selects = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            let tcp = |port: &&k8s_openapi::api::core::v1::ServicePort| {
                port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
            };
            let port = spec.ports.iter().flatten().find(tcp).and_then(|port| u16::try_from(port.port).ok());
            selects.then(|| ServiceFound { name: service.metadata.name.clone().unwrap_or_default(), port })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}
