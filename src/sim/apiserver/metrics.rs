//! `metrics.k8s.io/v1beta1` as metrics-server serves it: what pods and nodes use, for `kubectl top` and autoscalers.

use super::request::{Call, Target};
use super::{ApiBody, ApiServer, json};
use crate::sim::controllers::node_lifecycle;
use crate::sim::controllers::views::{Node, Pod, View};
use crate::sim::store::{Kind, KindInfo, Object, Selector, Status};
use crate::sim::usage::{BusyShares, PodUsage, WINDOW, measure};
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json as value};
use std::sync::{Arc, OnceLock};

/// Name of the group.
pub(super) const GROUP: &str = "metrics.k8s.io";
/// Its version.
pub(super) const VERSION: &str = "v1beta1";
/// Kind, resource, whether it is in a namespace.
pub(super) const RESOURCES: [(&str, &str, bool); 2] =
    [("NodeMetrics", "nodes", false), ("PodMetrics", "pods", true)];
/// What can be done with them.
pub(super) const VERBS: [&str; 2] = ["get", "list"];

/// Where the figures come from, once somebody has them.
#[derive(Clone, Default)]
pub(super) struct UsageSource(Arc<OnceLock<Arc<dyn BusyShares>>>);

impl UsageSource {
    /// The first source stays.
    pub(super) fn register(&self, shares: Arc<dyn BusyShares>) {
        drop(self.0.set(shares));
    }
}

impl ApiServer {
    /// Answers a call on the group.
    ///
    /// # Errors
    /// 503 without a source, as while metrics-server is away; 404 for what has not been measured.
    pub(super) fn metrics(&self, call: &Call, target: &Target) -> Result<Response<ApiBody>, Status> {
        let found = RESOURCES.iter().find(|(_, resource, _)| *resource == target.resource);
        let Some((kind, resource, namespaced)) = found.filter(|_| target.version == VERSION) else {
            return Err(Status::no_resource());
        };
        if !matches!(call.verb, "get" | "list") {
            return Err(Status::method_not_allowed());
        }
        let Some(shares) = self.usage.0.get() else {
            let why =
                format!("the server is currently unable to handle the request (get {resource}.{GROUP})");
            return Err(Status::failure(503, "ServiceUnavailable", why));
        };
        let stored = if *namespaced { Kind::POD } else { Kind::NODE };
        let measured = |objects: &[Arc<Object>]| {
            if *namespaced {
                self.pods(objects, shares.as_ref())
            } else {
                self.nodes(objects, shares.as_ref())
            }
        };
        if call.verb == "get" {
            let namespace = if *namespaced { target.namespace.as_str() } else { "" };
            let objects: Vec<_> = self.store.get(&stored, namespace, &target.name).into_iter().collect();
            let mine = KindInfo {
                group: GROUP.into(),
                version: VERSION.into(),
                kind: (*kind).into(),
                ..(*stored).clone()
            };
            let first = measured(&objects).into_iter().next();
            let mut item = first.ok_or_else(|| Status::not_found(&mine, &target.name))?;
            item["kind"] = (*kind).into();
            item["apiVersion"] = format!("{GROUP}/{VERSION}").into();
            return Ok(json(StatusCode::OK, &item));
        }
        let selector = Selector::parse(&stored, call.param("labelSelector"), call.param("fieldSelector"))?;
        let namespace = (*namespaced && !target.namespace.is_empty()).then_some(target.namespace.as_str());
        let items = measured(&self.store.list(&stored, namespace, &selector));
        let list = value!({"kind": format!("{kind}List"), "apiVersion": format!("{GROUP}/{VERSION}"),
            "metadata": {}, "items": items});
        Ok(json(StatusCode::OK, &list))
    }

    /// Pods whose kubelet answers, with what they use.
    fn usage(&self, objects: &[Arc<Object>], shares: &dyn BusyShares) -> Vec<(Pod, PodUsage)> {
        let pods: Vec<Pod> = objects.iter().filter_map(|o| View::new(o.clone()).ok()).collect();
        let answers = |pod: &Pod| {
            let node = self.store.get(&Kind::NODE, "", &pod.spec.node_name);
            node.and_then(|n| View::new(n).ok()).is_some_and(|n: Node| node_lifecycle::kubelet_runs(&n))
        };
        let pods: Vec<Pod> = pods.into_iter().filter(answers).collect();
        let usage = measure(&pods.iter().collect::<Vec<_>>(), shares, self.store.now());
        pods.into_iter().zip(usage).filter_map(|(pod, usage)| Some((pod, usage?))).collect()
    }

    fn pods(&self, objects: &[Arc<Object>], shares: &dyn BusyShares) -> Vec<Value> {
        let item = |(pod, usage): (Pod, PodUsage)| {
            let containers = usage.containers.iter();
            let containers: Vec<Value> =
                containers.map(|c| value!({"name": c.name, "usage": figures(c.cpu, c.memory)})).collect();
            let mut item = self.head(&pod.object, usage.at);
            item["containers"] = containers.into();
            item
        };
        self.usage(objects, shares).into_iter().map(item).collect()
    }

    /// A node uses what its pods use.
    fn nodes(&self, objects: &[Arc<Object>], shares: &dyn BusyShares) -> Vec<Value> {
        let item = |node: &Arc<Object>| {
            let view: Node = View::new(node.clone()).ok().filter(node_lifecycle::kubelet_runs)?;
            let pods = self.usage(&self.store.pods_on(view.name()), shares);
            let all = || pods.iter().flat_map(|(_, usage)| &usage.containers);
            let at = pods.first().map_or_else(|| self.store.now(), |(_, usage)| usage.at);
            let mut item = self.head(node, at);
            item["usage"] = figures(all().map(|c| c.cpu).sum(), all().map(|c| c.memory).sum());
            Some(item)
        };
        objects.iter().filter_map(item).collect()
    }

    fn head(&self, object: &Object, at: Timestamp) -> Value {
        let time = |t: Timestamp| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut metadata = value!({"name": object.meta.name, "creationTimestamp": time(self.store.now())});
        if !object.meta.namespace.is_empty() {
            metadata["namespace"] = object.meta.namespace.clone().into();
        }
        if !object.meta.labels.is_empty() {
            metadata["labels"] = value!(object.meta.labels);
        }
        value!({"metadata": metadata, "timestamp": time(at), "window": format!("{}s", WINDOW.as_secs())})
    }
}

/// Quantities as metrics-server writes them: nanocores, and memory in Ki.
fn figures(cpu: i64, memory: i64) -> Value {
    value!({"cpu": if cpu == 0 { "0".to_owned() } else { format!("{cpu}n") }, "memory": format!("{}Ki", memory / 1024)})
}
