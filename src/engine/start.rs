//! A run, from its leases to its last record.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::{
    Assessment, EngineError, Observer, Request,
    assess::{disturbs, world},
    deployed,
    drive::Driver,
    ending,
    guarding::Guarding,
    judging::Watched,
    keeper::{Keeper, Outside},
    loading::Loading,
    next::Patience,
    sampler::{Measured, Sampler},
    spans::{self, Spans},
    state::State,
    unwritten::{Unwritten, held, take_back_without_journal},
};
use crate::{
    api::Action,
    cluster::Tenure,
    env::{Env, Loads, Rng, Storage},
    faults::Signature,
    journal::{Header, Moment, Record, Residue, Writer},
    plan,
    probes::{self, Expressions, Judge, Measure, cel::Expression},
    types::{Epoch, ExitCode, RunId, Verdict},
};

/// How a run is begun.
pub struct Start {
    /// What is to be run.
    pub request: Request,
    /// What the run is called; None: the experiment's name and something that tells it apart.
    pub id: Option<RunId>,
    /// What was found out; nothing in it refuses.
    pub assessment: Assessment,
    /// How long reverting is tried before what is left is named.
    pub revert_timeout: Duration,
    /// Ctrl-C and the like.
    pub outside_rx: mpsc::UnboundedReceiver<Outside>,
    /// The same channel's other end, for the lease's keeper.
    pub outside_tx: mpsc::UnboundedSender<Outside>,
    /// Is told of every record.
    pub observer: Observer,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The run.
    pub run: RunId,
    /// What it meant.
    pub verdict: Verdict,
    /// What is not back.
    pub residue: Vec<Residue>,
    /// What the journal does not hold, if it could not be written to the end.
    pub unwritten: Option<Unwritten>,
}

impl Outcome {
    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        match ExitCode::of(self.verdict, !self.residue.is_empty()) {
            // A pass that nothing proves afterwards is none.
            ExitCode::Ok if self.unwritten.is_some() => ExitCode::Inconclusive,
            code => code,
        }
    }
}

/// Runs an assessed experiment to its end.
///
/// # Errors
/// See [`EngineError`]; whatever was in force by then was taken back, or the error says that it was not.
pub async fn run(env: &Env, start: Start) -> Result<Outcome, EngineError> {
    let name = &start.request.experiment.metadata.name;
    let run = start.id.clone().unwrap_or_else(|| fresh(env, name, start.request.seed));
    let span = spans::run(&run);
    leased(env, run, start).instrument(span).await
}

async fn leased(env: &Env, run: RunId, start: Start) -> Result<Outcome, EngineError> {
    let Start { request, assessment, revert_timeout, outside_rx, outside_tx, observer, .. } = start;
    let now = env.clock.now();
    let namespaces: Vec<String> =
        plan::leased(&request.experiment.spec, &request.namespace).into_iter().collect();
    let epoch = Epoch(1);
    let tenure = Tenure {
        run: run.clone(),
        holder: request.holder.clone(),
        by: assessment.by.name.clone(),
        epoch,
        renewed: now,
        fresh: true,
        abort: None,
        acknowledged: false,
    };
    let leases = if disturbs(&request.experiment) {
        let leases = Keeper::acquire(&assessment.access, &namespaces, &tenure, false).await?;
        assessment.crowd.admits(&assessment.access, &env.clock, (&run, leases)).await?
    } else {
        Vec::new()
    };
    let server_time = leases.iter().filter_map(crate::cluster::Lease::server_time).max();
    // Stamped to the second: what is less than that apart is not apart.
    let ahead = server_time.map_or(0, |server| server.duration_since(env.clock.now()).as_millis());
    let ahead = if ahead.abs() <= 1_000 { 0 } else { i64::try_from(ahead).unwrap_or(0) };
    let keeper = Keeper::start(leases, env.clock.clone(), outside_tx);
    let header = header(&request, &assessment, &run, (namespaces, ahead));
    let result =
        driven(env, (request, assessment, header, epoch), (revert_timeout, outside_rx), observer).await;
    keeper.release().await;
    result
}

