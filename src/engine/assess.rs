//! Everything that can be known before the first change: who, where, rights, plan, dry runs.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use jiff::Timestamp;
use kube::api::ListParams;
use serde_json::Value;

use super::{
    agents,
    crowd::Crowd,
    guarding::decoded,
    orders::{self, Order},
    start,
};
use crate::{
    api::{Action, Experiment, Guardrail, ProbeSpec, Role},
    cluster::{
        Access, ApiError, Budgets, Identity, Lease, Mirror, Scope, Sessions, Snapshot, grantable, identity,
        missing_rights,
    },
    env::{Env, Loads, Rng},
    faults::{self, FaultError, Injection, Signature, World},
    journal::Environment,
    plan::{self, Bounds, Consent, Granted, Lifeline, Plan, Setting, guardrail_findings},
    probes::{self, Measure, MetricSource, Source},
    types::{
        Epoch, Finding, ObjectRef, RunId,
        codes::{guard as code, hazard},
    },
};

/// What is to be run, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The experiment.
    pub experiment: Experiment,
    /// The same as the file says it, for the journal.
    pub value: Value,
    /// Where it was read.
    pub file: String,
    /// The namespace that targets default to.
    pub namespace: String,
    /// Every choice follows from it.
    pub seed: u64,
    /// Where it runs.
    pub environment: Environment,
    /// Who has agreed to what.
    pub consent: Consent,
    /// Where PromQL is answered when the file does not say.
    pub source: Option<Source>,
    /// The process: host and pid.
    pub holder: String,
    /// Who has asked for it, where somebody else runs it.
    pub asked_by: String,
}

/// What was found out.
pub struct Assessment {
    /// The plan with everything that speaks for and against it.
    pub plan: Plan,
    /// Who we are to the API server.
    pub by: Identity,
    pub(super) access: Access,
    pub(super) mirror: Mirror,
    pub(super) bounds: Bounds,
    pub(super) sources: BTreeMap<String, MetricSource>,
    pub(super) loads: BTreeMap<String, Order>,
    /// Whether Guardrails are followed while it runs.
    pub(super) guarded: bool,
    pub(super) granted: Granted,
    /// How many runs may be at work at once.
    pub(super) crowd: Crowd,
}

impl Assessment {
    /// Whether anything refuses.
    pub fn refused(&self) -> bool {
        self.plan.findings.iter().any(Finding::is_error)
    }
}

/// Finds out everything that `plan` says. Changes nothing.
///
/// # Errors
/// What stands in the way of even looking: no connection, no right to look.
pub async fn assess(env: &Env, request: &Request) -> Result<Assessment, Vec<Finding>> {
    let access = Access::new(env.kube.clone());
    let (spec, own) = (&request.experiment.spec, request.namespace.as_str());
    let by = identity(&access).await.map_err(|error| vec![unreachable(&error)])?;
    let mut findings = rights(&access, request, &by).await.map_err(|error| vec![unreachable(&error)])?;
    if !findings.is_empty() {
        return Err(findings);
    }
    let mut mirror = match Mirror::start(access.client(), &plan::scope(spec, own)).await {
        Ok(mirror) => mirror,
        Err(error) => return Err(vec![unreachable(&error)]),
    };
    let follow = disturbs(&request.experiment).then_some(&mut mirror);
    let (guardrails, guarded) = rules(&access, follow, &mut findings).await;
    let mut snapshot = with_kube_system(&access, &mirror, &mut findings).await;
    let covering: Vec<_> = plan::covering(&guardrails, &snapshot, &plan::namespaces(spec, own));
    let mut bounds = Bounds::new(&spec.limits, &covering);
    bounds.lifelines = lifelines(&access, request, &mut findings).await;
    let mut consent = request.consent.clone();
    let bystanders: BTreeSet<String> =
        covering.iter().flat_map(|guardrail| guardrail.spec.nodes.bystanders.clone()).collect();
    consent.bystanders.extend(bystanders.clone());
    let now = env.clock.now();
    let longest = plan::longest(&bounds, spec.objectives.recover_within());
    let until = now.checked_add(longest).unwrap_or(Timestamp::MAX);
    let planned = |snapshot: &Snapshot| {
        let setting = Setting {
            namespace: own,
            snapshot,
            rng: Rng::new(request.seed),
            consent: &consent,
            bounds: &bounds,
            image: request.environment.image(),
            agents: &request.environment.agents,
            now,
            until,
        };
        plan::plan(&request.experiment.metadata.name, spec, &setting)
    };
    let mut plan = planned(&snapshot);
    if agents::read_nodes(&access, &plan, &mut snapshot, &mut findings).await {
        plan = planned(&snapshot);
    }
    findings.extend(guardrail_findings(spec, own, (&snapshot, &guardrails), (consent.approvals, now)));
    findings.extend(leases(&access, request, now).await);
    let crowd = Crowd::under(&covering);
    findings.extend(crowd.findings(&access, now).await);
    findings.extend(undetectable(request));
    let sources = sources(&access, request, &mut findings).await;
    findings.extend(doubts(env, (&access, request), &sources).await);
    let loads = orders::loads(env, (&access, request), &mut findings).await;
    let signature = Signature {
        run: RunId::new(&request.experiment.metadata.name, 0),
        epoch: Epoch(0),
        by: by.name.clone(),
        at: now,
    };
    let world = world(env, access, mirror, signature);
    if !findings.iter().chain(&plan.findings).any(Finding::is_error) {
        let pods = orders::pods(request, &loads, until);
        findings.extend(dry_runs(&world, plan.injections.iter().chain(&pods)).await);
        findings.extend(agents::dry_run(&world, &plan, &request.environment.agents).await);
    }
    plan.findings.splice(0..0, findings);
    let (access, mirror) = (world.access, world.mirror);
    let granted = Granted { bystanders, approvals: consent.approvals };
    Ok(Assessment { plan, by, access, mirror, bounds, sources, loads, guarded, granted, crowd })
}

