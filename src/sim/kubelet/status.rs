//! `status` of a pod as a kubelet writes it.
//!
//! Source: `generateAPIPodStatus` and `convertStatusToAPIStatus` in `pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/status`.

use serde_json::{Map, Value, json};

use super::container::{End, Life, Turn};
use super::{Present, Stage, Worker};
use crate::sim::controllers::action::stamp;
use crate::sim::controllers::names;
use crate::sim::controllers::views::{Container, Pod, condition};

/// The conditions that a kubelet owns, in its order.
const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// The status of a pod at present.
pub fn of(worker: &Worker, pod: &Pod, now: Present) -> Value {
    let mut status: Map<String, Value> = pod.object.field("status").unwrap_or_default();
    let started = worker.containers.iter().any(|life| life.started.is_some());
    let ready = match worker.stage {
        Stage::Running => worker.containers.iter().all(|life| life.is_ready(now.instant)),
        // A terminating container is ready until its probe says otherwise or it has ended.
        Stage::Stopping { .. } => pod.ready(),
        _ => false,
    };
    let phase = match worker.stage {
        Stage::Creating { .. } | Stage::PullFailed { .. } => "Pending",
        Stage::Ended { exit: 0 } => "Succeeded",
        Stage::Ended { .. } => "Failed",
        Stage::Stopping { .. } if !started => "Pending",
        _ => "Running",
    };
    status.insert("phase".into(), json!(phase));
    if worker.expired {
        status.insert("reason".into(), json!("DeadlineExceeded"));
        status
            .insert("message".into(), json!("Pod was active on the node longer than the specified deadline"));
    }
    status.insert("startTime".into(), stamp(worker.accepted));
    status.insert("observedGeneration".into(), json!(pod.meta().generation));
    let sandbox = started || matches!(worker.stage, Stage::PullFailed { .. });
    if let Some(ip) = worker.ip.as_ref().filter(|_| sandbox) {
        status.insert("podIP".into(), json!(ip));
        status.insert("podIPs".into(), json!([{"ip": ip}]));
    }
    let each = pod.spec.containers.iter().zip(&worker.containers);
    let one = |(c, life): (&Container, &Life)| match worker.stage {
        Stage::Running => (c.name.clone(), container(worker, pod, (c, life, life.is_ready(now.instant)))),
        _ => (c.name.clone(), container(worker, pod, (c, life, ready))),
    };
    let containers: Vec<(String, Value)> = each.map(one).collect();
    let waiting: Vec<&str> =
        containers.iter().filter(|c| c.1["ready"] != true).map(|c| c.0.as_str()).collect();
    status.insert("conditions".into(), conditions(pod, (ready, sandbox, phase, &waiting), now));
    let containers = containers.into_iter().map(|(_, status)| status).collect();
    status.insert("containerStatuses".into(), Value::Array(containers));
    if !pod.spec.init_containers.is_empty() {
        let init = pod.spec.init_containers.iter().map(|c| init_container(worker, c)).collect();
        status.insert("initContainerStatuses".into(), Value::Array(init));
    }
    Value::Object(status)
}

fn conditions(
    pod: &Pod,
    (ready, sandbox, phase, waiting): (bool, bool, &str, &[&str]),
    now: Present,
) -> Value {
    let unready = match phase {
        "Succeeded" => ("PodCompleted", String::new()),
        "Failed" => ("PodFailed", String::new()),
        _ => ("ContainersNotReady", format!("containers with unready status: [{}]", waiting.join(" "))),
    };
    let row = |kind: &str, holds: bool, why: Option<&(&str, String)>| {
        let status = if holds { "True" } else { "False" };
        let old = condition(&pod.status.conditions, kind).filter(|c| c.status == status);
        let since = old.and_then(|c| c.last_transition_time).unwrap_or(now.time);
        let mut value = json!({
            "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": stamp(since),
        });
        if let Some((reason, message)) = why.filter(|_| !holds) {
            value["reason"] = json!(reason);
            if !message.is_empty() {
                value["message"] = json!(message);
            }
        }
        value
    };
    let up = sandbox && !matches!(phase, "Succeeded" | "Failed");
    let mut list = vec![
        row("PodReadyToStartContainers", up, None),
        row("Initialized", sandbox || pod.spec.init_containers.is_empty(), None),
        row("Ready", ready, Some(&unready)),
        row("ContainersReady", ready, Some(&unready)),
        row("PodScheduled", true, None),
    ];
    let raw: Value = pod.object.field("status").unwrap_or_default();
    let others = raw.get("conditions").and_then(Value::as_array).into_iter().flatten();
    list.extend(
        others
            .filter(|c| !OWNED.contains(&c.get("type").and_then(Value::as_str).unwrap_or_default()))
            .cloned(),
    );
    Value::Array(list)
}

