//! What the peers of a network fault are, read from the cluster when it is injected: selectors, addresses, ports to
//! connect to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    api::DynamicObject,
    core::{Selector, SelectorExt},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cluster::{Access, ApiError},
    faults::{FaultError, World, patiently},
    types::{Cidr, Finding, ObjectRef, codes::guard, service_of_host},
};

/// How many addresses of one peer are connected to.
const CONNECTED: usize = 2;

/// One peer, as in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Peer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<LabelSelector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Cidr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<Cidr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// One thing that a pod's labels have to say, all of a selector taken together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Requirement {
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub operator: &'static str,
    pub values: Vec<String>,
}

/// The pods of a namespace that all of these mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Among {
    pub namespace: String,
    pub all_of: Vec<Requirement>,
}

/// Everything that is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dependency {
    /// Pods, by what they say of themselves: those that are born later too.
    pub pods: Vec<Among>,
    /// Addresses: of those pods now, of Services, and what is outside.
    pub blocks: Vec<Cidr>,
    /// What of those blocks is not meant.
    pub except: Vec<Cidr>,
    /// The blocks that were named themselves, each with what of it is not meant.
    pub ranges: Vec<(Cidr, Vec<Cidr>)>,
    /// `HOST:PORT` that can be connected to.
    pub addresses: Vec<String>,
    /// The ports that they declare, each with its protocol (`TCP`, `UDP`, `SCTP`).
    pub ports: BTreeSet<(u16, String)>,
    /// Whether somebody is meant who declares none: what is outside, and pods that say nothing of their ports.
    pub silent: bool,
    /// In words, those of the peers that mean nobody now.
    pub nobody: Vec<String>,
}

impl Dependency {
    /// Takes in the ports of a list, as Services, EndpointSlices and containers have them.
    fn declare(&mut self, ports: &Value, field: &str) {
        for port in list(ports) {
            let number = port[field].as_u64().and_then(|number| u16::try_from(number).ok());
            let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
            self.ports.extend(number.map(|number| (number, protocol)));
        }
    }
}

/// Reads what the peers are; `namespace` is theirs where they name none.
///
/// # Errors
/// What the API server answers; all peers that are not there, and hosts that have no address.
pub(super) async fn resolve(
    world: &World,
    namespace: &str,
    peers: &[Peer],
) -> Result<Dependency, FaultError> {
    let mut found = Dependency::default();
    let mut missing = Vec::new();
    for peer in peers {
        let namespace = peer.namespace.as_deref().unwrap_or(namespace);
        if let Err(error) = take(world, (namespace, peer), &mut found).await {
            missing.extend(error.refusals()?);
        }
    }
    if !missing.is_empty() {
        return Err(FaultError::Refused(missing));
    }
    found.blocks.sort();
    found.blocks.dedup();
    Ok(found)
}

/// Takes one peer in.
async fn take(
    world: &World,
    (namespace, peer): (&str, &Peer),
    found: &mut Dependency,
) -> Result<(), FaultError> {
    let access = &world.access;
    if let Some(name) = &peer.service {
        service(access, (namespace, name), found).await?;
    } else if let Some(text) = &peer.workload {
        workload(access, (namespace, text), found).await?;
    } else if let Some(selector) = &peer.pods {
        let subject = format!("pods of namespace {namespace}");
        among(access, (namespace, selector), &subject, found).await?;
    } else if let Some(cidr) = peer.cidr {
        found.silent = true;
        found.blocks.push(cidr);
        found.except.extend(&peer.except);
        found.ranges.push((cidr, peer.except.clone()));
    } else if let Some(name) = &peer.host {
        host(world, name, found).await?;
    }
    Ok(())
}