/// What faults may touch, as one owner of a run has it.
pub(super) fn world(env: &Env, access: Access, mirror: Mirror, signature: Signature) -> World {
    World {
        budgets: Budgets::new(access.clone(), mirror.clone()),
        agents: Sessions::new(env.agents.clone(), access.clone(), signature.run.clone(), signature.epoch),
        names: env.load.clone(),
        signature,
        access,
        mirror,
    }
}

/// That the cluster cannot be asked.
fn unreachable(error: &ApiError) -> Finding {
    Finding::error(code::UNREACHABLE, "cluster", error.to_string())
        .remedy("kubectl cluster-info shows whether it answers; nothing was changed")
}

/// The rights that are missing, by access review.
async fn rights(access: &Access, request: &Request, by: &Identity) -> Result<Vec<Finding>, ApiError> {
    let agents = &request.environment.agents.namespace;
    let asked = plan::rights(&request.experiment.spec, &request.namespace, agents);
    let wanted: Vec<_> = asked
        .iter()
        .map(|(verb, group, resource, namespace)| (*verb, *group, *resource, namespace.as_deref()))
        .collect();
    let missing = grantable(access, missing_rights(access, &wanted).await?).await?;
    Ok(missing
        .into_iter()
        .map(|missing| {
            let place = missing
                .namespace
                .as_ref()
                .map_or("in all namespaces".to_owned(), |namespace| format!("in namespace {namespace}"));
            let message = format!("{} may not {} {} {place}", by.name, missing.verb, missing.resource);
            Finding::error(code::NO_RIGHT, &missing.resource, message)
                .remedy(format!("grant {} on {} {place}", missing.verb, missing.resource))
        })
        .collect())
}

/// The Guardrails, and whether they are followed from now on: while it runs they may change.
async fn rules(
    access: &Access,
    follow: Option<&mut Mirror>,
    findings: &mut Vec<Finding>,
) -> (Vec<Guardrail>, bool) {
    let found = match guardrails(access).await {
        Ok(Some(found)) => found,
        Ok(None) => return (Vec::new(), false),
        Err(finding) => {
            findings.push(finding);
            return (Vec::new(), false);
        }
    };
    let Some(mirror) = follow else { return (found, false) };
    // Listing would do for now; a change of them would not be seen.
    let missing = missing_rights(access, &[("watch", "firedrill.dev", "guardrails", None)]).await;
    let followed = match missing {
        Ok(missing) if missing.is_empty() => mirror.follow_guardrails(access.client()).await,
        Ok(_) => Err(ApiError::Forbidden("they may not be watched".to_owned())),
        Err(error) => Err(error),
    };
    if let Err(error) = followed {
        findings.push(unreadable(format!("they cannot be followed while it runs: {error}")));
    }
    (found, true)
}

fn unreadable(why: String) -> Finding {
    Finding::error(code::GUARDRAILS_UNREADABLE, "guardrails", why)
        .remedy("ask for the right to list and watch guardrails.firedrill.dev")
}

/// The cluster's Guardrails; None if their CRD is not installed.
async fn guardrails(access: &Access) -> Result<Option<Vec<Guardrail>>, Finding> {
    let listed = access.list_if_served(crate::api::API_VERSION, "Guardrail").await;
    let Some(objects) = listed.map_err(|error| unreadable(error.to_string()))? else { return Ok(None) };
    let mut guardrails = Vec::new();
    for object in &objects {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let value = serde_json::to_value(object).map_err(|error| unreadable(error.to_string()))?;
        guardrails.push(decoded(name, &value).map_err(unreadable)?);
    }
    Ok(Some(guardrails))
}

