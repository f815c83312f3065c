//! `firedrill rehearse`

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;

use super::{
    Global, SettingArgs, TellArgs, Usage, connect, input,
    stage::{self, Stage},
    told::{self, Reports, Told},
};
use crate::{
    api::{Experiment, check::Accepted},
    engine::{self, Request, Start},
    plan::Consent,
    report::without_a_cluster,
    types::{ExitCode, Finding},
};

#[derive(Args)]
pub(super) struct RehearseArgs {
    #[command(flatten)]
    setting: SettingArgs,

    #[command(flatten)]
    tell: TellArgs,

    /// Manifests of the workloads: a folder or file. Default: the folder demo beside the experiment.
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &RehearseArgs) -> anyhow::Result<ExitCode> {
    let read = input::read(&args.setting.files, input::For::Running)?;
    if let Some(code) = read.refused() {
        return Ok(code);
    }
    let experiments = read.experiments()?;
    let mut reports = Reports::new(&args.tell);
    let mut codes = Vec::new();
    let mut lost = None;
    let mut rest = experiments.into_iter();
    for (accepted, experiment) in rest.by_ref() {
        match rehearse(global, args, (accepted, experiment), &mut reports) {
            Ok(code) => codes.push(code),
            Err(error) => lost = Some((experiment.metadata.name.as_str(), error)),
        }
        if lost.is_some() || told::stops(codes.last(), &args.tell) {
            break;
        }
    }
    reports.close(codes, lost, rest.map(|(_, experiment)| experiment.metadata.name.clone()))
}

/// Says why it is refused, with remedies that can be followed here.
fn said(mut findings: Vec<Finding>, manifests: &Path) -> Vec<Finding> {
    without_a_cluster(&mut findings, &manifests.display().to_string());
    super::say(super::in_words(&findings, &super::stderr_style()).trim_end());
    findings
}

/// One experiment, in a runtime of its own whose time stands still but for what is waited for.
fn rehearse(
    global: &Global,
    args: &RehearseArgs,
    (accepted, experiment): (&Accepted, &Experiment),
    reports: &mut Reports<'_>,
) -> anyhow::Result<ExitCode> {
    let folder = match &args.manifests {
        Some(folder) => folder.clone(),
        None => {
            PathBuf::from(&accepted.source).parent().map(|folder| folder.join("demo")).unwrap_or_default()
        }
    };
    let objects = stage::manifests(&folder)
        .context("--manifests says where the workloads are described")
        .map_err(Usage::from)?;
    let seed = args.setting.seed.unwrap_or_else(connect::fresh_seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let told = Told::new(&args.tell, &super::stderr_style());
    runtime.block_on(async {
        let stage = Stage::build(&objects, seed).await?;
        let request = Request {
            namespace: experiment
                .metadata
                .namespace
                .clone()
                .or_else(|| global.namespace.clone())
                .unwrap_or_else(|| "default".to_owned()),
            experiment: experiment.clone(),
            value: accepted.json.clone(),
            file: accepted.source.clone(),
            seed,
            environment: args.setting.within(&stage.environment),
            consent: Consent {
                namespaces: args.setting.allow_namespace.iter().cloned().collect(),
                bystanders: args.setting.bystanders.iter().cloned().collect(),
            },
            source: Some(stage.source.clone()),
            holder: "rehearsal".to_owned(),
        };
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
            revert_timeout: args.tell.revert_timeout.0,
            outside_rx,
            outside_tx,
            observer: Arc::new({
                let told = told.clone();
                move |entry| told.on(entry)
            }),
        };
        let outcome = engine::run(&stage.env, start).await;
        told::end(outcome, (&stage.env, &experiment.metadata.name), reports, &told)
    })
}
