//! `firedrill rehearse`

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Global, SettingArgs, TellArgs, Usage, connect,
    dates::{Day, Side},
    game_day::{self, Attendance, Held, Outing, Planned, Venue},
    input::{self, Item},
    quarter,
    stage::{self, Stage},
    told::{self, Reports, Told},
};
use crate::{
    api::Act,
    controller::calendar::Calendar,
    engine::{self, Request, Start},
    plan::Consent,
    report::without_a_cluster,
    sim::SimConfig,
    types::{ExitCode, Finding},
};

#[derive(Args)]
pub(super) struct RehearseArgs {
    #[command(flatten)]
    pub(super) setting: SettingArgs,

    #[command(flatten)]
    pub(super) tell: TellArgs,

    /// Manifests of the workloads: a folder or file. Default: the folder demo beside the experiment.
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,

    /// Of a game day: the first time from then on; default: from 2026-01-01, or with --until from now on. A day such as
    /// 2027-01-01, or a time.
    #[arg(long, value_name = "WHEN")]
    pub(super) from: Option<Day>,

    /// Of a game day: every time until then, each held on a fresh cluster or skipped with the reason, and a table of
    /// them. A day, which is included, or a time.
    #[arg(long, value_name = "WHEN")]
    pub(super) until: Option<Day>,
}

pub(super) fn run(global: &Global, args: &RehearseArgs) -> anyhow::Result<ExitCode> {
    let read = input::read(&args.setting.files, input::For::Running)?;
    if let Some(code) = read.refused() {
        return Ok(code);
    }
    let items = read.items()?;
    if (args.from.is_some() || args.until.is_some()) && !items.iter().all(|item| matches!(item, Item::Day(_)))
    {
        bail!(Usage("--from and --until are for game days; experiments have no calendar".to_owned()));
    }
    let mut reports = Reports::new(&args.tell);
    let mut codes = Vec::new();
    let mut lost = None;
    let mut rest = items.into_iter();
    for item in rest.by_ref() {
        let ended = match &item {
            Item::Experiment(act) => rehearse(global, args, act, &mut reports),
            Item::Day(planned) if args.until.is_some() => {
                quarter::run((global, args), *planned, &mut reports)
            }
            Item::Day(planned) => once((global, args), *planned, &mut reports),
        };
        match ended {
            Ok(code) => codes.push(code),
            Err(error) => lost = Some((item.name().to_owned(), error)),
        }
        if lost.is_some() || told::stops(codes.last(), &args.tell) {
            break;
        }
    }
    reports.close(codes, lost, rest.map(|item| item.name().to_owned()))
}

/// Says why it is refused, with remedies that can be followed here.
fn said(mut findings: Vec<Finding>, manifests: &Path) -> Vec<Finding> {
    without_a_cluster(&mut findings, &manifests.display().to_string());
    super::say(super::in_words(&findings, &super::stderr_style()).trim_end());
    findings
}

/// The folder or file that describes workloads, and what is in it.
pub(super) type Workloads = (PathBuf, Vec<Value>);

/// The workloads that experiments run against.
pub(super) fn workloads(args: &RehearseArgs, acts: &[Act]) -> anyhow::Result<Workloads> {
    let beside = |act: &Act| PathBuf::from(&act.source).parent().map(|folder| folder.join("demo"));
    let folders: BTreeSet<PathBuf> = acts.iter().filter_map(beside).collect();
    let folder = match (&args.manifests, folders.len()) {
        (Some(folder), _) => folder.clone(),
        (None, 0 | 1) => folders.into_iter().next().unwrap_or_default(),
        (None, _) => {
            let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            bail!(Usage(format!(
                "--manifests says which of these describe the workloads: {}",
                names.join(", ")
            )));
        }
    };
    let objects = stage::manifests(&folder)
        .context("--manifests says where the workloads are described")
        .map_err(Usage::from)?;
    Ok((folder, objects))
}

