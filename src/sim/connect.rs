//! firedrill's own image in the embedded cluster: a container of it with the arguments `connect` finds out what it can
//! reach, one with `send` sends a load, and their logs say so, as the program itself would.
//!
//! A container's log holds its last round of attempts, or its last line, only: what came before is not kept.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    network::Network,
    network_policy::{Direction, PortNumber},
    store::{Kind, Object, Selector, Status, Store},
};
use crate::types::{Attempt, is_own_image, service_of_host};

/// With which arguments a container of a pod runs firedrill; of the only one, if none is named. None: it runs
/// something else.
pub fn words(pod: &Object, container: Option<&str>) -> Option<Vec<String>> {
    let spec: Value = pod.field("spec").unwrap_or_default();
    let mut all = spec["containers"].as_array().into_iter().flatten();
    let found = all.find(|one| container.is_none_or(|name| one["name"] == name))?;
    if !is_own_image(found["image"].as_str()?) {
        return None;
    }
    Some(found["args"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The log of that container of a pod, if it runs `firedrill connect` or `firedrill send`; None for any other. `said`
/// knows what a pod that sends has said last.
///
/// # Errors
/// 400 while the container has not started, as a kubelet answers.
pub fn log(
    store: &Store,
    pod: &Object,
    container: &str,
    said: impl Fn(&Object) -> Option<String>,
) -> Option<Result<String, Status>> {
    let words = words(pod, Some(container))?;
    let (command, addresses) = words.split_first()?;
    if !matches!(command.as_str(), "connect" | "send") {
        return None;
    }
    let status: Value = pod.field("status").unwrap_or_default();
    let mut states = status["containerStatuses"].as_array().into_iter().flatten();
    let state =
        states.find(|one| one["name"] == container).map(|one| one["state"].clone()).unwrap_or_default();
    let started = state.pointer("/running/startedAt").and_then(Value::as_str);
    let Some(started) = started.and_then(|text| text.parse::<jiff::Timestamp>().ok()) else {
        let waiting = state.pointer("/waiting/reason").and_then(Value::as_str).unwrap_or("ContainerCreating");
        let name = &pod.meta.name;
        let why = format!("container \"{container}\" in pod \"{name}\" is waiting to start: {waiting}");
        return Some(Err(Status::bad_request(why)));
    };
    if command == "send" {
        return Some(Ok(said(pod).unwrap_or_default()));
    }
    let round = u64::try_from(store.now().duration_since(started).as_secs()).unwrap_or(0);
    let network = Network::of(store);
    let attempts = addresses.iter().map(|address| {
        let error = open(store, &network, (&pod.meta.uid, round), address).err().unwrap_or_default();
        Attempt { round, address: address.clone(), connected: error.is_empty(), error }
    });
    Some(Ok(attempts.map(|attempt| serde_json::to_string(&attempt).unwrap_or_default() + "\n").collect()))
}

/// Opens one connection from a pod; in words why that does not work.
fn open(store: &Store, network: &Network, (from, round): (&str, u64), address: &str) -> Result<(), String> {
    let (host, port) = address.rsplit_once(':').ok_or("invalid socket address")?;
    let port: u16 = port.parse().map_err(|_| "invalid port value".to_owned())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let (to, port) = match host.parse::<IpAddr>() {
        Ok(address) => match service_at(store, host) {
            Some(service) => endpoint(store, &service, (port, round))?,
            None => (address, port),
        },
        Err(_) => {
            let unknown = || "failed to lookup address information: Name or service not known".to_owned();
            let (namespace, name) = service_of_host(host).ok_or_else(unknown)?;
            let service = store.get(&Kind::SERVICE, namespace, name).ok_or_else(unknown)?;
            endpoint(store, &service, (port, round))?
        }
    };
    if let Err(denied) = network.check_address(from, to, PortNumber::tcp(port)) {
        let end = match denied.direction {
            Direction::Egress => "egress",
            Direction::Ingress => "ingress",
        };
        tracing::debug!(address, end, policies = denied.policies.join(", "), "dropped");
        // A dropped packet is answered by nobody.
        return Err("no answer within 1s".to_owned());
    }
    if network.pod_at(to).is_some() { Ok(()) } else { Err("No route to host (os error 113)".to_owned()) }
}

fn service_at(store: &Store, address: &str) -> Option<std::sync::Arc<Object>> {
    let services = store.list(&Kind::SERVICE, None, &Selector::everything());
    services
        .into_iter()
        .find(|service| service.field::<Value>("spec").unwrap_or_default()["clusterIP"] == address)
}

/// One of a Service's ready endpoints, in turn: what kube-proxy makes of its port.
fn endpoint(store: &Store, service: &Object, (port, turn): (u16, u64)) -> Result<(IpAddr, u16), String> {
    let refused = || "Connection refused (os error 111)".to_owned();
    let spec: Value = service.field("spec").unwrap_or_default();
    let ports = spec["ports"].as_array().into_iter().flatten();
    let name =
        ports.clone().find(|p| p["port"] == port).map(|p| p["name"].as_str().unwrap_or_default().to_owned());
    let name = name.ok_or_else(refused)?;
    let slices = store.list(&Kind::ENDPOINT_SLICE, Some(&service.meta.namespace), &Selector::everything());
    let label = "kubernetes.io/service-name";
    let of = slices.iter().filter(|slice| slice.meta.labels.get(label) == Some(&service.meta.name));
    let mut found: Vec<(IpAddr, u16)> = Vec::new();
    for slice in of {
        let ports: Value =
            slice.raw("ports").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        let port =
            ports.as_array().into_iter().flatten().find(|p| p["name"].as_str().unwrap_or_default() == name);
        let Some(port) = port.and_then(|p| u16::try_from(p["port"].as_u64()?).ok()) else { continue };
        let endpoints: Value =
            slice.raw("endpoints").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        let ready = endpoints.as_array().into_iter().flatten().filter(|e| e["conditions"]["ready"] != false);
        let addresses = ready.filter_map(|e| e["addresses"][0].as_str()?.parse().ok());
        found.extend(addresses.map(|address| (address, port)));
    }
    let at = usize::try_from(turn).unwrap_or(0) % found.len().max(1);
    found.get(at).copied().ok_or_else(refused)
}