/// The snapshot, with the namespace that says whether this is production, also where only some are followed.
async fn with_kube_system(
    access: &Access,
    mirror: &Mirror,
    findings: &mut Vec<Finding>,
) -> crate::cluster::Snapshot {
    let mut snapshot = mirror.snapshot();
    if snapshot.space("kube-system").is_some() {
        return snapshot;
    }
    match access.get(&ObjectRef::namespaced("v1", "Namespace", "", "kube-system")).await {
        Ok(found) => {
            let space = crate::cluster::Space {
                name: "kube-system".to_owned(),
                labels: found.metadata.labels.unwrap_or_default(),
                terminating: false,
            };
            let spaces = std::sync::Arc::make_mut(&mut snapshot.spaces);
            spaces.insert((String::new(), space.name.clone()), std::sync::Arc::new(space));
        }
        Err(ApiError::NotFound) => {}
        Err(error) => findings.push(
            Finding::error(
                code::PRODUCTION,
                "namespace/kube-system",
                format!("whether the cluster is production cannot be read: {error}"),
            )
            .remedy("ask for the right to get namespace kube-system"),
        ),
    }
    snapshot
}

/// Namespaces that another run holds, or that one has left behind.
async fn leases(access: &Access, request: &Request, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for namespace in plan::leased(&request.experiment.spec, &request.namespace) {
        match Lease::read(access, &namespace, now).await {
            Ok(None) => {}
            Ok(Some(tenure)) => {
                let (run, by) = (&tenure.run, &tenure.by);
                let subject = format!("namespace/{namespace}");
                findings.push(if tenure.fresh {
                    Finding::error(code::OVERLAP, subject, format!("run {run} of {by} is at work there"))
                        .remedy(format!("wait for it, or firedrill abort {run}"))
                } else {
                    Finding::error(
                        code::OVERLAP,
                        subject,
                        format!("run {run} of {by} was left there; its runner is gone"),
                    )
                    .remedy(format!("firedrill rollback {run}"))
                });
            }
            Err(error) => findings.push(unreachable(&error)),
        }
    }
    findings
}

/// A promise about alerts, and nothing that could tell of one.
fn undetectable(request: &Request) -> Option<Finding> {
    let spec = &request.experiment.spec;
    let tells = |probe: &ProbeSpec| probes::find(&probe.kind).is_some_and(|kind| kind.alerts());
    let idle = spec.objectives.detect_within.is_some() && !spec.steady_state.iter().any(tells);
    idle.then(|| {
        let message = "it is about alerts, and no probe tells of one";
        Finding::error(code::FIELDS, "objectives.detectWithin", message).remedy("add an alert probe")
    })
}

/// Where the probe's PromQL is answered; None if it has none, `Some(None)` if there is no such place.
fn source_of(request: &Request, probe: &ProbeSpec) -> Option<Option<Source>> {
    let own = probes::find(&probe.kind)?.source(&probe.params)?;
    Some(own.or_else(|| request.experiment.spec.prometheus.clone()).or_else(|| request.source.clone()))
}

/// The Services that judged probes measure through, with the ready pods behind them.
async fn lifelines(access: &Access, request: &Request, findings: &mut Vec<Finding>) -> Vec<Lifeline> {
    let mut lifelines: Vec<Lifeline> = Vec::new();
    if !disturbs(&request.experiment) {
        return lifelines;
    }
    let judged =
        request.experiment.spec.steady_state.iter().filter(|probe| probe.role != Role::Informational);
    for probe in judged {
        let Some(service) = source_of(request, probe).flatten().and_then(|source| source.service) else {
            continue;
        };
        let namespace = if service.namespace.is_empty() { &request.namespace } else { &service.namespace };
        let name = format!("{namespace}/{}", service.name);
        if lifelines.iter().any(|known| known.service == name) {
            continue;
        }
        let slices = ObjectRef::namespaced("discovery.k8s.io/v1", "EndpointSlice", namespace, "");
        let of = ListParams::default().labels(&format!("kubernetes.io/service-name={}", service.name));
        match access.read(access.api(&slices).list(&of)).await {
            Ok(slices) => {
                let pods = slices.items.iter().flat_map(|slice| ready_behind(&slice.data)).collect();
                lifelines.push(Lifeline { service: name, probe: probe.name.clone(), pods });
            }
            Err(error) => findings.push(
                Finding::warning(
                    hazard::SOURCE_UNKNOWN,
                    format!("service/{name}"),
                    format!(
                        "probe {} measures through it, and who is behind it cannot be read: {error}",
                        probe.name
                    ),
                )
                .remedy(format!("grant list on endpointslices in namespace {namespace}")),
            ),
        }
    }
    lifelines
}

