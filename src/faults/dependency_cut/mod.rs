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

mod dependency;
mod policy;
mod revert;
mod witness;

use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{
    dependency::{Dependency, Peer, resolve},
    witness::{Log, Now, REACHED, Reached},
};
use super::{
    Fault, FaultError, FaultInfo, Found, Injected, Injection, Lifetime, LimitKind, Prepare, Reverted, Right,
    TargetKind, World, decode, encode,
    node_scar::{self, Attempt},
    patiently,
};
use crate::{
    cluster::{Access, ApiError, JsonPatch, PodSelector, RUN_LABEL, Write},
    types::{
        Cidr, FieldSchema, Finding, InjectionId, Length, ObjectRef,
        codes::{guard, hazard},
        counted,
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
/// How long the witness may take to run and to connect: its image may have to be pulled.
const WITNESS_WITHIN: Duration = Duration::from_secs(90);
/// How long a plugin may take to enforce a policy before it is said that it does not.
const ENFORCED_WITHIN: Duration = Duration::from_secs(30);
/// All of it: witness, writes, enforcement, and what the API server takes.
const SEEN_WITHIN: Duration = Duration::from_secs(180);
/// Between two looks at the witness's log.
const LOOK: Duration = Duration::from_secs(1);

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
        // What does not have the shape is the schema's to say.
        let Ok(Params { to }) = serde_json::from_value::<Params>(params.clone()) else { return Vec::new() };
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

/// Everything that is known of a cut when it is about to be made.
struct Cut<'a> {
    world: &'a World,
    injection: &'a Injection,
    manager: String,
    action: Action,
    mark: Mark,
    dependency: Dependency,
    spec: Value,
    witness: ObjectRef,
}

impl<'a> Cut<'a> {
    /// Reads what the dependency is by now, and whether anything speaks against cutting it off.
    async fn read(world: &'a World, injection: &'a Injection) -> Result<Self, FaultError> {
        let action: Action = decode(injection, &injection.action)?;
        let mark: Mark = decode(injection, &injection.before)?;
        let policy = &injection.target;
        let dependency = resolve(&world.access, &policy.namespace, &action.to).await?;
        not_isolated(&world.access, policy, &action.pods).await?;
        let ranges = pod_ranges(&world.access).await?;
        let spec = policy::spec((CUT, &mark.cut), &dependency, &ranges).ok_or_else(|| {
            let why = "its selectors ask for so much together that no policy can leave out exactly them";
            Finding::error(guard::DEPENDENCY, "to", why)
                .remedy("cut it off in several steps, one after the other")
        })?;
        let (manager, witness) = (node_scar::manager(world), witness_of(policy));
        Ok(Self { world, injection, manager, action, mark, dependency, spec, witness })
    }

    /// The scar of one of its objects: key and text.
    fn scar(&self) -> (String, String) {
        (node_scar::annotation(&self.injection.id), node_scar::text(self.world, self.injection))
    }

    fn policy(&self) -> Value {
        let ((key, scar), object) = (self.scar(), &self.injection.target);
        json!({
            "apiVersion": object.api_version, "kind": object.kind,
            "metadata": {
                "name": object.name, "namespace": object.namespace,
                "labels": {RUN_LABEL: self.world.signature.run}, "annotations": {key: scar},
            },
            "spec": self.spec,
        })
    }

    fn pod(&self, uid: Option<&str>) -> Value {
        let (key, scar) = self.scar();
        let (at, until) = (self.world.signature.at, self.injection.until);
        witness::manifest(&witness::Ask {
            pod: &self.witness,
            policy: (&self.mark.cut, uid),
            run: self.world.signature.run.as_str(),
            scar: (&key, &scar),
            image: &self.action.image,
            addresses: &self.dependency.addresses,
            node: &self.action.node,
            deadline: u64::try_from(until.duration_since(at).as_secs()).unwrap_or(0).max(60),
        })
    }
}

/// That no other policy selects any of the pods for egress.
async fn not_isolated(access: &Access, ours: &ObjectRef, pods: &[ObjectRef]) -> Result<(), FaultError> {
    let reading = || FaultError::api(format!("reading the NetworkPolicies of namespace {}", ours.namespace));
    let policies = patiently(5, || access.list(ours, "")).await.map_err(reading())?;
    let egress = |policy: &DynamicObject| {
        let types = policy.data["spec"]["policyTypes"].as_array();
        types.is_some_and(|types| types.iter().any(|one| one == "Egress"))
    };
    let mut others = Vec::new();
    for policy in policies.into_iter().filter(egress) {
        let name = policy.metadata.name.clone().unwrap_or_default();
        if name != ours.name {
            others.push((name, PodSelector::of(&policy.data["spec"]["podSelector"])));
        }
    }
    if others.is_empty() {
        return Ok(());
    }
    let like = ObjectRef::pod(&ours.namespace, "");
    let there = patiently(5, || access.list(&like, "")).await;
    let there =
        there.map_err(FaultError::api(format!("reading the pods of namespace {}", ours.namespace)))?;
    for pod in there.iter().filter(|pod| pods.iter().any(|one| Some(&one.uid) == pod.metadata.uid.as_ref())) {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        if let Some((name, _)) = others.iter().find(|(_, selector)| selector.matches(&labels)) {
            let pod = ObjectRef::pod(&ours.namespace, pod.metadata.name.as_deref().unwrap_or_default());
            let why = format!(
                "NetworkPolicy {name} selects it for egress: what that allows no further policy can take away, and what it forbids one would open"
            );
            let remedy = "choose pods that no such policy selects, or change that policy in a manual step";
            return Err(Finding::error(guard::OTHER_POLICY, pod, why).remedy(remedy).into());
        }
    }
    Ok(())
}

/// The ranges from which nodes give their pods addresses, as far as they say so and may be read.
async fn pod_ranges(access: &Access) -> Result<Vec<Cidr>, FaultError> {
    let like = ObjectRef::node("");
    match patiently(5, || access.list(&like, "")).await {
        Ok(nodes) => {
            let of =
                |node: &DynamicObject| node.data["spec"]["podCIDRs"].as_array().cloned().unwrap_or_default();
            let texts = nodes.iter().flat_map(of);
            Ok(texts.filter_map(|text| text.as_str()?.parse().ok()).collect())
        }
        // Then the addresses that the dependency's pods have now are all that is known.
        Err(ApiError::Forbidden(_)) => Ok(Vec::new()),
        Err(error) => Err(FaultError::api("reading the nodes' ranges of pod addresses")(error)),
    }
}

/// Makes the policy, which selects nobody yet; its UID.
async fn made_policy(cut: &Cut<'_>) -> Result<String, FaultError> {
    let (access, object) = (&cut.world.access, &cut.injection.target);
    let failed = || FaultError::api(format!("making {object}"));
    let how = Write { manager: &cut.manager, dry_run: false };
    let policy = match access.create(object, cut.policy(), how).await {
        Ok(policy) => policy,
        Err(ApiError::AlreadyExists) => {
            let there = patiently(5, || access.get(object)).await.map_err(failed())?;
            if !node_scar::on(&there, cut.injection) {
                return Err(failed()(ApiError::Conflict(
                    "there is one of that name that is not ours".to_owned(),
                )));
            }
            there
        }
        Err(error) => return Err(failed()(error)),
    };
    Ok(policy.metadata.uid.unwrap_or_default())
}

/// Makes the witness, and waits until it has connected.
async fn prepared_witness(cut: &Cut<'_>, policy_uid: &str) -> Result<Reached, FaultError> {
    let (access, object) = (&cut.world.access, &cut.witness);
    let failed = || FaultError::api(format!("making {object}"));
    let how = Write { manager: &cut.manager, dry_run: false };
    match access.create(object, cut.pod(Some(policy_uid)), how).await {
        Ok(_) => {}
        Err(ApiError::AlreadyExists) => {
            let there = patiently(5, || access.get(object)).await.map_err(failed())?;
            if !witness::is_one(&there, &cut.mark.cut) {
                return Err(failed()(ApiError::Conflict(
                    "there is one of that name that is not ours".to_owned(),
                )));
            }
            // Half done already: it has connected then, and says when.
            if let Some(reached) = reached(&there) {
                return Ok(reached);
            }
        }
        Err(error) => return Err(failed()(error)),
    }
    let mut log = Log::default();
    let give_up = tokio::time::Instant::now() + WITNESS_WITHIN;
    while tokio::time::Instant::now() < give_up {
        tokio::time::sleep(LOOK).await;
        let read = log.read(access, object).await;
        read.or_else(passing).map_err(FaultError::api(format!("reading the log of {object}")))?;
        if let Some(reached) = log.reached() {
            return Ok(reached);
        }
    }
    let why = format!(
        "{} could not connect to {} within {}, with nothing in its way yet",
        object,
        cut.dependency.addresses.join(" or "),
        Length(WITNESS_WITHIN)
    );
    let remedy = format!("look at its image, {}, and at what keeps it from the dependency", cut.action.image);
    Err(Finding::error(guard::NOT_REACHABLE, &cut.injection.target, why).remedy(remedy).into())
}

/// What passes by itself is no failure of a look that is taken again anyway.
fn passing(error: ApiError) -> Result<(), ApiError> {
    if error.is_transient() { Ok(()) } else { Err(error) }
}

/// What a witness could reach when the policy began to apply to it.
fn reached(pod: &DynamicObject) -> Option<Reached> {
    let annotations = pod.metadata.annotations.as_ref()?;
    serde_json::from_str(annotations.get(REACHED)?).ok()
}

/// Puts the policy's label on a pod, in one write with the scar.
async fn mark(
    cut: &Cut<'_>,
    pod: &ObjectRef,
    reached: Option<&Reached>,
    dry_run: bool,
) -> Result<(), FaultError> {
    let what = format!("labelling {pod}");
    let otherwise = "another run holds it";
    let about = about(cut.injection, pod);
    node_scar::apply(cut.world, &about, Attempt { what: &what, otherwise, dry_run }, |now| {
        let labels = now.metadata.labels.as_ref();
        match labels.and_then(|labels| labels.get(CUT)) {
            Some(there) if *there == cut.mark.cut => return Ok(None),
            Some(_) => return Err(ApiError::Conflict(otherwise.to_owned())),
            None => {}
        }
        let uid = now.metadata.uid.clone().unwrap_or_default();
        let patch = JsonPatch::new().test("/metadata/uid", uid);
        let patch = node_scar::add(patch, cut.world, &about, now);
        let patch = patch.add(&format!("/metadata/labels/{}", JsonPatch::segment(CUT)), &cut.mark.cut);
        Ok(Some(match reached {
            Some(reached) => {
                let text = serde_json::to_string(reached).unwrap_or_default();
                patch.add(&format!("/metadata/annotations/{}", JsonPatch::segment(REACHED)), text)
            }
            None => patch,
        }))
    })
    .await
}

/// Labels the pods: those that are still there.
async fn labelled<'c>(cut: &'c Cut<'_>) -> Result<Vec<&'c ObjectRef>, FaultError> {
    let pods = &cut.action.pods;
    let results = join_all(pods.iter().map(|pod| mark(cut, pod, None, false))).await;
    let mut hit = Vec::new();
    for (pod, result) in pods.iter().zip(results) {
        match result {
            Ok(()) => hit.push(pod),
            Err(FaultError::Api { source: ApiError::NotFound, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hit)
}

/// How many pods, with the names of the first few.
fn in_words(pods: &[&ObjectRef]) -> String {
    const NAMED: usize = 3;
    let names: Vec<&str> = pods.iter().take(NAMED).map(|pod| pod.name.as_str()).collect();
    let more = if pods.len() > NAMED { ", …" } else { "" };
    format!("{} ({}{more})", counted(pods.len(), "pod"), names.join(", "))
}

/// Gives the plugin time, and says so if it does not enforce the policy.
async fn enforced(cut: &Cut<'_>, before: &Reached) -> Result<(), FaultError> {
    let mut log = Log::default();
    let give_up = tokio::time::Instant::now() + ENFORCED_WITHIN;
    let mut last = Now::Unknown;
    while tokio::time::Instant::now() < give_up {
        tokio::time::sleep(LOOK).await;
        if log.read(&cut.world.access, &cut.witness).await.is_ok() {
            last = log.since(before);
        }
        if last == Now::Cut {
            return Ok(());
        }
    }
    match last {
        Now::Open(address) => {
            let why = format!(
                "{} still connects to {address}, {} after the policy began to apply to it",
                cut.witness,
                Length(ENFORCED_WITHIN)
            );
            let remedy =
                "use a network plugin that enforces NetworkPolicies, or scale the dependency to zero instead";
            Err(Finding::error(hazard::NOT_ENFORCED, &cut.injection.target, why).remedy(remedy).into())
        }
        // It has said nothing: the effect stays to be seen.
        Now::Unknown | Now::Cut => Ok(()),
    }
}

/// What the witness found, once it is cut off.
async fn seen(world: &World, injection: &Injection) -> String {
    let witness = witness_of(&injection.target);
    let (mut log, mut before) = (Log::default(), None);
    loop {
        if before.is_none() {
            before = world.access.get(&witness).await.ok().as_ref().and_then(reached);
        }
        let read = log.read(&world.access, &witness).await.is_ok();
        if let Some(before) = before.as_ref().filter(|before| read && log.since(before) == Now::Cut) {
            let addresses: Vec<&str> = before.addresses.iter().map(String::as_str).collect();
            return format!(
                "a pod under the same policy connected to {} before, and cannot since",
                addresses.join(", ")
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_policy_can_say_or_nobody_could_see_is_refused_from_the_file_alone() {
        let lint = |to: Value| DependencyCut.lint(&json!({"to": to}));
        for to in [
            json!([{"host": "api.example.com"}]),
            json!([{"cidr": "192.0.2.0/24"}]),
            json!([{"service": "db", "except": ["192.0.2.0/24"]}]),
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
