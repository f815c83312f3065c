//! `zoneOutage`: all nodes of a zone at once, closed to new pods and emptied, until they are given back.
//!
//! The machines stay; what is lost is what runs there and the room that it had. That is what a workload sees of a
//! lost zone, and it can be taken back.

use std::{collections::BTreeSet, time::Duration};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, cordon, decode, encode, node_scar,
    nodes::{self, Change},
    vacate::{self, Exit},
};
use crate::{
    cluster::{Access, ApiError, Node, Pod, Snapshot, UNDO_PREFIX},
    types::{FieldSchema, Finding, InjectionId, Length, ObjectRef, codes::hazard, planted},
};

/// See [`INFO`].
pub struct ZoneOutage;

/// The nodes of a zone are cordoned, all of them, and then emptied.
pub static INFO: FaultInfo = FaultInfo {
    name: "zoneOutage",
    summary: "Cordon all nodes of a zone and kill or evict their pods, those that join it later too; uncordon afterwards.",
    example: "name: lose-a-zone\ntarget: {zone: eu-west-1a}\nzoneOutage: {mode: Kill}\nduration: 10m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Zone],
    limits: &[LimitKind::Nodes, LimitKind::Pods],
    writes: &["spec.unschedulable"],
    agent: false,
    fields: &[FieldSchema {
        name: "mode",
        description: "Kill: delete the pods, whatever their budgets say, as when the zone fails. Drain: evict them within their budgets, as when it is given up in good order.",
        required: false,
        default: Some("Kill"),
        schema: r#"{"type":"string","enum":["Kill","Drain"]}"#,
    }],
    rights: &[
        Right { verb: "patch", group: "", resource: "nodes", cluster_wide: true },
        Right { verb: "get", group: "", resource: "nodes", cluster_wide: true },
        Right { verb: "delete", group: "", resource: "pods", cluster_wide: true },
        Right { verb: "create", group: "", resource: "pods/eviction", cluster_wide: true },
    ],
    hazards: &[hazard::PDB_BYPASSED],
};

/// What the containers of a killed pod have to end by themselves: as for `podKill` by default. With none at all the
/// API server would forget the pod at once, and a StatefulSet would start its next of kin beside it.
const GRACE: Duration = Duration::from_secs(1);
/// How long the cordons of the other nodes may take to show before a node is emptied all the same.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// How long the deletions of all pods may take: 77 a second were measured on two cores, so this is ample for ten
/// thousand.
const KILLED_WITHIN: Duration = Duration::from_secs(300);
/// How long the budgets may hold up the evictions: as long as `nodeDrain` gives them by default.
const DRAINED_WITHIN: Duration = Duration::from_secs(600);

/// The fields, as in the file.
#[derive(Deserialize)]
struct Params {
    #[serde(default)]
    mode: Mode,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    #[default]
    Kill,
    Drain,
}

/// What is done.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Action {
    zone: String,
    mode: Mode,
    /// Namespaces whose pods are killed; those of all others are evicted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    kill: BTreeSet<String>,
    /// How many nodes are closed together, before the first pod goes.
    closing: usize,
}

impl Action {
    fn exit(&self, namespace: &str) -> Exit {
        if self.kill.contains(namespace) { Exit::Killed(GRACE) } else { Exit::Evicted(None) }
    }
}

