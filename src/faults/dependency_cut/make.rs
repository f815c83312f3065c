//! Making a cut: what is read first, what is written in which order, and what the witness says.

use std::time::Duration;

use futures::future::join_all;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{
    Action, CUT, Mark, about, policy,
    witness::{self, Log, Now, REACHED, Reached},
    witness_of,
};
use crate::{
    cluster::{Access, ApiError, JsonPatch, PodSelector, RUN_LABEL, Write},
    faults::{
        FaultError, Injection, World, decode,
        node_scar::{self, Attempt},
        patiently,
        peers::{Dependency, resolve},
    },
    types::{
        Cidr, Finding, Length, ObjectRef,
        codes::{guard, hazard},
        counted,
    },
};

/// How long the witness may take to run and to connect: its image may have to be pulled.
const WITNESS_WITHIN: Duration = Duration::from_secs(90);
/// How long a plugin may take to enforce a policy before it is said that it does not.
const ENFORCED_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at the witness's log.
const LOOK: Duration = Duration::from_secs(1);

/// Everything that is known of a cut when it is about to be made.
pub(super) struct Cut<'a> {
    world: &'a World,
    injection: &'a Injection,
    pub(super) manager: String,
    pub(super) action: Action,
    mark: Mark,
    pub(super) dependency: Dependency,
    spec: Value,
    pub(super) witness: ObjectRef,
}

impl<'a> Cut<'a> {
    /// Reads what the dependency is by now, and whether anything speaks against cutting it off.
    pub(super) async fn read(world: &'a World, injection: &'a Injection) -> Result<Self, FaultError> {
        let action: Action = decode(injection, &injection.action)?;
        let mark: Mark = decode(injection, &injection.before)?;
        let policy = &injection.target;
        let dependency = resolve(world, &policy.namespace, &action.to).await?;
        if dependency.addresses.is_empty() {
            let message =
                "no TCP port of it is known that a pod could connect to, so nobody would see it cut off";
            let finding = Finding::error(guard::DEPENDENCY, "to", message);
            return Err(finding.remedy("name the Service that leads to it").into());
        }
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

    pub(super) fn policy(&self) -> Value {
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

    pub(super) fn pod(&self, uid: Option<&str>) -> Value {
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
pub(super) async fn made_policy(cut: &Cut<'_>) -> Result<String, FaultError> {
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
pub(super) async fn prepared_witness(cut: &Cut<'_>, policy_uid: &str) -> Result<Reached, FaultError> {
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
pub(super) async fn mark(
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
pub(super) async fn labelled<'c>(cut: &'c Cut<'_>) -> Result<Vec<&'c ObjectRef>, FaultError> {
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
pub(super) fn in_words(pods: &[&ObjectRef]) -> String {
    const NAMED: usize = 3;
    let names: Vec<&str> = pods.iter().take(NAMED).map(|pod| pod.name.as_str()).collect();
    let more = if pods.len() > NAMED { ", …" } else { "" };
    format!("{} ({}{more})", counted(pods.len(), "pod"), names.join(", "))
}

/// Gives the plugin time, and says so if it does not enforce the policy.
pub(super) async fn enforced(cut: &Cut<'_>, before: &Reached) -> Result<(), FaultError> {
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
pub(super) async fn seen(world: &World, injection: &Injection) -> String {
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
