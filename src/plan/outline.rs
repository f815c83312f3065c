//! The plan: what a run would do to whom, what speaks against it, and what to expect of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;

use super::{
    LeftOut, PlannedAgents, PlannedLoad, Round, Setting, StepAsk,
    agents::agents,
    allowing::FOLLOWED,
    bounds::{self, namespaces},
    choose, forecast, lifelines, loads,
    overlap::InForce,
    prepare, query_window,
    select::left_out,
};
use crate::{
    api::{Action, ExperimentSpec, OnViolation, ProbeSpec, Repeat, Role, Step},
    cluster::Scope,
    faults::{self, Injection, Lifetime, LimitKind},
    types::{
        Finding, Length, ObjectRef,
        codes::{guard, hazard},
    },
};

/// What a run would do. Says everything that `plan` prints; nothing was changed to learn it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The experiment.
    pub experiment: String,
    /// The file's namespace.
    pub namespace: String,
    /// Every choice follows from it.
    pub seed: u64,
    /// The steps, in order.
    pub steps: Vec<PlannedStep>,
    /// What would be sent where.
    pub loads: Vec<PlannedLoad>,
    /// What refuses (errors) and what is worth knowing (warnings).
    pub findings: Vec<Finding>,
    /// How early a loss of normal can end the run.
    pub earliest_abort: Option<EarliestAbort>,
    /// Calls to the API server that the method takes at the most, watches aside.
    pub calls: u64,
    /// The limits that hold, in words.
    pub limits: BTreeMap<String, String>,
    /// Where agents would be placed before Baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<PlannedAgents>,
    /// What would be injected, for dry runs.
    #[serde(skip)]
    pub injections: Vec<Injection>,
}

/// One step of the plan.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Its name.
    pub name: String,
    /// The fault, or `wait`, `check`, `revert`.
    pub action: String,
    /// How long, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Length>,
    /// Whether the next step begins while this is in force.
    pub background: bool,
    /// Who it would be now.
    pub targets: Vec<ObjectRef>,
    /// Nodes that the target means and that are not hit, since others can be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Which pods go with them.
    pub displaced: Vec<Displaced>,
    /// How long its effect may take to be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect_within: Option<Length>,
}

/// A pod that goes with a target.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Displaced {
    /// Which.
    pub pod: ObjectRef,
    /// Who has to replace it: `deployment/web`.
    pub owner: String,
    /// The target that it goes with.
    pub with: ObjectRef,
}

/// When a loss of normal ends the run, and of what that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EarliestAbort {
    /// The probe that can be quickest.
    pub probe: String,
    /// Its `for` and one sample: a rate dips as soon as its window holds some of the loss.
    pub after: Length,
    /// Its interval.
    pub every: Length,
    /// How long it has to be outside.
    pub patience: Length,
    /// The longest that it takes, whichever probe notices.
    pub at_most: LatestAbort,
}

/// When a loss that is complete and lasts has ended the run at the latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LatestAbort {
    /// The probe that is slowest.
    pub probe: String,
    /// Until nothing in the window is from before it, and then `for` and one sample; without the scrape
    /// interval, which only the metric source knows.
    pub after: Length,
    /// The longest range of its query.
    pub window: Length,
    /// Its interval.
    pub every: Length,
    /// How long it has to be outside.
    pub patience: Length,
    /// Whether the source's scrape interval comes on top.
    pub plus_scrape_interval: bool,
}

