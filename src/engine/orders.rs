//! Loads as they will be sent, found out before the first change.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use super::Request;
use crate::{
    cluster::{Access, ApiError},
    env::{Env, LoadOrder, is_forbidden},
    faults::{self, Injection, LoadAsk},
    load::{self, LoadFrom, LoadSpec},
    types::{Finding, Length, ObjectRef, codes::guard as code, load::SendOrder},
};

/// A load that is to be begun.
pub(super) enum Order {
    /// By this process.
    Here(Box<LoadOrder>),
    /// By a pod.
    ByPod(Box<PodOrder>),
}

/// What a pod is to send.
pub(super) struct PodOrder {
    pub order: SendOrder,
    /// Variables of its environment, each with the Secret and the key that it comes from.
    pub secrets: Vec<(String, String, String)>,
}

impl PodOrder {
    /// The question that the registry answers with a pod.
    pub(super) fn ask<'a>(&self, load: &'a str, (namespace, image): (&'a str, &'a str)) -> LoadAsk<'a> {
        let (order, secrets) = (self.order.clone(), self.secrets.clone());
        LoadAsk { load, namespace, order, secrets, image, nonce: "", until: jiff::Timestamp::MAX }
    }
}

/// The pods that are to send loads, as they would be made now.
pub(super) fn pods(
    request: &Request,
    loads: &BTreeMap<String, Order>,
    until: jiff::Timestamp,
) -> Vec<Injection> {
    let orders = loads.iter().filter_map(|(name, order)| match order {
        Order::ByPod(order) => Some((name, order)),
        Order::Here(_) => None,
    });
    orders
        .map(|(name, order)| {
            let ask = order.ask(name, (&request.namespace, request.environment.image()));
            faults::load_pod(LoadAsk { until, ..ask })
        })
        .collect()
}

/// A load that a pod is to send. Its Secrets are read there; only whether there is such a Service is asked here.
async fn by_pod(
    access: &Access,
    (subject, load, seed): (&str, &LoadSpec, u64),
    windows: &[Length],
) -> Result<PodOrder, Finding> {
    let (order, secrets) =
        load::to_send(load, seed, windows).map_err(|why| Finding::error(code::FIELDS, subject, why))?;
    if let Some((namespace, name)) = load.service()
        && let Err(ApiError::NotFound) =
            access.get(&ObjectRef::namespaced("v1", "Service", &namespace, &name)).await
    {
        let why = format!("there is no Service {name} in namespace {namespace}");
        return Err(
            Finding::error(code::LOAD_UNREACHABLE, subject, why).remedy("name a Service that is there")
        );
    }
    let secrets = secrets.into_iter().map(|(env, key)| (env, key.name, key.key)).collect();
    Ok(PodOrder { order, secrets })
}

/// The loads, ready to be sent: Secrets read, hosts found.
pub(super) async fn loads(
    env: &Env,
    (access, request): (&Access, &Request),
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Order> {
    let spec = &request.experiment.spec;
    let mut orders = BTreeMap::new();
    for (name, load, _) in spec.loads() {
        let subject = format!("load {name}");
        let asking = spec
            .steady_state
            .iter()
            .filter(|probe| probe.params.get("name").and_then(Value::as_str) == Some(name));
        let windows: BTreeSet<Length> = asking.map(|probe| Length(probe.every)).collect();
        if load.from == LoadFrom::Pod {
            let windows: Vec<Length> = windows.into_iter().collect();
            match by_pod(access, (&subject, load, request.seed), &windows).await {
                Ok(order) => {
                    orders.insert(name.to_owned(), Order::ByPod(Box::new(order)));
                }
                Err(finding) => findings.push(finding),
            }
            continue;
        }
        let keep = windows.last().map_or(Duration::ZERO, |longest| longest.0).max(Duration::from_secs(10));
        let order = match load.order(access, &request.namespace, (request.seed, keep)).await {
            Ok(order) => order,
            Err(why) => {
                findings.push(Finding::error(code::FIELDS, subject, why));
                continue;
            }
        };
        match env.load.find(&order.url).await {
            Ok(addresses) => {
                if let Some(address) = addresses.into_iter().find(|address| is_forbidden(*address)) {
                    let message = format!("its host means {address}, a link-local address");
                    findings.push(Finding::error(code::LOAD_ADDRESS, subject, message));
                }
            }
            Err(why) => {
                let remedy = "a load goes straight to its address, never through the API server's proxy: name one that can be reached from here";
                findings.push(Finding::error(code::LOAD_UNREACHABLE, subject, why).remedy(remedy));
            }
        }
        orders.insert(name.to_owned(), Order::Here(Box::new(order)));
    }
    orders
}
