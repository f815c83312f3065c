//! `nodeTaint`: nodes that repel what does not tolerate them, as those of another team or with trouble of
//! their own do.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, decode, encode,
    field::{self, Next},
    node_scar::{self, Attempt},
    nodes::{self, Change},
    vacate,
};
use crate::{
    cluster::{Access, ApiError, JsonPatch, Node, Pod, Snapshot, Taint, stays_for},
    types::{
        FieldSchema, Finding, Length,
        codes::{guard, hazard},
    },
};

/// See [`INFO`].
pub struct NodeTaint;

/// A node gets one taint more.
pub static INFO: FaultInfo = FaultInfo {
    name: "nodeTaint",
    summary: "Taint nodes, so that they take (and with NoExecute: keep) no pods that do not tolerate it; take the taint away afterwards.",
    example: "name: keep-off\ntarget: {nodes: {matchLabels: {pool: general}}, count: 1}\nnodeTaint: {taint: {key: example.com/drill, effect: NoSchedule}}\nduration: 5m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Nodes, TargetKind::NodesRunning, TargetKind::Zone],
    limits: &[LimitKind::Nodes, LimitKind::Pods],
    writes: &["spec.taints"],
    agent: false,
    fields: &[FieldSchema {
        name: "taint",
        description: "The taint. Of effect NoExecute it also deletes the pods that do not tolerate it, without asking their budgets.",
        required: true,
        default: None,
        schema: r#"{"type":"object","required":["key","effect"],"properties":{"key":{"type":"string","minLength":1,"maxLength":317,"description":"Key."},"value":{"type":"string","maxLength":63,"description":"Value."},"effect":{"type":"string","enum":["NoSchedule","PreferNoSchedule","NoExecute"],"description":"Effect."}}}"#,
    }],
    rights: &[
        Right { verb: "patch", group: "", resource: "nodes", cluster_wide: true },
        Right { verb: "get", group: "", resource: "nodes", cluster_wide: true },
    ],
    hazards: &[hazard::PDB_BYPASSED],
};

/// How long the watch may take to show the taint.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// How long the pods may take to end that go with a taint of effect NoExecute: they have the grace period that they
/// ask for themselves.
const GONE_WITHIN: Duration = Duration::from_secs(600);
/// Keys that Kubernetes itself sets and takes away (k8s.io/api, core/v1/well_known_taints.go, and the node
/// restriction of kubeadm's control plane).
const OF_KUBERNETES: [&str; 3] =
    ["node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "node-role.kubernetes.io/"];

/// The fields, as in the file.
#[derive(Deserialize)]
struct Params {
    taint: Taint,
}

/// What is ours, and has to go again: in the action and, for scars, in the before-image.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    taint: Taint,
}

/// `key=value:effect`, as kubectl writes it.
fn words(taint: &Taint) -> String {
    let value = if taint.value.is_empty() { String::new() } else { format!("={}", taint.value) };
    format!("{}{value}:{}", taint.key, taint.effect)
}

/// Why this taint is not for us to set, and so not for a scar to take away.
fn unfit(taint: &Taint) -> Option<String> {
    let prefix = OF_KUBERNETES.iter().find(|prefix| taint.key.starts_with(**prefix))?;
    Some(format!("taints under {prefix} are set and taken away by Kubernetes itself"))
}

/// The pods that go with the taint, now or when they no longer tolerate it.
fn leaving(snapshot: &Snapshot, node: &str, taint: &Taint) -> Vec<Arc<Pod>> {
    if taint.effect != "NoExecute" {
        return Vec::new();
    }
    let pods = snapshot.pods_on(node).filter(|pod| !pod.mirror && !pod.finished() && !pod.terminating);
    pods.filter(|pod| stays_for(&pod.tolerations, taint).is_some()).cloned().collect()
}

/// What speaks against deleting these pods, limits aside.
fn refusals(ask: &Prepare<'_>, node: &Node, pods: &[Arc<Pod>]) -> Vec<Finding> {
    let mut findings = vacate::bare(&node.object, pods);
    for pod in pods.iter().filter(|pod| ask.bystanders.contains(&pod.object.namespace)) {
        let why = "its namespace has agreed to evictions, and a taint of effect NoExecute deletes it whatever its budget says";
        findings.push(
            Finding::error(guard::BYSTANDER, &pod.object, why)
                .remedy("nodeDrain evicts; or choose other nodes"),
        );
    }
    findings
}