/// What running an experiment on a stage asks for.
fn request((global, args): (&Global, &RehearseArgs), act: &Act, seed: u64, stage: &Stage) -> Request {
    let setting = &args.setting;
    let own = act.experiment.metadata.namespace.clone();
    Request {
        namespace: own.or_else(|| global.namespace.clone()).unwrap_or_else(|| "default".to_owned()),
        experiment: act.experiment.clone(),
        value: act.json.clone(),
        file: act.source.clone(),
        seed,
        environment: setting.within(&stage.environment),
        consent: Consent {
            namespaces: setting.allow_namespace.iter().cloned().collect(),
            bystanders: setting.bystanders.iter().cloned().collect(),
            approvals: 0,
            of_nodes: false,
        },
        source: Some(stage.source.clone()),
        holder: "rehearsal".to_owned(),
        asked_by: String::new(),
    }
}

/// A runtime of its own, whose time stands still but for what is waited for.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?)
}

/// One experiment.
fn rehearse(
    global: &Global,
    args: &RehearseArgs,
    act: &Act,
    reports: &mut Reports<'_>,
) -> anyhow::Result<ExitCode> {
    let (folder, objects) = workloads(args, std::slice::from_ref(act))?;
    let seed = args.setting.seed.unwrap_or_else(connect::fresh_seed);
    let told = Told::new(&args.tell, &super::stderr_style());
    runtime()?.block_on(async {
        let stage = Stage::build(&objects, seed).await?;
        let request = request((global, args), act, seed, &stage);
        let assessment = match engine::assess(&stage.env, &request).await {
            Ok(assessment) => assessment,
            Err(findings) => {
                let findings = said(findings, &folder);
                reports.refused(&request, "", &findings, stage.env.clock.now());
                return Ok(ExitCode::Refused);
            }
        };
        if assessment.refused() {
            let findings = said(assessment.plan.findings, &folder);
            reports.refused(&request, &assessment.by.name, &findings, stage.env.clock.now());
            return Ok(ExitCode::Refused);
        }
        let (outside_tx, outside_rx) = tokio::sync::mpsc::unbounded_channel();
        let start = Start {
            request,
            id: None,
            assessment,
            revert_timeout: args.tell.revert_timeout(),
            outside_rx,
            outside_tx,
            observer: Arc::new({
                let told = told.clone();
                move |entry| told.on(entry)
            }),
        };
        let outcome = engine::run(&stage.env, start).await;
        told::end(outcome, (&stage.env, &act.experiment.metadata.name), reports, &told)
    })
}

/// A game day at the first time of its calendar.
fn once(
    (global, args): (&Global, &RehearseArgs),
    planned: Planned<'_>,
    reports: &mut Reports<'_>,
) -> anyhow::Result<ExitCode> {
    let calendar = Calendar::new(&planned.day.spec).map_err(Usage)?;
    let zone = calendar.hours().zone();
    let from = args.from.map(|day| day.instant(zone, Side::Begin)).transpose()?;
    let from = from.unwrap_or(SimConfig::default().start_time);
    let Some(at) = calendar.first(from) else {
        bail!(Usage(format!("{} never comes due when it is open", planned.day.metadata.name)));
    };
    let outing = Outing {
        planned,
        calendar: &calendar,
        findings: Vec::new(),
        seed: args.setting.seed.unwrap_or_else(connect::fresh_seed),
        scheduled: calendar.scheduled().then(|| calendar.when(at)),
        replaced: None,
    };
    let workloads = workloads(args, &planned.acts.experiments)?;
    let held = hold((global, args), &workloads, &outing, (at, false))?;
    reports.add_day(held.day, held.chapters, false);
    Ok(held.code)
}

/// Holds a game day on a fresh cluster with those workloads, at that time; quietly: nothing is told but the report.
pub(super) fn hold(
    (global, args): (&Global, &RehearseArgs),
    (folder, objects): &Workloads,
    outing: &Outing<'_>,
    (at, quietly): (Timestamp, bool),
) -> anyhow::Result<Held> {
    runtime()?.block_on(async {
        let stage = Stage::build_for(objects, outing.seed, at).await?;
        let venue = Venue {
            env: &stage.env,
            request: &|act| Ok(request((global, args), act, outing.seed, &stage)),
            place: "REHEARSAL on the embedded cluster (nothing real was touched)".to_owned(),
            said: &|findings| said(findings, folder),
            tell: &args.tell,
            attendance: Attendance::Assumed { quietly },
        };
        // Nothing comes from outside; dropped, the channel would say that it is closed.
        let (_outside_tx, outside_rx) = tokio::sync::mpsc::unbounded_channel();
        game_day::hold(outing, &venue, outside_rx).await
    })
}
