//! `dependencyCut`: pods that cannot reach something they depend on, by a NetworkPolicy and without any privilege.
//!
//! **At which end.** The policy is on the targets' side (egress), not on the dependency's (ingress): it takes rights in
//! the targets' namespace alone, works for what is outside of the cluster too, and hits the pods that were chosen and
//! no others, by a label of ours. Its price: policies add up, so a target that another egress policy selects can be cut
//! off from nothing (what that one allows stays allowed, and what it forbids ours would open). Such a target is
//! refused by that policy's name. A target without one is isolated by ours, with everything but the dependency allowed,
//! DNS included: see [`policy`].
//!
//! **What there is of it.** One injection holds all pods of a step: the policy (its target), the label on each pod, and
//! a [`witness`]. Each of these objects carries its scar from the write that makes it ours. The policy comes first and
//! selects nobody; then the witness, which has to connect; then the labels, pods and witness alike. Going back the
//! policy goes first, which lifts everything at once.
//!
//! **What is seen** is the witness: it could connect before, and cannot since. If it still can half a minute later the
//! network plugin does not enforce policies, and that is said.

mod make;
mod policy;
mod revert;
mod witness;

use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::make::{Cut, enforced, in_words, labelled, made_policy, mark, prepared_witness, seen};
use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, decode, encode,
    peers::{Peer, unreadable},
};
use crate::{
    cluster::{Access, ApiError, RUN_LABEL, Write},
    types::{
        FieldSchema, Finding, InjectionId, Length, ObjectRef,
        codes::{guard, hazard},
    },
};

/// See [`INFO`].
pub struct DependencyCut;

/// Pods are cut off from what they depend on.
pub static INFO: FaultInfo = FaultInfo {
    name: "dependencyCut",
    summary: "Cut pods off from what they depend on, with a NetworkPolicy; a pod beside them proves that it holds.",
    example: "name: no-database\ntarget: {workload: deployment/checkout, count: 50%}\ndependencyCut: {to: [{service: postgres}]}\nduration: 2m\n",
    lifetime: Lifetime::Lasting,
    targets: &[TargetKind::Pods, TargetKind::WorkloadPods],
    limits: &[LimitKind::DegradedPods],
    writes: &["metadata.labels[firedrill.dev/cut]"],
    agent: false,
    fields: &[FieldSchema {
        name: "to",
        description: "What they are cut off from: service, workload, pods, and beside one of these cidr.",
        required: true,
        default: None,
        schema: "peers",
    }],
    rights: &[
        right("list", "networking.k8s.io", "networkpolicies"),
        right("get", "networking.k8s.io", "networkpolicies"),
        right("create", "networking.k8s.io", "networkpolicies"),
        right("delete", "networking.k8s.io", "networkpolicies"),
        right("get", "", "pods"),
        right("create", "", "pods"),
        right("patch", "", "pods"),
        right("delete", "", "pods"),
        right("get", "", "pods/log"),
    ],
    hazards: &[hazard::OPEN_CONNECTIONS],
};

const fn right(verb: &'static str, group: &'static str, resource: &'static str) -> Right {
    Right { verb, group, resource, cluster_wide: false }
}

/// The label by which a policy selects its pods; its value is the policy's name.
const CUT: &str = "firedrill.dev/cut";
/// All of it: witness, writes, enforcement, and what the API server takes.
const SEEN_WITHIN: Duration = Duration::from_secs(180);

/// The fields, as in the file.
#[derive(Deserialize)]
struct Params {
    to: Vec<Peer>,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    /// The pods, pinned.
    pods: Vec<ObjectRef>,
    to: Vec<Peer>,
    image: String,
    /// The node of one of them.
    #[serde(default)]
    node: String,
}

/// What is to go, on each of the objects: in the before-image and so in the scars. Nothing of it was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// Name of the policy.
    cut: String,
}

/// A policy of this name in the targets' namespace.
fn policy_named(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef::namespaced("networking.k8s.io/v1", "NetworkPolicy", namespace, name)
}

/// The witness of a policy.
fn witness_of(policy: &ObjectRef) -> ObjectRef {
    ObjectRef::pod(&policy.namespace, &format!("{}-witness", policy.name))
}

/// The same injection, about another of its objects.
fn about(injection: &Injection, object: &ObjectRef) -> Injection {
    Injection { target: object.clone(), ..injection.clone() }
}

/// A name that no other step, batch or run has.
fn name_for(ask: &Prepare<'_>) -> String {
    let mut said = format!("{} {}", ask.step, ask.until);
    for pod in ask.targets {
        said.push_str(&format!(" {}", pod.uid));
    }
    let step: String = ask.step.chars().take(30).collect();
    format!("firedrill-{}-{:08x}", step.trim_end_matches(['-', '.']), crc32fast::hash(said.as_bytes()))
}

/// What speaks against cutting each of the targets off.
fn refusals(ask: &Prepare<'_>) -> Vec<Finding> {
    let found = ask.targets.iter().filter_map(|target| Some((target, ask.snapshot.pod(target)?)));
    let findings = found.filter_map(|(target, pod)| {
        if pod.host_network {
            let why = "it is in its node's network, which no NetworkPolicy covers";
            return Some(
                Finding::error(guard::NO_CHANGE, target, why).remedy("leave it out with target.exclude"),
            );
        }
        let run = pod.labels.get(RUN_LABEL).filter(|_| pod.labels.contains_key(CUT))?;
        let why = format!("run {run} has cut it off from something and not put that back");
        Some(Finding::error(guard::OVERLAP, target, why).remedy(format!("firedrill rollback {run}")))
    });
    findings.collect()
}