/// A name that no run has whose journal is here. With a seed of its own choosing a person still wants two runs to be told
/// apart.
fn fresh(env: &Env, experiment: &str, seed: u64) -> RunId {
    let taken = env.storage.list().unwrap_or_default();
    let now = u64::try_from(env.clock.now().as_nanosecond()).unwrap_or(0);
    let mut words = Rng::new(seed).stream("run");
    let mut run = RunId::new(experiment, words.word() ^ now);
    while taken.contains(&run) {
        run = RunId::new(experiment, words.word() ^ now);
    }
    run
}

fn header(
    request: &Request,
    assessment: &Assessment,
    run: &RunId,
    (namespaces, ahead): (Vec<String>, i64),
) -> Header {
    Header {
        run: run.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        experiment: request.value.clone(),
        file: request.file.clone(),
        seed: request.seed,
        by: assessment.by.name.clone(),
        holder: request.holder.clone(),
        environment: request.environment.clone(),
        namespace: request.namespace.clone(),
        namespaces,
        limits: assessment.bounds.in_words(&request.experiment.spec),
        metrics: request.source.as_ref().map(ToString::to_string).unwrap_or_default(),
        server_ahead_ms: ahead,
        approvals: request.consent.approvals,
        asked_by: request.asked_by.clone(),
    }
}

/// The probes, measuring from now on.
fn watched(
    env: &Env,
    request: &Request,
    assessment: &Assessment,
    (measured_tx, loads): (&mpsc::UnboundedSender<Measured>, &Loads),
) -> BTreeMap<String, Watched> {
    let mut watched = BTreeMap::new();
    let spec = &request.experiment.spec;
    let count = u32::try_from(spec.steady_state.len()).unwrap_or(1).max(1);
    let params = spec.params();
    for (index, spec) in spec.steady_state.iter().enumerate() {
        let Some(judge) = judge(spec, &params) else { continue };
        let measure = Measure {
            access: assessment.access.beside(),
            http: env.http.clone(),
            metrics: assessment.sources.get(&spec.name).cloned(),
            namespace: request.namespace.clone(),
            loads: loads.clone(),
            every: spec.every,
        };
        // Spread over a tenth of a second, so that they do not all ask at once.
        let offset = Duration::from_millis(100) * u32::try_from(index).unwrap_or(0) / count;
        let sampler = Sampler::start(spec, measure, env.clock.clone(), (measured_tx.clone(), offset));
        watched.insert(spec.name.clone(), Watched::new(spec.clone(), judge, Some(sampler)));
    }
    watched
}

/// What the steps that check ask for.
fn checks(request: &Request) -> BTreeMap<String, Expression> {
    let steps = request.experiment.spec.method.iter();
    let expressions = steps.filter_map(|step| match &step.action {
        Action::Check(check) => Some((step.name.clone(), check_expression(request, check)?)),
        _ => None,
    });
    expressions.collect()
}

async fn driven(
    env: &Env,
    (request, assessment, header, epoch): (Request, Assessment, Header, Epoch),
    (revert_timeout, outside_rx): (Duration, mpsc::UnboundedReceiver<Outside>),
    observer: Observer,
) -> Result<Outcome, EngineError> {
    let mut writer = Writer::create(&*env.storage, &header.run, epoch)?;
    let first = writer.append(env.clock.now(), Record::RunStarted(Box::new(header)))?;
    let state = State::new(&first)?;
    observer(&first);
    let snapshot = assessment.mirror.snapshot();
    let concerned = deployed::concerned(&snapshot, &assessment.plan.injections);
    let plan = &assessment.plan;
    let earliest = plan.earliest_abort.as_ref().map_or(Duration::ZERO, |earliest| earliest.after.0);
    let planned = Record::Planned {
        findings: plan.findings.clone(),
        earliest_abort_ms: u64::try_from(earliest.as_millis()).unwrap_or(u64::MAX),
        calls: plan.calls,
    };
    let seen =
        Record::DeployedSeen { moment: Moment::Before, workloads: deployed::look(&snapshot, &concerned) };
    let mut driver =
        attended(env, (request, assessment), (state, writer, epoch), (revert_timeout, outside_rx), observer);
    driver.releases = deployed::releases(&snapshot, &concerned);
    driver.note(planned)?;
    driver.note(seen)?;
    conclude(driver, &*env.storage).await
}