impl Fault for ZoneOutage {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let params: Params = super::params(ask)?;
        let open = ask.targets.iter().filter_map(|target| ask.snapshot.node(&target.name));
        let closing = open.filter(|node| !node.unschedulable).count();
        nodes::each(ask, INFO.name, |node| {
            let leaving = vacate::leaving(ask.snapshot, &node.object.name);
            let bare = vacate::bare(&node.object, &leaving);
            if !bare.is_empty() {
                return Err(bare);
            }
            let namespaces = leaving.iter().map(|pod| pod.object.namespace.clone());
            let kill = match params.mode {
                Mode::Kill => namespaces.filter(|namespace| !ask.bystanders.contains(namespace)).collect(),
                Mode::Drain => BTreeSet::new(),
            };
            let effect_within = match params.mode {
                Mode::Kill if leaving.iter().all(|pod| kill.contains(&pod.object.namespace)) => KILLED_WITHIN,
                Mode::Kill | Mode::Drain => DRAINED_WITHIN,
            };
            let zone = node.zone().unwrap_or_default().to_owned();
            Ok(Change {
                action: encode(&Action { zone, mode: params.mode, kill, closing }),
                before: encode(&cordon::Before { unschedulable: node.unschedulable }),
                displaced: leaving.iter().map(|pod| pod.object.clone()).collect(),
                effect_within: Length(effect_within),
            })
        })
    }

    fn evicts(&self, injection: &Injection, pod: &ObjectRef) -> bool {
        decode::<Action>(injection, &injection.action)
            .is_ok_and(|action| matches!(action.exit(&pod.namespace), Exit::Evicted(_)))
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let action: Action = decode(injection, &injection.action)?;
            cordon::set(world, injection, true).await?;
            let mut asked = BTreeSet::new();
            for pod in &injection.displaced {
                match action.exit(&pod.namespace) {
                    // Two budgets over one pod are told by its own answer.
                    Exit::Evicted(_) => vacate::rehearse_eviction(world, pod).await?,
                    Exit::Killed(grace) if asked.insert(pod.namespace.as_str()) => {
                        match world.access.delete_pod(pod, grace, true).await {
                            Ok(()) | Err(ApiError::NotFound | ApiError::Conflict(_)) => {}
                            Err(error) => {
                                return Err(FaultError::api(format!("dry run of deleting {pod}"))(error));
                            }
                        }
                    }
                    Exit::Killed(_) => {}
                }
            }
            Ok(())
        })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let action: Action = decode(injection, &injection.action)?;
            match cordon::set(world, injection, false).await {
                Ok(()) => {}
                Err(FaultError::Api { source: ApiError::NotFound, .. }) => return Ok(Injected::TargetGone),
                Err(error) => return Err(error),
            }
            // What goes from here must not come back next door. A node that has gone meanwhile never shows its
            // cordon: then time decides.
            let closed = world.mirror.wait_for(|snapshot| closed(snapshot, injection, &action).then_some(()));
            if !planted("zone-emptied-while-open") {
                let _ = timeout(CLOSED_WITHIN, closed).await;
            }
            let exit = |pod: &Pod| action.exit(&pod.object.namespace);
            let sent = vacate::empty(world, &injection.target.name, exit).await?;
            let how = match action.mode {
                Mode::Kill => "deleted",
                Mode::Drain => "evicted",
            };
            Ok(Injected::Done(format!("zone {} closed, {sent} pods {how}", action.zone)))
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let target = &injection.target;
            world
                .mirror
                .wait_for(|snapshot| {
                    let node = snapshot.node(&target.name).filter(|node| node.object.uid == target.uid)?;
                    lost(snapshot, node, &injection.displaced).then(|| seen(injection.displaced.len()))
                })
                .await
        })
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(cordon::take_back(world, injection))
    }

    fn scars<'a>(
        &'a self,
        access: &'a Access,
        _namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(node_scar::find(access, INFO.name, |before| {
            serde_json::from_value::<cordon::Before>(before.clone()).ok()?;
            let (zone, kill) = (String::new(), BTreeSet::new());
            Some(encode(&Action { zone, mode: Mode::Drain, kill, closing: 0 }))
        }))
    }
}

/// What was seen, in words.
fn seen(displaced: usize) -> String {
    let closed =
        format!("the node controller has tainted it {}, nothing that counts runs on it", cordon::TAINT);
    match displaced {
        0 => closed,
        pods => format!("{closed}, and the {pods} pods that did are gone by UID and from all endpoints"),
    }
}

/// Whether as many nodes carry this step's scar as are closed together.
fn closed(snapshot: &Snapshot, injection: &Injection, action: &Action) -> bool {
    let of_the_step = |key: &str| {
        let id = key.strip_prefix(UNDO_PREFIX).map(|id| InjectionId(id.to_owned()));
        id.is_some_and(|id| id.step() == injection.id.step())
    };
    let nodes = snapshot.nodes.values().filter(|node| node.zone() == Some(&action.zone));
    let scarred = nodes.filter(|node| node.unschedulable && node.undo.keys().any(|key| of_the_step(key)));
    scarred.count() >= action.closing
}

/// Whether a node takes nothing new and runs nothing that counts, and `displaced` are gone by UID.
fn lost(snapshot: &Snapshot, node: &Node, displaced: &[ObjectRef]) -> bool {
    node.taints.iter().any(|taint| taint.key == cordon::TAINT)
        && !snapshot.pods_on(&node.object.name).any(|pod| !vacate::stays(pod))
        && displaced
            .iter()
            .all(|pod| snapshot.pod(pod).is_none() && !snapshot.serves(&pod.namespace, &pod.uid))
}