impl Fault for DependencyCut {
    fn info(&self) -> &'static FaultInfo {
        &INFO
    }

    fn lint(&self, params: &Value) -> Vec<Finding> {
        // What does not have the shape is the schema's to say; it does not read addresses.
        let Ok(Params { to }) = serde_json::from_value::<Params>(params.clone()) else {
            return unreadable(&format!("{}.to", INFO.name), &params["to"]);
        };
        let refused =
            |why: &str, remedy: &str| vec![Finding::error(guard::FIELDS, INFO.name, why).remedy(remedy)];
        if to.iter().any(|peer| peer.host.is_some()) {
            return refused(
                "a host is a name, and a NetworkPolicy knows pods and addresses only",
                "name the cidr that it stands for, beside a service",
            );
        }
        if to.iter().any(|peer| !peer.except.is_empty() && peer.cidr.is_none()) {
            return refused("except leaves addresses out of a cidr, and there is none", "leave it out");
        }
        if !to.is_empty() && to.iter().all(|peer| peer.cidr.is_some()) {
            return refused(
                "a cidr says no port to connect to, so nobody would see it cut off",
                "name beside it a Service that leads there: one without a selector, with endpoints of its own, will do",
            );
        }
        Vec::new()
    }

    fn prepare(&self, ask: &Prepare<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
        let params: Params = super::params(ask)?;
        let mut findings = self.lint(ask.params);
        findings.extend(refusals(ask));
        if !findings.is_empty() {
            return Err(findings);
        }
        let Some(first) = ask.targets.first() else { return Ok(Vec::new()) };
        let name = name_for(ask);
        Ok(vec![Injection {
            id: InjectionId::new(ask.step, 0),
            fault: INFO.name.to_owned(),
            target: policy_named(&first.namespace, &name),
            action: encode(&Action {
                pods: ask.targets.to_vec(),
                to: params.to,
                image: ask.image.to_owned(),
                node: ask.snapshot.pod(first).map(|pod| pod.node.clone()).unwrap_or_default(),
            }),
            before: encode(&Mark { cut: name }),
            displaced: Vec::new(),
            replicas_lost: 0,
            effect_within: Length(SEEN_WITHIN),
            until: ask.until,
        }])
    }

    fn degrades(&self, injection: &Injection) -> Vec<ObjectRef> {
        decode::<Action>(injection, &injection.action).map(|action| action.pods).unwrap_or_default()
    }

    fn rehearse<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let cut = Cut::read(world, injection).await?;
            let how = Write { manager: &cut.manager, dry_run: true };
            let what = format!("dry run of making {}", injection.target);
            let made = world.access.create(&injection.target, cut.policy(), how).await;
            made.map_err(FaultError::api(what))?;
            let what = format!("dry run of making {}", cut.witness);
            let made = world.access.create(&cut.witness, cut.pod(None), how).await;
            made.map_err(FaultError::api(what))?;
            match cut.action.pods.first() {
                Some(pod) => mark(&cut, pod, None, true).await,
                None => Ok(()),
            }
        })
    }

    fn inject<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Injected, FaultError>> {
        Box::pin(async move {
            let cut = Cut::read(world, injection).await?;
            let uid = made_policy(&cut).await?;
            let reached = prepared_witness(&cut, &uid).await?;
            let hit = labelled(&cut).await?;
            if hit.is_empty() {
                // Nothing is left to be undone, so nothing may be left.
                revert::lift(world, injection).await?;
                return Ok(Injected::TargetGone);
            }
            mark(&cut, &cut.witness, Some(&reached), false).await?;
            enforced(&cut, &reached).await?;
            let from = cut.dependency.addresses.join(", ");
            Ok(Injected::Done(format!("{} cut off from {from}", in_words(&hit))))
        })
    }

    fn observe<'a>(&'a self, world: &'a World, injection: &'a Injection) -> BoxFuture<'a, String> {
        Box::pin(seen(world, injection))
    }

    fn revert<'a>(
        &'a self,
        world: &'a World,
        injection: &'a Injection,
    ) -> BoxFuture<'a, Result<Reverted, FaultError>> {
        Box::pin(revert::put_back(world, injection))
    }

    fn scars<'a>(
        &'a self,
        access: &'a Access,
        namespaces: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Found>, ApiError>> {
        Box::pin(revert::find_scars(access, namespaces))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_policy_can_say_or_nobody_could_see_is_refused_from_the_file_alone() {
        let lint = |to: Value| DependencyCut.lint(&json!({"to": to}));
        for to in [
            json!([{"host": "api.example.com"}]),
            json!([{"cidr": "192.0.2.0/24"}]),
            json!([{"service": "db", "except": ["192.0.2.0/24"]}]),
            json!([{"service": "db"}, {"cidr": "192.0.2.7"}]),
        ] {
            let findings = lint(to.clone());
            assert_eq!(
                findings.iter().map(|finding| &finding.code).collect::<Vec<_>>(),
                [&guard::FIELDS],
                "{to}"
            );
        }
        assert_eq!(
            lint(json!([{"service": "db"}, {"cidr": "192.0.2.0/24", "except": ["192.0.2.7/32"]}])),
            []
        );
        assert_eq!(
            lint(json!([{"workload": "deployment/db"}, {"pods": {"matchLabels": {"app": "db"}}}])),
            []
        );
    }
}