impl Fault for NodeTaint {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        // What does not have the shape is the schema's to say.
        let taint = serde_json::from_value::<Params>(params.clone()).ok().map(|params| params.taint);
        let why = taint.as_ref().and_then(unfit);
        why.map(|why| {
            Finding::error(guard::FIELDS, "nodeTaint", why)
                .remedy("use a key of your own, or nodeDrain to empty a node")
        })
        .into_iter()
        .collect()
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let params: Params = super::params(ask)?;
        let unfit = self.lint(ask.params);
        if !unfit.is_empty() {
            return Err(unfit);
        }
        nodes::each(ask, INFO.name, |node| {
            let leaving = leaving(ask.snapshot, &node.object.name, &params.taint);
            let mut findings = refusals(ask, node, &leaving);
            findings.extend(tainted(node, &params.taint));
            if !findings.is_empty() {
                return Err(findings);
            }
            let effect_within = if leaving.is_empty() { SEEN_WITHIN } else { GONE_WITHIN };
            let ours = encode(&Ours { taint: params.taint.clone() });
            Ok(Change {
                action: ours.clone(),
                before: ours,
                displaced: leaving.iter().map(|pod| pod.object.clone()).collect(),
                effect_within: Length(effect_within),
            })
        })
    }

    fn empties(&self, params: &Value) -> bool {
        params.pointer("/taint/effect").and_then(Value::as_str) == Some("NoExecute")
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(set(world, injection, true))
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let ours: Ours = decode(injection, &injection.action)?;
            match set(world, injection, false).await {
                Ok(()) => Ok(Injected::Done(format!("tainted {}", words(&ours.taint)))),
                Err(FaultError::Api { source: ApiError::NotFound, .. }) => Ok(Injected::TargetGone),
                Err(error) => Err(error),
            }
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let Ok(ours) = decode::<Ours>(injection, &injection.action) else {
                return std::future::pending().await;
            };
            let target = &injection.target;
            let tainted = |snapshot: &Snapshot| {
                let node = snapshot.node(&target.name).filter(|node| node.object.uid == target.uid)?;
                node.taints.contains(&ours.taint).then_some(())
            };
            world.mirror.wait_for_one(target, tainted).await;
            world
                .mirror
                .wait_for(|snapshot| {
                    tainted(snapshot)?;
                    // Those that tolerate it for a while may still be there.
                    let gone = injection.displaced.iter().all(|pod| match snapshot.pod(pod) {
                        Some(pod) => stays_for(&pod.tolerations, &ours.taint) != Some(0),
                        None => !snapshot.serves(&pod.namespace, &pod.uid),
                    });
                    gone.then(|| seen(&ours.taint, injection))
                })
                .await
        })
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(take_back(world, injection))
    }

    fn scars<'a>(
        &'a self,
        access: &'a Access,
        _namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(node_scar::find(access, INFO.name, |before| {
            let ours: Ours = serde_json::from_value(before.clone()).ok()?;
            unfit(&ours.taint).is_none().then(|| encode(&ours))
        }))
    }
}

/// What was seen, in words.
fn seen(taint: &Taint, injection: &Injection) -> String {
    let taint = words(taint);
    match injection.displaced.len() {
        0 => format!("the scheduler is shown its taint {taint}"),
        pods => format!(
            "the taint controller has deleted what does not tolerate {taint}, {pods} pods by UID and from all endpoints"
        ),
    }
}

/// The API server takes one taint for each key and effect, and the one that is there is somebody else's.
fn tainted(node: &Node, taint: &Taint) -> Option<Finding> {
    let there = node.taints.iter().find(|there| there.key == taint.key && there.effect == taint.effect)?;
    Some(if there.value == taint.value {
        let message = format!("it has the taint {} already, so nothing would change", words(there));
        Finding::error(guard::NO_CHANGE, &node.object, message)
            .remedy("use another key, or leave the node out with target.exclude")
    } else {
        let message =
            format!("it has the taint {}, and a node has one for each key and effect", words(there));
        Finding::error(guard::OWNED_ELSEWHERE, &node.object, message).remedy("use another key")
    })
}

/// The node's taints as they are, and where the one of this key and effect is among them.
fn find(node: &DynamicObject, taint: &Taint) -> (Option<usize>, Option<(usize, bool)>) {
    let taints = node.data.pointer("/spec/taints").and_then(Value::as_array);
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let same = |there: &Value| text(there, "key") == taint.key && text(there, "effect") == taint.effect;
    let at = taints.and_then(|taints| taints.iter().position(same));
    let ours = at.zip(taints).map(|(at, taints)| (at, text(&taints[at], "value") == taint.value));
    (taints.map(Vec::len), ours)
}