/// The addresses that a name has now, from here; a Service's name means the Service.
async fn host(world: &World, name: &str, found: &mut Dependency) -> Result<(), FaultError> {
    if let Some((namespace, of)) = service_of_host(name) {
        return service(&world.access, (namespace, of), found).await;
    }
    let unknown = |why: String| refused(format!("host {name}"), why).remedy("name its addresses as a cidr");
    let url =
        format!("http://{name}/").parse().map_err(|_| unknown("it is not the name of a host".to_owned()))?;
    let addresses = world.names.find(&url).await.map_err(unknown)?;
    if addresses.is_empty() {
        return Err(unknown("it has no address".to_owned()).into());
    }
    found.silent = true;
    found.blocks.extend(addresses.into_iter().map(Cidr::host));
    Ok(())
}

fn refused(subject: impl std::fmt::Display, message: impl Into<String>) -> Finding {
    Finding::error(guard::DEPENDENCY, subject, message)
}

/// Reads an object that has to be there.
async fn there(access: &Access, object: &ObjectRef) -> Result<DynamicObject, FaultError> {
    match patiently(5, || access.get(object)).await {
        Ok(found) => Ok(found),
        Err(ApiError::NotFound) => {
            Err(refused(object, "it is not there").remedy("name it as kubectl get shows it").into())
        }
        Err(error) => Err(FaultError::api(format!("reading {object}"))(error)),
    }
}

async fn service(
    access: &Access,
    (namespace, name): (&str, &str),
    found: &mut Dependency,
) -> Result<(), FaultError> {
    let object = ObjectRef::namespaced("v1", "Service", namespace, name);
    let service = there(access, &object).await?;
    let spec = &service.data["spec"];
    if spec["type"] == "ExternalName" {
        let message = "it is of type ExternalName: no more than a name, and policies know addresses only";
        let remedy = "name the cidr that it stands for, beside something that can be connected to";
        return Err(refused(&object, message).remedy(remedy).into());
    }
    let selector: BTreeMap<String, String> =
        serde_json::from_value(spec["selector"].clone()).unwrap_or_default();
    if !selector.is_empty() {
        found.pods.push(Among { namespace: namespace.to_owned(), all_of: equal(selector) });
    }
    let own = list(&spec["clusterIPs"]).chain(std::iter::once(&spec["clusterIP"]));
    found.blocks.extend(own.filter_map(address).map(Cidr::host));
    let like = ObjectRef::namespaced("discovery.k8s.io/v1", "EndpointSlice", namespace, "");
    let of = format!("kubernetes.io/service-name={name}");
    let slices = patiently(5, || access.list(&like, &of)).await;
    let mut endless = true;
    for slice in slices.map_err(FaultError::api(format!("reading the endpoints of {object}")))? {
        let endpoints = list(&slice.data["endpoints"]).flat_map(|endpoint| list(&endpoint["addresses"]));
        let before = found.blocks.len();
        found.blocks.extend(endpoints.filter_map(address).map(Cidr::host));
        endless &= found.blocks.len() == before;
        found.declare(&slice.data["ports"], "port");
    }
    if endless {
        found.nobody.push(format!("{object} has no endpoint"));
    }
    found.silent |= list(&spec["ports"]).next().is_none();
    found.declare(&spec["ports"], "port");
    found.declare(&spec["ports"], "targetPort");
    let ports = list(&spec["ports"]).filter(|port| port["protocol"].as_str().unwrap_or("TCP") == "TCP");
    let ports = ports.filter_map(|port| port["port"].as_u64()).take(CONNECTED);
    found.addresses.extend(ports.map(|port| format!("{name}.{namespace}.svc:{port}")));
    Ok(())
}

async fn workload(
    access: &Access,
    (namespace, text): (&str, &str),
    found: &mut Dependency,
) -> Result<(), FaultError> {
    let Some((kind, name)) = kind_of(text) else {
        return Err(refused(text, "it is not the name of a workload, such as deployment/postgres").into());
    };
    let object = ObjectRef::namespaced("apps/v1", kind, namespace, name);
    let workload = there(access, &object).await?;
    let selector = serde_json::from_value::<LabelSelector>(workload.data["spec"]["selector"].clone());
    let selector =
        selector.map_err(|error| refused(&object, format!("its selector cannot be read: {error}")))?;
    among(access, (namespace, &selector), &object.to_string(), found).await
}