/// A driver that measures and judges, from where `state` is.
pub(super) fn attended(
    env: &Env,
    (request, assessment): (Request, Assessment),
    (state, writer, epoch): (State, Writer, Epoch),
    (revert_timeout, outside_rx): (Duration, mpsc::UnboundedReceiver<Outside>),
    observer: Observer,
) -> Driver {
    let run = state.header.run.clone();
    let (measured_tx, measured_rx) = mpsc::unbounded_channel();
    let loads = Loads::default();
    let probes = watched(env, &request, &assessment, (&measured_tx, &loads));
    let checks = checks(&request);
    let guarding =
        assessment.guarded.then(|| Guarding::new(&assessment.mirror.snapshot(), assessment.granted));
    Driver {
        world: world(
            env,
            assessment.access,
            assessment.mirror,
            Signature { run, epoch, by: assessment.by.name, at: env.clock.now() },
        ),
        clock: env.clock.clone(),
        rng: Rng::new(request.seed),
        consent: request.consent,
        bounds: assessment.bounds,
        patience: Patience { revert: revert_timeout, unseen: None },
        spans: Spans::new(&state),
        state,
        writer,
        observer,
        probes,
        checks,
        measured_rx,
        outside_rx,
        loading: Loading { orders: assessment.loads, wire: env.load.clone(), under_way: loads },
        releases: BTreeMap::new(),
        slept_before: env.clock.slept(),
        passed_over: BTreeSet::new(),
        taking_back: BTreeSet::new(),
        unwritten: None,
        guarding,
    }
}

/// Drives to the end, and takes everything back even if nothing can be written down any more.
pub(super) async fn conclude(mut driver: Driver, storage: &dyn Storage) -> Result<Outcome, EngineError> {
    let run = driver.state.header.run.clone();
    let mut ended = driver.run().await;
    if let Err(EngineError::Journal(why)) = &ended {
        // What could not be written has not begun. The ordinary loop puts back what has.
        ended = match driver.lose_journal(why, held(storage, &driver.state)) {
            Ok(()) => driver.run().await,
            Err(error) => Err(error),
        };
    }
    driver.quiet();
    match ended {
        Ok(()) => {
            let verdict =
                driver.state.decided.as_ref().map_or(Verdict::Inconclusive, |(verdict, ..)| *verdict);
            let residue = ending::left(&driver.state);
            Ok(Outcome { run, verdict, residue, unwritten: driver.unwritten })
        }
        Err(error @ (EngineError::Journal(_) | EngineError::Illegal(_) | EngineError::Api(_))) => {
            let pending = driver.state.pending().map(|state| state.injection.clone()).collect();
            let taken_back = take_back_without_journal(driver.world.clone(), pending).await;
            Err(EngineError::JournalLost { error: Box::new(error), taken_back })
        }
        Err(other) => Err(other),
    }
}

/// A probe's compiled expressions. `check` has compiled them before, so None never happens to a read file.
pub(super) fn judge(spec: &crate::api::ProbeSpec, params: &BTreeMap<String, String>) -> Option<Judge> {
    let info = probes::find(&spec.kind)?.info();
    let expressions = Expressions {
        value: spec.value.as_deref(),
        expect: spec.expect.as_deref(),
        during: spec.during.as_deref(),
    };
    Judge::compile(info, expressions, params).ok()
}

fn check_expression(request: &Request, check: &crate::api::Check) -> Option<Expression> {
    let probe = request.experiment.spec.probe(&check.probe)?;
    let text = check.expect.as_deref().or(probe.expect.as_deref())?;
    Judge::compile_check(probes::find(&probe.kind)?.info(), text).ok()
}