/// UIDs of the ready pods of an EndpointSlice. Absent means ready (discovery/v1, EndpointConditions).
fn ready_behind(slice: &Value) -> Vec<String> {
    let endpoints = slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = endpoints.iter().filter(|endpoint| endpoint["conditions"]["ready"].as_bool() != Some(false));
    ready.filter_map(|endpoint| endpoint["targetRef"]["uid"].as_str().map(str::to_owned)).collect()
}

/// Where each probe's PromQL is answered, with credentials read.
async fn sources(
    access: &Access,
    request: &Request,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, MetricSource> {
    let mut sources = BTreeMap::new();
    for spec in &request.experiment.spec.steady_state {
        let Some(source) = source_of(request, spec) else { continue };
        let Some(source) = source else {
            findings.push(
                Finding::error(
                    code::NO_SOURCE,
                    format!("probe {}", spec.name),
                    "there is no place that answers its PromQL",
                )
                .remedy("--prometheus URL, or --prometheus service/NAMESPACE/NAME:PORT"),
            );
            continue;
        };
        match MetricSource::resolve(access, &request.namespace, &source).await {
            Ok(source) => {
                let subject = format!("probe {}", spec.name);
                let forbidden = source.forbidden(access).await;
                findings.extend(forbidden.map(|finding| Finding { subject, ..finding }));
                sources.insert(spec.name.clone(), source);
            }
            Err(error) => {
                let finding =
                    Finding::error(code::NO_SOURCE, format!("probe {}", spec.name), error.to_string());
                let namespace = &request.namespace;
                findings.push(finding.remedy(format!(
                    "a Secret is opened to an account that the controller acts as by firedrill allow {namespace} --secret NAME"
                )));
            }
        }
    }
    sources
}

/// What speaks against judging the probes as the file does, as far as it can be told beforehand.
async fn doubts(
    env: &Env,
    (access, request): (&Access, &Request),
    sources: &BTreeMap<String, MetricSource>,
) -> Vec<Finding> {
    let spec = &request.experiment.spec;
    let params = spec.params();
    let checked = |name: &str| {
        spec.method.iter().any(|step| matches!(&step.action, Action::Check(check) if check.probe == name))
    };
    let used = |probe: &&ProbeSpec| probe.role != Role::Informational || checked(&probe.name);
    let asked = spec.steady_state.iter().filter(used).filter_map(|probe| {
        let (kind, judge) = (probes::find(&probe.kind)?, start::judge(probe, &params)?);
        let measure = Measure {
            access: access.clone(),
            http: env.http.clone(),
            metrics: sources.get(&probe.name).cloned(),
            namespace: request.namespace.clone(),
            loads: Loads::default(),
            every: probe.every,
        };
        Some(async move {
            let found = kind.doubts(&measure, &probe.params, &judge).await;
            let of = |finding| Finding { subject: format!("probe {}", probe.name), ..finding };
            found.into_iter().map(of).collect::<Vec<Finding>>()
        })
    });
    join_all(asked).await.concat()
}

/// Asks the API server for one of each kind of write, without doing it.
async fn dry_runs(world: &World, injections: impl Iterator<Item = &Injection>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut asked = BTreeSet::new();
    for injection in injections {
        let Some(fault) = faults::of(injection) else { continue };
        if !asked.insert((
            injection.fault.clone(),
            injection.target.kind.clone(),
            injection.target.namespace.clone(),
            fault.asks(injection),
            // Each object that is only to be made is another.
            if injection.target.uid.is_empty() { injection.target.name.clone() } else { String::new() },
        )) {
            continue;
        }
        match fault.rehearse(world, injection).await.map_err(FaultError::refusals) {
            Ok(()) => findings.extend(fault.doubts(world, injection).await),
            Err(Ok(refusals)) => findings.extend(refusals),
            Err(Err(error)) => findings.push(
                Finding::error(code::DRY_RUN, &injection.target, error.to_string())
                    .remedy("the words are the API server's; mend what they name"),
            ),
        }
    }
    findings
}

/// Whether a method disturbs anything at all.
pub(super) fn disturbs(experiment: &Experiment) -> bool {
    let disturbs = |action: &Action| matches!(action, Action::Fault { .. } | Action::Load(_));
    plan::by_pods(&experiment.spec) || experiment.spec.method.iter().any(|step| disturbs(&step.action))
}

/// Following nothing: for what needs a World and no watches.
pub(super) async fn blind(access: &Access) -> Result<Mirror, ApiError> {
    Mirror::start(access.client(), &Scope::Namespaces(BTreeSet::new())).await
}