/// Kind and name of `TYPE[.GROUP]/NAME`.
fn kind_of(text: &str) -> Option<(&'static str, &str)> {
    let (kind, name) = text.split_once('/')?;
    Some(match kind.strip_suffix(".apps").unwrap_or(kind).to_lowercase().as_str() {
        "deployment" | "deployments" | "deploy" => ("Deployment", name),
        "statefulset" | "statefulsets" | "sts" => ("StatefulSet", name),
        "replicaset" | "replicasets" | "rs" => ("ReplicaSet", name),
        "daemonset" | "daemonsets" | "ds" => ("DaemonSet", name),
        _ => return None,
    })
}

/// The pods of a selector.
async fn among(
    access: &Access,
    (namespace, selector): (&str, &LabelSelector),
    subject: &str,
    found: &mut Dependency,
) -> Result<(), FaultError> {
    let all_of = requirements(selector).map_err(|why| refused(subject, why))?;
    let matching =
        Selector::try_from(selector.clone()).map_err(|error| refused(subject, error.to_string()))?;
    found.pods.push(Among { namespace: namespace.to_owned(), all_of });
    let like = ObjectRef::pod(namespace, "");
    let pods = patiently(5, || access.list(&like, "")).await;
    let pods = pods.map_err(FaultError::api(format!("reading {subject}")))?;
    let (mut connected, mut nobody) = (0, true);
    for pod in pods.iter().filter(|pod| matching.matches(&pod.metadata.labels.clone().unwrap_or_default())) {
        let (spec, status) = (&pod.data["spec"], &pod.data["status"]);
        if matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")) {
            continue;
        }
        if spec["hostNetwork"] == true {
            let message = "its pods are in the network of their nodes, which would be cut off whole";
            return Err(refused(subject, message).remedy("choose another fault").into());
        }
        let Some(ip) = address(&status["podIP"]) else { continue };
        found.blocks.extend(list(&status["podIPs"]).filter_map(|one| address(&one["ip"])).map(Cidr::host));
        found.blocks.push(Cidr::host(ip));
        nobody = false;
        found.silent |= list(&spec["containers"]).all(|container| list(&container["ports"]).next().is_none());
        list(&spec["containers"]).for_each(|container| found.declare(&container["ports"], "containerPort"));
        let mut ports = list(&spec["containers"]).flat_map(|container| list(&container["ports"]));
        let port = ports.find(|port| port["protocol"].as_str().unwrap_or("TCP") == "TCP");
        if let Some(port) = port.and_then(|port| port["containerPort"].as_u64())
            && ready(status)
            && connected < CONNECTED
        {
            connected += 1;
            let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            found.addresses.push(format!("{host}:{port}"));
        }
    }
    if nobody {
        found.nobody.push(format!("{subject}: none of those that are meant has an address"));
    }
    Ok(())
}

/// The ports that a pod's containers declare, each with its protocol; none if one of them says nothing.
pub(super) fn declared(pod: &DynamicObject) -> BTreeSet<(u16, String)> {
    let mut found = Dependency::default();
    for container in list(&pod.data["spec"]["containers"]) {
        if list(&container["ports"]).next().is_none() {
            return BTreeSet::new();
        }
        found.declare(&container["ports"], "containerPort");
    }
    found.ports
}