/// Taint and scar in one write: what others have put there stays.
async fn set(world: &World, injection: &Injection, dry_run: bool) -> Result<(), FaultError> {
    let Ours { taint } = decode(injection, &injection.action)?;
    let what = format!("tainting {}", injection.target);
    let otherwise = "somebody else has tainted it so, or another run holds it";
    let mut value = json!({"key": taint.key, "effect": taint.effect});
    if !taint.value.is_empty() {
        value["value"] = Value::from(taint.value.as_str());
    }
    node_scar::apply(world, injection, Attempt { what: &what, otherwise, dry_run }, |now| {
        let (list, there) = find(now, &taint);
        match there {
            Some((_, true)) if node_scar::on(now, injection) => return Ok(None),
            Some(_) => return Err(ApiError::Conflict(otherwise.to_owned())),
            None => {}
        }
        let patch = JsonPatch::new().test("/metadata/uid", &injection.target.uid);
        let patch = match list {
            None => patch.test("/spec/taints", Value::Null).add("/spec/taints", [&value]),
            // At its end: whatever others add or remove meanwhile, nothing of theirs is lost.
            Some(_) => patch.add("/spec/taints/-", &value),
        };
        Ok(Some(node_scar::add(patch, world, injection, now)))
    })
    .await
}

/// Takes our taint away, found by key, value and effect, and the scar in any case.
async fn take_back(world: &World, injection: &Injection) -> Result<Reverted, FaultError> {
    let Ours { taint } = decode(injection, &injection.before)?;
    let (target, manager) = (&injection.target, node_scar::manager(world));
    let what = format!("taking the taint {} off {target}", words(&taint));
    field::put_back(world, target, (&what, &manager), |now, done| {
        if !node_scar::on(now, injection) {
            return Next::Over(
                done.unwrap_or_else(|| Reverted::NothingToDo("it carries no scar of ours".to_owned())),
            );
        }
        let patch = JsonPatch::new().test("/metadata/uid", now.metadata.uid.clone().unwrap_or_default());
        let (patch, outcome) = match find(now, &taint).1 {
            Some((at, true)) => {
                let path = format!("/spec/taints/{at}");
                // Its members one by one: the API server adds to some when they came.
                let value =
                    if taint.value.is_empty() { Value::Null } else { Value::from(taint.value.as_str()) };
                let patch = patch
                    .test(&format!("{path}/key"), &taint.key)
                    .test(&format!("{path}/effect"), &taint.effect)
                    .test(&format!("{path}/value"), value)
                    .remove(&path);
                (patch, Reverted::Restored(format!("taint {} and scar removed", words(&taint))))
            }
            Some((_, false)) => {
                let why = format!("somebody else has given {} another value since; it stays", taint.key);
                (patch, Reverted::ChangedSince(why))
            }
            None => (patch, Reverted::ChangedSince("somebody else had taken the taint away".to_owned())),
        };
        let patch = node_scar::remove(patch, world, injection, now);
        Next::Change(field::Change { subresource: None, patch, outcome })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() }
    }

    #[test]
    fn ours_is_found_by_key_value_and_effect() {
        let node: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "spec": {"taints": [{"key": "a", "effect": "PreferNoSchedule"}, {"key": "a", "value": "x", "effect": "NoSchedule"}]},
        }))
        .expect("a node");
        assert_eq!(find(&node, &taint("a", "x", "NoSchedule")), (Some(2), Some((1, true))));
        assert_eq!(find(&node, &taint("a", "y", "NoSchedule")), (Some(2), Some((1, false))));
        assert_eq!(find(&node, &taint("a", "", "PreferNoSchedule")), (Some(2), Some((0, true))));
        assert_eq!(find(&node, &taint("b", "", "NoSchedule")), (Some(2), None));
    }

    #[test]
    fn what_kubernetes_sets_is_neither_set_nor_taken_away() {
        assert!(unfit(&taint("node.kubernetes.io/not-ready", "", "NoSchedule")).is_some());
        assert!(unfit(&taint("node.kubernetes.io/not-ready", "", "NoExecute")).is_some());
        assert!(unfit(&taint("example.com/drill", "", "NoSchedule")).is_none());
    }
}
