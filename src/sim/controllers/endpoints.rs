//! Endpoints and EndpointSlices: which pods a Service sends requests to.
//!
//! Source: `pkg/controller/endpoint/endpoints_controller.go` and `staging/src/k8s.io/endpointslice`, v1.36.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::action::{Action, Decision, Target};
use super::names;
use super::views::{IntOrPercent, Pod, Service, ServicePort};
use crate::sim::store::{Kind, Object};
use std::sync::Arc;

/// Endpoints in one slice at most (`--max-endpoints-per-slice`).
const SLICE: usize = 100;

/// What a Service's endpoints depend on.
pub struct Inputs<'a> {
    /// The Service, with a selector.
    pub service: &'a Service,
    /// The pods that it selects.
    pub pods: &'a [&'a Pod],
    /// The EndpointSlices that it owns.
    pub slices: &'a [Arc<Object>],
    /// Zone of a node.
    pub zone_of: &'a dyn Fn(&str) -> Option<String>,
}

/// One sync of a Service's Endpoints and EndpointSlices.
#[must_use]
pub fn decide(input: &Inputs<'_>) -> Decision {
    let mut decision = Decision::default();
    let service = input.service;
    if service.terminating() || service.spec.selector.is_empty() {
        return decision;
    }
    decision.actions.push(Action::Apply(endpoints(input)));
    let slices = slices(input);
    for stale in input.slices.iter().filter(|s| slices.iter().all(|n| n.meta.name != s.meta.name)) {
        decision.actions.push(Action::Delete(Target::of(stale), None));
    }
    decision.actions.extend(slices.into_iter().map(Action::Apply));
    decision
}

/// Whether an address is in the ready list.
fn ready(service: &Service, pod: &Pod) -> bool {
    pod.ready() || service.spec.publish_not_ready_addresses
}

fn endpoints(input: &Inputs<'_>) -> Object {
    let service = input.service;
    let mut subsets: BTreeMap<String, (Value, Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for pod in input.pods {
        let leaving = pod.terminating() && !service.spec.publish_not_ready_addresses;
        if pod.status.pod_ip.is_empty() || pod.finished() || leaving {
            continue;
        }
        let ports = ports(service, pod);
        let (_, ready_list, other) =
            subsets.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new(), Vec::new()));
        let address =
            json!({"ip": pod.status.pod_ip, "nodeName": pod.spec.node_name, "targetRef": reference(pod)});
        if ready(service, pod) { ready_list.push(address) } else { other.push(address) }
    }
    let subsets: Vec<Value> = subsets
        .into_values()
        .map(|(ports, ready, other)| {
            let mut subset = Map::new();
            for (name, list) in [("addresses", ready), ("notReadyAddresses", other)] {
                if !list.is_empty() {
                    subset.insert(name.into(), Value::Array(list));
                }
            }
            if ports != json!([]) {
                subset.insert("ports".into(), ports);
            }
            Value::Object(subset)
        })
        .collect();
    let mut object = Object::new(Kind::ENDPOINTS, service.namespace(), service.name());
    object.meta.labels.clone_from(&service.meta().labels);
    object.meta.labels.insert("endpoints.kubernetes.io/managed-by".into(), "endpoint-controller".into());
    if !subsets.is_empty() {
        object.set_value("subsets", &Value::Array(subsets));
    }
    object
}

fn reference(pod: &Pod) -> Value {
    json!({"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()})
}

/// The Service's ports as a pod has them; a named port that the pod does not have is left out (`FindPort`).
fn ports(service: &Service, pod: &Pod) -> Value {
    let found = service.spec.ports.iter().filter_map(|port| {
        let mut value = json!({"port": target_port(port, pod)?, "protocol": protocol(port)});
        if !port.name.is_empty() {
            value["name"] = json!(port.name);
        }
        Some(value)
    });
    Value::Array(found.collect())
}

fn protocol(port: &ServicePort) -> &str {
    if port.protocol.is_empty() { "TCP" } else { &port.protocol }
}

fn target_port(port: &ServicePort, pod: &Pod) -> Option<i64> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrPercent::Int(number)) => Some(if *number == 0 { port.port } else { *number }),
        Some(IntOrPercent::Text(name)) => {
            let mut ports = pod.spec.containers.iter().flat_map(|c| &c.ports);
            ports.find(|p| p.name == *name).map(|p| p.container_port)
        }
    }
}

fn slices(input: &Inputs<'_>) -> Vec<Object> {
    let service = input.service;
    let mut groups: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for pod in input.pods.iter().filter(|p| !p.status.pod_ip.is_empty() && !p.finished()) {
        let (serving, terminating) = (pod.ready(), pod.terminating());
        let answers = service.spec.publish_not_ready_addresses || (serving && !terminating);
        let mut endpoint = json!({
            "addresses": [pod.status.pod_ip],
            "conditions": {"ready": answers, "serving": serving, "terminating": terminating},
            "nodeName": pod.spec.node_name, "targetRef": reference(pod),
        });
        if let Some(zone) = (input.zone_of)(&pod.spec.node_name) {
            endpoint["zone"] = json!(zone);
        }
        let mut ports = ports(service, pod);
        for port in ports.as_array_mut().into_iter().flatten() {
            // In a slice an unnamed port has the empty name.
            if port.get("name").is_none() {
                port["name"] = json!("");
            }
        }
        groups.entry(ports.to_string()).or_insert_with(|| (ports, Vec::new())).1.push(endpoint);
    }
    if groups.is_empty() {
        groups.insert(String::new(), (Value::Null, Vec::new()));
    }
    let mut out: Vec<Object> = Vec::new();
    for (ports, endpoints) in groups.into_values() {
        let mut chunks: Vec<&[Value]> = endpoints.chunks(SLICE).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for chunk in chunks {
            let slice = slice(service, out.len(), (&ports, chunk));
            out.push(slice);
        }
    }
    out
}

fn slice(service: &Service, index: usize, (ports, endpoints): (&Value, &[Value])) -> Object {
    let hash = names::hash(&[service.uid(), &index.to_string()]);
    let name = format!("{}-{}", service.name(), names::suffix(hash));
    let mut object = Object::new(Kind::ENDPOINT_SLICE, service.namespace(), &name);
    object.meta.generate_name = format!("{}-", service.name());
    object.meta.labels.clone_from(&service.meta().labels);
    object.meta.labels.insert("kubernetes.io/service-name".into(), service.name().to_owned());
    object
        .meta
        .labels
        .insert("endpointslice.kubernetes.io/managed-by".into(), "endpointslice-controller.k8s.io".into());
    object.meta.owner_references = vec![service.object.controller_reference()];
    object.set_value("addressType", &json!("IPv4"));
    object.set_value("endpoints", &json!(endpoints));
    object.set_value("ports", ports);
    object
}
