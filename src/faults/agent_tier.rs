//! Whom faults of the agent tier may hit. Pure.

use super::Prepare;
use crate::{
    cluster::{Node, Pod},
    types::{Finding, ObjectRef, codes::on_node},
};

/// What the agent's image is built for.
const ARCHITECTURE: &str = "amd64";
/// Labels of pods through which the API server and its kubelets talk to each other.
const CONTROL_PATH: [(&str, &str); 4] = [
    ("component", "kube-apiserver"),
    ("component", "etcd"),
    ("k8s-app", "konnectivity-agent"),
    ("k8s-app", "konnectivity-server"),
];

/// What speaks against hitting each of the targets.
pub(super) fn refusals(ask: &Prepare<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for target in ask.targets {
        let Some(pod) = ask.snapshot.pod(target) else { continue };
        findings.extend(of_pod(ask, target, pod));
        if let Some(node) = ask.snapshot.node(&pod.node) {
            findings.extend(of_node(target, node));
        }
    }
    findings
}

fn of_pod(ask: &Prepare<'_>, target: &ObjectRef, pod: &Pod) -> Option<Finding> {
    let refused = |code, why: &str, remedy: &str| Some(Finding::error(code, target, why).remedy(remedy));
    let elsewhere = "leave it out with target.exclude";
    if pod.host_network {
        let why = "it is in its node's network: what is done to it is done to the node";
        return refused(on_node::HOST_NETWORK, why, elsewhere);
    }
    if target.namespace == ask.agents.namespace {
        return refused(on_node::CONTROL_PATH, "agents run in its namespace", "choose another target");
    }
    let controls = |(key, value): &(&str, &str)| pod.labels.get(*key).is_some_and(|found| found == value);
    if CONTROL_PATH.iter().any(controls) {
        let why = "orders to agents, and whatever takes the fault back, go through it";
        return refused(on_node::CONTROL_PATH, why, elsewhere);
    }
    if pod.waiting.contains("CrashLoopBackOff") {
        let why = "its containers crash over and over: nothing that is seen would be the fault's doing";
        return refused(on_node::NOT_RUNNING, why, "mend it first, or leave it out with target.exclude");
    }
    if pod.node.is_empty() || pod.phase != "Running" {
        return refused(on_node::NOT_RUNNING, "it does not run yet", "wait until it does");
    }
    None
}

fn of_node(target: &ObjectRef, node: &Node) -> Option<Finding> {
    let label = |key: &str| node.labels.get(key).map(String::as_str);
    let name = &node.object.name;
    let refused = |why: String| {
        let remedy = "choose targets on Linux nodes with amd64, by target.nodes' labels or target.exclude";
        Some(Finding::error(on_node::OTHER_PLATFORM, target, why).remedy(remedy))
    };
    match (label("kubernetes.io/os"), label("kubernetes.io/arch")) {
        (Some(os), _) if os != "linux" => {
            refused(format!("its node {name} runs {os}, and agents run on Linux only"))
        }
        (_, Some(arch)) if arch != ARCHITECTURE => refused(format!(
            "its node {name} is of architecture {arch}, and the agent's image is for {ARCHITECTURE}"
        )),
        _ => None,
    }
}