/// Names of the Services with an address of their own whose selector fits with one of the pods that `peer` means and
/// that are not among `named`: what is sent to them goes to that address. Nothing where nobody may list Services.
pub(super) async fn behind_services(
    access: &Access,
    (namespace, peer): (&str, &Peer),
    named: &BTreeSet<String>,
) -> Vec<String> {
    let mut found = Dependency::default();
    let read = match (&peer.workload, &peer.pods) {
        (Some(text), _) => workload(access, (namespace, text), &mut found).await,
        (_, Some(selector)) => among(access, (namespace, selector), "pods", &mut found).await,
        _ => return Vec::new(),
    };
    let like = ObjectRef::namespaced("v1", "Service", namespace, "");
    let (Ok(()), Ok(services)) = (read, access.list(&like, "").await) else { return Vec::new() };
    let Ok(pods) = access.list(&ObjectRef::pod(namespace, ""), "").await else { return Vec::new() };
    let meant = |pod: &&DynamicObject| {
        let own = address(&pod.data["status"]["podIP"]).map(Cidr::host);
        own.is_some_and(|own| found.blocks.contains(&own))
    };
    let pods: Vec<_> = pods.iter().filter(meant).filter_map(|pod| pod.metadata.labels.as_ref()).collect();
    let leads = |service: &&DynamicObject| {
        let selector: BTreeMap<String, String> =
            serde_json::from_value(service.data["spec"]["selector"].clone()).unwrap_or_default();
        let fits = |labels: &BTreeMap<String, String>| {
            selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        address(&service.data["spec"]["clusterIP"]).is_some()
            && !selector.is_empty()
            && pods.iter().any(|labels| fits(labels))
    };
    let names = services.iter().filter(leads).filter_map(|service| service.metadata.name.clone());
    names.filter(|name| !named.contains(&format!("{namespace}/{name}"))).collect()
}

fn ready(status: &Value) -> bool {
    list(&status["conditions"]).any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map_or(&[][..], Vec::as_slice).iter()
}

/// An address; nothing for `None`, as headless Services have it.
fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn equal(labels: BTreeMap<String, String>) -> Vec<Requirement> {
    labels.into_iter().map(|(key, value)| Requirement { key, operator: "In", values: vec![value] }).collect()
}

/// What a selector asks for, taken apart.
fn requirements(selector: &LabelSelector) -> Result<Vec<Requirement>, String> {
    let mut all_of = equal(selector.match_labels.clone().unwrap_or_default());
    for expression in selector.match_expressions.iter().flatten() {
        let operator = match expression.operator.as_str() {
            "In" => "In",
            "NotIn" => "NotIn",
            "Exists" => "Exists",
            "DoesNotExist" => "DoesNotExist",
            other => return Err(format!("its selector has the operator {other}, which is none")),
        };
        let values = expression.values.clone().unwrap_or_default();
        all_of.push(Requirement { key: expression.key.clone(), operator, values });
    }
    Ok(all_of)
}

/// Texts of a list of peers that are no blocks of addresses, each with where it is.
pub(super) fn unreadable(path: &str, peers: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, peer) in list(peers).enumerate() {
        let holes = list(&peer["except"]).enumerate();
        let texts = holes.map(|(hole, text)| (format!("except[{hole}]"), text));
        for (field, text) in texts.chain([("cidr".to_owned(), &peer["cidr"])]) {
            if let Some(Err(error)) = text.as_str().map(str::parse::<Cidr>) {
                let subject = format!("{path}[{number}].{field}");
                findings.push(
                    Finding::error(guard::FIELDS, subject, error.to_string())
                        .remedy("write one address as 192.0.2.7/32"),
                );
            }
        }
    }
    findings
}

/// What stands for the name of a host in a list of peers and can be none.
pub(super) fn no_hosts(path: &str, peers: &Value) -> Vec<Finding> {
    let hosts = list(peers).enumerate().filter_map(|(number, peer)| Some((number, peer["host"].as_str()?)));
    let wrong = hosts.filter_map(|(number, host)| {
        let name = host.split_once("://").map_or(host, |(_, rest)| rest);
        let name = name.split(['/', '?', '#']).next().unwrap_or_default();
        let bare =
            name.rsplit_once(':').filter(|_| name.parse::<IpAddr>().is_err()).map_or(name, |(bare, _)| bare);
        if bare == host && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte)) {
            return None;
        }
        let remedy = match bare {
            _ if bare == host => "name it as in DNS, such as db.example.com".to_owned(),
            bare => format!("write {bare}; a port belongs into ports"),
        };
        let why = format!("`{host}` is not the name of a host");
        Some(Finding::error(guard::FIELDS, format!("{path}[{number}].host"), why).remedy(remedy))
    });
    wrong.collect()
}