/// A right to ask for: verb, group, resource, namespace (None: everywhere).
pub type RightAsked = (&'static str, &'static str, &'static str, Option<String>);

/// Prepares every step against the world as it is, and adds up what that means.
pub fn plan(name: &str, spec: &ExperimentSpec, setting: &Setting<'_>) -> Plan {
    let mut plan = Plan {
        experiment: name.to_owned(),
        namespace: setting.namespace.to_owned(),
        seed: setting.rng.seed(),
        steps: Vec::new(),
        loads: loads::planned(spec),
        findings: loads::findings(spec, setting),
        earliest_abort: earliest_abort(spec),
        calls: 0,
        limits: setting.bounds.in_words(spec),
        agents: None,
        injections: Vec::new(),
    };
    let mut in_force = InForce::default();
    for step in &spec.method {
        let planned = plan_step(step, setting, &mut plan, &mut in_force);
        in_force.pass(step);
        plan.steps.push(planned);
    }
    plan.calls += spec.steady_state.len() as u64 + loads::calls(spec, setting);
    plan.agents = agents(setting, &plan.injections);
    // A create, a delete, and a look four times a second until it runs and until it is gone.
    plan.calls += plan.agents.as_ref().map_or(0, |agents| agents.nodes.len() as u64 * 64);
    plan.findings.dedup();
    plan
}

fn plan_step(step: &Step, setting: &Setting<'_>, plan: &mut Plan, in_force: &mut InForce) -> PlannedStep {
    let mut planned = PlannedStep {
        name: step.name.clone(),
        action: String::new(),
        duration: step.duration.map(Length),
        background: step.background,
        targets: Vec::new(),
        left_out: Vec::new(),
        displaced: Vec::new(),
        effect_within: None,
    };
    let (kind, params) = match &step.action {
        Action::Fault { kind, params } => (kind, params),
        Action::Wait(length) => {
            planned.action = "wait".to_owned();
            planned.duration = Some(Length(*length));
            return planned;
        }
        Action::Check(check) => {
            planned.action = format!("check {}", check.probe);
            planned.duration = Some(check.within);
            return planned;
        }
        Action::Manual(manual) => {
            planned.action = "manual".to_owned();
            planned.duration = Some(manual.timeout);
            return planned;
        }
        Action::Load(_) => {
            planned.action = "load".to_owned();
            return planned;
        }
        Action::Revert(of) => {
            planned.action = format!("revert {of}");
            in_force.revert(of);
            return planned;
        }
    };
    planned.action.clone_from(kind);
    let target = step.target.clone().unwrap_or_default();
    let held = in_force.injections();
    let round = Round::default();
    let ask = StepAsk { step: &step.name, kind, params, target: &target, round, setting, in_force: &held };
    planned.left_out = faults::find(kind).map_or_else(Vec::new, |fault| left_out(&ask, fault));
    let injections = match batches(step, &ask) {
        Ok(injections) => injections,
        Err(findings) => {
            plan.findings.extend(findings);
            return planned;
        }
    };
    plan.findings.extend(said_of((kind, params), setting, &injections));
    planned.targets = injections.iter().flat_map(faults::hit).collect();
    planned.displaced = forecast::displaced(setting.snapshot, &injections);
    planned.effect_within = injections.iter().map(|injection| injection.effect_within).max();
    // One write a target and pod, a look before each eviction, and two reads and a write to go back.
    let rounds = step.repeat.map_or(1, rounds_at_most);
    let calls = injections.len() as u64 * 4 + planned.displaced.len() as u64 * 2 + hampering(&injections);
    plan.calls += calls * rounds;
    plan.injections.extend(injections.clone());
    let lasting = faults::find(kind).is_some_and(|fault| fault.info().lifetime == Lifetime::Lasting);
    if lasting && step.background {
        // Batches follow each other, for as long as that takes.
        let length = step.duration.filter(|_| step.rolling.is_none());
        in_force.begin(injections, length);
    }
    planned
}

/// Calls that hampering pods takes beside its own writes: for each pod two reads and two writes, for each injection
/// what is read beforehand, and a look each second until its effect is seen.
fn hampering(injections: &[Injection]) -> u64 {
    const BEFOREHAND: u64 = 16;
    let calls = injections.iter().map(|injection| match faults::degraded(injection).len() as u64 {
        0 => 0,
        pods => pods * 4 + BEFOREHAND + injection.effect_within.0.as_secs(),
    });
    calls.sum()
}

/// What there is to say of a step's injections that did not refuse them one by one.
fn said_of(fault: (&str, &Value), setting: &Setting<'_>, injections: &[Injection]) -> Vec<Finding> {
    let mut findings = forecast::budgets(setting.snapshot, injections);
    findings.retain(|finding| !finding.is_error());
    findings.extend(lifelines::findings(setting, injections));
    findings.extend(hazards(fault, setting, injections));
    findings.extend(injections.iter().flat_map(|injection| {
        let fault = faults::find(&injection.fault);
        fault.map_or_else(Vec::new, |fault| fault.forewarn(setting.snapshot, injection))
    }));
    findings.extend(rollouts(setting, injections));
    findings.extend(bounds::lifted(setting, injections));
    findings
}

/// How many rounds a repeated step has at the most.
fn rounds_at_most(repeat: Repeat) -> u64 {
    let within = |length: Length| length.0.as_nanos().div_ceil(repeat.every.0.as_nanos().max(1));
    let by_time = repeat.length.map_or(1, |length| u64::try_from(within(length)).unwrap_or(u64::MAX));
    repeat.times.map_or(by_time, u64::from).min(100_000)
}

/// The injections of a step, all batches of it: each judged by itself, as if those before it were lifted.
fn batches(step: &Step, ask: &StepAsk<'_>) -> Result<Vec<Injection>, Vec<Finding>> {
    let Some(rolling) = step.rolling else { return prepare(ask) };
    let chosen = choose(ask)?;
    let mut injections = Vec::new();
    let mut findings = Vec::new();
    for batch in chosen.chunks(rolling.batch.choose_from(chosen.len()).max(1)) {
        let round = Round { first: injections.len(), only: Some(batch) };
        match prepare(&StepAsk { round, ..*ask }) {
            Ok(more) => injections.extend(more),
            Err(more) => findings.extend(more),
        }
    }
    if findings.is_empty() { Ok(injections) } else { Err(findings) }
}

/// Rollouts of the targets that are under way: with one, nobody can say what the fault caused.
fn rollouts(setting: &Setting<'_>, injections: &[Injection]) -> Vec<Finding> {
    let snapshot = setting.snapshot;
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for target in &injections.iter().flat_map(faults::hit).collect::<Vec<_>>() {
        let owner = snapshot.pod(target).and_then(|pod| snapshot.top_owner(pod));
        let (kind, name) =
            owner.map_or((target.kind.clone(), target.name.clone()), |owner| (owner.kind, owner.name));
        let Some(workload) = snapshot.workload(&target.namespace, &kind, &name) else { continue };
        if kind == "Deployment" && workload.rolling_out() && seen.insert(workload.object.clone()) {
            let message = "a rollout of it is under way";
            let finding = Finding::error(guard::ROLLOUT, &workload.object, message);
            findings.push(
                finding.remedy(format!(
                    "wait: kubectl rollout status deployment/{name} -n {}",
                    target.namespace
                )),
            );
        }
    }
    findings
}

/// The hazards that a fault names whenever it is used, where they apply.
fn hazards((kind, params): (&str, &Value), setting: &Setting<'_>, injections: &[Injection]) -> Vec<Finding> {
    let Some(fault) = faults::find(kind) else { return Vec::new() };
    let mut findings = Vec::new();
    // What takes no pods away displaces none.
    let displaces = fault.empties(params);
    for injection in injections
        .iter()
        .filter(|injection| displaces && injection.target.kind == "Node" && injection.displaced.is_empty())
    {
        let message = format!("{kind}: it runs nothing that would be displaced");
        findings.push(Finding::warning(hazard::EMPTY_NODE, &injection.target, message));
    }
    for code in fault.info().hazards {
        if *code != hazard::PDB_BYPASSED {
            let first = injections.first().zip(code.info());
            findings.extend(first.map(|(injection, info)| {
                let subject = faults::hit(injection).into_iter().next().unwrap_or_default();
                Finding::warning(code.clone(), subject, format!("{kind}: {}", info.title))
            }));
            continue;
        }
        let covered = injections.iter().find_map(|injection| {
            let mut hit = injection.displaced.iter().chain([&injection.target]);
            hit.find_map(|pod| {
                let pod = setting.snapshot.pod(pod).filter(|pod| !fault.evicts(injection, &pod.object))?;
                setting.snapshot.pdbs_of(pod).next().map(|budget| budget.object.clone())
            })
        });
        if let (Some(budget), Some(info)) = (covered, code.info()) {
            findings.push(Finding::warning(code.clone(), budget, format!("{kind}: {}", info.title)));
        }
    }
    findings
}

/// When a loss of normal ends the run: by the quickest and by the slowest of the probes that can end it.
fn earliest_abort(spec: &ExperimentSpec) -> Option<EarliestAbort> {
    let aborting: Vec<&ProbeSpec> = spec.steady_state.iter().filter(|probe| can_abort(probe)).collect();
    let quickest = aborting.iter().min_by_key(|probe| own_length(probe) + patience(probe) + probe.every)?;
    let latest = |probe: &&ProbeSpec| {
        let query = query(probe);
        let window = match query.filter(|_| !probe.by_rule()) {
            Some(query) => query_window(query),
            None => own_length(probe),
        };
        let patience = patience(probe);
        LatestAbort {
            probe: probe.name.clone(),
            after: Length(window + probe.every + patience),
            window: Length(window),
            every: Length(probe.every),
            patience: Length(patience),
            plus_scrape_interval: query.is_some(),
        }
    };
    let patience = own_length(quickest) + patience(quickest);
    Some(EarliestAbort {
        probe: quickest.name.clone(),
        after: Length(patience + quickest.every),
        every: Length(quickest.every),
        patience: Length(patience),
        at_most: aborting.iter().map(latest).max_by_key(|abort| (abort.after, abort.plus_scrape_interval))?,
    })
}

/// The query that a metric source answers.
fn query(probe: &ProbeSpec) -> Option<&str> {
    let text = |name: &str| probe.params.get(name).and_then(Value::as_str);
    text("query").or(text("good"))
}

/// How long a probe with a rule of its own waits in any case: an alert the time in which it has to fire.
fn own_length(probe: &ProbeSpec) -> Duration {
    let promised = probe.params.get("firesWithin").and_then(Value::as_str).filter(|_| probe.by_rule());
    promised.and_then(|text| text.parse::<Length>().ok()).unwrap_or_default().0
}

/// How long it has to be outside at the least; a rule of the kind's own has its own patience.
fn patience(probe: &ProbeSpec) -> Duration {
    if probe.by_rule() { Duration::ZERO } else { probe.patience.least(probe.every) }
}

/// Whether a probe can be violated, and a violation ends the run.
fn can_abort(probe: &ProbeSpec) -> bool {
    let during = probe.during.as_deref().or(probe.expect.as_deref());
    probe.role != Role::Informational
        && (probe.role == Role::StopCondition || probe.on_violation == OnViolation::Abort)
        && (probe.by_rule() || during.is_some_and(|during| during.trim() != "true"))
}

/// What has to be followed to run `spec`: the whole cluster for node faults, the machines too for those that end them,
/// else the namespaces concerned.
pub fn scope(spec: &ExperimentSpec, own: &str) -> Scope {
    let hits_nodes = spec.method.iter().any(|step| match &step.action {
        Action::Fault { kind, .. } => {
            let nodes =
                faults::find(kind).is_some_and(|fault| fault.info().limits.contains(&LimitKind::Nodes));
            nodes || step.target.as_ref().is_some_and(|target| target.zone.is_some())
        }
        _ => false,
    });
    let ends_machines = spec.method.iter().any(|step| match &step.action {
        Action::Fault { kind, .. } => faults::find(kind).is_some_and(|fault| fault.info().ends_machines()),
        _ => false,
    });
    match (ends_machines, hits_nodes) {
        (true, _) => Scope::Machines,
        (false, true) => Scope::Cluster,
        (false, false) => Scope::Namespaces(namespaces(spec, own)),
    }
}

/// The rights that running `spec` takes: to follow, to hold the lease, and what each fault asks for.
pub fn rights(spec: &ExperimentSpec, own: &str, agents: &str) -> Vec<RightAsked> {
    let spaces = namespaces(spec, own);
    let follow: Vec<Option<String>> = match scope(spec, own) {
        Scope::Cluster | Scope::Machines => vec![None],
        Scope::Namespaces(spaces) => spaces.into_iter().map(Some).collect(),
    };
    let mut asked: BTreeSet<RightAsked> = BTreeSet::new();
    for namespace in follow {
        for (group, resource) in FOLLOWED {
            for verb in ["list", "watch"] {
                asked.insert((verb, group, resource, namespace.clone()));
            }
        }
        if namespace.is_none() {
            for (verb, resource) in
                [("list", "nodes"), ("watch", "nodes"), ("list", "namespaces"), ("watch", "namespaces")]
            {
                asked.insert((verb, "", resource, None));
            }
        }
    }
    for namespace in &spaces {
        for verb in ["get", "create", "update", "delete"] {
            asked.insert((verb, "coordination.k8s.io", "leases", Some(namespace.clone())));
        }
    }
    for step in &spec.method {
        let Action::Fault { kind, .. } = &step.action else { continue };
        let Some(fault) = faults::find(kind) else { continue };
        let target = step
            .target
            .as_ref()
            .and_then(|target| target.namespace.clone())
            .unwrap_or_else(|| own.to_owned());
        if fault.info().agent {
            let there =
                |right: &faults::Right| (right.verb, right.group, right.resource, Some(agents.to_owned()));
            asked.extend(faults::AGENT_RIGHTS.iter().map(there));
        }
        for right in fault.info().rights {
            let namespace = (!right.cluster_wide).then(|| target.clone());
            asked.insert((right.verb, right.group, resource_for(step, right.resource), namespace));
        }
    }
    if loads::by_pods(spec) {
        for right in faults::LOAD_POD.rights {
            asked.insert((right.verb, right.group, right.resource, Some(own.to_owned())));
        }
    }
    asked.into_iter().collect()
}

/// A right on Deployments is meant for whatever kind of workload the step names.
fn resource_for(step: &Step, resource: &'static str) -> &'static str {
    let kind =
        step.target.as_ref().and_then(|target| target.workload.as_deref()).and_then(super::select::kind_of);
    match (resource, kind.map(|(kind, _)| kind)) {
        ("deployments/scale", Some("StatefulSet")) => "statefulsets/scale",
        ("deployments/scale", Some("ReplicaSet")) => "replicasets/scale",
        ("deployments", Some("StatefulSet")) => "statefulsets",
        ("deployments", Some("DaemonSet")) => "daemonsets",
        (resource, _) => resource,
    }
}
