//! `firedrill run`

use std::{
    io::{BufRead as _, IsTerminal as _},
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use tokio::sync::mpsc;

use super::{
    Global, SettingArgs, TellArgs, answering,
    by_hand::{self, Asker},
    connect::{self, Connection},
    input,
    signals::Signals,
    told::{self, Reports, Told},
};
use crate::{
    api::{Experiment, check::Accepted},
    engine::{self, Assessment, Request, Start},
    plan::Consent,
    probes::Source,
    types::{ExitCode, Finding, codes::guard as code},
};

#[derive(Args)]
#[command(
    after_help = "Ctrl-C, SIGTERM, SIGQUIT and a closed terminal abort and put everything back; a second Ctrl-C \
leaves what is still in force to firedrill rollback. Under nohup a closed terminal means nothing."
)]
pub(super) struct RunArgs {
    #[command(flatten)]
    setting: SettingArgs,

    #[command(flatten)]
    tell: TellArgs,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,

    /// Have the controller in the cluster run it, and follow it. Takes files, which are applied first, and experiments
    /// that are there: experiment/NAME.
    #[arg(long)]
    controller: bool,

    #[command(flatten)]
    namespace: super::controller::NamespaceArgs,
}

pub(super) fn run(global: &Global, args: RunArgs) -> anyhow::Result<ExitCode> {
    if args.controller {
        return super::follow::run(global, (&args.setting, &args.tell), &args.namespace.controller_namespace);
    }
    let read = input::read(&args.setting.files, input::For::Running)?;
    if let Some(code) = read.refused() {
        return Ok(code);
    }
    let experiments = read.experiments()?;
    let runtime = connect::runtime()?;
    runtime.block_on(async {
        let mut reports = Reports::new(&args.tell);
        let mut codes = Vec::new();
        let mut lost = None;
        let mut rest = experiments.into_iter();
        for (accepted, experiment) in rest.by_ref() {
            match one(global, &args, (accepted, experiment), &mut reports).await {
                Ok(code) => codes.push(code),
                Err(error) => lost = Some((experiment.metadata.name.as_str(), error)),
            }
            if lost.is_some() || told::stops(codes.last(), &args.tell) {
                break;
            }
        }
        reports.close(codes, lost, rest.map(|(_, experiment)| experiment.metadata.name.clone()))
    })
}

async fn one(
    global: &Global,
    args: &RunArgs,
    (accepted, experiment): (&Accepted, &Experiment),
    reports: &mut Reports<'_>,
) -> anyhow::Result<ExitCode> {
    let seed = args.setting.seed.unwrap_or_else(connect::fresh_seed);
    let connection = connect::connect(global, seed).await?;
    let request = request(&args.setting, &connection, (accepted, experiment), seed)?;
    let style = super::stderr_style();
    let now = || connection.env.clock.now();
    let mut assessment = match engine::assess(&connection.env, &request).await {
        Ok(assessment) => assessment,
        Err(findings) => {
            super::say(super::in_words(&findings, &style).trim_end());
            reports.refused(&request, "", &findings, now());
            return Ok(ExitCode::Refused);
        }
    };
    assessment.plan.findings.extend(by_hand::unattended(experiment));
    assessment.plan.findings.extend(answering::absent(&connection.env, &request).await);
    super::say(super::plan::summary(&assessment, &request, &style).trim_end());
    if assessment.refused() {
        reports.refused(&request, &assessment.by.name, &assessment.plan.findings, now());
        return Ok(ExitCode::Refused);
    }
    if let Err(finding) = confirmed(global, args, &assessment, &request) {
        let findings = [*finding];
        super::say(super::in_words(&findings, &style).trim_end());
        reports.refused(&request, &assessment.by.name, &findings, now());
        return Ok(ExitCode::Refused);
    }
    let told = Told::new(&args.tell, &style);
    let (outside_tx, outside_rx) = mpsc::unbounded_channel();
    let asker = Asker::new(experiment, &assessment.by.name, outside_tx.clone());
    let signals = Signals::catch().context("signals cannot be caught")?;
    let signals = tokio::spawn(signals.tell(outside_tx.clone()));
    let start = Start {
        request,
        id: None,
        assessment,
        revert_timeout: args.tell.revert_timeout.0,
        outside_rx,
        outside_tx,
        observer: Arc::new({
            let told = told.clone();
            move |entry| {
                told.on(entry);
                asker.on(entry);
            }
        }),
    };
    let outcome = engine::run(&connection.env, start).await;
    signals.abort();
    told::end(outcome, (&connection.env, &experiment.metadata.name), reports, &told)
}

/// What is asked for, from arguments and surroundings.
pub(super) fn request(
    args: &SettingArgs,
    connection: &Connection,
    (accepted, experiment): (&Accepted, &Experiment),
    seed: u64,
) -> anyhow::Result<Request> {
    let source = args.prometheus.as_deref().map(str::parse::<Source>).transpose()?;
    Ok(Request {
        namespace: experiment.metadata.namespace.clone().unwrap_or_else(|| connection.namespace.clone()),
        experiment: experiment.clone(),
        value: accepted.json.clone(),
        file: accepted.source.clone(),
        seed,
        environment: args.within(&connection.environment),
        consent: Consent {
            namespaces: args.allow_namespace.iter().cloned().collect(),
            bystanders: args.bystanders.iter().cloned().collect(),
        },
        source,
        holder: connect::holder(),
    })
}

/// A person at a terminal says yes; elsewhere the namespace's consent, or naming both context and namespace,
/// stands in for that.
fn confirmed(
    global: &Global,
    args: &RunArgs,
    assessment: &Assessment,
    request: &Request,
) -> Result<(), Box<Finding>> {
    let nothing = assessment.plan.injections.is_empty() && assessment.plan.loads.is_empty();
    if args.yes || nothing {
        return Ok(());
    }
    let subject = format!("context/{}", request.environment.context);
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        super::say(&format!("Run this on {} as {}? [y/N]", request.environment.cluster, assessment.by.name));
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        return match (read, answer.trim().to_lowercase().as_str()) {
            (Ok(_), "y" | "yes") => Ok(()),
            _ => Err(Box::new(Finding::error(code::NOT_CONFIRMED, subject, "the answer was not yes"))),
        };
    }
    if request.consent.namespaces.is_empty() || global.context.is_some() {
        return Ok(());
    }
    let message = "nobody can be asked here, and --allow-namespace stands in for that only beside --context";
    Err(Box::new(
        Finding::error(code::NOT_CONFIRMED, subject, message)
            .remedy(format!("--context {}", request.environment.context)),
    ))
}