/// An image's full name, as containerd reports it.
fn full_name(image: &str) -> String {
    let first = image.split('/').next().unwrap_or_default();
    let tagged = image.rsplit('/').next().is_some_and(|last| last.contains(':')) || image.contains('@');
    let tag = if tagged { "" } else { ":latest" };
    match image.split_once('/') {
        None => format!("docker.io/library/{image}{tag}"),
        Some(_) if first.contains('.') || first.contains(':') || first == "localhost" => {
            format!("{image}{tag}")
        }
        Some(_) => format!("docker.io/{image}{tag}"),
    }
}

/// The image with its digest, which follows from the name alone.
fn image_id(image: &str) -> String {
    let full = full_name(image);
    if full.contains('@') {
        return full;
    }
    let at = full.rfind(':').filter(|at| !full[*at..].contains('/')).unwrap_or(full.len());
    format!("{}@sha256:{}", &full[..at], names::digest(&full))
}

fn container_id(worker: &Worker, name: &str, restarts: u32) -> String {
    format!("containerd://{}", names::digest(&format!("{}/{name}/{restarts}", worker.uid)))
}

fn terminated(worker: &Worker, name: &str, end: Option<End>, restarts: u32) -> Value {
    let end = end.unwrap_or(End { started: worker.accepted, finished: worker.accepted, exit: 0 });
    json!({"terminated": {
        "exitCode": end.exit, "reason": if end.exit == 0 { "Completed" } else { "Error" },
        "startedAt": stamp(end.started), "finishedAt": stamp(end.finished),
        "containerID": container_id(worker, name, restarts),
    }})
}

fn container(worker: &Worker, pod: &Pod, (container, life, ready): (&Container, &Life, bool)) -> Value {
    let name = container.name.as_str();
    let waiting = |reason: &str, message: String| {
        let mut state = json!({"reason": reason});
        if !message.is_empty() {
            state["message"] = json!(message);
        }
        json!({"waiting": state})
    };
    let image = &container.image;
    let runs = life.runs() && matches!(worker.stage, Stage::Running | Stage::Stopping { .. });
    let state = match (&worker.stage, life.turn) {
        (Stage::PullFailed { backing_off: false, .. }, _) => waiting(
            "ErrImagePull",
            format!("failed to pull and unpack image {:?}: not found", full_name(image)),
        ),
        (Stage::PullFailed { .. }, _) => {
            waiting("ImagePullBackOff", format!("Back-off pulling image {image:?}"))
        }
        (Stage::Ended { .. }, _) => terminated(worker, name, life.end, life.restarts),
        _ if runs => json!({"running": {"startedAt": life.started.map(stamp)}}),
        (_, Turn::BackOff { .. }) => {
            let pod = format!("{}_{}({})", pod.name(), pod.namespace(), pod.uid());
            waiting("CrashLoopBackOff", format!("back-off restarting failed container={name} pod={pod}"))
        }
        _ if life.end.is_some() => terminated(worker, name, life.end, life.restarts),
        _ => waiting("ContainerCreating", String::new()),
    };
    let mut status = json!({
        "name": name, "image": if life.started.is_some() { full_name(image) } else { image.clone() },
        "imageID": "", "ready": ready, "started": runs, "restartCount": life.restarts,
        "state": state, "lastState": {},
    });
    if life.started.is_some() {
        status["imageID"] = json!(image_id(image));
        status["containerID"] = json!(container_id(worker, name, life.restarts));
    }
    if life.end.is_some() && status["state"]["terminated"].is_null() {
        let which = if runs { life.restarts.saturating_sub(1) } else { life.restarts };
        status["lastState"] = terminated(worker, name, life.end, which);
    }
    status
}

fn init_container(worker: &Worker, container: &Container) -> Value {
    let started = worker.containers.iter().filter_map(|life| life.started).min();
    let done = started.is_some();
    let state = if done {
        json!({"terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": stamp(worker.accepted),
            "finishedAt": started.map(stamp), "containerID": container_id(worker, &container.name, 0),
        }})
    } else {
        json!({"waiting": {"reason": "PodInitializing"}})
    };
    json!({
        "name": container.name, "image": full_name(&container.image), "imageID": image_id(&container.image),
        "ready": done, "started": false, "restartCount": 0, "state": state, "lastState": {},
    })
}
